"""Samplers whose indices are made where they are needed: on the GPU by a kernel, on the CPU by numpy.

All are torch ``Sampler`` s. What stands at position p of epoch e depends on (seed, e, p) alone, and is the
same, bit for bit, on every device. Iterating a sampler yields one epoch of Python ints and moves on to the
next epoch; `Keyed.indices` gives any stretch of any epoch as a tensor.
"""

from collections.abc import Iterator, Mapping, Sequence, Sized
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch.utils.data import Sampler

from gpuload import rng
from gpuload.arguments import at_least, epoch_number, seed_or_new
from gpuload.compilers import launch
from gpuload.errors import ArgumentError, ArgumentTypeError

__all__ = [
    "ClassBalancedSampler",
    "ClassDistributionSampler",
    "Keyed",
    "RandomSampler",
    "SequentialSampler",
    "SubsetRandomSampler",
    "WeightedRandomSampler",
]

CHUNK = 1 << 16  # indices made at a time while iterating
THREADS = 256


class Keyed(Sampler[int]):
    """Base of gpuload's samplers.

    Attributes:
        seed: int, 64 bits.
        epoch: the epoch that the next iteration yields.
    """

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch that the next iteration yields: from 0 to 2^32 - 1."""
        self.epoch = epoch_number(epoch)

    def __len__(self) -> int:
        raise NotImplementedError

    @property
    def bound(self) -> int:
        """Every index is below this."""
        raise NotImplementedError

    def indices(self, start: int, stop: int, epoch: int, device: torch.device | str = "cpu") -> torch.Tensor:
        """The sample indices at positions [start, stop) of an epoch: int64 tensor on ``device``.

        On CUDA they are made by a kernel on the current stream; nothing waits for it.
        """
        raise NotImplementedError

    def __iter__(self) -> Iterator[int]:
        epoch, self.epoch = self.epoch, self.epoch + 1
        for start in range(0, len(self), CHUNK):
            yield from self.indices(start, min(start + CHUNK, len(self)), epoch).tolist()


def _launch(name: str, device: torch.device, count: int, *arguments: Any) -> torch.Tensor:
    """Run an order kernel; its last two arguments, count and output, are added here."""
    out = torch.empty(count, dtype=torch.int64, device=device)
    if count:
        blocks = min(-(-count // THREADS), 4096)
        launch(name, out.device, (blocks, 1), THREADS, (*arguments, np.int64(count), np.uintp(out.data_ptr())))
    return out


def _permuted(
    start: int, stop: int, n: int, seed: int, epoch: int, stream: int, device: torch.device | str
) -> torch.Tensor:
    device = torch.device(device)
    if device.type == "cuda":
        key = rng.permutation_key(n, seed, epoch, stream)
        return _launch("order_permuted", device, stop - start, key, np.int64(start))
    return torch.from_numpy(rng.permute(np.arange(start, stop), n, seed, epoch, stream)).to(device)


class SequentialSampler(Keyed):
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


class RandomSampler(Keyed):
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
        n = len(self.data_source)
        if self.replacement:
            return self._replaced(start, stop, n, epoch, torch.device(device))
        parts = []
        for turn in range(start // n, -(-stop // n)):
            first, last = max(start - turn * n, 0), min(stop - turn * n, n)
            parts.append(_permuted(first, last, n, self.seed, epoch, turn, device))
        return parts[0] if len(parts) == 1 else torch.cat(parts or [torch.empty(0, dtype=torch.int64, device=device)])

    def _replaced(self, start: int, stop: int, n: int, epoch: int, device: torch.device) -> torch.Tensor:
        if device.type == "cuda":
            seed, bound = np.uint64(self.seed), np.uint64(n)
            return _launch("order_replaced", device, stop - start, seed, np.uint32(epoch), bound, np.int64(start))
        return torch.from_numpy(rng.bounded(self.seed, np.arange(start, stop), epoch, n)).to(device)


class SubsetRandomSampler(Keyed):
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
        self._indices = torch.from_numpy(chosen.astype(np.int64))
        self._bound = int(chosen.max()) + 1 if len(chosen) else 0

    def __len__(self) -> int:
        return len(self._indices)

    @property
    def bound(self) -> int:
        return self._bound

    def indices(self, start: int, stop: int, epoch: int, device: torch.device | str = "cpu") -> torch.Tensor:
        self._indices = self._indices.to(device)
        if stop <= start:
            return self._indices[:0]
        return self._indices[_permuted(start, stop, len(self), self.seed, epoch, 0, device)]


class WeightedRandomSampler(Keyed):
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
        self._ends = torch.from_numpy(_integer_sums(self.weights.numpy()))

    def __len__(self) -> int:
        return self.num_samples

    @property
    def bound(self) -> int:
        return len(self.weights)

    def indices(self, start: int, stop: int, epoch: int, device: torch.device | str = "cpu") -> torch.Tensor:
        device = torch.device(device)
        if device.type == "cuda":
            self._ends = self._ends.to(device)
            ends, n = np.uintp(self._ends.data_ptr()), np.int64(len(self._ends))
            seed, at = np.uint64(self.seed), np.int64(start)
            return _launch("order_weighted", device, stop - start, seed, np.uint32(epoch), ends, n, at)
        ends_here = self._ends.cpu().numpy()
        targets = rng.bounded(self.seed, np.arange(start, stop), epoch, int(ends_here[-1]))
        return torch.from_numpy(np.searchsorted(ends_here, targets, side="right")).to(device)


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
