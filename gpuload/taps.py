"""Rows of taps made on the host, for the axes whose taps a kernel does not make itself.

By the kernels' C++ build where there is a compiler, else in numpy; both give Pillow's weights, bit for bit.
The rows are those of ``kernels/taps.cuh``: int32 (count, 2 + ksize), each [first, n, weights...].
"""

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from gpuload.compilers import host_library
from gpuload.geometry import SUPPORT, Axis
from gpuload.steps import Filter, PadMode

__all__ = ["needs_host", "rows", "rows_numpy"]

WEIGHT_BITS = 22
ON_HOST = (Filter.NEAREST.value, Filter.HAMMING.value, Filter.LANCZOS.value)  # running sums and sines


def needs_host(axis: Axis, filter: int, most: int) -> bool:
    """Must the host make this axis's taps, because of the filter, or of more than ``most`` taps a row?"""
    return axis.length != axis.resized and (filter in ON_HOST or axis.ksize > most)


def rows(axis: Axis, filter: int) -> NDArray[np.int32]:
    """The taps of every output pixel of the axis."""
    library = host_library()
    if library is None:
        return rows_numpy(axis, filter)
    made = np.zeros((axis.extent, 2 + axis.ksize), np.int32)
    record = np.array(axis, np.int32)  # named: it must live until the call is over
    library.gpuload_taps(record.ctypes.data, filter, made.ctypes.data)
    return made


def rows_numpy(axis: Axis, filter: int) -> NDArray[np.int32]:
    """The same without a compiler."""
    made = np.zeros((axis.extent, 2 + axis.ksize), np.int32)
    nearest = np.cumsum([axis.length / axis.resized * 0.5] + [axis.length / axis.resized] * (axis.resized - 1))
    for i, row in enumerate(made):
        at = _window_position(axis, i)
        if at < 0:
            continue
        v = axis.window + at
        if axis.length == axis.resized:
            taps = v, [1 << WEIGHT_BITS]
        elif filter == Filter.NEAREST.value:
            taps = int(nearest[v]), [1 << WEIGHT_BITS]
        else:
            taps = _resample(axis, Filter(filter), v)
        first, weights = (axis.length - taps[0] - len(taps[1]), taps[1][::-1]) if axis.mirrored else taps
        row[:2] = first - axis.decoded, len(weights)
        row[2 : 2 + len(weights)] = weights
    return made


def _window_position(axis: Axis, i: int) -> int:
    at, n = axis.begin + axis.step * i, axis.kept
    if 0 <= at < n:
        return at
    if axis.padding == PadMode.CONSTANT.value or n == 0:
        return -1
    if axis.padding == PadMode.EDGE.value:
        return 0 if at < 0 else n - 1
    if axis.padding == PadMode.REFLECT.value:
        p = at % max(2 * n - 2, 1)
        return p if p < n else 2 * n - 2 - p
    p = at % (2 * n)
    return p if p < n else 2 * n - 1 - p


def _resample(axis: Axis, filter: Filter, v: int) -> tuple[int, list[int]]:
    scale = axis.length / axis.resized
    stretch = max(scale, 1.0)
    support, inverse = SUPPORT[filter] * stretch, 1.0 / stretch
    centre = (v + 0.5) * scale
    first = max(int(centre - support + 0.5), 0)
    end = min(int(centre + support + 0.5), axis.length)
    weights = [WEIGHTS[filter]((j - centre + 0.5) * inverse) for j in range(first, end)]
    total = 0.0
    for weight in weights:
        total += weight
    one = float(1 << WEIGHT_BITS)
    scaled = [(w / total if total != 0.0 else w) * one for w in weights]
    return first, [int(s - 0.5 if s < 0 else s + 0.5) for s in scaled]


def _box(x: float) -> float:
    return 1.0 if -0.5 < x <= 0.5 else 0.0


def _bilinear(x: float) -> float:
    return max(1.0 - abs(x), 0.0)


def _bicubic(x: float) -> float:
    x = abs(x)
    if x < 1.0:
        return (1.5 * x - 2.5) * x * x + 1.0
    return (((x - 5.0) * x + 8.0) * x - 4.0) * -0.5 if x < 2.0 else 0.0


def _hamming(x: float) -> float:
    x = abs(x)
    if x == 0.0:
        return 1.0
    if x >= 1.0:
        return 0.0
    p = x * math.pi
    return math.sin(p) / p * (float(np.float32(0.54)) + float(np.float32(0.46)) * math.cos(p))


def _sinc(x: float) -> float:
    return 1.0 if x == 0.0 else math.sin(x * math.pi) / (x * math.pi)


def _lanczos(x: float) -> float:
    return _sinc(x) * _sinc(x / 3.0) if -3.0 <= x < 3.0 else 0.0


WEIGHTS: dict[Filter, Callable[[float], float]] = {
    Filter.BOX: _box,
    Filter.BILINEAR: _bilinear,
    Filter.HAMMING: _hamming,
    Filter.BICUBIC: _bicubic,
    Filter.LANCZOS: _lanczos,
}
