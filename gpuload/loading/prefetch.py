"""Threads, bounded queues, in-order delivery, shutdown. Knows no images.

A job is a batch: stages of tasks, each stage a list of calls that any workers may run in any order. At most
``depth`` jobs are in flight; they leave in the order in which they came. A task that raises spoils its own job
alone, whose turn then raises; jobs before it are delivered, and jobs after it can be.

Workers take tasks from one queue that is made in C, so that many of them do not wake each other for nothing.
An error's traceback holds what held the error: so errors are kept in lists, taken out when they are raised, and
forgotten when the pipeline is closed.
"""

import threading
import weakref
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from queue import SimpleQueue
from typing import Any, Generic, Protocol, TypeVar

__all__ = ["Gate", "Job", "Pipeline", "Stage", "Task", "unless_stop_iteration"]

Task = Callable[[], None]
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


Stage = Sequence[Task] | Gate


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
    """A job with its state: how many tasks of its stage are left, what went wrong first."""

    def __init__(self, job: Job[Result], put: Callable[[Task], None]) -> None:
        self._job, self._stages, self._put = job, job.stages(), put
        self._lock = threading.Lock()
        self._left = 0
        self._failed: list[tuple[int, BaseException]] = []  # at most one: the number of its task, and the error
        # not an Event: no Python code runs while this is held, so the garbage collector may call `release` any time
        self._gate = threading.Lock()
        self._gate.acquire()

    def advance(self) -> None:
        """Begin the next stage; the first, too."""
        stage = self._next_stage()
        if stage is None:
            self._stages = iter(())  # with all that it holds
            self.release()
        elif isinstance(stage, Gate):
            stage.when_open(partial(self._put, self.advance))
        else:
            self._left = len(stage)
            for number, task in enumerate(stage):
                self._put(partial(self._run, number, task))

    def _next_stage(self) -> Stage | None:
        """A gate, or tasks; None: there is no more, or something went wrong."""
        stage: Stage | None = ()
        while not self._failed and stage is not None:
            try:
                stage = next(self._stages, None)
            except BaseException as error:
                self._fail(0, error)
                return None
            if isinstance(stage, Gate) or stage:
                return stage
        return None

    def _run(self, number: int, task: Task) -> None:
        try:
            unless_stop_iteration(task)
        except BaseException as error:
            self._fail(number, error)
        with self._lock:
            self._left -= 1
            last = self._left == 0
        if last:
            self.advance()

    def _fail(self, number: int, error: BaseException) -> None:
        with self._lock:
            if not self._failed or number < self._failed[0][0]:  # the same error, whatever the timing
                self._failed = [(number, error)]

    def wait(self) -> None:
        """Until the last stage has ended, or `release`."""
        self._gate.acquire()
        self.release()

    def release(self) -> None:
        """Let whoever waits go on."""
        try:  # noqa: SIM105  suppress() would cost the consumer more than the rest of its wait
            self._gate.release()
        except RuntimeError:  # it was released before
            pass

    def forget(self) -> None:
        """Let go of the job, which nobody will ask for; it may hold a gate that holds this."""
        self._stages = iter(())
        self._failed.clear()
        del self._job

    def result(self) -> Result:
        if self._failed:
            raise self._failed.pop()[1]
        return unless_stop_iteration(self._job.result)


class _State(Generic[Result]):
    """What the workers share. They hold this, never the pipeline, so that a dropped pipeline is collected."""

    def __init__(self, jobs: Iterator[Job[Result]], depth: int) -> None:
        self._jobs: Iterator[Job[Result]] | None = jobs
        self._depth = depth
        self._feeding = threading.Lock()
        self.failed: list[Exception] = []  # at most one: why there are no more jobs
        self.tasks: SimpleQueue[Task | None] = SimpleQueue()
        self.running: deque[_Running[Result]] = deque()
        self.stopped = False
        self.broken: list[BaseException] = []  # why workers could not start

    def work(self, start: Callable[[], None]) -> None:
        try:
            start()
        except BaseException as error:
            self.broken.append(error)
            self._cancel()
            return
        while self._work_once():
            pass

    def _work_once(self) -> bool:
        """One task, in a frame of its own: a worker that waits holds no job."""
        task = self.tasks.get()
        if task is None or self.stopped:
            return False
        task()
        return True

    def feed(self) -> None:
        """Ask for as many jobs as may be in flight."""
        with self._feeding:
            while self._jobs is not None and len(self.running) < self._depth and not self.stopped:
                try:
                    running = _Running(next(self._jobs), self.tasks.put)
                except StopIteration:
                    self._jobs = None
                except Exception as error:
                    trace = error.__traceback__  # but for this frame, through which the workers would hold the consumer
                    self._jobs, self.failed = None, [error.with_traceback(trace and trace.tb_next)]
                    del trace
                else:
                    self.running.append(running)
                    self.tasks.put(running.advance)

    def work_here(self) -> None:
        """All tasks that there are, on the calling thread."""
        while not self.tasks.empty():
            self._work_once()

    def stop(self, threads: list[threading.Thread]) -> None:
        self._cancel()
        for _ in threads:
            self.tasks.put(None)
        # the garbage collector may run this on a worker: then nobody can be waited for
        if threading.current_thread() not in threads:
            for thread in threads:
                if thread.is_alive():  # not so where it could not be started
                    thread.join()
            while self.running:
                self.running.popleft().forget()
            self.broken.clear()
            self.failed.clear()
            self._jobs = None
            while not self.tasks.empty():
                self.tasks.get()

    def _cancel(self) -> None:
        self.stopped = True
        for running in self.running.copy():
            running.release()


def _nothing() -> None:
    pass


class Pipeline(Generic[Result]):
    """Iterate over the results of jobs, in order.

    Args:
        jobs: where they come from; never asked for more than ``depth`` ahead. If it fails, the jobs before are
            delivered first.
        workers: threads; with 0 the consumer runs each task itself.
        depth: most jobs in flight, at least 1.
        start: called first on every worker; if it raises, so does the consumer's next call.
        anywhere: workers may ask for jobs, one at a time, so that the consumer need not: a few microseconds of
            Python, which cost it ten times that after its own work. False: only the consumer's thread does.
    """

    def __init__(
        self,
        jobs: Iterator[Job[Result]],
        workers: int,
        depth: int,
        start: Callable[[], None] = _nothing,
        anywhere: bool = False,
    ) -> None:
        self._state: _State[Result] = _State(jobs, max(depth, 1) if workers else 1)
        self._anywhere = anywhere and workers > 0
        self._threads = [
            threading.Thread(target=self._state.work, args=(start,), name=f"gpuload-worker-{i}", daemon=True)
            for i in range(workers)
        ]
        # also runs at interpreter exit, so that no thread is left inside native code
        self._close = weakref.finalize(self, self._state.stop, self._threads)
        for thread in self._threads:
            thread.start()

    def __iter__(self) -> "Pipeline[Result]":
        return self

    def __next__(self) -> Result:
        state = self._state
        try:
            if self._anywhere and state.running:
                state.tasks.put(state.feed)
            else:
                state.feed()
            running = self._take()
        except BaseException:  # the end, Ctrl-C, or a failure of where the jobs come from
            self.close()
            raise
        return running.result()

    def _take(self) -> _Running[Result]:
        state = self._state
        running = state.running[0] if state.running else None
        if running is not None:
            if not self._threads:
                state.work_here()
            if not state.stopped:
                running.wait()
        if state.broken:
            raise state.broken.pop()
        if state.stopped:  # maybe by another thread
            raise StopIteration
        if running is None:
            raise state.failed.pop() if state.failed else StopIteration
        try:  # noqa: SIM105  likewise
            state.running.popleft()
        except IndexError:  # another thread has just stopped all
            pass
        return running

    def close(self) -> None:
        """Stop the workers and wait for them; what is in flight is canceled."""
        self._close()
