"""Samples that cannot be read, and which others stand in for them.

Who stands in at a position of an epoch depends on the seed, on where that is, and on which samples are bad, alone: it
is the same on any number of workers and ranks, and for a run that goes on from a state.
"""

import logging
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from gpuload.arguments import at_least
from gpuload.errors import ArgumentError, BadSamplesError, SampleError
from gpuload.philox import STAND_IN_DRAW, bounded
from gpuload.samplers.orders import EpochOrder

__all__ = ["BadSample", "OfBatch", "OfEpoch", "Quarantine", "Reserve", "StandIns", "Tolerance"]

logger = logging.getLogger("gpuload")

Integers = NDArray[np.int64]

ATTEMPTS = 100  # samples that are tried for one; as many bad ones in a row are no chance


@dataclass(frozen=True, order=True)
class BadSample:
    """A sample that could not be read.

    Attributes:
        index: in the dataset.
        path: its file, as it was named when that was found.
        reason: what the file system or the decoder said.
    """

    index: int
    path: str
    reason: str


class Quarantine:
    """The samples that could not be read; they are not tried again. By their indices, lowest first."""

    def __init__(self) -> None:
        self._bad: dict[int, BadSample] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._bad)

    def __iter__(self) -> Iterator[BadSample]:
        with self._lock:
            bad = list(self._bad.values())
        return iter(sorted(bad))

    def __contains__(self, index: object) -> bool:
        return index in self._bad

    def add(self, sample: BadSample) -> bool:
        """Take in one more; False: it is there."""
        with self._lock:
            known = sample.index in self._bad
            self._bad.setdefault(sample.index, sample)
        return not known

    def plain(self) -> list[list[Any]]:
        """As JSON has it."""
        return [[sample.index, sample.path, sample.reason] for sample in self]

    def restore(self, plain: Iterable[Iterable[Any]]) -> None:
        """Have those of ``plain``, and no others."""
        bad = [BadSample(*sample) for sample in plain]
        with self._lock:
            self._bad = {sample.index: sample for sample in bad}

    def of(self, indices: Integers) -> Integers:
        """Which of these samples are in it: their places."""
        if not self._bad:  # all but always
            return np.zeros(0, np.int64)
        with self._lock:
            bad = np.fromiter(self._bad, np.int64, len(self._bad))
        return np.flatnonzero(np.isin(indices, bad))

    def __repr__(self) -> str:
        return f"Quarantine({list(self)})"

    def __getstate__(self) -> list[list[Any]]:
        return self.plain() or [[]]  # an empty one would not be restored

    def __setstate__(self, plain: list[list[Any]]) -> None:
        self._lock = threading.Lock()
        self.restore(sample for sample in plain if sample)


class Tolerance(NamedTuple):
    """What a loader allows.

    Attributes:
        quarantine: of the loader.
        most: samples that may be in it.
    """

    quarantine: Quarantine
    most: int

    @classmethod
    def of(cls, quarantine: Quarantine, max_bad_samples: Any, samples: int) -> "Tolerance":
        """Of so many samples, or that share of all, but at least one.

        Raises:
            ArgumentError, ArgumentTypeError: it is neither a count nor a share.
        """
        if not isinstance(max_bad_samples, float):
            return cls(quarantine, at_least("max_bad_samples", max_bad_samples, 0))
        if not 0 < max_bad_samples < 1:
            raise ArgumentError(
                "max_bad_samples must be an int, or a float between 0 and 1, a share of the dataset, "
                f"got {max_bad_samples}"
            )
        return cls(quarantine, max(int(max_bad_samples * samples), 1))

    def add(self, error: SampleError) -> None:
        """Take in the sample that could not be read.

        Raises:
            BadSamplesError: there are too many by now.
        """
        assert error.index is not None
        if not self.quarantine.add(BadSample(error.index, str(error.path), str(error.__cause__))):
            return
        logger.warning("%s: another sample stands in for it from now on", str(error))  # a record may be kept
        if self.is_exceeded:
            raise self.exceeded(str(error)) from error

    @property
    def is_exceeded(self) -> bool:
        """Are there too many?"""
        return len(self.quarantine) > self.most

    def exceeded(self, which: str) -> BadSamplesError:
        """What is raised then, at one of them."""
        return BadSamplesError(
            f"{len(self.quarantine)} samples cannot be read, but max_bad_samples allows {self.most}: see "
            f"loader.quarantine, and mend them, or pass a higher max_bad_samples; one is {which}"
        )


class StandIns(Protocol):
    """Who stands in at a position, in the order in which they are tried."""

    def of(self, position: int) -> Iterator[int]:
        """Indices of samples."""


class OfEpoch:
    """Those at other positions of the same epoch, drawn evenly, each position for itself.

    Args:
        order: of the epoch.
        seed, epoch: what they are drawn by.
    """

    def __init__(self, order: EpochOrder, seed: int, epoch: int) -> None:
        self._order, self._seed, self._epoch = order, seed, epoch

    def of(self, position: int) -> Iterator[int]:
        for attempt in range(ATTEMPTS):
            drawn = bounded(self._seed, [position], self._epoch, len(self._order), STAND_IN_DRAW + attempt)
            yield int(self._order.at(drawn)[0])


class OfBatch:
    """The next ones of the same batch: no others of the epoch are known where a sampler of the user's makes it.

    Args:
        positions: of the batch.
        indices: there; none negative.
    """

    def __init__(self, positions: Integers, indices: Integers) -> None:
        self._slots = {position: slot for slot, position in enumerate(positions.tolist())}
        self._indices = indices.tolist()

    def of(self, position: int) -> Iterator[int]:
        after = self._slots[position] + 1
        yield from self._indices[after:] + self._indices[: after - 1]


class Reserve(NamedTuple):
    """What is done about bad samples of an epoch, or of a batch of it.

    Attributes:
        tolerance: of the loader.
        stand_ins: who may stand in.
    """

    tolerance: Tolerance
    stand_ins: StandIns

    def instead(self, positions: Integers, indices: Integers) -> Integers:
        """The samples that are read at positions: the given ones, or those that stand in for them.

        Raises:
            BadSamplesError: all that may stand in for one are bad, too, or there are too many bad ones.
        """
        quarantine = self.tolerance.quarantine
        bad = quarantine.of(indices)
        if not len(bad):
            return indices
        if self.tolerance.is_exceeded:
            raise self.tolerance.exceeded(f"sample {indices[bad[0]]}")
        good = indices.copy()
        for place in bad.tolist():
            found = (index for index in self.stand_ins.of(int(positions[place])) if index not in quarantine)
            good[place] = next(found, -1)
            if good[place] < 0:
                raise BadSamplesError(f"sample {indices[place]} cannot be read, nor can any that may stand in for it")
        return good
