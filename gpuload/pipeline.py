"""Threads, bounded queues, in-order delivery, shutdown. Knows no images.

A job is a batch: so many tasks that any worker may run in any order. At most ``depth`` jobs are under way;
they leave in the order in which they came. A task that raises spoils its own job alone, whose turn then
raises; jobs before it are delivered, and jobs after it can be.
"""

import threading
import weakref
from collections import deque
from collections.abc import Iterator
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
    """A job with its state: which tasks were handed out, how many are left, what went wrong where."""

    def __init__(self, job: Job[Result]) -> None:
        self.job = job
        self.handed_out = 0
        self.left = len(job)
        self.error: tuple[int, BaseException] | None = None
        self.done = False

    def run(self, task: int) -> None:
        try:
            self.job.run(task)
        except BaseException as error:
            if self.error is None or task < self.error[0]:  # the same error, whatever the timing
                self.error = (task, error)

    def finish(self) -> None:
        if self.error is None:
            try:
                self.job.finish()
            except BaseException as error:
                self.error = (len(self.job), error)

    def result(self) -> Result:
        if self.error is not None:
            raise self.error[1]
        return self.job.result()


class _State(Generic[Result]):
    """What the workers share. They hold this, never the pipeline, so that a dropped pipeline is collected."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.running: deque[_Running[Result]] = deque()
        self.stopped = False

    def next_task(self) -> tuple[_Running[Result], int] | None:
        """Wait for a task; None: stop."""
        with self.changed:
            while not self.stopped:
                for running in self.running:
                    if running.handed_out < len(running.job):
                        running.handed_out += 1
                        return running, running.handed_out - 1
                self.changed.wait()
        return None

    def work(self) -> None:
        while (task := self.next_task()) is not None:
            running, number = task
            running.run(number)
            with self.changed:
                running.left -= 1
                last = running.left == 0
            if last:
                running.finish()
                with self.changed:
                    running.done = True
                    self.changed.notify_all()
            del running, task

    def stop(self, threads: list[threading.Thread]) -> None:
        with self.changed:
            self.stopped = True
            self.changed.notify_all()
        for thread in threads:
            if thread is not threading.current_thread():
                thread.join()
        self.running.clear()


class Pipeline(Generic[Result]):
    """Iterate over the results of jobs, in order.

    Args:
        jobs: where they come from; asked on the consumer's thread alone, and never for more than ``depth``
            ahead.
        workers: threads; with 0 the consumer runs each task itself.
        depth: most jobs under way, at least 1.
    """

    def __init__(self, jobs: Iterator[Job[Result]], workers: int, depth: int) -> None:
        self._jobs = jobs
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
            self._top_up()
            running = self._take()
        except BaseException:  # the end, Ctrl-C, or a failure of where the jobs come from
            self.close()
            raise
        return running.result()

    def _top_up(self) -> None:
        state = self._state
        while not state.stopped and len(state.running) < self._depth:
            job = next(self._jobs, None)
            if job is None:
                break
            running = _Running(job)
            if len(job) == 0:
                running.finish()
                running.done = True
            with state.changed:
                state.running.append(running)
                state.changed.notify_all()

    def _take(self) -> _Running[Result]:
        state = self._state
        if not state.running:
            raise StopIteration
        running = state.running[0]
        if not self._threads:
            self._run_here(running)
        with state.changed:
            while not running.done:
                state.changed.wait()
            state.running.popleft()
        return running

    @staticmethod
    def _run_here(running: _Running[Result]) -> None:
        for task in range(len(running.job)):
            running.run(task)
            if running.error is not None:
                break
        running.finish()
        running.done = True

    def close(self) -> None:
        """Stop the workers and wait for them; what is under way is given up."""
        self._close()
