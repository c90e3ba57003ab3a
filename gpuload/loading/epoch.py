"""One epoch, as torch's iterators are: it knows its length, and begins when it is asked for the first batch."""

from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

from gpuload.errors import TimedOutError
from gpuload.samplers.position import Position

__all__ = ["Epoch"]

Batch = TypeVar("Batch")


class Epoch(Generic[Batch]):
    """The batches of an epoch.

    Between ``iter`` and the first ``next`` a framework may still choose the epoch, as Lightning does when it resumes.

    Args:
        begin: called by the first ``next``; gives the batches, and where they begin, which is kept up to date. What
            it raises, that ``next`` does.
        length: the number of batches of the epoch, for ``len``.
    """

    def __init__(self, begin: Callable[[], tuple[Iterator[Batch], Position]], length: Callable[[], int]) -> None:
        self._begin: Callable[[], tuple[Iterator[Batch], Position]] | None = begin
        self._length = length
        self._batches: Iterator[Batch] = iter(())
        self._position: Position

    def __iter__(self) -> "Epoch[Batch]":
        return self

    def __len__(self) -> int:
        return self._length()

    def __next__(self) -> Batch:
        if self._begin is not None:
            begin, self._begin, self._position = self._begin, None, Position(0, 0)
            self._batches, self._position = begin()
        position = self._position
        try:
            batch = next(self._batches)
        except StopIteration:
            position.is_over, self._batches = True, iter(())  # what made them is free
            raise
        except (KeyboardInterrupt, TimedOutError):  # it may still come
            raise
        except BaseException:
            position.batch += 1
            raise
        position.batch += 1
        return batch
