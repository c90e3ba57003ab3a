"""Jobs on threads: bounded queues, delivery in order or as they come, timeouts, shutdown. Knows no images.

A job is a batch. At most ``depth`` jobs are in flight; they leave in the order in which they came, or in that in which
they end. A task that raises spoils its own job alone, whose turn then raises; jobs before it are delivered, and jobs
after it can be.
"""

import logging
import os
import threading
import weakref
from collections import deque
from collections.abc import Iterator
from queue import Empty, SimpleQueue
from typing import Generic

from gpuload.errors import TimedOutError, WorkerError
from gpuload.loading.threads import Threads
from gpuload.loading.work import Job, Result, Running

__all__ = ["Pipeline"]

LOOK = 1.0  # seconds after which a wait looks for signals, one that came just before it has not ended it, and threads
PATIENCE = 60.0  # seconds after which a wait says in the log what it waits for; and again after twice as long

logger = logging.getLogger("gpuload")


class _State(Generic[Result]):
    """All but the consumer's side. Workers hold this, never the pipeline, so that a dropped pipeline is collected."""

    def __init__(self, jobs: Iterator[Job[Result]], threads: Threads, aside: Threads | None, depth: int) -> None:
        self._jobs: Iterator[Job[Result]] | None = jobs
        self._threads: Threads | None = threads
        self._aside = aside
        self.tasks = threads.tasks
        self._put_aside = (aside or threads).tasks.put
        self._here, self._process = threads.count == 0, os.getpid()
        self._depth = 1 if self._here else max(depth, 1)
        self._feeding = threading.Lock()
        self._count = 0
        self._failed: list[Exception] = []  # at most one: why there are no more jobs
        self.running: deque[Running[Result]] = deque()
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

    def _running(self, job: Job[Result]) -> Running[Result]:
        self._count += 1
        # Ctrl-C during a task on the consumer's own thread is no error of the job
        caught = Exception if self._here else BaseException
        return Running(self._count - 1, job, self.tasks.put, self._put_aside, caught)

    def take(self, timeout: float | None) -> Running[Result]:
        """The job whose turn it is, when it has ended."""
        if self.stopped or not self.running:
            raise self._failed.pop() if self._failed else StopIteration
        if self._here:
            self._work_here()
        running = self._wait(LOOK if timeout is None else min(timeout, LOOK))
        if running is None:
            running = self._wait_on(timeout)
        if self.stopped or running is None:  # maybe by another thread
            raise StopIteration
        try:  # noqa: SIM105  likewise
            self.running.remove(running)
        except ValueError:  # another thread has just stopped all
            pass
        return running

    def _wait_on(self, timeout: float | None) -> Running[Result] | None:
        """Likewise, after a first look; None: all was stopped."""
        running, waited, next_word = None, LOOK, PATIENCE
        while running is None and not self.stopped:
            if timeout is not None and waited >= timeout:
                raise TimedOutError(f"DataLoader timed out after {timeout} seconds: {self._describe_wait()}")
            self._assert_whole()
            if waited >= next_word:
                logger.warning("waiting for %g seconds: %s", waited, self._describe_wait())
                next_word *= 2
            left = LOOK if timeout is None else min(timeout - waited, LOOK)
            running = self._wait(left)
            waited += left
        return running

    def assert_here(self) -> None:
        """A forked child has none of its parent's threads, and nobody else ends what they had begun."""
        if os.getpid() != self._process and not self.stopped and (self.running or not self._here):
            raise WorkerError(
                "this iterator was begun in another process, from which this one was forked: its workers are not here. "
                "Begin a new one here: iter(loader)"
            )

    def _assert_whole(self) -> None:
        ended = [*(self._threads.ended() if self._threads else ()), *(self._aside.ended() if self._aside else ())]
        if ended and not self.stopped:
            raise WorkerError(f"DataLoader worker ({', '.join(ended)}) exited unexpectedly: {self._describe_wait()}")

    def _wait(self, seconds: float) -> Running[Result] | None:
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

    def _describe_wait(self) -> str:
        """What is waited for, and where the threads are."""
        try:
            where = self.running[0].describe()
        except (IndexError, AttributeError):  # another thread has just stopped all
            where = "the iterator is closed"
        busy = self._threads.busy() if self._threads is not None else ""
        return where + (f"; {busy}" if busy else "")

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
        self._ended: SimpleQueue[Running[Result] | None] = SimpleQueue()

    def _running(self, job: Job[Result]) -> Running[Result]:
        running = super()._running(job)
        running.ended = self._ended.put
        return running

    def _wait(self, seconds: float) -> Running[Result] | None:
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
        WorkerError: by ``next``: a thread has ended, and the iteration with it; or this process was forked from the
            one whose threads they are.
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
        state.assert_here()
        try:
            if self._anywhere and state.running:
                state.tasks.put(state.feed)
            else:
                state.feed()
            running = state.take(self._timeout)
        except (
            KeyboardInterrupt,
            TimedOutError,
            WorkerError,
        ):  # which come at once: threads are waited for when this is dropped
            state.cancel()
            raise
        except BaseException:  # the end, or a failure of where the jobs come from
            self.close()
            raise
        return running.result()

    def close(self) -> None:
        """Cancel what is in flight, and wait for the threads if nobody else has them."""
        self._close()
