"""gpuload's transforms of images, and what moves targets as each of them moves its image."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpuload.arguments import margins, pair
from gpuload.errors import ArgumentError
from gpuload.recipes.draws import Draws
from gpuload.recipes.ops import Crop, Mask, Op, Pad, Resize
from gpuload.recipes.warp import Warp
from gpuload.targets.moves import Call, Move
from gpuload.transforms import adjust, color, gaussian_blur, geometry, pillow_blur, scale, values, warp
from gpuload.transforms.base import every
from gpuload.transforms.plan import Pointwise, Sizes, Steps

__all__ = ["Followed", "TargetsOnly", "follows", "leaves_targets"]

Drawn = list[tuple[Op, Mask]]
Moves = Iterator[tuple[Move, Mask]]


def follows(transform: Any) -> bool:
    """Is there something that moves targets as this transform moves images?"""
    return type(transform) in FOLLOWING


def leaves_targets(transform: Any) -> bool:
    """Is it one of values or colors, which targets have not?"""
    return type(transform) in COLORS or isinstance(transform, Pointwise)


class Followed:
    """A transform of images, and of their targets with it.

    Args:
        transform: which `follows`.

    Raises:
        ArgumentError: it would fill masks with a color.
    """

    def __init__(self, transform: Any) -> None:
        self._transform = transform
        self.channels, self.floats = transform.channels, transform.floats
        if getattr(transform, "expand", False):
            raise ArgumentError("targets cannot follow a rotation with expand=True: pass expand=False")
        if getattr(transform, "mask_fill", 0) is None:
            raise ArgumentError(
                f"fill={transform.fill!r} of {type(transform).__name__} is a color, but a mask is filled with one "
                'number: pass fill={"image": ..., "mask": ...}'
            )

    def __repr__(self) -> str:
        return repr(self._transform)

    def steps(self, height: Sizes, width: Sizes, draws: Draws) -> Steps:
        steps = list(self._transform.steps(height, width, draws))
        yield from steps
        yield from FOLLOWING[type(self._transform)](self._transform, steps, every(height))


class TargetsOnly:
    """A transform of torchvision's that changes targets alone.

    Args:
        transform: that one.
        image: see `Call`.

    Attributes:
        call: of it.
    """

    channels, floats = None, True

    def __init__(self, transform: Any, image: Any) -> None:
        self.call = Call(transform, image)

    def __repr__(self) -> str:
        return repr(self.call.transform)

    def steps(self, height: Sizes, width: Sizes, draws: Draws) -> Steps:
        yield self.call, every(height)


# ---- what follows each ----


def _numbers(columns: Any, where: Mask) -> NDArray[Any]:
    """Numbers of n samples, or of all of them alike, side by side."""
    return np.stack([np.broadcast_to(column, len(where)) for column in columns], axis=1)


def _resize(transform: geometry.Resize, drawn: Drawn, everywhere: Mask) -> Moves:
    yield Move("resize", (), (("size", transform.size), ("max_size", transform.max_size))), everywhere


def _scaled(transform: Any, drawn: Drawn, everywhere: Mask) -> Moves:
    ((op, _),) = drawn
    assert isinstance(op, Resize)
    yield Move("resize", _numbers((op.height, op.width), everywhere)), everywhere


def _center_crop(transform: geometry.CenterCrop, drawn: Drawn, everywhere: Mask) -> Moves:
    yield Move("center_crop", (), (("output_size", transform.size),)), everywhere


def _random_resized_crop(transform: geometry.RandomResizedCrop, drawn: Drawn, everywhere: Mask) -> Moves:
    (crop, where), _ = drawn
    yield Move("resized_crop", _numbers(crop, where), (("size", pair("size", transform.size)),)), where


def _random_crop(transform: geometry.RandomCrop, drawn: Drawn, everywhere: Mask) -> Moves:
    for op, where in drawn:
        match op:
            case Pad(left, top, right, bottom):
                yield _padded(_numbers((left, top, right, bottom), where), transform), where
            case Crop():
                yield Move("crop", _numbers(op, where)), where


def _pad(transform: geometry.Pad, drawn: Drawn, everywhere: Mask) -> Moves:
    yield _padded(_numbers(margins(transform.padding), everywhere), transform), everywhere


def _padded(sides: NDArray[Any], transform: geometry.Pad | geometry.RandomCrop) -> Move:
    return Move("pad", sides, (("fill", transform.mask_fill), ("padding_mode", transform.padding_mode)))


def _flip(transform: geometry.RandomHorizontalFlip, drawn: Drawn, everywhere: Mask) -> Moves:
    ((_, where),) = drawn
    yield Move("horizontal_flip" if transform.horizontal else "vertical_flip", ()), where


def _warped(name: str) -> Callable[[Any, Drawn, Mask], Moves]:
    def move(transform: Any, drawn: Drawn, everywhere: Mask) -> Moves:
        ((op, where),) = drawn
        assert isinstance(op, Warp)
        center = (("center", transform.center),) if name != "perspective" else ()
        told = op.numbers if name == "perspective" else op.motion
        yield Move(name, told, (("fill", transform.mask_fill), *center)), where

    return move


FOLLOWING: dict[type, Callable[[Any, Drawn, Mask], Moves]] = {
    geometry.Resize: _resize,
    scale.RandomResize: _scaled,
    scale.RandomShortestSize: _scaled,
    scale.ScaleJitter: _scaled,
    geometry.CenterCrop: _center_crop,
    geometry.RandomResizedCrop: _random_resized_crop,
    geometry.RandomCrop: _random_crop,
    geometry.Pad: _pad,
    geometry.RandomHorizontalFlip: _flip,
    geometry.RandomVerticalFlip: _flip,
    warp.RandomRotation: _warped("rotate"),
    warp.RandomAffine: _warped("affine"),
    warp.RandomPerspective: _warped("perspective"),
}
COLORS = (
    *(color.Grayscale, color.RandomGrayscale, color.RGB, values.ToImage, values.PILToTensor),
    *(adjust.ColorJitter, adjust.RandomAdjustSharpness, adjust.RandomAutocontrast, adjust.RandomEqualize),
    *(adjust.RandomInvert, adjust.RandomPosterize, adjust.RandomSolarize, pillow_blur.PillowGaussianBlur),
    *(adjust.RandomChannelPermutation, adjust.RandomPhotometricDistort, gaussian_blur.GaussianBlur),
)
