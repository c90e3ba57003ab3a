"""Does torch, on this machine, do its arithmetic as native code does? It is tried out, once."""

import ctypes
from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from gpuload.libraries import host_library
from gpuload.native import Status, Work
from gpuload.recipes.fuse import fuse
from gpuload.recipes.mix import EFFECTS, MOVING, Mix
from gpuload.recipes.ops import Filter
from gpuload.recipes.recipes import Recipes

__all__ = ["mixes_as_torch"]

SIZE = 31, 45
Pixels = NDArray[np.uint8]  # (H, W, 3)
THETA = 0.0237, 0.0031, -0.0713, -0.0046, 0.0319, 0.0517


@cache
def mixes_as_torch() -> bool:
    """Are a `Mix`'s pixels the same by both? Torch's depend on how it was compiled, and for which processor."""
    if host_library() is None:
        return False
    pixels = np.random.default_rng(0).integers(0, 256, (*SIZE, 3), np.uint8)
    return all(
        np.array_equal(_natively(mix, pixels), np.asarray(mix.apply(Image.fromarray(pixels))))
        for version in (1, 2)
        for filter in (Filter.NEAREST, Filter.BILINEAR)
        for fill in (None, (9, 80, 255))
        for mix in (_every_effect(filter, fill, version),)
    )


def _every_effect(filter: Filter, fill: tuple[int, int, int] | None, version: int) -> Mix:
    """Each in a chain of its own."""
    count = len(EFFECTS)
    weights = np.array([0.1] + [0.9 / count] * count, np.float32).tolist()
    amounts = [[0.3] if number > MOVING + 1 else [3.0] for number in range(count)]
    effects, thetas = [[number] for number in range(count)], [[list(THETA)]] * count
    return Mix(weights, effects, amounts, thetas, True, filter, fill, version)


def _natively(mix: Mix, pixels: Pixels) -> Pixels:
    library, (height, width, _) = host_library(), pixels.shape
    assert library is not None
    fused, status = fuse(Recipes.of([(mix,)], [height], [width])), np.full(1, Status.TODO, np.uint8)
    table, made = np.arange(256, dtype=np.uint8).repeat(3).reshape(256, 3).T.copy(), np.empty_like(pixels)
    steps, at, _, _, grids = fused.adjustments
    work = Work(
        count=1, regions=fused.regions.ctypes.data, records=fused.records.ctypes.data, status=status.ctypes.data,
        table=table.ctypes.data, out=made.ctypes.data, out_elements=made.size, element_bytes=1, channels=3,
        channels_last=1, adjustments=steps.ctypes.data, adjustment_count=len(steps), adjusted_at=at.ctypes.data,
        grids=grids.ctypes.data, grid_count=len(grids),
    )  # fmt: skip
    if library.gpuload_put(ctypes.byref(work), 0, pixels.ctypes.data) != Status.OK:
        raise RuntimeError("native code refused a mixture's record")
    return made
