"""The CUDA engine: workers decode into pinned memory, one copy and one kernel launch per batch.

The staging buffer holds the batch's pixels, the rows of weights that the host makes, and the records. The copy
runs on the engine's own stream as soon as the last worker is done; the kernel runs on the consumer's current
stream, where its output is allocated, and after it the one that erases, where a batch has rectangles. What the GPU
decodes itself lies behind all that, where no copy writes.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from gpuload.decoders import pillow
from gpuload.decoders.base import Decoder
from gpuload.decoders.files import Files
from gpuload.decoding import GpuDecoding
from gpuload.device import Device
from gpuload.engines.base import Images, Layout, check, native_decoders, tell
from gpuload.libraries import host_library
from gpuload.recipes.fuse import Fused, fuse, fuse_unadjusted, left_to_pillow
from gpuload.recipes.ops import Filter
from gpuload.recipes.recipes import Recipes
from gpuload.recipes.record import NO_WEIGHTS
from gpuload.stage import Stage
from gpuload.staging import ALIGNMENT, StagingPool

__all__ = ["CudaEngine", "needs_host_weights"]

THREADS = 256
TILE = (8, 32)  # output pixels of one block, as in kernels/render.cu
MAX_WEIGHTS = 32  # likewise
MAX_BLOCKS = 65_535  # of a grid, along y
ERASING_BLOCKS = 8  # that share the rows of a sample's rectangles: one has a few hundred pairs of pixels each
KERNEL_FILTERS = Filter.BOX, Filter.BILINEAR, Filter.BICUBIC  # others: running sums, sines, torch's precision
HOST_FILTERS = np.array([filter not in KERNEL_FILTERS for filter in Filter])  # by value


def needs_host_weights(records: NDArray[np.void]) -> NDArray[np.bool_]:
    """(n, 2): must the host make the rows of weights of the y and x axis of these records?"""
    axes = records["axes"]
    many: NDArray[np.bool_] = HOST_FILTERS[records["filter"]][:, None] | (axes["ksize"] > MAX_WEIGHTS)
    needed: NDArray[np.bool_] = many & (axes["length"] != axes["resized"])
    return needed


class CudaEngine:
    """Renders on a device that launches kernels.

    Args:
        layout: what leaves.
        device: the GPU.
        decoding: what it decodes of each batch; None: nothing.

    Raises:
        MissingError: CuPy or CUDA's headers are not installed.
    """

    name = "cuda"
    on_host = False

    def __init__(self, layout: Layout, device: Device, decoding: GpuDecoding | None = None) -> None:
        self.layout, self.device, self.library, self.decoding = layout, device, host_library(), decoding
        self.kernel = f"render_{layout.dtype.itemsize}"
        self.erasing = f"erase_{layout.dtype.itemsize}"
        device.prepare(self.kernel)  # what is missing fails here, not in the first batch
        if layout.fills.numel():
            device.prepare(self.erasing)
        self.table, self.fills = (values.to(device.torch_device) for values in (layout.table, layout.fills))
        self.staging = StagingPool(device, device.stream())

    def fuse(self, recipes: Recipes) -> Fused:
        if self.library is not None:
            return fuse(recipes)
        fused = fuse_unadjusted(recipes)
        return left_to_pillow(fused, recipes, np.asarray(needs_host_weights(fused.records).any(axis=1)))

    def batch(self, fused: Fused, files: Files) -> "_CudaBatch":
        return _CudaBatch(self, fused, files)

    def decoders(self, decoder: Decoder | None) -> Iterator[str]:
        if self.decoding is not None and self.decoding.split.is_all:
            return iter([f"all but ordinary JPEGs by {pillow.describe()}"])
        return native_decoders(decoder)

    def stages(self, threads: str, target: str, fusing: Sequence[str], facts: Sequence[str]) -> Iterator[Stage]:
        if self.decoding is not None:
            yield Stage("decode", target, (self.decoding.describe(), "close to Pillow's pixels, not bit-exact"))
        yield Stage("stage", f"CPU -> {target}", ("one copy per batch from pinned memory, on a side stream",))
        yield Stage("render", target, ("engine cuda: one kernel launch per batch", *fusing, *facts))


class _CudaBatch:
    def __init__(self, engine: CudaEngine, fused: Fused, files: Files) -> None:
        self._engine, self._fused, self._files = engine, fused, files
        self._output = engine.layout.place(fused)
        self._grid = len(files), min(max(_tiles(*size) for size in self._output.sizes), MAX_BLOCKS)
        away = np.zeros(len(files), bool) if engine.decoding is None else engine.decoding.chosen(files)
        away &= ~fused.adjustments.any  # the workers render those
        rectangles, begins = fused.erasures.packed()
        self._erasing = [rectangles, begins] if len(rectangles) else []
        described = fused.records.nbytes + sum(array.nbytes for array in self._erasing)
        self._descriptors, behind = self._place(fused, away, described)
        self._buffer = engine.staging.take(self)
        self._sent = self._descriptors + described
        self._host = self._buffer.room(self._sent, behind)
        work = files.work
        tell(work, fused, engine.layout)
        work.staging, work.staging_bytes = self._host.ctypes.data, len(self._host)
        if engine.decoding is not None and np.count_nonzero(away):
            engine.decoding.begin(files, np.flatnonzero(away), self._buffer)

    @staticmethod
    def _place(fused: Fused, away: NDArray[np.bool_], described: int) -> tuple[int, int]:
        """Give pixels and host-made weights their places in the buffer.

        Args:
            fused: of the batch.
            away: samples whose pixels are decoded on the device, where they lie behind the descriptors.
            described: bytes of the descriptors: of records, and of rectangles to erase.

        Returns:
            Bytes before the descriptors, and behind them.
        """
        records = fused.records
        axes, needed = records["axes"], needs_host_weights(records) & ~fused.adjustments.any[:, None]
        sizes = np.zeros((len(records), 3), np.int64)  # bytes of each sample's pixels, rows of y, rows of x
        sizes[:, 0] = fused.pixel_bytes
        if np.count_nonzero(needed):
            sizes[:, 1:] = np.where(needed, fused.extents * (2 + axes["ksize"]) * 4, 0)
        sizes = (sizes + (ALIGNMENT - 1)) & -ALIGNMENT
        behind = np.where(away, sizes[:, 0], 0)
        sizes[:, 0] -= behind
        ends = sizes.cumsum()
        begins, descriptors = ends.reshape(sizes.shape) - sizes, int(ends[-1])
        sent, gap = descriptors + described, -described % ALIGNMENT if behind.any() else 0
        ends = sent + gap + behind.cumsum()
        records["pixels"] = np.where(away, ends - behind, begins[:, 0])
        records["weights"] = np.where(needed, begins[:, 1:], NO_WEIGHTS)
        return descriptors, int(ends[-1]) - sent

    def share(self, first: int, count: int) -> None:
        library = self._engine.library
        if library is not None:
            library.gpuload_share(self._files.address, first, count)

    def put(self, slot: int, pixels: NDArray[np.uint8]) -> None:
        library, packed = self._engine.library, np.ascontiguousarray(pixels)
        begin = int(self._fused.records["pixels"][slot])
        if library is not None:
            check(library.gpuload_put(self._files.address, slot, packed.ctypes.data))
        else:
            self._host[begin : begin + packed.size] = packed.ravel()
        if begin >= self._sent:
            self._buffer.late(begin, packed.size)

    def finish(self) -> None:
        at = self._descriptors
        for array in (self._fused.records_left(), *self._erasing):
            self._host[at : at + array.nbytes] = array.view(np.uint8)
            at += array.nbytes
        self._buffer.stage()

    def images(self) -> Images:
        engine, device, layout = self._engine, self._engine.device, self._engine.layout
        out = device.empty((self._output.elements,), layout.dtype)
        device.keep(engine.table, device.current_stream())
        with self._buffer.staged() as staged:
            base = staged.data_ptr()
            addresses = [np.uintp(a) for a in (base + self._descriptors, base, engine.table.data_ptr())]
            options = np.int32(layout.channels), np.int32(layout.channels_last)
            arguments: tuple[Any, ...] = (*addresses, *options, np.uintp(out.data_ptr()))
            device.launch(engine.kernel, self._grid, THREADS, arguments)
            if self._erasing:
                self._erase(base + self._descriptors, out)
        return self._output.images(out)

    def _erase(self, records: int, out: torch.Tensor) -> None:
        """The batch's rectangles, which lie behind its records."""
        engine, device, layout = self._engine, self._engine.device, self._engine.layout
        rectangles = records + self._fused.records.nbytes
        begins = rectangles + self._erasing[0].nbytes
        device.keep(engine.fills, device.current_stream())
        addresses = [np.uintp(a) for a in (records, rectangles, begins, engine.fills.data_ptr())]
        options = np.int64(layout.fills.shape[1]), np.int32(layout.channels), np.int32(layout.channels_last)
        arguments = (*addresses, *options, np.uintp(out.data_ptr()))
        device.launch(engine.erasing, (len(self._files), ERASING_BLOCKS), THREADS, arguments)


def _tiles(height: int, width: int) -> int:
    """Tiles of an output."""
    return -(-height // TILE[0]) * -(-width // TILE[1])
