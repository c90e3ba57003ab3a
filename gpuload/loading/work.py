"""What a job is: stages of tasks that any workers may run in any order; and a job in flight.

An error's traceback holds what held the error: so errors are kept in lists, taken out when they are raised, and
forgotten with their job. A task may still run then, on a thread that could not be waited for: it holds its job, and
nothing holds what becomes of it.
"""

import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, Generic, Protocol, TypeVar

from gpuload.loading.threads import Task

__all__ = ["Aside", "Gate", "Job", "Running", "Stage", "unless_stop_iteration"]

Result = TypeVar("Result", covariant=True)
Returned = TypeVar("Returned")


class Gate:
    """What several jobs wait for, that one of them does. Once open it stays so.

    It has no lock, which a forked child might find held by a thread that it does not have: whoever opens it and
    whoever comes late both call what waits, and each call is taken once.
    """

    def __init__(self) -> None:
        self._is_open = False
        self._waiting: deque[Callable[[], None]] = deque()

    def open(self) -> None:
        """Let those who wait go on."""
        self._is_open = True
        self._let_go()

    def when_open(self, call: Callable[[], None]) -> None:
        """Call this as soon as it is open; at once, if it is."""
        self._waiting.append(call)
        if self._is_open:
            self._let_go()

    def _let_go(self) -> None:
        while self._waiting:
            try:
                call = self._waiting.popleft()
            except IndexError:  # another thread has just taken the last
                return
            call()


class Aside:
    """A task that waits rather than works: a thread of its own runs it, and no worker is held up.

    Args:
        task: what it does.
    """

    def __init__(self, task: Task) -> None:
        self.task = task

    def __call__(self) -> None:
        self.task()


Stage = Sequence[Task] | Gate  # whose tasks may be `Aside`


class Job(Protocol[Result]):
    """One batch of work."""

    def stages(self) -> Iterator[Stage]:
        """Yields one stage's tasks after the other; asked for the next when all have been run, or the gate is open.

        What the generator itself does runs on a worker, too. Its end is the job's.
        """

    def result(self) -> Result:
        """What is delivered, made on the consumer's thread."""

    def describe(self) -> str:
        """What it is at, in words that follow "is"; on any thread, at any time."""


def unless_stop_iteration(call: Callable[..., Returned], *arguments: Any) -> Returned:
    """A StopIteration out of a job would end the consumer's loop in silence."""
    try:
        return call(*arguments)
    except StopIteration as error:
        raise RuntimeError(f"{call} raised StopIteration") from error


class Running(Generic[Result]):
    """A job with its state: how many tasks of its stage are left, what went wrong first.

    Args:
        number: of the job.
        job: what is done.
        put: gives tasks to the workers.
        put_aside: gives them those that are `Aside`.
        caught: what is the job's error if a task raises it; else it is that of whoever runs the task.
    """

    def __init__(
        self,
        number: int,
        job: Job[Result],
        put: Callable[[Task], None],
        put_aside: Callable[[Task], None],
        caught: type[BaseException],
    ) -> None:
        self.number = number
        self._job, self._stages, self._caught = job, job.stages(), caught
        self._put, self._put_aside = put, put_aside
        self.ended: Callable[[Running[Result]], None] = _ignore
        self._lock = threading.Lock()
        self._stage = self._left = 0
        self._failed: list[tuple[int, BaseException]] = []  # at most one: the number of its task, and the error
        self._forgotten = False
        # not an Event: no Python code runs while this is held, so the garbage collector may call `release` any time
        self._gate = threading.Lock()
        self._gate.acquire()

    def advance(self) -> None:
        """Begin the next stage; the first, too."""
        stage = self._next_stage()
        if stage is None:
            self._stages = iter(())  # with all that it holds
            self.release()
            self.ended(self)
        elif isinstance(stage, Gate):
            stage.when_open(partial(self._put, self.advance))
        else:
            self._left = len(stage)
            for number, task in enumerate(stage):
                put = self._put_aside if isinstance(task, Aside) else self._put
                put(partial(self._run, number, task))

    def _next_stage(self) -> Stage | None:
        """A gate, or tasks; None: there is no more, or something went wrong."""
        stage: Stage | None = ()
        while not self._failed and not self._forgotten and stage is not None:
            if isinstance(stage, Gate) or stage:
                return stage
            self._stage += 1
            try:
                stage = next(self._stages, None)
            except self._caught as error:
                self._fail(0, error)
        return None

    def _run(self, number: int, task: Task) -> None:
        try:
            if not self._forgotten:
                unless_stop_iteration(task)
        except self._caught as error:
            self._fail(number, error)
        with self._lock:
            self._left -= 1
            last = self._left == 0
        if last:
            self.advance()

    def _fail(self, number: int, error: BaseException) -> None:
        with self._lock:
            first = not self._failed or number < self._failed[0][0]  # the same error, whatever the timing
            if first and not self._forgotten:
                self._failed = [(number, error)]

    def wait(self, seconds: float) -> bool:
        """Until the last stage has ended, or `release`; False: that took longer."""
        if not self._gate.acquire(True, seconds):
            return False
        self.release()
        return True

    def release(self) -> None:
        """Let whoever waits go on."""
        try:  # noqa: SIM105  suppress() would cost the consumer more than the rest of its wait
            self._gate.release()
        except RuntimeError:  # it was released before
            pass

    def forget(self) -> None:
        """Let go of the job, which nobody will ask for; it may hold a gate that holds this.

        Tasks of it may still run; the others will do nothing.
        """
        self._forgotten = True
        self._put = self._put_aside = self.ended = _ignore
        self._stages = iter(())
        self._failed.clear()
        del self._job

    def describe(self) -> str:
        """What it is at."""
        if not self._stage:
            return f"batch {self.number} has not begun"
        return f"batch {self.number} is {self._job.describe()}"

    def result(self) -> Result:
        if self._failed:
            raise self._failed.pop()[1]
        return unless_stop_iteration(self._job.result)


def _ignore(_: object) -> None:
    pass
