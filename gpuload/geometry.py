"""A recipe folded into one crop, one resize and one window: the integers that the kernels read.

Each axis is folded by itself: crop -> mirror -> resize -> window -> pad, crop and flip that window. A second
resize, a resize of something padded, or two different paddings do not fold; `fold` then says None, and
Pillow makes the sample's pixels step by step.
"""

import math
import struct
from typing import Any, NamedTuple

import numpy as np

from gpuload.steps import Crop, Filter, Flip, Pad, PadMode, Recipe, Resize, Step

__all__ = ["SAMPLE", "Axis", "Geometry", "Region", "fold", "identity"]

SUPPORT = {
    Filter.NEAREST: 0.0,
    Filter.BOX: 0.5,
    Filter.BILINEAR: 1.0,
    Filter.HAMMING: 1.0,
    Filter.BICUBIC: 2.0,
    Filter.LANCZOS: 3.0,
}
GREY_BEFORE_RESIZE, GREY_AFTER_RESIZE = 1, 2
_RECORD = struct.Struct("<4q12i12i3i4B")


class Axis(NamedTuple):
    """One axis of a sample, as ``struct Axis`` of ``kernels/sample.cuh``; pixels, all int32."""

    length: int
    resized: int
    mirrored: int
    window: int
    kept: int
    begin: int
    step: int
    extent: int
    padding: int
    decoded: int
    span: int
    ksize: int


AXIS = np.dtype([(name, "<i4") for name in Axis._fields])
SAMPLE = np.dtype(
    [
        ("pixels", "<i8"),
        ("output", "<i8"),
        ("taps_x", "<i8"),
        ("taps_y", "<i8"),
        ("x", AXIS),
        ("y", AXIS),
        ("filter", "<i4"),
        ("vertical_first", "<i4"),
        ("grey", "<i4"),
        ("fill", "u1", 4),
    ]
)


class Region(NamedTuple):
    """The pixels of the image that a sample needs."""

    top: int
    left: int
    height: int
    width: int


class Geometry(NamedTuple):
    """A folded recipe: the region to decode and what the kernel makes of it."""

    region: Region
    x: Axis
    y: Axis
    filter: int
    vertical_first: bool
    grey: int
    fill: tuple[int, int, int]

    def pack(self, record: Any, pixels: int = 0, output: int = 0, taps: tuple[int, int] = (-1, -1)) -> None:
        """Write ``struct Sample`` into ``record``.

        Args:
            record: a writable buffer of `SAMPLE`.itemsize bytes.
            pixels: byte offset of the decoded pixels in the slab.
            output: element offset of the sample in the output.
            taps: byte offsets in the slab of the taps of x and y that the host made; -1: it made none.
        """
        head = (pixels, output, *taps)
        tail = (self.filter, self.vertical_first, self.grey, *self.fill, 0)
        _RECORD.pack_into(record, 0, *head, *self.x, *self.y, *tail)


class _Fold:
    """One axis while the steps are folded into it."""

    __slots__ = ("begin", "count", "kept", "length", "mirrored", "padding", "resized", "start", "step", "window")

    def __init__(self, length: int) -> None:
        self.start, self.length, self.mirrored = 0, length, False
        self.resized = self.padding = -1  # not yet
        self.window = self.begin = 0
        self.kept = self.count = length
        self.step = 1

    def crop(self, at: int, count: int) -> None:
        if self.resized < 0:
            self.start += self.length - at - count if self.mirrored else at
            self.length = self.kept = self.count = count
        else:
            self.begin += self.step * at
            self.count = count

    def flip(self) -> None:
        if self.resized < 0:
            self.mirrored = not self.mirrored
        else:
            self.begin += self.step * (self.count - 1)
            self.step = -self.step

    def resize(self, size: int) -> None:
        self.resized = self.kept = self.count = size

    def pad(self, before: int, after: int, mode: PadMode) -> None:
        if self.resized < 0:
            self.resize(self.length)
        ends = (self.begin, self.begin + self.step * (self.count - 1))
        low, high = max(min(ends), 0), min(max(ends), self.kept - 1)
        self.window += low
        self.kept = max(high - low + 1, 0)
        self.begin -= low + self.step * before
        self.count += before + after
        self.padding = mode.value

    def shown(self) -> tuple[int, int]:
        """First and last resized pixel that the output shows; (0, -1): none."""
        ends = (self.begin, self.begin + self.step * (self.count - 1))
        low, high = min(ends), max(ends)
        inside = low >= 0 and high < self.kept
        if not inside and self.padding in (PadMode.REFLECT.value, PadMode.SYMMETRIC.value):
            low, high = 0, self.kept - 1
        elif self.padding == PadMode.EDGE.value:
            low, high = min(max(low, 0), self.kept - 1), min(max(high, 0), self.kept - 1)
        else:
            low, high = max(low, 0), min(high, self.kept - 1)
        return self.window + low, self.window + high

    def done(self, filter: Filter) -> tuple[int, Axis]:
        """First pixel of the image to decode, and the axis."""
        if self.resized < 0:
            self.resize(self.length)
        low, high = self.shown()
        first, end, ksize = sources(self.length, self.resized, filter, low, high) if low <= high else (0, 1, 1)
        if self.mirrored:
            first, end = self.length - end, self.length - first
        padding = max(self.padding, 0)
        window = (self.window, self.kept, self.begin, self.step, self.count, padding)
        return self.start + first, Axis(
            self.length, self.resized, int(self.mirrored), *window, first, end - first, ksize
        )


def sources(length: int, resized: int, filter: Filter, low: int, high: int) -> tuple[int, int, int]:
    """Which pixels of an axis the resized pixels low..high read: (first, end), and the most taps of one."""
    if length == resized:
        return low, high + 1, 1
    scale = length / resized
    if filter is Filter.NEAREST:
        return max(int((low + 0.5) * scale) - 1, 0), min(int((high + 0.5) * scale) + 2, length), 1
    support = SUPPORT[filter] * max(scale, 1.0)
    first = max(int((low + 0.5) * scale - support + 0.5), 0)
    end = min(int((high + 0.5) * scale + support + 0.5), length)
    return first, end, 2 * math.ceil(support) + 1


def luma(red: int, green: int, blue: int) -> int:
    """Pillow's RGB -> L."""
    return (19595 * red + 38470 * green + 7471 * blue + 32768) >> 16


class _Folding:
    """Both axes, the filter and the colours while the steps are folded in."""

    def __init__(self, height: int, width: int) -> None:
        self.x, self.y = _Fold(width), _Fold(height)
        self.filter = Filter.NEAREST
        self.grey = 0
        self.fill = (0, 0, 0)

    def add(self, step: Step) -> bool:
        """Fold one step in; False: it does not fold."""
        if isinstance(step, Crop):
            self.x.crop(step.left, step.width)
            self.y.crop(step.top, step.height)
        elif isinstance(step, Flip):
            (self.x if step.horizontal else self.y).flip()
        elif isinstance(step, Resize):
            return self.resize(step)
        elif isinstance(step, Pad):
            return self.pad(step)
        else:
            self.turn_grey()
        return True

    def resize(self, step: Resize) -> bool:
        if (step.height, step.width) == (self.y.count, self.x.count):
            return True
        if self.x.resized >= 0:
            return False
        self.x.resize(step.width)
        self.y.resize(step.height)
        self.filter = step.filter
        return True

    def pad(self, step: Pad) -> bool:
        if self.x.padding >= 0:
            constant = self.x.padding == step.mode.value == PadMode.CONSTANT.value
            if not constant or self.fill != step.fill:
                return False
        self.x.pad(step.left, step.right, step.mode)
        self.y.pad(step.top, step.bottom, step.mode)
        self.fill = step.fill
        return True

    def turn_grey(self) -> None:
        self.grey |= GREY_BEFORE_RESIZE if self.x.resized < 0 else GREY_AFTER_RESIZE
        if self.x.padding >= 0:
            self.fill = (luma(*self.fill),) * 3

    def done(self) -> Geometry:
        left, x = self.x.done(self.filter)
        top, y = self.y.done(self.filter)
        # Pillow 13's rule; the image is rounded to bytes between the passes, so the order shows
        vertical = y.length - y.resized > max(0, 2 * (x.length - x.resized))
        region = Region(top, left, y.span, x.span)
        return Geometry(region, x, y, self.filter.value, vertical, self.grey, self.fill)


def fold(recipe: Recipe, height: int, width: int) -> Geometry | None:
    """The recipe for an image of height x width pixels as one geometry, or None where it does not fold."""
    folding = _Folding(height, width)
    return folding.done() if all(folding.add(step) for step in recipe) else None


def identity(height: int, width: int) -> Geometry:
    """The geometry of an image that stays as it is."""
    return _Folding(height, width).done()
