"""Every sample as often as any other: in order, permuted, or drawn with replacement."""

from collections.abc import Sequence, Sized

import numpy as np
import torch
from numpy.typing import ArrayLike

from gpuload.arguments import at_least, seed_or_new
from gpuload.device import Device, device_of
from gpuload.errors import ArgumentError, ArgumentTypeError
from gpuload.philox import bounded
from gpuload.samplers.base import CounterSampler, Table, launch_order
from gpuload.samplers.permutation import permutation_key, permute

__all__ = ["RandomSampler", "SequentialSampler", "SubsetRandomSampler"]


def _permuted(start: int, stop: int, n: int, seed: int, epoch: int, stream: int, device: Device) -> torch.Tensor:
    if device.launches:
        key = permutation_key(n, seed, epoch, stream)
        return launch_order("order_permuted", device, stop - start, key, np.int64(start))
    return torch.from_numpy(permute(np.arange(start, stop), n, seed, epoch, stream))


class SequentialSampler(CounterSampler):
    """0, 1, 2, ... as ``torch.utils.data.SequentialSampler``.

    Args:
        data_source: anything with a length.
    """

    def __init__(self, data_source: Sized) -> None:
        super().__init__()
        self.data_source = data_source

    def __len__(self) -> int:
        return len(self.data_source)

    @property
    def bound(self) -> int:
        return len(self.data_source)

    def indices(self, start: int, stop: int, epoch: int, device: torch.device | str = "cpu") -> torch.Tensor:
        return torch.arange(start, stop, device=device)

    def describe(self) -> str:
        return f"SequentialSampler: {len(self)} samples an epoch"


class RandomSampler(CounterSampler):
    """Every sample once, in the epoch's permutation; or uniform draws with replacement.

    Args:
        data_source: anything with a length.
        replacement: draw with replacement.
        num_samples: positions of an epoch; None: as many as samples. More than that, without replacement,
            starts another permutation.
        generator: where the seed is drawn from if ``seed`` is None.
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
        super().__init__(seed_or_new(seed, generator))
        if not isinstance(replacement, bool):
            raise ArgumentTypeError(f"replacement must be True or False, got {replacement!r}")
        self.data_source, self.replacement = data_source, replacement
        self._num_samples = None if num_samples is None else at_least("num_samples", num_samples, 1)

    @property
    def num_samples(self) -> int:
        """Positions of an epoch."""
        return len(self.data_source) if self._num_samples is None else self._num_samples

    def __len__(self) -> int:
        return self.num_samples

    @property
    def bound(self) -> int:
        return len(self.data_source)

    def indices(self, start: int, stop: int, epoch: int, device: torch.device | str = "cpu") -> torch.Tensor:
        n, place = len(self.data_source), device_of(device)
        if self.replacement:
            return self._with_replacement(start, stop, n, epoch, place)
        parts = []
        for turn in range(start // n, -(-stop // n)):
            first, last = max(start - turn * n, 0), min(stop - turn * n, n)
            parts.append(_permuted(first, last, n, self.seed, epoch, turn, place))
        return parts[0] if len(parts) == 1 else torch.cat(parts or [torch.empty(0, dtype=torch.int64, device=device)])

    def _with_replacement(self, start: int, stop: int, n: int, epoch: int, device: Device) -> torch.Tensor:
        if device.launches:
            seed, bound = np.uint64(self.seed), np.uint64(n)
            return launch_order("order_replaced", device, stop - start, seed, np.uint32(epoch), bound, np.int64(start))
        return torch.from_numpy(bounded(self.seed, np.arange(start, stop), epoch, n))


class SubsetRandomSampler(CounterSampler):
    """The given indices, each once, in the epoch's permutation.

    Args:
        indices: integers, any sequence, array or tensor.
        generator: where the seed is drawn from if ``seed`` is None.
        seed: 64 bits; None: drawn once, now.
    """

    def __init__(
        self,
        indices: Sequence[int] | ArrayLike | torch.Tensor,
        generator: torch.Generator | None = None,
        *,
        seed: int | None = None,
    ) -> None:
        super().__init__(seed_or_new(seed, generator))
        listed = indices.numpy(force=True) if isinstance(indices, torch.Tensor) else indices
        chosen = np.array(listed)  # a copy, which nobody else changes
        if chosen.ndim != 1 or not (np.issubdtype(chosen.dtype, np.integer) or not len(chosen)):
            raise ArgumentTypeError(
                f"indices must be a sequence of integers, got {chosen.dtype} of shape {chosen.shape}"
            )
        if len(chosen) and chosen.min() < 0:
            raise ArgumentError(f"indices must not be negative, got {chosen.min()}")
        self._indices = Table(torch.from_numpy(chosen.astype(np.int64)))
        self._bound = int(chosen.max()) + 1 if len(chosen) else 0

    def __len__(self) -> int:
        return len(self._indices.host)

    @property
    def bound(self) -> int:
        return self._bound

    def indices(self, start: int, stop: int, epoch: int, device: torch.device | str = "cpu") -> torch.Tensor:
        place = device_of(device)
        table = self._indices.on(place)
        if stop <= start:
            return table[:0]
        return table[_permuted(start, stop, len(self), self.seed, epoch, 0, place)]
