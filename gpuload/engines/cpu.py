"""The CPU engine: each sample is rendered by the kernels' C++ build, on the worker that decoded it."""

import threading
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray

from gpuload.compilers import host_library
from gpuload.decode import Encoded
from gpuload.engines import Images, decode_for
from gpuload.errors import MissingError
from gpuload.geometry import SAMPLE
from gpuload.plan import Plan
from gpuload.steps import Recipe

__all__ = ["CpuEngine", "HostBatch"]

Take = Callable[[int], torch.Tensor]


class HostBatch:
    """Slots in host memory: one buffer while all samples have one size, else one for each."""

    def __init__(self, size: int, take: Take, dtype: torch.dtype, channels_last: bool) -> None:
        self._take, self._dtype, self._channels_last = take, dtype, channels_last
        self._lock = threading.Lock()
        self._whole: torch.Tensor | None = None
        self._slots: list[torch.Tensor | None] = [None] * size
        self._ragged = False

    def place(self, slot: int, channels: int, height: int, width: int) -> torch.Tensor:
        """The slot's own (channels, height, width) tensor, to be written."""
        with self._lock:
            if self._whole is None:
                self._whole = self._tensor(len(self._slots), channels, height, width)
            tensor = self._whole[slot]
            if tensor.shape != (channels, height, width):
                self._ragged = True
                tensor = self._tensor(1, channels, height, width)[0]
            self._slots[slot] = tensor
            return tensor

    def _tensor(self, size: int, channels: int, height: int, width: int) -> torch.Tensor:
        shape = (size, height, width, channels) if self._channels_last else (size, channels, height, width)
        count = size * channels * height * width
        tensor = self._take(count * self._dtype.itemsize).view(self._dtype).view(shape)
        return tensor.permute(0, 3, 1, 2) if self._channels_last else tensor

    def finish(self) -> None:
        pass

    def images(self) -> Images:
        if self._whole is None or self._ragged:
            return [tensor for tensor in self._slots if tensor is not None]
        return self._whole


class _NativeBatch(HostBatch):
    def __init__(self, size: int, engine: "CpuEngine") -> None:
        super().__init__(size, engine.take, engine.dtype, engine.channels_last)
        self._engine = engine

    def fill(self, slot: int, image: Encoded, recipe: Recipe) -> None:
        engine, scratch = self._engine, self._engine.scratch
        geometry, _ = decode_for(image, recipe, scratch.room)
        geometry.pack(scratch.record)
        out = self.place(slot, engine.channels, geometry.y.extent, geometry.x.extent)
        values = engine.table.data_ptr(), engine.dtype.itemsize, engine.channels, engine.channels_last
        engine.library.gpuload_render(scratch.record_address, scratch.address, *values, out.data_ptr())


class _Scratch(threading.local):
    """One thread's own memory for a sample: its record, and its decoded pixels."""

    def __init__(self) -> None:
        self.record = np.zeros(SAMPLE.itemsize, np.uint8)
        self.record_address = self.record.ctypes.data
        self._pixels = np.empty(0, np.uint8)
        self.address = 0

    def room(self, size: int) -> NDArray[np.uint8]:
        if len(self._pixels) < size:
            self._pixels = np.empty(size + size // 2, np.uint8)
            self.address = self._pixels.ctypes.data
        return self._pixels[:size]


class CpuEngine:
    """Renders with the kernels' C++ build.

    Args:
        plan: what to do.
        dtype: of the images.
        memory_format: torch.contiguous_format or torch.channels_last.
        take: gives output buffers: a uint8 tensor of so many bytes.

    Raises:
        MissingError: no C++ compiler, or it failed.
    """

    name = "cpu"

    def __init__(self, plan: Plan, dtype: torch.dtype, memory_format: torch.memory_format, take: Take) -> None:
        library = host_library()
        if library is None:
            raise MissingError("the cpu engine needs a C++ compiler: apt-get install g++, or set CXX")
        self.library = library
        self.take, self.dtype, self.channels = take, dtype, plan.channels
        self.channels_last = memory_format == torch.channels_last
        self.table = plan.table(dtype)
        self.scratch = _Scratch()

    def batch(self, size: int) -> _NativeBatch:
        return _NativeBatch(size, self)
