"""What gpuload's samplers share: an order for each epoch, from what the sampler is when the epoch begins.

What stands at position p of epoch e depends on (seed, e, p) alone, and is bit-exact on every device.
"""

from collections.abc import Callable, Iterator
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from torch.utils.data import Sampler

from gpuload.arguments import epoch_number, seed_or_new
from gpuload.samplers.orders import EpochOrder

__all__ = ["CHUNK", "CounterSampler", "Made"]

CHUNK = 1 << 13  # indices made at a time: a millisecond's work, and what numpy makes of them stays in the cache

T = TypeVar("T")


class CounterSampler(Sampler[int]):
    """Base of gpuload's samplers.

    Args:
        seed: 64 bits; None: drawn from ``generator`` or, now, from torch's default one.
        generator: where the seed is drawn from if ``seed`` is None: when the first epoch begins, and again when
            one begins after another generator was put in its place, or after it was seeded otherwise.

    Attributes:
        seed: int, 64 bits; that of the next epoch, if it begins now. One that is set stays.
        generator: as given.
        epoch: the epoch that the next iteration yields.
    """

    def __init__(self, seed: int | None = 0, generator: torch.Generator | None = None) -> None:
        self.generator, self.epoch = generator, 0
        self._seed_is_given = seed is not None
        self._seed = 0 if seed is None and generator is not None else seed_or_new(seed)
        self._drawn_from: tuple[torch.Generator, int] | None = None

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch that the next iteration yields: from 0 to 2^32 - 1."""
        self.epoch = epoch_number(epoch)

    def __len__(self) -> int:
        raise NotImplementedError

    def order(self, epoch: int) -> EpochOrder:
        """The order of an epoch that begins now: what is changed later counts from the next one.

        Raises:
            ArgumentError, ArgumentTypeError: what was changed since the last one is not allowed.
        """
        raise NotImplementedError

    @property
    def seed(self) -> int:
        source = self._new_source()
        return self._seed if source is None else seed_or_new(None, source[0].clone_state())

    @seed.setter
    def seed(self, seed: int) -> None:
        self._seed, self._seed_is_given = seed_or_new(seed), True

    def settled_seed(self) -> int:
        """The seed of an epoch that begins: drawn, not only looked at, where it comes from a generator."""
        source = self._new_source()
        if source is not None:
            self._seed, self._drawn_from = seed_or_new(None, source[0]), source
        return self._seed

    def agree(self, agreed: Callable[[int], int]) -> None:
        """Unless a seed was given, have the one that ``agreed`` makes of this one, from now on."""
        if not self._seed_is_given:
            self.seed = agreed(self.seed)

    def _new_source(self) -> tuple[torch.Generator, int] | None:
        """The generator, and how it was seeded, where a seed is to be drawn from it."""
        if self._seed_is_given or self.generator is None:
            return None
        source = self.generator, self.generator.initial_seed()
        return source if source != self._drawn_from else None

    def describe(self) -> str:
        """What it yields, for explain."""
        return f"{type(self).__name__}: {len(self)} samples an epoch, from seed {self.seed} and the epoch alone"

    def __iter__(self) -> Iterator[int]:
        epoch, self.epoch = self.epoch, self.epoch + 1
        order = self.order(epoch)
        for start in range(0, len(order), CHUNK):
            yield from order.indices(start, min(start + CHUNK, len(order))).tolist()


class Made(Generic[T]):
    """What a function makes of something that its owner may change, in place too: made again where that differs.

    Args:
        make: a function of a module, so that it can be pickled.
    """

    def __init__(self, make: Callable[[Any], T]) -> None:
        self._make = make
        self._of: Any = None
        self._made: T

    def of(self, source: Any) -> T:
        """What is made of ``source`` as it is now."""
        if not _is_same(source, self._of):
            self._made, self._of = self._make(source), _kept(source)
        return self._made


def _kept(source: Any) -> Any:
    """Something that tells later whether a source was changed."""
    if isinstance(source, torch.Tensor):
        return source.detach().clone()
    if isinstance(source, np.ndarray):
        return np.array(source)
    return source.copy() if type(source) is list else source


def _is_same(source: Any, kept: Any) -> bool:
    if type(source) in (tuple, range):
        return source is kept
    if isinstance(source, torch.Tensor) and isinstance(kept, torch.Tensor):
        alike = source.dtype == kept.dtype and source.device == kept.device and source.shape == kept.shape
        return alike and torch.equal(source, kept)
    if isinstance(source, np.ndarray) and isinstance(kept, np.ndarray):
        return source.dtype == kept.dtype and np.array_equal(source, kept)
    return type(source) is type(kept) is list and source == kept
