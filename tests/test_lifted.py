"""torchvision's transforms, lifted, are torchvision's bit for bit; what would differ goes as ordinary code."""

import random
from collections.abc import Callable, Iterator, Sequence
from copy import copy
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import torch
from PIL import Image
from torch import nn
from torchvision import transforms as v1, tv_tensors
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as F

from gpuload import DataLoader, ImageFolder
from gpuload.recipes.draws import CounterDraws
from gpuload.recipes.ops import Crop
from gpuload.transforms.lifted import Form, Hand, lifted
from gpuload.transforms.plan import Plan
from gpuload.transforms.program import flat, program_of

SEED = 11
MOVES = {"Resize", "RandomResizedCrop", "CenterCrop", "Pad", "RandomCrop", "RandomHorizontalFlip"}
MOVES |= {"RandomVerticalFlip", "Grayscale", "RandomGrayscale", "RGB"}  # each of these becomes one of gpuload's
MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
FLOATS = v2.ToDtype(torch.float32, scale=True)


# ---- torchvision's own, with what gpuload drew ----


def once(transform: Any, image: Any, ops: Sequence[Any]) -> Any:
    """torchvision's transform, which draws what these operations say."""
    crop = next((op for op in ops if isinstance(op, Crop)), None)
    transform = copy(transform)
    match type(transform).__name__:
        case "RandomHorizontalFlip" | "RandomVerticalFlip" | "RandomGrayscale":
            transform.p = 1.0 if ops else 0.0
        case "RandomCrop":
            at = (0, 0) if crop is None else (crop.top, crop.left)
            with mock.patch("torch.randint", side_effect=[torch.tensor([place]) for place in at]):
                return transform(image)
        case "RandomResizedCrop":
            assert crop is not None
            transform.get_params = lambda *_: crop
            transform.make_params = lambda _: crop._asdict()
    return transform(image)


def theirs(transforms: Sequence[Any], image: Any, plan: Plan, position: int) -> Any:
    """Of one sample, at this position of epoch 0."""
    natives, draws = iter(plan.geometric), CounterDraws(SEED, 0, [position])
    for transform in transforms:
        if type(transform).__name__ not in MOVES:
            image = transform(image)
            continue
        height, width = (torch.tensor([size]).numpy() for size in F.get_size(image))
        single = Plan([next(natives)[0]]).recipes(height, width, draws)[0]
        image = once(transform, image, single)
    assert next(natives, None) is None
    return image


def as_tensor(made: Any) -> torch.Tensor:
    tensor: torch.Tensor = F.pil_to_tensor(made) if isinstance(made, Image.Image) else made
    return tensor.as_subclass(torch.Tensor)


def same(ours: Any, expected: Any) -> bool:
    expected = as_tensor(expected)
    return ours.dtype == expected.dtype and torch.equal(ours, expected)


def check(transform: Any, photos: Path, workers: int = 2, engine: str = "cpu") -> None:
    """All of an epoch is native, and torchvision's own."""
    dataset = ImageFolder(photos, transform=transform)
    transforms = list(flat(transform))
    program = program_of(transforms)
    assert program.is_native
    options: dict[str, Any] = {"shuffle": True, "batch_size": 5, "collate_fn": list, "seed": SEED, "device": "cpu"}
    loader = DataLoader(dataset, num_workers=workers, engine=engine, **options)
    indices = [index for index, _ in loader.recipes(0)]
    given = [image for batch in loader for image, _ in batch]
    assert len(given) == len(indices) == len(dataset)
    for position, (index, ours) in enumerate(zip(indices, given, strict=True)):
        assert same(ours, theirs(transforms, dataset.image(index), program.legs[0].plan, position))


@pytest.fixture(params=["cpu", "pillow"])
def engine(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def both(name: str, *arguments: Any, **options: Any) -> list[Any]:
    return [getattr(module, name)(*arguments, **options) for module in (v1, v2)]


def moving() -> Iterator[Any]:
    """Transforms of PIL images, v1 and v2."""
    modes = v1.InterpolationMode
    for size in (20, [20], (31, 18), [18, 31], 120):
        yield from both("Resize", size)
        yield from both("CenterCrop", size)
        yield from both("RandomResizedCrop", size)
    for mode in modes:
        yield from both("Resize", (25, 30), mode)
        yield from both("RandomResizedCrop", 24, interpolation=mode)
    yield from both("Resize", 30, max_size=33)
    yield from both("Resize", 24, Image.Resampling.BICUBIC.value, antialias=None)
    yield v2.Resize(None, max_size=29)
    yield v2.Resize(26, "bicubic", antialias=None)
    yield from both("RandomResizedCrop", (9, 27), scale=(0.5, 0.6), ratio=(2, 3))
    yield from both("RandomResizedCrop", 12, scale=(1, 1), ratio=(8, 9))  # of no size that fits: the middle
    for padding in (3, [4], (5, 2), (1, 2, 3, 4)):
        yield from both("Pad", padding)
        yield from both("RandomCrop", 30, padding, fill=(7, 90, 200))
    yield from both("Pad", (-5, -3, 4, 2), (1, 20, 255))
    for mode in ("constant", "edge", "reflect", "symmetric"):
        yield from both("Pad", (70, 9, 2, 80), 5, mode)
        yield from both("RandomCrop", (28, 40), 6, fill=9, padding_mode=mode)
    yield from both("RandomCrop", (70, 80), pad_if_needed=True, fill=[3])
    yield from both("RandomCrop", 90, (1, 2, 3, 4), True, 8.0, "edge")
    yield v2.RandomCrop(90, (1, 2, 3, 4), True, 8, "symmetric")
    for name in ("RandomHorizontalFlip", "RandomVerticalFlip", "RandomGrayscale"):
        for p in (0.0, 0.5, 1.0):
            yield from both(name, p)
    yield from (*both("Grayscale"), *both("Grayscale", 3))
    yield v2.RGB()
    yield from (v2.Compose([one, v2.CenterCrop(40)]) for one in (v2.Identity(), v2.ToDtype(torch.float32, scale=True)))


@pytest.mark.parametrize("transform", list(moving()), ids=lambda one: f"{type(one).__module__[23:]} {one}")
def test_a_lifted_transform_gives_torchvisions_pixels(transform: Any, photos: Path, engine: str) -> None:
    check(v2.Compose([transform, v2.ToImage()]), photos, engine=engine)
    check(v1.Compose([transform, v1.PILToTensor()]), photos, workers=0, engine=engine)


def of_tensors() -> Iterator[Any]:
    """Transforms after something has made a tensor."""
    for mode in ("nearest", "bilinear", "bicubic"):
        yield v2.Resize((25, 30), mode)
        yield v2.RandomResizedCrop(24, interpolation=mode)
    yield v2.Resize(20, "nearest", antialias=False)
    for fill in (9, (7, 90, 200)):
        yield v2.Pad((3, 4), fill)
        yield v2.RandomCrop(80, 4, True, fill)
    yield from (v2.Pad(90, 0, "edge"), v2.CenterCrop((90, 20)), v2.RandomCrop(30, None, False, 0, "reflect"))
    yield from (v2.RandomHorizontalFlip(), v2.RandomVerticalFlip(), v2.RGB())
    yield nn.Sequential(v2.Identity(), v2.CenterCrop(40))


@pytest.mark.parametrize("first", [v2.ToImage(), v2.PILToTensor(), v1.PILToTensor()], ids=repr)
@pytest.mark.parametrize("transform", list(of_tensors()), ids=repr)
def test_a_lifted_transform_of_tensors_gives_torchvisions_pixels(first: Any, transform: Any, photos: Path) -> None:
    if not program_of([*flat(v2.Compose([first, transform]))]).is_native:
        pytest.skip("torchvision takes floats for it on this CPU")
    check(v2.Compose([first, nn.Sequential(transform)]), photos)


@pytest.mark.parametrize("transform", [v1.Pad(3, 9), v1.RandomCrop(30, 4), v1.CenterCrop(70), v1.RandomVerticalFlip()])
def test_transforms_of_v1_take_tensors(transform: Any, photos: Path) -> None:
    check(v1.Compose([v1.PILToTensor(), transform]), photos)


@pytest.mark.filterwarnings("ignore:The transform .ToTensor:UserWarning")
@pytest.mark.parametrize(
    "values",
    [
        lambda: [v1.ToTensor()],
        lambda: [v2.ToTensor()],
        lambda: [v1.ToTensor(), v1.Normalize(MEAN, STD)],
        lambda: [v1.ToTensor(), v2.Normalize(MEAN, STD, inplace=True), v1.RandomHorizontalFlip()],
        lambda: [v1.ToTensor(), v1.Normalize(torch.tensor([0.5]), [0.25]), v1.ConvertImageDtype(torch.float16)],
        lambda: [v1.PILToTensor(), v1.ConvertImageDtype(torch.bfloat16), v1.Normalize([0.5] * 3, [2] * 3)],
        lambda: [v2.ToImage(), v2.ConvertImageDtype(torch.float32), v2.ToPureTensor()],
        lambda: [v2.PILToTensor(), v2.ToDtype(torch.float16, scale=True), v2.Normalize(MEAN, STD), v2.ToImage()],
        lambda: [v2.ToImage(), v2.ToDtype(torch.float32), v2.ToDtype(torch.uint8), v2.Pad(1)],
        lambda: [v2.ToImage(), v2.ToDtype({tv_tensors.Image: torch.float32, "others": None}, scale=True)],
    ],
)
def test_transforms_of_values_give_torchvisions_values(values: Callable[[], list[Any]], photos: Path) -> None:
    check(v1.Compose(values()), photos)
    check(v2.Compose([v2.Resize(24), v1.Compose(values())]), photos, workers=0)


def any_moving(rng: random.Random, module: Any) -> Any:
    filters = list(v1.InterpolationMode)
    size = rng.choice([rng.randint(5, 90), (rng.randint(5, 90), rng.randint(5, 90))])
    margins, mode = [rng.randint(0, 20) for _ in range(4)], rng.choice(["constant", "edge", "reflect", "symmetric"])
    fill = rng.choice([0, 77])
    make: list[Callable[[], Any]] = [
        lambda: module.Resize(size, rng.choice(filters)),
        lambda: module.RandomResizedCrop(size, (rng.random(), 1), interpolation=rng.choice(filters)),
        lambda: module.CenterCrop(size),
        lambda: module.Pad(margins, fill, mode),
        lambda: module.RandomCrop(size, margins, True, fill, rng.choice(["constant", "edge"])),
        module.RandomHorizontalFlip,
        module.RandomVerticalFlip,
        lambda: module.RandomGrayscale(0.5),
        lambda: module.Grayscale(3),
        lambda: module.Compose([module.RandomHorizontalFlip(), module.CenterCrop(size)]),
    ]
    return rng.choice(make)()


def any_of_tensors(rng: random.Random) -> Any:
    every = [*(flat(one) for one in of_tensors() if not isinstance(one, v2.RandomCrop))]
    return rng.choice([one for (*_, one) in every if lifted(one, Hand(Form.IMAGE, False, 3)) is not None])


@pytest.mark.parametrize("number", range(40))
def test_compositions_give_torchvisions_pixels(number: int, photos: Path) -> None:
    rng = random.Random(number)
    transforms = [any_moving(rng, rng.choice([v1, v2])) for _ in range(rng.randint(0, 5))]
    if rng.random() < 0.5:
        transforms += [v2.ToImage(), *(any_of_tensors(rng) for _ in range(rng.randint(0, 3))), FLOATS]
        transforms += rng.choice([[], [v2.Normalize(MEAN, STD)], [v2.RandomHorizontalFlip(), v2.ToPureTensor()]])
    else:
        transforms += [v1.ToTensor(), *rng.choice([[], [v1.Normalize(MEAN, STD)], [v1.RandomVerticalFlip()]])]
    check(rng.choice([v1, v2]).Compose(transforms), photos, rng.choice([0, 2]), rng.choice(["cpu", "pillow"]))
