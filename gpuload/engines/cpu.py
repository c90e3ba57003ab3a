"""The CPU engine: a share of samples is read, decoded and rendered in one native call."""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from gpuload.decoders.base import Decoder
from gpuload.decoders.files import Files
from gpuload.engines.base import Images, Layout, Take, check, native_decoders, tell
from gpuload.errors import MissingError
from gpuload.libraries import host_library
from gpuload.recipes.fuse import Fused, fuse
from gpuload.recipes.recipes import Recipes
from gpuload.stage import Stage

__all__ = ["CpuEngine"]


class CpuEngine:
    """Renders with the kernels' C++ build.

    Args:
        layout: what leaves.
        take: gives output buffers.

    Raises:
        MissingError: no native code came with gpuload, and there is no C++ compiler, or it failed.
    """

    name = "cpu"
    on_host = True

    def __init__(self, layout: Layout, take: Take) -> None:
        library = host_library()
        if library is None:
            raise MissingError(
                "the cpu engine needs native code, and no C++ compiler is here: apt-get install g++, or set CXX"
            )
        self.library, self.layout, self.take = library, layout, take

    def fuse(self, recipes: Recipes) -> Fused:
        return fuse(recipes)

    def batch(self, fused: Fused, files: Files) -> "_CpuBatch":
        return _CpuBatch(self, fused, files)

    def decoders(self, decoder: Decoder | None) -> Iterator[str]:
        return native_decoders(decoder)

    def stages(self, threads: str, target: str, fusing: Sequence[str], facts: Sequence[str]) -> Iterator[Stage]:
        yield Stage("render", threads, ("engine cpu: the kernel, built for this CPU, once a sample", *fusing, *facts))


class _CpuBatch:
    def __init__(self, engine: CpuEngine, fused: Fused, files: Files) -> None:
        layout, work = engine.layout, files.work
        self._engine, self._fused, self._files = engine, fused, files
        self._output = layout.place(fused)
        self._out = engine.take(self._output.nbytes).view(layout.dtype)
        self._images = self._output.images(self._out)
        tell(work, fused, layout)
        work.table, work.element_bytes = layout.table.data_ptr(), layout.dtype.itemsize
        work.channels, work.channels_last = layout.channels, layout.channels_last
        work.out, work.out_elements = self._out.data_ptr(), self._output.elements

    def share(self, first: int, count: int) -> None:
        self._engine.library.gpuload_share(self._files.address, first, count)

    def put(self, slot: int, pixels: NDArray[np.uint8]) -> None:
        packed = np.ascontiguousarray(pixels)
        check(self._engine.library.gpuload_put(self._files.address, slot, packed.ctypes.data))

    def finish(self) -> None:
        pass  # every sample is in its place

    def images(self) -> Images:
        return self._images
