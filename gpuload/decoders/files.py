"""The encoded files of a batch, as native code takes them."""

import ctypes
from collections.abc import Sequence
from copy import copy

import numpy as np

from gpuload.compilers import host_library
from gpuload.decoders.base import Decoder
from gpuload.native import Status, Work

__all__ = ["Files"]


class Files:
    """n files: what native code knows of each, and what became of it.

    Args:
        paths: file names, as the file system has them.
        upright: a file whose EXIF orientation turns it is left to Pillow.
        decoder: decodes ordinary JPEGs; None: everything is left to Pillow.

    Attributes:
        sizes: (n, 2) int32: height and width in pixels; 0: not known yet.
        status: (n,) uint8, of `Status`: native code works at those that are TODO.
        work: ``struct Work``, with what concerns files set; the engine sets the rest.
        address: of ``work``, as native functions take it.
    """

    def __init__(self, paths: Sequence[bytes], upright: bool, decoder: Decoder | None) -> None:
        n = len(paths)
        starts = np.zeros(n + 1, np.int64)
        np.cumsum(np.fromiter(map(len, paths), np.int64, n) + 1, out=starts[1:])
        self._names, self._starts = b"\0".join(paths) + b"\0", starts[:n]  # with the work, which has their addresses
        self._upright, self._decoder, self._library = upright, decoder, host_library()
        self.sizes = np.zeros((n, 2), np.int32)
        self.status = np.full(n, Status.TODO, np.uint8)
        self._describe()

    def __getitem__(self, part: slice) -> "Files":
        """Some of the files, with views of what is known of them."""
        some = copy(self)
        some._starts, some.sizes, some.status = self._starts[part], self.sizes[part], self.status[part]
        some._describe()
        return some

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
        self.address = ctypes.byref(self.work)

    def __len__(self) -> int:
        return len(self.status)

    def measure(self, first: int, count: int) -> None:
        """Read the headers of some files; what is no ordinary JPEG gets another status than OK."""
        if self._library is not None:
            self._library.gpuload_measure(self.address, first, count)

    def undone(self, first: int, count: int) -> list[int]:
        """Those of these files that have another status than OK."""
        status = self.status[first : first + count]
        if not np.count_nonzero(status):  # OK is 0
            return []
        return (np.flatnonzero(status) + first).tolist()
