"""Ten views of each image, DINO's: two large and eight small crops, flipped, with other colors, normalized, on the CPU.

    python -m benchmarks.views [--workers 2] [--rounds 5] [--images 256]

torch's loader, with torchvision's transforms in a class as users write it, and gpuload's with the same transforms in a
`MultiView` play whole epochs in turn, several rounds; each begins with idle workers, which stay from epoch to epoch.
That both have the same pixels with the same seed is checked first. Figures are the medians of the rounds' images per
second, and of their ratios.
"""

import argparse
import statistics
import time
from typing import Any

import torch
from PIL import Image
from torch.utils.data import DataLoader as TorchDataLoader
from torchvision import datasets
from torchvision.transforms import v2

from benchmarks import photos
from benchmarks.drop_in import VALUES
from gpuload import DataLoader, transforms as T
from gpuload.tools.machine import machine

LARGE, SMALL = 2, 8
CHECKED = 20  # samples


def crops(size: int, scale: tuple[float, float], *more: Any) -> Any:
    crop = v2.RandomResizedCrop(size, scale, interpolation=v2.InterpolationMode.BICUBIC)
    colors = [v2.ColorJitter(0.4, 0.4, 0.2, 0.1), v2.RandomGrayscale(0.2)]
    return v2.Compose([crop, v2.RandomHorizontalFlip(), *colors, *more, *VALUES])


class DataAugmentationDINO:
    """As in DINO's code, but for blur and RandomApply."""

    def __init__(self) -> None:
        self.first = crops(224, (0.4, 1.0))
        self.second = crops(224, (0.4, 1.0), v2.RandomSolarize(128, 0.2))
        self.small = crops(96, (0.05, 0.4))

    def __call__(self, image: Image.Image) -> list[Any]:
        return [self.first(image), self.second(image), *(self.small(image) for _ in range(SMALL))]


def sets(images: int) -> list[Any]:
    """torch's dataset, and gpuload's."""
    theirs = DataAugmentationDINO()
    ours = T.MultiView([theirs.first, theirs.second, (theirs.small, SMALL)])
    return [datasets.ImageFolder(photos.photos(images), transform) for transform in (theirs, ours)]


def check(theirs: Any, ours: Any) -> None:
    """The same pixels: of torchvision's class, of ``dataset[i]``, and of what the loader renders."""
    for index in range(CHECKED):
        made = []
        for dataset in (theirs, ours):
            torch.manual_seed(index)
            made.append(dataset[index][0])
        assert all(map(torch.equal, *made)), index
    made = []
    for engine in ("cpu", "pillow"):
        loader = DataLoader(ours, CHECKED, seed=0, shuffle=True, device="cpu", engine=engine)
        made.append(next(iter(loader))[0])
    assert all(map(torch.equal, *made))


def rate(loader: Any) -> float:
    """Images per second of an epoch."""
    start = time.perf_counter()
    count = sum(len(labels) for _, labels in loader)
    return count / (time.perf_counter() - start)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--images", type=int, default=256)
    given = parser.parse_args()
    print(machine())
    torch.set_num_threads(1)
    theirs, ours = sets(given.images)
    check(theirs, ours)
    options: dict[str, Any] = {"batch_size": 64, "shuffle": True, "num_workers": given.workers}
    options["persistent_workers"] = given.workers > 0
    loaders = {"torch": TorchDataLoader(theirs, **options), "gpuload": DataLoader(ours, device="cpu", **options)}
    found: dict[str, list[float]] = {name: [] for name in loaders}
    for turn in range(given.rounds + 1):
        for name in loaders if turn % 2 else reversed(loaders):
            found[name].append(rate(loaders[name]))
    found = {f"{name}, images/s": rates[1:] for name, rates in found.items()}  # the first warms up
    found["gpuload over torch"] = [above / below for below, above in zip(*found.values(), strict=True)]
    for title, values in found.items():
        print(f"{title:20} {statistics.median(values):6.2f} ({min(values):.2f} to {max(values):.2f})", flush=True)


if __name__ == "__main__":
    main()
