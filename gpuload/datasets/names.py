"""Many file names in one bytes object."""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

__all__ = ["Names"]


class Names:
    """N names; each costs its own bytes and eight more, not a Python object.

    Args:
        names: as the file system has them.
    """

    def __init__(self, names: Iterable[bytes] = ()) -> None:
        self._bytes, self._starts = bytearray(), [np.zeros(1, np.int64)]
        self.extend(names)

    def extend(self, names: Iterable[bytes]) -> None:
        """Add names at the end."""
        listed = list(names)
        lengths = np.fromiter(map(len, listed), np.int64, len(listed))
        self._starts.append(len(self._bytes) + np.cumsum(lengths))
        self._bytes += b"".join(listed)

    def _bounds(self) -> NDArray[np.int64]:
        """Where each name starts, and where the last one ends: (N + 1,)."""
        if len(self._starts) > 1:
            self._starts = [np.concatenate(self._starts)]
        return self._starts[0]

    def __len__(self) -> int:
        return len(self._bounds()) - 1

    @property
    def nbytes(self) -> int:
        """Bytes of state."""
        return len(self._bytes) + self._bounds().nbytes

    def of(self, indices: NDArray[np.int64]) -> list[bytes]:
        """n of the names."""
        names, bounds = self._bytes, self._bounds()
        begins, ends = bounds[indices].tolist(), bounds[indices + 1].tolist()
        return [bytes(names[begin:end]) for begin, end in zip(begins, ends, strict=True)]
