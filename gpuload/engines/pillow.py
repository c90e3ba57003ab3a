"""The Pillow engine: the reference, sample by sample; for machines without a C++ compiler, and for comparison."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from gpuload.decoders.base import Decoder
from gpuload.decoders.files import Files
from gpuload.decoders.pillow import describe
from gpuload.engines.base import Images, Layout, Output, Take, View, grouped
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
        return _PillowBatch([View(self, fused, files)])

    def views(self, views: Sequence[View]) -> "_PillowBatch":
        return _PillowBatch(views)

    def decoders(self, decoder: Decoder | None) -> Iterator[str]:
        yield f"all by {describe()}"

    def stages(self, threads: str, target: str, fusing: Sequence[str], facts: Sequence[str]) -> Iterator[Stage]:
        yield Stage("render", threads, (f"engine pillow: {describe()} and torch, operation by operation", *facts))


class _PillowBatch:
    def __init__(self, views: Sequence[View]) -> None:
        self._images: dict[int, Images] = {}
        self._painters: dict[int, _Painter] = {}
        for engine, mine, outputs in grouped(views):
            layout = engine.layout
            out = engine.take(outputs[-1].end * layout.dtype.itemsize).view(layout.dtype)
            for number, output in zip(mine, outputs, strict=True):
                self._images[number] = output.images(out)
                self._painters[number] = _Painter(views[number], output, out)

    def share(self, first: int, count: int) -> None:
        pass  # everything is left to Pillow

    def put(self, slot: int, pixels: NDArray[np.uint8], view: int = 0) -> None:
        self._painters[view].put(slot, pixels)

    def finish(self) -> None:
        pass  # every sample is in its place

    def images(self, view: int = 0) -> Images:
        return self._images[view]


class _Painter:
    """Values of one view, looked up as the integers of their width: numpy has no bfloat16, and needs no threads."""

    def __init__(self, view: View, output: Output, out: torch.Tensor) -> None:
        layout, self._erasures = view.engine.layout, view.fused.erasures
        bits = INTEGERS[layout.dtype.itemsize]
        self._table, self._fills = layout.table.view(bits).numpy(), layout.fills.view(bits).numpy()
        self._places = [image.numpy() for image in output.images(out.view(bits))]

    def put(self, slot: int, pixels: NDArray[np.uint8]) -> None:
        place = self._places[slot]
        for channel, values in enumerate(self._table):
            place[channel] = values[pixels[:, :, channel]]
        for erase in self._erasures.of_sample(slot):
            place[erase.place] = erase.values(self._fills)
