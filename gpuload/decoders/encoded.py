"""Memory for the encoded images of a batch, which another decoder than native code's own is to have."""

import ctypes
import weakref
from collections import deque

import numpy as np
from numpy.typing import NDArray

from gpuload.libraries import host_library

__all__ = ["Encoded", "EncodedPool"]

KEPT = 16  # batches


class Encoded:
    """What the files of a batch are read to; it grows to the largest and stays.

    Args:
        count: of files.

    Attributes:
        count: as given.
        address: of ``struct Encoded`` of ``kernels/share.h``, one a file.
    """

    def __init__(self, count: int) -> None:
        library, self._files = host_library(), np.zeros((count, 3), np.int64)
        assert library is not None, "nothing is read without it"
        self.count, self.address = count, self._files.ctypes.data
        weakref.finalize(self, _release, library, self._files).atexit = False

    def places(self, first: int, count: int) -> list[list[int]]:
        """(address, bytes) of some files; of one that could not be read there are 0 bytes."""
        places: list[list[int]] = self._files[first : first + count, :2].tolist()
        return places


def _release(library: ctypes.CDLL, files: NDArray[np.int64]) -> None:
    library.gpuload_release(files.ctypes.data, len(files))


class EncodedPool:
    """Such memory, used again and again."""

    def __init__(self) -> None:
        self._free: deque[Encoded] = deque(maxlen=KEPT)

    def take(self, count: int, borrower: object) -> Encoded:
        """Memory for so many files, for as long as ``borrower`` lives."""
        try:
            encoded = self._free.popleft()
        except IndexError:
            encoded = Encoded(count)
        if encoded.count < count:
            encoded = Encoded(count)
        weakref.finalize(borrower, self._free.append, encoded).atexit = False
        return encoded
