"""The Pillow engine: the reference, sample by sample; for machines without a C++ compiler, and for comparison."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from gpuload.decoders.base import Decoder
from gpuload.decoders.files import Files
from gpuload.decoders.pillow import describe
from gpuload.engines.base import Images, Layout, Take
from gpuload.recipes.fuse import Fused, unfused
from gpuload.recipes.recipes import Recipes
from gpuload.stage import Stage

__all__ = ["PillowEngine"]

INTEGERS = {1: torch.uint8, 2: torch.int16, 4: torch.int32}  # by bytes


class PillowEngine:
    """Renders with Pillow and torch, one operation after the other; arguments as `CpuEngine`."""

    name = "pillow"
    on_host = True

    def __init__(self, layout: Layout, take: Take) -> None:
        self.layout, self.take = layout, take

    def fuse(self, recipes: Recipes) -> Fused:
        return unfused(recipes)

    def batch(self, fused: Fused, files: Files) -> "_PillowBatch":
        return _PillowBatch(self, fused)

    def decoders(self, decoder: Decoder | None) -> Iterator[str]:
        yield f"all by {describe()}"

    def stages(self, threads: str, target: str, fusing: Sequence[str], facts: Sequence[str]) -> Iterator[Stage]:
        yield Stage("render", threads, (f"engine pillow: {describe()} and torch, operation by operation", *facts))


class _PillowBatch:
    def __init__(self, engine: PillowEngine, fused: Fused) -> None:
        layout = engine.layout
        self._output, self._erasures = layout.place(fused), fused.erasures
        self._out = engine.take(self._output.nbytes).view(layout.dtype)
        self._images = self._output.images(self._out)
        # values are looked up as the integers of their width: numpy has no bfloat16, and needs no threads of its own
        bits = INTEGERS[layout.dtype.itemsize]
        self._table, self._fills = layout.table.view(bits).numpy(), layout.fills.view(bits).numpy()
        self._places = [image.numpy() for image in self._output.images(self._out.view(bits))]

    def share(self, first: int, count: int) -> None:
        pass  # everything is left to Pillow

    def put(self, slot: int, pixels: NDArray[np.uint8]) -> None:
        for channel, values in enumerate(self._table):
            self._places[slot][channel] = values[pixels[:, :, channel]]
        for erase in self._erasures.of_sample(slot):
            self._places[slot][erase.place] = erase.values(self._fills)

    def finish(self) -> None:
        pass  # every sample is in its place

    def images(self) -> Images:
        return self._images
