"""The keyed permutation: the order of an epoch, at any position, in closed form.

A generalized Feistel network with cycle-walking (Black and Rogaway, CT-RSA 2002). ``kernels/random.cuh`` has the
same function for CUDA.
"""

import math
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpuload.philox import MASK32, MASK64, splitmix64

__all__ = ["permutation_key", "permute"]

Word32s = NDArray[np.uint32]

ROUNDS = 16
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


def _mix(x: Word32s) -> Word32s:
    """A hash; sums and products are modulo 2^32. Changes its argument."""
    x ^= x >> 16
    x *= 0x7FEB352D
    x ^= x >> 15
    x *= 0x846CA68B
    x ^= x >> 16
    return x


def _moved(half: Word32s, other: Word32s, side: int, keys: Word32s) -> Word32s:
    """Half of a number, moved around a ring of ``side`` places as the other half says."""
    word = _mix(other ^ keys[0])
    word += keys[1]
    moved = half + ((_mix(word).astype(np.uint64) * np.uint64(side)) >> 32).astype(np.uint32)
    wrapped: Word32s = np.minimum(moved, moved - np.uint32(side))  # a difference below 0 is a large number
    return wrapped


def _feistel(x: NDArray[np.int64], key: NDArray[np.void]) -> NDArray[np.int64]:
    a, b = int(key["a"]), int(key["b"])  # at most 2^20 and 2^20 + 2: halves fit in 32 bits
    quotient = x // b
    left, right = quotient.astype(np.uint32), (x - quotient * b).astype(np.uint32)
    for r in range(0, ROUNDS, 2):
        left = _moved(left, right, a, key["keys"][r])
        right = _moved(right, left, b, key["keys"][r + 1])
    mixed: NDArray[np.int64] = left.astype(np.int64) * b + right
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
    y = _feistel(x.ravel(), key)
    outside = np.flatnonzero(y >= n)
    while outside.size:
        y[outside] = _feistel(y[outside], key)
        outside = outside[y[outside] >= n]
    y += int(key["rotation"])
    return np.where(y >= n, y - n, y).reshape(x.shape)
