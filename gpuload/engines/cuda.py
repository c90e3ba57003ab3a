"""The CUDA engine: workers decode into pinned memory; one copy and one kernel launch per batch.

The staging buffer holds the batch's pixels, the rows of weights that the host makes, and the records. The copy
runs on the engine's own stream as soon as the last worker is done; the kernel runs on the consumer's current
stream, where its output is allocated. What the GPU decodes itself lies behind all that, where no copy writes.

Samples that have adjustments are rendered as bytes, into scratch memory, by a launch of their own; one more adjusts
them, on their way to the output.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

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
from gpuload.recipes.adjust import Adjustment
from gpuload.recipes.fuse import Adjustments, Fused, fuse, left_to_pillow
from gpuload.recipes.ops import Filter, Mask
from gpuload.recipes.recipes import Recipes
from gpuload.recipes.record import NO_WEIGHTS, RECORD
from gpuload.recipes.warp import WARPED
from gpuload.stage import Stage
from gpuload.staging import ALIGNMENT, StagingPool

__all__ = ["CudaEngine", "needs_host_weights"]

THREADS = 256
TILE = (8, 32)  # output pixels of one block, as in kernels/render.cu
MAX_WEIGHTS = 32  # likewise
MAX_BLOCKS = 65_535  # of a grid, along y
KERNEL_FILTERS = Filter.BOX, Filter.BILINEAR, Filter.BICUBIC  # others: running sums, sines, torch's precision
HOST_FILTERS = np.array([filter not in KERNEL_FILTERS for filter in Filter])  # by value

ADJUSTED = np.dtype(  # ``struct Adjusted`` of ``kernels/adjust.cu``
    [
        ("pixels", "<i8"),  # byte offset in scratch memory
        ("beside", "<i8"),  # of more of it
        ("output", "<i8"),  # element offset in the output
        ("size", "<i4", 2),  # height and width in pixels
        ("steps", "<i4", 2),  # the first one, and how many
    ]
)
IDENTITY = torch.arange(256, dtype=torch.uint8).repeat(3)  # the table of what stays a byte, for three channels
ADJUSTING, ADJUSTING_THREADS = "adjust_pictures", 512
MOST_PIXELS = 1 << 22  # of a picture that one block adjusts
COLORS = (  # that it does
    Adjustment.ADJUST_BRIGHTNESS, Adjustment.ADJUST_CONTRAST, Adjustment.ADJUST_SATURATION, Adjustment.ADJUST_HUE,
    Adjustment.ADJUST_SHARPNESS, Adjustment.POSTERIZE, Adjustment.SOLARIZE, Adjustment.AUTOCONTRAST,
    Adjustment.EQUALIZE, Adjustment.GRAYSCALE,
)  # fmt: skip
KERNEL_KINDS = [*(color.value for color in COLORS), WARPED]
MOVING_KINDS = [Adjustment.ADJUST_SHARPNESS.value, WARPED]  # which have a second picture


def needs_host_weights(records: NDArray[np.void]) -> NDArray[np.bool_]:
    """(n, 2): must the host make the rows of weights of the y and x axis of these records?"""
    axes = records["axes"]
    many: NDArray[np.bool_] = HOST_FILTERS[records["filter"]][:, None] | (axes["ksize"] > MAX_WEIGHTS)
    needed: NDArray[np.bool_] = many & (axes["length"] != axes["resized"])
    return needed


def adjusted_by_kernel(fused: Fused) -> Mask:
    """(n,) the samples that have adjustments, all of kinds that the kernel knows, and are not too large for a block."""
    adjustments = fused.adjustments
    others = adjustments.having(~np.isin(adjustments.steps["kind"], KERNEL_KINDS))
    return np.asarray(adjustments.any & ~others & (fused.extents.prod(axis=1) <= MOST_PIXELS))


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
        tables = IDENTITY, layout.table.contiguous().view(torch.uint8).flatten()
        self.tables = torch.cat(tables).to(device.torch_device)
        self.staging = StagingPool(device, device.stream())

    def fuse(self, recipes: Recipes) -> Fused:
        if self.library is not None:
            return fuse(recipes)
        fused = fuse(recipes)
        by_host = fused.adjustments.any & ~adjusted_by_kernel(fused)
        return left_to_pillow(fused, recipes, np.asarray(by_host | needs_host_weights(fused.records).any(axis=1)))

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


class _Adjusting(NamedTuple):
    """The samples of a batch that the kernel adjusts.

    Attributes:
        where: (n,) which these are.
        pictures: (k,) `ADJUSTED`, what the kernel is told of them.
        adjustments: theirs, and other samples'.
        scratch: bytes of memory that it takes.
    """

    where: Mask
    pictures: NDArray[np.void]
    adjustments: Adjustments
    scratch: int

    @classmethod
    def of(cls, fused: Fused) -> "_Adjusting":
        adjustments, where = fused.adjustments.packed(), adjusted_by_kernel(fused)
        pictures = np.zeros(np.count_nonzero(where), ADJUSTED)
        size = fused.extents[where]
        pictures["size"] = size
        pictures["steps"] = np.stack([adjustments.at[:-1], np.diff(adjustments.at)], axis=1)[where]
        pictures["output"] = fused.records["output"][where]
        moving = adjustments.having(np.isin(adjustments.steps["kind"], MOVING_KINDS))[where]
        packed, sources = size.prod(axis=1) * 3, size.sum(axis=1) * 4  # which begin at a multiple of four
        room = _aligned(np.stack([packed, np.where(moving, packed + 3 + sources, 0)], axis=1))
        ends = room.cumsum()
        pictures["pixels"], pictures["beside"] = (ends.reshape(room.shape) - room).T
        return cls(where, pictures, adjustments, int(room.sum()))


def _aligned(sizes: NDArray[np.int64]) -> NDArray[np.int64]:
    return (sizes + (ALIGNMENT - 1)) & -ALIGNMENT


class _CudaBatch:
    def __init__(self, engine: CudaEngine, fused: Fused, files: Files) -> None:
        self._engine, self._fused, self._files = engine, fused, files
        self._output = engine.layout.place(fused)
        self._blocks = min(max(_tiles(*size) for size in self._output.sizes), MAX_BLOCKS)
        self._adjusting = _Adjusting.of(fused)
        if len(self._adjusting.pictures):
            engine.device.prepare(ADJUSTING)
        self._rendered = fused.adjustments.any & ~self._adjusting.where  # by the workers
        away = np.zeros(len(files), bool) if engine.decoding is None else engine.decoding.chosen(files)
        away &= ~self._rendered
        self._descriptors, self._sent, behind = self._place(away)
        self._buffer = engine.staging.take(self)
        self._host = self._buffer.room(self._sent, behind)
        work = files.work
        tell(work, fused)
        work.rendered = self._rendered.ctypes.data
        work.staging, work.staging_bytes = self._host.ctypes.data, len(self._host)
        if engine.decoding is not None and np.count_nonzero(away):
            engine.decoding.begin(files, np.flatnonzero(away), self._buffer)

    def _place(self, away: Mask) -> tuple[list[int], int, int]:
        """Give pixels and host-made weights their places in the buffer.

        Args:
            away: samples whose pixels are decoded on the device, where they lie behind the descriptors.

        Returns:
            Where each of the descriptors begins, where they end, and bytes behind them.
        """
        fused, records, rendered = self._fused, self._fused.records, self._rendered
        axes, needed = records["axes"], needs_host_weights(records) & ~rendered[:, None]
        sizes = np.zeros((len(records), 3), np.int64)  # bytes of each sample's pixels, rows of y, rows of x
        sizes[:, 0] = np.where(rendered, fused.extents.prod(axis=1) * 3, fused.pixel_bytes)
        if np.count_nonzero(needed):
            sizes[:, 1:] = np.where(needed, fused.extents * (2 + axes["ksize"]) * 4, 0)
        sizes = _aligned(sizes)
        behind = np.where(away, sizes[:, 0], 0)
        sizes[:, 0] -= behind
        ends = sizes.cumsum()
        begins = ends.reshape(sizes.shape) - sizes
        *descriptors, sent = np.cumsum([ends[-1], *(part.nbytes for part in self._parts(records))]).tolist()
        gap = -sent % ALIGNMENT if behind.any() else 0
        ends = sent + gap + behind.cumsum()
        records["pixels"] = np.where(away, ends - behind, begins[:, 0])
        records["weights"] = np.where(needed, begins[:, 1:], NO_WEIGHTS)
        return descriptors, sent, int(ends[-1]) - sent

    def _parts(self, records: NDArray[np.void]) -> tuple[NDArray[np.void], ...]:
        """The descriptors, of which none begins where the buffer ends."""
        _, pictures, (steps, _, warps), _ = self._adjusting
        return (records, warps, pictures, steps) if len(pictures) else (records,)

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
        where, pictures, _, _ = self._adjusting
        records = self._fused.records_left(self._rendered)
        if len(pictures):
            records = records[np.argsort(where, kind="stable")]  # those that are rendered to the output come first
            records["output"][-len(pictures) :] = pictures["pixels"]
        parts = [part.view(np.uint8) for part in self._parts(records)]
        self._host[self._descriptors[0] : self._sent] = np.concatenate(parts)
        self._buffer.stage()

    def images(self) -> Images:
        engine, device, layout = self._engine, self._engine.device, self._engine.layout
        out = device.empty((self._output.elements,), layout.dtype)
        device.keep(engine.tables, device.current_stream())
        identity = engine.tables.data_ptr()
        target = _Target(identity + IDENTITY.nbytes, layout.channels, layout.channels_last, out)
        adjusted = len(self._adjusting.pictures)
        plain = len(self._files) - adjusted
        with self._buffer.staged() as staged:
            base = staged.data_ptr()
            records, *others = (base + at for at in self._descriptors)
            if plain:
                self._render(engine.kernel, plain, records, base, target)
            if adjusted:
                scratch = device.empty((self._adjusting.scratch,), torch.uint8)
                as_bytes = _Target(identity, 3, True, scratch)
                self._render("render_1", adjusted, records + plain * RECORD.itemsize, base, as_bytes)
                warps, pictures, steps = map(np.uintp, others)
                table, *more = target.arguments()
                values = table, np.int32(layout.dtype.itemsize), *more
                arguments = pictures, steps, warps, np.uintp(scratch.data_ptr()), *values
                device.launch(ADJUSTING, (adjusted, 1), ADJUSTING_THREADS, arguments)
        return self._output.images(out)

    def _render(self, kernel: str, count: int, records: int, staging: int, target: "_Target") -> None:
        arguments = np.uintp(records), np.uintp(staging), *target.arguments()
        self._engine.device.launch(kernel, (count, self._blocks), THREADS, arguments)


class _Target(NamedTuple):
    """Where finished pixels go, and the address of the table of what becomes of them."""

    table: int
    channels: int
    channels_last: bool
    out: torch.Tensor

    def arguments(self) -> tuple[Any, ...]:
        """Of a kernel."""
        options = np.int32(self.channels), np.int32(self.channels_last)
        return np.uintp(self.table), *options, np.uintp(self.out.data_ptr())


def _tiles(height: int, width: int) -> int:
    """Tiles of an output."""
    return -(-height // TILE[0]) * -(-width // TILE[1])
