"""The draws: a function of their counter alone, evenly spread, and torch's own where torch's are asked for."""

import math
import random
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, strategies as st
from numpy.typing import NDArray

from gpuload.libraries import host_library
from gpuload.philox import philox
from gpuload.recipes import draws as module
from gpuload.recipes.draws import BLOCKS_AHEAD, CounterDraws, Draws, TorchDraws

seeds = st.integers(0, 2**64 - 1)
epochs = st.integers(0, 2**32 - 1)
positions = st.integers(0, 2**40)

WORD = 2**32  # an integer below it is the word itself
ONE = np.array([0])


def words(draws: Draws, count: int, row: int = 0) -> list[int]:
    """The next words of one sample."""
    return [int(draws.integer(WORD, np.array([row]))[0]) for _ in range(count)]


# ---- what the numbers are ----


@given(seeds, epochs, positions)
def test_the_nth_number_is_word_n_of_the_counter(seed: int, epoch: int, position: int) -> None:
    count = 4 * BLOCKS_AHEAD + 8  # past those that are made at once
    expected = [int(word) for block in range(count // 4) for word in philox(seed, block, position, epoch)]
    assert words(CounterDraws(seed, epoch, [position]), count) == expected


# (seed, epoch, position): uniform(0.08, 1), log_uniform(-+0.2876821), integer(32), uniform(-5, 2.5), integer(2^31),
# integer(1), log_uniform(-1, 3), as version 0.1.0 drew them
GOLDEN = {
    (0, 0, 0): (
        0.4471227073669434, 1.2447537015929042, 23, -0.4588864743709564, 2087872082, 0, 5.9045512824420845,
    ),
    (7, 3, 1): (
        0.9299116206169128, 1.0933718718115832, 23, 0.2476489543914795, 448858334, 0, 6.430640916236615,
    ),
    (2**64 - 1, 2**32 - 1, 2**40): (
        0.7291502118110657, 0.8235950505619132, 3, -4.67207670211792, 556025697, 0, 6.8680640372768496,
    ),
    (12345678901234567890, 1, 999999): (
        0.48823165178298955, 1.0465474497836824, 16, -4.640674740076065, 1960581645, 0, 11.822201966310292,
    ),
}  # fmt: skip


def test_permutations_never_change() -> None:
    draws = CounterDraws(7, 3, [1, 2, 3])
    assert draws.permutation(4, np.array([0, 2])).tolist() == [[3, 2, 0, 1], [3, 2, 1, 0]]
    assert words(draws, 1, 1) == words(CounterDraws(7, 3, [2]), 1)  # it was not asked


@given(seeds, st.integers(0, 9))
def test_permutations_are_permutations(seed: int, count: int) -> None:
    together = CounterDraws(seed, 0, range(6)).permutation(count, np.arange(6))
    assert together.shape == (6, count) and (np.sort(together) == np.arange(count)).all()
    for i, one in enumerate(together.tolist()):
        assert CounterDraws(seed, 0, [i]).permutation(count, ONE).tolist() == [one]
    torchs = TorchDraws().permutation(count, np.arange(2))
    assert torchs.shape == (2, count) and (np.sort(torchs) == np.arange(count)).all()


@pytest.mark.parametrize(("counter", "expected"), GOLDEN.items(), ids=str)
def test_they_never_change(counter: tuple[int, int, int], expected: tuple[float, ...]) -> None:
    seed, epoch, position = counter
    draws = CounterDraws(seed, epoch, [position])
    got = (
        draws.uniform(0.08, 1.0, ONE),
        draws.log_uniform(-0.2876821, 0.2876821, ONE),
        draws.integer(32, ONE),
        draws.uniform(-5, 2.5, ONE),
        draws.integer(2**31, ONE),
        draws.integer(1, ONE),
        draws.log_uniform(-1, 3, ONE),
    )
    assert tuple(value.item() for value in got) == expected


@given(seeds, epochs, st.lists(positions, max_size=9))
def test_numpy_and_native_code_make_the_same_words(seed: int, epoch: int, many: list[int]) -> None:
    if host_library() is None:
        pytest.skip("no C++ compiler")
    counters = np.array(many, np.uint64)
    for first in (0, BLOCKS_AHEAD, 1000):
        native = module.words(seed, epoch, counters, first)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(module, "host_library", lambda: None)
            in_numpy = module.words(seed, epoch, counters, first)
        assert native.shape == in_numpy.shape == (len(many), 4 * BLOCKS_AHEAD)
        assert native.dtype == in_numpy.dtype == np.uint32
        assert np.array_equal(native, in_numpy)


# ---- many samples at a time ----


def ask(draws: Draws, kind: str, bounds: NDArray[np.int64], rows: NDArray[np.intp]) -> list[Any]:
    if kind == "integer":
        return draws.integer(bounds[rows], rows).tolist()
    if kind == "integer of one bound":
        return draws.integer(77, rows).tolist()
    drawn = draws.uniform(-3.0, 8.5, rows) if kind == "uniform" else draws.log_uniform(-0.3, 0.4, rows)
    return drawn.tolist()


@pytest.mark.parametrize("seed", range(20))
def test_many_samples_are_many_times_one(seed: int) -> None:
    """Whichever of them are asked, in any order, and past the words that were made at once."""
    rng = random.Random(seed)
    n, epoch = rng.randint(1, 20), rng.getrandbits(32)
    counters = [rng.getrandbits(40) for _ in range(n)]
    bounds = np.array([rng.randint(1, 2**31) for _ in range(n)])
    together = CounterDraws(seed, epoch, counters)
    alone = [CounterDraws(seed, epoch, [position]) for position in counters]
    for _ in range(4 * BLOCKS_AHEAD * 3):
        rows = np.array(rng.sample(range(n), rng.randint(0, n)), np.intp)
        kind = rng.choice(("integer", "integer of one bound", "uniform", "log_uniform"))
        expected = [ask(alone[row], kind, bounds[row : row + 1], ONE)[0] for row in rows]
        assert ask(together, kind, bounds, rows) == expected


def test_samples_share_nothing() -> None:
    draws = CounterDraws(0, 0, range(2))
    words(draws, 12 * BLOCKS_AHEAD, row=0)
    assert words(draws, 5, row=1) == words(CounterDraws(0, 0, [1]), 5)


def test_no_samples() -> None:
    nobody = np.zeros(0, np.intp)
    for draws in (CounterDraws(0, 0, []), CounterDraws(0, 0, range(3)), TorchDraws()):
        assert draws.uniform(0, 1, nobody).shape == (0,) and draws.uniform(0, 1, nobody).dtype == np.float64
        assert draws.log_uniform(0, 1, nobody).shape == (0,)
        assert draws.permutation(4, nobody).shape == (0, 4)
        assert draws.integer(5, nobody).shape == (0,) and draws.integer(5, nobody).dtype == np.int64


# ---- their range ----


@given(seeds, st.floats(-1e6, 1e6), st.floats(0, 1e6))
def test_uniform_stays_in_range(seed: int, low: float, width: float) -> None:
    high = low + width
    values = CounterDraws(seed, 0, range(8)).uniform(low, high, np.arange(8))
    assert ((low <= values) & ((values < high) | (low == high))).all()


@given(seeds, st.integers(1, 2**31))
def test_integer_stays_in_range(seed: int, bound: int) -> None:
    values = CounterDraws(seed, 0, range(8)).integer(bound, np.arange(8))
    assert ((values >= 0) & (values < bound)).all()


def always(word: int, monkeypatch: pytest.MonkeyPatch) -> CounterDraws:
    """Draws whose every word is this one."""
    monkeypatch.setattr(module, "words", lambda *_: np.full((1, 4 * BLOCKS_AHEAD), word, np.uint32))
    draws = CounterDraws(0, 0, [0])
    assert words(draws, 1) == [word]  # made now
    return draws


def test_the_ends_of_the_ranges(monkeypatch: pytest.MonkeyPatch) -> None:
    least, most = always(0, monkeypatch), always(2**32 - 1, monkeypatch)
    assert least.uniform(2.0, 3.0, ONE) == 2.0 and most.uniform(2.0, 3.0, ONE) == 3.0 - 2.0**-24
    assert least.integer(7, ONE) == 0 and most.integer(7, ONE) == 6
    assert least.log_uniform(-1.0, 1.0, ONE) == math.exp(-1.0) and most.log_uniform(-1.0, 1.0, ONE) < math.e


def test_a_range_that_rounding_would_leave(monkeypatch: pytest.MonkeyPatch) -> None:
    low, high = 1e6, np.nextafter(1e6, 2e6)  # there is nothing between them
    most = always(2**32 - 1, monkeypatch)
    assert most.uniform(low, float(high), ONE) == low


def test_draws_are_even() -> None:
    """Bounds of five standard deviations."""
    count = 20_000
    draws, everyone = CounterDraws(3, 1, range(count)), np.arange(count)
    uniform = draws.uniform(0, 1, everyone)
    integers = draws.integer(10, everyone)
    logarithms = np.log(draws.log_uniform(-1, 3, everyone))
    assert abs(uniform.mean() - 0.5) < 5 / math.sqrt(12 * count)
    assert abs(logarithms.mean() - 1) < 5 * 4 / math.sqrt(12 * count)
    assert (abs(np.bincount(integers, minlength=10) - count / 10) < 5 * math.sqrt(count * 0.09)).all()
    assert abs(np.corrcoef(uniform, integers)[0, 1]) < 5 / math.sqrt(count)


# ---- torch's generator, call for call as torchvision's v2 transforms ----


@pytest.mark.parametrize("seed", range(5))
def test_torchs_numbers_in_torchvisions_order(seed: int) -> None:
    torch.manual_seed(seed)
    expected = [
        torch.empty(1).uniform_(0.08, 1.0).item(),  # RandomResizedCrop
        torch.exp(torch.empty(1).uniform_(-0.28, 0.28)).item(),
        int(torch.randint(0, 31 + 1, size=(1,)).item()),
        torch.rand(1).item(),  # RandomHorizontalFlip
        int(torch.randint(0, 1, size=())),
        int(torch.randint(0, 9, size=())),
    ]
    state = torch.get_rng_state()
    torch.manual_seed(seed)
    draws = TorchDraws()
    got = [
        draws.uniform(0.08, 1.0, ONE),
        draws.log_uniform(-0.28, 0.28, ONE),
        draws.integer(32, ONE),
        draws.uniform(0.0, 1.0, ONE),
        draws.integer(1, ONE),
        draws.integer(np.array([9]), ONE),
    ]
    assert [value.item() for value in got] == expected
    assert torch.equal(torch.get_rng_state(), state)


def test_counter_based_draws_leave_torchs_generator_alone() -> None:
    before = torch.get_rng_state()
    draws = CounterDraws(0, 0, [0])
    draws.uniform(0, 1, ONE), draws.integer(5, ONE), draws.log_uniform(0, 1, ONE)
    assert torch.equal(before, torch.get_rng_state())
