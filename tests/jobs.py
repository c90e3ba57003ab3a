"""Jobs without images, for the tests of the pipeline."""

import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

from gpuload.loading.work import Stage

WAIT = 5.0  # seconds after which something that should have happened counts as a hang


Run = Callable[[int, int], None]


def nothing(job: int, task: int) -> None:
    pass


class FakeJob:
    """Result: its number. ``run`` is called for each of its tasks.

    Args:
        number: of the job.
        sizes: how many tasks each stage has; an int: the only stage.
        run: called with the numbers of the job and of the task, which count through all stages.
    """

    def __init__(self, number: int, sizes: int | Sequence[int] = 3, run: Run = nothing) -> None:
        self.number, self.run = number, run
        self.sizes = [sizes] if isinstance(sizes, int) else list(sizes)
        self.ran: list[int] = []
        self.finished = 0

    def stages(self) -> Iterator[Stage]:
        done = 0
        for size in self.sizes:
            yield [partial(self.task, done + task) for task in range(size)]
            done += size
            assert sorted(self.ran) == list(range(done))
        self.finish()

    def task(self, number: int) -> None:
        self.run(self.number, number)
        self.ran.append(number)

    def finish(self) -> None:
        self.finished += 1

    def describe(self) -> str:
        return f"running task {len(self.ran)}"

    def result(self) -> int:
        assert self.finished == 1
        return self.number


def alive() -> list[threading.Thread]:
    """The threads of gpuload's that run."""
    return [thread for thread in threading.enumerate() if thread.name.startswith("gpuload-worker")]


def in_time(condition: Callable[[], bool]) -> bool:
    """Wait until the condition holds."""
    end = time.monotonic() + WAIT
    while not condition() and time.monotonic() < end:
        time.sleep(0.001)
    return condition()


class Fifo:
    """A file whose ``read`` stalls until it is let go.

    Attributes:
        entered: set when somebody is about to read.
    """

    def __init__(self, path: Path) -> None:
        os.mkfifo(path)
        self._path, self.entered = path, threading.Event()
        self._writer = os.open(path, os.O_RDWR)

    def read(self) -> bytes:
        with open(self._path, "rb", buffering=0) as file:
            self.entered.set()
            return file.read(1)

    def let_go(self) -> None:
        """A byte for everybody, in other processes, too."""
        os.write(self._writer, bytes(1000))

    def close(self) -> None:
        os.close(self._writer)
