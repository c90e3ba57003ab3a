"""An epoch as an iterator, beside torch's."""

import gc
import weakref
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest
from torch.utils.data import DataLoader as TorchDataLoader, RandomSampler

from gpuload.errors import TimedOutError
from gpuload.loading.epoch import Epoch
from gpuload.samplers.position import Position


def epoch_of(begin: Callable[[], Iterator[int]], length: Callable[[], int], first: int = 0) -> Epoch[int]:
    return Epoch(lambda: (begin(), Position(0, first)), length)


def count_to(end: int) -> Epoch[int]:
    return epoch_of(lambda: iter(range(end)), lambda: end)


@pytest.mark.parametrize("samples", [0, 1, 7])
def test_an_epoch_is_as_torchs_iterator(samples: int) -> None:
    """Its length is that of the whole epoch, however many batches are left."""
    ours = count_to(samples)
    theirs = iter(TorchDataLoader(range(samples), batch_size=None))  # type: ignore[arg-type]
    for epoch in (ours, theirs):
        assert iter(epoch) is epoch
        assert len(epoch) == samples
        assert [int(batch) for batch in epoch] == list(range(samples))
        assert len(epoch) == samples
        assert list(epoch) == []


def test_a_length_that_is_unknown_raises_as_torchs() -> None:
    def unknown() -> int:
        raise TypeError("object of type 'Sampler' has no len()")

    with pytest.raises(TypeError, match="has no len"):
        len(epoch_of(lambda: iter(()), unknown))
    with pytest.raises(TypeError, match="has no len"):
        len(iter(TorchDataLoader(range(3), sampler=iter(range(3)))))  # type: ignore[arg-type]


def test_it_begins_with_the_first_next() -> None:
    """Two that are made before either is used are two epochs, in the order of their use."""
    numbers = iter(range(5))
    first, second = (epoch_of(lambda: iter([next(numbers)] * 2), lambda: 2) for _ in range(2))
    assert next(numbers) == 0
    assert (next(second), next(first), next(second), next(first)) == (1, 2, 1, 2)


def test_an_error_of_its_beginning_is_raised_by_the_first_next() -> None:
    def begin() -> Iterator[int]:
        raise OSError("no such folder")

    epoch = epoch_of(begin, lambda: 3)
    with pytest.raises(OSError, match="no such folder"):
        next(epoch)
    assert list(epoch) == []


def test_batches_after_an_error_can_be_asked_for() -> None:
    epoch = epoch_of(lambda: map((1).__floordiv__, [1, 0, 1]), lambda: 3)
    assert next(epoch) == 1
    with pytest.raises(ZeroDivisionError):
        next(epoch)
    assert list(epoch) == [1]


@pytest.mark.parametrize("asked", [0, 1, 2])
def test_what_it_holds_is_let_go_when_it_is_dropped(asked: int) -> None:
    class Batches:
        def __iter__(self) -> "Batches":
            return self

        def __next__(self) -> int:
            return 0

    batches = Batches()
    held = weakref.ref(batches)
    gc.disable()
    try:
        epoch = epoch_of([batches].pop, RandomSampler(range(2)).__len__)  # type: ignore[arg-type]
        del batches
        for _ in range(asked):
            next(epoch)
        assert held() is not None
        del epoch
        assert held() is None
    finally:
        gc.enable()


@pytest.mark.parametrize(
    ("error", "at"), [(ValueError, [4, 5, 6]), (TimedOutError, [4, 4, 5]), (KeyboardInterrupt, [4, 4, 5])]
)
def test_its_position_passes_a_batch_that_failed(error: type[BaseException], at: list[int]) -> None:
    """What was interrupted may still come."""
    outcomes = iter([1, error, 3])

    def take(_: int) -> int:
        outcome = next(outcomes)
        if isinstance(outcome, int):
            return outcome
        raise outcome

    position, found = Position(2, 3), list[int]()
    epoch = Epoch(lambda: (map(take, range(3)), position), lambda: 6)
    for _ in range(3):
        with suppress(error):
            next(epoch)
        found.append(position.batch)
    assert (found, position.is_over) == (at, False)
    assert next(epoch, None) is None
    assert (position.epoch, position.batch, position.is_over) == (2, at[-1], True)
