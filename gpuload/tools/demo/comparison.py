"""gpuload against torch with torchvision: bit-exact, and how fast."""

import time
from collections.abc import Iterable
from itertools import islice
from typing import Any, assert_never

import torch
from PIL import Image

from gpuload.datasets import ImageDataset
from gpuload.loader import DataLoader
from gpuload.recipes.ops import Crop, Flip, Grayscale, Pad, Recipe, Resize
from gpuload.tools.demo.common import bar, need
from gpuload.tools.demo.photos import to_floats

__all__ = ["CHECKED", "ROUNDS", "equal_augmented", "equal_batches", "rates", "torchvision_applied"]

CHECKED = 64  # randomly augmented images that are compared with torchvision's
ROUNDS = 5  # of loading alone, by each loader


def equal_batches(ours: Iterable[Any], theirs: Iterable[Any]) -> bool:
    """Are the batches of both loaders bit-exact, images and labels, one by one?"""
    return all(
        torch.equal(mine.cpu(), yours)
        for batches in zip(theirs, ours, strict=True)  # torch forks its workers first, gpuload then starts threads
        for yours, mine in zip(*batches, strict=True)
    )


def equal_augmented(ours: DataLoader[Any]) -> bool:
    """Are the first randomly augmented images what torchvision makes of the photos with the same numbers drawn?"""
    v2, open_photo = need("torchvision.transforms.v2"), need("torchvision.datasets.folder").default_loader
    values, dataset = v2.Compose(to_floats(v2)), ours.dataset
    assert isinstance(dataset, ImageDataset)
    recipes = islice(ours.recipes(ours.epoch), CHECKED)
    delivered = (image for images, _ in ours for image in images.cpu())
    return all(
        torch.equal(image, values(torchvision_applied(recipe, open_photo(dataset.path(index)))))
        for (index, recipe), image in zip(recipes, delivered, strict=False)
    )


def torchvision_applied(recipe: Recipe, photo: Image.Image) -> Any:
    """What torchvision's functions make of a photo, one operation after the other."""
    functional = need("torchvision.transforms.v2.functional")
    for op in recipe:
        photo = _applied(op, photo, functional)
    return photo


def _applied(op: Crop | Resize | Flip | Pad | Grayscale, photo: Image.Image, functional: Any) -> Any:
    match op:
        case Crop(top, left, height, width):
            return functional.crop(photo, top, left, height, width)
        case Resize(height, width, filter):
            mode = functional.InterpolationMode(filter.name.lower())
            return functional.resize(photo, [height, width], interpolation=mode)
        case Flip(horizontal):
            return functional.horizontal_flip(photo) if horizontal else functional.vertical_flip(photo)
        case Pad(left, top, right, bottom, fill, mode):
            margins = [left, top, right, bottom]
            return functional.pad(photo, margins, fill=list(fill), padding_mode=mode.name.lower())
        case Grayscale():
            return functional.rgb_to_grayscale(photo, num_output_channels=3)
        case _:
            assert_never(op)


def rates(loaders: dict[str, Any], device: torch.device, progress: bool) -> dict[str, list[float]]:
    """Images per second of loading alone, for each loader and round.

    What makes it fair: each loader delivers a whole epoch of the same files to the device, with as many workers.
    The first epoch of each is not counted: in it torch's processes start, which live on, and files are read for
    the first time. gpuload's threads start anew each epoch, and that is counted. Then the loaders' epochs are
    interleaved, in alternating order, so that whatever else the machine does hits both.
    """
    measured: dict[str, list[float]] = {name: [] for name in loaders}
    for number in bar(progress, "Comparing speeds", range(ROUNDS + 1), unit=" rounds"):
        for name in list(loaders)[:: -1 if number % 2 else 1]:
            rate = _rate(loaders[name], device)
            if number:
                measured[name].append(rate)
    return measured


def _rate(loader: Iterable[Any], device: torch.device) -> float:
    start, count = time.perf_counter(), 0
    for images, labels in loader:
        for tensor in (images, labels):
            tensor.to(device, non_blocking=True)  # gpuload's are there already
        count += len(images)
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return count / (time.perf_counter() - start)
