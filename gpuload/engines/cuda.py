"""The CUDA engine: workers decode into pinned memory, one copy and one kernel launch per batch.

The staging buffer holds the batch's pixels, the rows of weights that the host makes, and the records. The copy
runs on the engine's own stream as soon as the last worker is done; the kernel runs on the consumer's current
stream, where its output is allocated. What the GPU decodes itself lies behind all that, where no copy writes.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpuload.decoders import pillow
from gpuload.decoders.base import Decoder
from gpuload.decoders.files import Files
from gpuload.decoding import GpuDecoding
from gpuload.device import Device
from gpuload.engines.base import Images, Layout, View, check, grouped, native_decoders, tell
from gpuload.libraries import host_library
from gpuload.recipes.fuse import Fused, fuse, fuse_unadjusted, left_to_pillow
from gpuload.recipes.ops import Filter
from gpuload.recipes.recipes import Recipes
from gpuload.recipes.record import NO_WEIGHTS, RECORD
from gpuload.recipes.union import widened
from gpuload.stage import Stage
from gpuload.staging import ALIGNMENT, StagingPool

__all__ = ["CudaEngine", "needs_host_weights"]

THREADS = 256
TILE = (8, 32)  # output pixels of one block, as in kernels/render.cu
MAX_WEIGHTS = 32  # likewise
MAX_BLOCKS = 65_535  # of a grid, along y
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
        device.prepare(self.kernel)  # what is missing fails here, not in the first batch
        self.table = layout.table.to(device.torch_device)
        self.staging = StagingPool(device, device.stream())

    def fuse(self, recipes: Recipes) -> Fused:
        if self.library is not None:
            return fuse(recipes)
        fused = fuse_unadjusted(recipes)
        return left_to_pillow(fused, recipes, np.asarray(needs_host_weights(fused.records).any(axis=1)))

    def batch(self, fused: Fused, files: Files) -> "_CudaBatch":
        return _CudaBatch([View(self, fused, files)])

    def views(self, views: Sequence[View]) -> "_CudaBatch":
        return _CudaBatch(views)

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
    def __init__(self, views: Sequence[View]) -> None:
        self._views, engine, self._files = views, views[0].engine, views[0].files
        self._device, self._library, self._groups = engine.device, engine.library, list(grouped(views))
        self._images: dict[int, Images] = {}
        away = np.zeros(len(self._files), bool) if engine.decoding is None else engine.decoding.chosen(self._files)
        away &= ~np.any([view.fused.adjustments.any for view in views], axis=0)  # the workers render those
        self._descriptors, behind = self._place([view.fused for view in views], away)
        self._buffer = engine.staging.take(self)
        self._sent = self._descriptors + sum(view.fused.records.nbytes for view in views)
        self._host = self._buffer.room(self._sent, behind)
        for view in views:
            work = view.files.work
            tell(work, view.fused)
            work.staging, work.staging_bytes = self._host.ctypes.data, len(self._host)
        if engine.decoding is not None and np.count_nonzero(away):
            engine.decoding.begin(self._files, np.flatnonzero(away), self._buffer)

    @staticmethod
    def _place(views: Sequence[Fused], away: NDArray[np.bool_]) -> tuple[int, int]:
        """Give pixels and host-made weights their places in the buffer.

        Args:
            views: of the batch.
            away: samples whose pixels are decoded on the device, where they lie behind the records.

        Returns:
            Bytes before the records, and behind them.
        """
        shared = widened(views)
        needed = np.stack([needs_host_weights(fused.records) & ~fused.adjustments.any[:, None] for fused in views], 1)
        sizes = np.zeros((len(away), len(views), 3), np.int64)  # bytes of each sample's pixels, rows of y, rows of x
        owner = shared.argmax(axis=1)  # of the pixels that a sample's views share
        for number, fused in enumerate(views):
            sizes[:, number, 0] = np.where(shared[:, number] & (owner != number), 0, fused.pixel_bytes)
            if np.count_nonzero(needed[:, number]):
                rows = fused.extents * (2 + fused.records["axes"]["ksize"]) * 4
                sizes[:, number, 1:] = np.where(needed[:, number], rows, 0)
        sizes = (sizes + (ALIGNMENT - 1)) & -ALIGNMENT
        behind = np.where(away, sizes[:, 0, 0], 0)  # all views share these
        sizes[:, 0, 0] -= behind
        ends = sizes.cumsum()
        begins, descriptors = ends.reshape(sizes.shape) - sizes, int(ends[-1])
        nbytes = sum(fused.records.nbytes for fused in views)
        sent, gap = descriptors + nbytes, -nbytes % ALIGNMENT if behind.any() else 0
        ends = sent + gap + behind.cumsum()
        of_owner = begins[np.arange(len(away)), owner, 0]
        for number, fused in enumerate(views):
            pixels = np.where(shared[:, number], of_owner, begins[:, number, 0])
            fused.records["pixels"] = np.where(away, ends - behind, pixels)
            fused.records["weights"] = np.where(needed[:, number], begins[:, number, 1:], NO_WEIGHTS)
        return descriptors, int(ends[-1]) - sent

    def share(self, first: int, count: int) -> None:
        if self._library is not None:
            self._library.gpuload_share(self._files.address, first, count)

    def put(self, slot: int, pixels: NDArray[np.uint8], view: int = 0) -> None:
        packed, (_, fused, files) = np.ascontiguousarray(pixels), self._views[view]
        begin = int(fused.records["pixels"][slot])
        if self._library is not None:
            check(self._library.gpuload_put(files.address, slot, packed.ctypes.data))
        else:
            self._host[begin : begin + packed.size] = packed.ravel()
        if begin >= self._sent:
            self._buffer.late(begin, packed.size)

    def finish(self) -> None:
        left = [self._views[number].fused.records_left() for _, mine, _ in self._groups for number in mine]
        self._host[self._descriptors : self._sent] = np.concatenate(left).view(np.uint8)
        self._buffer.stage()

    def images(self, view: int = 0) -> Images:
        if view not in self._images:
            with self._buffer.staged() as staged:
                self._launch(staged.data_ptr())
        return self._images[view]

    def _launch(self, base: int) -> None:
        """One for each engine: for all views of one layout."""
        device, descriptors = self._device, base + self._descriptors
        for engine, mine, outputs in self._groups:
            layout, count = engine.layout, sum(output.count for output in outputs)
            out = device.empty((outputs[-1].end,), layout.dtype)
            device.keep(engine.table, device.current_stream())
            grid = count, min(max(_tiles(*size) for output in outputs for size in output.sizes), MAX_BLOCKS)
            addresses = [np.uintp(a) for a in (descriptors, base, engine.table.data_ptr())]
            options = np.int32(layout.channels), np.int32(layout.channels_last)
            arguments: tuple[Any, ...] = (*addresses, *options, np.uintp(out.data_ptr()))
            device.launch(engine.kernel, grid, THREADS, arguments)
            self._images.update((number, output.images(out)) for number, output in zip(mine, outputs, strict=True))
            descriptors += count * RECORD.itemsize


def _tiles(height: int, width: int) -> int:
    """Tiles of an output."""
    return -(-height // TILE[0]) * -(-width // TILE[1])
