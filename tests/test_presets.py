"""Recipes by name: each is what torchvision, or timm, makes of the same numbers; each runs natively, on every engine.

``GPULOAD_CASES=2000 python -m pytest tests/test_presets.py`` tries so many images of each.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageFilter
from timm.data import create_transform
from torch.utils._pytree import tree_leaves
from torchvision.transforms import v2

from gpuload import DataLoader, ImageFolder, batch_transforms as B, presets, transforms as T
from gpuload.compilers import compiler
from gpuload.presets import PRESETS
from gpuload.transforms.program import compiled
from tests.cases import cases

BILINEAR, BICUBIC = v2.InterpolationMode.BILINEAR, v2.InterpolationMode.BICUBIC
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
CIFAR_MEAN, CIFAR_STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)


# ---- the same, built from torchvision ----


def values(mean: Any = MEAN, std: Any = STD) -> list[Any]:
    return [v2.PILToTensor(), v2.ToDtype(torch.float32, scale=True), v2.Normalize(mean, std), v2.ToPureTensor()]


def train(size: int, *augment: Any, erase: float = 0.0) -> Any:
    erased = [v2.RandomErasing(erase)] if erase else []
    return v2.Compose([v2.RandomResizedCrop(size), v2.RandomHorizontalFlip(), *augment, *values(), *erased])


def evaluate(size: int, resized: int) -> Any:
    return v2.Compose([v2.Resize(resized), v2.CenterCrop(size), *values()])


class Blur:
    """DINO's, but for where its numbers come from."""

    def __init__(self, p: float) -> None:
        self.p = p

    def __call__(self, image: Image.Image) -> Image.Image:
        if torch.empty(1).uniform_(0, 1).item() >= self.p:
            return image
        return image.filter(ImageFilter.GaussianBlur(torch.empty(1).uniform_(0.1, 2.0).item()))


def view(
    crop: Any, jitter: tuple[float, float, float, float], blur: float, solarize: float = 0.0
) -> Callable[[Any], Any]:
    colors = [v2.RandomApply([v2.ColorJitter(*jitter)], p=0.8), v2.RandomGrayscale(0.2), Blur(blur)]
    solarized = [v2.RandomSolarize(128, p=solarize)] if solarize else []
    composed: Callable[[Any], Any] = v2.Compose([crop, v2.RandomHorizontalFlip(), *colors, *solarized, *values()])
    return composed


WEAK, STRONG = (0.4, 0.4, 0.2, 0.1), (0.8, 0.8, 0.8, 0.2)


def part(size: int, least: float, most: float) -> Any:
    return v2.RandomResizedCrop(size, scale=(least, most), interpolation=BICUBIC)


def several(*views: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda image: [each(image) for each in views]


def simclr() -> Any:
    return several(*[view(v2.RandomResizedCrop(224), STRONG, 0.5)] * 2)


def byol() -> Any:
    return several(view(part(224, 0.08, 1.0), WEAK, 1.0), view(part(224, 0.08, 1.0), WEAK, 0.1, 0.2))


def dino() -> Any:
    large = view(part(224, 0.4, 1.0), WEAK, 1.0), view(part(224, 0.4, 1.0), WEAK, 0.1, 0.2)
    return several(*large, *[view(part(96, 0.05, 0.4), WEAK, 0.5)] * 8)


def cifar() -> Any:
    area = (12 / 32) ** 2
    moved = [v2.RandomCrop(32, padding=4, padding_mode="reflect"), v2.RandomHorizontalFlip()]
    cutout = v2.RandomErasing(1.0, (area, area), (1.0, 1.0))
    return v2.Compose([*moved, *values(CIFAR_MEAN, CIFAR_STD), cutout])


REFERENCES: dict[str, Any] = {
    "imagenet": train(224),
    "imagenet-eval": evaluate(224, 256),
    "torchvision-2021": train(176, v2.TrivialAugmentWide(interpolation=BILINEAR), erase=0.1),
    "torchvision-2021-eval": evaluate(224, 232),
    "rand-augment": train(224, v2.RandAugment(2, 9, interpolation=BILINEAR)),
    "auto-augment": train(224, v2.AutoAugment(interpolation=BILINEAR)),
    "augmix": train(224, v2.AugMix(interpolation=BILINEAR)),
    "cifar": cifar(),
    "simclr": simclr(),
    "byol": byol(),
    "dino": dino(),
}
every_preset = pytest.mark.parametrize("name", PRESETS)


def picture(seed: int, low: int = 40, high: int = 200) -> Image.Image:
    """Of some size, with shapes and colors of some breadth: blurred noise."""
    rng = np.random.default_rng(seed)
    height, width = rng.integers(low, high, 2)
    noise = Image.fromarray(rng.integers(0, 256, (height // 4 + 1, width // 4 + 1, 3), np.uint8))
    return noise.resize((int(width), int(height)))


def seeded(transform: Callable[[Any], Any], image: Image.Image, seed: int) -> list[torch.Tensor]:
    """What it makes, and the number that the generator gives next."""
    torch.manual_seed(seed)
    return [*tree_leaves(transform(image)), torch.rand(1)]


@pytest.mark.parametrize("name", REFERENCES)
def test_the_same_seed_gives_torchvisions_tensors(name: str) -> None:
    preset = PRESETS[name]()
    for seed in range(cases(12)):
        image = picture(seed, *(32, 33) if name == "cifar" else (40, 200))
        ours, theirs = seeded(preset.transform, image, seed), seeded(REFERENCES[name], image, seed)
        assert len(ours) == len(theirs) and all(map(torch.equal, ours, theirs)), seed


def test_deit_is_timms(photos: Path) -> None:
    """timm's own code is compared in test_timm.py and test_auto_timm.py: here, what is lifted of it."""
    arguments = {"auto_augment": "rand-m9-mstd0.5-inc1", "interpolation": "bicubic"}
    theirs = create_transform(224, is_training=True, **arguments, re_prob=0.25, re_mode="pixel", re_count=1)
    ours, epochs = presets.deit().transform, []
    for transform in (ours, theirs):
        dataset = ImageFolder(photos, transform=transform)
        loader = DataLoader(dataset, 8, shuffle=True, num_workers=2, seed=3, device="cpu")
        epochs.append([images for _ in range(max(cases(2) // len(dataset), 2)) for images, _ in loader])
    assert len(epochs[0]) == len(epochs[1]) and all(map(torch.equal, *epochs))


def test_every_preset_has_a_reference() -> None:
    assert {*REFERENCES, "deit"} == {*PRESETS}
    assert {name.replace("-", "_") for name in PRESETS} <= {*presets.__all__}


# ---- in the loader ----


@every_preset
def test_it_runs_natively(name: str) -> None:
    program = compiled(PRESETS[name]().transform)
    assert not isinstance(program, str) and all(not leg.calls for leg in program.legs)


@pytest.mark.skipif(compiler() is None, reason="no C++ compiler")
@every_preset
def test_every_exact_engine_gives_the_same(name: str, photos: Path) -> None:
    preset, epochs = PRESETS[name](num_classes=24), []
    for engine, workers in (("pillow", 0), ("cpu", 3)):
        dataset, options = ImageFolder(photos, transform=preset.transform), {"seed": 5, "device": "cpu"}
        loader = DataLoader(
            dataset,
            6,
            shuffle=True,
            num_workers=workers,
            engine=engine,
            batch_transform=preset.batch_transform,
            **options,
        )
        epochs.append(tree_leaves(list(loader)))
    assert len(epochs[0]) == len(epochs[1]) >= 8 and all(map(torch.equal, *epochs))


@every_preset
def test_size_and_classes_are_arguments(name: str, photos: Path) -> None:
    preset = PRESETS[name](num_classes=24, size=56)
    dataset = ImageFolder(photos, transform=preset.transform)
    loader = DataLoader(dataset, 4, device="cpu", batch_transform=preset.batch_transform)
    images, labels = next(iter(loader))
    views = [images] if isinstance(images, torch.Tensor) else images
    assert [tuple(one.shape[-2:]) for one in views[:2]] == [(56, 56)] * len(views[:2])
    assert all(tuple(one.shape[-2:]) == (24, 24) for one in views[2:])  # DINO's small ones
    assert labels.shape == ((4,) if preset.batch_transform is None else (4, 24))


def test_the_policies_of_auto_augment() -> None:
    for policy in v2.AutoAugmentPolicy:
        reference = train(64, v2.AutoAugment(policy, interpolation=BILINEAR))
        ours = presets.auto_augment(size=64, policy=policy.value).transform
        for seed in range(cases(5)):
            assert all(map(torch.equal, seeded(ours, picture(seed), seed), seeded(reference, picture(seed), seed)))


def test_batches_are_mixed_as_the_references_say() -> None:
    mixed = presets.torchvision_2021(num_classes=7).batch_transform
    assert isinstance(mixed, B.RandomChoice)
    reference = v2.RandomChoice([v2.MixUp(alpha=0.2, num_classes=7), v2.CutMix(alpha=1.0, num_classes=7)])
    batch = torch.rand(8, 3, 9, 9), torch.arange(8) % 7
    for seed in range(10):
        torch.manual_seed(seed)
        ours = mixed(*batch)
        torch.manual_seed(seed)
        assert all(map(torch.equal, ours, reference(*batch)))


def test_a_preset_unpacks() -> None:
    transform, batch_transform = presets.imagenet()
    assert isinstance(transform, T.Compose) and batch_transform is None
