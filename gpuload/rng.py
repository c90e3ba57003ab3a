"""Counter-based random numbers and the keyed permutation, in numpy.

Every number is a pure function of (seed, epoch, position, draw): nothing is kept between calls, so any
position can be asked for at any time, on any worker, rank or device. ``kernels/random.cuh`` holds the same
functions for CUDA; a test holds the two together, bit for bit.

Philox4x32-10: Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011.
The permutation: a generalised Feistel network with cycle-walking (Black and Rogaway, CT-RSA 2002).
"""

import math
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["SAMPLER_DRAW", "bounded", "permutation_key", "permute", "philox"]

MASK32 = 0xFFFFFFFF
MASK64 = (1 << 64) - 1
ROUNDS = 16
SAMPLER_DRAW = 0x80000000  # draws of the samplers; those of the transforms count from 0

Words = NDArray[np.uint64]


def philox(seed: int, draws: Any, positions: Any, epoch: int) -> tuple[Words, Words, Words, Words]:
    """Four random 32-bit words at each counter.

    Args:
        seed: the key, 64 bits.
        draws: which draw of the sample, below 2^32; scalar or array.
        positions: position in the epoch, below 2^64; broadcast against ``draws``.
        epoch: below 2^32.

    Returns:
        Four uint64 arrays of the broadcast shape, each word in the low 32 bits.
    """
    mask, shift = np.uint64(MASK32), np.uint64(32)
    position = np.asarray(positions).astype(np.uint64)
    draw = np.asarray(draws).astype(np.uint64)
    c0, c1, c2, c3 = np.broadcast_arrays(draw, position & mask, position >> shift, np.uint64(epoch & MASK32))
    k0, k1 = seed & MASK32, (seed >> 32) & MASK32
    for _ in range(10):
        p, q = np.uint64(0xD2511F53) * c0, np.uint64(0xCD9E8D57) * c2
        c0, c1 = (q >> shift) ^ c1 ^ np.uint64(k0), q & mask
        c2, c3 = (p >> shift) ^ c3 ^ np.uint64(k1), p & mask
        k0, k1 = (k0 + 0x9E3779B9) & MASK32, (k1 + 0xBB67AE85) & MASK32
    return c0, c1, c2, c3


def bounded(seed: int, positions: Any, epoch: int, bound: int) -> NDArray[np.int64]:
    """One integer below ``bound`` for each position: the high half of a 64-bit word times the bound."""
    w0, w1, _, _ = philox(seed, SAMPLER_DRAW, positions, epoch)
    mask, shift = np.uint64(MASK32), np.uint64(32)
    high, low = np.uint64(bound >> 32), np.uint64(bound & MASK32)
    u = w1 * low + ((w0 * low) >> shift)
    v = w0 * high + (u & mask)
    drawn: NDArray[np.int64] = (w1 * high + (u >> shift) + (v >> shift)).astype(np.int64)
    return drawn


def splitmix64(state: int) -> tuple[int, int]:
    """One step of SplitMix64: the next state and its output."""
    state = (state + 0x9E3779B97F4A7C15) & MASK64
    z = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & MASK64
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK64
    return state, z ^ (z >> 31)


PERMUTATION = np.dtype([("n", "<i8"), ("a", "<i8"), ("b", "<i8"), ("rotation", "<i8"), ("keys", "<u4", (ROUNDS, 2))])


@lru_cache(maxsize=64)
def permutation_key(n: int, seed: int, epoch: int, stream: int = 0) -> NDArray[np.void]:
    """What the permutation of ``range(n)`` depends on, as the record that the CUDA kernel takes by value."""
    a = math.isqrt(n - 1) + 1 if n > 1 else 1
    b = max(-(-n // a), 2)
    b += b & 1  # an even side, so that odd permutations can be reached
    state = 0
    for word in (seed, epoch, stream):
        state = splitmix64(state ^ (word & MASK64))[1]
    key = np.zeros((), PERMUTATION)
    for r in range(ROUNDS):
        state, z = splitmix64(state)
        key["keys"][r] = z & MASK32, z >> 32
    rotation = splitmix64(state)[1] % n
    key["n"], key["a"], key["b"], key["rotation"] = n, a, b, rotation
    return key


def _mix(x: NDArray[np.int64]) -> NDArray[np.int64]:
    x = x ^ (x >> 16)
    x = (x * 0x7FEB352D) & MASK32
    x = x ^ (x >> 15)
    x = (x * 0x846CA68B) & MASK32
    return x ^ (x >> 16)


def _feistel(x: NDArray[np.int64], key: NDArray[np.void]) -> NDArray[np.int64]:
    a, b = int(key["a"]), int(key["b"])
    left = x // b
    right = x - left * b
    for r, (k0, k1) in enumerate(key["keys"].astype(np.int64)):
        if r % 2 == 0:
            moved = left + ((_mix((_mix(right ^ k0) + k1) & MASK32) * a) >> 32)
            left = moved - a * (moved >= a)
        else:
            moved = right + ((_mix((_mix(left ^ k0) + k1) & MASK32) * b) >> 32)
            right = moved - b * (moved >= b)
    mixed: NDArray[np.int64] = left * b + right
    return mixed


def permute(positions: Any, n: int, seed: int, epoch: int = 0, stream: int = 0) -> NDArray[np.int64]:
    """The sample index at each position of an epoch: a permutation of ``range(n)``, n up to 2^40.

    Args:
        positions: integers in [0, n), any shape.
        n: size of the dataset.
        seed, epoch: which permutation; 64 bits each.
        stream: a further key, for several permutations in one epoch.

    Returns:
        int64 indices in [0, n), of the shape of ``positions``.
    """
    key = permutation_key(n, seed, epoch, stream)
    x = np.asarray(positions, np.int64)
    with np.errstate(over="ignore"):  # only low bits of the products are used
        y = _feistel(x.ravel(), key)
        outside = np.flatnonzero(y >= n)
        while outside.size:
            y[outside] = _feistel(y[outside], key)
            outside = outside[y[outside] >= n]
    y += int(key["rotation"])
    return np.where(y >= n, y - n, y).reshape(x.shape)
