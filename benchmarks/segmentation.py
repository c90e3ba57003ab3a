"""What segmentation costs: image and mask, RandomResizedCrop(512), then a flip, on the CPU.

    python -m benchmarks.segmentation [--rounds 9] [--batches 4]

gpuload's loader and torch's, with torchvision's transforms of both and without workers, load some batches each in
turn, several rounds. What counts is the process's CPU time. Figures are the medians of the rounds' milliseconds per
image, and of their ratios.
"""

import argparse
import statistics
from functools import partial
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch.utils.data import DataLoader as TorchDataLoader
from torchvision import tv_tensors
from torchvision.transforms import v2

from benchmarks import photos
from benchmarks.colors import cost
from benchmarks.drop_in import endless
from gpuload import DataLoader, SegmentationFolder
from gpuload.tools.machine import machine

MAKERS: dict[str, Any] = {"gpuload": partial(DataLoader, device="cpu"), "torch": TorchDataLoader}
DTYPES: dict[str, Any] = {
    "uint8 masks": torch.float32,
    "int64 masks": {tv_tensors.Image: torch.float32, tv_tensors.Mask: torch.int64, "others": None},
}
OPTIONS: dict[str, Any] = {"batch_size": 16, "shuffle": True, "drop_last": True, "num_workers": 0}


def masks(images: Path) -> Path:
    """A mask of eight classes for each photo: its grays in steps, without small parts; made once."""
    root = photos.FOLDER / "masks-256"
    if not (root / "made").exists():
        for path in images.rglob("*.jpg"):
            mask = root / path.relative_to(images).with_suffix(".png")
            mask.parent.mkdir(parents=True, exist_ok=True)
            with Image.open(path) as image:
                small = image.convert("L").resize((25, 19)).point(lambda value: value // 32)
                small.resize(image.size, Image.Resampling.NEAREST).save(mask)
        (root / "made").touch()
    return root


def dataset(dtype: Any) -> SegmentationFolder:
    images = photos.photos(256)
    values = [v2.ToImage(), v2.ToDtype(dtype, scale=True), v2.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])]
    transforms = v2.Compose([v2.RandomResizedCrop(512), v2.RandomHorizontalFlip(), *values])
    return SegmentationFolder(images, masks(images), transforms)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--batches", type=int, default=4)
    given = parser.parse_args()
    print(machine())
    torch.set_num_threads(1)
    playing = {
        (loader, name): endless(make(dataset(dtype), **OPTIONS))
        for loader, make in MAKERS.items()
        for name, dtype in DTYPES.items()
    }
    for batches in playing.values():
        next(batches)
    rounds = [{key: cost(batches, given.batches) for key, batches in playing.items()} for _ in range(given.rounds)]
    found = {f"{loader}, {name}: ms": [costs[loader, name] for costs in rounds] for loader, name in playing}
    found |= {f"torch over gpuload, {n}": [costs["torch", n] / costs["gpuload", n] for costs in rounds] for n in DTYPES}
    for title, values in found.items():
        print(f"{title:40} {statistics.median(values):6.2f} ({min(values):.2f} to {max(values):.2f})", flush=True)


if __name__ == "__main__":
    main()
