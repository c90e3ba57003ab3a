"""What colors cost: RandomResizedCrop, then ColorJitter or nothing, then a flip, on the CPU.

    python -m benchmarks.colors [--rounds 9] [--batches 4]

gpuload's loader and torch's, with torchvision's transforms and without workers, load some batches each in turn, several
rounds. What counts is the process's CPU time. Figures are the medians of the rounds' milliseconds per image, and of
their ratios.
"""

import argparse
import statistics
import time
from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
from torch.utils.data import DataLoader as TorchDataLoader
from torchvision import datasets
from torchvision.transforms import v2

from benchmarks import photos
from benchmarks.drop_in import IMAGES, VALUES, endless
from gpuload import DataLoader
from gpuload.tools.machine import machine

MAKERS: dict[str, Any] = {"gpuload": partial(DataLoader, device="cpu"), "torch": TorchDataLoader}
MIDDLE: dict[str, list[Any]] = {"plain": [], "jitter": [v2.ColorJitter(0.4, 0.4, 0.4, 0.1)]}
RATIOS = {
    "gpuload, with ColorJitter over without": (("gpuload", "jitter"), ("gpuload", "plain")),
    "torch, with ColorJitter over without": (("torch", "jitter"), ("torch", "plain")),
    "torch over gpuload, without ColorJitter": (("torch", "plain"), ("gpuload", "plain")),
    "torch over gpuload, with ColorJitter": (("torch", "jitter"), ("gpuload", "jitter")),
}


def dataset(middle: list[Any]) -> Any:
    transform = v2.Compose([v2.RandomResizedCrop(224), *middle, v2.RandomHorizontalFlip(), *VALUES])
    return datasets.ImageFolder(photos.photos(512), transform)


def cost(batches: Iterator[Any], count: int) -> float:
    """Milliseconds of CPU time per image."""
    start = time.process_time()
    images = sum(len(next(batches)[0]) for _ in range(count))
    return (time.process_time() - start) * 1e3 / images


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--batches", type=int, default=4)
    given = parser.parse_args()
    print(machine())
    torch.set_num_threads(1)
    playing = {
        (loader, name): endless(make(dataset(middle), **IMAGES, num_workers=0))
        for loader, make in MAKERS.items()
        for name, middle in MIDDLE.items()
    }
    for batches in playing.values():
        next(batches)
    rounds = [{key: cost(batches, given.batches) for key, batches in playing.items()} for _ in range(given.rounds)]
    found = {f"{loader}, {name}: ms": [costs[loader, name] for costs in rounds] for loader, name in playing}
    found |= {title: [costs[above] / costs[below] for costs in rounds] for title, (above, below) in RATIOS.items()}
    for title, values in found.items():
        print(f"{title:40} {statistics.median(values):6.2f} ({min(values):.2f} to {max(values):.2f})", flush=True)


if __name__ == "__main__":
    main()
