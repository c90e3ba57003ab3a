"""One order for all ranks: each delivers its part of every global batch.

Global batch k is the positions [k * G, (k + 1) * G) of the epoch, where G is ``batch_size * world_size``; rank r
delivers the r-th part of it. What a global batch holds is then the same on any number of ranks with the same G.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch.distributed as dist
from numpy.typing import NDArray
from torch.utils.data import BatchSampler
from torch.utils.data.distributed import DistributedSampler

from gpuload.arguments import at_least
from gpuload.errors import ArgumentError, ArgumentTypeError
from gpuload.samplers.base import CounterSampler
from gpuload.samplers.position import Position, batch_at

__all__ = ["Shard", "ShardedBatches"]

TAILS = "drop", "pad", "short"


@dataclass(frozen=True)
class Shard:
    """Which part of every global batch this process delivers. Every rank has as many batches as any other.

    Args:
        rank: of this process, from 0.
        world_size: ranks in all.
        tail: what becomes of the samples after the last full global batch. "drop": they are left out. "pad": they
            are one more batch, filled up with the epoch's first samples until each rank has as many. "short": they
            are one more batch, of which each rank has as many; fewer than ``world_size`` are left out. None: "drop"
            where the loader has ``drop_last``, else "pad".
    """

    rank: int
    world_size: int
    tail: str | None = None

    def __post_init__(self) -> None:
        at_least("world_size", self.world_size, 1)
        if at_least("rank", self.rank, 0) >= self.world_size:
            raise ArgumentError(f"rank must be below world_size={self.world_size}, got {self.rank}")
        if self.tail is not None and self.tail not in TAILS:
            raise ArgumentError(f"tail must be one of {', '.join(TAILS)} or None, got {self.tail!r}")

    @classmethod
    def here(cls, group: Any = None, tail: str | None = None) -> "Shard":
        """This process's.

        Args:
            group: a process group or a ``DeviceMesh`` of one dimension: of the ranks that share the data, such as
                ``mesh["dp"]``; the others get the same batches. None: all ranks of ``torch.distributed``; where that
                is not initialized, as ``RANK`` and ``WORLD_SIZE`` say, which torchrun sets; else one rank alone.
            tail: as of the class.

        Raises:
            ArgumentError: the group is not initialized, or this process is none of its ranks.
        """
        if group is None and not dist.is_initialized():
            return cls(_of_environment("RANK", 0), _of_environment("WORLD_SIZE", 1), tail)
        group = group.get_group() if hasattr(group, "get_group") else group
        if not dist.is_initialized():
            raise ArgumentError("group is given, but torch.distributed is not initialized: call init_process_group")
        rank = dist.get_rank(group)
        if rank < 0:
            raise ArgumentError("group must be one that this process is a rank of")
        return cls(rank, dist.get_world_size(group), tail)

    def agreed(self, seed: int) -> int:
        """The seed of the first rank; all of them call this.

        Raises:
            ArgumentError: there is no way to ask for it.
        """
        if self.world_size == 1:
            return seed
        if not dist.is_initialized():
            raise ArgumentError(
                f"seed is None: {self.world_size} ranks agree on one over torch.distributed, which is not "
                "initialized: call init_process_group before, or pass seed="
            )
        told = [seed]
        dist.broadcast_object_list(told, src=0)
        return told[0]


class ShardedBatches(BatchSampler):
    """A shard of the batches that an order gives.

    Args:
        sampler: gives the order of all ranks.
        batch_size: samples of a rank's batch.
        drop_last: as in torch.
        shard: which part of them.

    Raises:
        ArgumentError: the sampler's order may be another one on each rank, or is for one rank already.
    """

    def __init__(self, sampler: CounterSampler, batch_size: int, drop_last: bool, shard: Shard) -> None:
        _check(sampler, drop_last, shard)
        sampler.agree(shard.agreed)
        super().__init__(sampler, batch_size, drop_last)
        self.sampler: CounterSampler
        self.shard = shard

    @property
    def tail(self) -> str:
        """What becomes of the samples after the last full global batch."""
        return self.shard.tail or ("drop" if self.drop_last else "pad")

    def __len__(self) -> int:
        return self.count(len(self.sampler))

    def __iter__(self) -> Iterator[list[int]]:
        epoch, start = self.sampler.begin()
        order = self.sampler.order(epoch)
        progress = Position(epoch, batch_at(start, self.global_batch_size, len(order)), self.global_batch_size)
        self.sampler.follow(progress)
        for positions in self.positions(len(order), progress.batch):
            progress.batch += 1
            yield order.at(positions).tolist()
        progress.is_over = True

    def state_dict(self) -> dict[str, int]:
        """The sampler's, which counts the samples of all ranks: it is the same on each, on any number of them."""
        return self.sampler.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on there: the next iteration gives the rest of the epoch.

        Raises:
            ArgumentError: as of the sampler; when it is iterated: no global batch begins there.
        """
        self.sampler.load_state_dict(state_dict)

    def count(self, samples: int) -> int:
        """Batches of an epoch of so many samples."""
        return samples // self.global_batch_size + (self._of_tail(samples) > 0)

    def positions(self, samples: int, first: int = 0, reach: int = 0) -> Iterator[NDArray[np.int64]]:
        """The positions of each batch from one on, of an epoch of so many samples: (reach + B,) int64.

        Those beyond the last are the epoch's first samples again.

        Args:
            samples: of the epoch, of all ranks.
            first: the batch that comes first.
            reach: so many in front of each, that stand before it in the global batch. Before that one's first come its
                last, none of which is padding.
        """
        for batch in range(first, self.count(samples)):
            begin = batch * self.global_batch_size
            size = self.batch_size if begin + self.global_batch_size <= samples else self._of_tail(samples)
            count = min(size * self.shard.world_size, samples - begin)
            start = begin + self.shard.rank * size
            mine = np.arange(start - reach, start + size)
            yield np.where(mine < begin, begin + (mine - begin) % count, mine)

    def global_positions(self, samples: int) -> Iterator[NDArray[np.int64]]:
        """The positions of each batch of all ranks together, without padding: (B,) int64."""
        last = min(self._of_tail(samples) * self.shard.world_size, samples % self.global_batch_size)
        end = samples - samples % self.global_batch_size + last
        for start in range(0, end, self.global_batch_size):
            yield np.arange(start, min(start + self.global_batch_size, end))

    @property
    def global_batch_size(self) -> int:
        """Samples of a batch, of all ranks together."""
        return self.batch_size * self.shard.world_size

    def _of_tail(self, samples: int) -> int:
        """Samples that each rank has of the tail."""
        tail, world = samples % self.global_batch_size, self.shard.world_size
        return {"drop": 0, "pad": -(-tail // world), "short": tail // world}[self.tail]

    def describe(self) -> str:
        """What is delivered, for explain."""
        tails = {"drop": "a rest is left out", "pad": "a rest is padded", "short": "a rest is one more batch"}
        rank, world = self.shard.rank, self.shard.world_size
        return f"rank {rank} of {world}, global batches of {self.global_batch_size}: {tails[self.tail]}"


def _check(sampler: Any, drop_last: bool, shard: Shard) -> None:
    if isinstance(sampler, DistributedSampler):
        raise ArgumentError(
            f"shard and a {type(sampler).__name__} would both give each rank a part of the samples: leave one of them "
            "out (Lightning brings its own: leave shard out, or Trainer(use_distributed_sampler=False))"
        )
    if not isinstance(sampler, CounterSampler) or type(sampler).__iter__ is not CounterSampler.__iter__:
        raise ArgumentTypeError(
            "shard wants an order that is the same on every rank: shuffle, or a sampler of gpuload, "
            f"got sampler={type(sampler).__name__}"
        )
    if drop_last and shard.tail not in (None, "drop"):
        raise ArgumentError(f"drop_last=True leaves the tail out, got tail={shard.tail!r}: leave one of them out")


def _of_environment(name: str, default: int) -> int:
    value = os.environ.get(name, str(default))
    if not value.isdecimal():
        raise ArgumentError(f"{name} must be a number in the environment, got {value!r}")
    return int(value)
