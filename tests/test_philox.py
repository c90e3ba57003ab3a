"""Counter-based random numbers: published values, exact integer arithmetic, and the kernels, compiled for this CPU."""

import math

import numpy as np
import pytest
from hypothesis import example, given, settings, strategies as st
from numpy.typing import NDArray

from gpuload.philox import SAMPLER_DRAW, bounded, philox, splitmix64
from tests.cuda_on_cpu import cuda_on_cpu

M32, M64 = (1 << 32) - 1, (1 << 64) - 1
seeds = st.integers(0, M64)
epochs = st.integers(0, M32)
starts = st.one_of(st.integers(1, 300), st.integers(1, 1 << 40))


def philox_block(counter: tuple[int, int, int, int], key: tuple[int, int]) -> tuple[int, int, int, int]:
    for r in range(10):
        k0, k1 = ((k + r * step) % 2**32 for k, step in zip(key, (0x9E3779B9, 0xBB67AE85), strict=True))
        p, q = 0xD2511F53 * counter[0], 0xCD9E8D57 * counter[2]
        counter = ((q >> 32) ^ counter[1] ^ k0, q % 2**32, (p >> 32) ^ counter[3] ^ k1, p % 2**32)
    return counter


# ---- Philox ----


@pytest.mark.parametrize(
    ("counter", "key", "block"),
    [
        ("00000000 00000000 00000000 00000000", "00000000 00000000", "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
        ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff", "408f276d 41c83b0e a20bc7c6 6d5451fd"),
        ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0", "d16cfe09 94fdcceb 5001e420 24126ea1"),
    ],
)
def test_philox_known_answers(counter: str, key: str, block: str) -> None:
    """The vectors of Random123 (kat_vectors, philox4x32, 10 rounds)."""
    draw, low, high, epoch = (int(word, 16) for word in counter.split())
    k0, k1 = (int(word, 16) for word in key.split())
    words = philox(k0 | k1 << 32, draw, low | high << 32, epoch)
    assert " ".join(f"{int(word):08x}" for word in words) == block


@given(seeds, st.integers(0, M32), st.integers(0, M64), epochs)
def test_philox_equals_exact_integers(seed: int, draw: int, position: int, epoch: int) -> None:
    exact = philox_block((draw, position % 2**32, position >> 32, epoch), (seed % 2**32, seed >> 32))
    assert tuple(int(word) for word in philox(seed, draw, position, epoch)) == exact


def test_philox_broadcasts() -> None:
    together = philox(9, np.arange(3)[None, :], np.arange(5)[:, None], 2)
    for word in together:
        assert word.shape == (5, 3) and word.dtype == np.uint64
    for position in range(5):
        for draw in range(3):
            alone = philox(9, draw, position, 2)
            assert [int(w[position, draw]) for w in together] == [int(w) for w in alone]


def test_no_two_counters_share_a_number() -> None:
    """What ``seed + epoch`` would do."""
    blocks = [philox(seed, 0, np.arange(2000), epoch) for seed in range(8) for epoch in range(8)]
    words = np.concatenate([w0 | w1 << np.uint64(32) for w0, w1, _, _ in blocks])
    assert len(np.unique(words)) == len(words)


def test_flipping_any_bit_of_the_counter_or_key_changes_half_the_bits() -> None:
    def bits(seed: int, draw: int, position: int, epoch: int) -> int:
        return sum(int(w) << 32 * i for i, w in enumerate(philox(seed, draw, position, epoch)))

    start = (0x0123456789ABCDEF, 17, 0xFEDCBA9876543210, 3)
    for part, width in enumerate((64, 32, 64, 32)):
        for bit in range(width):
            flipped = list(start)
            flipped[part] ^= 1 << bit
            assert 36 <= (bits(*start) ^ bits(*flipped)).bit_count() <= 92


def test_splitmix64_known_answers() -> None:
    """Of Vigna's reference implementation, seed 1234567."""
    state, words = 1234567, []
    for _ in range(3):
        state, word = splitmix64(state)
        words.append(word)
    assert words == [6457827717110365317, 3203168211198807973, 9817491932198370423]


# ---- integers below a bound ----


def chi_square_is_sane(counts: NDArray[np.int64]) -> bool:
    """Within five standard deviations of its mean, on the high side; counts of cells that should be equal."""
    expected = counts.mean()
    freedom = counts.size - 1
    return float(((counts - expected) ** 2 / expected).sum()) < freedom + 5 * math.sqrt(2 * freedom)


@given(seeds, st.integers(0, M64), epochs, st.integers(1, (1 << 63) - 1))
@example(0, 0, 0, (1 << 63) - 1)
@example(0, 0, 0, 1)
@example(M64, M64, M32, 1 << 32)
def test_bounded_equals_the_128_bit_product(seed: int, position: int, epoch: int, bound: int) -> None:
    counter = (0x80000000, position % 2**32, position >> 32, epoch)
    w0, w1, _, _ = philox_block(counter, (seed % 2**32, seed >> 32))
    exact = (w0 | w1 << 32) * bound >> 64
    assert 0 <= exact < bound
    assert int(bounded(seed, np.asarray([position], np.uint64), epoch, bound)[0]) == exact


def test_bounded_is_even() -> None:
    for bound in (2, 10, 1000):
        assert chi_square_is_sane(np.bincount(bounded(1, np.arange(100_000), 0, bound), minlength=bound))


def test_the_samplers_draws_are_apart_from_the_transforms() -> None:
    assert SAMPLER_DRAW > 2**20  # more numbers than any sample's transforms ask for
    transforms = philox(0, np.arange(4096), 0, 0)[0]
    assert int(philox(0, SAMPLER_DRAW, 0, 0)[0]) not in transforms.tolist()


# ---- the order kernels that draw ----


@settings(max_examples=60)
@given(n=st.integers(1, (1 << 63) - 1), seed=seeds, epoch=epochs, count=st.integers(0, 700), start=starts)
def test_kernel_order_replaced(n: int, seed: int, epoch: int, count: int, start: int) -> None:
    out = np.full(count + 1, -1, np.int64)
    cuda_on_cpu().cuda_order_replaced(seed, epoch, n, start, count, out.ctypes.data)
    assert np.array_equal(out[:-1], bounded(seed, np.arange(start, start + count), epoch, n))
    assert out[-1] == -1


@settings(max_examples=60)
@given(
    weights=st.lists(st.integers(0, 1 << 40), min_size=1, max_size=200).filter(any),
    seed=seeds,
    epoch=epochs,
    count=st.integers(0, 700),
    start=starts,
)
def test_kernel_order_weighted(weights: list[int], seed: int, epoch: int, count: int, start: int) -> None:
    ends = np.cumsum(np.asarray(weights, np.int64))
    out = np.full(count + 1, -1, np.int64)
    cuda_on_cpu().cuda_order_weighted(seed, epoch, ends.ctypes.data, len(ends), start, count, out.ctypes.data)
    targets = bounded(seed, np.arange(start, start + count), epoch, int(ends[-1]))
    assert np.array_equal(out[:-1], np.searchsorted(ends, targets, side="right"))
    assert all(weights[i] > 0 for i in out[:-1])
    assert out[-1] == -1
