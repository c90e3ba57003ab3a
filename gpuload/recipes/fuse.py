"""Recipes fused into one crop, one resize and one window each: the regions to decode, and the kernels' records.

Each axis is fused by itself: crop -> mirror -> resize -> window -> pad, crop and flip that window. A second
resize, a resize of something padded, two different paddings or a crop without pixels do not fuse; Pillow then
makes the sample's pixels operation by operation, and its record leaves them where they are.

Arrays are (2, n): the y axis, then the x axis, of n samples.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gpuload.recipes.adjust import ADJUSTMENT, Adjustment
from gpuload.recipes.ops import Filter, Mask, PadMode
from gpuload.recipes.recipes import MOST_PIXELS, Recipes
from gpuload.recipes.record import GRAYSCALE_AFTER_RESIZE, GRAYSCALE_BEFORE_RESIZE, NO_WEIGHTS, RECORD, X, Y
from gpuload.recipes.warp import WARP, WARPED, flips

__all__ = ["Adjustments", "Fused", "fuse", "fuse_unadjusted", "left_to_pillow", "unfused"]

SUPPORT = np.array([0.0, 0.5, 1.0, 1.0, 2.0, 3.0, 1.0, 2.0, 3.0, 0.0])  # of each Filter, in pixels
NEAREST = np.array(["NEAREST" in filter.name for filter in Filter])
OF_TORCH = np.array([filter.torch_mode is not None for filter in Filter])
LUMA = np.array([19595, 38470, 7471])  # Pillow's RGB -> L, times 2^16
NOT_PADDED = -1

Array = NDArray[np.int64]


class Adjustments(NamedTuple):
    """Adjustments of n samples.

    Attributes:
        steps: (k,) `ADJUSTMENT`: the first sample's, in order, then the second one's, ...
        at: (n + 1,) int64: where each sample's begin, and the last one's end.
        warps: (m,) `WARP`: those that steps point to.
    """

    steps: NDArray[np.void]
    at: Array
    warps: NDArray[np.void]

    @classmethod
    def of(cls, count: int, added: Sequence[tuple[int, Any, Mask]] = ()) -> "Adjustments":
        """Of those that were added one after the other: kind, value, and for which of ``count`` samples."""
        at = np.zeros(count + 1, np.int64)
        for _, _, where in added:
            at[1:] += where
        np.cumsum(at, out=at)
        steps, free = np.zeros(int(at[-1]), ADJUSTMENT), at[:-1].copy()
        warps = [np.zeros(0, WARP)]
        for kind, value, where in added:
            given = value[where] if isinstance(value, np.ndarray) else value
            if kind == WARPED:
                warps.append(given)
                given = sum(map(len, warps[:-1])) + np.arange(len(given))  # a float32 counts to 2^24
            steps["kind"][free[where]] = kind
            steps["value"][free[where]] = given
            free += where
        return cls(steps, at, np.concatenate(warps))

    def sliced(self, part: slice) -> "Adjustments":
        """Some of the samples', as views."""
        start, stop, _ = part.indices(len(self.at) - 1)
        return Adjustments(self.steps, self.at[start : stop + 1], self.warps)

    def without(self, where: Mask) -> "Adjustments":
        """The same, but none for the samples ``where``."""
        counts = np.diff(self.at)
        at = np.concatenate([[0], np.cumsum(np.where(where, 0, counts))])
        return Adjustments(self.steps[np.repeat(~where, counts)], at, self.warps)

    def packed(self) -> "Adjustments":
        """The same without what other samples have."""
        steps = self.steps[self.at[0] : self.at[-1]].copy()
        warped = steps["kind"] == WARPED
        warps = self.warps[steps["value"][warped].astype(np.int64)]
        steps["value"][warped] = np.arange(len(warps))
        return Adjustments(steps, self.at - self.at[0], warps)

    def having(self, which: Mask) -> Mask:
        """(n,) the samples that have one of the steps ``which``."""
        before = np.concatenate([[0], np.cumsum(which)])
        return np.asarray(before[self.at[1:]] > before[self.at[:-1]])

    @property
    def any(self) -> Mask:
        """(n,) the samples that have some."""
        return np.asarray(np.diff(self.at) > 0)


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
    """

    extents: Array
    regions: NDArray[np.int32]
    records: NDArray[np.void]
    by_pillow: Mask
    adjustments: "Adjustments"

    def __getitem__(self, part: slice) -> "Fused":
        """Some of the samples, as views."""
        adjustments = self.adjustments.sliced(part)
        return Fused(self.extents[part], self.regions[part], self.records[part], self.by_pillow[part], adjustments)

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
        op.fuse(fusion, where)
    fused = fusion.done()
    return left_to_pillow(fused, recipes, fused.by_pillow) if np.count_nonzero(fused.by_pillow) else fused


def fuse_unadjusted(recipes: Recipes) -> Fused:
    """The same for an engine that adjusts no colors: samples whose colors are adjusted are left to Pillow."""
    fused = fuse(recipes)
    return left_to_pillow(fused, recipes, fused.adjustments.any) if len(fused.adjustments.steps) else fused


def unfused(recipes: Recipes) -> Fused:
    """The same with every sample left to Pillow: records of finished pixels."""
    finished = _Fusion(recipes.final_height, recipes.final_width).done()
    return replace(finished, by_pillow=np.ones(len(recipes), bool))


def left_to_pillow(fused: Fused, recipes: Recipes, where: Mask) -> Fused:
    """The same with the samples ``where`` left to Pillow, too."""
    finished = unfused(recipes)
    return Fused(
        fused.extents,  # the same
        np.where(where[:, None], finished.regions, fused.regions),
        np.where(where, finished.records, fused.records),
        fused.by_pillow | where,
        fused.adjustments.without(where),
    )


class _Fusion:
    """Both axes of n samples, their filters and colors, while operations are fused in."""

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

    def refuse(self, where: Mask) -> None:
        self.by_pillow |= where

    def adjust(self, kind: int, value: Any, where: Mask) -> None:
        self.adjusted |= where
        self.adjustments.append((kind, value, where))

    def warp(self, warps: NDArray[np.void], where: Mask) -> None:
        self.warped |= where
        self.adjust(WARPED, warps, where)

    def crop(self, top: Any, left: Any, height: Any, width: Any, where: Mask) -> None:
        self.refuse(where & self.adjusted)
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
        self.refuse(where & (self.resized | self.adjusted))
        for array in (self.virtual, self.kept, self.count):
            np.copyto(array, size, where=where)
        self.filter[where] = filter
        self.resized |= where

    def pad(self, before: Any, after: Any, fill: tuple[int, int, int], mode: int, where: Mask) -> None:
        self.refuse(where & self.adjusted)
        constant = (self.padding == mode) & (mode == PadMode.CONSTANT.value) & (self.fill == fill).all(1)
        self.refuse(where & (self.padding != NOT_PADDED) & ~constant)
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
        low, high = self._shown()
        first, end, ksize = _sources(self.length, self.virtual, self.filter, low, high)
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
        adjustments = Adjustments.of(len(records), self.adjustments)
        return Fused(np.ascontiguousarray(self.count.T), regions, records, self.by_pillow, adjustments)


def _sources(length: Array, resized: Array, filter: Array, low: Array, high: Array) -> tuple[Array, Array, Array]:
    """Which pixels of an axis the resized pixels low..high read: (first, end), and the most weights of one."""
    scale = length / np.maximum(resized, 1)
    support = SUPPORT[filter] * np.maximum(scale, 1.0)
    begin, stop = (low + 0.5) * scale, (high + 0.5) * scale
    first, end = (begin - support + 0.5).astype(np.int64), (stop + support + 0.5).astype(np.int64)
    ksize = 2 * np.ceil(support).astype(np.int64) + 1
    nearest = NEAREST[filter]
    if np.count_nonzero(nearest):  # which reads one pixel
        at, to = _nearest(length, resized, filter, low), _nearest(length, resized, filter, high)
        first, end = np.where(nearest, at - 1, first), np.where(nearest, to + 2, end)
        ksize = np.where(nearest, 1, ksize)
    same = length == resized
    return (
        np.where(same, low, np.maximum(first, 0)),
        np.where(same, high + 1, np.minimum(end, length)),
        np.where(same, 1, ksize),
    )


def _nearest(length: Array, resized: Array, filter: Array, at: Array) -> Array:
    """The pixel that nearest shows at resized pixel ``at``, or its neighbor: Pillow's place is a running sum."""
    virtual = np.maximum(resized, 1)
    of_torch = at.astype(np.float32) * (length.astype(np.float32) / virtual.astype(np.float32))
    place = np.where(OF_TORCH[filter], of_torch, (at + 0.5) * (length / virtual))
    return np.minimum(place.astype(np.int64), length - 1)
