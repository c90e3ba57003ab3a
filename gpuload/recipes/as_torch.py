"""Does torch, on this machine, do its arithmetic as native code does? It is tried out, once."""

import ctypes
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from gpuload.libraries import host_library
from gpuload.native import Status, Work
from gpuload.recipes.blur import Blur
from gpuload.recipes.fuse import fuse
from gpuload.recipes.mix import EFFECTS, MOVING, Mix
from gpuload.recipes.ops import Filter
from gpuload.recipes.recipes import Recipes

__all__ = ["blurs_as_torch", "mixes_as_torch"]

SIZE = 31, 45
Pixels = NDArray[np.uint8]  # (H, W, 3)
THETA = 0.0237, 0.0031, -0.0713, -0.0046, 0.0319, 0.0517
BLURS = ((3, 3), (150, 231)), ((5, 9), (40, 333)), ((9, 1), (33, 64)), ((23, 23), (97, 130)), ((99, 99), (52, 61))


@cache
def mixes_as_torch() -> bool:
    """Are a `Mix`'s pixels the same by both? Torch's depend on how it was compiled, and for which processor."""
    if host_library() is None:
        return False
    pixels = np.random.default_rng(0).integers(0, 256, (*SIZE, 3), np.uint8)
    return all(
        _alike(_every_effect(filter, fill, version), pixels)
        for version in (1, 2)
        for filter in (Filter.NEAREST, Filter.BILINEAR)
        for fill in (None, (9, 80, 255))
    )


@cache
def blurs_as_torch() -> bool:
    """The same of a `Blur`'s, whose kernel is up to `gpuload.recipes.blur.MOST_KERNEL` wide and high."""
    return host_library() is not None and all(_alike(_cancelling(kernel), _rows(*size)) for kernel, size in BLURS)


def _cancelling(size: tuple[int, int]) -> Blur:
    """A kernel whose sums come near to nothing by way of large numbers, where a float's last bit is worth many bytes.

    In any other order, or not fused, other bytes would come of it; of a Gaussian, hardly one of a million would.
    """
    rng = np.random.default_rng(size)
    x, y = (rng.uniform(0.5, 1.0, count).astype(np.float32) for count in size)
    many = 2.0**22 / (len(x) * len(y) ** 0.5)
    return Blur(((x - x[::-1]) * many).tolist(), y.tolist(), True)


def _rows(height: int, width: int) -> Pixels:
    """Rows of a color each."""
    colors = np.random.default_rng(0).integers(0, 256, (height, 1, 3), np.uint8)
    return colors.repeat(width, axis=1)


def _every_effect(filter: Filter, fill: tuple[int, int, int] | None, version: int) -> Mix:
    """Each in a chain of its own."""
    count = len(EFFECTS)
    weights = np.array([0.1] + [0.9 / count] * count, np.float32).tolist()
    amounts = [[0.3] if number > MOVING + 1 else [3.0] for number in range(count)]
    effects, thetas = [[number] for number in range(count)], [[list(THETA)]] * count
    return Mix(weights, effects, amounts, thetas, True, filter, fill, version)


def _alike(op: Any, pixels: Pixels) -> bool:
    return np.array_equal(_natively(op, pixels), np.asarray(op.apply(Image.fromarray(pixels))))


def _natively(op: Any, pixels: Pixels) -> Pixels:
    library, (height, width, _) = host_library(), pixels.shape
    assert library is not None
    fused, status = fuse(Recipes.of([(op,)], [height], [width])), np.full(1, Status.TODO, np.uint8)
    table, made = np.arange(256, dtype=np.uint8).repeat(3).reshape(256, 3).T.copy(), np.empty_like(pixels)
    steps, at, _, _, grids, kernels = fused.adjustments
    work = Work(
        count=1, regions=fused.regions.ctypes.data, records=fused.records.ctypes.data, status=status.ctypes.data,
        table=table.ctypes.data, out=made.ctypes.data, out_elements=made.size, element_bytes=1, channels=3,
        channels_last=1, adjustments=steps.ctypes.data, adjustment_count=len(steps), adjusted_at=at.ctypes.data,
        grids=grids.ctypes.data, grid_count=len(grids), kernels=kernels.ctypes.data, kernel_count=len(kernels),
    )  # fmt: skip
    if library.gpuload_put(ctypes.byref(work), 0, pixels.ctypes.data) != Status.OK:
        raise RuntimeError("native code refused a record that it was tried with")
    return made
