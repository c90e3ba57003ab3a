"""gpuload against torch with torchvision: the same bits, and how fast."""

import time
from collections.abc import Iterable
from itertools import islice
from typing import Any

import torch
from PIL import Image

from gpuload.datasets import ImageFolder
from gpuload.demo.common import bar, need
from gpuload.demo.photos import to_floats
from gpuload.loader import DataLoader
from gpuload.steps import Crop, Flip, Recipe, Resize

__all__ = ["CHECKED", "ROUNDS", "equal_augmented", "equal_batches", "rates"]

CHECKED = 64  # randomly augmented images that are compared with torchvision's
ROUNDS = 5  # of loading alone, by each loader


def equal_batches(ours: Iterable[Any], theirs: Iterable[Any]) -> bool:
    """Do both loaders deliver the same bits, images and labels, batch by batch?"""
    return all(
        torch.equal(mine.cpu(), yours)
        for batches in zip(theirs, ours, strict=True)  # torch forks its workers first, gpuload then starts threads
        for yours, mine in zip(*batches, strict=True)
    )


def equal_augmented(ours: DataLoader) -> bool:
    """Are the first randomly augmented images what torchvision makes of the photos with the same numbers drawn?"""
    v2, open_photo = need("torchvision.transforms.v2"), need("torchvision.datasets.folder").default_loader
    values, dataset = v2.Compose(to_floats(v2)), ours.dataset
    assert isinstance(dataset, ImageFolder)
    recipes = islice(ours.recipes(ours.epoch), CHECKED)
    delivered = (image for images, _ in ours for image in images.cpu())
    return all(
        torch.equal(image, values(_applied(recipe, open_photo(dataset.samples[index][0]), v2)))
        for (index, recipe), image in zip(recipes, delivered, strict=False)
    )


def _applied(recipe: Recipe, photo: Image.Image, v2: Any) -> Any:
    """The steps that `augmented` draws, by torchvision's functions."""
    for step in recipe:
        if isinstance(step, Crop):
            photo = v2.functional.crop(photo, *step)
        elif isinstance(step, Resize):
            mode = v2.InterpolationMode(step.filter.name.lower())
            photo = v2.functional.resize(photo, [step.height, step.width], interpolation=mode)
        elif isinstance(step, Flip):
            photo = v2.functional.horizontal_flip(photo)
        else:
            photo = v2.functional.rgb_to_grayscale(photo, num_output_channels=3)
    return photo


def rates(loaders: dict[str, Any], device: torch.device, progress: bool) -> dict[str, list[float]]:
    """Images a second of loading alone, for each loader and round.

    What makes it fair: each loader delivers a whole epoch of the same files to the device, with as many workers.
    The first epoch of each is not counted: in it torch's processes start, which live on, and files are read for
    the first time. gpuload's threads start anew each epoch, and that is counted. Then the loaders take turns, in
    alternating order, so that whatever else the machine does hits both.
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
