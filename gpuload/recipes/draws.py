"""Where random transforms get their numbers: counter-based in the loader, from torch's generator in ``dataset[i]``.

Every call is for some samples of a batch, ``rows``, and gives one number for each of them: each sample has a
sequence of its own, and is asked for the next number only where its transforms need one.
"""

import math
import random
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from gpuload.libraries import host_library
from gpuload.philox import philox

__all__ = [
    "LEG_BLOCKS",
    "CounterDraws",
    "Draws",
    "Floats",
    "Integers",
    "PythonDraws",
    "Rows",
    "TorchDraws",
    "call_seeds",
    "words",
]

Rows = NDArray[np.intp]
Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


class Draws(Protocol):
    """The random numbers of n samples, each sample's in the order in which its transforms ask for them."""

    def uniform(self, low: float, high: float, rows: Rows) -> Floats:
        """A number in [low, high) for each of ``rows``."""

    def log_uniform(self, low: float, high: float, rows: Rows) -> Floats:
        """exp of a number in [low, high) for each of ``rows``."""

    def normal(self, rows: Rows) -> Floats:
        """A number of the standard normal distribution for each of ``rows``."""

    def integer(self, bound: Any, rows: Rows) -> Integers:
        """An integer in [0, bound) for each of ``rows``; bound: an int, or int64 of one for each."""

    def permutation(self, count: int, rows: Rows) -> Integers:
        """A permutation of 0, ..., count - 1 for each of ``rows``: (len(rows), count)."""

    def choice(self, weights: Sequence[float], rows: Rows) -> Integers:
        """One of 0, ..., len(weights) - 1 for each of ``rows``, as probable as these weights say."""

    def of_python(self) -> "Draws":
        """Draws for what draws with Python's ``random``, as timm and some of torchvision's v1."""

    def noise(self, shapes: Sequence[tuple[int, ...]], dtype: torch.dtype, rows: Rows) -> NDArray[Any]:
        """Standard normal numbers for each of ``rows``: what `gpuload.recipes.erase.Erase` takes for noise.

        Args:
            shapes: (channels, height, width) of each.
            dtype: floats.
        """

    def dirichlet(self, alpha: float, count: int, rows: Rows) -> Floats:
        """Shares of one, from Dirichlet's distribution of so many equal ``alpha``: (len(rows), count)."""


class TorchDraws:
    """One sample's numbers from torch's default generator, call for call as torchvision's v2 transforms draw.

    With the same ``torch.manual_seed``, ``dataset[i]`` therefore draws what torchvision's dataset would.
    """

    def uniform(self, low: float, high: float, rows: Rows) -> Floats:
        return np.array([torch.empty(1).uniform_(low, high).item() for _ in rows])

    def log_uniform(self, low: float, high: float, rows: Rows) -> Floats:
        return np.array([torch.exp(torch.empty(1).uniform_(low, high)).item() for _ in rows])

    def normal(self, rows: Rows) -> Floats:
        return np.array([torch.randn(1).item() for _ in rows])

    def integer(self, bound: Any, rows: Rows) -> Integers:
        bounds = np.broadcast_to(bound, len(rows)).tolist()
        return np.array([int(torch.randint(0, b, size=())) for b in bounds], np.int64)

    def permutation(self, count: int, rows: Rows) -> Integers:
        return np.array([torch.randperm(count).tolist() for _ in rows], np.int64).reshape(len(rows), count)

    def choice(self, weights: Sequence[float], rows: Rows) -> Integers:
        return np.array([int(torch.multinomial(torch.tensor(weights), 1)) for _ in rows], np.int64)

    def of_python(self) -> Draws:
        return PythonDraws()

    def noise(self, shapes: Sequence[tuple[int, ...]], dtype: torch.dtype, rows: Rows) -> NDArray[Any]:
        made = np.empty(len(rows), object)
        for at, shape in enumerate(shapes):
            made[at] = torch.empty(shape, dtype=dtype).normal_()
        return made

    def dirichlet(self, alpha: float, count: int, rows: Rows) -> Floats:
        alphas = torch.tensor([alpha] * count).expand(1, -1)
        return np.array([torch._sample_dirichlet(alphas)[0].tolist() for _ in rows]).reshape(len(rows), count)


class PythonDraws(TorchDraws):
    """One sample's numbers from Python's ``random``, call for call as timm draws them; noise is torch's."""

    def uniform(self, low: float, high: float, rows: Rows) -> Floats:
        return np.array([random.uniform(low, high) for _ in rows])

    def log_uniform(self, low: float, high: float, rows: Rows) -> Floats:
        return np.array([math.exp(random.uniform(low, high)) for _ in rows])

    def normal(self, rows: Rows) -> Floats:
        return np.array([random.gauss(0.0, 1.0) for _ in rows])

    def integer(self, bound: Any, rows: Rows) -> Integers:
        return np.array([random.randrange(b) for b in np.broadcast_to(bound, len(rows)).tolist()], np.int64)

    def permutation(self, count: int, rows: Rows) -> Integers:
        orders = [list(range(count)) for _ in rows]
        for order in orders:
            random.shuffle(order)
        return np.array(orders, np.int64).reshape(len(rows), count)


BLOCKS_AHEAD = 4  # blocks of four words made at once for all samples; few samples need more
LEG_BLOCKS = 1 << 16  # each leg of a program has so many blocks of its own; the last one seeds its ordinary code


def call_seeds(seed: int, epoch: int, positions: Any, leg: int) -> list[int]:
    """64-bit seeds of the ordinary code that a leg of a program ends with, one for each of n positions."""
    low, high, _, _ = philox(seed, leg * LEG_BLOCKS + LEG_BLOCKS - 1, np.asarray(positions), epoch)
    seeds: list[int] = (low | (high << np.uint64(32))).tolist()
    return seeds


def words(seed: int, epoch: int, positions: NDArray[np.uint64], first: int) -> NDArray[np.uint32]:
    """Blocks first to first + BLOCKS_AHEAD of each position's words: (n, 4 * BLOCKS_AHEAD)."""
    library = host_library()
    if library is None:
        blocks = np.arange(first, first + BLOCKS_AHEAD)
        stacked = np.stack(philox(seed, blocks[None, :], positions[:, None], epoch), axis=-1)
        return stacked.reshape(len(positions), 4 * BLOCKS_AHEAD).astype(np.uint32)
    made = np.empty((len(positions), 4 * BLOCKS_AHEAD), np.uint32)
    addresses = positions.ctypes.data, made.ctypes.data
    library.gpuload_philox(seed, epoch, addresses[0], len(positions), first, BLOCKS_AHEAD, addresses[1])
    return made


class CounterDraws:
    """A pure function of (seed, epoch, position): a sample's k-th number is Philox word k of its counter.

    Args:
        seed: 64 bits.
        epoch: 32 bits.
        positions: in the epoch, one for each of n samples: (n,) integers.
        leg: of the program that draws.
    """

    def __init__(self, seed: int, epoch: int, positions: Any, leg: int = 0) -> None:
        self._seed, self._epoch, self._first = seed, epoch, leg * LEG_BLOCKS
        self._positions = np.ascontiguousarray(positions, np.uint64)
        self._used = np.zeros(len(self._positions), np.int64)
        self._words = np.empty((len(self._positions), 0), np.uint32)

    def _next(self, rows: Rows) -> NDArray[np.uint32]:
        at = self._used[rows]
        if len(at) and int(at.max()) >= self._words.shape[1]:
            first = self._first + self._words.shape[1] // 4
            more = words(self._seed, self._epoch, self._positions, first)
            self._words = np.concatenate([self._words, more], axis=1)
        self._used[rows] = at + 1
        return self._words[rows, at]

    def uniform(self, low: float, high: float, rows: Rows) -> Floats:
        values = low + (high - low) * ((self._next(rows) >> 8).astype(np.float64) * 2.0**-24)
        if low + (high - low) * (1 - 2.0**-24) < high:
            return values
        return np.where(values < high, values, low)  # rounding may reach the end

    def log_uniform(self, low: float, high: float, rows: Rows) -> Floats:
        # the C library's exp: numpy's differs between processors, in the last bit
        return np.array(list(map(math.exp, self.uniform(low, high, rows).tolist())))

    def normal(self, rows: Rows) -> Floats:
        """By Box and Muller, of two numbers."""
        far, around = (self.uniform(0.0, 1.0, rows).tolist() for _ in range(2))
        made = (math.sqrt(-2 * math.log(1 - u)) * math.cos(2 * math.pi * v) for u, v in zip(far, around, strict=True))
        return np.fromiter(made, float, len(rows))

    def integer(self, bound: Any, rows: Rows) -> Integers:
        bounds = np.asarray(bound).astype(np.uint64)
        return ((self._next(rows).astype(np.uint64) * bounds) >> np.uint64(32)).astype(np.int64)

    def choice(self, weights: Sequence[float], rows: Rows) -> Integers:
        sums, last = np.cumsum(weights), int(np.flatnonzero(weights)[-1])
        chosen = np.searchsorted(sums, self.uniform(0.0, 1.0, rows) * sums[-1], side="right")
        made: Integers = np.minimum(chosen, last).astype(np.int64)  # rounding may reach the sum
        return made

    def of_python(self) -> Draws:
        return self

    def noise(self, shapes: Sequence[tuple[int, ...]], dtype: torch.dtype, rows: Rows) -> NDArray[Any]:
        low, high = (self._next(rows).astype(np.uint64) for _ in range(2))
        return low | high << np.uint64(32)

    def permutation(self, count: int, rows: Rows) -> Integers:
        """By Fisher and Yates: each place from the first on changes with one from there on."""
        order, each = np.tile(np.arange(count), (len(rows), 1)), np.arange(len(rows))
        for place in range(count - 1):
            other = place + self.integer(count - place, rows)
            order[:, place], order[each, other] = order[each, other], order[:, place].copy()
        return order

    def dirichlet(self, alpha: float, count: int, rows: Rows) -> Floats:
        drawn = np.stack([np.maximum(self._gamma(alpha, rows), LEAST) for _ in range(count)])
        shares: Floats = drawn / drawn.cumsum(0)[-1]  # one after the other: numpy's sums differ
        return shares.T

    def _gamma(self, alpha: float, rows: Rows) -> Floats:
        """By Marsaglia and Tsang (2000), with the C library's functions, as above."""
        if alpha == 1.0:
            return np.array([-math.log(1.0 - share) for share in self.uniform(0.0, 1.0, rows).tolist()])
        if alpha < 1.0:
            shares = (1.0 - self.uniform(0.0, 1.0, rows)).tolist()
            less: Floats = np.array([math.pow(share, 1.0 / alpha) for share in shares])
            return less * self._gamma(alpha + 1.0, rows)
        made, waiting, d = np.zeros(len(rows)), np.arange(len(rows)), alpha - 1.0 / 3.0
        while len(waiting):
            shares = [self.uniform(0.0, 1.0, rows[waiting]).tolist() for _ in range(3)]
            found = np.array([_accepted(d, *each) for each in zip(*shares, strict=True)])
            made[waiting] = found
            waiting = waiting[found < 0]
        return made


LEAST = 2.0**-1000  # that sums of what is drawn are above 0


def _accepted(d: float, first: float, second: float, third: float) -> float:
    """What becomes of three numbers in [0, 1); negative: they are refused."""
    normal = math.sqrt(-2.0 * math.log(1.0 - first)) * math.cos(2.0 * math.pi * second)  # by Box and Muller
    root = 1.0 + normal / math.sqrt(9.0 * d)
    if root <= 0:
        return -1.0
    cube = root * root * root
    is_accepted = math.log(1.0 - third) < 0.5 * normal * normal + d * (1.0 - cube + math.log(cube))
    return d * cube if is_accepted else -1.0
