"""The draws: a function of their key alone, evenly spread, and torch's own where torch's are asked for."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, strategies as st

from gpuload.draws import WORDS_AHEAD, KeyedDraws, TorchDraws, keyed_draws
from gpuload.rng import philox

seeds = st.integers(0, 2**64 - 1)
epochs = st.integers(0, 2**32 - 1)
positions = st.integers(0, 2**40)


@given(seeds, epochs, positions)
def test_the_nth_number_is_word_n_of_the_counter(seed: int, epoch: int, position: int) -> None:
    draws = KeyedDraws(seed, epoch, position)
    expected = [int(word) for draw in range(6) for word in philox(seed, draw, position, epoch)]
    assert [draws.word() for _ in range(24)] == expected


@given(seeds, epochs, st.lists(positions, max_size=5))
def test_made_together_or_alone(seed: int, epoch: int, many: list[int]) -> None:
    """Also past the words that were made ahead."""
    together = keyed_draws(seed, epoch, many)
    assert len(together) == len(many)
    for draws, position in zip(together, many, strict=True):
        alone = KeyedDraws(seed, epoch, position)
        count = 2 * WORDS_AHEAD + 3
        assert [draws.word() for _ in range(count)] == [alone.word() for _ in range(count)]


def test_samples_share_nothing() -> None:
    first, second = keyed_draws(0, 0, range(2))
    before = KeyedDraws(0, 0, 1).word()
    for _ in range(3 * WORDS_AHEAD):
        first.word()
    assert second.word() == before


@given(seeds, st.floats(-1e6, 1e6), st.floats(0, 1e6))
def test_uniform_stays_in_range(seed: int, low: float, width: float) -> None:
    high = low + width
    draws = KeyedDraws(seed, 0, 0)
    for _ in range(8):
        value = draws.uniform(low, high)
        assert low <= value and (value < high or low == high)


@given(seeds, st.integers(1, 2**31))
def test_integer_stays_in_range(seed: int, bound: int) -> None:
    draws = KeyedDraws(seed, 0, 0)
    assert all(0 <= draws.integer(bound) < bound for _ in range(8))


class Extreme(KeyedDraws):
    """The smallest or the largest word, always."""

    def __init__(self, value: int) -> None:
        super().__init__(0, 0, 0)
        self.value = value

    def word(self) -> int:
        return self.value


def test_the_ends_of_the_ranges() -> None:
    least, most = Extreme(0), Extreme(2**32 - 1)
    assert least.uniform(2.0, 3.0) == 2.0 and most.uniform(2.0, 3.0) == 3.0 - 2.0**-24
    assert least.integer(7) == 0 and most.integer(7) == 6
    assert least.log_uniform(-1.0, 1.0) == math.exp(-1.0) and most.log_uniform(-1.0, 1.0) < math.e


def test_draws_are_even() -> None:
    """Bounds of five standard deviations."""
    count = 20_000
    draws = keyed_draws(3, 1, range(count))
    uniform = np.asarray([d.uniform(0, 1) for d in draws])
    integers = np.asarray([d.integer(10) for d in draws])
    logarithms = np.log([d.log_uniform(-1, 3) for d in draws])
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
    ]
    torch.manual_seed(seed)
    draws = TorchDraws()
    got = [
        draws.uniform(0.08, 1.0),
        draws.log_uniform(-0.28, 0.28),
        draws.integer(32),
        draws.uniform(0.0, 1.0),
        draws.integer(1),
    ]
    assert got == expected


def test_keyed_draws_leave_torchs_generator_alone() -> None:
    before = torch.get_rng_state()
    draws = KeyedDraws(0, 0, 0)
    draws.uniform(0, 1), draws.integer(5), draws.log_uniform(0, 1)
    assert torch.equal(before, torch.get_rng_state())
