"""One epoch, as torch's iterators are: it knows its length, and begins when it is asked for the first batch."""

from collections.abc import Callable, Iterator
from itertools import chain
from typing import Any, TypeVar

__all__ = ["Epoch"]

Batch = TypeVar("Batch")


class Epoch(chain[Batch]):
    """The batches of an epoch. An iterator in C: it costs nothing per batch.

    Between ``iter`` and the first ``next`` a framework may still choose the epoch, as Lightning does when it resumes.

    Args:
        begin: called by the first ``next``; gives the batches. What it raises, that ``next`` does.
        length: the number of batches of the epoch, for ``len``.
    """

    _length: Callable[[], int]

    def __new__(cls, begin: Callable[[], Iterator[Batch]], length: Callable[[], int]) -> "Epoch[Batch]":
        epoch: Any = cls.from_iterable(_once(begin))
        epoch._length = length
        return epoch  # type: ignore[no-any-return]

    def __len__(self) -> int:
        return self._length()


def _once(begin: Callable[[], Iterator[Batch]]) -> Iterator[Iterator[Batch]]:
    yield begin()
