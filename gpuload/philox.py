"""Counter-based random numbers, in numpy.

Every number is a pure function of (seed, epoch, position, draw): nothing is kept between calls, so any
position can be asked for at any time, on any worker, rank or device. ``kernels/random.cuh`` has the same
functions for CUDA; that both are bit-exact is tested in ``tests/test_philox.py``.

Philox4x32-10: Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["MASK32", "MASK64", "SAMPLER_DRAW", "STAND_IN_DRAW", "bounded", "philox", "splitmix64"]

MASK32 = 0xFFFFFFFF
MASK64 = (1 << 64) - 1
SAMPLER_DRAW = 0x80000000  # draws of the samplers; those of the transforms count from 0
STAND_IN_DRAW = 0xC0000000  # draws of the samples that stand in for others

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


def bounded(seed: int, positions: Any, epoch: int, bound: int, draw: int = SAMPLER_DRAW) -> NDArray[np.int64]:
    """One integer below ``bound`` for each position: the high half of a 64-bit word times the bound."""
    w0, w1, _, _ = philox(seed, draw, positions, epoch)
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
