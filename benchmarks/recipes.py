"""Training recipes: gpuload's loader with a preset, and torch's with the same recipe of torchvision's, on the CPU.

    python -m benchmarks.recipes [NAME ...] [--workers 2] [--rounds 5] [--images 256]

Whole epochs in turn, several rounds, each loader with as many workers, which stay from epoch to epoch; batches that a
recipe mixes are mixed. That ``dataset[i]`` gives both the same tensors for the same seed is checked first. Figures are
the medians of the rounds' images per second, and of their ratios.
"""

import argparse
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch.utils._pytree import tree_leaves
from torch.utils.data import DataLoader as TorchDataLoader
from torchvision import datasets

from benchmarks import photos
from benchmarks.references import MIXES, REFERENCES
from gpuload import DataLoader
from gpuload.presets import PRESETS
from gpuload.tools.machine import machine
from gpuload.tools.rounds import Spread, interleaved, ratios

CHECKED = 12  # samples
CLASSES = 1000


def check(theirs: Any, ours: Any) -> None:
    """The same tensors, of torchvision's transforms and of the preset."""
    for index in range(CHECKED):
        made = []
        for dataset in (theirs, ours):
            torch.manual_seed(index)
            made.append(tree_leaves(dataset[index][0]))
        assert all(map(torch.equal, *made)), index


def rate(loader: Any, mix: Callable[..., Any] | None) -> float:
    """Images per second of an epoch."""
    start, count = time.perf_counter(), 0
    for images, labels in loader:
        if mix is not None:
            mix(images, labels)
        count += len(labels)
    return count / (time.perf_counter() - start)


def loaders(name: str, images: int, workers: int) -> dict[str, tuple[Any, Any]]:
    """Each loader, and what the training loop does to its batches."""
    preset, folder = PRESETS[name](num_classes=CLASSES), photos.photos(images)
    theirs, ours = (datasets.ImageFolder(folder, one) for one in (REFERENCES[name], preset.transform))
    check(theirs, ours)
    options: dict[str, Any] = {"batch_size": 64, "shuffle": True, "num_workers": workers}
    options["persistent_workers"] = workers > 0
    mix = MIXES[name](CLASSES) if name in MIXES else None
    our_loader: Any = DataLoader(ours, device="cpu", **options, batch_transform=preset.batch_transform)
    return {"torch": (TorchDataLoader(theirs, **options), mix), "gpuload": (our_loader, None)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", metavar="NAME", nargs="*", help=f"of {', '.join(REFERENCES)}; default: all")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--images", type=int, default=256)
    given = parser.parse_args()
    print(machine())
    torch.set_num_threads(1)
    for name in given.names or REFERENCES:
        playing = loaders(name, given.images, given.workers)
        plays = {loader: partial(rate, *both) for loader, both in playing.items()}
        figures = interleaved(plays, range(given.rounds + 1))
        found = {loader: rates[1:] for loader, rates in figures.items()}  # the first warms up
        median, low, high = Spread.of(ratios(found["gpuload"], found["torch"]))
        rates = ", ".join(f"{loader} {Spread.of(rates).median:,.0f} images/s" for loader, rates in found.items())
        print(f"{name:22} {median:5.2f} times as fast ({low:.2f} to {high:.2f}): {rates}", flush=True)


if __name__ == "__main__":
    main()
