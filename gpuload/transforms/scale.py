"""Transforms that draw an image's size, as detection and segmentation are trained with."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from gpuload.arguments import at_least, is_number, range_of
from gpuload.errors import ArgumentError, ArgumentTypeError
from gpuload.recipes.draws import Draws
from gpuload.recipes.ops import Resize as ResizeOp
from gpuload.recipes.recipes import MOST_PIXELS
from gpuload.transforms.base import Interpolation, InterpolationMode, Transform, filter_of
from gpuload.transforms.plan import Sizes, Steps

__all__ = ["RandomResize", "RandomShortestSize", "ScaleJitter"]


class _Scaling(Transform):
    """What they share: a size that is drawn; the image's own is left as it is."""

    interpolation: Interpolation
    antialias: bool | None

    def resolve(self) -> None:
        self._filter = filter_of(self.interpolation)

    def _steps(self, height: Sizes, width: Sizes, factor: Any) -> Steps:
        return self._to(height, width, np.trunc(height * factor), np.trunc(width * factor))

    def _to(self, height: Sizes, width: Sizes, new_height: Any, new_width: Any) -> Steps:
        least, most = np.minimum(new_height, new_width), np.maximum(new_height, new_width)
        odd = (least < 1) | (most > MOST_PIXELS)
        if odd.any():
            first = int(odd.argmax())
            raise ArgumentError(
                f"{self!r} makes {new_height[first]:.0f} x {new_width[first]:.0f} pixels of an image of "
                f"{height[first]:.0f} x {width[first]:.0f}"
            )
        op: Any = ResizeOp(new_height.astype(np.int64), new_width.astype(np.int64), self._filter)
        yield op, (op.height != height) | (op.width != width)


class RandomResize(_Scaling):
    """``torchvision.transforms.v2.RandomResize``: the shorter edge to a size that is drawn from all between two.

    Args:
        min_size, max_size: least number of pixels, and one more than the most.
        interpolation: filter; always antialiased, as Pillow is.
        antialias: accepted and without effect, as in torchvision for PIL images.
    """

    min_size: int
    max_size: int

    def __init__(
        self,
        min_size: int,
        max_size: int,
        interpolation: Interpolation = InterpolationMode.BILINEAR,
        antialias: bool | None = True,
    ) -> None:
        super().__init__(min_size=min_size, max_size=max_size, interpolation=interpolation, antialias=antialias)

    def resolve(self) -> None:
        super().resolve()
        self._least = at_least("min_size", self.min_size, 1, " pixel")
        self._count = at_least("max_size", self.max_size, 1, " pixel") - self._least
        if self._count < 1:
            raise ArgumentError(f"max_size must be more than min_size={self.min_size}, got {self.max_size}")

    def steps(self, height: Sizes, width: Sizes, draws: Draws) -> Steps:
        size = self._least + draws.integer(self._count, np.arange(len(height)))
        shorter = np.minimum(height, width)
        sides = (np.where(side == shorter, size, np.trunc(size * side / shorter)) for side in (height, width))
        return self._to(height, width, *sides)


class RandomShortestSize(_Scaling):
    """``torchvision.transforms.v2.RandomShortestSize``: the shorter edge to a size that is drawn from a list.

    Args:
        min_size: an int, or several, of which one is drawn.
        max_size: most pixels of the longer edge; None: as many as there are.
        interpolation: filter; always antialiased, as Pillow is.
        antialias: accepted and without effect, as in torchvision for PIL images.
    """

    min_size: int | Sequence[int]
    max_size: int | None

    def __init__(
        self,
        min_size: int | Sequence[int],
        max_size: int | None = None,
        interpolation: Interpolation = InterpolationMode.BILINEAR,
        antialias: bool | None = True,
    ) -> None:
        super().__init__(min_size=min_size, max_size=max_size, interpolation=interpolation, antialias=antialias)

    def resolve(self) -> None:
        super().resolve()
        sizes = list(self.min_size) if isinstance(self.min_size, Sequence) else [self.min_size]
        if not sizes:
            raise ArgumentError("min_size must have a size, got none")
        self._sizes = np.array([at_least("min_size", size, 1, " pixel") for size in sizes], np.int64)
        self._most = None if self.max_size is None else at_least("max_size", self.max_size, 1, " pixel")

    def steps(self, height: Sizes, width: Sizes, draws: Draws) -> Steps:
        chosen = self._sizes[draws.integer(len(self._sizes), np.arange(len(height)))]
        factor = chosen / np.minimum(height, width)
        if self._most is not None:
            factor = np.minimum(factor, self._most / np.maximum(height, width))
        return self._steps(height, width, factor)


class ScaleJitter(_Scaling):
    """``torchvision.transforms.v2.ScaleJitter``: the size at which an image fits into another one, times a factor.

    Args:
        target_size: the two numbers that torchvision fits width, with the first, and height into.
        scale_range: least and most of the factor, which is drawn.
        interpolation, antialias: as of `RandomShortestSize`.
    """

    target_size: Sequence[int]
    scale_range: Sequence[float]

    def __init__(
        self,
        target_size: Sequence[int],
        scale_range: Sequence[float] = (0.1, 2.0),
        interpolation: Interpolation = InterpolationMode.BILINEAR,
        antialias: bool | None = True,
    ) -> None:
        super().__init__(
            target_size=target_size, scale_range=scale_range, interpolation=interpolation, antialias=antialias
        )

    def resolve(self) -> None:
        super().resolve()
        size = self.target_size
        if not isinstance(size, Sequence) or len(size) != 2 or not all(is_number(side) and side > 0 for side in size):
            raise ArgumentTypeError(f"target_size must be two numbers above 0, got {size!r}")
        self._range = range_of("scale_range", self.scale_range, 0.0)

    def steps(self, height: Sizes, width: Sizes, draws: Draws) -> Steps:
        (low, high), (across, down) = self._range, self.target_size
        drawn = draws.uniform(0.0, 1.0, np.arange(len(height))).astype(np.float32)
        factor = np.float32(low) + drawn * np.float32(high - low)  # in float32, as torchvision has it
        factor *= np.minimum(down / height, across / width).astype(np.float32)
        return self._steps(height.astype(np.float32), width.astype(np.float32), factor)
