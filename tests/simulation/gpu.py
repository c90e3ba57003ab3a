"""Streams and events, and the order in which their work runs: any that CUDA allows, drawn from a seed."""

import random
import threading
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from tests.simulation.clocks import Access, Accesses, Clock, Known

Span = tuple[Accesses, int, int]  # bytes [begin, end) of a memory
Spans = Sequence[Span] | Callable[[], Iterable[Span]]
Step = Callable[[], None]
Costs = Callable[[str, int], float]


class Deadlock(AssertionError):
    """Somebody waits for what nobody will do."""


@dataclass
class Ticket:
    """One recording of an event."""

    known: Known
    done: bool = False
    at: float = 0.0  # when it was done, where time is kept


@dataclass
class _Work:
    """A step of a stream's work: run when all before it is done, and the ticket's work is, too."""

    run: Step
    after: Ticket | None
    takes: float
    ends: float | None = None  # once it runs, where time is kept

    def is_ready(self) -> bool:
        return self.after is None or self.after.done


def _nothing() -> None:
    pass


class Stream(Clock):
    """A queue of a device's work.

    Args:
        gpu: whose stream it is.
        device: the number of the device.
        name: for messages.
    """

    def __init__(self, gpu: "Gpu", device: int, name: str) -> None:
        super().__init__(name)
        self.gpu, self.device = gpu, device
        self.queue: deque[_Work] = deque()
        gpu.streams.append(self)

    def add(
        self,
        what: str,
        *steps: Step,
        reads: Spans = (),
        writes: Spans = (),
        after: Ticket | None = None,
    ) -> None:
        """Put work at the end of the queue.

        Args:
            what: its name.
            steps: what it does, one after the other; others may do something in between.
            reads, writes: the memory that it needs, or what says so when it runs.
            after: it waits for that.
        """
        with self.gpu.lock:
            self.learn(self.gpu.host.known)
            if after is not None:
                self.learn(after.known)
            moment = self.step()
            known = dict(self.known)

            def begin() -> None:
                for spans, is_write in ((reads, False), (writes, True)):
                    for memory, first, end in spans() if callable(spans) else spans:
                        self.gpu.note(memory, Access(first, end, is_write, moment, known, what))

            size = 0 if callable(writes) else sum(end - first for _, first, end in writes)
            self.queue.append(_Work(begin, after, self.gpu.costs(what, size)))
            self.queue.extend(_Work(step, None, 0.0) for step in steps)
        self.gpu.go_on()

    @property
    def cuda_stream(self) -> int:
        """As native code knows it; 0 is no stream's."""
        return self.gpu.streams.index(self) + 1

    def wait_event(self, event: "Event") -> None:
        if event.ticket is not None:
            self.add("wait", after=event.ticket)

    def ticket(self) -> Ticket:
        """The point that this stream's work has now."""
        with self.gpu.lock:
            self.learn(self.gpu.host.known)
            ticket = Ticket(dict(self.known))

            def reach() -> None:
                ticket.done, ticket.at = True, self.gpu.now

            self.queue.append(_Work(reach, None, 0.0))
        return ticket

    def synchronize(self) -> None:
        self.gpu.touch(self.device)
        self.gpu.wait_for(self.ticket(), f"all work of {self.name}")


class Event:
    """A point in a stream's work."""

    def __init__(self, gpu: "Gpu") -> None:
        self._gpu = gpu
        self.ticket: Ticket | None = None

    def put(self, stream: Stream) -> None:
        self.ticket = stream.ticket()
        self._gpu.go_on()

    def synchronize(self) -> None:
        self._gpu.touch(self._gpu.here.device)  # torch sets none
        if self.ticket is not None:
            self._gpu.wait_for(self.ticket, "an event")


class _Here(threading.local):
    """What CUDA keeps for each thread of the host's."""

    device = 0
    is_gentle = False  # its calls leave captures of other threads alone

    def __init__(self) -> None:
        self.streams: dict[int, Stream] = {}


class Gpu:
    """All devices: their streams, and what the host knows of them.

    Args:
        seed: of the order in which work runs, and of how far the host is ahead of it.
        costs: simulated seconds that work takes, of its name and the bytes that it writes; None: no time is kept, and
            all orders are possible.

    Attributes:
        problems: what went wrong, in words.
        waits: what the host had to wait for.
        contexts: the devices that have one.
        capturing: the thread that captures a graph, in the mode that forbids others what could disturb it; or None.
        switch: called where another of the host's threads may go on.
        until: called to wait for a condition.
    """

    PACES: Sequence[Sequence[int]] = ((0,), (0, 0, 0, 1, 2, 5), (0, 1), (4,))  # steps after a call: late, to at once

    def __init__(self, seed: int = 0, costs: Costs | None = None) -> None:
        self.random = random.Random(seed)
        self.pace = self.random.choice(self.PACES)
        self.host, self.streams = Clock("host"), list[Stream]()
        self.problems, self.waits = list[str](), list[str]()
        self.lock = threading.RLock()
        self.timed, self.costs, self.now = costs is not None, costs or (lambda what, size: 0.0), 0.0
        self.contexts, self.here = set[int](), _Here()
        self.capturing: int | None = None
        self.switch: Step = _nothing
        self.until: Callable[[Callable[[], bool]], None] = self._until

    # ---- the host ----

    def touch(self, device: int) -> None:
        """A call that makes a context."""
        self.contexts.add(device)

    def unsafe(self, what: str) -> None:
        """A call that spoils a capture."""
        if self.capturing is not None and not self.here.is_gentle:
            self.problem(f"{what} on {threading.current_thread().name} spoils a capture")

    def problem(self, what: str) -> None:
        if what not in self.problems:
            self.problems.append(what)

    def current_stream(self, device: int) -> Stream:
        """The calling thread's."""
        return self.here.streams.get(device) or self.default_stream(device)

    def default_stream(self, device: int) -> Stream:
        name = f"the default stream of cuda:{device}"
        with self.lock:
            found = next((stream for stream in self.streams if stream.name == name), None)
            return found or Stream(self, device, name)

    def go_on(self) -> None:
        """Time passes on the host: the device may do something."""
        with self.lock:
            for _ in range(0 if self.timed else self.random.choice(self.pace)):
                self.step()
        self.switch()

    def wait_for(self, ticket: Ticket, what: str) -> None:
        """The host waits."""
        self.unsafe("a wait")
        if not ticket.done:
            self.waits.append(what)
            self.until(lambda: ticket.done)
        with self.lock:
            self.host.learn(ticket.known)

    def _until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            if not self.step() and not condition():  # another thread may have made the last step
                raise Deadlock("the host waits for work that cannot run")

    def access(self, what: str, span: Span, writes: bool) -> None:
        """The host reads or writes memory."""
        memory, begin, end = span
        with self.lock:
            moment = self.host.step()
            self.note(memory, Access(begin, end, writes, moment, dict(self.host.known), what))

    def note(self, memory: Accesses, access: Access) -> None:
        if access.begin < access.end:
            for collision in memory.add(access):
                self.problem(collision)

    # ---- the device ----

    def step(self) -> bool:
        """Some stream goes a step on; False: none can."""
        with self.lock:
            can = [stream for stream in self.streams if stream.queue and stream.queue[0].is_ready()]
            if can:
                self._run(self.random.choice(can))
            return bool(can)

    def _run(self, stream: Stream) -> None:
        try:
            stream.queue.popleft().run()
        except Exception as error:  # a kernel's, of elements that are not there yet
            self.problem(f"{stream.name}: {type(error).__name__}: {error}")

    def next_end(self) -> float | None:
        """When the first of the work that runs is done; what can begin now, begins, and what takes no time is done."""
        began = True
        while began:
            began = False
            for stream in self.streams:
                head = stream.queue[0] if stream.queue else None
                if head is None or not head.is_ready():
                    continue
                head.ends = self.now + head.takes if head.ends is None else head.ends
                if head.ends <= self.now:
                    self._run(stream)
                    began = True
        ends = [stream.queue[0].ends for stream in self.streams if stream.queue]
        return min((end for end in ends if end is not None), default=None)

    def finish(self) -> None:
        """All work is done; the host waits for it."""
        while self.step():
            pass
        left = sum(len(stream.queue) for stream in self.streams)
        if left:
            self.problem(f"{left} steps of work wait for what never happens")
        for stream in self.streams:
            self.host.learn(stream.known)
