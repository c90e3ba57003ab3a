"""One epoch, as torch's iterators are: it knows its length, and begins when it is asked for the first batch."""

from collections.abc import Callable, Iterator
from typing import Any, Generic, TypeVar

from gpuload.errors import TimedOutError, WorkerError
from gpuload.samplers.position import Position

__all__ = ["Epoch", "NoProcesses"]

Batch = TypeVar("Batch")


class NoProcesses:
    """What is found of torch's iterators where none reads."""

    _workers: tuple[()] = ()


class Epoch(Generic[Batch]):
    """The batches of an epoch.

    Between ``iter`` and the first ``next`` a framework may still choose the epoch, as Lightning does when it resumes.

    Args:
        begin: called by the first ``next``; gives the batches, and where they begin, which is kept up to date. What
            it raises, that ``next`` does.
        length: the number of batches of the epoch, for ``len``.
        theirs: gives torch's iterator, if that reads: what it has, as its worker processes, is found here, too.
    """

    def __init__(
        self,
        begin: Callable[[], tuple[Iterator[Batch], Position]],
        length: Callable[[], int],
        theirs: Callable[[], Any] = NoProcesses,
    ) -> None:
        self._begin: Callable[[], tuple[Iterator[Batch], Position]] | None = begin
        self._length, self._theirs = length, theirs
        self._batches: Iterator[Batch] = iter(())
        self._position: Position

    def __iter__(self) -> "Epoch[Batch]":
        return self

    def __len__(self) -> int:
        return self._length()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._theirs(), name)

    def __getstate__(self) -> Any:
        raise NotImplementedError(f"{type(self).__name__} cannot be copied or pickled: its batches come once")

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
        except (KeyboardInterrupt, TimedOutError, WorkerError):  # it may still come, here or in an epoch from there on
            raise
        except BaseException:
            position.batch += 1
            raise
        position.batch += 1
        return batch
