"""The CUDA engine: workers decode into a pinned slab, one copy a batch, one kernel launch a batch.

The slab holds pixels and host-made taps, as workers reserve them, and at last the samples' descriptors. The
copy runs on the engine's own stream as soon as the last worker is done; the kernel runs on the consumer's
current stream, where its output is allocated.
"""

from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from gpuload import taps
from gpuload.compilers import cupy, launch
from gpuload.decode import Encoded
from gpuload.engines import Images, decode_for
from gpuload.geometry import SAMPLE, Axis, Geometry
from gpuload.plan import Plan
from gpuload.staging import DeviceSlab, Slab, SlabPool
from gpuload.steps import Recipe

__all__ = ["CudaEngine", "Layout", "SlabBatch"]

THREADS = 256
TILE = (8, 32)  # output pixels of one block, as in kernels/render.cu
MAX_TAPS = 32  # likewise


@dataclass(frozen=True)
class Layout:
    """What the kernel writes: dtype, channels and their order."""

    dtype: torch.dtype
    channels: int
    channels_last: bool


Kind = TypeVar("Kind", bound=Slab)


class SlabBatch(Generic[Kind]):
    """The slots of one batch in a slab; everything but the launch, so that it is tested without a GPU."""

    def __init__(self, size: int, slabs: SlabPool[Kind], layout: Layout) -> None:
        self.slab = slabs.take(self)
        self.layout = layout
        self.sizes: list[tuple[int, int]] = [(0, 0)] * size
        self.records = np.zeros(size, SAMPLE)

    def fill(self, slot: int, image: Encoded, recipe: Recipe) -> None:
        offset = 0

        def room(size: int) -> NDArray[np.uint8]:
            nonlocal offset
            offset, pixels = self.slab.reserve(size)
            return pixels

        geometry, _ = decode_for(image, recipe, room)
        made = self._taps(geometry.x, geometry), self._taps(geometry.y, geometry)
        geometry.pack(self.records[slot : slot + 1].view(np.uint8), pixels=offset, taps=made)
        self.sizes[slot] = geometry.y.extent, geometry.x.extent

    def _taps(self, axis: Axis, geometry: Geometry) -> int:
        """Offset of the axis's taps in the slab; -1: the kernel makes them itself."""
        if not taps.needs_host(axis, geometry.filter, MAX_TAPS):
            return -1
        rows = taps.rows(axis, geometry.filter)
        offset, place = self.slab.reserve(rows.nbytes)
        place[:] = rows.view(np.uint8).ravel()
        return offset

    def place(self) -> tuple[int, int]:
        """Give every sample its place in the output, and the descriptors theirs in the slab.

        Returns:
            Elements of the whole output, byte offset of the descriptors.
        """
        sizes = [self.layout.channels * h * w for h, w in self.sizes]
        self.records["output"] = np.cumsum([0, *sizes[:-1]])
        offset, place = self.slab.reserve(self.records.nbytes)
        place[:] = self.records.view(np.uint8)
        return sum(sizes), offset

    def tiles(self) -> int:
        """Tiles of the largest output."""
        return max(-(-h // TILE[0]) * -(-w // TILE[1]) for h, w in self.sizes)

    def split(self, out: torch.Tensor) -> Images:
        """The flat output as images."""
        if len(set(self.sizes)) == 1:
            return self._shape(out, len(self.sizes), *self.sizes[0])
        counts = [self.layout.channels * h * w for h, w in self.sizes]
        parts = zip(out.split(counts), self.sizes, strict=True)
        return [self._shape(part, 1, *size)[0] for part, size in parts]

    def _shape(self, flat: torch.Tensor, size: int, height: int, width: int) -> torch.Tensor:
        if self.layout.channels_last:
            return flat.view(size, height, width, self.layout.channels).permute(0, 3, 1, 2)
        return flat.view(size, self.layout.channels, height, width)


class _CudaBatch(SlabBatch[DeviceSlab]):
    def __init__(self, size: int, engine: "CudaEngine") -> None:
        super().__init__(size, engine.slabs, engine.layout)
        self._engine = engine
        self._elements = self._descriptors = 0

    def finish(self) -> None:
        self._elements, self._descriptors = self.place()
        self.slab.stage()

    def images(self) -> Images:
        engine, layout = self._engine, self.layout
        out = torch.empty(self._elements, dtype=layout.dtype, device=engine.device)
        grid = (len(self.sizes), min(self.tiles(), 65535))
        table, target = np.uintp(engine.table.data_ptr()), np.uintp(out.data_ptr())
        with self.slab.staged() as staged:
            base = staged.data_ptr()
            samples, slab = np.uintp(base + self._descriptors), np.uintp(base)
            arguments = (samples, slab, table, np.int32(layout.channels), np.int32(layout.channels_last), target)
            launch(f"render_{layout.dtype.itemsize}", engine.device, grid, THREADS, arguments)
        return self.split(out)


class CudaEngine:
    """Renders on a GPU.

    Args:
        plan: what to do.
        dtype: of the images.
        memory_format: torch.contiguous_format or torch.channels_last.
        device: a CUDA device.

    Raises:
        MissingError: CuPy is not installed.
    """

    name = "cuda"

    def __init__(
        self, plan: Plan, dtype: torch.dtype, memory_format: torch.memory_format, device: torch.device
    ) -> None:
        cupy()  # fail here, not in the first batch
        self.device = device
        self.layout = Layout(dtype, plan.channels, memory_format == torch.channels_last)
        self.table = plan.table(dtype).to(device)
        stream = torch.cuda.Stream(device)
        self.slabs = SlabPool(lambda: DeviceSlab(device, stream))

    def batch(self, size: int) -> _CudaBatch:
        return _CudaBatch(size, self)
