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
from torchvision.models import ResNet18_Weights
from torchvision.transforms import _presets, v2
from torchvision.transforms.v2 import functional as F

from gpuload import DataLoader, ImageFolder
from gpuload.recipes.draws import CounterDraws
from gpuload.recipes.ops import Crop
from gpuload.transforms.hand import Form, Hand
from gpuload.transforms.lifted import MAKERS, lifted
from gpuload.transforms.plan import Plan
from gpuload.transforms.program import flat, program_of
from gpuload.transforms.torchvision.containers import CONTAINERS
from tests.conftest import make_photo
from tests.torchvision_pages import page

SEED = 11
MOVES = {"Resize", "RandomResizedCrop", "CenterCrop", "Pad", "RandomCrop", "RandomHorizontalFlip"}
MOVES |= {
    "RandomVerticalFlip",
    "Grayscale",
    "RandomGrayscale",
    "RGB",
    "RandomResize",
    "RandomShortestSize",
    "ScaleJitter",
}  # each of these becomes one of gpuload's
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
        case "RandomResize" | "RandomShortestSize" | "ScaleJitter":
            size = [ops[0].height, ops[0].width] if ops else F.get_size(image)
            transform.make_params = lambda _: {"size": size}
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
    of_types: Any = {"others": 1, Image.Image: 7}
    yield from (v2.Pad(2, of_types), v2.RandomCrop(90, 2, True, of_types), v2.Pad(2, {tv_tensors.Mask: 3}))
    yield from (v2.RandomResize(30, 70), v2.RandomResize(40, 41))
    yield from (v2.RandomShortestSize([30, 41, 52], 60), v2.ScaleJitter((50, 70)), v2.ScaleJitter((50, 70), (0.3, 0.9)))
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
        yield v2.RandomResize(30, 60, mode)
        yield from (v2.RandomShortestSize(30, interpolation=mode), v2.ScaleJitter((50, 70), interpolation=mode))
    yield v2.Resize(20, "nearest", antialias=False)
    yield v2.Pad(2, {"others": 1, tv_tensors.Image: 7, torch.Tensor: 9})  # type: ignore[dict-item]
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


# ---- a model's own ----


def of_weights() -> Iterator[Any]:
    yield ResNet18_Weights.IMAGENET1K_V1.transforms()
    yield _presets.ImageClassification(crop_size=24, resize_size=30, interpolation=v1.InterpolationMode.BICUBIC)
    yield _presets.ImageClassification(crop_size=90, mean=(0.5,) * 3, std=(0.1,) * 3, antialias=None)
    yield changed(_presets.ImageClassification(crop_size=24), resize_size=[20, 40], crop_size=[30, 10])


@pytest.mark.parametrize("number", range(4))
def test_the_transforms_of_weights(number: int, photos: Path, engine: str) -> None:
    transform = list(of_weights())[number]
    dataset = ImageFolder(photos, transform=transform)
    loader = DataLoader(dataset, 5, device="cpu", engine=engine, num_workers=2)
    assert program_of([transform]).is_native
    given = [image for images, _ in loader for image in images]
    assert all(same(ours, transform(dataset.image(index))) for index, ours in enumerate(given))


# ---- grayscale ----


@pytest.mark.parametrize(
    "transforms",
    [
        [v1.Pad(3, 9), v1.ToTensor(), v1.Normalize([0.5], [0.25])],
        [v1.Grayscale(3), v1.Pad(2, (1, 2, 3)), v1.ToTensor(), v1.Normalize(MEAN, STD)],
        [v2.Resize(20), v2.RandomGrayscale(1.0), v2.ToImage(), v2.RGB(), FLOATS, v2.Normalize(MEAN, STD)],
        [v2.RGB(), v2.CenterCrop(50), v2.ToImage(), v2.Pad(2, (9, 8, 7))],
        [v1.RandomCrop(30, 4, fill=(7,)), v1.PILToTensor(), v1.RandomVerticalFlip(1.0)],
    ],
    ids=str,
)
def test_images_of_one_channel(transforms: list[Any]) -> None:
    image, program = GRAY, program_of(transforms, 1)
    assert program.is_native
    plan = program.legs[0].plan
    ours = plan(image, CounterDraws(SEED, 0, [3]))
    assert same(ours, theirs(transforms, image, plan, 3))


# ---- what goes as ordinary code ----


class Mine(v2.Resize):
    """A user's, which could do anything."""


def changed(transform: Any, /, **attributes: Any) -> Any:
    vars(transform).update(attributes)
    return transform


def hooked(transform: Any, register: str) -> Any:
    getattr(transform, register)(lambda *_: None)
    return transform


PHOTO = make_photo(40, 30)
GRAY = PHOTO.convert("L")
PIL, IMAGE, TENSOR = Hand(Form.PIL, False, 3), Hand(Form.IMAGE, False, 3), Hand(Form.TENSOR, False, 3)
ORDINARY = [
    (Mine(9), PIL),
    (changed(v2.Resize(9), transform=lambda image, params: image), PIL),
    (changed(v1.Resize(9), forward=lambda image: image), PIL),
    (changed(v1.RandomCrop(9), get_params=lambda *_: (0, 0, 5, 5)), PIL),
    (changed(v2.RandomResizedCrop(9), make_params=lambda _: {"top": 0, "left": 0, "height": 5, "width": 5}), PIL),
    (changed(v2.RandomResizedCrop(9), ratio=(2, 3)), PIL),
    (hooked(v2.Resize(9), "register_forward_hook"), PIL),
    (hooked(v1.Resize(9), "register_forward_pre_hook"), PIL),
    (v1.RandomCrop(50, 2, True, padding_mode="reflect"), PIL),
    (v1.Resize(9, "bilinear"), PIL),
    (v1.Pad(2, 300), PIL),
    (v2.Pad(2, (1, 2)), PIL),
    (v1.Pad(2, (1, 2, 3)), Hand(Form.PIL, False, 1)),
    (v2.Pad(2, (1, 2, 3)), Hand(Form.TENSOR, False, 1)),
    (v1.Pad(2, (1, 2, 3)), TENSOR),
    (v1.Pad(2, [1]), TENSOR),
    (v2.Pad(5, 0, "reflect"), IMAGE),
    (v1.Pad(5, 0, "symmetric"), TENSOR),
    (v1.RandomCrop(9, 5, padding_mode="reflect"), TENSOR),
    (v2.Resize(9, antialias=False), IMAGE),
    (v2.Resize(9, "box"), IMAGE),
    (v1.Resize(9), TENSOR),
    (v1.CenterCrop(9), IMAGE),
    (v2.Grayscale(), IMAGE),
    (v2.RandomGrayscale(), TENSOR),
    (v1.Normalize(MEAN, STD), PIL),
    (v2.Normalize(MEAN, STD), IMAGE),
    (v2.Normalize(MEAN, STD), Hand(Form.IMAGE, True, 1)),
    (v1.Normalize([0.5] * 2, [1] * 2), Hand(Form.TENSOR, True, 3)),
    (v1.ConvertImageDtype(torch.float64), TENSOR),
    (v2.ToDtype(torch.int16), IMAGE),
    (v2.ToDtype({tv_tensors.Mask: torch.int64}), IMAGE),
    (v1.ToTensor(), TENSOR),
    (v1.PILToTensor(), TENSOR),
    (_presets.ImageClassification(crop_size=9), TENSOR),
    (_presets.ImageClassification(crop_size=9, mean=(0.5,), std=(0.0,)), PIL),
]


@pytest.mark.parametrize(("transform", "hand"), ORDINARY, ids=lambda one: type(one).__name__)
def test_what_gpuload_would_do_otherwise_is_not_lifted(transform: Any, hand: Hand) -> None:
    assert lifted(transform, hand) is None


@pytest.mark.parametrize(("transform", "hand"), ORDINARY, ids=lambda one: type(one).__name__)
def test_what_is_not_lifted_gives_torchvisions_result_or_error(transform: Any, hand: Hand) -> None:
    image = PHOTO if hand.channels == 3 else GRAY
    first = {Form.PIL: [], Form.IMAGE: [v2.ToImage()], Form.TENSOR: [v2.PILToTensor()]}[hand.form]
    transforms = [v1.CenterCrop(28), *first, *([FLOATS] if hand.floats else []), transform]
    expected = answer(lambda: v1.Compose(transforms)(image))
    ours = answer(lambda: program_of(transforms, hand.channels)(image, CounterDraws(SEED, 0, [0])))
    assert type(ours) is type(expected)
    assert str(ours) == str(expected) if isinstance(expected, Exception) else same(as_tensor(ours), expected)


def answer(call: Callable[[], Any]) -> Any:
    """What it returns or raises."""
    torch.manual_seed(0)
    try:
        return call()
    except Exception as error:
        return error


def test_a_default_dtype_that_gpuload_has_not() -> None:
    torch.set_default_dtype(torch.float64)
    try:
        assert lifted(v1.ToTensor(), PIL) is None
    finally:
        torch.set_default_dtype(torch.float32)


def test_the_fill_that_v2_was_made_with_counts() -> None:
    transforms = [changed(v2.Pad(2, 7), fill=99), v2.ToImage()]
    assert same(program_of(transforms)(PHOTO, CounterDraws(SEED, 0, [0])), v2.Compose(transforms)(PHOTO))


# ---- the page ----

ARGUMENTS: dict[str, tuple[Any, ...]] = {
    "CenterCrop": (9,),
    "ColorJitter": (0.4, 0.4, 0.4, 0.1),
    "ConvertImageDtype": (torch.float32,),
    "GaussianBlur": (3,),
    "Grayscale": (3,),
    "Normalize": (MEAN, STD),
    "Pad": (2,),
    "RandomAdjustSharpness": (2,),
    "RandomApply": ([v2.RandomHorizontalFlip()],),
    "RandomChoice": ([v2.RandomHorizontalFlip()],),
    "RandomOrder": ([v2.RandomHorizontalFlip()],),
    "RandomAffine": (30, (0.1, 0.2), (0.5, 2.0), 10),
    "RandomCrop": (9,),
    "RandomPosterize": (2,),
    "RandomResizedCrop": (9, (0.1, 1), (1, 2), v1.InterpolationMode.NEAREST),  # bytes of tensors on any CPU
    "RandomRotation": (30,),
    "RandomResize": (9, 12, v1.InterpolationMode.NEAREST),
    "RandomShortestSize": ([9, 12], None, v1.InterpolationMode.NEAREST),
    "RandomSolarize": (90,),
    "Resize": (9, v1.InterpolationMode.NEAREST),
    "ScaleJitter": ((30, 40), (0.5, 1.5), v1.InterpolationMode.NEAREST),
    "ToDtype": (torch.float32,),
}
CONTAINS = "lifted, where each of its transforms is, moves pixels or changes colors, and keeps the channels"
COMPOSED = "taken apart: each of its transforms is lifted or called"
NONE = {  # names of torchvision's that are no transforms of an image
    "AutoAugmentPolicy": "an enum",
    "InterpolationMode": "an enum",
    "Transform": "a base class: a subclass is called",
    "CutMix": "takes batches: pass it as `batch_transform`",
    "MixUp": "takes batches: pass it as `batch_transform`",
}


def names(module: Any) -> dict[str, Any]:
    return {name: thing for name, thing in vars(module).items() if isinstance(thing, type)}


def hands(name: str, cls: Any) -> list[str]:
    """At what it is lifted."""
    if name in NONE or name not in {maker.rsplit(".", 1)[1] for maker in MAKERS}:
        return []
    transform = cls(*ARGUMENTS.get(name, ()))
    places = {"PIL images": [PIL], "tensors": [IMAGE, TENSOR, Hand(Form.TENSOR, True, 3)]}
    return [place for place, given in places.items() if any(lifted(transform, hand) is not None for hand in given)]


def how(name: str, module: Any) -> str:
    cls = names(module).get(name)
    if cls is None:
        return "-"
    if name == "Compose":
        return COMPOSED
    if f"{cls.__module__}.{name}" in CONTAINERS:
        return CONTAINS
    places = hands(name, cls)
    return NONE.get(name, f"lifted: of {' and '.join(places)}" if places else "called, on the loader's threads")


@pytest.mark.filterwarnings("ignore:The transform .ToTensor:UserWarning")
def test_the_page_of_transforms_is_as_the_package() -> None:
    rows = [(f"`{name}`", how(name, v1), how(name, v2)) for name in sorted({*names(v1), *names(v2)})]
    page("transforms", ("transform", "v1", "v2"), rows)


def test_every_maker_is_a_transform_of_this_torchvision() -> None:
    every = {f"{cls.__module__}.{name}" for module in (v1, v2, _presets) for name, cls in names(module).items()}
    assert {name for name in MAKERS if not name.startswith("timm.")} <= every
