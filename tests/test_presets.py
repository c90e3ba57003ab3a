"""Recipes by name: each is what torchvision, or timm, makes of the same numbers; each runs natively, on every engine.

``GPULOAD_CASES=2000 python -m pytest tests/test_presets.py`` tries so many images of each.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from timm.data import create_transform
from torch.utils._pytree import tree_leaves
from torchvision.transforms import v2

from benchmarks.references import BILINEAR, MIXES, REFERENCES, train
from gpuload import DataLoader, ImageFolder, batch_transforms as B, presets, transforms as T
from gpuload.compilers import compiler
from gpuload.presets import PRESETS
from gpuload.transforms.program import compiled
from tests.cases import cases

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
    mixed, reference = presets.torchvision_2021(num_classes=7).batch_transform, MIXES["torchvision-2021"](7)
    assert isinstance(mixed, B.RandomChoice)
    batch = torch.rand(8, 3, 9, 9), torch.arange(8) % 7
    for seed in range(10):
        torch.manual_seed(seed)
        ours = mixed(*batch)
        torch.manual_seed(seed)
        assert all(map(torch.equal, ours, reference(*batch)))


def test_a_preset_unpacks() -> None:
    transform, batch_transform = presets.imagenet()
    assert isinstance(transform, T.Compose) and batch_transform is None
