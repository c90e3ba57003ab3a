"""What is being done with a batch, in words."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from gpuload import DataLoader, ImageFolder, TimedOutError, transforms as T
from gpuload.loading.words import progress
from tests.jobs import Fifo

pytestmark = pytest.mark.usefixtures("none_left", "short_grace")


def test_the_first_that_is_not_done_is_named(photos: Path) -> None:
    dataset, indices = ImageFolder(photos), np.array([5, 3, 4])
    assert progress("decoding", dataset, indices, []) == "decoding 3 images: all are done"
    where = f"sample 3 ({dataset.path(3)})"
    assert progress("decoding", dataset, indices, [1]) == f"decoding 3 images: 1 is not done, the first is {where}"
    assert progress("decoding", dataset, indices, [1, 2]) == f"decoding 3 images: 2 are not done, the first is {where}"


def test_a_path_that_fails_is_not_what_the_wait_fails_with(photos: Path) -> None:
    class Broken(ImageFolder):
        def path(self, index: int) -> str:
            raise OSError("no catalog")

    assert progress("decoding", Broken(photos), np.array([7]), [0]).endswith("the first is sample 7")


def test_a_dataset_that_does_not_find_its_files_is_named(photos: Path, fifo: Fifo) -> None:
    class Slow(ImageFolder):
        def paths(self, indices: Any) -> list[bytes]:
            fifo.read()
            return super().paths(indices)

    transform = T.Compose([T.Resize((8, 8)), T.ToDtype(torch.float32)])
    batches = iter(DataLoader(Slow(photos, transform=transform), 4, num_workers=1, timeout=0.3, device="cpu"))
    with pytest.raises(TimedOutError, match=r"batch 0 is looking up the files of 4 images; .* in read \("):
        next(batches)


def test_a_batch_that_waits_for_the_plan_of_another_says_what_that_is_at(photos: Path) -> None:
    """In any order it may be the one that is asked about."""
    transform = T.Compose([T.Resize((8, 8)), T.ToDtype(torch.float32)])
    dataset = ImageFolder(photos, transform=transform)
    list(DataLoader(dataset, 4, device="cpu"))
    loader = DataLoader(dataset, 4, device="cpu")
    path: Any = loader.path
    _, one, another, *_ = path._jobs(path.course(0, loader._found(), loader._settings()), 0)
    assert next(another.stages()) is one._stretch.gate
    assert one.describe() == "looking up the files of 20 images"
    assert another.describe() == f"waiting for a batch that is planned with it, which is {one.describe()}"
    for stage in one.stages():
        for task in stage:
            task()
    assert one.describe() == "finishing 4 images"
    assert another.describe().endswith("which is planning 20 images: drawing random numbers, fusing operations")
