"""Samples as often as weights say: any distribution, over samples or over classes."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from gpuload.arguments import at_least, seed_or_new
from gpuload.device import device_of
from gpuload.errors import ArgumentError
from gpuload.philox import bounded
from gpuload.samplers.base import CounterSampler, Table, launch_order

__all__ = ["ClassBalancedSampler", "ClassDistributionSampler", "WeightedRandomSampler"]


class WeightedRandomSampler(CounterSampler):
    """Draws with replacement, sample i in proportion to ``weights[i]``: any distribution of your own.

    The weights become integers, exactly as they are times a power of two and rounded, and a draw is a search
    in their sums: no result depends on the order of a floating-point sum.

    Args:
        weights: one number >= 0 for each sample, not all 0.
        num_samples: positions of an epoch.
        replacement: must be True; without replacement use ``torch.utils.data.WeightedRandomSampler``.
        generator: where the seed is drawn from if ``seed`` is None.
        seed: 64 bits; None: drawn once, now.
    """

    def __init__(
        self,
        weights: ArrayLike | torch.Tensor,
        num_samples: int,
        replacement: bool = True,
        generator: torch.Generator | None = None,
        *,
        seed: int | None = None,
    ) -> None:
        super().__init__(seed_or_new(seed, generator))
        if replacement is not True:
            raise ArgumentError(
                f"replacement must be True, got {replacement!r}: for draws without replacement pass a "
                "torch.utils.data.WeightedRandomSampler as sampler"
            )
        listed = weights.double().numpy(force=True) if isinstance(weights, torch.Tensor) else weights
        self.weights = torch.from_numpy(np.array(listed, np.float64))
        self.num_samples = at_least("num_samples", num_samples, 1)
        self.replacement = replacement
        self._ends = Table(torch.from_numpy(_integer_sums(self.weights.numpy())))

    def __len__(self) -> int:
        return self.num_samples

    @property
    def bound(self) -> int:
        return len(self.weights)

    def indices(self, start: int, stop: int, epoch: int, device: torch.device | str = "cpu") -> torch.Tensor:
        place = device_of(device)
        if place.launches:
            table = self._ends.on(place)
            ends, n = np.uintp(table.data_ptr()), np.int64(len(table))
            seed, at = np.uint64(self.seed), np.int64(start)
            return launch_order("order_weighted", place, stop - start, seed, np.uint32(epoch), ends, n, at)
        ends_here = self._ends.host.numpy()
        targets = bounded(self.seed, np.arange(start, stop), epoch, int(ends_here[-1]))
        return torch.from_numpy(np.searchsorted(ends_here, targets, side="right"))


def _check_shares(name: str, shares: NDArray[np.float64]) -> None:
    bad = shares[~(np.isfinite(shares) & (shares >= 0))]
    if len(bad) or not (shares > 0).any():
        what = f"got {bad[0]}" if len(bad) else "all are 0"
        raise ArgumentError(f"{name} must be finite, none negative and not all 0: {what}")


def _integer_sums(weights: NDArray[np.float64]) -> NDArray[np.int64]:
    if weights.ndim != 1 or not len(weights):
        raise ArgumentError(f"weights must be one number for each sample, got shape {weights.shape}")
    _check_shares("weights", weights)
    exponent = int(np.frexp(weights.max())[1])
    bits = 62 - len(weights).bit_length()
    return np.cumsum(np.rint(np.ldexp(weights, bits - exponent)).astype(np.int64))


def _class_counts(targets: Any) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    array = np.asarray(targets)
    if array.ndim != 1 or not len(array) or not np.issubdtype(array.dtype, np.integer) or array.min() < 0:
        raise ArgumentError(
            "targets must be one class index >= 0 for each sample, for example dataset.targets; "
            f"got {array.dtype} of shape {array.shape}"
        )
    return array.astype(np.int64), np.bincount(array)


class ClassDistributionSampler(WeightedRandomSampler):
    """Draws with replacement so that the classes follow a distribution of yours; evenly within a class.

    Args:
        targets: class index of each sample, for example ``dataset.targets``.
        distribution: share of each class, as a sequence (position = class index) or a mapping from class index;
            shares need not sum to 1, classes left out of a mapping get none.
        num_samples: positions of an epoch; None: as many as samples.
        generator: where the seed is drawn from if ``seed`` is None.
        seed: 64 bits; None: drawn once, now.
    """

    def __init__(
        self,
        targets: ArrayLike,
        distribution: Sequence[float] | Mapping[int, float],
        num_samples: int | None = None,
        generator: torch.Generator | None = None,
        *,
        seed: int | None = None,
    ) -> None:
        classes, counts = _class_counts(targets)
        shares = _shares(distribution, len(counts))
        _check_shares("distribution", shares)
        for index in np.flatnonzero((shares > 0) & (counts == 0)):
            raise ArgumentError(f"distribution gives class {index} a share of {shares[index]}, but it has no samples")
        weights = (shares / np.maximum(counts, 1))[classes]
        super().__init__(weights, len(classes) if num_samples is None else num_samples, True, generator, seed=seed)


def _shares(distribution: Sequence[float] | Mapping[int, float], classes: int) -> NDArray[np.float64]:
    if isinstance(distribution, Mapping):
        unknown = [c for c in distribution if not (isinstance(c, int | np.integer) and 0 <= c < classes)]
        if unknown:
            raise ArgumentError(f"distribution names class {unknown[0]!r}; the classes are 0 to {classes - 1}")
        return np.asarray([distribution.get(c, 0.0) for c in range(classes)], np.float64)
    if len(distribution) != classes:
        raise ArgumentError(f"distribution must have one share for each of {classes} classes, got {len(distribution)}")
    return np.asarray(distribution, np.float64)


class ClassBalancedSampler(ClassDistributionSampler):
    """Draws with replacement so that every class is as likely as any other.

    Args:
        targets: class index of each sample, for example ``dataset.targets``.
        num_samples: positions of an epoch; None: as many as samples.
        generator: where the seed is drawn from if ``seed`` is None.
        seed: 64 bits; None: drawn once, now.
    """

    def __init__(
        self,
        targets: ArrayLike,
        num_samples: int | None = None,
        generator: torch.Generator | None = None,
        *,
        seed: int | None = None,
    ) -> None:
        present = (_class_counts(targets)[1] > 0).astype(np.float64)
        super().__init__(targets, present.tolist(), num_samples, generator, seed=seed)
