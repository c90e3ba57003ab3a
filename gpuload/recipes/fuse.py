"""Recipes fused into one crop, one resize and one window each: the regions to decode, and the kernels' records.

Each axis is fused by itself: crop -> mirror -> resize -> window -> pad, crop and flip that window. What comes too late
for that (a second resize, a resize of something padded, another padding, whatever moves pixels after their colors were
adjusted) begins another such stage, on the picture that the last one has made. A crop without pixels does not fuse;
Pillow then makes the sample's pixels operation by operation, and its record leaves them where they are.

Arrays are (2, n): the y axis, then the x axis, of n samples.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpuload.recipes.adjust import Adjustment
from gpuload.recipes.adjustments import Adjustments
from gpuload.recipes.erase import Erase, Erasures
from gpuload.recipes.ops import Mask, Op, PadMode
from gpuload.recipes.recipes import MOST_PIXELS, Recipes
from gpuload.recipes.record import (
    FRAME,
    FRAMED,
    GRAYSCALE_AFTER_RESIZE,
    GRAYSCALE_BEFORE_RESIZE,
    NO_WEIGHTS,
    RECORD,
    X,
    Y,
)
from gpuload.recipes.sources import OF_TORCH, sources
from gpuload.recipes.warp import WARPED, flips

__all__ = ["Fused", "fuse", "fuse_unadjusted", "left_to_pillow", "unfused"]

LUMA = np.array([19595, 38470, 7471])  # Pillow's RGB -> L, times 2^16
NOT_PADDED = -1

Array = NDArray[np.int64]


@dataclass(frozen=True)
class Fused:
    """What to decode of each of n samples, and what the kernel makes of it.

    Attributes:
        extents: (n, 2) int64: height and width in pixels of what leaves.
        regions: (n, 4) int32: top, left, height, width in pixels of the pixels that the record reads: of the
            image, or, where ``by_pillow``, of what Pillow has made of it.
        records: (n,) `RECORD`; offsets are not set yet.
        by_pillow: (n,) bool: Pillow runs the sample's recipe first.
        adjustments: what is done to the whole picture after that.
        erasures: rectangles that get other values at last.
    """

    extents: Array
    regions: NDArray[np.int32]
    records: NDArray[np.void]
    by_pillow: Mask
    adjustments: Adjustments
    erasures: Erasures

    def __getitem__(self, part: slice) -> "Fused":
        """Some of the samples, as views."""
        arrays = self.extents[part], self.regions[part], self.records[part], self.by_pillow[part]
        return Fused(*arrays, self.adjustments.sliced(part), self.erasures.sliced(part))

    @property
    def pixel_bytes(self) -> Array:
        """(n,) int64: bytes of each region's pixels."""
        return self.regions[:, 2].astype(np.int64) * self.regions[:, 3] * 3

    def records_left(self, rendered: Mask) -> NDArray[np.void]:
        """(n,) `RECORD` of what is left to do where native code has rendered some samples."""
        if not np.count_nonzero(rendered):
            return self.records
        finished = _Fusion(*self.extents.T).done().records
        for name in ("pixels", "output"):
            finished[name] = self.records[name]
        return np.where(rendered, finished, self.records)


def fuse(recipes: Recipes) -> Fused:
    """Fuse the recipes of a batch."""
    fusion = _Fusion(recipes.height, recipes.width)
    for op, where in recipes.steps:
        fusion.add(op, where)
    fused = fusion.done()
    return left_to_pillow(fused, recipes, fused.by_pillow) if np.count_nonzero(fused.by_pillow) else fused


def fuse_unadjusted(recipes: Recipes) -> Fused:
    """The same for an engine that adjusts no colors: samples whose colors are adjusted are left to Pillow."""
    fused = fuse(recipes)
    return left_to_pillow(fused, recipes, fused.adjustments.any) if len(fused.adjustments.steps) else fused


def unfused(recipes: Recipes) -> Fused:
    """The same with every sample left to Pillow: records of finished pixels."""
    fusion = _Fusion(recipes.final_height, recipes.final_width)
    for op, where in recipes.steps:
        if isinstance(op, Erase):
            op.fuse(fusion, where)
    return replace(fusion.done(), by_pillow=np.ones(len(recipes), bool))


def left_to_pillow(fused: Fused, recipes: Recipes, where: Mask) -> Fused:
    """The same with the samples ``where`` left to Pillow, too."""
    finished = unfused(recipes)
    return Fused(
        fused.extents,  # the same
        np.where(where[:, None], finished.regions, fused.regions),
        np.where(where, finished.records, fused.records),
        fused.by_pillow | where,
        fused.adjustments.without(where),
        fused.erasures,
    )


class _Fusion:
    """One stage: both axes of n samples, their filters and colors, while operations are fused in."""

    def __init__(self, height: Array, width: Array) -> None:
        n = len(height)
        self.by_pillow = np.zeros(n, bool)
        self.resized = np.zeros(n, bool)  # False: not yet, so that a crop or flip is of the image itself
        self.padding = np.full(n, NOT_PADDED)
        self.filter = np.zeros(n, np.int64)
        self.grayscale_bits = np.zeros(n, np.int64)
        self.fill = np.zeros((n, 3), np.int64)
        self.length = np.empty((2, n), np.int64)  # of the crop
        self.length[Y], self.length[X] = height, width
        self.start = np.zeros((2, n), np.int64)
        self.mirrored = np.zeros((2, n), bool)
        self.virtual = self.length.copy()  # size after the resize, of which a window is kept
        self.window = np.zeros((2, n), np.int64)
        self.kept, self.count = self.length.copy(), self.length.copy()
        self.begin, self.step = np.zeros((2, n), np.int64), np.ones((2, n), np.int64)
        self.adjusted = np.zeros(n, bool)  # True: what moves pixels, but for flips, comes too late
        self.warped = np.zeros(n, bool)  # True: even a flip comes too late
        self.adjustments: list[tuple[int, Any, Mask]] = []
        self.erasures: list[tuple[NDArray[np.void], Mask]] = []
        self.gone = np.zeros(n, bool)  # True: whatever comes belongs to the next stage
        self.late: Mask | None = None  # those that go there for the operation that is being added
        self.next: _Fusion | None = None

    def add(self, op: Op, where: Mask) -> None:
        """Fuse an operation in, here or where it comes too late for that."""
        if self.next is not None:
            later, where = where & self.gone, where & ~self.gone
            if np.count_nonzero(later):
                self.next.add(op, later)
            if not np.count_nonzero(where):
                return
        op.fuse(self, where)
        if self.late is not None and self.next is not None:
            late, self.late = self.late, None
            self.next.add(op, late)

    def _in_time(self, where: Mask, too_late: Mask) -> Mask:
        """Those of ``where`` that are not too late for an operation; the others' stage ends before it."""
        late = where & too_late
        if not np.count_nonzero(late):
            return where
        self._end(late, *self.count)
        self.late = late
        return where & ~late

    def _end(self, where: Mask, height: Any, width: Any) -> None:
        """For these samples, the next stage begins, with a picture of so many pixels."""
        if self.next is None:
            self.next = _Fusion(*np.ones((2, len(where)), np.int64))
        self.gone |= where
        size = self._both(height, width)
        for array in (self.next.length, self.next.virtual, self.next.kept, self.next.count):
            np.copyto(array, size, where=where)

    def refuse(self, where: Mask) -> None:
        self.by_pillow |= where

    def adjust(self, kind: int, value: Any, where: Mask) -> None:
        self.adjusted |= where
        self.adjustments.append((kind, value, where))

    def erase(self, rectangles: NDArray[np.void], where: Mask) -> None:
        self.erasures.append((rectangles, where))

    def warp(self, warps: NDArray[np.void], where: Mask) -> None:
        warps["height"], warps["width"] = self.count
        self.warped |= where
        self.adjust(WARPED, warps, where)

    def mix(self, kind: int, value: Any, where: Mask) -> None:
        self.warped |= where
        self.adjust(kind, value, where)

    def expand(self, warps: NDArray[np.void], height: Any, width: Any, where: Mask) -> None:
        warps["height"], warps["width"] = height, width
        self.adjust(WARPED, warps, where)
        self._end(where, height, width)

    def crop(self, top: Any, left: Any, height: Any, width: Any, where: Mask) -> None:
        where = self._in_time(where, self.adjusted)
        at, size = self._both(top, left), self._both(height, width)
        if np.count_nonzero(size) < size.size:
            self.refuse(where & ((size[Y] == 0) | (size[X] == 0)))
        image, later = where & ~self.resized, where & self.resized
        if np.count_nonzero(image):
            self.start += np.where(image, np.where(self.mirrored, self.length - at - size, at), 0)
            for array in (self.length, self.virtual, self.kept):
                np.copyto(array, size, where=image)
        if np.count_nonzero(later):
            self.begin += np.where(later, self.step * at, 0)
        np.copyto(self.count, size, where=where)

    def _both(self, y: Any, x: Any) -> Array:
        both = np.empty_like(self.length)
        both[Y], both[X] = y, x
        return both

    def flip(self, axis: int, where: Mask) -> None:
        # before an adjustment or after it is the same; sums of the sharpness, too, round alike in any order
        late = where & self.warped
        if np.count_nonzero(late):  # but a warp would be another one
            self.warp(flips(axis, self.count[axis]), late)
        where = where & ~late
        self.mirrored[axis] ^= where & ~self.resized
        later = where & self.resized
        if np.count_nonzero(later):
            self.begin[axis] += np.where(later, self.step[axis] * (self.count[axis] - 1), 0)
            self.step[axis] = np.where(later, -self.step[axis], self.step[axis])

    def resize(self, height: Any, width: Any, filter: int, where: Mask) -> None:
        size = self._both(height, width)
        differs = size != self.count
        where = where & (differs[Y] | differs[X])
        where = self._in_time(where, self.resized | self.adjusted)
        for array in (self.virtual, self.kept, self.count):
            np.copyto(array, size, where=where)
        self.filter[where] = filter
        self.resized |= where

    def pad(self, before: Any, after: Any, fill: tuple[int, int, int], mode: int, where: Mask) -> None:
        constant = (self.padding == mode) & (mode == PadMode.CONSTANT.value) & (self.fill == fill).all(1)
        where = self._in_time(where, self.adjusted | ((self.padding != NOT_PADDED) & ~constant))
        self.resized |= where
        before, after = self._both(*before), self._both(*after)
        low, high = self._ends()
        low, high = np.clip(low, 0, self.kept), np.minimum(high, self.kept - 1)  # of padding alone nothing is kept
        self.window += np.where(where, low, 0)
        np.copyto(self.kept, np.maximum(high - low + 1, 0), where=where)
        self.begin -= np.where(where, low + self.step * before, 0)
        self.count += np.where(where, before + after, 0)
        self.padding[where], self.fill[where] = mode, fill

    def grayscale(self, where: Mask) -> None:
        late = where & self.adjusted
        if np.count_nonzero(late):
            self.adjustments.append((Adjustment.GRAYSCALE.value, 0.0, late))
        where = where & ~late
        bits = np.where(self.resized, GRAYSCALE_AFTER_RESIZE, GRAYSCALE_BEFORE_RESIZE)
        self.grayscale_bits |= np.where(where, bits, 0)
        padded = where & (self.padding != NOT_PADDED)
        if np.count_nonzero(padded):
            self.fill[padded] = ((self.fill[padded] @ LUMA + 32768) >> 16)[:, None]

    def _ends(self) -> tuple[Array, Array]:
        """Least and greatest position of the window that the output shows."""
        last = self.begin + self.step * (self.count - 1)
        return np.minimum(self.begin, last), np.maximum(self.begin, last)

    def _shown(self) -> tuple[Array, Array]:
        """First and last resized pixel that the output shows; the first is greater: none."""
        low, high = self._ends()
        if not np.count_nonzero(self.padding != NOT_PADDED):  # then the window is all that can be shown
            return low, high
        last = self.kept - 1
        outside = (low < 0) | (high > last)
        mirrors = outside & ((self.padding == PadMode.REFLECT.value) | (self.padding == PadMode.SYMMETRIC.value))
        edge = self.padding == PadMode.EDGE.value
        low, high = np.where(edge, np.minimum(low, last), low), np.where(edge, np.maximum(high, 0), high)
        low, high = np.where(mirrors, 0, np.maximum(low, 0)), np.where(mirrors, last, np.minimum(high, last))
        return self.window + low, self.window + high

    def done(self) -> Fused:
        regions, records = self._records()
        steps, erasures = list(self.adjustments), list(self.erasures)
        extents, refused, last = self.count, self.by_pillow, self
        while last.next is not None:
            gone, last = last.gone, last.next
            frames = np.zeros(len(gone), FRAME)
            frames["region"], frames["record"] = last._records()
            steps += [(FRAMED, frames, gone), *last.adjustments]
            erasures += last.erasures
            extents, refused = np.where(gone, last.count, extents), refused | last.by_pillow
        n, extents = len(records), np.ascontiguousarray(extents.T)
        return Fused(extents, regions, records, refused, Adjustments.of(n, steps), Erasures.of(n, erasures))

    def _records(self) -> tuple[NDArray[np.int32], NDArray[np.void]]:
        """(n, 4) regions that are read, and (n,) `RECORD`."""
        low, high = self._shown()
        first, end, ksize = sources(self.length, self.virtual, self.filter, low, high)
        nothing = low > high
        if np.count_nonzero(nothing):
            first, end, ksize = np.where(nothing, 0, first), np.where(nothing, 1, end), np.where(nothing, 1, ksize)
        wide = np.maximum(np.abs(self.begin), ksize) > MOST_PIXELS
        if np.count_nonzero(wide):  # records are 32 bits wide; sizes have been checked
            self.refuse(np.asarray(wide.any(axis=0)))
        span = end - first
        first = np.where(self.mirrored, self.length - end, first)
        records = np.zeros(len(self.by_pillow), RECORD)
        axes = records["axes"]
        values = {
            "length": self.length, "resized": self.virtual, "mirrored": self.mirrored, "window": self.window,
            "kept": self.kept, "begin": self.begin, "step": self.step, "extent": self.count,
            "decoded": first, "span": span, "ksize": ksize,
        }  # fmt: skip
        for name, value in values.items():
            axes[name] = value.T
        axes["padding"] = np.maximum(self.padding, 0)[:, None]
        shrink = self.length - self.virtual
        records["weights"] = NO_WEIGHTS
        records["filter"], records["grayscale"] = self.filter, self.grayscale_bits
        # Pillow 13's rule; the image is rounded to bytes between the passes, so the order shows. Torch's is fixed
        records["vertical_first"] = (shrink[Y] > np.maximum(0, 2 * shrink[X])) & ~OF_TORCH[self.filter]
        records["fill"][:, :3] = self.fill
        regions = np.empty((len(records), 4), np.int32)
        regions[:, :2], regions[:, 2:] = (self.start + first).T, span.T
        return regions, records
