"""Every sample as often as any other: in order, permuted, or drawn with replacement."""

from collections.abc import Sequence, Sized
from typing import Any

import numpy as np
import torch
from torch.utils.data import (
    RandomSampler as TorchRandomSampler,
    SequentialSampler as TorchSequentialSampler,
    SubsetRandomSampler as TorchSubsetRandomSampler,
)

from gpuload.arguments import at_least
from gpuload.errors import ArgumentError, ArgumentTypeError
from gpuload.samplers.base import CounterSampler, Made
from gpuload.samplers.orders import Drawn, EpochOrder, InOrder, Permuted, Picked, Table

__all__ = ["RandomSampler", "SequentialSampler", "SubsetRandomSampler"]


class SequentialSampler(CounterSampler, TorchSequentialSampler):
    """0, 1, 2, ... as ``torch.utils.data.SequentialSampler``.

    Args:
        data_source: anything with a length.
    """

    def __init__(self, data_source: Sized) -> None:
        super().__init__()
        self.data_source = data_source

    def __len__(self) -> int:
        return len(self.data_source)

    def order(self, epoch: int) -> EpochOrder:
        return InOrder(len(self.data_source))

    def describe(self) -> str:
        return f"{type(self).__name__}: {len(self)} samples an epoch"


class RandomSampler(CounterSampler, TorchRandomSampler):
    """Every sample once, in the epoch's permutation; or uniform draws with replacement.

    Args:
        data_source: anything with a length, not empty.
        replacement: draw with replacement.
        num_samples: positions of an epoch; None: as many as samples. More than that, without replacement,
            starts another permutation.
        generator: where the seed is drawn from if ``seed`` is None; see `CounterSampler`.
        seed: 64 bits; None: drawn once, now.
    """

    def __init__(
        self,
        data_source: Sized,
        replacement: bool = False,
        num_samples: int | None = None,
        generator: torch.Generator | None = None,
        *,
        seed: int | None = None,
    ) -> None:
        CounterSampler.__init__(self, seed, generator)
        self.data_source, self.replacement = data_source, replacement
        self._num_samples = None if num_samples is None else at_least("num_samples", num_samples, 1)
        self._check()

    def _check(self) -> None:
        if not isinstance(self.replacement, bool):
            raise ArgumentTypeError(f"replacement must be True or False, got {self.replacement!r}")
        if self._num_samples is not None:
            at_least("num_samples", self._num_samples, 1)
        if not len(self.data_source):
            raise ArgumentError("num_samples must be at least 1, got 0: data_source is empty, and cannot be shuffled")

    def __len__(self) -> int:
        return self.num_samples

    def order(self, epoch: int) -> EpochOrder:
        self._check()
        order = Drawn if self.replacement else Permuted
        return order(len(self.data_source), int(self.num_samples), self.settled_seed(), epoch)


class SubsetRandomSampler(CounterSampler, TorchSubsetRandomSampler):
    """The given indices, each once, in the epoch's permutation.

    Args:
        indices: integers, none negative: any sequence, array or tensor.
        generator: where the seed is drawn from if ``seed`` is None; see `CounterSampler`.
        seed: 64 bits; None: drawn once, now.
    """

    def __init__(
        self,
        indices: Sequence[int],
        generator: torch.Generator | None = None,
        *,
        seed: int | None = None,
    ) -> None:
        CounterSampler.__init__(self, seed, generator)
        self.indices = indices
        self._table = Made(_table_of)
        self._table.of(indices)

    def __len__(self) -> int:
        return len(self.indices)

    def order(self, epoch: int) -> EpochOrder:
        table = self._table.of(self.indices)
        count = len(table.host)
        return Picked(table, Permuted(count, count, self.settled_seed(), epoch))


def _table_of(indices: Any) -> Table:
    chosen = np.array(indices.numpy(force=True) if isinstance(indices, torch.Tensor) else indices)
    if chosen.ndim != 1 or not (np.issubdtype(chosen.dtype, np.integer) or not len(chosen)):
        raise ArgumentTypeError(f"indices must be a sequence of integers, got {chosen.dtype} of shape {chosen.shape}")
    if len(chosen) and chosen.min() < 0:
        raise ArgumentError(f"indices must not be negative, got {chosen.min()}")
    return Table(torch.from_numpy(chosen.astype(np.int64)))
