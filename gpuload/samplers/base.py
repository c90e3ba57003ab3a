"""What gpuload's samplers share: an order for each epoch, from what the sampler is when the epoch begins.

What stands at position p of epoch e depends on (seed, e, p) alone, and is bit-exact on every device.
"""

from collections.abc import Callable, Iterator
from itertools import chain
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from torch.utils.data import Sampler

from gpuload.arguments import epoch_number, seed_or_new
from gpuload.errors import ArgumentError
from gpuload.samplers.orders import EpochOrder
from gpuload.samplers.position import Progress, Yielded
from gpuload.saved import integer, read

__all__ = ["CHUNK", "CounterSampler", "Indices", "Made"]

CHUNK = 1 << 13  # indices made at a time: a millisecond's work, and what numpy makes of them stays in the cache

VERSION = 1  # of a state
FIELDS = {"seed": integer(64), "epoch": integer(32), "position": integer(63), "samples": integer(63)}

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
        is_chosen: it was, by ``set_epoch``, since one was begun.
    """

    is_chosen = False
    _progress: Progress | None = None  # of the epoch that was begun last
    _resumed: tuple[int, int] | None = None  # an epoch, and the position that it is to begin at

    def __init__(self, seed: int | None = 0, generator: torch.Generator | None = None) -> None:
        self.generator, self.epoch = generator, 0
        self._seed_is_given = seed is not None
        self._seed = 0 if seed is None and generator is not None else seed_or_new(seed)
        self._drawn_from: tuple[torch.Generator, int] | None = None

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch that the next iteration yields: from 0 to 2^32 - 1."""
        self.epoch, self.is_chosen = epoch_number(epoch), True

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
        return Indices.of(self)

    # ---- where it is ----

    def state_dict(self) -> dict[str, int]:
        """Where it is: plain JSON, for `load_state_dict`. Indices count that its iterator has yielded.

        In gpuload's `DataLoader` those of the batches that were delivered do, of all ranks.
        """
        last = self._progress
        if last is not None and not last.is_over and self.epoch == last.epoch + 1:
            return self.state_at(last.epoch, last.position)
        return self.state_at(self.epoch, self.resumed_at(self.epoch) or 0)

    def state_at(self, epoch: int, position: int) -> dict[str, int]:
        """The state at a position of an epoch; beyond the end, as where a last batch is not full, it is at the end."""
        samples = len(self)
        position = min(position, samples)
        return {"version": VERSION, "seed": self.seed, "epoch": epoch, "position": position, "samples": samples}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on where another sampler was, or this one: the next iteration yields the rest of its epoch.

        It costs the same at any position. The seed becomes the state's.

        Raises:
            ArgumentError: it is no state, or one of a sampler of another length.
        """
        state = read(state_dict, type(self).__name__, VERSION, FIELDS)
        if state["samples"] != len(self):
            raise ArgumentError(
                f"state is of a sampler with {state['samples']} samples in an epoch, but this one has {len(self)}"
            )
        if state["position"] > len(self):
            raise ArgumentError(f"state is damaged: position is {state['position']}, of {len(self)} samples")
        self.seed = state["seed"]
        self.begin_at(state["epoch"], state["position"])

    def begin_at(self, epoch: int, position: int | None) -> None:
        """Choose the epoch that the next iteration yields, and, unless None, the position that it begins at."""
        self.epoch, self._progress = epoch, None
        self._resumed = None if position is None else (epoch, position)

    def resumed_at(self, epoch: int) -> int | None:
        """The position that an epoch begins at if it begins now; None: no state was loaded that says it."""
        resumed = self._resumed
        return resumed[1] if resumed is not None and resumed[0] == epoch else None

    def begin(self) -> tuple[int, int]:
        """The number of the epoch that begins, and the position that it begins at; the next one is the one after it."""
        epoch, self.epoch, self.is_chosen = self.epoch, self.epoch + 1, False
        return epoch, self.resumed_at(epoch) or 0

    def follow(self, progress: Progress) -> None:
        """From now on, this is how far the epoch that was begun last has come."""
        self._progress, self._resumed, self.is_chosen = progress, None, False

    def is_led(self, epoch: int) -> bool:
        """Whether an epoch of which nothing was asked for has somebody to count it: a loader that iterates."""
        last = self._progress
        return last is not None and (last.epoch, last.position) == (epoch, 0)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_progress": None}  # copies do not go on; what was loaded stays


class Indices(chain[int]):
    """The indices of a sampler's next epoch, which begins with the first ``next``: at C's speed, and with a state.

    torchdata's loader asks iterators for it. Unlike a sampler's, that of one that has ended is still of its epoch.
    """

    _sampler: CounterSampler
    _yielded: Yielded

    @classmethod
    def of(cls, sampler: CounterSampler) -> "Indices":
        """Those of a sampler."""
        yielded = Yielded()
        made: Any = cls.from_iterable(_chunks(sampler, yielded))
        made._sampler, made._yielded = sampler, yielded
        return made  # type: ignore[no-any-return]

    def state_dict(self) -> dict[str, int]:
        """As of the sampler."""
        yielded = self._yielded
        if not yielded.has_begun:
            return self._sampler.state_dict()
        return self._sampler.state_at(yielded.epoch, yielded.position)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on there, as of the sampler, which is to yield the next epoch then.

        Raises:
            ArgumentError: it has begun, or as of the sampler.
        """
        if self._yielded.has_begun:
            raise ArgumentError("state must be loaded before the first index is asked for: into a new iterator")
        self._sampler.load_state_dict(state_dict)
        _begin(self._sampler, self._yielded)


def _begin(sampler: CounterSampler, yielded: Yielded) -> None:
    epoch, start = sampler.begin()
    yielded.begin(epoch, start)
    if not sampler.is_led(epoch):
        sampler.follow(yielded)


def _chunks(sampler: CounterSampler, yielded: Yielded) -> Iterator[Iterator[int]]:
    if not yielded.has_begun:
        _begin(sampler, yielded)
    order = sampler.order(yielded.epoch)
    while yielded.end < len(order):
        stop = min(yielded.end + CHUNK, len(order))
        yield yielded.through(order.indices(yielded.end, stop).tolist())
    yielded.is_over = True


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
