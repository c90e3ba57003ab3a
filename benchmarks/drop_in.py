"""The same script with one changed import line: torch's DataLoader and gpuload's, on the CPU.

    python -m benchmarks.drop_in [--workers 2] [--rounds 5] [--seconds 3] [TASK ...]

Datasets and transforms are torchvision's and torch's. Both loaders play some seconds in turn, several rounds; the
figure is the median of the rounds' ratios. Torch runs on one thread in the loop's own process, as in its workers. An
epoch that ends in mid-round is begun anew, and what that costs counts. ``startup``: from making the loader to its
first batch, inverted; each in a new process, which has imported both and made the dataset.
"""

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader as TorchDataLoader, Dataset, TensorDataset, random_split
from torchvision import datasets
from torchvision.transforms import v2

from benchmarks import photos
from gpuload import DataLoader
from gpuload.tools.machine import machine

START = "import sys; from benchmarks.drop_in import startup; print(startup(int(sys.argv[1]), int(sys.argv[2])))"

Make = Callable[[], tuple[Any, dict[str, Any]]]  # a dataset, and the loader's arguments

VALUES = [
    v2.ToImage(),
    v2.ToDtype(torch.float32, scale=True),
    v2.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
]


class Vectors(Dataset[tuple[torch.Tensor, int]]):
    """A dataset of a user's own."""

    def __len__(self) -> int:
        return 200_000

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return torch.full((64,), float(index)), index % 10


def folder() -> Any:
    transform = v2.Compose([v2.RandomResizedCrop(224), v2.RandomHorizontalFlip(), *VALUES])
    return datasets.ImageFolder(photos.photos(512), transform)


def cifar() -> Any:
    """As torchvision's class holds it: 50,000 images of 32 x 32, made up."""
    data: Any = datasets.CIFAR10.__new__(datasets.CIFAR10)
    rng = np.random.default_rng(0)
    data.data = rng.integers(0, 256, (50_000, 32, 32, 3), np.uint8)
    data.targets = rng.integers(0, 10, 50_000).tolist()
    data.transform = v2.Compose([v2.RandomCrop(32, padding=4), v2.RandomHorizontalFlip(), *VALUES])
    data.target_transform, data.train, data.root = None, True, ""
    return data


def rows() -> Any:
    return TensorDataset(torch.randn(1_000_000, 16), torch.randint(0, 10, (1_000_000,)))


def half(dataset: Any) -> Any:
    return random_split(dataset, [0.5, 0.5], torch.Generator().manual_seed(0))[0]


IMAGES: dict[str, Any] = {"batch_size": 64, "shuffle": True, "drop_last": True}
ROWS: dict[str, Any] = {"batch_size": 256, "shuffle": True, "num_workers": 0}
TASKS: dict[str, Make] = {
    "folder": lambda: (folder(), IMAGES),
    "folder_split": lambda: (half(folder()), IMAGES),
    "cifar": lambda: (cifar(), {**IMAGES, "batch_size": 256}),
    "rows": lambda: (rows(), ROWS),
    "rows_split": lambda: (half(rows()), ROWS),
    "other": lambda: (Vectors(), {"batch_size": 256, "shuffle": True}),
}


def endless(loader: Any) -> Iterator[Any]:
    while True:
        yield from loader


def rate(batches: Iterator[Any], seconds: float) -> float:
    """Batches per second."""
    start, count = time.perf_counter(), 0
    while time.perf_counter() - start < seconds:
        next(batches)
        count += 1
    return count / (time.perf_counter() - start)


def ratios(ours: Any, theirs: Any, rounds: int, seconds: float) -> list[float]:
    playing = [endless(loader) for loader in (ours, theirs)]
    for batches in playing:
        next(batches)
    found = []
    for turn in range(rounds):
        rates = {which: rate(playing[which], seconds) for which in ((0, 1) if turn % 2 else (1, 0))}
        found.append(rates[0] / rates[1])
    return found


def makers(task: str, workers: int) -> list[Callable[[], Any]]:
    """What makes gpuload's loader, and torch's."""
    torch.set_num_threads(1)
    dataset, options = TASKS[task]()
    options = {"num_workers": workers, **options}
    return [partial(DataLoader, dataset, **options, device="cpu"), partial(TorchDataLoader, dataset, **options)]


def startup(which: int, workers: int) -> float:
    """Seconds from making a loader to its first batch: gpuload's, or torch's."""
    make = makers("folder", workers)[which]
    start = time.perf_counter()
    batches = iter(make())
    next(batches)
    return time.perf_counter() - start


def startups(workers: int, rounds: int) -> list[float]:
    """Ratios of torch's time to gpuload's."""
    found = []
    for turn in range(rounds + 1):
        ours, theirs = (
            float(subprocess.check_output([sys.executable, "-c", START, str(which), str(workers)])) for which in (0, 1)
        )
        if turn > 0:  # the first compiles what is not compiled yet
            found.append(theirs / ours)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tasks", nargs="*", metavar="TASK", help=f"of {', '.join([*TASKS, 'startup'])}; default: all")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3.0)
    given = parser.parse_args()
    if not {*given.tasks} <= {*TASKS, "startup"}:
        parser.error(f"TASK must be one of {', '.join([*TASKS, 'startup'])}, got {' '.join(given.tasks)}")
    print(machine())
    for task in given.tasks or [*TASKS, "startup"]:
        if task == "startup":
            found = startups(given.workers, given.rounds)
        else:
            ours, theirs = (make() for make in makers(task, given.workers))
            found = ratios(ours, theirs, given.rounds, given.seconds)
        span = f"{min(found):.2f} to {max(found):.2f}"
        print(f"{task:14} {statistics.median(found):6.2f} times torch's ({span})", flush=True)


if __name__ == "__main__":
    main()
