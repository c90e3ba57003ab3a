"""Where a random transform gets its numbers: by key in the loader, from torch's generator in ``dataset[i]``."""

import math
from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch

from gpuload.rng import philox

__all__ = ["Draws", "KeyedDraws", "TorchDraws", "keyed_draws"]


class Draws(Protocol):
    """The random numbers of one sample, in the order in which its transforms ask for them."""

    def uniform(self, low: float, high: float) -> float:
        """A number in [low, high)."""

    def log_uniform(self, low: float, high: float) -> float:
        """exp of a number in [low, high)."""

    def integer(self, bound: int) -> int:
        """An integer in [0, bound)."""


class TorchDraws:
    """From torch's default generator, call for call as torchvision's v2 transforms draw.

    With the same ``torch.manual_seed``, ``dataset[i]`` therefore draws what torchvision's dataset would.
    """

    def uniform(self, low: float, high: float) -> float:
        return torch.empty(1).uniform_(low, high).item()

    def log_uniform(self, low: float, high: float) -> float:
        return torch.exp(torch.empty(1).uniform_(low, high)).item()

    def integer(self, bound: int) -> int:
        return int(torch.randint(0, bound, size=()))


WORDS_AHEAD = 16  # words made for a whole batch at once; samples that need more make their own


class KeyedDraws:
    """A pure function of (seed, epoch, position): the n-th number asked for is Philox word n of that counter."""

    __slots__ = ("epoch", "position", "seed", "used", "words")

    def __init__(self, seed: int, epoch: int, position: int, words: list[int] | None = None) -> None:
        self.seed, self.epoch, self.position = seed, epoch, position
        self.words = words if words is not None else []
        self.used = 0

    def word(self) -> int:
        if self.used == len(self.words):
            block = philox(self.seed, len(self.words) // 4, self.position, self.epoch)
            self.words.extend(int(word) for word in block)
        self.used += 1
        return self.words[self.used - 1]

    def uniform(self, low: float, high: float) -> float:
        value = low + (high - low) * ((self.word() >> 8) * 2.0**-24)
        return value if value < high else low  # where rounding reached the end

    def log_uniform(self, low: float, high: float) -> float:
        return math.exp(self.uniform(low, high))

    def integer(self, bound: int) -> int:
        return (self.word() * bound) >> 32


def keyed_draws(seed: int, epoch: int, positions: Sequence[int]) -> list[KeyedDraws]:
    """The draws of several positions, made together."""
    blocks = np.arange(WORDS_AHEAD // 4)[None, :]
    words = np.stack(philox(seed, blocks, np.asarray(positions, np.uint64)[:, None], epoch), axis=-1)
    rows = words.reshape(len(positions), WORDS_AHEAD).tolist()
    return [KeyedDraws(seed, epoch, p, row) for p, row in zip(positions, rows, strict=True)]
