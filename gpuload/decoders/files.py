"""The images of a batch, as native code takes them: encoded files, or pixels in memory."""

import ctypes
from collections.abc import Sequence
from copy import copy
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gpuload.decoders.base import Decoder, Elsewhere
from gpuload.libraries import host_library
from gpuload.native import Status, Work

__all__ = ["Files", "Memory"]


class Memory(NamedTuple):
    """Decoded images in memory: uint8, packed rows (H, W, channels).

    Attributes:
        addresses: (n,) uint64, of each image's first pixel; 0: this sample is a file. They are believed.
        channels: (n,) uint8: 3, or 1: gray, which becomes RGB as Pillow's L does.
        owner: whatever keeps the memory alive.
    """

    addresses: NDArray[np.uint64]
    channels: NDArray[np.uint8]
    owner: Any


class Files:
    """n images: what native code knows of each, and what became of it.

    Args:
        paths: file names, as the file system has them; empty for an image in memory.
        upright: a file whose EXIF orientation turns it is left to Pillow.
        decoder: decodes ordinary JPEGs; None: every file is left to Pillow.
        memory: the images that lie in memory; None: all are files.

    Attributes:
        sizes: (n, 2) int32: height and width in pixels; 0: not known yet. Whoever has an image in memory sets its size.
        status: (n,) uint8, of `Status`: native code works at those that are TODO.
        work: ``struct Work``, with what concerns images set; the engine sets the rest.
        address: of ``work``, as native functions take it.
        elsewhere: decodes those that are AWAY; None: none is.
    """

    def __init__(
        self, paths: Sequence[bytes], upright: bool, decoder: Decoder | None, memory: Memory | None = None
    ) -> None:
        n = len(paths)
        starts = np.zeros(n + 1, np.int64)
        np.cumsum(np.fromiter(map(len, paths), np.int64, n) + 1, out=starts[1:])
        self._names, self._starts = b"\0".join(paths) + b"\0", starts[:n]  # with the work, which has their addresses
        self._upright, self._decoder, self._library = upright, decoder, host_library()
        self._memory = None if memory is None else _as_native(memory, n)
        self.elsewhere: Elsewhere | None = None
        self.sizes = np.zeros((n, 2), np.int32)
        self.status = np.full(n, Status.TODO, np.uint8)
        self._describe()

    def __getitem__(self, part: slice) -> "Files":
        """Some of the images, with views of what is known of them."""
        some = copy(self)
        some._starts, some.sizes, some.status = self._starts[part], self.sizes[part], self.status[part]
        if self._memory is not None:
            addresses, channels, owner = self._memory
            some._memory = Memory(addresses[part], channels[part], owner)
        some._describe()
        return some

    def views(self, count: int) -> "list[Files]":
        """The same images so many times, the first of them this: whoever does a share of these does it for all."""
        views = [self, *(self[:] for _ in range(count - 1))]
        for view, after in pairwise(views):
            view.work.next = ctypes.addressof(after.work)
        return views

    def _describe(self) -> None:
        self.work = Work(
            count=len(self.status),
            paths=self._names,
            paths_bytes=len(self._names),
            path_at=self._starts.ctypes.data,
            sizes=self.sizes.ctypes.data,
            status=self.status.ctypes.data,
            decode=None if self._decoder is None else self._decoder.address,
            upright=self._upright,
        )
        if self._memory is not None:
            self.work.memory = self._memory.addresses.ctypes.data
            self.work.memory_channels = self._memory.channels.ctypes.data
        self.address = ctypes.byref(self.work)

    def __len__(self) -> int:
        return len(self.status)

    @property
    def in_memory(self) -> NDArray[np.bool_]:
        """(n,): those that lie in memory."""
        return np.zeros(len(self), bool) if self._memory is None else self._memory.addresses != 0

    def measure(self, first: int, count: int) -> None:
        """Read the headers of some files; what is no ordinary JPEG gets another status than OK.

        An image in memory is OK; its size stays.
        """
        if self._library is not None:
            self._library.gpuload_measure(self.address, first, count)

    def undone(self, first: int, count: int) -> list[int]:
        """Those of these images that are neither OK nor AWAY."""
        status = self.status[first : first + count]
        if not np.count_nonzero(status):  # OK is 0
            return []
        return (np.flatnonzero((status != Status.OK) & (status != Status.AWAY)) + first).tolist()


def _as_native(memory: Memory, count: int) -> Memory:
    """The same, with arrays as native code reads them."""
    addresses = np.ascontiguousarray(memory.addresses, np.uint64)
    channels = np.ascontiguousarray(memory.channels, np.uint8)
    assert addresses.shape == channels.shape == (count,), "one address, and one number of channels, for each image"
    return Memory(addresses, channels, memory.owner)
