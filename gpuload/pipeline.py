"""Threads, bounded queues, in-order delivery, shutdown. Knows no images.

A job is a batch: so many tasks that any worker may run in any order. At most ``depth`` jobs are under way;
they leave in the order in which they came. A task that raises spoils its own job alone, whose turn then
raises; jobs before it are delivered, and jobs after it can be.
"""

import threading
import weakref
from collections import deque
from collections.abc import Callable, Iterator
from functools import partial
from typing import Generic, Protocol, TypeVar

__all__ = ["Job", "Pipeline"]

Result = TypeVar("Result", covariant=True)


class Job(Protocol[Result]):
    """One batch of work."""

    def __len__(self) -> int:
        """Number of tasks; may be 0."""

    def run(self, task: int) -> None:
        """One task, on a worker."""

    def finish(self) -> None:
        """After the last task, on the worker that ran it."""

    def result(self) -> Result:
        """What is delivered, made on the consumer's thread."""


class _Running(Generic[Result]):
    """A job with its state: which tasks were handed out, how many are left, what went wrong first."""

    def __init__(self, job: Job[Result]) -> None:
        self.job = job
        self.size = self.left = len(job)
        self.handed_out = 0
        self.error: tuple[int, BaseException] | None = None
        self.done = False

    def run(self, task: int) -> None:
        self._try(task, partial(self.job.run, task))

    def finish(self) -> None:
        if self.error is None:
            self._try(self.size, self.job.finish)
        self.done = True

    def _try(self, task: int, call: Callable[[], None]) -> None:
        try:
            _unless_stop_iteration(call)
        except BaseException as error:
            if self.error is None or task < self.error[0]:  # the same error, whatever the timing
                self.error = (task, error)

    def result(self) -> Result:
        if self.error is None:
            return _unless_stop_iteration(self.job.result)
        # nothing that the error's traceback holds may hold the error: it would outlive its handler
        error, self.error = self.error[1], None
        try:
            raise error
        finally:
            del error


Returned = TypeVar("Returned")


def _unless_stop_iteration(call: Callable[[], Returned]) -> Returned:
    """A StopIteration out of a job would end the consumer's loop in silence."""
    try:
        return call()
    except StopIteration as error:
        raise RuntimeError(f"{call} raised StopIteration") from error


class _State(Generic[Result]):
    """What the workers share. They hold this, never the pipeline, so that a dropped pipeline is collected."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.running: deque[_Running[Result]] = deque()
        self.stopped = False

    def work(self) -> None:
        while self.work_once():
            pass

    def work_once(self) -> bool:
        """One task, in a frame of its own: a worker that waits holds no job."""
        task = self._next_task()
        if task is None:
            return False
        running, number = task
        running.run(number)
        with self.changed:
            running.left -= 1
            last = running.left == 0
        if last:
            running.finish()
            with self.changed:
                self.changed.notify_all()
        return True

    def _next_task(self) -> tuple[_Running[Result], int] | None:
        """Wait for a task; None: stop."""
        with self.changed:
            while not self.stopped:
                running = next((r for r in self.running if r.handed_out < r.size), None)
                if running is not None:
                    running.handed_out += 1
                    return running, running.handed_out - 1
                self.changed.wait()
        return None

    def stop(self, threads: list[threading.Thread]) -> None:
        with self.changed:
            self.stopped = True
            self.changed.notify_all()
        # the garbage collector may run this on a worker, maybe under the lock: then nobody can be waited for
        if threading.current_thread() not in threads:
            for thread in threads:
                thread.join()
            self.running.clear()


class Pipeline(Generic[Result]):
    """Iterate over the results of jobs, in order.

    Args:
        jobs: where they come from; asked on the consumer's thread alone, and never for more than ``depth``
            ahead. If it fails, the jobs before are delivered first.
        workers: threads; with 0 the consumer runs each task itself.
        depth: most jobs under way, at least 1.
    """

    def __init__(self, jobs: Iterator[Job[Result]], workers: int, depth: int) -> None:
        self._jobs: Iterator[Job[Result]] | None = jobs
        self._failure: Exception | None = None
        self._depth = max(depth, 1) if workers else 1
        self._state: _State[Result] = _State()
        self._threads = [
            threading.Thread(target=self._state.work, name=f"gpuload-worker-{i}", daemon=True) for i in range(workers)
        ]
        # also runs at interpreter exit, so that no thread is left inside native code
        self._close = weakref.finalize(self, self._state.stop, self._threads)
        for thread in self._threads:
            thread.start()

    def __iter__(self) -> "Pipeline[Result]":
        return self

    def __next__(self) -> Result:
        try:
            while len(self._state.running) < self._depth and self._add_job():
                pass
            running = self._take()
        except BaseException:  # the end, Ctrl-C, or a failure of where the jobs come from
            self.close()
            raise
        return running.result()

    def _add_job(self) -> bool:
        if self._jobs is None or self._state.stopped:
            return False
        try:
            running = _Running(next(self._jobs))
        except StopIteration:
            self._jobs = None
            return False
        except Exception as error:
            self._jobs, self._failure = None, error
            return False
        if running.size == 0 and self._threads:
            running.finish()
        with self._state.changed:
            self._state.running.append(running)
            self._state.changed.notify_all()
        return True

    def _take(self) -> _Running[Result]:
        state = self._state
        if not state.running:
            failure, self._failure = self._failure, None
            raise failure or StopIteration
        running = state.running[0]
        if not self._threads:
            self._run_here(running)
        with state.changed:
            while not running.done and not state.stopped:
                state.changed.wait()
            if state.stopped:  # by another thread
                raise StopIteration
            state.running.popleft()
        return running

    @staticmethod
    def _run_here(running: _Running[Result]) -> None:
        for task in range(running.size):
            running.run(task)
            if running.error is not None:
                break
        running.finish()

    def close(self) -> None:
        """Stop the workers and wait for them; what is under way is given up."""
        self._close()
