"""A recipe applied with Pillow, step by step: the definition that every engine must meet, bit for bit.

Nothing is folded or reordered here. Source: Pillow 13 (``Image.resize``, ``crop``, ``transpose``,
``convert("L")``, ``ImageOps.expand``) and, for padding modes, ``numpy.pad``, as torchvision does it for
PIL images.
"""

import numpy as np
from PIL import Image, ImageOps

from gpuload.steps import Crop, Filter, Flip, Pad, PadMode, Recipe, Resize, Step

__all__ = ["apply"]

RESAMPLING = {
    Filter.NEAREST: Image.Resampling.NEAREST,
    Filter.BOX: Image.Resampling.BOX,
    Filter.BILINEAR: Image.Resampling.BILINEAR,
    Filter.HAMMING: Image.Resampling.HAMMING,
    Filter.BICUBIC: Image.Resampling.BICUBIC,
    Filter.LANCZOS: Image.Resampling.LANCZOS,
}


def apply(image: Image.Image, recipe: Recipe) -> Image.Image:
    """The recipe's steps on an RGB image, in order."""
    for step in recipe:
        image = _apply(image, step)
    return image


def _apply(image: Image.Image, step: Step) -> Image.Image:
    if isinstance(step, Crop):
        return image.crop((step.left, step.top, step.left + step.width, step.top + step.height))
    if isinstance(step, Resize):
        return image.resize((step.width, step.height), RESAMPLING[step.filter])
    if isinstance(step, Flip):
        ways = Image.Transpose
        return image.transpose(ways.FLIP_LEFT_RIGHT if step.horizontal else ways.FLIP_TOP_BOTTOM)
    if isinstance(step, Pad):
        return _pad(image, step)
    return image.convert("L").convert("RGB")


def _pad(image: Image.Image, step: Pad) -> Image.Image:
    if step.mode is PadMode.CONSTANT:
        return ImageOps.expand(image, (step.left, step.top, step.right, step.bottom), step.fill)
    margins = ((step.top, step.bottom), (step.left, step.right), (0, 0))
    if step.mode is PadMode.EDGE:
        return Image.fromarray(np.pad(np.asarray(image), margins, mode="edge"))
    if step.mode is PadMode.REFLECT:
        return Image.fromarray(np.pad(np.asarray(image), margins, mode="reflect"))
    return Image.fromarray(np.pad(np.asarray(image), margins, mode="symmetric"))
