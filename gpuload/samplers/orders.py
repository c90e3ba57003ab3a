"""The orders that samplers give: of one epoch each, fixed, any stretch of it made where it is needed."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from gpuload.device import Device, device_of
from gpuload.philox import bounded
from gpuload.samplers.permutation import permutation_key, permute

__all__ = ["Drawn", "EpochOrder", "InOrder", "Listed", "Permuted", "Picked", "Table", "Weighted"]

Positions = NDArray[np.int64]

THREADS = 256


class EpochOrder(ABC):
    """The order of one epoch. What becomes of the sampler that gave it does not change it."""

    @abstractmethod
    def __len__(self) -> int:
        """Positions of the epoch."""

    @property
    @abstractmethod
    def bound(self) -> int:
        """Every index is below this, and none is negative."""

    @abstractmethod
    def indices(self, start: int, stop: int, device: torch.device | str = "cpu") -> torch.Tensor:
        """The sample indices at positions [start, stop): int64 tensor on ``device``.

        On CUDA they are made by a kernel on the current stream; nothing waits for it.
        """

    def at(self, positions: Positions, device: torch.device | str = "cpu") -> torch.Tensor:
        """The sample indices at any positions, of which most follow each other; beyond the end they begin again."""
        inside = positions % max(len(self), 1)
        runs = np.split(inside, np.flatnonzero(np.diff(inside) != 1) + 1)
        parts = [self.indices(int(run[0]), int(run[-1]) + 1, device) for run in runs if len(run)]
        return parts[0] if len(parts) == 1 else torch.cat(parts or [self.indices(0, 0, device)])


class _Closed(EpochOrder):
    """An order that is made at any positions at once, on the host, too."""

    @abstractmethod
    def _here(self, positions: Positions) -> Positions:
        """The indices at positions of the epoch."""

    def at(self, positions: Positions, device: torch.device | str = "cpu") -> torch.Tensor:
        if device_of(device).launches or not np.count_nonzero(np.diff(positions) != 1):
            return super().at(positions, device)
        return torch.from_numpy(self._here(positions % max(len(self), 1)))


class Table:
    """What the order kernels look up: on the host, and on the device that asked last.

    Args:
        host: a CPU tensor, which nobody changes.
    """

    def __init__(self, host: torch.Tensor) -> None:
        self.host = self._there = host

    def on(self, device: Device) -> torch.Tensor:
        """The table on a device, for work on the current stream."""
        there = self._there
        self._there = there = device.resident(there if there.device == device.torch_device else self.host)
        return there

    def __reduce__(self) -> tuple[Any, ...]:
        return Table, (self.host,)  # pickled and copied without what is on a GPU


@dataclass(frozen=True)
class InOrder(_Closed):
    """0, 1, 2, ..., ``count`` - 1."""

    count: int

    def __len__(self) -> int:
        return self.count

    @property
    def bound(self) -> int:
        return self.count

    def indices(self, start: int, stop: int, device: torch.device | str = "cpu") -> torch.Tensor:
        return torch.arange(start, stop, device=device)

    def _here(self, positions: Positions) -> Positions:
        return positions


@dataclass(frozen=True)
class _OfSeed(_Closed):
    """``count`` positions, each with one of ``n`` samples, as (seed, epoch) decides."""

    n: int
    count: int
    seed: int
    epoch: int

    def __len__(self) -> int:
        return self.count

    @property
    def bound(self) -> int:
        return self.n


class Permuted(_OfSeed):
    """The epoch's permutation of ``n`` samples; after it another one, until ``count`` positions are filled."""

    def indices(self, start: int, stop: int, device: torch.device | str = "cpu") -> torch.Tensor:
        if stop <= start:
            return torch.empty(0, dtype=torch.int64, device=device)
        n, place = self.n, device_of(device)
        parts = [
            self._of_turn(turn, max(start - turn * n, 0), min(stop - turn * n, n), place)
            for turn in range(start // n, -(-stop // n))
        ]
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def _of_turn(self, turn: int, start: int, stop: int, device: Device) -> torch.Tensor:
        if device.launches:
            key = permutation_key(self.n, self.seed, self.epoch, turn)
            return _launch("order_permuted", device, stop - start, key, np.int64(start))
        return torch.from_numpy(permute(np.arange(start, stop), self.n, self.seed, self.epoch, turn))

    def _here(self, positions: Positions) -> Positions:
        turns, indices = positions // max(self.n, 1), np.empty_like(positions)
        for turn in np.unique(turns).tolist():
            now = turns == turn
            indices[now] = permute(positions[now] - turn * self.n, self.n, self.seed, self.epoch, turn)
        return indices


class Drawn(_OfSeed):
    """Any of ``n`` samples, each as likely, at each of ``count`` positions."""

    def indices(self, start: int, stop: int, device: torch.device | str = "cpu") -> torch.Tensor:
        place = device_of(device)
        if place.launches:
            seed, n = np.uint64(self.seed), np.uint64(self.n)
            return _launch("order_replaced", place, stop - start, seed, np.uint32(self.epoch), n, np.int64(start))
        return torch.from_numpy(self._here(np.arange(start, stop)))

    def _here(self, positions: Positions) -> Positions:
        return bounded(self.seed, positions, self.epoch, self.n)


@dataclass(frozen=True)
class Weighted(_Closed):
    """Sample k as likely as ``ends[k] - ends[k - 1]`` says, at each of ``count`` positions.

    Args:
        ends: inclusive sums of integer weights: int64.
    """

    ends: Table
    count: int
    seed: int
    epoch: int

    def __len__(self) -> int:
        return self.count

    @property
    def bound(self) -> int:
        return len(self.ends.host)

    def indices(self, start: int, stop: int, device: torch.device | str = "cpu") -> torch.Tensor:
        place = device_of(device)
        if place.launches:
            table = self.ends.on(place)
            ends, n = np.uintp(table.data_ptr()), np.int64(len(table))
            seed, epoch, at = np.uint64(self.seed), np.uint32(self.epoch), np.int64(start)
            return _launch("order_weighted", place, stop - start, seed, epoch, ends, n, at)
        return torch.from_numpy(self._here(np.arange(start, stop)))

    def _here(self, positions: Positions) -> Positions:
        ends = self.ends.host.numpy()
        return np.searchsorted(ends, bounded(self.seed, positions, self.epoch, int(ends[-1])), side="right")


@dataclass(frozen=True)
class Listed(_Closed):
    """The indices of a table, none negative, one after the other."""

    table: Table

    def __len__(self) -> int:
        return len(self.table.host)

    @property
    def bound(self) -> int:
        return int(self.table.host.max()) + 1 if len(self) else 0

    def indices(self, start: int, stop: int, device: torch.device | str = "cpu") -> torch.Tensor:
        return self.table.on(device_of(device))[start:stop].clone()  # a batch is the user's

    def _here(self, positions: Positions) -> Positions:
        chosen: Positions = self.table.host.numpy()[positions]
        return chosen


@dataclass(frozen=True)
class Picked(Listed):
    """The indices of a table, in another order's order."""

    places: EpochOrder

    def indices(self, start: int, stop: int, device: torch.device | str = "cpu") -> torch.Tensor:
        return self.table.on(device_of(device))[self.places.indices(start, stop, device)]

    def _here(self, positions: Positions) -> Positions:
        return super()._here(self.places.at(positions).numpy())


def _launch(name: str, device: Device, count: int, *arguments: Any) -> torch.Tensor:
    """Run an order kernel; its last two arguments, count and output, are added here."""
    out = device.empty((count,), torch.int64)
    if count:
        blocks = min(-(-count // THREADS), 4096)
        device.launch(name, (blocks, 1), THREADS, (*arguments, np.int64(count), np.uintp(out.data_ptr())))
    return out
