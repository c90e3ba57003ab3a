"""Are the loader's images torchvision's, bit for bit? The same files, with the same numbers drawn."""

from collections.abc import Callable, Iterator
from typing import Any, assert_never

import torch
from PIL import Image

from gpuload.datasets import ImageDataset
from gpuload.lifting import find
from gpuload.loader import DataLoader
from gpuload.recipes.ops import Crop, Flip, Grayscale, Pad, Recipe, Resize
from gpuload.tools.common import need

__all__ = ["comparisons", "torchvision_applied"]


def comparisons(loader: DataLoader[Any], to_values: Callable[[Any], torch.Tensor]) -> Iterator[bool]:
    """Whether each image of the loader's next epoch, randomly augmented, is what torchvision makes of its file.

    Args:
        loader: of images, all of whose transform has recipes.
        to_values: from a PIL image to the tensor, with what the transform has behind its last operation.
    """
    images, open_photo = find(loader.dataset), need("torchvision.datasets.folder").default_loader
    assert isinstance(images, ImageDataset)
    recipes = loader.recipes(loader.epoch)
    delivered = (image for batch, _ in loader for image in batch.cpu())
    for image, (index, recipe) in zip(delivered, recipes, strict=False):
        yield torch.equal(image, to_values(torchvision_applied(recipe, open_photo(images.path(index)))))


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
