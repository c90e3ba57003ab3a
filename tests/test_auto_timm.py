"""timm's automatic augmentation, bit for bit, with the numbers that gpuload draws.

``GPULOAD_CASES=2000 python -m pytest tests/test_auto_timm.py`` tries so many samples of each.
"""

import random
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps
from torchvision import transforms as v1

from gpuload import DataLoader, ImageFolder
from gpuload.compilers import compiler
from gpuload.recipes.draws import CounterDraws
from gpuload.transforms import Compose
from gpuload.transforms.auto.timm import HOME, KINDS, MAKERS
from gpuload.transforms.hand import Form, Hand
from gpuload.transforms.lifted import lifted
from gpuload.transforms.program import flat, program_of
from tests.cases import cases
from tests.test_timm import SEED, Numbers

auto_augment = pytest.importorskip("timm").data.auto_augment
PIL, TENSOR = Hand(Form.PIL, False, 3), Hand(Form.TENSOR, False, 3)
CONFIGS = [
    "rand-m9-mstd0.5-inc1",
    "rand-m9-n3-mstd101",
    "rand-m4-p1",
    "rand-m15-mmax20-n1",
    "rand-n4-tweights-mstd1-inc1",
    "rand-m0-n0",
    "original-mstd0.5",
    "originalr",
    "v0",
    "3a",
    "rand-t3a-mstd1",
    "rand-t3aw-n3-m12-mmax15",
    "v0r-mstd0.1",
]
HPARAMS: list[dict[str, Any] | None] = [
    None,
    {"img_mean": (124, 116, 104), "translate_const": 100},
    {"interpolation": Image.Resampling.NEAREST, "translate_const": 9, "translate_pct": 0.2},
]


def posterize(image: Image.Image, bits: int) -> Image.Image:
    """As it was before Pillow 13, which refuses to keep no bits; timm's greatest magnitude does."""
    return ImageOps.posterize(image, bits) if bits else Image.new("RGB", image.size)


IMAGE_OPS = SimpleNamespace(**{**vars(ImageOps), "posterize": posterize})


class Generators(Numbers):
    """numpy's choice and Python's gauss, too."""

    def gauss(self, mean: float, std: float) -> float:
        return mean + float(self._draws.normal(self._row)[0]) * std

    def uniform(self, low: float, high: float) -> float:
        return low + (high - low) * super().uniform(0.0, 1.0)  # where high may be the lower one

    def several(self, things: Sequence[Any], count: int, replace: bool, p: Any) -> list[Any]:
        if replace:
            return [self.choice(things) for _ in range(count)]
        left, chosen = list(p), []
        for _ in range(count):
            at = int(np.searchsorted(np.cumsum(left), self.random() * np.cumsum(left)[-1], side="right"))
            chosen.append(things[at])
            left[at] = 0.0
        return chosen


def theirs(transform: Any, image: Any, position: int) -> Any:
    """timm's own, of one sample."""
    numbers = Generators(position)
    with (
        mock.patch.object(auto_augment, "random", numbers),
        mock.patch.object(auto_augment.np.random, "choice", numbers.several),
        mock.patch.object(auto_augment, "ImageOps", IMAGE_OPS),
    ):
        return transform(image)


def made(config: str, hparams: dict[str, Any] | None) -> Any:
    make: Callable[..., Any] = auto_augment.rand_augment_transform
    if not config.startswith("rand"):
        make = auto_augment.auto_augment_transform
    return make(config, None if hparams is None else dict(hparams))


def some_images(count: int) -> list[Image.Image]:
    rng = np.random.default_rng(count)
    sizes = rng.integers(1, 60, (count, 2))
    return [Image.fromarray(rng.integers(0, 256, (*size, 3), np.uint8)) for size in sizes.tolist()]


def mistakes(transform: Any) -> list[int]:
    """The positions of samples, of many, that are not as timm's."""
    program, images = program_of([transform]), some_images(cases(60))
    assert program.is_native
    plan, positions = program.legs[0].plan, range(len(images))
    height, width = ([getattr(image, side) for image in images] for side in ("height", "width"))
    recipes = plan.recipes(height, width, CounterDraws(SEED, 0, positions))
    ours = [plan.apply(image, recipe) for image, recipe in zip(images, recipes, strict=True)]
    wanted = [torch.from_numpy(np.array(theirs(transform, image, n))) for n, image in enumerate(images)]
    return [n for n in positions if not torch.equal(ours[n].permute(1, 2, 0), wanted[n])]


@pytest.mark.parametrize("hparams", HPARAMS, ids=str)
@pytest.mark.parametrize("config", CONFIGS)
def test_pixels_are_timms(config: str, hparams: dict[str, Any] | None) -> None:
    assert not mistakes(made(config, hparams))


@pytest.mark.parametrize("name", KINDS)
def test_each_operation_is_timms(name: str) -> None:
    hparams = {"img_mean": (9, 8, 7), "translate_const": 30, "magnitude_std": 4.0}
    ops = auto_augment.rand_augment_ops(magnitude=6, prob=0.9, hparams=hparams, transforms=[name])
    assert not mistakes(auto_augment.RandAugment(ops, 1))


@pytest.mark.skipif(compiler() is None, reason="no C++ compiler")
@pytest.mark.parametrize("config", CONFIGS[:2])
def test_the_loader_has_timms_pixels(config: str, photos: Path) -> None:
    transform = v1.Compose([v1.Resize((32, 40)), made(config, None), v1.PILToTensor()])
    dataset = ImageFolder(photos, transform=transform)
    assert program_of(list(flat(transform))).is_native
    loader = DataLoader(dataset, 4, shuffle=True, num_workers=2, seed=SEED, device="cpu", engine="cpu")
    indices = [index for index, _ in loader.recipes(0)]
    given = torch.cat([images for images, _ in loader])
    for position, (index, ours) in enumerate(zip(indices, given, strict=True)):
        assert torch.equal(ours, theirs(transform, dataset.image(index), position))


@pytest.mark.parametrize("config", CONFIGS)
def test_in_a_compose_of_gpuloads_the_same_seeds_give_timms_pixels(config: str) -> None:
    theirs = made(config, None)
    ours = Compose([theirs])
    for seed, image in enumerate(some_images(cases(20))):
        results = []
        for transform in (theirs, ours):
            random.seed(seed)
            np.random.seed(seed)
            with mock.patch.object(auto_augment, "ImageOps", IMAGE_OPS):
                results.append(transform(image))
            results.append((random.random(), np.random.random()))
        pixels = torch.from_numpy(np.array(results[0])).permute(2, 0, 1)
        assert torch.equal(results[2], pixels) and results[1] == results[3], seed


# ---- what is not lifted ----


class Mine(auto_augment.AugmentOp):  # type: ignore[misc]
    """A user's, which could do anything."""


def changed(transform: Any, place: int = 0, **attributes: Any) -> Any:
    vars(transform.ops[place]).update(attributes)
    return transform


@pytest.mark.parametrize(
    "transform",
    [
        auto_augment.RandAugment([Mine("Rotate")]),
        auto_augment.RandAugment([]),
        changed(made(CONFIGS[0], None), aug_fn=lambda image, **_: image),
        changed(made(CONFIGS[0], None), 3, level_fn=auto_augment._shear_level_to_arg),
        changed(made(CONFIGS[0], None), 3, kwargs={"resample": Image.Resampling.LANCZOS, "fillcolor": (1, 2, 3)}),
    ],
    ids=lambda one: type(one).__name__,
)
def test_what_gpuload_would_do_otherwise_is_not_lifted(transform: Any) -> None:
    assert lifted(transform, PIL) is None


def test_tensors_are_not_timms() -> None:
    assert lifted(made(CONFIGS[0], None), TENSOR) is None
    assert lifted(made("v0", None), TENSOR) is None


def test_every_maker_is_a_transform_of_this_timm() -> None:
    assert all(hasattr(auto_augment, name.removeprefix(f"{HOME}.")) for name in MAKERS)
    assert {*KINDS} <= {*auto_augment.NAME_TO_OP}
