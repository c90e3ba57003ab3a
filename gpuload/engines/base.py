"""Engines: from the files of a batch and what was drawn for them to the batch.

An engine says how recipes fuse, and makes one `Batch` for each batch of an epoch. Workers render shares of it, in
any order; what native code leaves undone they decode with Pillow and `put`; the last calls `finish`; the consumer
asks for `images`.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray

from gpuload.decoders import pillow
from gpuload.decoders.base import Decoder
from gpuload.decoders.files import Files
from gpuload.native import Status, Work
from gpuload.recipes.fuse import Fused
from gpuload.recipes.recipes import Recipes
from gpuload.stage import Stage
from gpuload.transforms.plan import Plan

__all__ = [
    "Batch",
    "Engine",
    "Images",
    "Layout",
    "Output",
    "Take",
    "UnrenderedError",
    "View",
    "ViewsEngine",
    "check",
    "grouped",
    "native_decoders",
]

Images = torch.Tensor | list[torch.Tensor]
APART = 256  # a view begins in the output at a multiple of so many elements: its memory is as aligned as any tensor's
Take = Callable[[int], torch.Tensor]  # gives output buffers: a uint8 tensor of so many bytes


def check(status: int) -> None:
    """What native code says of a sample whose pixels it was given."""
    if status != Status.OK:
        raise RuntimeError(f"native code refused a sample's record: {Status(status).name}")


def tell(work: Work, fused: Fused, layout: "Layout") -> None:
    """What native code is to know of a batch's samples; ``fused`` and ``layout`` outlive the work."""
    work.regions, work.records = fused.regions.ctypes.data, fused.records.ctypes.data
    steps, at, warps, frames, grids, kernels = fused.adjustments
    if len(steps):
        work.adjustments, work.adjustment_count, work.adjusted_at = steps.ctypes.data, len(steps), at.ctypes.data
        work.warps, work.warp_count = warps.ctypes.data, len(warps)
        work.frames, work.frame_count = frames.ctypes.data, len(frames)
        work.grids, work.grid_count = grids.ctypes.data, len(grids)
        work.kernels, work.kernel_count = kernels.ctypes.data, len(kernels)
    rectangles, begins = fused.erasures
    if len(rectangles):
        work.rectangles, work.rectangle_count = rectangles.ctypes.data, len(rectangles)
        work.erased_at = begins.ctypes.data
        work.fills, work.fill_columns = layout.fills.data_ptr(), layout.fills.shape[1]


def native_decoders(decoder: Decoder | None) -> Iterator[str]:
    """The `Engine.decoders` of an engine whose shares are decoded in native calls."""
    if decoder is None:
        yield f"all by {pillow.describe()}; nvImageCodec, which is faster, is not installed"
    else:
        yield f"ordinary JPEGs by {decoder.describe()}, just the region that is needed"
        yield f"all others by {pillow.describe()}"


class UnrenderedError(Exception):
    """A batch has failed as a whole; its samples whose status is not OK are to be put, and it finished once more."""


class Batch(Protocol):
    """One batch in flight: of images, or of several views of them."""

    def share(self, first: int, count: int) -> None:
        """Read, decode and, on the host, render these samples; what is left undone has a status that says why."""

    def put(self, slot: int, pixels: NDArray[np.uint8], view: int = 0) -> None:
        """A sample's pixels, as Pillow decoded them: uint8 (h, w, 3), the size of its region in that view."""

    def finish(self) -> None:
        """Every sample is rendered or put; on a worker thread."""

    def images(self, view: int = 0) -> Images:
        """A view: (B, C, H, W) on the consumer's current stream; a list of (C, H, W) where sizes differ.

        Of an engine on the host: at any time, and each is there as soon as its share is rendered.

        Raises:
            UnrenderedError: where an engine decodes a batch as a whole.
        """


class Engine(Protocol):
    """A way to render batches."""

    name: str
    layout: "Layout"
    on_host: bool  # its images lie in host memory, and go on to the device

    def fuse(self, recipes: Recipes) -> Fused:
        """What this engine renders itself of the recipes, and what it leaves to Pillow."""

    def batch(self, fused: Fused, files: Files) -> Batch:
        """A batch of which nothing is rendered yet."""

    def decoders(self, decoder: Decoder | None) -> Iterator[str]:
        """Who decodes files whose recipes fuse, for explain.

        Args:
            decoder: the workers' own.
        """

    def stages(self, threads: str, target: str, fusing: Sequence[str], facts: Sequence[str]) -> Iterator[Stage]:
        """How it renders, for explain.

        Args:
            threads: who decodes.
            target: where batches arrive.
            fusing: how much of what is drawn fuses into the kernel.
            facts: whatever else there is to say.
        """


class View(NamedTuple):
    """One of several views of a batch's images.

    Attributes:
        engine: of the view.
        fused: what that makes of the images.
        files: these, as of `Files.views`.
    """

    engine: Any
    fused: Fused
    files: Files


@runtime_checkable
class ViewsEngine(Engine, Protocol):
    """An engine that makes several views of images that are decoded once."""

    def views(self, views: Sequence[View]) -> Batch:
        """A batch of them; their engines are of this kind, and of one layout there is one engine."""


def grouped(views: Sequence[View]) -> Iterator[tuple[Any, list[int], "list[Output]"]]:
    """Each engine, which of the views are its own, and where they are in its output, one after the other."""
    for engine in dict.fromkeys(view.engine for view in views):
        mine = [number for number, view in enumerate(views) if view.engine is engine]
        yield engine, mine, engine.layout.places([views[number].fused for number in mine])


@dataclass(frozen=True)
class Layout:
    """What leaves: dtype, channels, their order, and the output value of each byte.

    Attributes:
        table: (channels, 256) of ``dtype``, on the host.
        fills: (channels, m) likewise: the values that erased rectangles can get.
    """

    dtype: torch.dtype
    channels: int
    channels_last: bool
    table: torch.Tensor
    fills: torch.Tensor

    @staticmethod
    def of(plan: Plan, dtype: torch.dtype | None, memory_format: torch.memory_format) -> "Layout":
        """The layout of what a plan makes; dtype None: the plan's own."""
        table = plan.table(dtype)
        fills = plan.fills(table.dtype)
        return Layout(table.dtype, plan.channels, memory_format == torch.channels_last, table, fills)

    def equals(self, other: "Layout") -> bool:
        """Does the same leave?"""
        same = (self.dtype, self.channels, self.channels_last) == (other.dtype, other.channels, other.channels_last)
        return same and torch.equal(self.table, other.table) and torch.equal(self.fills, other.fills)

    def places(self, views: Sequence[Fused]) -> "list[Output]":
        """Give every sample of each view its place in one output: sets the records."""
        outputs, begin = list[Output](), 0
        for fused in views:
            outputs.append(self._place(fused, begin))
            begin = -(-outputs[-1].end // APART) * APART
        return outputs

    def _place(self, fused: Fused, begin: int) -> "Output":
        height, width = fused.extents.T
        counts = height * width * self.channels
        ends = begin + counts.cumsum()
        fused.records["output"] = ends - counts
        is_uniform = np.count_nonzero(fused.extents == fused.extents[0]) == fused.extents.size
        sizes = fused.extents[:1] if is_uniform else fused.extents
        return Output(self, len(ends), begin, int(ends[-1]), sizes.tolist())

    def describe(self) -> str:
        """In words."""
        order = "channels_last" if self.channels_last else "contiguous"
        channels = "1 channel" if self.channels == 1 else f"{self.channels} channels"
        return f"to {str(self.dtype).removeprefix('torch.')}, {order}, {channels}"


@dataclass(frozen=True)
class Output:
    """Where the samples of a batch, or of a view of it, are in one flat output.

    Attributes:
        layout: of each.
        count: samples.
        begin, end: of the output's elements, those that are theirs.
        sizes: (height, width) of each sample, in pixels; a single one where all have that.
    """

    layout: Layout
    count: int
    begin: int
    end: int
    sizes: list[tuple[int, int]]

    def images(self, flat: torch.Tensor) -> Images:
        """Their part of the flat output as images: one tensor where all have one size."""
        flat = flat[self.begin : self.end]
        if len(self.sizes) == 1:
            return self._shaped(flat, self.count, *self.sizes[0])
        parts = flat.split([self.layout.channels * height * width for height, width in self.sizes])
        return [self._shaped(part, 1, *size)[0] for part, size in zip(parts, self.sizes, strict=True)]

    def _shaped(self, flat: torch.Tensor, count: int, height: int, width: int) -> torch.Tensor:
        channels = self.layout.channels
        if self.layout.channels_last:
            return flat.view(count, height, width, channels).permute(0, 3, 1, 2)
        return flat.view(count, channels, height, width)
