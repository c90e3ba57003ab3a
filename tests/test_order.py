"""Which samples are in a batch: positions, chunks, the user's own samplers, and who waits for what."""

from collections.abc import Iterator
from itertools import chain, islice
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import BatchSampler, SequentialSampler as TorchSequentialSampler

from gpuload import ArgumentError, ArgumentTypeError, RandomSampler, SequentialSampler
from gpuload.device import Device, HostDevice, device_of
from gpuload.loading.order import Order, integers
from gpuload.samplers.base import CHUNK
from gpuload.samplers.orders import InOrder
from gpuload.stage import CALLER
from tests.simulation.gpu import Ticket
from tests.simulation.runtime import simulated


def order_of(
    sampler: Any, batch_size: int | None = 4, drop_last: bool = False, device: Device | None = None, batches: Any = None
) -> Order:
    """As torch's DataLoader would have it."""
    if batches is None and batch_size is not None:
        batches = BatchSampler(sampler, batch_size, drop_last)
    return Order(sampler, batches, device or HostDevice())


def on_host(order: Order, epoch: int = 0) -> list[list[int]]:
    positions, indices = [], []
    for places, batch in order.host_batches(epoch):
        assert places.dtype == batch.dtype == np.int64 and places.shape == batch.shape == (len(batch),)
        positions += places.tolist()
        indices.append(batch.tolist())
    assert positions == [*range(len(positions))]
    return indices


def on_device(order: Order, epoch: int = 0) -> list[list[int]]:
    return [batch.tolist() for batch in order.device_batches(epoch, 1 << 40)]


# ---- counter-based samplers ----


@pytest.mark.parametrize("drop_last", [False, True])
@pytest.mark.parametrize("batch_size", [1, 4, 7, 1000, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK])
@pytest.mark.parametrize("count", [3, CHUNK, 2 * CHUNK + 5])
def test_batches_are_those_of_torchs_batch_sampler(batch_size: int, drop_last: bool, count: int) -> None:
    batches = BatchSampler(SequentialSampler(range(count)), batch_size, drop_last)
    order = order_of(SequentialSampler(range(count)), batch_size, drop_last)
    assert on_host(order) == on_device(order) == list(batches)


def test_epochs(device: torch.device) -> None:
    sampler = RandomSampler(range(50), seed=3)
    order = order_of(sampler, 8, device=device_of(device))
    for epoch in (0, 5, 2**32 - 1):
        wanted = sampler.order(epoch).indices(0, 50).split(8)
        assert on_host(order, epoch) == on_device(order, epoch) == [batch.tolist() for batch in wanted]
    assert sampler.epoch == 0  # nothing moves on


def test_one_by_one() -> None:
    order = order_of(RandomSampler(range(5), seed=0), None)
    assert order.single
    assert on_host(order) == on_device(order) == [[i] for i in RandomSampler(range(5), seed=0)]


def test_an_empty_epoch() -> None:
    order = order_of(SequentialSampler([]))
    assert on_host(order) == on_device(order) == []


def test_an_order_does_not_know_the_future() -> None:
    """Chunks are made one ahead, not all."""
    asked: list[int] = []

    class WatchedOrder(InOrder):
        def indices(self, start: int, stop: int, device: torch.device | str = "cpu") -> torch.Tensor:
            asked.append(start)
            return super().indices(start, stop, device)

    class Watched(SequentialSampler):
        def order(self, epoch: int) -> InOrder:
            return WatchedOrder(len(self))

    batches = order_of(Watched(range(10 * CHUNK)), CHUNK // 2).host_batches(0)
    assert asked == []
    next(batches)  # of a chunk that is small, to come soon
    assert asked == [0, CHUNK // 2]
    next(batches)
    assert asked == [0, CHUNK // 2, CHUNK // 2 + CHUNK]
    list(islice(batches, 2))
    assert asked == [0, CHUNK // 2, CHUNK // 2 + CHUNK, CHUNK // 2 + 2 * CHUNK]


# ---- the user's own ----


class Evens(RandomSampler):
    """A counter-based sampler, iterated in a way of its own."""

    def __iter__(self) -> Iterator[int]:
        return (index for index in super().__iter__() if index % 2 == 0)


def test_an_iteration_of_ones_own_is_honored() -> None:
    order = order_of(Evens(range(20), seed=1))
    assert order.sampler is None
    for epoch in (0, 3, 0):
        wanted = [
            index for index in RandomSampler(range(20), seed=1).order(epoch).indices(0, 20).tolist() if index % 2 == 0
        ]
        assert list(chain(*on_host(order, epoch))) == wanted


def test_a_length_of_ones_own_is_no_order() -> None:
    """As in torch: what the sampler yields decides."""

    class Short(RandomSampler):
        def __len__(self) -> int:
            return 3

    sampler = Short(range(9), seed=1)
    order = order_of(sampler, 4)
    assert on_host(order) == on_device(order) == list(BatchSampler(sampler, 4, False))


def test_an_epoch_that_has_begun_stays_as_it_began() -> None:
    source = [0] * 6
    sampler = RandomSampler(source, seed=1)
    order, wanted = order_of(sampler, 2), sampler.order(0).indices(0, 6).tolist()
    for batches in ((batch for _, batch in order.host_batches(0)), order.device_batches(0, 6)):
        first = next(batches).tolist()
        source.append(0)
        sampler.seed = 2
        assert first + [index for batch in batches for index in batch.tolist()] == wanted
        source.pop()
        sampler.seed = 1


def test_a_sampler_for_more_samples_than_there_are() -> None:
    with pytest.raises(ArgumentError, match="sampler gives indices up to 8, but the dataset has 8 samples"):
        next(order_of(SequentialSampler(range(9))).device_batches(0, 8))


def test_a_batch_sampler_of_ones_own_is_honored() -> None:
    class Reversed(BatchSampler):
        def __iter__(self) -> Iterator[list[int]]:
            return iter(list(super().__iter__())[::-1])

    sampler = SequentialSampler(range(5))
    order = order_of(sampler, 2, batches=Reversed(sampler, 2, False))
    assert order.sampler is None
    assert on_host(order) == [[4], [2, 3], [0, 1]]


def test_torchs_samplers_and_plain_lists() -> None:
    assert on_host(order_of(TorchSequentialSampler(range(5)), 2)) == [[0, 1], [2, 3], [4]]
    assert on_host(order_of([3, 3, 1], 2, drop_last=True)) == [[3, 3]]
    assert on_host(order_of([3, -1], None)) == [[3], [-1]]
    assert on_host(order_of(TorchSequentialSampler([]), None, batches=[[1], [], [2, 0]])) == [[1], [], [2, 0]]


def test_a_sampler_of_the_users_is_not_asked_ahead() -> None:
    asked: list[int] = []
    batches = order_of([0, 1, 2, 3], None, batches=(asked.append(i) or [i] for i in range(4))).host_batches(0)  # type: ignore[func-returns-value]
    assert asked == []
    next(batches)
    assert asked == [0]


@pytest.mark.parametrize(
    "batch",
    [
        [1, 0, -2],
        (1, 0, -2),
        iter([1, 0, -2]),
        [np.int32(1), np.uint8(0), -2],
        np.array([1, 0, -2], np.int16),
        torch.tensor([1, 0, -2]),
        torch.tensor([1, 0, -2], dtype=torch.int8),
        [torch.tensor(1), torch.tensor(0), torch.tensor(-2)],
    ],
    ids=lambda batch: type(batch).__name__,
)
def test_integers_of_any_kind(batch: Any) -> None:
    found = integers(batch)
    assert found.dtype == np.int64
    assert found.tolist() == [1, 0, -2]


@pytest.mark.parametrize(
    ("batch", "got"),
    [
        ([0, "a"], r"'a' \(str\)"),
        ([1.5], r"1\.5 \(float\)"),
        ([0, None], r"None \(NoneType\)"),
        ([[0, 1]], r"\[0, 1\] \(list\)"),
        (np.array([0.5]), r".*0\.5.* \(float64\)"),
        (torch.tensor([2.0]), r".*2\.0.* \(float32\)"),
    ],
    ids=str,
)
def test_what_is_no_integer_is_named(batch: Any, got: str) -> None:
    with pytest.raises(ArgumentTypeError, match=f"^sampler must give integers, got {got}$"):
        integers(batch)


@pytest.mark.parametrize("index", [2**63, -(2**63) - 1, np.uint64(2**64 - 1)])
def test_an_integer_of_more_than_64_bits(index: Any) -> None:
    with pytest.raises(OverflowError):
        integers([index])


# ---- words ----


def test_words() -> None:
    random, plain = RandomSampler(range(9), seed=2), [1, 2]
    assert order_of(random, 4).describe() == (
        "order",
        CALLER,
        ("RandomSampler: 9 samples an epoch, from seed 2 and the epoch alone", "batches of 4"),
    )
    assert order_of(plain, 4, drop_last=True).describe().facts == ("list, iterated", "batches of 4, only full ones")
    assert order_of(plain, None).describe().facts == ("list, iterated", "one by one")
    assert order_of(plain, None, batches=[[1]]).describe().facts == ("the batches of list",)
    with simulated():
        order = order_of(random, 4, device=device_of("cuda"))
    assert order.describe().where == "GPU cuda:0"
    assert order.describe(anywhere=False).where == CALLER


# ---- who waits for what ----


@pytest.mark.parametrize("seed", range(5))
def test_the_host_waits_for_the_order_alone(seed: int) -> None:
    with simulated(seed) as runtime:
        sampler, device, ended = RandomSampler(range(3 * CHUNK), seed=0), device_of("cuda"), Ticket({})
        runtime.gpu.default_stream(0).add(
            "the consumer's own work", after=ended
        )  # a host that waited for it would hang
        found = on_host(order_of(sampler, CHUNK // 2, device=device))
        ended.done = True
        runtime.gpu.finish()
    assert runtime.gpu.problems == []
    assert list(chain(*found)) == sampler.order(0).indices(0, 3 * CHUNK).tolist()


@pytest.mark.parametrize("seed", range(5))
def test_indices_on_the_device_follow_the_consumer_from_stream_to_stream(seed: int) -> None:
    with simulated(seed) as runtime:
        sampler, device = RandomSampler(range(3 * CHUNK), seed=0), device_of("cuda")
        batches = order_of(sampler, CHUNK // 4, device=device).device_batches(0, 3 * CHUNK)
        streams, copies = [torch.cuda.current_stream(), torch.cuda.Stream()], []
        for number in range(12):
            with torch.cuda.stream(streams[number % 3 == 2]):
                copies.append(next(batches) + 0)
        assert runtime.gpu.waits == []
        runtime.reuse()
        runtime.gpu.finish()
        found = torch.cat([copied.cpu() for copied in copies])
    assert runtime.gpu.problems == []
    assert torch.equal(found, sampler.order(0).indices(0, 3 * CHUNK))
