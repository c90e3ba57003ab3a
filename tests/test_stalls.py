"""Reads that do not end, and jobs that overtake each other: the pipeline beside torch's loader, with real FIFOs."""

import gc
import logging
import os
import re
import signal
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torch.utils.data import DataLoader as TorchDataLoader, Dataset

import gpuload
from gpuload.device import resolve
from gpuload.errors import TimedOutError
from gpuload.loading.prefetch import Pipeline
from gpuload.loading.threads import Threads
from gpuload.loading.work import Gate, Stage
from gpuload.staging import BufferPool, StagingPool
from tests.jobs import WAIT, FakeJob, Fifo, alive, in_time

pytestmark = pytest.mark.usefixtures("none_left", "short_grace")


def stalling(fifo: Fifo, *numbers: int, tasks: int = 2) -> Callable[[int], FakeJob]:
    """Makes jobs of which those with these numbers read the FIFO in their first task."""

    def run(job: int, task: int) -> None:
        if job in numbers and task == 0:
            fifo.read()

    return lambda number: FakeJob(number, tasks, run)


class Stalling(Dataset[int]):
    """A dataset of which some samples read the FIFO."""

    def __init__(self, fifo: Fifo, *numbers: int) -> None:
        self.fifo, self.numbers = fifo, numbers

    def __len__(self) -> int:
        return 6

    def __getitem__(self, index: int) -> int:
        if index in self.numbers:
            self.fifo.read()
        return index


def torchs(dataset: Dataset[int], **options: Any) -> Any:
    return iter(TorchDataLoader(dataset, batch_size=None, num_workers=2, prefetch_factor=1, **options))


# ---- timeouts ----


def test_a_batch_that_does_not_come_in_time_raises_as_torchs(fifo: Fifo) -> None:
    ours = Pipeline(map(stalling(fifo, 1), range(6)), Threads(2), 2, timeout=0.3)
    theirs = torchs(Stalling(fifo, 1), timeout=0.3)
    for batches in (ours, theirs):
        assert next(batches) == 0
        with pytest.raises(RuntimeError, match=r"^DataLoader timed out after 0\.3 seconds"):
            next(batches)
    del theirs


def test_the_text_says_which_batch_is_waited_for_and_where_its_thread_is(fifo: Fifo) -> None:
    pipe = Pipeline(map(stalling(fifo, 1), range(6)), Threads(3), 2, timeout=0.1)
    assert next(pipe) == 0
    text = r"batch 1 is running task 1; gpuload-worker-\d in read \(.*jobs\.py:\d+\)$"
    with pytest.raises(TimedOutError, match=text):
        next(pipe)


def test_after_a_timeout_the_iteration_is_over(fifo: Fifo, caplog: pytest.LogCaptureFixture) -> None:
    """The error comes first; threads are waited for when more is asked for, or the pipeline is dropped."""
    pipe = Pipeline(map(stalling(fifo, 0), range(6)), Threads(2), 2, timeout=0.1)
    with pytest.raises(TimedOutError):
        next(pipe)
    assert (len(alive()), len(caplog.records)) == (2, 0)
    assert list(pipe) == []
    assert (len(alive()), len(caplog.records)) == (1, 1)


@pytest.mark.parametrize("in_order", [True, False])
def test_batches_that_come_in_time_know_no_timeout(in_order: bool) -> None:
    pipe = Pipeline(map(FakeJob, range(50)), Threads(3), 4, in_order=in_order, timeout=2 * WAIT)
    assert sorted(pipe) == list(range(50))


def test_without_threads_nothing_is_timed_and_torch_refuses_it() -> None:
    """The loader has to refuse it as torch does."""
    with pytest.raises(AssertionError, match="requires timeout == 0"):
        iter(TorchDataLoader(range(3), timeout=1))  # type: ignore[arg-type]
    assert list(Pipeline(map(FakeJob, range(3)), Threads(0), 2, timeout=1e-9)) == [0, 1, 2]


# ---- what is left behind ----


@pytest.mark.parametrize("how", ["close", "del"])
def test_the_end_does_not_wait_for_a_stalled_read(fifo: Fifo, how: str, caplog: pytest.LogCaptureFixture) -> None:
    both = threading.Barrier(3)

    def run(job: int, task: int) -> None:
        if job in (1, 2) and task == 0:
            both.wait(WAIT)
            fifo.read()

    pipe = Pipeline((FakeJob(n, 2, run) for n in range(6)), Threads(4), 4)
    assert next(pipe) == 0
    both.wait(WAIT)
    with caplog.at_level(logging.WARNING, "gpuload"):
        if how == "close":
            pipe.close()
            pipe.close()
        del pipe
    assert len(alive()) == 2
    assert [record.getMessage()[:37] for record in caplog.records] == ["left 2 of the loader's threads behind"]


class Filling(FakeJob):
    """Writes to a buffer of a pool's after a read, in a task or between its stages."""

    def __init__(self, number: int, fifo: Fifo, take: Callable[[object], Any], stalls: str) -> None:
        super().__init__(number)
        self.fifo, self.buffer, self.stalls = fifo, take(self), stalls

    def read(self) -> None:
        try:
            self.fifo.read()
        finally:  # native code that writes after the read cannot be told to stop
            self.buffer[:] = 255

    def stages(self) -> Iterator[Stage]:
        if self.stalls == "between stages":
            self.read()
        yield [self.read if self.stalls == "in a task" else lambda: None]


@pytest.mark.parametrize("stalls", ["in a task", "between stages"])
@pytest.mark.parametrize("kind", ["buffers", "staging"])
def test_a_buffer_that_a_stalled_thread_may_write_to_is_not_used_again(fifo: Fifo, stalls: str, kind: str) -> None:
    """It comes back when the read has returned, without the garbage collector."""
    if kind == "buffers":
        buffers = BufferPool(4)
        take: Callable[[object], Any] = lambda job: buffers.take(8)  # noqa: E731
    else:
        device = resolve("cpu")
        staging = StagingPool(device, device.stream())
        take = lambda job: staging.take(job).room(8)  # noqa: E731
    gc.disable()
    try:
        pipe = Pipeline((Filling(n, fifo, take, stalls) for n in range(1)), Threads(1), 1, timeout=0.1)
        with pytest.raises(TimedOutError):
            next(pipe)
        del pipe
        (left,) = alive()
        others = [Filling(n, fifo, take, stalls) for n in range(3)]
        for other in others:
            other.buffer[:] = 7
        fifo.let_go()
        left.join(WAIT)
        assert not left.is_alive()
        assert all((np.asarray(other.buffer) == 7).all() for other in others)
        assert (np.asarray(take(others[0])) == 255).all()
    finally:
        gc.enable()


@pytest.mark.parametrize("stalls", ["in a task", "between stages"])
def test_what_a_stalled_read_raises_in_the_end_is_kept_by_nobody(fifo: Fifo, stalls: str) -> None:
    held: list[weakref.ref[Any]] = []

    class Error(Exception):
        def __init__(self) -> None:
            held.append(weakref.ref(self))

    class Late(Filling):
        def read(self) -> None:
            held.append(weakref.ref(self))
            try:
                self.fifo.read()
            finally:
                raise Error

    gc.disable()
    try:
        pipe = Pipeline((Late(n, fifo, lambda job: None, stalls) for n in range(3)), Threads(2), 2, timeout=0.1)
        with pytest.raises(TimedOutError):
            next(pipe)
        del pipe
        left = alive()
        fifo.let_go()
        for thread in left:
            thread.join(WAIT)
        assert len(held) > 2
        assert [ref() for ref in held if ref() is not None] == []
    finally:
        gc.enable()


def test_of_64_threads_only_those_that_stall_are_left(fifo: Fifo, caplog: pytest.LogCaptureFixture) -> None:
    numbers = range(0, 200, 10)
    pipe = Pipeline(map(stalling(fifo, *numbers, tasks=3), range(200)), Threads(64), 64, in_order=False, timeout=1)
    delivered = list[int]()
    with caplog.at_level(logging.WARNING, "gpuload"):
        with pytest.raises(TimedOutError):
            delivered.extend(iter(partial(next, pipe), None))
        del pipe
    assert sorted(delivered) == [number for number in range(200) if number not in numbers]
    assert len(alive()) == len(numbers)
    assert len(caplog.records) == 1


def test_tasks_that_wait_are_not_begun_after_the_end(fifo: Fifo) -> None:
    """Not even by threads that go on."""
    ran: list[int] = []

    def run(job: int, task: int) -> None:
        ran.append(task)
        if job:
            fifo.read()

    pool = Threads(1)
    pipe = Pipeline((FakeJob(n, 3, run) for n in range(2)), pool, 2)
    assert next(pipe) == 0
    assert fifo.entered.wait(WAIT)
    del pipe
    fifo.let_go()
    assert list(Pipeline(iter([FakeJob(0)]), pool, 1)) == [0]
    assert ran == [0, 1, 2, 0]


def test_a_job_that_comes_while_the_pipeline_is_closed_is_dropped() -> None:
    def jobs() -> Iterator[FakeJob]:
        pipes[0].close()
        yield FakeJob(0)

    pipes: list[Pipeline[int]] = []
    pipes.append(Pipeline(jobs(), Threads(1), 2))
    assert list(pipes[0]) == []
    assert not pipes[0]._state.running


@pytest.mark.parametrize("in_order", [True, False])
def test_jobs_that_nobody_asked_for_are_freed_without_the_garbage_collector(in_order: bool) -> None:
    """Those that have ended, and one at a gate that opens when its threads are gone."""
    gate = Gate()

    class Gated(FakeJob):
        def stages(self) -> Iterator[Stage]:
            if self.number == 3:
                yield gate
            yield from super().stages()

    gc.disable()
    try:
        pipe = Pipeline(map(Gated, range(4)), Threads(2), 4, in_order=in_order)
        next(pipe)
        state = pipe._state
        held = [weakref.ref(running) for running in state.running]
        assert in_time(state.tasks.empty)
        del pipe, state
        assert alive() == []
        gate.open()
        assert [running() for running in held] == [None] * 3
    finally:
        gc.enable()


# ---- as they end ----


def test_a_slow_batch_holds_up_no_other_as_torchs(fifo: Fifo) -> None:
    """It comes when it is there."""
    ours = Pipeline(map(stalling(fifo, 0), range(6)), Threads(2), 2, in_order=False)
    assert [next(ours) for _ in range(5)] == [1, 2, 3, 4, 5]
    theirs = torchs(Stalling(fifo, 0), in_order=False)
    first = next(theirs)
    fifo.let_go()
    assert first == 1
    assert sorted(theirs) == [0, 2, 3, 4, 5]
    assert list(ours) == [0]


@pytest.mark.parametrize(("workers", "depth"), [(0, 3), (1, 1), (1, 3), (3, 2), (6, 12)])
@pytest.mark.parametrize("anywhere", [True, False])
def test_every_batch_comes_once_and_no_more_than_depth_are_in_flight(workers: int, depth: int, anywhere: bool) -> None:
    asked = delivered = 0

    def jobs() -> Iterator[FakeJob]:
        nonlocal asked
        for number in range(100):
            asked += 1
            assert asked - delivered <= depth + anywhere  # one may be taken before it is counted here
            yield FakeJob(number, [number % 3, 2])

    numbers = []
    for number in Pipeline(jobs(), Threads(workers), depth, anywhere, in_order=False):
        delivered += 1
        numbers.append(number)
    assert sorted(numbers) == list(range(100))
    assert workers or numbers == list(range(100))


def test_an_error_comes_when_its_batch_would(fifo: Fifo) -> None:
    def run(job: int, task: int) -> None:
        if job == 0:
            fifo.read()
        elif job == 2:
            raise OSError("torn")

    pipe = Pipeline((FakeJob(n, 1, run) for n in range(4)), Threads(2), 2, in_order=False)
    assert next(pipe) == 1
    with pytest.raises(OSError, match="torn"):
        next(pipe)
    assert next(pipe) == 3
    fifo.let_go()
    assert list(pipe) == [0]


def test_closing_wakes_whoever_waits_for_any_batch(fifo: Fifo) -> None:
    pipe = Pipeline(map(stalling(fifo, 0), range(1)), Threads(1), 2, in_order=False)
    ended: list[list[int]] = []
    consumers = [threading.Thread(target=lambda: ended.append(list(pipe)), daemon=True) for _ in range(2)]
    for consumer in consumers:
        consumer.start()
    assert fifo.entered.wait(WAIT)
    pipe.close()
    for consumer in consumers:
        consumer.join(WAIT)
    assert ended == [[], []]


# ---- programs ----

PROGRAM = """
import sys, threading, torch
from pathlib import Path
from gpuload.loading import threads as threads_module
from gpuload.loading.prefetch import Pipeline
from gpuload.loading.threads import Threads
from tests.jobs import FakeJob, Fifo

threads_module.GRACE = threads_module.UNWINDING = 0.3
fifo, work = Fifo(Path(sys.argv[1])), torch.ones(200, 200)

def run(job, task):
    if job == 0:
        return
    while sys.argv[2] == "computes":
        work @ work
        fifo.entered.set()
    fifo.read()

pipe = Pipeline((FakeJob(n, 2, run) for n in range(9)), Threads(int(sys.argv[3])), 2)
assert next(pipe) == 0
if int(sys.argv[3]):
    next_to_come = fifo.entered.wait(60)
"""


def start(body: str, *arguments: object) -> "subprocess.Popen[str]":
    root = str(Path(gpuload.__file__).parents[1])
    command = [sys.executable, "-W", "error", "-c", PROGRAM + body, *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": root}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


@pytest.mark.parametrize("ending", ["", "del pipe", "raise SystemExit(0)"])
def test_a_program_ends_with_a_stalled_thread(tmp_path: Path, ending: str) -> None:
    with start(ending, tmp_path / "fifo", "reads", 2) as process:
        output, errors = process.communicate(timeout=60)
    assert (process.returncode, output) == (0, "")
    (line,) = errors.splitlines()
    assert re.match(r"left [12] of the loader's threads behind, ", line)


def test_a_program_ends_while_a_thread_computes_with_torch(tmp_path: Path) -> None:
    """It is told to stop first: on its way back from torch to an interpreter that is gone it would abort."""
    with start("", tmp_path / "fifo", "computes", 2) as process:
        assert (process.communicate(timeout=60), process.returncode) == (("", ""), 0)


@pytest.mark.parametrize("in_order", [True, False])
def test_a_signal_that_comes_just_before_a_wait_is_an_interrupt(tmp_path: Path, in_order: bool) -> None:
    """The wait has begun, and no system call of it was ended: as of ``_thread.interrupt_main``."""
    body = f"""
import _thread
del pipe
pipe = Pipeline((FakeJob(n, 2, run) for n in range(1, 9)), Threads(2), 2, in_order={in_order})
threading.Timer(0.5, _thread.interrupt_main).start()
try:
    next(pipe)
except KeyboardInterrupt:
    print("interrupted")
"""
    with start(body, tmp_path / "fifo", "reads", 2) as process:
        try:
            output, _ = process.communicate(timeout=30)
        finally:
            process.kill()
    assert (process.returncode, output) == (0, "interrupted\n")


@pytest.mark.parametrize("workers", [0, 2])
def test_ctrl_c_comes_at_once_whatever_stalls(tmp_path: Path, workers: int) -> None:
    body = """
import time
from gpuload.loading.work import Running

def tell():
    main, stalls = threading.main_thread().ident, (Running.wait.__code__, Fifo.read.__code__)
    while sys._current_frames()[main].f_code not in stalls:
        time.sleep(0.01)
    time.sleep(0.2)  # between its last look at signals and the read itself no Python hears of one
    print("waits", flush=True)

threading.Thread(target=tell, daemon=True).start()
try:
    next(pipe)
except KeyboardInterrupt:
    print("interrupted", "and closed" * (not pipe._close.alive))
print(list(pipe))
"""
    with start(body, tmp_path / "fifo", "reads", workers) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "waits\n"
        process.send_signal(signal.SIGINT)
        try:
            output, errors = process.communicate(timeout=60)
        finally:
            process.kill()  # else leaving the block would wait for it
    assert (process.returncode, output) == (0, "interrupted \n[]\n")
    assert len(errors.splitlines()) == (1 if workers else 0)
