"""Which pixels of an axis a resize reads."""

import numpy as np
from numpy.typing import NDArray

from gpuload.recipes.ops import Filter

__all__ = ["OF_TORCH", "sources"]

SUPPORT = np.array([0.0, 0.5, 1.0, 1.0, 2.0, 3.0, 1.0, 2.0, 3.0, 0.0])  # of each Filter, in pixels
NEAREST = np.array(["NEAREST" in filter.name for filter in Filter])
OF_TORCH = np.array([filter.torch_mode is not None for filter in Filter])

Array = NDArray[np.int64]


def sources(length: Array, resized: Array, filter: Array, low: Array, high: Array) -> tuple[Array, Array, Array]:
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
