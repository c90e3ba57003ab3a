"""What DALI is told of each sample, made of the kernels' records.

All of a record fits into one region to decode, one resize of a part of that, and one slice: the part's corners need
not be whole pixels, and where they change places DALI mirrors it.
"""

from collections.abc import Sequence
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from gpuload.errors import ArgumentError
from gpuload.recipes.fuse import Fused

__all__ = ["Arguments", "Needs", "Resizing", "arguments"]

T = TypeVar("T")


class Resizing(NamedTuple):
    """What is the same for all samples; None: it differs.

    Attributes:
        size: height and width after it, in pixels.
        filter: value of a `Filter`.
    """

    size: tuple[int, int] | None
    filter: int | None

    def __or__(self, other: "Resizing") -> "Resizing":
        return Resizing(_common([self.size, other.size]), _common([self.filter, other.filter]))


class Needs(NamedTuple):
    """What a batch wants of the graph, beside decoding.

    Attributes:
        most: samples.
        resizes: some are resized, mirrored or not shown whole.
        resizing: what all have in common.
        grays: some turn gray.
        fill: color of their padding; None: none are padded.
    """

    most: int
    resizes: bool
    resizing: Resizing
    grays: bool
    fill: tuple[int, ...] | None

    def __or__(self, other: "Needs") -> "Needs":
        """What both want; of two colors the other's."""
        resizing = self.resizing | other.resizing
        if not (self.resizes and other.resizes):  # a filter counts where something is resized
            resizing = resizing._replace(filter=(self if self.resizes else other).resizing.filter)
        return Needs(
            max(self.most, other.most),
            self.resizes or other.resizes,
            resizing,
            self.grays or other.grays,
            self.fill if other.fill is None else other.fill,
        )

    def built_in(self) -> "Needs":
        """What a graph is made for: without a size that it resizes nothing to."""
        return self if self.resizes else self._replace(resizing=Resizing(None, None))


class Arguments(NamedTuple):
    """Of each of n samples.

    Attributes:
        start, shape: (n, 2) int32: the region to decode, y and x.
        roi_start, roi_end: (n, 2) float32: what of that region is resized; the greater first: mirrored.
        size: (n, 2) float32: to how many pixels.
        filter: (n,) int32: value of a `Filter`.
        saturation: (n,) float32: 0, gray, or 1.
        slice_start, slice_shape: (n, 2) int32: what of that is shown; what lies outside is padding.
    """

    start: NDArray[np.int32]
    shape: NDArray[np.int32]
    roi_start: NDArray[np.float32]
    roi_end: NDArray[np.float32]
    size: NDArray[np.float32]
    filter: NDArray[np.int32]
    saturation: NDArray[np.float32]
    slice_start: NDArray[np.int32]
    slice_shape: NDArray[np.int32]


def _only(fills: set[tuple[int, ...]]) -> tuple[int, ...]:
    if len(fills) > 1:
        raise ArgumentError(
            f"engine='dali' pads with one color, got {', '.join(map(str, sorted(fills)))}: "
            "choose another engine, or fill=0"
        )
    return next(iter(fills))


def _common(values: Sequence[T | None]) -> T | None:
    """What they all are; None: they differ."""
    return values[0] if values.count(values[0]) == len(values) else None


def arguments(fused: Fused) -> tuple[Arguments, Needs]:
    """What DALI is told of a batch, and what it takes.

    Raises:
        ArgumentError: what is outside images has several colors.
    """
    records = fused.records
    axes = records["axes"]
    begin, step, extent = (axes[name].astype(np.int64) for name in ("begin", "step", "extent"))
    last = begin + step * (extent - 1)
    low, high = np.maximum(np.minimum(begin, last), 0), np.minimum(np.maximum(begin, last), axes["kept"] - 1)
    forward, is_shown = step > 0, (low <= high).all(axis=1, keepdims=True)  # else all is padding
    near, far = _sources(axes, low), _sources(axes, high + 1)
    start, end, span = np.where(forward, near, far), np.where(forward, far, near), fused.regions[:, 2:]
    start, end = np.where(is_shown, start, 0), np.where(is_shown, end, span)
    count = np.where(is_shown, high - low + 1, 1)
    before = np.where(is_shown, np.where(forward, low - begin, begin - high), -1)
    made = Arguments(
        start=fused.regions[:, :2].copy(),
        shape=span.copy(),
        roi_start=start.astype(np.float32),
        roi_end=end.astype(np.float32),
        size=count.astype(np.float32),
        filter=records["filter"].copy(),
        saturation=(records["grayscale"] == 0).astype(np.float32),
        slice_start=(-before).astype(np.int32),
        slice_shape=extent.astype(np.int32),
    )
    is_whole = (start == 0) & (end == span) & (count == span)
    is_padded = ((before != 0) | (count != extent)).any(axis=1)
    fills = set(map(tuple, records["fill"][is_padded, :3].tolist()))
    changes_size = (axes["resized"] != axes["length"]).any(axis=1)  # other filters are of no effect
    resizing = Resizing(_common(list(map(tuple, count.tolist()))), _common(made.filter[changes_size].tolist() or [0]))
    needs = Needs(
        len(records),
        not is_whole.all(),
        resizing,
        not made.saturation.all(),
        _only(fills) if fills else None,
    )
    return made, needs


def _sources(axes: NDArray[np.void], at: NDArray[np.int64]) -> NDArray[np.float64]:
    """Where the edges before these pixels of the window lie in the decoded region, in its pixels."""
    edges = (axes["window"] + at) * (axes["length"] / axes["resized"])
    edges = np.where(axes["mirrored"], axes["length"] - edges, edges) - axes["decoded"]
    return np.asarray(edges)
