"""The keyed permutation and Philox: published values, exact integer arithmetic, laws, and the kernels' build."""

import ctypes
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings, strategies as st
from numpy.typing import NDArray

from gpuload import rng
from gpuload.compilers import host_library

M32, M64 = (1 << 32) - 1, (1 << 64) - 1
seeds = st.integers(0, M64)
epochs = st.integers(0, M32)
sizes = st.one_of(st.integers(1, 300), st.integers(1, 1 << 40))


# ---- the same functions, in Python's unbounded integers ----


def splitmix(state: int) -> tuple[int, int]:
    state = (state + 0x9E3779B97F4A7C15) % 2**64
    z = (state ^ state >> 30) * 0xBF58476D1CE4E5B9 % 2**64
    z = (z ^ z >> 27) * 0x94D049BB133111EB % 2**64
    return state, z ^ z >> 31


def hash32(x: int) -> int:
    x = (x ^ x >> 16) * 0x7FEB352D % 2**32
    x = (x ^ x >> 15) * 0x846CA68B % 2**32
    return x ^ x >> 16


class Permutation:
    """Of range(n), both ways."""

    def __init__(self, n: int, seed: int, epoch: int, stream: int) -> None:
        self.n = n
        self.a = math.isqrt(n - 1) + 1 if n > 1 else 1
        self.b = max(2, (n + self.a - 1) // self.a)
        self.b += self.b % 2
        state = 0
        for word in (seed, epoch, stream):
            state = splitmix(state ^ word)[1]
        self.keys = []
        for _ in range(16):
            state, z = splitmix(state)
            self.keys.append((z % 2**32, z >> 32))
        self.rotation = splitmix(state)[1] % n

    def amount(self, r: int, other: int) -> int:
        k0, k1 = self.keys[r]
        return hash32((hash32(other ^ k0) + k1) % 2**32) * (self.b if r % 2 else self.a) >> 32

    def round(self, x: int, rounds: Any, sign: int) -> int:
        left, right = divmod(x, self.b)
        for r in rounds:
            if r % 2:
                right = (right + sign * self.amount(r, left)) % self.b
            else:
                left = (left + sign * self.amount(r, right)) % self.a
        return left * self.b + right

    def index(self, position: int) -> int:
        y = self.round(position, range(16), 1)
        while y >= self.n:
            y = self.round(y, range(16), 1)
        return (y + self.rotation) % self.n

    def position(self, index: int) -> int:
        x = self.round((index - self.rotation) % self.n, range(15, -1, -1), -1)
        while x >= self.n:
            x = self.round(x, range(15, -1, -1), -1)
        return x


def philox_block(counter: tuple[int, int, int, int], key: tuple[int, int]) -> tuple[int, int, int, int]:
    for r in range(10):
        k0, k1 = ((k + r * step) % 2**32 for k, step in zip(key, (0x9E3779B9, 0xBB67AE85), strict=True))
        p, q = 0xD2511F53 * counter[0], 0xCD9E8D57 * counter[2]
        counter = ((q >> 32) ^ counter[1] ^ k0, q % 2**32, (p >> 32) ^ counter[3] ^ k1, p % 2**32)
    return counter


# ---- the permutation ----


@pytest.mark.parametrize(("epoch", "order"), [(0, [5, 0, 9, 3, 7, 2, 1, 8, 4, 6]), (1, [2, 1, 4, 0, 8, 6, 5, 3, 9, 7])])
def test_the_order_never_changes_between_versions(epoch: int, order: list[int]) -> None:
    assert rng.permute(np.arange(10), 10, seed=0, epoch=epoch).tolist() == order


@given(sizes, seeds, st.integers(0, M64), st.integers(0, 3), st.data())
@example(1, 0, 0, 0, None)
@example(2, M64, M64, 1, None)
@example(1 << 40, M64, 0, 0, None)
@example((1 << 40) - 1, 1, 7, 0, None)
@example((1 << 20) ** 2 - (1 << 20) + 1, 3, 0, 0, None)  # the sides of the network change here
def test_permute_equals_exact_integers_and_is_undone(n: int, seed: int, epoch: int, stream: int, data: Any) -> None:
    ends = {0, n - 1, n // 2}
    positions = sorted(ends | (data.draw(st.sets(st.integers(0, n - 1), max_size=8)) if data else set()))
    exact = Permutation(n, seed, epoch, stream)
    got = rng.permute(positions, n, seed, epoch, stream).tolist()
    assert got == [exact.index(p) for p in positions]
    assert [exact.position(i) for i in got] == positions


@pytest.mark.parametrize("n", [*range(1, 70), 255, 256, 257, 4095, 4097, 65535, 65536, 65537, 131_071])
def test_every_index_once(n: int) -> None:
    assert np.array_equal(np.sort(rng.permute(np.arange(n), n, seed=n, epoch=n % 5)), np.arange(n))


@pytest.mark.parametrize("n", [(1 << 40) - 1, 1 << 40, (1 << 39) + 12_345])
def test_no_index_twice_in_a_large_sample(n: int) -> None:
    positions = np.unique(np.random.default_rng(n).integers(0, n, 50_000))
    indices = rng.permute(positions, n, seed=5)
    assert indices.min() >= 0 and indices.max() < n
    assert len(np.unique(indices)) == len(positions)
    assert abs(indices.mean() / n - 0.5) < 5 / math.sqrt(12 * len(indices))


@pytest.mark.parametrize("shape", [(), (0,), (7,), (2, 3), (1, 0, 4)])
def test_shape_and_dtype(shape: tuple[int, ...]) -> None:
    positions = np.arange(math.prod(shape)).reshape(shape)
    indices = rng.permute(positions, 10, seed=1)
    assert indices.shape == shape and indices.dtype == np.int64
    assert indices.ravel().tolist() == [int(rng.permute(p, 10, seed=1)) for p in positions.ravel()]


def test_asking_leaves_the_positions_alone() -> None:
    positions = np.arange(1000)
    rng.permute(positions, 1000, seed=3)
    assert np.array_equal(positions, np.arange(1000))


def test_seed_epoch_and_stream_all_count() -> None:
    keys = [(s, e, t) for s in (0, 1, 2, 1 << 32, 1 << 63) for e in (0, 1, 2, 1 << 32) for t in (0, 1)]
    orders = {rng.permute(np.arange(60), 60, *key).tobytes() for key in keys}
    assert len(orders) == len(keys)


def chi_square_is_sane(counts: NDArray[np.int64]) -> bool:
    """Within five standard deviations of its mean, on the high side; counts of cells that should be equal."""
    expected = counts.mean()
    freedom = counts.size - 1
    return float(((counts - expected) ** 2 / expected).sum()) < freedom + 5 * math.sqrt(2 * freedom)


def test_all_orders_of_four_are_equally_likely() -> None:
    weights = 4 ** np.arange(4)
    codes = [int((rng.permute(np.arange(4), 4, seed) * weights).sum()) for seed in range(2400)]
    _, counts = np.unique(codes, return_counts=True)
    assert len(counts) == 24 and chi_square_is_sane(counts)


def test_every_index_is_equally_likely_everywhere() -> None:
    counts = np.zeros((9, 9), np.int64)
    for epoch in range(2000):
        counts[np.arange(9), rng.permute(np.arange(9), 9, seed=11, epoch=epoch)] += 1
    for position in counts:
        assert chi_square_is_sane(position)


def test_neighbours_are_not_correlated() -> None:
    n = 100_000
    order = rng.permute(np.arange(n), n, seed=2) / n - 0.5
    other = rng.permute(np.arange(n), n, seed=3) / n - 0.5
    for x, y in [(order[1:], order[:-1]), (order, other), (order, np.arange(n) / n - 0.5)]:
        assert abs(float((x * y).mean()) * 12) < 5 / math.sqrt(n)


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
    words = rng.philox(k0 | k1 << 32, draw, low | high << 32, epoch)
    assert " ".join(f"{int(word):08x}" for word in words) == block


@given(seeds, st.integers(0, M32), st.integers(0, M64), epochs)
def test_philox_equals_exact_integers(seed: int, draw: int, position: int, epoch: int) -> None:
    exact = philox_block((draw, position % 2**32, position >> 32, epoch), (seed % 2**32, seed >> 32))
    assert tuple(int(word) for word in rng.philox(seed, draw, position, epoch)) == exact


def test_philox_broadcasts() -> None:
    together = rng.philox(9, np.arange(3)[None, :], np.arange(5)[:, None], 2)
    for word in together:
        assert word.shape == (5, 3) and word.dtype == np.uint64
    for position in range(5):
        for draw in range(3):
            alone = rng.philox(9, draw, position, 2)
            assert [int(w[position, draw]) for w in together] == [int(w) for w in alone]


def test_no_two_counters_share_a_number() -> None:
    """What ``seed + epoch`` would do."""
    blocks = [rng.philox(seed, 0, np.arange(2000), epoch) for seed in range(8) for epoch in range(8)]
    words = np.concatenate([w0 | w1 << np.uint64(32) for w0, w1, _, _ in blocks])
    assert len(np.unique(words)) == len(words)


def test_flipping_any_bit_of_the_counter_or_key_changes_half_the_bits() -> None:
    def bits(seed: int, draw: int, position: int, epoch: int) -> int:
        return sum(int(w) << 32 * i for i, w in enumerate(rng.philox(seed, draw, position, epoch)))

    start = (0x0123456789ABCDEF, 17, 0xFEDCBA9876543210, 3)
    for part, width in enumerate((64, 32, 64, 32)):
        for bit in range(width):
            flipped = list(start)
            flipped[part] ^= 1 << bit
            assert 36 <= (bits(*start) ^ bits(*flipped)).bit_count() <= 92


# ---- integers below a bound ----


@given(seeds, st.integers(0, M64), epochs, st.integers(1, (1 << 63) - 1))
@example(0, 0, 0, (1 << 63) - 1)
@example(0, 0, 0, 1)
@example(M64, M64, M32, 1 << 32)
def test_bounded_equals_the_128_bit_product(seed: int, position: int, epoch: int, bound: int) -> None:
    counter = (0x80000000, position % 2**32, position >> 32, epoch)
    w0, w1, _, _ = philox_block(counter, (seed % 2**32, seed >> 32))
    exact = (w0 | w1 << 32) * bound >> 64
    assert 0 <= exact < bound
    assert int(rng.bounded(seed, np.asarray([position], np.uint64), epoch, bound)[0]) == exact


def test_bounded_is_even() -> None:
    for bound in (2, 10, 1000):
        assert chi_square_is_sane(np.bincount(rng.bounded(1, np.arange(100_000), 0, bound), minlength=bound))


def test_the_samplers_draws_are_apart_from_the_transforms() -> None:
    assert rng.SAMPLER_DRAW > 2**20  # more numbers than any sample's transforms ask for
    transforms = rng.philox(0, np.arange(4096), 0, 0)[0]
    assert int(rng.philox(0, rng.SAMPLER_DRAW, 0, 0)[0]) not in transforms.tolist()


# ---- the kernels, compiled for this CPU ----


@pytest.fixture(scope="module")
def library() -> ctypes.CDLL:
    built = host_library()
    if built is None:
        pytest.skip("no C++ compiler")
    return built


@settings(max_examples=60)
@given(n=sizes, seed=seeds, epoch=st.integers(0, M64), count=st.integers(0, 700), at=st.floats(0, 1))
@example(n=1, seed=0, epoch=0, count=1, at=0.0)
@example(n=1 << 40, seed=M64, epoch=M64, count=700, at=1.0)
def test_kernel_order_permuted(library: ctypes.CDLL, n: int, seed: int, epoch: int, count: int, at: float) -> None:
    count = min(count, n)
    start = int((n - count) * at)
    out = np.full(count + 1, -1, np.int64)
    key = rng.permutation_key(n, seed, epoch, 2)
    library.cuda_order_permuted(key.ctypes.data, start, count, out.ctypes.data)
    assert np.array_equal(out[:-1], rng.permute(np.arange(start, start + count), n, seed, epoch, 2))
    assert out[-1] == -1


@settings(max_examples=60)
@given(n=st.integers(1, (1 << 63) - 1), seed=seeds, epoch=epochs, count=st.integers(0, 700), start=sizes)
def test_kernel_order_replaced(library: ctypes.CDLL, n: int, seed: int, epoch: int, count: int, start: int) -> None:
    out = np.full(count + 1, -1, np.int64)
    library.cuda_order_replaced(seed, epoch, n, start, count, out.ctypes.data)
    assert np.array_equal(out[:-1], rng.bounded(seed, np.arange(start, start + count), epoch, n))
    assert out[-1] == -1


@settings(max_examples=60)
@given(
    weights=st.lists(st.integers(0, 1 << 40), min_size=1, max_size=200).filter(any),
    seed=seeds,
    epoch=epochs,
    count=st.integers(0, 700),
    start=sizes,
)
def test_kernel_order_weighted(
    library: ctypes.CDLL, weights: list[int], seed: int, epoch: int, count: int, start: int
) -> None:
    ends = np.cumsum(np.asarray(weights, np.int64))
    out = np.full(count + 1, -1, np.int64)
    library.cuda_order_weighted(seed, epoch, ends.ctypes.data, len(ends), start, count, out.ctypes.data)
    targets = rng.bounded(seed, np.arange(start, start + count), epoch, int(ends[-1]))
    assert np.array_equal(out[:-1], np.searchsorted(ends, targets, side="right"))
    assert all(weights[i] > 0 for i in out[:-1])
    assert out[-1] == -1
