"""Batches for the native functions: what they write lies between guard bytes."""

import ctypes
import mmap
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from gpuload.decoders.encoded import Encoded
from gpuload.decoders.files import Memory
from gpuload.libraries import host_library, jpeg_library
from gpuload.native import Status, Work
from gpuload.recipes.fuse import Fused, fuse
from gpuload.recipes.ops import Recipe
from gpuload.recipes.recipes import Recipes
from tests.recipes import batched

needs_decoder = pytest.mark.skipif(jpeg_library() is None, reason="nvImageCodec is not installed")

IDENTITY = np.tile(np.arange(256, dtype=np.uint8), (3, 1))
GUARD = 64  # bytes around every output, which must stay as they are
UNTOUCHED = 0xAB


def native() -> ctypes.CDLL:
    library = host_library()
    assert library is not None
    return library


def decoder() -> int | None:
    library = jpeg_library()
    return None if library is None else ctypes.cast(library.gpuload_jpeg_decode, ctypes.c_void_p).value


@contextmanager
def at_the_edge(data: bytes) -> Iterator[int]:
    """The address of a copy of ``data`` that ends where a page begins that nobody may read."""
    pages = -(-len(data) // mmap.PAGESIZE) * mmap.PAGESIZE
    with mmap.mmap(-1, pages + mmap.PAGESIZE) as memory:
        memory[pages - len(data) : pages] = data
        first = ctypes.c_char.from_buffer(memory)
        base = ctypes.addressof(first)
        libc = ctypes.CDLL(None)
        assert libc.mprotect(ctypes.c_void_p(base + pages), ctypes.c_size_t(mmap.PAGESIZE), 0) == 0
        yield base + pages - len(data)
        del first


def in_memory(images: Sequence[NDArray[np.uint8] | None]) -> Memory:
    """Packed arrays of (H, W) or (H, W, 3), where they lie; None: a file."""
    addresses = [0 if image is None else image.ctypes.data for image in images]
    channels = [1 if image is not None and image.ndim == 2 else 3 for image in images]
    return Memory(np.array(addresses, np.uint64), np.array(channels, np.uint8), images)


class Batch:
    """A `Work` and the arrays that it points to; what native code writes lies between guard bytes."""

    def __init__(self, fused: Fused, paths: Sequence[Any] = (), table: NDArray[Any] = IDENTITY, **more: int) -> None:
        n = len(fused.records)
        self.fused, self.table = fused, table
        self.names = b"".join(os.fsencode(path) + b"\0" for path in paths)
        ends = np.cumsum([len(os.fsencode(path)) + 1 for path in paths], dtype=np.int64)
        self.starts = np.concatenate([[0], ends]).astype(np.int64)
        self.sizes, self.status = np.zeros((n, 2), np.int32), np.full(n, Status.TODO, np.uint8)
        elements = len(table) * fused.extents.prod(1)
        fused.records["output"] = np.cumsum(elements) - elements
        guards = GUARD // table.itemsize
        self.memory = np.full(int(elements.sum()) + 2 * guards, UNTOUCHED, table.dtype)
        self.out = self.memory[guards:-guards]
        self.staging = np.zeros(0, np.uint8)
        self.work = Work(
            count=n,
            paths=self.names,
            paths_bytes=len(self.names),
            path_at=self.starts.ctypes.data,
            sizes=self.sizes.ctypes.data,
            regions=fused.regions.ctypes.data,
            records=fused.records.ctypes.data,
            status=self.status.ctypes.data,
            decode=decoder(),
            table=table.ctypes.data,
            out=self.out.ctypes.data,
            out_elements=len(self.out),
            element_bytes=table.itemsize,
            channels=len(table),
        )
        self.adjust(fused)
        for name, value in more.items():
            setattr(self.work, name, value)

    def adjust(self, fused: Fused) -> None:
        """Tell it of adjustments, where there are any."""
        steps, at, warps, frames, grids, kernels = fused.adjustments
        if len(steps):
            self.work.adjustments, self.work.adjustment_count = steps.ctypes.data, len(steps)
            self.work.adjusted_at = at.ctypes.data
            self.work.warps, self.work.warp_count = warps.ctypes.data, len(warps)
            self.work.frames, self.work.frame_count = frames.ctypes.data, len(frames)
            self.work.grids, self.work.grid_count = grids.ctypes.data, len(grids)
            self.work.kernels, self.work.kernel_count = kernels.ctypes.data, len(kernels)

    def erase(self, fills: NDArray[Any]) -> None:
        """Tell it of its rectangles, where there are any, and of their values: (channels, m)."""
        rectangles, at = self.fused.erasures
        if len(rectangles):
            self.fills = fills  # to keep what the work has the address of
            self.work.rectangles, self.work.rectangle_count = rectangles.ctypes.data, len(rectangles)
            self.work.erased_at = at.ctypes.data
            self.work.fills, self.work.fill_columns = fills.ctypes.data, fills.shape[1]

    def render(self) -> None:
        """Have what has adjustments rendered, although there is staging."""
        self.rendered = self.fused.adjustments.any
        self.work.rendered = self.rendered.ctypes.data

    def stage(self, size: int) -> None:
        """Give it a staging buffer."""
        self.memory = np.full(size + 2 * GUARD, UNTOUCHED, np.uint8)
        self.staging = self.memory[GUARD:-GUARD]
        self.work.staging, self.work.staging_bytes = self.staging.ctypes.data, size

    def remember(self, memory: Memory) -> None:
        """Tell it of images in memory."""
        self.images = memory  # to keep what the work has the addresses of
        self.work.memory, self.work.memory_channels = memory.addresses.ctypes.data, memory.channels.ctypes.data

    def image(self, i: int) -> NDArray[Any]:
        """Sample i of the output: (H, W, C)."""
        height, width = self.fused.extents[i]
        channels, at = len(self.table), int(self.fused.records["output"][i])
        flat = self.out[at : at + channels * height * width]
        if self.work.channels_last:
            return flat.reshape(height, width, channels)
        return flat.reshape(channels, height, width).transpose(1, 2, 0)

    def guards_hold(self) -> bool:
        guards = GUARD // self.memory.itemsize
        return bool((self.memory[:guards] == UNTOUCHED).all() and (self.memory[-guards:] == UNTOUCHED).all())

    def untouched(self) -> bool:
        return bool((self.memory == UNTOUCHED).all())

    def measure(self) -> None:
        native().gpuload_measure(ctypes.byref(self.work), 0, self.work.count)

    def share(self, first: int = 0, count: int = 1 << 40) -> None:
        native().gpuload_share(ctypes.byref(self.work), first, count)

    def load(self, first: int = 0, count: int = 1 << 40) -> list[bytes]:
        """What is loaded of each sample; empty: nothing."""
        encoded = Encoded(self.work.count)
        self.work.encoded = encoded.address
        native().gpuload_load(ctypes.byref(self.work), first, count)
        return [
            ctypes.string_at(address, size) if size else b"" for address, size in encoded.places(0, self.work.count)
        ]

    def put(self, i: int, picture: NDArray[np.uint8], library: ctypes.CDLL | None = None) -> int:
        """Put the region of a picture that sample i reads; reading behind it would end the process."""
        top, left, height, width = self.fused.regions[i]
        with at_the_edge(picture[top : top + height, left : left + width].tobytes()) as address:
            return int((library or native()).gpuload_put(ctypes.byref(self.work), i, address))


def of_files(paths: Sequence[Any], size: tuple[int, int] = (8, 8), recipe: Recipe = (), **more: int) -> Batch:
    n = len(paths)
    batch = Batch(fuse(Recipes.of([recipe] * n, [size[0]] * n, [size[1]] * n)), paths, **more)
    batch.sizes[:] = size
    return batch


def staged(picture: NDArray[np.uint8], recipe: Recipe) -> Batch:
    """A sample put into staging memory, with the rows of weights that the kernel does not make itself."""
    batch = Batch(fuse(batched([picture], [recipe])))
    record = batch.fused.records[0]
    batch.render()
    used = int(batch.fused.extents[0].prod() * 3 if batch.rendered[0] else batch.fused.pixel_bytes[0])
    for k, axis in enumerate(record["axes"]):
        on_host = record["filter"] not in (1, 2, 4) or axis["ksize"] > 32
        if on_host and axis["length"] != axis["resized"]:
            used += -used % 4
            record["weights"][k] = used
            used += int(axis["extent"]) * (2 + int(axis["ksize"])) * 4
    batch.stage(used)
    return batch
