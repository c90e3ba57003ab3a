"""Masks of classes, one byte a pixel: the recipe of an image, as it is for its mask.

A mask is resized as torch does it, by the nearest pixel; it has no colors, and a fill of its own. What turns a mask is
torchvision's, of tensors: it does not fuse.
"""

from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from gpuload.errors import ArgumentError, DecodeError
from gpuload.recipes.adjust import Adjust
from gpuload.recipes.ops import Crop, Filter, Flip, Fusing, Grayscale, Mask, Pad, Pixels, Resize
from gpuload.recipes.recipes import Recipes, RecipesBuilder, apply
from gpuload.recipes.warp import Warp
from gpuload.stage import name_of
from gpuload.targets.installed import has_tv_tensors, tv_tensors
from gpuload.targets.moves import Call, Move

__all__ = ["for_masks", "mask_of", "moved_mask", "pillow_mask", "tensor_of"]

MODES = "1", "L", "P"
WARPS = "affine", "perspective", "rotate"


class WarpedMask(NamedTuple):
    """A `Move` of a mask that is turned, sheared or tilted."""

    name: str
    told: Any
    given: tuple[tuple[str, Any], ...]

    def size_after(self, height: Pixels, width: Pixels) -> tuple[Pixels, Pixels]:
        return height, width

    def apply(self, image: Image.Image) -> Image.Image:
        mask = tv_tensors().Mask(torch.from_numpy(np.array(image.getchannel(0))))
        return Image.fromarray(np.ascontiguousarray(Move(*self).of(mask).numpy())).convert("RGB")

    def fuse(self, fusing: Fusing, where: Mask) -> None:
        fusing.refuse(where)


def for_masks(recipes: Recipes) -> Recipes:
    """What the masks of images get of these recipes: operations on the same byte three times, as RGB.

    Raises:
        ArgumentError: an operation that masks cannot follow.
    """
    builder = RecipesBuilder(recipes.height, recipes.width)
    for op, where in recipes.steps:
        match op:
            case Crop() | Flip():
                builder.add(op, where)
            case Resize():
                builder.add(op._replace(filter=Filter.TORCH_NEAREST), where)
            case Pad():
                assert op.mask_fill is not None, "what pads masks with a color was refused"
                builder.add(op._replace(fill=(op.mask_fill,) * 3), where)
            case Move() if op.name in WARPS:
                builder.add(WarpedMask(*op), where)
            case Move() | Call() | Warp() | Adjust() | Grayscale():
                pass
            case _:
                raise ArgumentError(f"masks cannot follow {name_of(op)}: it moves images alone")
    return builder.done()


def mask_of(image: Image.Image) -> NDArray[np.uint8]:
    """The classes of an image file's mask: (H, W) uint8.

    Raises:
        DecodeError: it is no image of one byte, or bit, a pixel.
    """
    if image.mode not in MODES:
        raise DecodeError(
            f"a mask must be an image of mode {', '.join(MODES)}, whose values are classes, got mode {image.mode}"
        )
    return np.array(image, np.uint8)


def pillow_mask(mask: NDArray[np.uint8]) -> Image.Image:
    """A mask as an image that recipes can be applied to."""
    return Image.fromarray(mask).convert("RGB")


def moved_mask(mask: NDArray[np.uint8], recipes: Recipes) -> NDArray[np.uint8]:
    """A mask, after all that the recipe of its image, the only one, has for it: (H, W) uint8."""
    return np.array(apply(pillow_mask(mask), for_masks(recipes)[0]).getchannel(0))


def tensor_of(mask: NDArray[np.uint8]) -> Any:
    """The mask as ``tv_tensors.Mask``, where torchvision is installed; else as a tensor."""
    tensor = torch.from_numpy(mask)
    return tv_tensors().Mask(tensor) if has_tv_tensors() else tensor
