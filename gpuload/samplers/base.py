"""What gpuload's samplers share: any stretch of any epoch's order, as a tensor, made where it is needed.

What stands at position p of epoch e depends on (seed, e, p) alone, and is bit-exact on every device.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch.utils.data import Sampler

from gpuload.arguments import epoch_number
from gpuload.device import Device

__all__ = ["CHUNK", "CounterSampler", "Table", "launch_order"]

CHUNK = 1 << 13  # indices made at a time: a millisecond's work, and what numpy makes of them stays in the cache
THREADS = 256


class CounterSampler(Sampler[int]):
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

    def describe(self) -> str:
        """What it yields, for explain."""
        return f"{type(self).__name__}: {len(self)} samples an epoch, from seed {self.seed} and the epoch alone"

    def __iter__(self) -> Iterator[int]:
        epoch, self.epoch = self.epoch, self.epoch + 1
        for start in range(0, len(self), CHUNK):
            yield from self.indices(start, min(start + CHUNK, len(self)), epoch).tolist()


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


def launch_order(name: str, device: Device, count: int, *arguments: Any) -> torch.Tensor:
    """Run an order kernel; its last two arguments, count and output, are added here."""
    out = device.empty((count,), torch.int64)
    if count:
        blocks = min(-(-count // THREADS), 4096)
        device.launch(name, (blocks, 1), THREADS, (*arguments, np.int64(count), np.uintp(out.data_ptr())))
    return out
