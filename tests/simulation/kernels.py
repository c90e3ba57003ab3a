"""Launches: what a kernel reads and writes, and its run, as C++."""

import ctypes
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from gpuload.engines.cuda.adjusting import ADJUSTED, MOVING_KINDS
from gpuload.recipes.adjust import ADJUSTMENT
from gpuload.recipes.erase import RECTANGLE
from gpuload.recipes.record import NO_WEIGHTS, RECORD
from gpuload.recipes.warp import WARP, WARPED
from gpuload.samplers.permutation import PERMUTATION
from tests.cuda_on_cpu import cuda_on_cpu
from tests.simulation.gpu import Span
from tests.simulation.memory import Memory

__all__ = ["Launch"]

INT64 = 8
Touched = tuple[int, int, bool]  # address, bytes; True: written


class Launch:
    """One run of a kernel.

    Args:
        name: the kernel's.
        grid: blocks along x and y.
        arguments: as of `gpuload.nvrtc.launch`.
        memory: the device's.
    """

    def __init__(self, name: str, grid: tuple[int, ...], arguments: tuple[Any, ...], memory: Memory) -> None:
        self._name, self._grid, self._arguments, self._memory = name, grid, arguments, memory
        self._ends: dict[int, int] = {}  # where the memory ends that each address is in
        kernel = name.partition("_")[0]
        self._spans, self._run = SPANS[kernel], RUNS[kernel]
        for address in (int(arguments[at]) for at in ADDRESSES.get(name) or ADDRESSES[kernel]):
            block = memory.block_at(address)
            if block is None:
                memory.gpu.problem(f"{name} is given an address that is not in use in the {memory.name}")
            else:
                self._ends[address] = memory.address + block[1]

    def reads(self) -> list[Span]:
        """What it reads; looked up when it runs, for it depends on what is there."""
        return [span for span, writes in self._touched() if not writes]

    def writes(self) -> list[Span]:
        """What it writes."""
        return [span for span, writes in self._touched() if writes]

    def _touched(self) -> Iterator[tuple[Span, bool]]:
        gpu = self._memory.gpu
        if gpu.problems:  # its arguments may be anything
            return
        for address, size, writes in self._spans(self._name, *self._arguments, grid=self._grid):
            begin, end = address - self._memory.address, self._ends[int(address)]
            if address + size > end:
                gpu.problem(f"{self._name} reaches {address + size - end} bytes behind the memory that it was given")
                return
            yield (self._memory.accesses, int(begin), int(begin + size)), writes

    def run(self) -> None:
        """As C++; not after something went wrong: it could read anything."""
        if not self._memory.gpu.problems:
            self._run(self._name, *self._arguments, grid=self._grid)


def _at(address: Any, dtype: Any, count: int) -> Any:
    """What lies there."""
    size = np.dtype(dtype).itemsize * count
    return np.frombuffer((ctypes.c_char * size).from_address(int(address)), dtype)


# ---- render ----


def _render_spans(
    name: str, records: Any, staging: Any, table: Any, channels: Any, _: Any, out: Any, grid: Any
) -> Iterator[Touched]:
    width = int(name.removeprefix("render_"))
    yield int(records), RECORD.itemsize * grid[0], False
    described = _at(records, RECORD, grid[0])
    axes = described["axes"]
    span, extent = axes["span"].astype(np.int64), axes["extent"].astype(np.int64)
    pixels = described["pixels"] + span.prod(axis=1) * 3
    weights = np.where(described["weights"] == NO_WEIGHTS, 0, described["weights"] + extent * (2 + axes["ksize"]) * 4)
    yield int(staging), int(max(pixels.max(), weights.max())), False
    yield int(table), int(channels) * 256 * width, False
    yield int(out), int((described["output"] + extent.prod(axis=1) * int(channels)).max()) * width, True


def _render(name: str, records: Any, staging: Any, table: Any, channels: Any, last: Any, out: Any, grid: Any) -> None:
    width, (count, tiles) = int(name.removeprefix("render_")), grid
    cuda_on_cpu().cuda_render(
        int(records), count, int(staging), int(table), width, int(channels), int(last), tiles, int(out)
    )


# ---- adjust ----


def _adjust_spans(
    name: str, pictures: Any, steps: Any, warps: Any, scratch: Any, table: Any, width: Any, channels: Any, _: Any,
    out: Any, grid: Any,
) -> Iterator[Touched]:  # fmt: skip
    yield int(pictures), ADJUSTED.itemsize * grid[0], False
    described = _at(pictures, ADJUSTED, grid[0])
    count = int(described["steps"].sum(axis=1).max())
    yield int(steps), ADJUSTMENT.itemsize * count, False
    given = _at(steps, ADJUSTMENT, count)
    which = given["value"][given["kind"] == WARPED]
    yield int(warps), int(which.max() + 1 if which.size else 0) * WARP.itemsize, False
    pixels = described["size"].astype(np.int64).prod(axis=1)
    moved = [np.isin(given["kind"][first : first + n], MOVING_KINDS).any() for first, n in described["steps"].tolist()]
    last = np.where(moved, described["beside"], described["pixels"]) + 3 * pixels
    yield int(scratch), int(last.max()), True
    yield int(table), int(channels) * 256 * int(width), False
    yield int(out), int((described["output"] + pixels * int(channels)).max()) * int(width), True


def _adjust(name: str, pictures: Any, *others: Any, grid: Any) -> None:
    cuda_on_cpu().cuda_adjust(int(pictures), grid[0], *map(int, others))


# ---- erase ----


def _erase_spans(
    name: str, records: Any, rectangles: Any, begins: Any, fills: Any, columns: Any, channels: Any, _: Any, out: Any,
    grid: Any,
) -> Iterator[Touched]:  # fmt: skip
    width = int(name.removeprefix("erase_"))
    yield int(records), RECORD.itemsize * grid[0], False
    yield int(begins), INT64 * (grid[0] + 1), False
    at = _at(begins, np.int64, grid[0] + 1)
    yield int(rectangles), RECTANGLE.itemsize * int(at[-1]), False
    yield int(fills), int(channels) * int(columns) * width, False
    described = _at(records, RECORD, grid[0])
    ends = described["output"] + described["axes"]["extent"].astype(np.int64).prod(axis=1) * int(channels)
    yield int(out), int(ends[np.diff(at) > 0].max()) * width, True


def _erase(
    name: str, records: Any, rectangles: Any, begins: Any, fills: Any, columns: Any, channels: Any, last: Any, out: Any,
    grid: Any,
) -> None:  # fmt: skip
    width, (count, blocks) = int(name.removeprefix("erase_")), grid
    addresses = map(int, (rectangles, begins, fills))
    rest = int(columns), width, int(channels), int(last), blocks, int(out)
    cuda_on_cpu().cuda_erase(int(records), count, *addresses, *rest)


# ---- gather ----


def _gather_spans(
    name: str, source: Any, indices: Any, rows: Any, words: Any, out: Any, grid: Any
) -> Iterator[Touched]:
    row_bytes = int(words) * int(name.removeprefix("gather_"))
    yield int(indices), int(rows) * INT64, False
    wanted = _at(indices, np.int64, int(rows))
    begin = 0 if wanted.min() >= 0 else 1 << 62  # behind all memory
    yield int(source), begin + (int(wanted.max()) + 1) * row_bytes, False
    yield int(out), int(rows) * row_bytes, True


def _gather(name: str, source: Any, indices: Any, rows: Any, words: Any, out: Any, grid: Any) -> None:
    word = int(name.removeprefix("gather_"))
    cuda_on_cpu().cuda_gather(int(source), int(indices), int(rows), int(words), word, int(out))


# ---- pad ----


def _pad_spans(name: str, elements: Any, places: Any, padding: Any, out: Any, grid: Any) -> Iterator[Touched]:
    element, rows, dims = int(name.removeprefix("pad_")), int(padding["rows"]), padding["extents"].size
    yield int(places), rows * (1 + dims) * INT64, False
    starts, *extents = _at(places, np.int64, rows * (1 + dims)).reshape(rows, 1 + dims).T
    yield int(elements), int((starts + np.prod(extents, axis=0)).max()) * element, False
    yield int(out), rows * int(padding["extents"].prod()) * element, True


def _pad(name: str, elements: Any, places: Any, padding: Any, out: Any, grid: Any) -> None:
    element = int(name.removeprefix("pad_"))
    cuda_on_cpu().cuda_pad(int(elements), int(places), padding.ctypes.data, element, int(out))


# ---- order ----


def _order_spans(name: str, *arguments: Any, grid: Any) -> Iterator[Touched]:
    if name == "order_weighted":
        yield int(arguments[2]), int(arguments[3]) * INT64, False
    yield int(arguments[-1]), int(arguments[-2]) * INT64, True


def _order(name: str, *arguments: Any, grid: Any) -> None:
    if name == "order_permuted":
        key, *others = arguments
        key = np.array(key, PERMUTATION)
        cuda_on_cpu().cuda_order_permuted(key.ctypes.data, *map(int, others))
    else:
        getattr(cuda_on_cpu(), f"cuda_{name}")(*map(int, arguments))


# which arguments are addresses
ADDRESSES = {
    "render": (0, 1, 2, 5),
    "adjust": (0, 1, 2, 3, 4, 8),
    "erase": (0, 1, 2, 3, 7),
    "gather": (0, 1, 4),
    "pad": (0, 1, 3),
    "order": (-1,),
    "order_weighted": (2, -1),
}
SPANS: dict[str, Callable[..., Iterator[Touched]]] = {
    "render": _render_spans, "adjust": _adjust_spans, "erase": _erase_spans, "gather": _gather_spans,
    "pad": _pad_spans, "order": _order_spans,
}  # fmt: skip
RUNS: dict[str, Callable[..., None]] = {
    "render": _render,
    "adjust": _adjust,
    "erase": _erase,
    "gather": _gather,
    "pad": _pad,
    "order": _order,
}
