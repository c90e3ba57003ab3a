"""Samples as often as weights say: any distribution, over samples or over classes."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch.utils.data import WeightedRandomSampler as TorchWeightedRandomSampler

from gpuload.arguments import at_least
from gpuload.errors import ArgumentError, ArgumentTypeError
from gpuload.philox import bounded
from gpuload.samplers.base import CounterSampler, Made
from gpuload.samplers.orders import EpochOrder, Listed, Table, Weighted

__all__ = ["ClassBalancedSampler", "ClassDistributionSampler", "WeightedRandomSampler"]


class WeightedRandomSampler(CounterSampler, TorchWeightedRandomSampler):
    """Draws, sample i in proportion to ``weights[i]``: any distribution of your own.

    The weights become integers, exactly as they are times a power of two and rounded, and a draw is a search
    in their sums: no result depends on the order of a floating-point sum.

    Args:
        weights: one number >= 0 for each sample, not all 0. As in torch, an array or tensor of float64 is not copied.
        num_samples: positions of an epoch; without replacement no more than weights greater than 0.
        replacement: False: no sample twice in an epoch. Its order is then made on the host when it begins.
        generator: where the seed is drawn from if ``seed`` is None; see `CounterSampler`.
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
        CounterSampler.__init__(self, seed, generator)
        self.weights = _as_tensor(weights)
        self.num_samples = at_least("num_samples", num_samples, 1)
        self.replacement = replacement
        self._ends = Made(_sums_of)
        self._check()

    def _check(self) -> Table:
        """What is drawn from, once all that it depends on is allowed."""
        at_least("num_samples", self.num_samples, 1)
        if not isinstance(self.replacement, bool):
            raise ArgumentTypeError(f"replacement must be True or False, got {self.replacement!r}")
        ends = self._ends.of(self.weights)
        possible = len(self.weights) if self.replacement else int((_as_tensor(self.weights) > 0).sum())
        if not self.replacement and self.num_samples > possible:
            raise ArgumentError(
                f"num_samples must be at most {possible}, as many as have a weight greater than 0, without "
                f"replacement; got {self.num_samples}"
            )
        return ends

    def __len__(self) -> int:
        return self.num_samples

    def order(self, epoch: int) -> EpochOrder:
        ends, count, seed = self._check(), int(self.num_samples), self.settled_seed()
        if self.replacement:
            return Weighted(ends, count, seed, epoch)
        weights = np.array(_as_tensor(self.weights).numpy(force=True))
        return Listed(Table(torch.from_numpy(_without_replacement(weights, count, seed, epoch))))


def _as_tensor(weights: Any) -> torch.Tensor:
    """As torch has them: of float64, and not copied where that is what they are."""
    if isinstance(weights, np.ndarray) and not weights.flags.writeable:
        weights = np.array(weights)  # torch warns of those
    return torch.as_tensor(weights, dtype=torch.double)


def _sums_of(weights: Any) -> Table:
    return Table(torch.from_numpy(_integer_sums(_as_tensor(weights).numpy(force=True))))


def _without_replacement(weights: NDArray[np.float64], count: int, seed: int, epoch: int) -> NDArray[np.int64]:
    """The first ``count`` different samples of a sequence of draws with replacement. Changes ``weights``.

    To pass over a draw of a sample that was drawn before is to draw from the others in proportion to their weights.
    So those that were drawn are left out of the sums now and then, and what is passed over is soon little.
    """
    chosen, drawn, position = np.zeros(count, np.int64), 0, 0
    while drawn < count:
        rest = np.flatnonzero(weights)
        ends = _integer_sums(weights[rest])
        positions = np.arange(position, position + max(2 * (count - drawn), 64))
        found = rest[np.searchsorted(ends, bounded(seed, positions, epoch, int(ends[-1])), side="right")]
        _, first = np.unique(found, return_index=True)
        new = found[np.sort(first)][: count - drawn]
        chosen[drawn : drawn + len(new)] = new
        weights[new] = 0
        drawn, position = drawn + len(new), position + len(positions)
    return chosen


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
        generator: where the seed is drawn from if ``seed`` is None; see `CounterSampler`.
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
        generator: where the seed is drawn from if ``seed`` is None; see `CounterSampler`.
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
