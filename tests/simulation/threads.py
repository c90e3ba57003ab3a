"""Threads of which one runs at a time, chosen by the seed; where time is kept, it passes when none can go on.

Every call of a lock, a queue or the device is a point where another thread may be the one that goes on.
"""

import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from types import SimpleNamespace
from typing import Any
from unittest import mock

from gpuload.loading import prefetch, threads as threads_module, work
from tests.simulation.gpu import Deadlock, Gpu

__all__ = ["Threads"]

Condition = Callable[[], bool]
SWITCHES = 0.2  # how likely another thread goes on, where one may


class Threads:
    """The host's threads; the one that makes this is the first.

    Args:
        gpu: what they use.

    Attributes:
        started: how many others were started.
        running: how many of them have not ended.
    """

    def __init__(self, gpu: Gpu) -> None:
        self._gpu, self._first = gpu, threading.get_ident()
        self._turns = {self._first: _turn()}
        self._waiting: dict[int, Condition] = {}
        self._wakes: dict[int, float] = {}
        self._deadlock = False
        self.started = self.running = 0

    # ---- turns ----

    def pause(self, condition: Condition = lambda: True) -> None:
        """Let others go on until the condition holds and the turn comes back."""
        me = threading.get_ident()
        self._waiting[me] = condition
        chosen = self._chosen()
        if chosen != me:
            self._turns[chosen].release()
            self._turns[me].acquire()
        del self._waiting[me]
        if self._deadlock and me == self._first:
            raise Deadlock("every thread waits for another, or for work that cannot run")

    def _chosen(self) -> int:
        """Whose turn it is; the device goes on until somebody can."""
        while True:
            if self._gpu.timed:
                self._gpu.next_end()  # what is done by now
            elif self._gpu.random.random() < SWITCHES:
                self._gpu.step()
            able = [thread for thread, condition in self._waiting.items() if condition()]
            if able:
                return able[0] if self._gpu.timed else self._gpu.random.choice(able)
            if not (self._pass_time() if self._gpu.timed else self._gpu.step()):
                self._deadlock = True
                return self._first

    def _pass_time(self) -> bool:
        ends = [end for end in (self._gpu.next_end(), *self._wakes.values()) if end is not None]
        if ends:
            self._gpu.now = max(self._gpu.now, min(ends))
        return bool(ends)

    def switch(self) -> None:
        """Another thread may go on."""
        if not self._gpu.timed and threading.get_ident() in self._turns and self._gpu.random.random() < SWITCHES:
            self.pause()

    def sleep(self, seconds: float) -> None:
        """Work of this thread that takes so much simulated time."""
        wakes, me = self._gpu.now + seconds, threading.get_ident()
        self._wakes[me] = wakes
        self.pause(lambda: self._gpu.now >= wakes)
        del self._wakes[me]

    def begin(self) -> None:
        """The first thing on a new thread, which is given its turn before it runs."""
        self._turns[threading.get_ident()].acquire()
        del self._waiting[threading.get_ident()]

    def enroll(self, ident: int) -> None:
        self._turns[ident] = _turn()
        self._waiting[ident] = lambda: True
        self.started += 1
        self.running += 1

    def end(self) -> None:
        """The last thing on a thread."""
        self.running -= 1
        del self._turns[threading.get_ident()]
        chosen = self._chosen()
        self._turns[chosen].release()

    # ---- in place of the real ones ----

    @contextmanager
    def installed(self) -> Iterator[None]:
        """The pipeline's threads are these inside the block."""
        owner = self

        class OfThese:
            threads = owner

        primitives = SimpleNamespace(
            Lock=type("Lock", (OfThese, _Lock), {}),
            Thread=type("Thread", (OfThese, _Thread), {}),
            current_thread=threading.current_thread,
        )
        with ExitStack() as stack:
            for module in (prefetch, threads_module, work):
                stack.enter_context(mock.patch.object(module, "threading", primitives))
            for module in (prefetch, threads_module):
                stack.enter_context(mock.patch.object(module, "SimpleQueue", type("Queue", (OfThese, _Queue), {})))
            stack.enter_context(mock.patch.object(self._gpu, "switch", self.switch))
            stack.enter_context(mock.patch.object(self._gpu, "until", self.pause))
            yield


def _turn() -> threading.Lock:
    """One that is not here yet: whoever acquires this waits until it is released."""
    turn = threading.Lock()
    turn.acquire()
    return turn


class _Lock:
    threads: Threads

    def __init__(self) -> None:
        self._held = False

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        self.threads.switch()
        if self._held:
            self.threads.pause(lambda: not self._held)
        self._held = True
        return True

    def release(self) -> None:
        if not self._held:
            raise RuntimeError("release unlocked lock")
        self._held = False
        self.threads.switch()

    __enter__ = acquire

    def __exit__(self, *_: object) -> None:
        self.release()


class _Queue:
    threads: Threads

    def __init__(self) -> None:
        self._items: deque[Any] = deque()

    def __class_getitem__(cls, item: Any) -> Any:
        return cls

    def put(self, item: Any) -> None:
        self._items.append(item)
        self.threads.switch()

    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        self.threads.switch()
        if not self._items:
            self.threads.pause(lambda: bool(self._items))
        return self._items.popleft()

    def empty(self) -> bool:
        return not self._items


class _Thread(threading.Thread):
    threads: Threads

    def start(self) -> None:
        enrolled = threading.Event()
        self._enrolled, self._ended = enrolled, False
        super().start()
        enrolled.wait()
        self.threads.switch()

    def run(self) -> None:
        self.threads.enroll(threading.get_ident())
        self._enrolled.set()
        self.threads.begin()
        try:
            super().run()
        finally:
            self._ended = True
            self.threads.end()

    def join(self, timeout: float | None = None) -> None:
        if not self._ended:
            self.threads.pause(lambda: self._ended)
        super().join(timeout)
