"""timm: its transforms, bit for bit, with the numbers that gpuload draws; its training loop, beside torch's loader."""

import itertools
import math
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader as TorchDataLoader
from torchvision import transforms as v1
from torchvision.transforms import v2

from gpuload import DataLoader, ImageFolder
from gpuload.recipes.draws import CounterDraws
from gpuload.recipes.erase import levels, levels_of
from gpuload.transforms import Compose
from gpuload.transforms.hand import Form, Hand
from gpuload.transforms.lifted import MAKERS, lifted
from gpuload.transforms.program import flat, program_of
from gpuload.transforms.timm import TIMM
from tests.cases import cases
from tests.conftest import make_photo

timm = pytest.importorskip("timm")
create_dataset, create_transform = timm.data.create_dataset, timm.data.create_transform
T, E = timm.data.transforms, timm.data.random_erasing

SEED = 5
leaves_files_open = pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")  # timm's dataset[i] does
PIL, IMAGE, TENSOR = Hand(Form.PIL, False, 3), Hand(Form.IMAGE, False, 3), Hand(Form.TENSOR, False, 3)


# ---- its transforms, with what gpuload draws ----


def test_in_gpuloads_compose_they_draw_from_pythons_random() -> None:
    options: dict[str, Any] = {"is_training": True, "color_jitter": None, "re_prob": 0.7, "re_count": 3}
    for seed, mode in itertools.product(range(cases(8)), ("const", "rand", "pixel")):
        rkrc = {"train_crop_mode": "rkrc", "interpolation": "random"} if seed % 2 else {}
        theirs = create_transform(32, re_mode=mode, **options, **rkrc)
        made = []
        for transform in (theirs, Compose(theirs.transforms)):
            random.seed(seed)
            torch.manual_seed(seed)
            made.append((transform(make_photo(50, 70, seed=seed)), random.random(), torch.rand(1).item()))
        assert torch.equal(made[0][0], made[1][0]) and made[0][1:] == made[1][1:]


class Numbers:
    """Python's random and ``torch.rand``, of which a sample gets the numbers that gpuload draws for it."""

    def __init__(self, position: int) -> None:
        self._draws, self._row = CounterDraws(SEED, 0, [position]), torch.zeros(1, dtype=torch.int64).numpy()

    def uniform(self, low: float, high: float) -> float:
        return float(self._draws.uniform(low, high, self._row)[0])

    def random(self) -> float:
        return self.uniform(0.0, 1.0)

    def randint(self, low: int, high: int) -> int:
        return low + int(self._draws.integer(high - low + 1, self._row)[0])

    def choice(self, things: Any) -> Any:
        return things[self.randint(0, len(things) - 1)]

    def rand(self, count: int) -> torch.Tensor:
        return torch.tensor([self.random() for _ in range(count)])

    def pixels(self, per_pixel: bool, rand_color: bool, size: Any, dtype: torch.dtype, device: Any) -> torch.Tensor:
        """As `random_erasing._get_pixels`."""
        if not per_pixel and not rand_color:
            return torch.zeros(size[0], 1, 1, dtype=dtype)
        shape = size if per_pixel else (size[0], 1, 1)
        (key,) = self._draws.noise([shape], dtype, self._row).tolist()
        return levels()[torch.from_numpy(levels_of(key, shape))].to(dtype)


def theirs(transform: Any, image: Any, position: int) -> Any:
    """timm's own, of one sample."""
    numbers = Numbers(position)
    with (
        mock.patch.object(T, "random", numbers), mock.patch("torch.rand", numbers.rand),
        mock.patch.object(E, "random", numbers), mock.patch.object(E, "_get_pixels", numbers.pixels),
    ):  # fmt: skip
        return transform(image)


def check(transform: Any, photos: Path, workers: int = 2, engine: str = "cpu") -> None:
    """All of an epoch is native, and timm's own."""
    dataset = ImageFolder(photos, transform=transform)
    assert program_of(list(flat(transform))).is_native
    options: dict[str, Any] = {"shuffle": True, "batch_size": 5, "collate_fn": list, "seed": SEED, "device": "cpu"}
    loader = DataLoader(dataset, num_workers=workers, engine=engine, **options)
    indices = [index for index, _ in loader.recipes(0)]
    given = [image for batch in loader for image, _ in batch]
    assert sorted(indices) == list(range(len(dataset))) and len(given) == len(dataset)
    for position, (index, ours) in enumerate(zip(indices, given, strict=True)):
        expected = theirs(transform, dataset.image(index), position)
        assert ours.dtype == expected.dtype and torch.equal(ours, expected)


@pytest.mark.parametrize("size", [(9_000_001, 12_000_007), (2, 3)])
def test_crops_are_those_of_timms_numbers(size: tuple[int, int]) -> None:
    """In large images to the pixel, and in tiny ones down to no pixels at all."""
    transform = T.RandomResizedCropAndInterpolation(9, scale=(0.01, 1.0))
    native = lifted(transform, PIL)
    assert native is not None
    positions = np.arange(400)
    height, width = (np.full(400, side) for side in size)
    crop, _ = next(iter(native[0][0].steps(height, width, CounterDraws(SEED, 0, positions))))
    image = torch.zeros(1, 1, 1).expand(1, *size)
    expected = []
    for position in positions.tolist():
        with mock.patch.object(T, "random", Numbers(position)):
            expected.append(transform.get_params(image, transform.scale, transform.ratio))
    assert np.array_equal(np.stack([crop.top, crop.left, crop.height, crop.width], 1), expected)
    assert len({*expected}) > 4


def moving() -> Iterator[Any]:
    crop, keep = T.RandomResizedCropAndInterpolation, T.ResizeKeepRatio
    for filter in ("random", "nearest", "bilinear", "bicubic", "box", "hamming", "lanczos"):
        yield crop(24, interpolation=filter)
        yield keep(30, interpolation=filter)
    yield crop((31, 18), scale=(0.5, 0.6), ratio=(2, 3))
    yield crop(12, scale=(1, 1), ratio=(8, 9))  # of no size that fits: the middle
    yield crop(16, scale=[0.001, 0.003], ratio=[0.1, 0.2])
    for longest in (0.0, 0.3, 1.0):
        yield keep((40, 23), longest=longest)
    yield keep(30, random_scale_prob=0.5, random_aspect_prob=0.5)
    yield keep(30, random_scale_prob=0.7, random_scale_area=True, interpolation="random")
    yield keep(30, 1.0, random_aspect_prob=1.0)
    for size in (20, (31, 90), [120], (200, 7)):
        yield T.CenterCropOrPad(size)
        yield T.CenterCropOrPad(size, fill=(7, 90, 200))
        yield T.CenterCropOrPad(size, 9, "edge")
        yield T.CenterCropOrPad(size, padding_mode="reflect")
    yield from (T.TrimBorder(0), T.TrimBorder(7))


@pytest.mark.parametrize("transform", list(moving()), ids=repr)
def test_a_lifted_transform_gives_timms_pixels(transform: Any, photos: Path) -> None:
    check(v1.Compose([transform, T.MaybePILToTensor()]), photos)
    check(v1.Compose([transform, v1.RandomHorizontalFlip(), T.MaybeToTensor()]), photos, 0, "pillow")


@pytest.mark.parametrize("options", [{}, {"mode": "rand", "max_count": 3}, {"mode": "pixel", "min_count": 2}], ids=str)
def test_erasing_is_timms(options: dict[str, Any], photos: Path) -> None:
    crop = T.RandomResizedCropAndInterpolation(24)
    for dtype in (torch.float16, torch.float32):
        often = E.RandomErasing(0.7, 0.05, 0.6, 0.2, device="cpu", **options)
        check(v1.Compose([crop, T.ToTensor(dtype), often]), photos)
    if not options:
        bytes_ = T.ToTensor(torch.uint8), E.RandomErasing(0.7, device="cpu")
        check(v1.Compose([crop, *bytes_]), photos, 0, "pillow")


@pytest.mark.parametrize(
    "last",
    [
        [T.MaybeToTensor()],
        [T.MaybeToTensor(), T.MaybeToTensor(), T.MaybePILToTensor(), v1.Normalize([0.5] * 3, [0.2] * 3)],
        [v2.ToImage(), T.MaybeToTensor(), v2.RandomHorizontalFlip()],
        *([T.ToTensor(dtype)] for dtype in (torch.float32, torch.float16, torch.bfloat16, torch.uint8)),
    ],
)
def test_tensors_are_timms(last: list[Any], photos: Path) -> None:
    check(v2.Compose(last), photos)


FACTORY: list[dict[str, Any]] = [  # arguments of create_transform
    {},
    {"crop_mode": "squash", "crop_pct": 0.9, "interpolation": "bicubic"},
    {"crop_mode": "border", "crop_pct": 0.9},
    {"input_size": (3, 32, 48), "crop_border_pixels": 3},
    {"normalize": False},
    {"use_prefetcher": True},
    {"is_training": True, "no_aug": True},
    {"is_training": True, "color_jitter": None, "interpolation": "random", "vflip": 0.3},
    {"is_training": True, "color_jitter": None, "use_prefetcher": True, "scale": (0.2, 0.5)},
    {"is_training": True, "color_jitter": None, "train_crop_mode": "rkrc", "interpolation": "random"},
    *(
        {"is_training": True, "color_jitter": None, "re_prob": 0.8, "re_mode": mode}
        for mode in ("const", "rand", "pixel")
    ),
    {"is_training": True, "color_jitter": None, "re_prob": 1.0, "re_mode": "pixel", "re_count": 3, "normalize": False},
]


@pytest.mark.parametrize("arguments", FACTORY, ids=str)
def test_what_create_transform_makes_is_native(arguments: dict[str, Any], photos: Path) -> None:
    check(create_transform(**{"input_size": 32, **arguments}), photos)


class Mine(T.MaybeToTensor):  # type: ignore[misc]
    """A user's, which could do anything."""


def changed(transform: Any, /, **attributes: Any) -> Any:
    vars(transform).update(attributes)
    return transform


@pytest.mark.parametrize(
    ("transform", "hand"),
    [
        (Mine(), PIL),
        (changed(T.RandomResizedCropAndInterpolation(9), get_params=lambda *_: (0, 0, 5, 5)), PIL),
        (T.RandomResizedCropAndInterpolation([9]), PIL),  # the shorter side
        (T.RandomResizedCropAndInterpolation(9), TENSOR),
        (T.RandomResizedCropAndInterpolation(9, ratio=(0, 1)), PIL),
        (T.ResizeKeepRatio((9,)), PIL),
        (T.ResizeKeepRatio(9), IMAGE),
        (T.CenterCropOrPad(9), TENSOR),
        (T.CenterCropOrPad(9, fill=(1, 2)), PIL),
        (T.CenterCropOrPad(9, fill=300), PIL),
        (T.TrimBorder(-1), PIL),
        (T.TrimBorder(1), IMAGE),
        (T.ToTensor(torch.float64), PIL),
        (T.ToTensor(), TENSOR),
        (T.ToNumpy(), PIL),
        (T.RandomCropOrPad(9), PIL),
        (T.RandomPad((9, 9)), PIL),
        (E.RandomErasing(device="cuda"), TENSOR),
        (E.RandomErasing(device="cpu"), IMAGE),
        (E.RandomErasing(min_count=3, max_count=2, device="cpu"), TENSOR),
        (changed(E.RandomErasing(device="cpu"), per_pixel=True), TENSOR),
        (changed(E.RandomErasing(device="cpu"), _erase=print), TENSOR),
    ],
    ids=lambda one: type(one).__name__,
)
def test_what_gpuload_would_do_otherwise_is_not_lifted(transform: Any, hand: Hand) -> None:
    assert lifted(transform, hand) is None


def test_every_maker_is_a_transform_of_this_timm() -> None:
    for name in MAKERS:
        if name.startswith(TIMM):
            module, _, kind = name.removeprefix(TIMM).partition(".")
            assert hasattr(getattr(timm.data, module), kind), name


def test_a_size_of_zero_is_an_error_as_it_is_timms() -> None:
    transforms = [T.ResizeKeepRatio(9, 1.0), T.MaybeToTensor()]
    with pytest.raises(ValueError, match="> 0"):
        v1.Compose(transforms)(make_photo(1, 90))
    with pytest.raises(ValueError, match="leaves no pixels of an image of 1 x 90"):
        program_of(transforms)(make_photo(1, 90), CounterDraws(SEED, 0, [0]))


# ---- its training loop ----

SIZE, BATCH = 32, 8


def model() -> torch.nn.Module:
    torch.manual_seed(1)
    made: torch.nn.Module = timm.create_model("test_resnet", num_classes=24)
    return made


def numbered(photos: Path, transform: Any) -> Any:
    """A dataset whose labels say which sample it is."""
    dataset = create_dataset("", photos, transform=transform)
    dataset.reader.samples = [(path, number) for number, (path, _) in enumerate(dataset.reader.samples)]
    return dataset


def loaders(photos: Path, train: Any, **options: Any) -> Callable[[Any], tuple[Any, Any]]:
    """Of either class: to train with, and to evaluate."""

    def make(loader: Any) -> tuple[Any, Any]:
        of_ours = {"device": "cpu", "seed": SEED} if loader is DataLoader else {}
        given = {"batch_size": BATCH, "num_workers": 2, **of_ours}
        test = create_transform(SIZE, interpolation="bicubic")
        return (
            loader(numbered(photos, train), shuffle=True, drop_last=True, **given, **options),
            loader(numbered(photos, test), **given),
        )

    return make


def fit(train: Any, test: Any, epochs: int = 2, mix: Callable[..., Any] | None = None) -> dict[str, Any]:
    """A loop as timm's train.py has it: what the network saw, and what it made of the images to evaluate."""
    net = model()
    optimizer = torch.optim.SGD(net.parameters(), 0.05)
    seen: dict[str, Any] = {"labels": [], "losses": [], "outputs": [], "images": []}
    for _ in range(epochs):
        net.train()
        for number, (images, labels) in enumerate(train):
            assert number < len(train) and images.shape == (BATCH, 3, SIZE, SIZE)
            seen["labels"].append(labels)
            images, targets = mix(images, labels) if mix is not None else (images, labels)
            loss = torch.nn.functional.cross_entropy(net(images), targets)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            seen["losses"].append(loss.item())
        net.eval()
        with torch.inference_mode():
            for images, labels in test:
                seen["images"].append(images)
                seen["outputs"].append((net(images), labels))
    return seen


@leaves_files_open
def test_evaluation_sees_what_it_sees_with_torchs_loader(photos: Path) -> None:
    make = loaders(photos, create_transform(SIZE, is_training=True, color_jitter=None))
    (train, ours), (_, torchs) = make(DataLoader), make(TorchDataLoader)
    assert type(train.path).__name__ == type(ours.path).__name__ == "ImagePath"
    seen = fit(train, ours)
    first, second = (torch.cat(seen["labels"][at : at + 3]).tolist() for at in (0, 3))
    assert sorted(first) == sorted(second) == list(range(24)) and first != second
    assert all(map(math.isfinite, seen["losses"]))
    given, expected = [*ours], [*torchs]
    assert len(given) == len(expected) == len(ours) == len(torchs)
    for (images, labels), (their_images, their_labels) in zip(given, expected, strict=True):
        assert torch.equal(images, their_images) and torch.equal(labels, their_labels)
    assert all(map(torch.equal, seen["images"], [images for images, _ in expected] * 2))


@leaves_files_open
def test_trained_in_the_same_order_the_same_network_comes_out(photos: Path) -> None:
    """Without chance in the images, and with a sampler of the user's."""
    order = torch.Generator().manual_seed(0)
    drawn = torch.randperm(24, generator=order).tolist()
    results = []
    for loader in (DataLoader, TorchDataLoader):
        options = {"batch_size": BATCH, "sampler": drawn, "num_workers": 2}
        options |= {"device": "cpu"} if loader is DataLoader else {}
        dataset = numbered(photos, create_transform(SIZE, is_training=True, no_aug=True))
        results.append(fit(loader(dataset, **options), loader(dataset, **options)))
    ours, torchs = results
    assert ours["losses"] == torchs["losses"] and all(map(torch.equal, ours["labels"], torchs["labels"]))
    assert all(
        torch.equal(mine, other) for (mine, _), (other, _) in zip(ours["outputs"], torchs["outputs"], strict=True)
    )


def test_augmentation_that_stays_timms_own_code_is_the_same_for_any_number_of_workers(photos: Path) -> None:
    arguments = {"auto_augment": "rand-m5-mstd0.5-inc1", "re_prob": 0.5, "re_mode": "pixel"}
    epochs = []
    for workers in (0, 3):
        dataset = create_dataset("", photos, transform=create_transform(SIZE, is_training=True, **arguments))
        loader = DataLoader(dataset, BATCH, shuffle=True, num_workers=workers, seed=SEED, device="cpu")
        assert type(loader.path).__name__ == "ImagePath"
        epochs.append([images for _ in range(2) for images, _ in loader])
    assert all(map(torch.equal, *epochs)) and len(epochs[0]) == 6
    assert not any(map(torch.equal, epochs[0][:3], epochs[0][3:]))


def test_mixup(photos: Path) -> None:
    make = loaders(photos, create_transform(SIZE, is_training=True))
    mix = timm.data.Mixup(mixup_alpha=0.8, cutmix_alpha=1.0, num_classes=24)
    seen = fit(*make(DataLoader), mix=mix)
    assert len(seen["losses"]) == 6 and all(map(math.isfinite, seen["losses"]))


@leaves_files_open
@pytest.mark.parametrize("collate_fn", [None, timm.data.loader.fast_collate])
def test_timms_prefetcher_takes_it(collate_fn: Any, photos: Path) -> None:
    dataset = create_dataset("", photos, transform=create_transform(SIZE, use_prefetcher=True))
    ours = DataLoader(dataset, BATCH, collate_fn=collate_fn, device="cpu", num_workers=2)
    torchs = timm.data.create_loader(dataset, SIZE, BATCH, device=torch.device("cpu"), persistent_workers=False)
    given, expected = [*timm.data.loader.PrefetchLoader(ours, device=torch.device("cpu"))], [*torchs]
    assert len(given) == len(expected) == 3
    for (images, labels), (their_images, their_labels) in zip(given, expected, strict=True):
        assert torch.equal(images, their_images) and torch.equal(labels, their_labels)


@leaves_files_open
@pytest.mark.parametrize("kind", ["OrderedDistributedSampler", "RepeatAugSampler"])
def test_timms_samplers(kind: str, photos: Path) -> None:
    sampler = getattr(timm.data.distributed_sampler, kind)
    dataset, epochs = numbered(photos, create_transform(SIZE)), []
    for loader in (DataLoader, TorchDataLoader):
        options = {"selected_round": 0} if kind == "RepeatAugSampler" else {}
        given = sampler(dataset, num_replicas=2, rank=1, **options)
        of_ours = {"device": "cpu"} if loader is DataLoader else {}
        made = loader(dataset, 5, sampler=given, **of_ours)
        assert made.sampler is given and made.dataset is dataset
        labels = []
        for epoch in range(2):
            if hasattr(given, "set_epoch"):
                given.set_epoch(epoch)
            labels.append([made_labels.tolist() for _, made_labels in made])
        assert len(labels[0]) == len(made)
        epochs.append(labels)
    assert epochs[0] == epochs[1]
