"""Jobs on threads: bounded queues, delivery in order or as they come, timeouts, shutdown. Knows no images.

A job is a batch: stages of tasks, each stage a list of calls that any workers may run in any order. At most
``depth`` jobs are in flight; they leave in the order in which they came, or in that in which they end. A task that
raises spoils its own job alone, whose turn then raises; jobs before it are delivered, and jobs after it can be.

An error's traceback holds what held the error: so errors are kept in lists, taken out when they are raised, and
forgotten when the pipeline is closed. A task may still run then, on a thread that could not be waited for: it holds
its job, and nothing holds what becomes of it.
"""

import threading
import weakref
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from math import inf
from queue import Empty, SimpleQueue
from typing import Any, Generic, Protocol, TypeVar

from gpuload.errors import TimedOutError
from gpuload.loading.threads import Task, Threads

__all__ = ["Aside", "Gate", "Job", "Pipeline", "Stage", "unless_stop_iteration"]

LOOK = 1.0  # seconds after which a wait looks for signals: one that came just before it has not ended it

Result = TypeVar("Result", covariant=True)
Returned = TypeVar("Returned")


class Gate:
    """What several jobs wait for, that one of them does. Once open it stays so."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: list[Callable[[], None]] | None = []

    def open(self) -> None:
        """Let those who wait go on."""
        with self._lock:
            waiting, self._waiting = self._waiting or [], None
        for call in waiting:
            call()

    def when_open(self, call: Callable[[], None]) -> None:
        """Call this as soon as it is open; at once, if it is."""
        with self._lock:
            if self._waiting is not None:
                self._waiting.append(call)
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


def unless_stop_iteration(call: Callable[..., Returned], *arguments: Any) -> Returned:
    """A StopIteration out of a job would end the consumer's loop in silence."""
    try:
        return call(*arguments)
    except StopIteration as error:
        raise RuntimeError(f"{call} raised StopIteration") from error


class _Running(Generic[Result]):
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
        self.ended: Callable[[_Running[Result]], None] = _ignore
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
        """How far it is."""
        return f"batch {self.number} has {self._left} tasks of its stage {self._stage} left"

    def result(self) -> Result:
        if self._failed:
            raise self._failed.pop()[1]
        return unless_stop_iteration(self._job.result)


def _ignore(_: object) -> None:
    pass


class _State(Generic[Result]):
    """All but the consumer's side. Workers hold this, never the pipeline, so that a dropped pipeline is collected."""

    def __init__(self, jobs: Iterator[Job[Result]], threads: Threads, aside: Threads | None, depth: int) -> None:
        self._jobs: Iterator[Job[Result]] | None = jobs
        self._threads: Threads | None = threads
        self._aside = aside
        self.tasks = threads.tasks
        self._put_aside = (aside or threads).tasks.put
        self._here = threads.count == 0
        self._depth = 1 if self._here else max(depth, 1)
        self._feeding = threading.Lock()
        self._count = 0
        self._failed: list[Exception] = []  # at most one: why there are no more jobs
        self.running: deque[_Running[Result]] = deque()
        self.stopped = False

    def feed(self) -> None:
        """Ask for as many jobs as may be in flight."""
        with self._feeding:
            while (jobs := self._jobs) is not None and len(self.running) < self._depth and not self.stopped:
                try:
                    running = self._running(next(jobs))
                except StopIteration:
                    self._jobs = None
                except Exception as error:
                    trace = error.__traceback__  # but for this frame, through which the workers would hold the consumer
                    self._jobs, self._failed = None, [error.with_traceback(trace and trace.tb_next)]
                    del trace
                else:
                    if not self.stopped:
                        self.running.append(running)
                        self.tasks.put(running.advance)

    def _running(self, job: Job[Result]) -> _Running[Result]:
        self._count += 1
        # Ctrl-C during a task on the consumer's own thread is no error of the job
        caught = Exception if self._here else BaseException
        return _Running(self._count - 1, job, self.tasks.put, self._put_aside, caught)

    def take(self, timeout: float | None) -> _Running[Result]:
        """The job whose turn it is, when it has ended."""
        if self.stopped or not self.running:
            raise self._failed.pop() if self._failed else StopIteration
        if self._here:
            self._work_here()
        left = inf if timeout is None else timeout
        running = self._wait(min(left, LOOK))
        while running is None and left > LOOK and not self.stopped:
            left -= LOOK
            running = self._wait(min(left, LOOK))
        if self.stopped:  # maybe by another thread
            raise StopIteration
        if running is None:
            raise TimedOutError(self._describe_wait(timeout))
        try:  # noqa: SIM105  likewise
            self.running.remove(running)
        except ValueError:  # another thread has just stopped all
            pass
        return running

    def _wait(self, seconds: float) -> _Running[Result] | None:
        """Until a job's turn has come; None: that took longer, or all was stopped."""
        try:
            running = self.running[0]
        except IndexError:  # by another thread, just now
            return None
        return running if running.wait(seconds) else None

    def _work_here(self) -> None:
        """All tasks that there are, on the calling thread."""
        while not self.tasks.empty():
            task = self.tasks.get()
            if task is not None:
                task()

    def _describe_wait(self, timeout: float | None) -> str:
        busy = self._threads.busy() if self._threads is not None else ""
        where = self.running[0].describe() if self.running else "the pipeline is closed"
        return f"DataLoader timed out after {timeout} seconds: {where}" + (f"; {busy}" if busy else "")

    def cancel(self) -> None:
        """End the iteration, without waiting for what runs."""
        self.stopped = True
        for running in self.running.copy():
            running.release()

    def close(self) -> None:
        """End the iteration, and the threads, if nobody else has them."""
        self.cancel()
        self._threads = self._aside = None  # here they are waited for: what they hold is let go first
        while self.running:
            self.running.popleft().forget()
        self._failed.clear()
        self._jobs = None


class _AsTheyEnd(_State[Result]):
    """Jobs leave in the order in which they end."""

    def __init__(self, jobs: Iterator[Job[Result]], threads: Threads, aside: Threads | None, depth: int) -> None:
        super().__init__(jobs, threads, aside, depth)
        self._ended: SimpleQueue[_Running[Result] | None] = SimpleQueue()

    def _running(self, job: Job[Result]) -> _Running[Result]:
        running = super()._running(job)
        running.ended = self._ended.put
        return running

    def _wait(self, seconds: float) -> _Running[Result] | None:
        try:
            running = self._ended.get(True, seconds)
        except Empty:
            return None
        if running is None:  # whoever else waits is to know
            self._ended.put(None)
        return running

    def cancel(self) -> None:
        super().cancel()
        self._ended.put(None)


class Pipeline(Generic[Result]):
    """Iterate over the results of jobs.

    When it is dropped or closed, what is in flight is canceled, and its threads end if nobody else has them.

    Args:
        jobs: where they come from; never asked for more than ``depth`` ahead. If it fails, the jobs before are
            delivered first.
        threads: the workers; where there are none the consumer runs each task itself.
        depth: most jobs in flight, at least 1.
        anywhere: workers may ask for jobs, one at a time, so that the consumer need not: a few microseconds of
            Python, which cost it ten times that after its own work. False: only the consumer's thread does.
        in_order: as the jobs came; False: as they end.
        timeout: most seconds that the consumer waits for a job; 0: as long as it takes. The consumer's own work is
            not timed, so without threads it is of no effect.
        aside: the thread of tasks that are `Aside`; None: they are like others.

    Raises:
        TimedOutError: by ``next``; the iteration is over then.
    """

    def __init__(
        self,
        jobs: Iterator[Job[Result]],
        threads: Threads,
        depth: int,
        anywhere: bool = False,
        in_order: bool = True,
        timeout: float = 0,
        aside: Threads | None = None,
    ) -> None:
        kind = _State[Result] if in_order or threads.count == 0 else _AsTheyEnd[Result]
        self._state = kind(jobs, threads, aside, depth)
        self._anywhere, self._timeout = anywhere and threads.count > 0, timeout or None
        self._close = weakref.finalize(self, self._state.close)

    def __iter__(self) -> "Pipeline[Result]":
        return self

    def __next__(self) -> Result:
        state = self._state
        try:
            if self._anywhere and state.running:
                state.tasks.put(state.feed)
            else:
                state.feed()
            running = state.take(self._timeout)
        except (KeyboardInterrupt, TimedOutError):  # which come at once: threads are waited for when this is dropped
            state.cancel()
            raise
        except BaseException:  # the end, or a failure of where the jobs come from
            self.close()
            raise
        return running.result()

    def close(self) -> None:
        """Cancel what is in flight, and wait for the threads if nobody else has them."""
        self._close()
