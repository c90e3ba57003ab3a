"""Transforms that move pixels: resize, crops, flips, padding. Sizes are (height, width) in pixels."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from gpuload.arguments import at_least, fills, margins, pair, probability, range_of
from gpuload.errors import ArgumentError
from gpuload.recipes.draws import Draws
from gpuload.recipes.ops import Crop, Flip, Pad as PadOp, PadMode, Resize as ResizeOp
from gpuload.recipes.recipes import MOST_PIXELS
from gpuload.transforms.base import Interpolation, InterpolationMode, Transform, chosen, every, filter_of, pad_mode_of
from gpuload.transforms.plan import Sizes, Steps

__all__ = [
    "CenterCrop",
    "Pad",
    "RandomCrop",
    "RandomHorizontalFlip",
    "RandomResizedCrop",
    "RandomVerticalFlip",
    "Resize",
]


def _within(name: str, *values: int) -> None:
    """Check numbers of pixels: with more than an image may have on a side, sums and products would not fit."""
    if max(values) > MOST_PIXELS:
        raise ArgumentError(f"{name} must be at most {MOST_PIXELS} pixels, got {max(values)}")


def _size(size: int | Sequence[int]) -> tuple[int, int]:
    sizes = pair("size", size)
    _within("size", *sizes)
    return sizes


def _margins(padding: int | Sequence[int]) -> tuple[int, int, int, int]:
    sides = margins(padding)
    _within("padding", *map(abs, sides))
    return sides


class Resize(Transform):
    """``torchvision.transforms.v2.Resize``: the shorter edge to ``size`` pixels, or to exactly (height, width).

    Args:
        size: int for the shorter edge, or (height, width); None, with ``max_size``, for the longer edge.
        interpolation: filter; always antialiased, as Pillow is.
        max_size: most pixels of the longer edge; only where ``size`` is one int or None.
        antialias: accepted and without effect, as in torchvision for PIL images.
    """

    size: int | Sequence[int] | None
    interpolation: Interpolation
    max_size: int | None
    antialias: bool | None

    def __init__(
        self,
        size: int | Sequence[int] | None,
        interpolation: Interpolation = InterpolationMode.BILINEAR,
        max_size: int | None = None,
        antialias: bool | None = True,
    ) -> None:
        super().__init__(size=size, interpolation=interpolation, max_size=max_size, antialias=antialias)

    def resolve(self) -> None:
        size, max_size = self.size, self.max_size
        sizes = _size(size) if size is not None else None
        self._exact = sizes if isinstance(size, Sequence) and len(size) == 2 else None
        self._edge = sizes[0] if sizes is not None else None
        if max_size is not None:
            _within("max_size", at_least("max_size", max_size, 1, " pixel"))
            if self._exact is not None:
                raise ArgumentError(f"max_size={max_size} goes with one int as size, got size={size!r}")
            if self._edge is not None and max_size <= self._edge:
                raise ArgumentError(f"max_size must be greater than size={self._edge}, got {max_size}")
        elif sizes is None:
            raise ArgumentError("size must be an int or (height, width), or None with max_size; got size=None")
        self._max_size = max_size
        self._filter = filter_of(self.interpolation)

    def size_of(self, height: Sizes, width: Sizes) -> tuple[Sizes, Sizes]:
        """The heights and widths that images of height x width pixels get."""
        if self._exact is not None:
            return np.full_like(height, self._exact[0]), np.full_like(width, self._exact[1])
        short, long = np.minimum(height, width), np.maximum(height, width)
        if self._edge is None:
            assert self._max_size is not None
            new_long = np.full_like(long, self._max_size)
            new_short = (self._max_size * short / long).astype(np.int64)
        else:
            new_short = np.full_like(short, self._edge)
            new_long = (self._edge * long / short).astype(np.int64)
            if self._max_size is not None:
                over = new_long > self._max_size
                new_short = np.where(over, (self._max_size * new_short / new_long).astype(np.int64), new_short)
                new_long = np.where(over, self._max_size, new_long)
        if new_short.min(initial=1) < 1:
            first = int(new_short.argmin())
            raise ArgumentError(f"{self!r} leaves no pixels of an image of {height[first]} x {width[first]}")
        upright = width <= height
        return np.where(upright, new_long, new_short), np.where(upright, new_short, new_long)

    def steps(self, height: Sizes, width: Sizes, draws: Draws) -> Steps:
        new_height, new_width = self.size_of(height, width)
        differs = (new_height != height) | (new_width != width)
        return [(ResizeOp(new_height, new_width, self._filter), differs)]


class CenterCrop(Transform):
    """``torchvision.transforms.v2.CenterCrop``: the middle ``size`` pixels; smaller images are padded with 0.

    Args:
        size: int for a square, or (height, width).
    """

    floats = True
    size: int | Sequence[int]
    _fill, _mode = (0, 0, 0), PadMode.CONSTANT

    def __init__(self, size: int | Sequence[int]) -> None:
        super().__init__(size=size)

    def resolve(self) -> None:
        self._size = _size(self.size)

    def steps(self, height: Sizes, width: Sizes, draws: Draws) -> Steps:
        crop_height, crop_width = self._size
        down, across = crop_height - height, crop_width - width
        top, left = np.maximum(down, 0) // 2, np.maximum(across, 0) // 2
        bottom, right = np.maximum(down + 1, 0) // 2, np.maximum(across + 1, 0) // 2
        smaller = (down > 0) | (across > 0)
        padding = PadOp(left, top, right, bottom, self._fill, self._mode)
        height, width = padding.size_after(height, width)
        crop = Crop(_half(height - crop_height), _half(width - crop_width), crop_height, crop_width)
        return [(padding, smaller), (crop, (height != crop_height) | (width != crop_width))]


def _half(margin: Sizes) -> Sizes:
    return np.rint(margin / 2.0).astype(np.int64)  # to the even one, as Python's round


class RandomCrop(Transform):
    """``torchvision.transforms.v2.RandomCrop``: ``size`` pixels from anywhere in the (padded) image.

    Args:
        size: int for a square, or (height, width).
        padding: pixels to add first: one for all sides, two for (left and right, top and bottom), or four for
            left, top, right, bottom.
        pad_if_needed: pad images that are smaller than ``size``; without it they raise.
        fill: color of constant padding, one number or (red, green, blue), 0 to 255; or a dict of those of "image" and
            of "mask", as torchvision's of ``tv_tensors``.
        padding_mode: constant, edge, reflect or symmetric.
    """

    size: int | Sequence[int]
    padding: int | Sequence[int] | None
    pad_if_needed: bool
    fill: Any
    padding_mode: str

    def __init__(
        self,
        size: int | Sequence[int],
        padding: int | Sequence[int] | None = None,
        pad_if_needed: bool = False,
        fill: Any = 0,
        padding_mode: str = "constant",
    ) -> None:
        super().__init__(size=size, padding=padding, pad_if_needed=pad_if_needed, fill=fill, padding_mode=padding_mode)

    def resolve(self) -> None:
        self._size = _size(self.size)
        self._margins = _margins(self.padding) if self.padding is not None else (0, 0, 0, 0)
        if min(self._margins) < 0:
            raise ArgumentError(
                f"padding must not be negative, got {self.padding!r}: to cut pixels off, use Pad before"
            )
        (self._fill, self.mask_fill), self._mode = fills(self.fill), pad_mode_of(self.padding_mode)
        self.floats = self.padding is None and not self.pad_if_needed

    def steps(self, height: Sizes, width: Sizes, draws: Draws) -> Steps:
        crop_height, crop_width = self._size
        left, top, right, bottom = self._margins
        down = np.maximum(crop_height - (height + top + bottom), 0) if self.pad_if_needed else 0
        across = np.maximum(crop_width - (width + left + right), 0) if self.pad_if_needed else 0
        looks = self._fill, self._mode, self.mask_fill
        padding = PadOp(left + across, top + down, right + across, bottom + down, *looks)
        padded_height, padded_width = padding.size_after(height, width)
        self._check(padded_height, padded_width)
        padded = (padded_height != height) | (padded_width != width)
        differs = (padded_height != crop_height) | (padded_width != crop_width)
        at_y = _drawn(padded_height - crop_height, draws)
        at_x = _drawn(padded_width - crop_width, draws)
        return [(padding, padded), (Crop(at_y, at_x, crop_height, crop_width), differs)]

    def _check(self, height: Any, width: Any) -> None:
        crop_height, crop_width = self._size
        smaller = (height < crop_height) | (width < crop_width)
        if smaller.any():
            first = int(smaller.argmax())
            raise ArgumentError(
                f"a crop of {crop_height} x {crop_width} pixels is larger than the image "
                f"({height[first]} x {width[first]}): resize it first, or pass pad_if_needed=True"
            )


def _drawn(most: Any, draws: Draws) -> Sizes:
    """An integer in [0, most] for each sample; nothing is drawn where most is 0."""
    at = np.zeros(len(most), np.int64)
    rows = np.flatnonzero(most)
    if len(rows):
        at[rows] = draws.integer(most[rows] + 1, rows)
    return at


class RandomResizedCrop(Transform):
    """``torchvision.transforms.v2.RandomResizedCrop``: a random part of the image, resized to ``size``.

    Args:
        size: int for a square, or (height, width).
        scale: least and most of the image's area.
        ratio: least and most of width / height; drawn evenly on a logarithmic scale.
        interpolation: filter; always antialiased, as Pillow is.
        antialias: accepted and without effect, as in torchvision for PIL images.
    """

    size: int | Sequence[int]
    scale: Sequence[float]
    ratio: Sequence[float]
    interpolation: Interpolation
    antialias: bool | None
    _least = 1  # pixels of a side that is drawn

    def __init__(
        self,
        size: int | Sequence[int],
        scale: Sequence[float] = (0.08, 1.0),
        ratio: Sequence[float] = (3.0 / 4.0, 4.0 / 3.0),
        interpolation: Interpolation = InterpolationMode.BILINEAR,
        antialias: bool | None = True,
    ) -> None:
        super().__init__(size=size, scale=scale, ratio=ratio, interpolation=interpolation, antialias=antialias)

    def resolve(self) -> None:
        self._size = _size(self.size)
        self._scale = range_of("scale", self.scale, 0.0)
        self._ratio = range_of("ratio", self.ratio, 1e-6)
        logs = torch.log(torch.tensor(self._ratio))  # in float32, as torchvision has them
        self._log_ratio = float(logs[0]), float(logs[1])
        self._filter = filter_of(self.interpolation)

    def steps(self, height: Sizes, width: Sizes, draws: Draws) -> Steps:
        crop = self._crop(height, width, draws)
        differs = (crop.height != self._size[0]) | (crop.width != self._size[1])
        return [(crop, every(height)), (ResizeOp(*self._size, self._filter), differs)]

    def _crop(self, height: Sizes, width: Sizes, draws: Draws) -> Crop:
        area, rows = height * width, np.arange(len(height))
        crop_height, crop_width = np.empty_like(height), np.empty_like(width)
        for _ in range(10):
            target = area[rows] * draws.uniform(*self._scale, rows)
            ratio = draws.log_uniform(*self._log_ratio, rows)
            squares = np.minimum((target / ratio, target * ratio), MOST_PIXELS**2)  # more would be no integers
            h, w = np.rint(np.sqrt(squares))
            crop_height[rows], crop_width[rows] = h, w  # those that do not fit are drawn again
            rows = rows[(h < self._least) | (h > height[rows]) | (w < self._least) | (w > width[rows])]
            if not len(rows):
                break
        central = rows
        crop_height[central], crop_width[central] = self._central(height[central], width[central])
        down, across = height - crop_height, width - crop_width
        top, left = down // 2, across // 2
        placed = np.delete(np.arange(len(height)), central) if len(central) else np.arange(len(height))
        top[placed] = draws.integer(down[placed] + 1, placed)
        left[placed] = draws.integer(across[placed] + 1, placed)
        return Crop(top, left, crop_height, crop_width)

    def _central(self, height: Sizes, width: Sizes) -> tuple[Sizes, Sizes]:
        """Height and width of the largest crop with an allowed ratio, for the middle: where ten tries failed."""
        low, high = self._ratio
        ratio = width / height
        h = np.where(ratio < low, np.rint(width / low), height).astype(np.int64)
        w = np.where(ratio > high, np.rint(height * high), width).astype(np.int64)
        return h, w


class _RandomFlip(Transform):
    floats = True
    horizontal: bool
    p: float

    def __init__(self, p: float = 0.5) -> None:
        super().__init__(p=p)

    def resolve(self) -> None:
        self._p = probability(self.p)

    def steps(self, height: Sizes, width: Sizes, draws: Draws) -> Steps:
        return [(Flip(self.horizontal), chosen(self._p, height, draws))]


class RandomHorizontalFlip(_RandomFlip):
    """``torchvision.transforms.v2.RandomHorizontalFlip``: left and right swapped with probability ``p``."""

    horizontal = True


class RandomVerticalFlip(_RandomFlip):
    """``torchvision.transforms.v2.RandomVerticalFlip``: top and bottom swapped with probability ``p``."""

    horizontal = False


class Pad(Transform):
    """``torchvision.transforms.v2.Pad``: pixels added around the image, or cut off.

    Args:
        padding: one for all sides, two for (left and right, top and bottom), or four for left, top, right,
            bottom; as many pixels are cut off where it is negative, before any are added.
        fill: color of constant padding, one number or (red, green, blue), 0 to 255; or a dict of those of "image" and
            of "mask", as torchvision's of ``tv_tensors``.
        padding_mode: constant, edge, reflect or symmetric.
    """

    padding: int | Sequence[int]
    fill: Any
    padding_mode: str

    def __init__(self, padding: int | Sequence[int], fill: Any = 0, padding_mode: str = "constant") -> None:
        super().__init__(padding=padding, fill=fill, padding_mode=padding_mode)

    def resolve(self) -> None:
        sides = _margins(self.padding)
        self._cut = tuple(max(-side, 0) for side in sides)
        left, top, right, bottom = (max(side, 0) for side in sides)
        fill, self.mask_fill = fills(self.fill)
        self._op = PadOp(left, top, right, bottom, fill, pad_mode_of(self.padding_mode), self.mask_fill)

    def steps(self, height: Sizes, width: Sizes, draws: Draws) -> Steps:
        if not any(self._cut):
            return [(self._op, every(height))]
        left, top, right, bottom = self._cut
        crop = Crop(top, left, height - top - bottom, width - left - right)
        none_left = (crop.height < 1) | (crop.width < 1)
        if none_left.any():
            first = int(none_left.argmax())
            raise ArgumentError(f"{self!r} leaves no pixels of an image of {height[first]} x {width[first]}")
        return [(crop, every(height)), (self._op, every(height))]
