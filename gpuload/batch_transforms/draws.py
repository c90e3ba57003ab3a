"""Where batch transforms get their numbers: by key in a loader, from torch's generator when they are called.

A batch has one sequence of numbers, and so have all ranks' parts of a global batch: the same one.
"""

import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, Protocol

import numpy as np
import torch

from gpuload.device import Device
from gpuload.randomness import call_seeded
from gpuload.recipes.draws import LEG_BLOCKS, call_seeds, words

__all__ = ["Draws", "KeyedDraws", "TorchDraws"]

LEG = 0xF000  # of the random numbers of an epoch: behind those of samples, samplers and stand-ins


class Draws(Protocol):
    """The random numbers of a batch, in the order in which its transforms ask for them."""

    def beta(self, alpha: float) -> float:
        """A number of the distribution Beta(alpha, alpha), from 0 to 1, with a float32's digits."""

    def below(self, bound: int) -> int:
        """An integer in [0, bound)."""

    def choice(self, p: Sequence[float]) -> int:
        """The index of one of these probabilities, which sum to 1."""

    def call(self, function: Callable[..., Any], *inputs: Any) -> Any:
        """Ordinary code, with random numbers of its own where they are by key."""


class TorchDraws:
    """Numbers from torch's default generator, call for call as torchvision's v2 transforms draw."""

    def beta(self, alpha: float) -> float:
        return float(_distribution(alpha).sample(()))

    def below(self, bound: int) -> int:
        return int(torch.randint(bound, size=(1,)))

    def choice(self, p: Sequence[float]) -> int:
        return int(torch.multinomial(torch.tensor(p), 1))

    def call(self, function: Callable[..., Any], *inputs: Any) -> Any:
        return function(*inputs)


@lru_cache(maxsize=8)
def _distribution(alpha: float) -> torch.distributions.Beta:
    return torch.distributions.Beta(torch.tensor([alpha]), torch.tensor([alpha]))


class KeyedDraws:
    """A pure function of (seed, epoch, number of the global batch): in doubles, with the C library's functions.

    Args:
        seed: 64 bits.
        epoch: 32 bits.
        number: of the batch in the epoch.
        rank, world_size: whose part of the batch it is. What ordinary code draws differs with it, and nothing else.
        device: where the batch is. The generator of it that ordinary code draws from, too, is seeded.
    """

    def __init__(self, seed: int, epoch: int, number: int, rank: int, world_size: int, device: Device) -> None:
        self._seed, self._epoch, self._device = seed, epoch, device
        self._number, self._part = np.array([number], np.uint64), number * world_size + rank
        self._words, self._blocks, self._calls = list[int](), LEG * LEG_BLOCKS, 0

    def beta(self, alpha: float) -> float:
        return float(np.float32(_johnk(alpha, self._inside) if alpha <= 1 else _cheng(alpha, self._inside)))

    def below(self, bound: int) -> int:
        return (self._next() * bound) >> 32

    def choice(self, p: Sequence[float]) -> int:
        at, passed = self._inside(), 0.0
        for index, one in enumerate(p):
            passed += one
            if at < passed:
                return index
        return max(index for index, one in enumerate(p) if one)  # the sum was rounded

    def call(self, function: Callable[..., Any], *inputs: Any) -> Any:
        (seed,) = call_seeds(self._seed, self._epoch, [self._part], LEG + self._calls)
        self._calls += 1
        with self._device.seeded(seed):
            return call_seeded(seed, function, *inputs)

    def _inside(self) -> float:
        """A number in (0, 1), both open: the middle of one of 2^32 parts."""
        return (self._next() + 0.5) * 2.0**-32

    def _next(self) -> int:
        """32 random bits."""
        if not self._words:
            self._words = words(self._seed, self._epoch, self._number, self._blocks)[0, ::-1].tolist()
            self._blocks += len(self._words) // 4
        return self._words.pop()


def _johnk(alpha: float, uniform: Callable[[], float]) -> float:
    """Beta(alpha, alpha) for alpha up to 1, by Jöhnk (1964); in logarithms, which small alphas need."""
    while True:
        x, y = math.log(uniform()) / alpha, math.log(uniform()) / alpha
        most = max(x, y)
        total = most + math.log(math.exp(x - most) + math.exp(y - most))
        if total <= 0:
            return math.exp(x - total)


def _cheng(alpha: float, uniform: Callable[[], float]) -> float:
    """Beta(alpha, alpha) for alpha above 1: the algorithm BB of Cheng (1978), without its shortcuts."""
    root = math.sqrt(alpha)
    while True:
        u, v = uniform(), uniform()
        odds = math.log(u / (1 - u)) / root
        w = alpha * math.exp(odds)
        bound = (alpha + root) * odds - math.log(4) + 2 * alpha * math.log(2 * alpha / (alpha + w))
        if bound >= math.log(u * u * v):
            return w / (alpha + w)
