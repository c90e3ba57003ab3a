"""The CPU engine: a share of samples is read, decoded and rendered in one native call."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from gpuload.decoders.base import Decoder
from gpuload.decoders.files import Files
from gpuload.engines.base import Images, Layout, Take, View, check, grouped, native_decoders, tell
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
        return _CpuBatch([View(self, fused, files)])

    def views(self, views: Sequence[View]) -> "_CpuBatch":
        return _CpuBatch(views)

    def decoders(self, decoder: Decoder | None) -> Iterator[str]:
        return native_decoders(decoder)

    def stages(self, threads: str, target: str, fusing: Sequence[str], facts: Sequence[str]) -> Iterator[Stage]:
        yield Stage("render", threads, ("engine cpu: the kernel, built for this CPU, once a sample", *fusing, *facts))


class _CpuBatch:
    def __init__(self, views: Sequence[View]) -> None:
        self._views, self._library = views, views[0].engine.library
        self._images: dict[int, Images] = {}
        for engine, mine, outputs in grouped(views):
            out = engine.take(outputs[-1].end * engine.layout.dtype.itemsize).view(engine.layout.dtype)
            for number, output in zip(mine, outputs, strict=True):
                self._tell(views[number], out)
                self._images[number] = output.images(out)

    @staticmethod
    def _tell(view: View, out: torch.Tensor) -> None:
        layout, work = view.engine.layout, view.files.work
        tell(work, view.fused, layout)
        work.table, work.element_bytes = layout.table.data_ptr(), layout.dtype.itemsize
        work.channels, work.channels_last = layout.channels, layout.channels_last
        work.out, work.out_elements = out.data_ptr(), len(out)

    def share(self, first: int, count: int) -> None:
        self._library.gpuload_share(self._views[0].files.address, first, count)

    def put(self, slot: int, pixels: NDArray[np.uint8], view: int = 0) -> None:
        packed = np.ascontiguousarray(pixels)
        check(self._library.gpuload_put(self._views[view].files.address, slot, packed.ctypes.data))

    def finish(self) -> None:
        pass  # every sample is in its place

    def images(self, view: int = 0) -> Images:
        return self._images[view]
