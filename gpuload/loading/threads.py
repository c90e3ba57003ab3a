"""Threads that take tasks from one queue, and how they end. Knows no jobs.

A thread ends with its task. Where that takes too long, say in a read of a network file system that is gone, nothing
in Python can end it: the thread is left behind, and holds what its task uses until the read returns.
"""

import ctypes
import logging
import sys
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from contextlib import suppress
from queue import Empty, SimpleQueue

from gpuload.errors import TimedOutError

__all__ = ["Task", "Threads"]

Task = Callable[[], None]

GRACE = 5.0  # seconds for tasks to end by themselves, as torch's worker processes have before they are killed
UNWINDING = 0.5  # seconds for those that are then told to: they cannot hear it inside of native code


class Threads:
    """Threads that run tasks until the last reference to this is gone, or the interpreter exits.

    Many of them do not wake each other for nothing: the queue is made in C.

    Args:
        count: of threads; 0: whoever puts tasks runs them.
        start: called first on every thread, with its number; waited for.
        timeout: most seconds that ``start`` is waited for; 0: as long as it takes.

    Attributes:
        count: of threads.
        tasks: what they are to do.

    Raises:
        TimedOutError: ``start`` has not ended in time.
        whatever ``start`` raises, with a note of the thread.
    """

    def __init__(self, count: int, start: Callable[[int], None] = lambda number: None, timeout: float = 0) -> None:
        self.count = count
        self.tasks: SimpleQueue[Task | None] = SimpleQueue()
        starts, started = [start] * count, SimpleQueue[BaseException | None]()
        self._threads = [
            threading.Thread(target=_work, args=(number, starts, started, self.tasks), name=_name(number), daemon=True)
            for number in range(count)
        ]
        # also runs at interpreter exit, so that no thread is left inside native code
        self._end = weakref.finalize(self, _end, self._threads, self.tasks)
        try:
            for thread in self._threads:
                thread.start()
            for _ in self._threads:
                _raise_if_failed(started, timeout)
        except Empty:
            where = self.busy()
            self._end()
            raise TimedOutError(
                f"DataLoader timed out after {timeout} seconds: worker_init_fn is still running; {where}"
            ) from None
        except BaseException:
            self._end()
            raise

    def ended(self) -> list[str]:
        """Names of those that do not run, whatever ended them; in a forked child, of all."""
        return [thread.name for thread in self._threads if not thread.is_alive()]

    def busy(self) -> str:
        """Which threads are in a task, and where in it; empty: none."""
        return _places(self._threads)


def _name(number: int) -> str:
    return f"gpuload-worker-{number}"


def _raise_if_failed(started: "SimpleQueue[BaseException | None]", timeout: float) -> None:
    outcome = [started.get(True, timeout or None)]  # no variable holds the error: it would hold itself
    if outcome[0] is not None:
        raise outcome.pop()  # type: ignore[misc]


def _work(
    number: int,
    starts: list[Callable[[int], None]],
    started: "SimpleQueue[BaseException | None]",
    tasks: "SimpleQueue[Task | None]",
) -> None:
    try:
        starts.pop()(number)  # threads keep what they are given: start may hold the owner of these
    except BaseException as error:
        error.add_note(f"raised at the start of {_name(number)}")
        started.put(error)
        del started  # this frame, which the error knows, must not know other threads' errors
        return
    started.put(None)
    with suppress(SystemExit):  # of `_interrupt`, when a task has ended just before
        while _work_once(tasks):
            pass


def _work_once(tasks: "SimpleQueue[Task | None]") -> bool:
    """One task, in a frame of its own: a thread that waits holds no task."""
    task = tasks.get()
    if task is None:
        return False
    task()
    return True


# ---- the end ----


def _end(threads: Sequence[threading.Thread], tasks: "SimpleQueue[Task | None]") -> None:
    for _ in threads:
        tasks.put(None)
    if threading.current_thread() in threads:  # the garbage collector runs this there: nobody can be waited for
        return
    try:
        _join(threads, GRACE)
        stalled = _alive(threads)
        for thread in stalled:
            _interrupt(thread)
        _join(stalled, UNWINDING)
    finally:
        _leave_behind(_alive(threads))


def _alive(threads: Sequence[threading.Thread]) -> list[threading.Thread]:
    """Those that could be started, and have not ended."""
    return [thread for thread in threads if thread.is_alive()]


def _join(threads: Sequence[threading.Thread], seconds: float) -> None:
    """Wait for all of them together."""
    end = time.monotonic() + seconds
    for thread in _alive(threads):
        thread.join(max(end - time.monotonic(), 0))


def _interrupt(thread: threading.Thread) -> None:
    """Let the task's Python code go no further: what it calls may not outlive the interpreter.

    A thread that comes back from an operation of torch's while the interpreter exits aborts the process.
    """
    assert thread.ident is not None
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident), ctypes.py_object(SystemExit))


def _leave_behind(threads: Sequence[threading.Thread]) -> None:
    if threads:
        logging.getLogger("gpuload").warning(
            "left %d of the loader's threads behind, which did not end within %g seconds: %s",
            len(threads),
            GRACE + UNWINDING,
            _places(threads),
        )


def _places(threads: Sequence[threading.Thread]) -> str:
    """Where each of them is that does not wait for a task."""
    return ", ".join(place for thread in threads if (place := _place(thread)))


def _place(thread: threading.Thread) -> str:
    frame = sys._current_frames().get(thread.ident or 0)  # the others of these hold this frame, which would hold them
    if frame is None or frame.f_code is _work_once.__code__:
        return ""
    return f"{thread.name} in {frame.f_code.co_name} ({frame.f_code.co_filename}:{frame.f_lineno})"
