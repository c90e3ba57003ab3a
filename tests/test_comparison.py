"""What torchvision's functions make of a recipe, and that a comparison with it can fail."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import Subset

from gpuload import DataLoader
from gpuload.recipes import ops
from gpuload.recipes.ops import Crop, Filter, Flip, Grayscale, Pad, PadMode, Resize
from gpuload.tools.comparison import comparisons, torchvision_applied

pytest.importorskip("torchvision")

from torchvision import datasets
from torchvision.transforms import v2

OPS = {
    "crop": Crop(3, 5, 40, 20),
    "resize": Resize(31, 77, Filter.BICUBIC),
    "horizontal flip": Flip(horizontal=True),
    "vertical flip": Flip(horizontal=False),
    "constant padding": Pad(1, 2, 3, 4, (5, 6, 7), PadMode.CONSTANT),
    "mirrored padding": Pad(1, 2, 3, 4, (0, 0, 0), PadMode.REFLECT),
    "grayscale": Grayscale(),
}


def test_every_operation_has_a_case():
    assert {type(op).__name__ for op in OPS.values()} == {
        name for name, kind in vars(ops).items() if hasattr(kind, "apply") and kind is not ops.Op
    }


@pytest.mark.parametrize("name", OPS)
def test_torchvision_applies_every_operation_truly(make_photo, name):
    photo, op = make_photo(60, 50), OPS[name]
    theirs = torchvision_applied((op,), photo)
    assert np.array_equal(np.asarray(theirs), np.asarray(op.apply(photo)))
    assert not np.array_equal(np.asarray(theirs), np.asarray(photo))


def test_an_operation_that_the_comparison_does_not_know_is_an_error(make_photo):
    with pytest.raises(AssertionError, match="got: 'invert'"):
        torchvision_applied(("invert",), make_photo(20, 20))


@pytest.mark.parametrize(("mean", "equal"), [(0.5, True), (0.25, False)])
def test_images_of_torchvisions_dataset_are_compared_one_by_one(photos: Path, mean: float, equal: bool) -> None:
    def values(mean: float) -> list[Any]:
        return [v2.ToImage(), v2.ToDtype(torch.float32, scale=True), v2.Normalize([mean], [0.25])]

    transform = v2.Compose([v2.RandomResizedCrop(40), v2.RandomHorizontalFlip(), *values(0.5)])
    some = Subset(datasets.ImageFolder(photos, transform=transform), [3, 20, 7, 11, 5])
    loader = DataLoader(some, batch_size=2, shuffle=True, seed=1, device="cpu")
    assert list(comparisons(loader, v2.Compose(values(mean)))) == [equal] * 5
