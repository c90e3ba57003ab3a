"""The samplers: laws of order, distributions, torch's own DataLoader, every error."""

import math
import pickle
import re
from collections import Counter
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings, strategies as st
from torch.utils.data import DataLoader as TorchDataLoader, Sampler

from gpuload.arguments import seed_or_new
from gpuload.device import HostDevice
from gpuload.errors import ArgumentError, ArgumentTypeError
from gpuload.philox import bounded
from gpuload.samplers import (
    ClassBalancedSampler,
    ClassDistributionSampler,
    CounterSampler,
    RandomSampler,
    SequentialSampler,
    SubsetRandomSampler,
    WeightedRandomSampler,
)
from gpuload.samplers.base import CHUNK, Table
from gpuload.samplers.permutation import permute

N = 37
TARGETS = [0] * 25 + [1] * 9 + [2] * 3
MAKERS: dict[str, Callable[[int], CounterSampler]] = {
    "random": lambda seed: RandomSampler(range(N), seed=seed),
    "random, more than n": lambda seed: RandomSampler(range(N), num_samples=2 * N + 5, seed=seed),
    "random, fewer than n": lambda seed: RandomSampler(range(N), num_samples=11, seed=seed),
    "replacement": lambda seed: RandomSampler(range(N), replacement=True, num_samples=90, seed=seed),
    "subset": lambda seed: SubsetRandomSampler([3, 1, 4, 15, 9, 26, 5], seed=seed),
    "weighted": lambda seed: WeightedRandomSampler([1.0, 0.0, 2.5, 0.5], 60, seed=seed),
    "distribution": lambda seed: ClassDistributionSampler(TARGETS, [0.2, 0.3, 0.5], seed=seed),
    "balanced": lambda seed: ClassBalancedSampler(TARGETS, seed=seed),
}
random_samplers = pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS.keys())
all_samplers = pytest.mark.parametrize(
    "make", [*MAKERS.values(), lambda seed: SequentialSampler(range(N))], ids=[*MAKERS.keys(), "sequential"]
)


# ---- laws of every sampler ----


@all_samplers
def test_is_a_torch_sampler_of_ints(make: Callable[[int], CounterSampler]) -> None:
    sampler = make(0)
    indices = list(sampler)
    assert isinstance(sampler, Sampler)
    assert len(indices) == len(sampler)
    assert all(type(index) is int for index in indices)


@all_samplers
def test_works_in_torchs_own_loader(make: Callable[[int], CounterSampler]) -> None:
    batches = TorchDataLoader(range(N), batch_size=8, sampler=make(4))  # type: ignore[arg-type]
    assert torch.cat(list(batches)).tolist() == list(make(4))


@all_samplers
def test_any_stretches_make_up_the_epoch(make: Callable[[int], CounterSampler], device: torch.device) -> None:
    sampler = make(6)
    sampler.set_epoch(3)
    epoch = list(sampler)
    generator = np.random.default_rng(0)
    for _ in range(10):
        cuts = [0, *sorted(generator.integers(0, len(epoch) + 1, 4).tolist()), len(epoch)]
        parts = [sampler.indices(start, stop, 3, device) for start, stop in pairwise(cuts)]
        for part, (start, stop) in zip(parts, pairwise(cuts), strict=True):
            assert part.dtype == torch.int64 and part.shape == (stop - start,) and part.device.type == device.type
        assert torch.cat(parts).tolist() == epoch


@all_samplers
def test_each_iteration_is_the_next_epoch(make: Callable[[int], CounterSampler]) -> None:
    sampler = make(8)
    assert sampler.epoch == 0
    epochs = [list(sampler) for _ in range(3)]
    assert sampler.epoch == 3
    assert epochs == [sampler.indices(0, len(sampler), epoch).tolist() for epoch in range(3)]
    sampler.set_epoch(1)
    assert list(sampler) == epochs[1]


@random_samplers
def test_epochs_and_seeds_differ_and_come_back(make: Callable[[int], CounterSampler]) -> None:
    orders = [tuple(make(seed).indices(0, len(make(seed)), epoch).tolist()) for seed in range(4) for epoch in range(4)]
    assert len(set(orders)) > 12  # small samplers may meet by chance
    assert orders[5] == tuple(make(1).indices(0, len(make(1)), 1).tolist())


@random_samplers
def test_a_sampler_broken_off_goes_on_with_the_next_epoch(make: Callable[[int], CounterSampler]) -> None:
    sampler = make(2)
    next(iter(sampler))
    assert list(sampler) == make(2).indices(0, len(sampler), 1).tolist()


@all_samplers
def test_a_pickled_sampler_goes_on(make: Callable[[int], CounterSampler]) -> None:
    sampler = make(5)
    list(sampler)
    copy = pickle.loads(pickle.dumps(sampler))
    assert (copy.seed, copy.epoch, copy.describe()) == (sampler.seed, sampler.epoch, sampler.describe())
    assert list(copy) == list(sampler)


@pytest.mark.cuda
@random_samplers
def test_the_gpu_makes_the_same_order(make: Callable[[int], CounterSampler]) -> None:
    for epoch in (0, 1, 2**32 - 1):
        sampler = make(2**64 - 1)
        there = sampler.indices(0, len(sampler), epoch, "cuda")
        assert there.tolist() == make(2**64 - 1).indices(0, len(sampler), epoch).tolist()


@pytest.mark.cuda
@pytest.mark.parametrize("name", ["subset", "weighted"])
def test_what_the_kernels_look_up_lives_as_long_as_they_read(name: str) -> None:
    """The sampler is dropped, and its memory asked for again, while a kernel that reads it is still queued."""
    wanted = MAKERS[name](3).indices(0, 5, 0).tolist()
    sampler = MAKERS[name](3)
    sampler.indices(0, 5, 0, "cuda")
    side = torch.cuda.Stream()
    with torch.cuda.stream(side):
        torch.cuda._sleep(200_000_000)
        indices = sampler.indices(0, 5, 0, "cuda")
    del sampler
    others = [torch.full((64,), -1, device="cuda") for _ in range(100)]
    assert indices.tolist() == wanted
    assert len(others) == 100


@pytest.mark.parametrize("name", ["subset", "weighted"])
def test_a_sampler_serves_several_devices_in_turn(name: str, device: torch.device) -> None:
    sampler = MAKERS[name](3)
    orders = [sampler.indices(0, 5, 0, place).tolist() for place in ("cpu", device, "cpu", device)]
    assert len(set(map(tuple, orders))) == 1


def test_a_table_is_copied_to_a_device_once_and_not_pickled_from_there() -> None:
    copied: list[torch.Tensor] = []

    class Place(HostDevice):
        def resident(self, tensor: torch.Tensor) -> torch.Tensor:
            copied.append(tensor)
            return torch.empty_like(tensor, device="meta") if tensor.device.type == "cpu" else tensor

    place = Place()
    place.torch_device = torch.device("meta")
    table = Table(torch.arange(5))
    there = [table.on(place) for _ in range(3)]
    assert there[0] is there[1] is there[2]
    assert [tensor.device.type for tensor in copied] == ["cpu", "meta", "meta"]  # asked each time, for the stream
    assert table.on(HostDevice()) is table.host
    assert torch.equal(pickle.loads(pickle.dumps(table)).host, torch.arange(5))


@all_samplers
def test_a_sampler_says_what_it_yields(make: Callable[[int], CounterSampler]) -> None:
    sampler = make(9)
    key = "" if isinstance(sampler, SequentialSampler) else ", from seed 9 and the epoch alone"
    assert sampler.describe() == f"{type(sampler).__name__}: {len(sampler)} samples an epoch{key}"


def test_an_epoch_longer_than_a_chunk() -> None:
    n = CHUNK + 1000
    sampler = RandomSampler(range(n), seed=1)
    assert np.array_equal(list(sampler), permute(np.arange(n), n, 1, 0))


# ---- without replacement ----


def test_sequential() -> None:
    assert list(SequentialSampler("abcd")) == [0, 1, 2, 3]
    assert SequentialSampler("abcd").indices(1, 3, epoch=9).tolist() == [1, 2]


def test_random_is_the_permutation() -> None:
    assert list(RandomSampler(range(10), seed=0)) == [5, 0, 9, 3, 7, 2, 1, 8, 4, 6]


@given(n=st.integers(1, 60), num_samples=st.integers(1, 150), seed=st.integers(0, 2**64 - 1))
@settings(max_examples=40)
def test_more_samples_than_there_are_start_another_permutation(n: int, num_samples: int, seed: int) -> None:
    order = list(RandomSampler(range(n), num_samples=num_samples, seed=seed))
    assert len(order) == num_samples
    whole, rest = divmod(num_samples, n)
    for turn in range(whole):
        assert sorted(order[turn * n : (turn + 1) * n]) == list(range(n))
    assert len(set(order[whole * n :])) == rest


def test_the_next_permutation_of_an_epoch_is_another_one() -> None:
    order = RandomSampler(range(100), num_samples=300, seed=0).indices(0, 300, 0).view(3, 100)
    assert len({tuple(row.tolist()) for row in order}) == 3


@pytest.mark.parametrize("kind", [list, tuple, np.asarray, torch.as_tensor], ids=["list", "tuple", "array", "tensor"])
def test_subset_takes_any_sequence(kind: Callable[[Any], Any]) -> None:
    chosen = [7, 3, 3, 100]
    assert Counter(SubsetRandomSampler(kind(chosen), seed=1)) == Counter(chosen)
    assert sorted(SubsetRandomSampler(range(5, 9), seed=1)) == [5, 6, 7, 8]


def test_an_empty_subset() -> None:
    sampler = SubsetRandomSampler([], seed=0)
    assert len(sampler) == 0
    assert list(sampler) == []
    assert sampler.indices(0, 0, 0).shape == (0,)


def test_a_subset_is_not_changed_from_outside() -> None:
    chosen = np.arange(10)
    sampler = SubsetRandomSampler(chosen, seed=0)
    chosen[:] = -1
    assert sorted(sampler) == list(range(10))


@pytest.mark.parametrize("indices", [[0.5, 1.7], [True, False], [[0, 1], [2, 3]], ["0", "1"]])
def test_a_subset_is_of_integers(indices: Any) -> None:
    with pytest.raises(ArgumentTypeError, match="indices must be"):
        SubsetRandomSampler(indices, seed=0)


# ---- distributions: bounds of five standard deviations, fixed seeds ----


def chi_square_is_sane(counts: list[int], shares: list[float]) -> bool:
    total = sum(counts)
    assert all(count == 0 for count, share in zip(counts, shares, strict=True) if share == 0)
    cells = [(count, share * total / sum(shares)) for count, share in zip(counts, shares, strict=True) if share]
    freedom = len(cells) - 1
    return sum((count - due) ** 2 / due for count, due in cells) < freedom + 5 * math.sqrt(2 * max(freedom, 1))


def drawn(sampler: CounterSampler, classes: int, of: list[int] | None = None) -> list[int]:
    indices = sampler.indices(0, len(sampler), 0).numpy()
    return np.bincount(indices if of is None else np.asarray(of)[indices], minlength=classes).tolist()


def test_replacement_is_uniform() -> None:
    sampler = RandomSampler(range(50), replacement=True, num_samples=100_000, seed=1)
    assert chi_square_is_sane(drawn(sampler, 50), [1] * 50)


@pytest.mark.parametrize(
    "weights",
    [[1, 2, 3, 4], [0, 0.1, 0, 0.7, 0], [5], [0, 0, 1], [1e-3, 1, 1e3], [1 / 3] * 7],
    ids=repr,
)
def test_weighted_follows_the_weights(weights: list[float]) -> None:
    assert chi_square_is_sane(drawn(WeightedRandomSampler(weights, 50_000, seed=2), len(weights)), weights)


@pytest.mark.parametrize("scale", [5e-324, 1e-300, 2.0**-40, 1.0, 3.0, 2.0**900, 1e307])
def test_weights_of_any_magnitude(scale: float) -> None:
    sampler = WeightedRandomSampler(np.asarray([2.0, 0.0, 1.0, 1.0]) * scale, 40_000, seed=3)
    assert chi_square_is_sane(drawn(sampler, 4), [2, 0, 1, 1])


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=40).filter(any), st.integers(-300, 300))
def test_a_power_of_two_times_the_weights_draws_the_same(weights: list[float], exponent: int) -> None:
    """As long as no weight becomes subnormal."""
    heaviest = max(weights)
    assume(heaviest > 2.0**-500)
    weights = [weight if weight > heaviest * 2.0**-200 else 0.0 for weight in weights]
    first, second = (WeightedRandomSampler(w, 50, seed=4) for w in (weights, np.ldexp(weights, exponent)))
    assert list(first) == list(second)


@given(st.lists(st.integers(0, 1000), min_size=1, max_size=60).filter(any))
def test_integer_weights_are_exact(weights: list[int]) -> None:
    sampler = WeightedRandomSampler(weights, 200, seed=5)
    exact = np.searchsorted(np.cumsum(weights) * 2**40, bounded(5, np.arange(200), 0, sum(weights) * 2**40), "right")
    assert sampler.indices(0, 200, 0).tolist() == exact.tolist()


def test_many_weights_do_not_overflow() -> None:
    sampler = WeightedRandomSampler(np.ones(100_003), 100_000, seed=6)
    indices = sampler.indices(0, 100_000, 0)
    assert indices.min() >= 0 and indices.max() < 100_003
    assert abs(float(indices.double().mean()) / 100_003 - 0.5) < 5 / math.sqrt(12 * 100_000)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.int64, torch.bfloat16])
def test_weights_may_be_a_tensor(dtype: torch.dtype) -> None:
    sampler = WeightedRandomSampler(torch.tensor([1, 0, 3]).to(dtype), 100, seed=1)
    assert list(sampler) == list(WeightedRandomSampler([1, 0, 3], 100, seed=1))


def test_weights_may_be_read_only_and_are_not_changed_from_outside() -> None:
    weights = np.asarray([1.0, 2.0])
    frozen = weights.view()
    frozen.flags.writeable = False
    sampler = WeightedRandomSampler(frozen, 10, seed=0)
    weights[:] = 0
    assert sampler.weights.tolist() == [1.0, 2.0]


@pytest.mark.parametrize("kind", [list, np.asarray, torch.as_tensor, lambda t: np.asarray(t, np.uint64)])
def test_classes_come_evenly(kind: Callable[[Any], Any]) -> None:
    sampler = ClassBalancedSampler(kind(TARGETS), 60_000, seed=1)
    assert chi_square_is_sane(drawn(sampler, 3, TARGETS), [1, 1, 1])


def test_evenly_within_a_class_too() -> None:
    counts = drawn(ClassBalancedSampler(TARGETS, 60_000, seed=2), N)
    assert chi_square_is_sane(counts, [1 / 25] * 25 + [1 / 9] * 9 + [1 / 3] * 3)


def test_a_class_without_samples_is_passed_over() -> None:
    targets = [0, 0, 3, 3, 3]
    assert chi_square_is_sane(drawn(ClassBalancedSampler(targets, 20_000, seed=0), 4, targets), [1, 0, 0, 1])


@pytest.mark.parametrize(
    ("distribution", "shares"),
    [
        ([0.5, 0.25, 0.25], [2, 1, 1]),
        ([10, 0, 30], [1, 0, 3]),
        ({0: 0.9, 2: 0.1}, [9, 0, 1]),
        ({np.int64(1): 5}, [0, 1, 0]),
        (np.asarray([0.1, 0.2, 0.7]), [1, 2, 7]),
    ],
    ids=repr,
)
def test_classes_follow_the_distribution(distribution: Any, shares: list[float]) -> None:
    sampler = ClassDistributionSampler(TARGETS, distribution, 50_000, seed=3)
    assert chi_square_is_sane(drawn(sampler, 3, TARGETS), shares)


def test_as_many_positions_as_samples_by_default() -> None:
    assert len(ClassBalancedSampler(TARGETS, seed=0)) == len(ClassDistributionSampler(TARGETS, [1, 1, 1], seed=0)) == N
    assert len(RandomSampler(range(N), seed=0)) == RandomSampler(range(N), replacement=True, seed=0).num_samples == N


# ---- seeds ----


@random_samplers
def test_without_a_seed_torchs_generator_decides_once(make: Callable[[Any], CounterSampler]) -> None:
    torch.manual_seed(1)
    first, second = make(None), make(None)
    torch.manual_seed(1)
    assert make(None).seed == first.seed != second.seed
    assert first.indices(0, 5, 0).tolist() == make(first.seed).indices(0, 5, 0).tolist()


def test_a_generator_decides_and_leaves_the_default_one_alone() -> None:
    torch.manual_seed(0)
    before = torch.get_rng_state()
    seeds = [RandomSampler(range(5), generator=torch.Generator().manual_seed(s)).seed for s in (1, 1, 2)]
    assert seeds[0] == seeds[1] != seeds[2]
    RandomSampler(range(5), seed=3)
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("seed", [0, 1, 2**64 - 1, np.uint64(2**64 - 1), np.int32(7)])
def test_seeds_of_64_bits(seed: Any) -> None:
    assert seed_or_new(seed) == int(seed) and type(seed_or_new(seed)) is int
    assert sorted(RandomSampler(range(20), seed=seed)) == list(range(20))


# ---- errors ----


@pytest.mark.parametrize(
    ("make", "error", "text"),
    [
        (lambda: seed_or_new(-1), ArgumentError, "seed must be from 0 to 2^64 - 1, got -1"),
        (lambda: seed_or_new(2**64), ArgumentError, "seed must be from 0 to 2^64 - 1, got 18446744073709551616"),
        (lambda: seed_or_new(1.0), ArgumentTypeError, "seed must be an int or None, got 1.0"),  # type: ignore[arg-type]
        (lambda: seed_or_new(True), ArgumentTypeError, "seed must be an int or None, got True"),
        (lambda: RandomSampler(range(3), seed="1"), ArgumentTypeError, "seed must be an int or None, got '1'"),
        (lambda: RandomSampler(range(3), 1), ArgumentTypeError, "replacement must be True or False, got 1"),
        (lambda: RandomSampler(range(3), True, 0), ArgumentError, "num_samples must be at least 1, got 0"),
        (lambda: RandomSampler(range(3), True, -2), ArgumentError, "num_samples must be at least 1, got -2"),
        (lambda: RandomSampler(range(3), True, 2.0), ArgumentTypeError, "num_samples must be an int, got 2.0"),
        (lambda: RandomSampler(range(3), True, True), ArgumentTypeError, "num_samples must be an int, got True"),
        (lambda: WeightedRandomSampler([1], None), ArgumentTypeError, "num_samples must be an int, got None"),
        (
            lambda: WeightedRandomSampler([1], 1, False),
            ArgumentError,
            "replacement must be True, got False: for draws without replacement pass a "
            "torch.utils.data.WeightedRandomSampler as sampler",
        ),
        (
            lambda: WeightedRandomSampler([], 1),
            ArgumentError,
            "weights must be one number for each sample, got shape (0,)",
        ),
        (
            lambda: WeightedRandomSampler([[1.0, 2.0]], 1),
            ArgumentError,
            "weights must be one number for each sample, got shape (1, 2)",
        ),
        (
            lambda: WeightedRandomSampler([1.0, -0.5], 1),
            ArgumentError,
            "weights must be finite, none negative and not all 0: got -0.5",
        ),
        (
            lambda: WeightedRandomSampler([1.0, math.nan], 1),
            ArgumentError,
            "weights must be finite, none negative and not all 0: got nan",
        ),
        (
            lambda: WeightedRandomSampler([1.0, math.inf], 1),
            ArgumentError,
            "weights must be finite, none negative and not all 0: got inf",
        ),
        (
            lambda: WeightedRandomSampler([0.0, 0.0], 1),
            ArgumentError,
            "weights must be finite, none negative and not all 0: all are 0",
        ),
        (
            lambda: ClassBalancedSampler([]),
            ArgumentError,
            "targets must be one class index >= 0 for each sample, for example dataset.targets; "
            "got float64 of shape (0,)",
        ),
        (
            lambda: ClassBalancedSampler([[0, 1]]),
            ArgumentError,
            "targets must be one class index >= 0 for each sample, for example dataset.targets; "
            "got int64 of shape (1, 2)",
        ),
        (
            lambda: ClassBalancedSampler([0.0, 1.0]),
            ArgumentError,
            "targets must be one class index >= 0 for each sample, for example dataset.targets; "
            "got float64 of shape (2,)",
        ),
        (lambda: ClassBalancedSampler([0, -1]), ArgumentError, "targets must be one class index >= 0"),
        (
            lambda: ClassDistributionSampler([0, 2], [0.5, 0.25, 0.25]),
            ArgumentError,
            "distribution gives class 1 a share of 0.25, but it has no samples",
        ),
        (
            lambda: ClassDistributionSampler([0, 1], [1, 1, 1]),
            ArgumentError,
            "distribution must have one share for each of 2 classes, got 3",
        ),
        (
            lambda: ClassDistributionSampler([0, 1], {2: 1.0}),
            ArgumentError,
            "distribution names class 2; the classes are 0 to 1",
        ),
        (
            lambda: ClassDistributionSampler([0, 1], {"cat": 1.0}),  # type: ignore[dict-item]
            ArgumentError,
            "distribution names class 'cat'; the classes are 0 to 1",
        ),
    ],
)
def test_errors_say_what_is_wrong(make: Callable[[], Any], error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=re.escape(text)):
        make()


@pytest.mark.parametrize("distribution", [[-1, 2], [math.nan, 1], [math.inf, 1], [0, 0], {0: -1.0}, {}], ids=repr)
def test_a_bad_distribution_is_called_by_its_name(distribution: Any) -> None:
    with pytest.raises(ArgumentError, match="^distribution "):
        ClassDistributionSampler([0, 1], distribution)
