"""The keyed permutation: exact integer arithmetic, laws, published orders, and the kernel, compiled for this CPU.

How random the orders are, is tested in test_shuffle_quality.py.
"""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings, strategies as st

from gpuload.samplers.permutation import permutation_key, permute
from tests.cuda_on_cpu import cuda_on_cpu

M64 = (1 << 64) - 1
seeds = st.integers(0, M64)
sizes = st.one_of(st.integers(1, 300), st.integers(1, 1 << 40))


# ---- the same function, in Python's unbounded integers ----


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


# ---- laws ----


@pytest.mark.parametrize(("epoch", "order"), [(0, [5, 0, 9, 3, 7, 2, 1, 8, 4, 6]), (1, [2, 1, 4, 0, 8, 6, 5, 3, 9, 7])])
def test_the_order_never_changes_between_versions(epoch: int, order: list[int]) -> None:
    assert permute(np.arange(10), 10, seed=0, epoch=epoch).tolist() == order


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
    got = permute(positions, n, seed, epoch, stream).tolist()
    assert got == [exact.index(p) for p in positions]
    assert [exact.position(i) for i in got] == positions


@pytest.mark.parametrize("n", [*range(1, 70), 255, 256, 257, 4095, 4097, 65535, 65536, 65537, 131_071])
def test_every_index_once(n: int) -> None:
    assert np.array_equal(np.sort(permute(np.arange(n), n, seed=n, epoch=n % 5)), np.arange(n))


@pytest.mark.parametrize("n", [(1 << 40) - 1, 1 << 40, (1 << 39) + 12_345])
def test_no_index_twice_in_a_large_sample(n: int) -> None:
    positions = np.unique(np.random.default_rng(n).integers(0, n, 50_000))
    indices = permute(positions, n, seed=5)
    assert indices.min() >= 0 and indices.max() < n
    assert len(np.unique(indices)) == len(positions)
    assert abs(indices.mean() / n - 0.5) < 5 / math.sqrt(12 * len(indices))


@pytest.mark.parametrize("shape", [(), (0,), (7,), (2, 3), (1, 0, 4)])
def test_shape_and_dtype(shape: tuple[int, ...]) -> None:
    positions = np.arange(math.prod(shape)).reshape(shape)
    indices = permute(positions, 10, seed=1)
    assert indices.shape == shape and indices.dtype == np.int64
    assert indices.ravel().tolist() == [int(permute(p, 10, seed=1)) for p in positions.ravel()]


def test_asking_leaves_the_positions_alone() -> None:
    positions = np.arange(1000)
    permute(positions, 1000, seed=3)
    assert np.array_equal(positions, np.arange(1000))


def test_seed_epoch_and_stream_all_count() -> None:
    keys = [(s, e, t) for s in (0, 1, 2, 1 << 32, 1 << 63) for e in (0, 1, 2, 1 << 32) for t in (0, 1)]
    orders = {permute(np.arange(60), 60, *key).tobytes() for key in keys}
    assert len(orders) == len(keys)


# ---- the kernel ----


@settings(max_examples=60)
@given(n=sizes, seed=seeds, epoch=st.integers(0, M64), count=st.integers(0, 700), at=st.floats(0, 1))
@example(n=1, seed=0, epoch=0, count=1, at=0.0)
@example(n=1 << 40, seed=M64, epoch=M64, count=700, at=1.0)
def test_kernel_order_permuted(n: int, seed: int, epoch: int, count: int, at: float) -> None:
    count = min(count, n)
    start = int((n - count) * at)
    out = np.full(count + 1, -1, np.int64)
    key = permutation_key(n, seed, epoch, 2)
    cuda_on_cpu().cuda_order_permuted(key.ctypes.data, start, count, out.ctypes.data)
    assert np.array_equal(out[:-1], permute(np.arange(start, start + count), n, seed, epoch, 2))
    assert out[-1] == -1
