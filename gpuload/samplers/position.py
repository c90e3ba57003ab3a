"""How far an epoch has come: counted in batches, or in the indices that an iterator has yielded."""

from collections.abc import Iterator
from operator import length_hint
from typing import Protocol

from gpuload.errors import ArgumentError

__all__ = ["Position", "Progress", "Yielded", "batch_at"]


class Progress(Protocol):
    """Of an epoch that was begun."""

    @property
    def epoch(self) -> int:
        """Which one."""

    @property
    def position(self) -> int:
        """The one that comes next; beyond the last one where the last batch is not full."""

    @property
    def is_over(self) -> bool:
        """There are no more."""


class Position:
    """How far an epoch has come that is delivered in batches.

    Args:
        epoch: which one.
        batch: the first that is delivered.
        size: positions that a batch takes, of all ranks together; None: it is not known.
        left_out: batches of the epoch that are not delivered, from the first one on.

    Attributes:
        epoch, size: as given.
        batch: the one that is delivered next; those that failed are passed.
        is_over: there are no more.
    """

    __slots__ = ("_left_out", "batch", "epoch", "is_over", "size")

    def __init__(self, epoch: int, batch: int, size: int | None = None, left_out: int = 0) -> None:
        self.epoch, self.batch, self.size, self.is_over = epoch, batch, size, False
        self._left_out = left_out

    @property
    def own(self) -> int:
        """The number of that batch, among those that are not left out."""
        return self.batch - self._left_out

    @property
    def position(self) -> int:
        """The first of the batch that is delivered next."""
        return self.batch * (self.size or 0)


class Yielded:
    """How far an iterator has come. Lists tell how much of them is left: nothing is done for each index.

    Attributes:
        epoch: which one, once it has begun.
        end: the position after the indices that are made.
        has_begun, is_over: by now.
    """

    __slots__ = ("_chunk", "end", "epoch", "has_begun", "is_over")

    def __init__(self) -> None:
        self.epoch, self.end, self.has_begun, self.is_over = 0, 0, False, False
        self._chunk = iter(list[int]())

    def begin(self, epoch: int, start: int) -> None:
        """From a position of an epoch on."""
        self.epoch, self.end, self.has_begun = epoch, start, True

    @property
    def position(self) -> int:
        """The one that is yielded next."""
        return self.end - length_hint(self._chunk)

    def through(self, chunk: list[int]) -> Iterator[int]:
        """The indices that come next."""
        self.end, self._chunk = self.end + len(chunk), iter(chunk)
        return self._chunk


def batch_at(position: int, size: int | None, samples: int) -> int:
    """The number of the batch that begins at a position of an epoch.

    Args:
        position: where.
        size: positions that a batch takes, of all ranks together; None: it is not known.
        samples: of the epoch.

    Raises:
        ArgumentError: none begins there.
    """
    if size is None and not position:
        return 0
    if size is None:
        raise ArgumentError(
            f"the state that was loaded into the sampler is in mid-epoch, at position {position}, but batch_sampler "
            "makes batches of its own: load what DataLoader.state_dict() gave instead"
        )
    if position % size and position != samples:
        raise ArgumentError(
            f"the state that was loaded into the sampler is at position {position}, in the middle of a batch: all "
            f"ranks together have batches of {size}; choose batch_size so that batch_size times the ranks divides it"
        )
    return -(-position // size)
