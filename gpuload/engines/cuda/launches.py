"""What the kernels are told of a batch's views, and their launches."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpuload.device import Device
from gpuload.engines.base import Images, Output, View
from gpuload.recipes.erase import Erasures
from gpuload.recipes.record import RECORD

__all__ = ["THREADS", "TILE", "Launches"]

THREADS = 256
TILE = (8, 32)  # output pixels of one block, as in kernels/render.cu
MAX_BLOCKS = 65_535  # of a grid, along y
ERASING_BLOCKS = 8  # that share the rows of a sample's rectangles: one has a few hundred pairs of pixels each


class Launches:
    """Those for all views of one engine.

    Args:
        engine: whose they are.
        views: its views.
        outputs: where each of them is in the engine's output.

    Attributes:
        nbytes: of what the kernels are told.
    """

    def __init__(self, engine: Any, views: Sequence[View], outputs: Sequence[Output]) -> None:
        self._engine, self._outputs = engine, outputs
        self._views = [view.fused for view in views]
        self._count = sum(output.count for output in outputs)
        self._blocks = min(max(_tiles(*size) for output in outputs for size in output.sizes), MAX_BLOCKS)
        rectangles, begins = Erasures.joined([fused.erasures for fused in self._views])
        self._erasing: list[NDArray[Any]] = [rectangles, begins] if len(rectangles) else []
        self.nbytes = self._count * RECORD.itemsize + sum(array.nbytes for array in self._erasing)

    def told(self) -> NDArray[np.uint8]:
        """The descriptors, once everything has its place: (nbytes,)."""
        records = [fused.records_left() for fused in self._views]
        return np.concatenate([array.view(np.uint8) for array in (*records, *self._erasing)])

    def launch(self, descriptors: int, staging: int) -> list[Images]:
        """All of them, on the current stream: the images of each view.

        Args:
            descriptors: address of what is told, on the device.
            staging: of what offsets in it are from.
        """
        device: Device = self._engine.device
        layout, table = self._engine.layout, self._engine.table
        out = device.empty((self._outputs[-1].end,), layout.dtype)
        device.keep(table, device.current_stream())
        addresses = [np.uintp(address) for address in (descriptors, staging, table.data_ptr())]
        arguments = (*addresses, np.int32(layout.channels), np.int32(layout.channels_last), np.uintp(out.data_ptr()))
        device.launch(self._engine.kernel, (self._count, self._blocks), THREADS, arguments)
        if self._erasing:
            self._erase(descriptors, out.data_ptr())
        return [output.images(out) for output in self._outputs]

    def _erase(self, records: int, out: int) -> None:
        """Rectangles, which lie behind the records."""
        device, layout, fills = self._engine.device, self._engine.layout, self._engine.fills
        rectangles = records + self._count * RECORD.itemsize
        begins = rectangles + self._erasing[0].nbytes
        device.keep(fills, device.current_stream())
        addresses = [np.uintp(address) for address in (records, rectangles, begins, fills.data_ptr())]
        options = np.int64(fills.shape[1]), np.int32(layout.channels), np.int32(layout.channels_last)
        grid = self._count, ERASING_BLOCKS
        device.launch(self._engine.erasing, grid, THREADS, (*addresses, *options, np.uintp(out)))


def _tiles(height: int, width: int) -> int:
    """Tiles of an output."""
    return -(-height // TILE[0]) * -(-width // TILE[1])
