"""The samplers: laws of order, distributions, torch's own DataLoader, every error."""

import copy
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
from torch.utils import data as torch_data
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
from gpuload.samplers.base import CHUNK, Made
from gpuload.samplers.orders import Permuted, Table
from gpuload.samplers.permutation import permute

N = 37
TARGETS = [0] * 25 + [1] * 9 + [2] * 3
MAKERS: dict[str, Callable[[int], CounterSampler]] = {
    "random": lambda seed: RandomSampler(range(N), seed=seed),
    "random, more than n": lambda seed: RandomSampler(range(N), num_samples=2 * N + 5, seed=seed),
    "random, fewer than n": lambda seed: RandomSampler(range(N), num_samples=11, seed=seed),
    "replacement": lambda seed: RandomSampler(range(N), replacement=True, num_samples=90, seed=seed),
    "subset": lambda seed: SubsetRandomSampler([3, 1, 4, 15, 9, 26, 5], seed=seed),
    "weighted, without replacement": lambda seed: WeightedRandomSampler(range(1, 30), 20, False, seed=seed),
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
        parts = [sampler.order(3).indices(start, stop, device) for start, stop in pairwise(cuts)]
        for part, (start, stop) in zip(parts, pairwise(cuts), strict=True):
            assert part.dtype == torch.int64 and part.shape == (stop - start,) and part.device.type == device.type
        assert torch.cat(parts).tolist() == epoch


@all_samplers
def test_any_positions_at_once(make: Callable[[int], CounterSampler], device: torch.device) -> None:
    """Runs of them or none, backwards, twice, and beyond the end, where the epoch begins again."""
    order = make(6).order(3)
    epoch, generator = order.indices(0, len(order)).tolist(), np.random.default_rng(0)
    count = len(epoch)
    some = [np.arange(3, 9), np.arange(count - 2, count + 3), np.array([5, 5, 2]), np.array([], np.int64)]
    for positions in [*some, np.concatenate(some), generator.integers(0, 3 * count, 50)]:
        found = order.at(positions, device)
        assert found.dtype == torch.int64 and found.device.type == device.type
        assert found.tolist() == [epoch[position % count] for position in positions.tolist()]


@all_samplers
def test_each_iteration_is_the_next_epoch(make: Callable[[int], CounterSampler]) -> None:
    sampler = make(8)
    assert sampler.epoch == 0
    epochs = [list(sampler) for _ in range(3)]
    assert sampler.epoch == 3
    assert epochs == [sampler.order(epoch).indices(0, len(sampler)).tolist() for epoch in range(3)]
    sampler.set_epoch(1)
    assert list(sampler) == epochs[1]


@random_samplers
def test_epochs_and_seeds_differ_and_come_back(make: Callable[[int], CounterSampler]) -> None:
    orders = [
        tuple(make(seed).order(epoch).indices(0, len(make(seed))).tolist()) for seed in range(4) for epoch in range(4)
    ]
    assert len(set(orders)) > 12  # small samplers may meet by chance
    assert orders[5] == tuple(make(1).order(1).indices(0, len(make(1))).tolist())


@random_samplers
def test_a_sampler_broken_off_goes_on_with_the_next_epoch(make: Callable[[int], CounterSampler]) -> None:
    sampler = make(2)
    next(iter(sampler))
    assert list(sampler) == make(2).order(1).indices(0, len(sampler)).tolist()


@all_samplers
def test_a_pickled_sampler_goes_on(make: Callable[[int], CounterSampler]) -> None:
    sampler = make(5)
    list(sampler)
    again = pickle.loads(pickle.dumps(sampler))
    assert (again.seed, again.epoch, again.describe()) == (sampler.seed, sampler.epoch, sampler.describe())
    assert list(again) == list(sampler)


@pytest.mark.cuda
@random_samplers
def test_the_gpu_makes_the_same_order(make: Callable[[int], CounterSampler]) -> None:
    for epoch in (0, 1, 2**32 - 1):
        sampler = make(2**64 - 1)
        there = sampler.order(epoch).indices(0, len(sampler), "cuda")
        assert there.tolist() == make(2**64 - 1).order(epoch).indices(0, len(sampler)).tolist()


@pytest.mark.cuda
@pytest.mark.parametrize("name", ["subset", "weighted"])
def test_what_the_kernels_look_up_lives_as_long_as_they_read(name: str) -> None:
    """The sampler is dropped, and its memory asked for again, while a kernel that reads it is still queued."""
    wanted = MAKERS[name](3).order(0).indices(0, 5).tolist()
    sampler = MAKERS[name](3)
    sampler.order(0).indices(0, 5, "cuda")
    side = torch.cuda.Stream()
    with torch.cuda.stream(side):
        torch.cuda._sleep(200_000_000)
        indices = sampler.order(0).indices(0, 5, "cuda")
    del sampler
    others = [torch.full((64,), -1, device="cuda") for _ in range(100)]
    assert indices.tolist() == wanted
    assert len(others) == 100


@pytest.mark.parametrize("name", ["subset", "weighted"])
def test_a_sampler_serves_several_devices_in_turn(name: str, device: torch.device) -> None:
    sampler = MAKERS[name](3)
    orders = [sampler.order(0).indices(0, 5, place).tolist() for place in ("cpu", device, "cpu", device)]
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
    assert SequentialSampler("abcd").order(9).indices(1, 3).tolist() == [1, 2]


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
    order = RandomSampler(range(100), num_samples=300, seed=0).order(0).indices(0, 300).view(3, 100)
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
    assert sampler.order(0).indices(0, 0).shape == (0,)


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
    indices = sampler.order(0).indices(0, len(sampler)).numpy()
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
    assert sampler.order(0).indices(0, 200).tolist() == exact.tolist()


def test_many_weights_do_not_overflow() -> None:
    sampler = WeightedRandomSampler(np.ones(100_003), 100_000, seed=6)
    indices = sampler.order(0).indices(0, 100_000)
    assert indices.min() >= 0 and indices.max() < 100_003
    assert abs(float(indices.double().mean()) / 100_003 - 0.5) < 5 / math.sqrt(12 * 100_000)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.int64, torch.bfloat16])
def test_weights_may_be_a_tensor(dtype: torch.dtype) -> None:
    sampler = WeightedRandomSampler(torch.tensor([1, 0, 3]).to(dtype), 100, seed=1)
    assert list(sampler) == list(WeightedRandomSampler([1, 0, 3], 100, seed=1))


def test_weights_may_be_read_only() -> None:
    weights = np.asarray([1.0, 2.0])
    weights.flags.writeable = False
    assert WeightedRandomSampler(weights, 10, seed=0).weights.tolist() == [1.0, 2.0]


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
    assert first.order(0).indices(0, 5).tolist() == make(first.seed).order(0).indices(0, 5).tolist()


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


@pytest.mark.parametrize("given", [3, None])
def test_a_generator_that_is_put_in_place_decides_unless_a_seed_was_given(given: int | None) -> None:
    """What a framework does on several ranks: it gives each the same generator before the first epoch."""
    torch.manual_seed(0)
    ranks = [RandomSampler(range(50), seed=given) for _ in range(2)]
    assert (ranks[0].seed == ranks[1].seed) == (given is not None)
    for rank in ranks:
        rank.generator = torch.Generator().manual_seed(7)
    orders = [[list(rank) for _ in range(2)] for rank in ranks]
    assert orders[0] == orders[1]
    assert (ranks[0].seed == 3) == (given is not None)


def test_generators_are_synchronized_before_the_first_epoch_and_between_epochs() -> None:
    ranks = [RandomSampler(range(50), generator=torch.Generator().manual_seed(rank)) for rank in range(2)]
    assert ranks[0].seed == ranks[0].seed != ranks[1].seed  # looking does not draw
    assert torch.equal(ranks[0].generator.get_state(), torch.Generator().manual_seed(0).get_state())  # type: ignore[union-attr]
    for _ in range(3):
        ranks[1].generator.set_state(ranks[0].generator.get_state())  # type: ignore[union-attr]
        assert list(ranks[0]) == list(ranks[1])


def test_a_seed_stays_while_others_draw_from_its_generator() -> None:
    generator = torch.Generator().manual_seed(1)
    sampler = RandomSampler(range(50), generator=generator)
    first = list(sampler)
    seed = sampler.seed
    torch.rand(5, generator=generator)
    assert list(sampler) == list(Permuted(50, 50, seed, 1).indices(0, 50).tolist()) != first
    generator.manual_seed(2)
    assert sampler.order(0).indices(0, 50).tolist() != first
    sampler.generator, now = None, sampler.seed
    assert sampler.seed == now != seed


# ---- as torch's own, and alive ----


@pytest.mark.parametrize(
    ("ours", "theirs", "names"),
    [
        (SequentialSampler(range(5)), torch_data.SequentialSampler, ("data_source",)),
        (
            RandomSampler(range(5), True, 9, seed=0),
            torch_data.RandomSampler,
            ("data_source", "replacement", "num_samples", "_num_samples", "generator"),
        ),
        (SubsetRandomSampler([4, 2], seed=0), torch_data.SubsetRandomSampler, ("indices", "generator")),
        (
            WeightedRandomSampler([1, 3], 9, seed=0),
            torch_data.WeightedRandomSampler,
            ("weights", "num_samples", "replacement", "generator"),
        ),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_sampler_is_torchs_of_the_same_name(ours: Any, theirs: Any, names: tuple[str, ...]) -> None:
    arguments = [name for name in names if name not in ("_num_samples", "generator")]
    plain = theirs(**{name: getattr(ours, name) for name in arguments})
    assert isinstance(ours, theirs) and isinstance(ours, CounterSampler)
    for name in names:
        got, wanted = getattr(ours, name), getattr(plain, name)
        assert torch.equal(got, wanted) if isinstance(wanted, torch.Tensor) else got == wanted, name
    assert {*vars(plain)} <= {*vars(ours)}
    assert len(list(ours)) == len(list(plain)) == len(ours) == len(plain)


def test_a_list_of_indices_is_alive() -> None:
    chosen = [7, 3, 100]
    sampler = SubsetRandomSampler(chosen, seed=1)
    assert sampler.indices is chosen and sorted(sampler) == [3, 7, 100]
    chosen.append(5)
    assert len(sampler) == 4 and sorted(sampler) == [3, 5, 7, 100]
    chosen[0] = 8
    assert sorted(sampler) == [3, 5, 8, 100]
    sampler.indices = (1, 2)
    assert sorted(sampler) == [1, 2]
    sampler.indices = [0.5]  # type: ignore[list-item]
    with pytest.raises(ArgumentTypeError, match="indices must be a sequence of integers, got float64"):
        list(sampler)
    sampler.indices = [9]
    assert list(sampler) == [9]


@pytest.mark.parametrize("kind", [np.array, torch.tensor])
def test_an_array_of_indices_is_alive(kind: Callable[[Any], Any]) -> None:
    chosen = kind([7, 3, 100])
    sampler = SubsetRandomSampler(chosen, seed=1)
    assert sorted(sampler) == [3, 7, 100]
    chosen[0] = 1
    assert sorted(sampler) == [1, 3, 100]


@pytest.mark.parametrize("kind", [lambda weights: np.array(weights, np.float64), lambda w: torch.tensor(w).double()])
def test_weights_are_alive(kind: Callable[[Any], Any]) -> None:
    given = kind([1.0, 0.0, 0.0])
    sampler = WeightedRandomSampler(given, 20, seed=1)
    assert set(sampler) == {0}
    given[0], given[2] = 0.0, 1.0  # torch shares them
    assert set(sampler) == {2}
    sampler.weights[1], sampler.weights[2] = 5.0, 0.0
    assert set(sampler) == {1}
    sampler.weights = torch.tensor([0.0, 0.0, 0.0, 1.0])
    assert set(sampler) == {3}
    sampler.num_samples = 3
    assert list(sampler) == [3, 3, 3] and len(sampler) == 3
    sampler.weights[3] = -1
    with pytest.raises(ArgumentError, match=r"weights must be finite, none negative and not all 0: got -1\.0"):
        list(sampler)
    sampler.weights[3], sampler.num_samples = 1, 0
    with pytest.raises(ArgumentError, match="num_samples must be at least 1, got 0"):
        list(sampler)


def test_the_arguments_of_a_random_sampler_are_alive() -> None:
    source = [0] * 5
    sampler = RandomSampler(source, seed=1)
    assert sorted(sampler) == list(range(5))
    source.append(0)
    assert len(sampler) == 6 and sorted(sampler) == list(range(6))
    sampler.replacement = True
    assert any(len(set(sampler)) < 6 for _ in range(20))
    sampler._num_samples = 100  # as in torch
    assert len(list(sampler)) == 100
    sampler.seed = 4
    assert list(sampler) == RandomSampler(source, True, 100, seed=4).order(sampler.epoch - 1).indices(0, 100).tolist()
    source.clear()
    with pytest.raises(ArgumentError, match="data_source is empty"):
        list(sampler)
    with pytest.raises(ArgumentError, match=re.escape("seed must be from 0 to 2^64 - 1, got -1")):
        sampler.seed = -1


@pytest.mark.parametrize("replacement", [True, False])
def test_an_epoch_that_has_begun_stays_as_it_began(replacement: bool) -> None:
    source, chosen, weights = [0] * 8, [1, 2, 3], torch.ones(4).double()
    samplers: list[Any] = [
        SequentialSampler(source),
        RandomSampler(source, replacement, seed=0),
        SubsetRandomSampler(chosen, seed=0),
        WeightedRandomSampler(weights, 4, replacement, seed=0),
    ]
    orders = [sampler.order(0) for sampler in samplers]
    wanted = [order.indices(0, len(order)).tolist() for order in orders]
    begun = [iter(sampler) for sampler in samplers]
    started = [[next(order)] for order in begun]
    source.append(0)
    chosen[:] = [9]
    weights[:] = torch.tensor([1.0, 0, 0, 0])
    for sampler in samplers:
        sampler.seed = 9
    samplers[-1].num_samples = 1
    assert [order.indices(0, len(order)).tolist() for order in orders] == wanted
    assert [first + list(rest) for first, rest in zip(started, begun, strict=True)] == wanted
    assert all(list(sampler) != was for sampler, was in zip(samplers, wanted, strict=True))


def test_a_table_is_made_again_only_where_its_source_has_changed() -> None:
    made: list[Any] = []

    def make(source: Any) -> int:
        made.append(source)
        return len(made)

    for source in ([3, 1], np.array([3, 1]), torch.tensor([3, 1]), (3, 1), range(2)):
        made.clear()
        once = Made(make)
        assert [once.of(source) for _ in range(3)] == [1, 1, 1]
        if not isinstance(source, tuple | range):
            source[0] = 4
            assert once.of(source) == once.of(source) == 2


@all_samplers
@pytest.mark.parametrize("how", [copy.deepcopy, lambda sampler: pickle.loads(pickle.dumps(sampler))])
def test_a_copy_is_independent(make: Callable[[int], Any], how: Callable[[Any], Any]) -> None:
    sampler = make(5)
    list(sampler)
    other = how(sampler)
    assert list(copy.copy(sampler)) == list(how(sampler)) == list(sampler)
    before = sampler.order(1).indices(0, len(sampler)).tolist()
    other.seed, other.epoch = 8, 30
    if hasattr(other, "weights"):
        other.weights.zero_()
    assert sampler.order(1).indices(0, len(sampler)).tolist() == before
    assert sampler.epoch == 2


def test_a_copied_generator_goes_on() -> None:
    sampler = RandomSampler(range(50), generator=torch.Generator().manual_seed(4))
    for how in (copy.deepcopy, lambda sampler: pickle.loads(pickle.dumps(sampler))):
        first, second = how(sampler), how(sampler)
        assert list(first) == list(second)  # the seed not drawn yet
        assert list(how(first)) == list(second)  # and drawn


def test_a_length_of_ones_own_counts_as_in_torch() -> None:
    def halved(kind: Any) -> Any:
        class Half(kind):  # type: ignore[misc]
            def __len__(self) -> int:
                return 3

        return Half(range(6))

    for kinds in ((SequentialSampler, torch_data.SequentialSampler), (RandomSampler, torch_data.RandomSampler)):
        ours, theirs = map(halved, kinds)
        assert len(ours) == len(theirs) == 3
        assert sorted(ours) == sorted(theirs) == list(range(6))


# ---- without replacement, by weight ----


def test_no_sample_comes_twice_without_replacement() -> None:
    sampler = WeightedRandomSampler([0.0, 1.0, 2.0, 0.0, 1e-300, 5.0], 4, replacement=False, seed=1)
    epochs = [list(sampler) for _ in range(50)]
    assert all(sorted(epoch) == [1, 2, 4, 5] for epoch in epochs)
    assert all(epoch[-1] == 4 for epoch in epochs)  # hardly ever comes before the others
    assert len(set(map(tuple, epochs))) > 3


@pytest.mark.parametrize("weights", [[1, 2, 3], [5, 1, 1], [0.1, 0.0, 0.9, 0.5]], ids=repr)
def test_each_draw_without_replacement_is_in_proportion_to_what_is_left(weights: list[float]) -> None:
    """The chance of each ordered pair, as torch's multinomial has it."""
    rounds, counts, chances = 1500, Counter[tuple[int, ...]](), dict[tuple[int, ...], float]()
    total = sum(weights)
    for i, first in enumerate(weights):
        for k, second in enumerate(weights):
            if i != k and first and second:
                chances[i, k] = first / total * second / (total - first)
    sampler = WeightedRandomSampler(weights, 2, replacement=False, seed=3)
    for _ in range(rounds):
        counts[tuple(sampler)] += 1
    assert set(counts) <= set(chances)
    assert chi_square_is_sane([counts[pair] for pair in chances], list(chances.values()))


@pytest.mark.parametrize("weights", [np.ldexp(1.0, -np.arange(900)), np.ones(3000)])
def test_all_of_many_without_replacement(weights: Any) -> None:
    assert sorted(WeightedRandomSampler(weights, len(weights), False, seed=2)) == list(range(len(weights)))


def test_draws_without_replacement_are_the_first_of_the_draws_with_it() -> None:
    weights = [3, 1, 2, 8]
    distinct = list(dict.fromkeys(WeightedRandomSampler(weights, 64, seed=5)))
    assert list(WeightedRandomSampler(weights, 4, replacement=False, seed=5))[: len(distinct)] == distinct


# ---- errors ----


@pytest.mark.parametrize(
    ("make", "error", "text"),
    [
        (lambda: seed_or_new(-1), ArgumentError, "seed must be from 0 to 2^64 - 1, got -1"),
        (lambda: seed_or_new(2**64), ArgumentError, "seed must be from 0 to 2^64 - 1, got 18446744073709551616"),
        (lambda: seed_or_new(1.0), ArgumentTypeError, "seed must be an int or None, got 1.0"),  # type: ignore[arg-type]
        (lambda: seed_or_new(True), ArgumentTypeError, "seed must be an int or None, got True"),
        (lambda: RandomSampler(range(3), seed="1"), ArgumentTypeError, "seed must be an int or None, got '1'"),
        (lambda: WeightedRandomSampler([1], 1, 1), ArgumentTypeError, "replacement must be True or False, got 1"),
        (
            lambda: RandomSampler([]),
            ArgumentError,
            "num_samples must be at least 1, got 0: data_source is empty, and cannot be shuffled",
        ),
        (lambda: SubsetRandomSampler([2, -1]), ArgumentError, "indices must not be negative, got -1"),
        (lambda: RandomSampler(range(3), 1), ArgumentTypeError, "replacement must be True or False, got 1"),
        (lambda: RandomSampler(range(3), True, 0), ArgumentError, "num_samples must be at least 1, got 0"),
        (lambda: RandomSampler(range(3), True, -2), ArgumentError, "num_samples must be at least 1, got -2"),
        (lambda: RandomSampler(range(3), True, 2.0), ArgumentTypeError, "num_samples must be an int, got 2.0"),
        (lambda: RandomSampler(range(3), True, True), ArgumentTypeError, "num_samples must be an int, got True"),
        (lambda: WeightedRandomSampler([1], None), ArgumentTypeError, "num_samples must be an int, got None"),
        (
            lambda: WeightedRandomSampler([1.0, 0.0, 2.0], 3, False),
            ArgumentError,
            "num_samples must be at most 2, as many as have a weight greater than 0, without replacement; got 3",
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
