"""torch's worker processes as an epoch sees them: one that dies, or a fork of their owner, is an error and no hang.

torch's own iterator would, in a forked child, take batches away from its parent or end the parent's workers; and when a
worker has died, it waits without an end for whatever is asked for next.
"""

import os
import signal
import weakref
from multiprocessing.connection import wait
from typing import Any

from torch.utils.data import DataLoader as TorchDataLoader
from torch.utils.data._utils import signal_handling
from torch.utils.data.dataloader import _MultiProcessingDataLoaderIter

from gpuload.errors import TimedOutError, WorkerError

__all__ = ["WorkerBatches", "forget_ended"]

TIMED_OUT, EXITED = "DataLoader timed out", "DataLoader worker (pid"  # how torch's messages begin
RAISED_THERE = "in DataLoader worker process"  # in the message of an error that code of the user's raised
SOON = 1.0  # seconds in which a process whose memory is gone has ended

_begun: weakref.WeakSet[_MultiProcessingDataLoaderIter] = weakref.WeakSet()


def _leave_alone() -> None:
    """In a forked child: its parent's iterators end no workers when they are dropped here, nor are these watched."""
    for batches in _begun:
        batches._shutdown = True
        if batches._worker_pids_set:  # under the iterator's address, which another one may have here
            signal_handling._remove_worker_pids(id(batches))  # type: ignore[attr-defined]
            batches._worker_pids_set = False


os.register_at_fork(after_in_child=_leave_alone)


def forget_ended(loader: TorchDataLoader[Any]) -> None:
    """Persistent workers that have ended, or are those of a parent, are made anew by the next ``iter``."""
    if loader._iterator is not None and getattr(loader._iterator, "_shutdown", False):
        loader._iterator = None


class WorkerBatches:
    """What torch's iterator over worker processes gives.

    Args:
        batches: the iterator.
        first: the number of the batch that it gives first.

    Raises:
        TimedOutError: by ``next``: torch's, with the batch that is waited for, and who makes it.
        WorkerError: by ``next``: a worker has died, and the iteration is over; or this process was forked from the one
            whose workers they are.
    """

    def __init__(self, batches: _MultiProcessingDataLoaderIter, first: int) -> None:
        self._batches, self._first, self._process = batches, first, os.getpid()
        _begun.add(batches)

    def __iter__(self) -> "WorkerBatches":
        return self

    def __next__(self) -> Any:
        if os.getpid() != self._process:
            raise WorkerError(
                "this iterator was begun in another process, from which this one was forked: its workers are not here. "
                "Begin a new one here: iter(loader)"
            )
        if self._batches._shutdown:  # all were given, or a worker has died
            raise StopIteration
        try:
            return next(self._batches)
        except RuntimeError as error:
            if str(error).startswith(TIMED_OUT):
                raise TimedOutError(f"{error}: {self._describe_wait()}") from error
            if str(error).startswith(EXITED):
                self._end(str(error), error)
            raise
        except (ConnectionError, EOFError) as error:
            if RAISED_THERE not in str(error) and self._one_ends():  # before it could hand its memory over
                self._end(f"{EXITED}(s) {', '.join(self._dead())}) exited unexpectedly", error)
            raise

    def _end(self, problem: str, cause: Exception) -> None:
        waited, dead = self._describe_wait(), self._dead()
        self._batches._shutdown_workers()
        raise WorkerError(
            f"{problem.rstrip()}: {waited}" + (f"; ended: {', '.join(dead.values())}" if dead else "")
        ) from cause

    def _describe_wait(self) -> str:
        """Which batch has not come, of which worker."""
        number = self._batches._rcvd_idx
        worker = self._batches._task_info.get(number, (None,))[0]
        of = "" if worker is None else f" of worker {worker}, process {self._batches._workers[worker].pid},"
        return f"batch {self._first + number}{of} has not come"

    def _one_ends(self) -> bool:
        workers = self._batches._workers
        ready = wait([worker.sentinel for worker in workers], SOON)
        for worker in workers:
            if worker.sentinel in ready:
                worker.join(SOON)
        return bool(self._dead())

    def _dead(self) -> dict[str, str]:
        """What ended those that did not end well, by process."""
        ended = {str(worker.pid): worker.exitcode for worker in self._batches._workers if worker.exitcode}
        return {
            process: f"process {process} {f'by {signal.Signals(-code).name}' if code < 0 else f'with status {code}'}"
            for process, code in ended.items()
        }
