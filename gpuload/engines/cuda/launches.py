"""What the kernels are told of a batch's views, and their launches: rendering, adjusting, erasing.

Samples that the GPU adjusts are rendered as bytes, into scratch memory, by a launch of their own; one more adjusts
them, on their way to the output.
"""

from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from gpuload.device import Device
from gpuload.engines.base import Images, Output, View
from gpuload.engines.cuda.adjusting import Adjusting
from gpuload.recipes.erase import Erasures
from gpuload.recipes.ops import Mask
from gpuload.recipes.record import RECORD

__all__ = ["ADJUSTING", "ADJUSTING_THREADS", "IDENTITY", "THREADS", "TILE", "Launches"]

THREADS = 256
TILE = (8, 32)  # output pixels of one block, as in kernels/render.cu
MAX_BLOCKS = 65_535  # of a grid, along y
ADJUSTING, ADJUSTING_THREADS = "adjust_pictures", 512
IDENTITY = torch.arange(256, dtype=torch.uint8).repeat(3)  # the table of what stays a byte, for three channels
ERASING_BLOCKS = 8  # that share the rows of a sample's rectangles: one has a few hundred pairs of pixels each


class Launches:
    """Those for all views of one engine.

    Args:
        engine: whose they are.
        views: its views.
        outputs: where each of them is in the engine's output.
        rendered: (n,) of each view, the samples that the workers render.

    Attributes:
        nbytes: of what the kernels are told.
    """

    def __init__(self, engine: Any, views: Sequence[View], outputs: Sequence[Output], rendered: Sequence[Mask]) -> None:
        self._engine, self._outputs, self._rendered = engine, outputs, rendered
        self._views = [view.fused for view in views]
        self._blocks = min(max(_tiles(*size) for output in outputs for size in output.sizes), MAX_BLOCKS)
        self._adjusting = Adjusting.of(self._views, rendered)
        self._adjusted = len(self._adjusting.pictures)
        self._plain = sum(output.count for output in outputs) - self._adjusted
        rectangles, begins = Erasures.joined([fused.erasures for fused in self._views])
        self._erased = np.diff(begins) > 0
        self._others = self._adjusting.told()
        if len(rectangles):
            self._others |= {"rectangles": rectangles, "begins": begins[np.append(self._erased, True)]}
        if self._adjusted:
            engine.device.prepare(ADJUSTING)
        records = int(np.count_nonzero(self._erased)) + self._plain + self._adjusted
        *self._begins, self.nbytes = accumulate(
            (array.nbytes for array in self._others.values()), initial=records * RECORD.itemsize
        )

    def told(self) -> NDArray[np.uint8]:
        """The descriptors, once everything has its place: (nbytes,).

        Records of samples that are rendered to the output come first, then those of adjusted ones, then, once more,
        those of samples that have rectangles.
        """
        parts = zip(self._views, self._rendered, strict=True)
        records = np.concatenate([fused.records_left(where) for fused, where in parts])
        erased = records[self._erased]
        if self._adjusted:
            records = records[np.argsort(self._adjusting.where, kind="stable")]
            records["output"][self._plain :] = self._adjusting.pictures["pixels"]
        return np.concatenate([array.view(np.uint8) for array in (records, erased, *self._others.values())])

    def launch(self, descriptors: int, staging: int) -> list[Images]:
        """All of them, on the current stream: the images of each view.

        Args:
            descriptors: address of what is told, on the device.
            staging: of what offsets in it are from.
        """
        device: Device = self._engine.device
        layout, tables = self._engine.layout, self._engine.tables
        out = device.empty((self._outputs[-1].end,), layout.dtype)
        device.keep(tables, device.current_stream())
        target = _Target(tables.data_ptr() + IDENTITY.nbytes, layout.channels, layout.channels_last, out)
        others = {name: np.uintp(descriptors + begin) for name, begin in zip(self._others, self._begins, strict=True)}
        adjusted = descriptors + self._plain * RECORD.itemsize
        if self._plain:
            self._render(self._engine.kernel, self._plain, descriptors, staging, target)
        if self._adjusted:
            self._adjust(adjusted, staging, others, target)
        if "rectangles" in others:
            self._erase(adjusted + self._adjusted * RECORD.itemsize, others, target)
        return [output.images(out) for output in self._outputs]

    def _render(self, kernel: str, count: int, records: int, staging: int, target: "_Target") -> None:
        arguments = np.uintp(records), np.uintp(staging), *target.arguments()
        self._engine.device.launch(kernel, (count, self._blocks), THREADS, arguments)

    def _adjust(self, records: int, staging: int, others: Mapping[str, np.uintp], target: "_Target") -> None:
        device, layout = self._engine.device, self._engine.layout
        scratch = device.empty((self._adjusting.scratch,), torch.uint8)
        as_bytes = _Target(self._engine.tables.data_ptr(), 3, True, scratch)
        self._render("render_1", self._adjusted, records, staging, as_bytes)
        table, *rest = target.arguments()
        told = others["pictures"], others["steps"], others["warps"], np.uintp(scratch.data_ptr())
        arguments = *told, table, np.int32(layout.dtype.itemsize), *rest
        device.launch(ADJUSTING, (self._adjusted, 1), ADJUSTING_THREADS, arguments)

    def _erase(self, records: int, others: Mapping[str, np.uintp], target: "_Target") -> None:
        device, fills = self._engine.device, self._engine.fills
        device.keep(fills, device.current_stream())
        told = np.uintp(records), others["rectangles"], others["begins"], np.uintp(fills.data_ptr())
        _, *rest = target.arguments()
        grid = int(np.count_nonzero(self._erased)), ERASING_BLOCKS
        device.launch(self._engine.erasing, grid, THREADS, (*told, np.int64(fills.shape[1]), *rest))


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
