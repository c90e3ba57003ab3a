"""A device that launches kernels, without a GPU, and knows what waits for what: streams have vector clocks."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from gpuload.device import Event, HostDevice
from tests.cuda_on_cpu import cuda_on_cpu

Moment = tuple["Clock", int]  # so many steps of a clock's own


class Clock:
    """A stream, or the host: how far it knows each of them to be."""

    def __init__(self) -> None:
        self.known: dict[Clock, int] = {}

    def step(self) -> Moment:
        """Something is done here: its moment."""
        self.known[self] = self.known.get(self, 0) + 1
        return self, self.known[self]

    def learn(self, known: dict["Clock", int]) -> None:
        for clock, steps in known.items():
            self.known[clock] = max(self.known.get(clock, 0), steps)

    def is_after(self, moment: Moment) -> bool:
        """What is done here from now on sees what was done then."""
        return self.known.get(moment[0], 0) >= moment[1]


class ClockedEvent:
    def __init__(self, host: Clock) -> None:
        self._host, self._known = host, dict[Clock, int]()

    def record(self, stream: Clock) -> None:
        self._known = dict(stream.known)

    def wait(self, stream: Clock) -> None:
        stream.learn(self._known)

    def synchronize(self) -> None:
        self._host.learn(self._known)


class ClockedDevice(HostDevice):
    """The host in place of a GPU. All is done at once; the clocks tell whether it could also be done late.

    Attributes:
        main: the stream that is current at first.
        host: the host's clock.
        work: the moments of copies and launches, by name.
        kept: (address of a tensor, stream) of all that was kept.
        events: how many were made.
    """

    launches = True

    def __init__(self) -> None:
        self.main, self.host = Clock(), Clock()
        self._current = self.main
        self.work: list[tuple[str, Moment]] = []
        self.kept: list[tuple[int, Clock]] = []
        self.entered = self.events = 0

    def stream(self) -> Clock:
        return Clock()

    def current_stream(self) -> Clock:
        return self._current

    @contextmanager
    def on(self, stream: Clock | None) -> Iterator[None]:
        before, self._current = self._current, stream or self._current
        self.entered += 1
        yield
        self._current = before
        self.entered -= 1

    def event(self, blocking: bool = False) -> Event:
        self.events += 1
        return ClockedEvent(self.host)

    def step(self, name: str) -> Moment:
        """Something is done on the current stream."""
        moment = self._current.step()
        self.work.append((name, moment))
        return moment

    def copy(self, target: torch.Tensor, source: torch.Tensor) -> None:
        super().copy(target, source)
        self.step("copy")

    def keep(self, tensor: torch.Tensor, stream: Clock) -> None:
        self.kept.append((tensor.untyped_storage().data_ptr(), stream))

    def empty(self, shape: Sequence[int], dtype: torch.dtype) -> torch.Tensor:
        return torch.empty(tuple(shape), dtype=dtype)

    def launch(self, name: str, grid: tuple[int, int], threads: int, arguments: tuple[Any, ...]) -> None:
        kernel, word = name.split("_")
        assert kernel == "gather"
        source, indices, rows, words, out = (int(value) for value in arguments)
        cuda_on_cpu().cuda_gather(source, indices, rows, words, int(word), out)
        self.step(name)

    def describe(self) -> str:
        return "clocked GPU"
