"""An epoch as an iterator, beside torch's."""

import gc
import weakref
from collections.abc import Iterator

import pytest
from torch.utils.data import DataLoader as TorchDataLoader, RandomSampler

from gpuload.loading.epoch import Epoch


def count_to(end: int) -> Epoch[int]:
    return Epoch(lambda: iter(range(end)), lambda: end)


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
        len(Epoch(lambda: iter(()), unknown))
    with pytest.raises(TypeError, match="has no len"):
        len(iter(TorchDataLoader(range(3), sampler=iter(range(3)))))  # type: ignore[arg-type]


def test_it_begins_with_the_first_next() -> None:
    """Two that are made before either is used are two epochs, in the order of their use."""
    numbers = iter(range(5))
    first, second = (Epoch(lambda: iter([next(numbers)] * 2), lambda: 2) for _ in range(2))
    assert next(numbers) == 0
    assert (next(second), next(first), next(second), next(first)) == (1, 2, 1, 2)


def test_an_error_of_its_beginning_is_raised_by_the_first_next() -> None:
    def begin() -> Iterator[int]:
        raise OSError("no such folder")

    epoch = Epoch(begin, lambda: 3)
    with pytest.raises(OSError, match="no such folder"):
        next(epoch)
    assert list(epoch) == []


def test_batches_after_an_error_can_be_asked_for() -> None:
    epoch = Epoch(lambda: map((1).__floordiv__, [1, 0, 1]), lambda: 3)
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
        epoch = Epoch([batches].pop, RandomSampler(range(2)).__len__)  # type: ignore[arg-type]
        del batches
        for _ in range(asked):
            next(epoch)
        assert held() is not None
        del epoch
        assert held() is None
    finally:
        gc.enable()
