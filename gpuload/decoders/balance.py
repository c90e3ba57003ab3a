"""Who decodes which samples: workers on the CPU, and a decoder on the device, at once.

Both get work in the ratio of their speeds, so that neither waits for the other; a batch's samples alternate, so that
the workers' shares of it shrink alike. Work is the pixels of whole images: what decoding takes grows with them.
"""

import threading
from collections.abc import Sequence
from typing import Protocol

__all__ = ["AllAway", "Balancer", "Split"]

FIRST = 1 / 4  # of the work, for the device, until both speeds are known
MEMORY = 0.5  # how much a measurement counts beside the next one


class Split(Protocol):
    """Decides which samples the device's decoder gets.

    Attributes:
        is_all: that is each that it may have.
    """

    is_all: bool

    def away(self, work: Sequence[float], may: Sequence[bool]) -> list[bool]:
        """Which of a batch's samples, of so much work each, it gets: of those that it may have."""

    def workers_did(self, work: float, seconds: float) -> None:
        """Workers took that long, all of them together, for so much work of a batch."""

    def device_did(self, work: float, seconds: float) -> None:
        """The device took that long."""

    def describe(self) -> str:
        """What the device gets, for explain."""


class AllAway:
    """The device's decoder gets all that it can decode."""

    is_all = True

    def away(self, work: Sequence[float], may: Sequence[bool]) -> list[bool]:
        return list(may)

    def workers_did(self, work: float, seconds: float) -> None:
        pass

    def device_did(self, work: float, seconds: float) -> None:
        pass

    def describe(self) -> str:
        return "ordinary JPEGs"


class _Speed:
    """Work per second, the latest measurements above all; None: not known."""

    def __init__(self) -> None:
        self._work = self._seconds = 0.0

    def add(self, work: float, seconds: float) -> None:
        if work > 0 and seconds > 0:
            self._work = MEMORY * self._work + work
            self._seconds = MEMORY * self._seconds + seconds

    @property
    def now(self) -> float | None:
        return self._work / self._seconds if self._seconds else None


class Balancer:
    """Work in the ratio of the speeds that were measured last; the same measurements give the same decisions.

    A side that is slow still gets a sample now and then, as many as it does in the time of the other: so it is noticed
    when it becomes quicker.

    Args:
        workers: how many decode at once.
    """

    is_all = False

    def __init__(self, workers: int) -> None:
        self._workers, self._worker, self._device = workers, _Speed(), _Speed()
        self._owed = 0.0  # work that is the device's by its speed, and was not given to it
        self._is_warm = False
        self._lock = threading.Lock()

    @property
    def share(self) -> float:
        """The device's, of all work."""
        worker, device = self._worker.now, self._device.now
        if worker is None or device is None:
            return FIRST
        return device / (device + self._workers * worker)

    def away(self, work: Sequence[float], may: Sequence[bool]) -> list[bool]:
        with self._lock:
            share, chosen = self.share, []
            for one, is_free in zip(work, may, strict=True):
                self._owed += share * one
                chosen.append(is_free and self._owed >= one / 2)
                self._owed -= one if chosen[-1] else 0
            self._owed = min(self._owed, sum(work))  # what it may not have is not made up for later
            return chosen

    def workers_did(self, work: float, seconds: float) -> None:
        with self._lock:
            self._worker.add(work, seconds)

    def device_did(self, work: float, seconds: float) -> None:
        with self._lock:
            if self._is_warm:
                self._device.add(work, seconds)
            self._is_warm = True  # the first time includes what is set up once

    def describe(self) -> str:
        return "a part of the ordinary JPEGs, by the speeds that are measured of both,"
