"""Where a loader is, as plain JSON: what it takes to go on there, in another process, and to see that it fits."""

import hashlib
import os
from typing import Any, NamedTuple

import numpy as np

from gpuload.datasets.base import ImageDataset
from gpuload.errors import ArgumentError
from gpuload.frameworks import size_of_all
from gpuload.loading.checks import length
from gpuload.loading.progress import Samplers
from gpuload.samplers.base import CounterSampler
from gpuload.samplers.position import Position
from gpuload.saved import integer, or_none, read

__all__ = ["State", "fingerprint"]

VERSION = 1
LOOKED_AT = 256  # files: as many as tell folders apart, at a cost that does not grow with them

NUMBER = integer(63)
FIELDS = {
    "epoch": integer(32),
    "batch": NUMBER,
    "seed": integer(64),
    "order_seed": or_none(integer(64)),
    "samples": or_none(NUMBER),
    "positions": or_none(NUMBER),
    "global_batch_size": or_none(NUMBER),
    "dataset": or_none(lambda value: isinstance(value, str)),
    "quarantine": lambda value: isinstance(value, list) and all(map(_is_bad_sample, value)),
}


class State(NamedTuple):
    """What the batches that a loader delivers next depend on.

    Attributes:
        epoch: whose they are.
        batch: the first of them, in the epoch.
        seed: of what is drawn for samples.
        order_seed: of the order; None: a sampler of the user's makes it.
        samples: of the dataset.
        positions: of an epoch.
        global_batch_size: samples of a batch, of all ranks together; None: batches are not made of a number of them.
        dataset: fingerprint of the files; None: there are none that gpuload knows.
        quarantine: index, path and reason of each sample that could not be read.
    """

    epoch: int
    batch: int
    seed: int
    order_seed: int | None
    samples: int | None
    positions: int | None
    global_batch_size: int | None
    dataset: str | None
    quarantine: list[list[Any]]

    def plain(self) -> dict[str, Any]:
        """As JSON has it."""
        return {"version": VERSION, **self._asdict()}

    @classmethod
    def here(cls, loader: Any, at: Position, images: ImageDataset | None) -> "State":
        """Of a `DataLoader` that delivers next what stands there, of these images, if it renders any."""
        keeper = Samplers.of(loader).keeper
        return cls(
            at.epoch,
            at.batch,
            loader.seed,
            keeper.seed if isinstance(keeper, CounterSampler) else None,
            length(loader.dataset),
            length(loader.sampler),
            size_of_all(loader.batch_sampler),
            None if images is None else fingerprint(images),
            loader.quarantine.plain(),
        )

    @classmethod
    def of(cls, plain: Any) -> "State":
        """The state that `plain` made.

        Raises:
            ArgumentError: it is none.
        """
        return cls(**read(plain, "DataLoader", VERSION, FIELDS))

    def check(self, now: "State") -> None:
        """Does it fit the loader that has this state now?

        Raises:
            ArgumentError: its batches would be others.
        """
        for name, what in (
            ("samples", "samples in the dataset"),
            ("positions", "samples in an epoch"),
            ("dataset", "as the fingerprint of the dataset's files"),
        ):
            before, here = getattr(self, name), getattr(now, name)
            if before != here:
                raise ArgumentError(f"state is of a loader with {before} {what}, but this one has {here}")
        if self.batch and self.global_batch_size != now.global_batch_size:
            raise ArgumentError(
                f"state is in mid-epoch with {self.global_batch_size} samples in a batch of all ranks, but this loader "
                f"has {now.global_batch_size}: choose batch_size so that batch_size times the ranks is as before"
            )


def fingerprint(dataset: ImageDataset) -> str:
    """Of some files' names, in the folders that they are in, wherever those are: 16 hexadecimal digits."""
    count = len(dataset)
    chosen = np.unique(np.linspace(0, count - 1, min(count, LOOKED_AT)).astype(np.int64))
    digest = hashlib.blake2b(digest_size=8)
    for path in dataset.paths(chosen):
        folder, name = os.path.split(path)
        digest.update(os.path.basename(folder) + b"/" + name + b"\0")
    return digest.hexdigest()


def _is_bad_sample(value: Any) -> bool:
    return isinstance(value, list) and [*map(type, value)] == [int, str, str] and NUMBER(value[0])
