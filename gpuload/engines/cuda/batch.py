"""A batch of the CUDA engine, in a staging buffer: its pixels, rows of weights that the host makes, and descriptors.

The copy runs on the engine's own stream as soon as the last worker is done; the kernels run on the consumer's current
stream, where their output is allocated. What the GPU decodes itself lies behind all that, where no copy writes.
"""

from collections.abc import Sequence
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray

from gpuload.engines.base import Images, View, check, grouped, tell
from gpuload.engines.cuda.adjusting import rendered_by_workers
from gpuload.engines.cuda.launches import Launches
from gpuload.engines.cuda.weights import needs_host_weights
from gpuload.recipes.ops import Mask
from gpuload.recipes.record import NO_WEIGHTS
from gpuload.recipes.union import widened
from gpuload.staging import ALIGNMENT

__all__ = ["CudaBatch"]


class CudaBatch:
    """A batch of images, or of several views of them.

    Args:
        views: at least one; their engines are of one device.
    """

    def __init__(self, views: Sequence[View]) -> None:
        self._views, engine, self._files = views, views[0].engine, views[0].files
        self._library = engine.library
        self._images: dict[int, Images] = {}
        groups, self._rendered = list(grouped(views)), [rendered_by_workers(view.fused) for view in views]
        self._numbers = [mine for _, mine, _ in groups]
        self._launches = [
            Launches(one, [views[at] for at in mine], outputs, [self._rendered[at] for at in mine])
            for one, mine, outputs in groups
        ]
        away = np.zeros(len(self._files), bool) if engine.decoding is None else engine.decoding.chosen(self._files)
        away &= ~np.any(self._rendered, axis=0)
        described = sum(launches.nbytes for launches in self._launches)
        self._descriptors, behind = self._place(away, described)
        self._buffer = engine.staging.take(self)
        self._sent = self._descriptors + described
        self._host = self._buffer.room(self._sent, behind)
        for view, rendered in zip(views, self._rendered, strict=True):
            work = view.files.work
            tell(work, view.fused, view.engine.layout)
            work.rendered = rendered.ctypes.data
            work.staging, work.staging_bytes = self._host.ctypes.data, len(self._host)
        if engine.decoding is not None and np.count_nonzero(away):
            engine.decoding.begin(self._files, np.flatnonzero(away), self._buffer)

    def _place(self, away: Mask, described: int) -> tuple[int, int]:
        """Give pixels and host-made weights their places in the buffer.

        Args:
            away: samples whose pixels are decoded on the device, where they lie behind the descriptors.
            described: bytes of the descriptors.

        Returns:
            Bytes before the descriptors, and behind them.
        """
        views, rendered = [view.fused for view in self._views], np.stack(self._rendered, axis=1)
        shared = widened(views, self._rendered)
        needed = np.stack([needs_host_weights(fused.records) for fused in views], axis=1) & ~rendered[..., None]
        sizes = np.zeros((len(away), len(views), 3), np.int64)  # bytes of each sample's pixels, rows of y, rows of x
        owner = shared.argmax(axis=1)  # of the pixels that a sample's views share
        for number, fused in enumerate(views):
            held = np.where(rendered[:, number], fused.extents.prod(axis=1) * 3, fused.pixel_bytes)
            sizes[:, number, 0] = np.where(shared[:, number] & (owner != number), 0, held)
            if np.count_nonzero(needed[:, number]):
                rows = fused.extents * (2 + fused.records["axes"]["ksize"]) * 4
                sizes[:, number, 1:] = np.where(needed[:, number], rows, 0)
        sizes = (sizes + (ALIGNMENT - 1)) & -ALIGNMENT
        behind = np.where(away, sizes[:, 0, 0], 0)  # all views share these
        sizes[:, 0, 0] -= behind
        ends = sizes.cumsum()
        begins, descriptors = ends.reshape(sizes.shape) - sizes, int(ends[-1])
        sent, gap = descriptors + described, -described % ALIGNMENT if behind.any() else 0
        ends = sent + gap + behind.cumsum()
        of_owner = begins[np.arange(len(away)), owner, 0]
        for number, fused in enumerate(views):
            pixels = np.where(shared[:, number], of_owner, begins[:, number, 0])
            fused.records["pixels"] = np.where(away, ends - behind, pixels)
            fused.records["weights"] = np.where(needed[:, number], begins[:, number, 1:], NO_WEIGHTS)
        return descriptors, int(ends[-1]) - sent

    def share(self, first: int, count: int) -> None:
        """As of `Batch`."""
        if self._library is not None:
            self._library.gpuload_share(self._files.address, first, count)

    def put(self, slot: int, pixels: NDArray[np.uint8], view: int = 0) -> None:
        """As of `Batch`."""
        packed, (_, fused, files) = np.ascontiguousarray(pixels), self._views[view]
        begin = int(fused.records["pixels"][slot])
        if self._library is not None:
            check(self._library.gpuload_put(files.address, slot, packed.ctypes.data))
        else:
            self._host[begin : begin + packed.size] = packed.ravel()
        if begin >= self._sent:
            self._buffer.late(begin, packed.size)

    def finish(self) -> None:
        """As of `Batch`."""
        self._host[self._descriptors : self._sent] = np.concatenate([launches.told() for launches in self._launches])
        self._buffer.stage()

    def images(self, view: int = 0) -> Images:
        """As of `Batch`."""
        if view not in self._images:
            with self._buffer.staged() as staged:
                self._launch(staged.data_ptr())
        return self._images[view]

    def _launch(self, base: int) -> None:
        begins = accumulate((launches.nbytes for launches in self._launches), initial=base + self._descriptors)
        for launches, mine, begin in zip(self._launches, self._numbers, begins, strict=False):
            self._images.update(zip(mine, launches.launch(begin, base), strict=True))
