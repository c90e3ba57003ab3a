"""Threads by themselves: their start, their end, and what of it is left where a task does not end."""

import gc
import logging
import threading
import time
import weakref
from pathlib import Path
from typing import Any

import pytest
from torch.utils.data import DataLoader as TorchDataLoader, Dataset, _utils, get_worker_info

from gpuload.loading.prefetch import Pipeline
from gpuload.loading.threads import Threads
from tests import jobs
from tests.jobs import WAIT, FakeJob, Fifo, alive, in_time

pytestmark = pytest.mark.usefixtures("none_left")


class Broken(Exception):
    pass


# ---- start ----


class Numbers(Dataset[int]):
    """Each sample: who makes it."""

    def __len__(self) -> int:
        return 6

    def __getitem__(self, index: int) -> int:
        info = get_worker_info()
        assert info is not None
        return info.id


@pytest.mark.parametrize("count", [0, 1, 2])
def test_start_runs_once_on_every_thread_with_its_number_as_torchs_worker_init_fn(count: int, tmp_path: Path) -> None:
    loader = TorchDataLoader(
        Numbers(), num_workers=count, worker_init_fn=lambda number: (tmp_path / str(number)).touch()
    )
    if count:
        list(loader)
    theirs = sorted(int(path.name) for path in tmp_path.iterdir())
    started: list[tuple[int, threading.Thread]] = []
    pool = Threads(count, lambda number: started.append((number, threading.current_thread())))
    assert sorted(number for number, _ in started) == theirs
    assert all(thread.name == f"gpuload-worker-{number}" for number, thread in started)
    assert {thread for _, thread in started} == set(alive())
    del pool


@pytest.mark.usefixtures("no_collector")
@pytest.mark.parametrize("failing", [{1}, {0, 1, 2}], ids=["one", "all"])
def test_what_start_raises_is_raised_with_a_note_of_the_thread_and_all_threads_end(failing: set[int]) -> None:
    """Nothing but the handler holds the errors."""
    errors: list[weakref.ref[Broken]] = []

    def start(number: int) -> None:
        if number in failing:
            error = Broken(f"no device {number}")
            errors.append(weakref.ref(error))
            try:
                raise error
            finally:
                del error

    caught = list[tuple[str, list[str]]]()
    try:
        Threads(3, start)
    except Broken as error:
        caught.append((str(error), error.__notes__))
    assert caught in [
        [(f"no device {number}", [f"raised at the start of gpuload-worker-{number}"])] for number in failing
    ]
    assert alive() == []
    assert [error() for error in errors] == [None] * len(failing)


def test_what_worker_init_fn_raises_has_the_type_that_torch_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_utils, "MP_STATUS_CHECK_INTERVAL", 0.2)  # torch waits so long for its process

    def start(number: int) -> None:
        raise Broken("no device")

    with pytest.raises(Broken, match="no device"):
        Threads(1, start)
    with pytest.raises(Broken, match="no device"):
        list(TorchDataLoader(Numbers(), num_workers=1, worker_init_fn=start))
    gc.collect()  # of what torch's error holds


def test_threads_that_cannot_be_started(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that could be are ended."""
    begin = threading.Thread.start

    def start(thread: threading.Thread) -> None:
        if thread.name.endswith("-2"):
            raise RuntimeError("can't start new thread")
        begin(thread)

    monkeypatch.setattr(threading.Thread, "start", start)
    with pytest.raises(RuntimeError, match="can't start new thread"):
        Threads(4)
    assert alive() == []


# ---- the end ----


@pytest.mark.usefixtures("no_collector")
def test_an_owner_that_start_holds_is_freed_with_its_threads() -> None:
    class Owner:
        def __init__(self) -> None:
            self.pool = Threads(2, self.start)

        def start(self, number: int) -> None:
            pass

    owner = Owner()
    gone = weakref.ref(owner)
    del owner
    assert gone() is None
    assert alive() == []


def test_threads_that_are_kept_serve_one_pipeline_after_the_other() -> None:
    """As persistent workers: started once, whatever became of the pipelines; ended with the last who has them."""
    started: list[int] = []
    pool = Threads(3, started.append)
    same = alive()
    for _ in range(3):
        assert list(Pipeline((FakeJob(n) for n in range(9)), pool, 4)) == list(range(9))
        for number in Pipeline((FakeJob(n) for n in range(9)), pool, 4):
            if number == 2:
                break
        first, second = (Pipeline((FakeJob(n) for n in range(9)), pool, 4, anywhere=True) for _ in range(2))
        assert list(zip(first, second, strict=True)) == [(n, n) for n in range(9)]
        del first, second
    assert (alive(), sorted(started)) == (same, [0, 1, 2])
    last = Pipeline((FakeJob(n) for n in range(9)), pool, 4)
    del pool
    assert next(last) == 0
    assert alive() == same
    del last
    assert alive() == []


@pytest.mark.usefixtures("no_collector")
def test_what_is_broken_off_is_freed_while_its_threads_go_on(fifo: Fifo) -> None:
    pool = Threads(2)
    waiting = [FakeJob(n, 2, lambda job, task: void(job and fifo.read())) for n in range(4)]
    watched = [weakref.ref(job) for job in waiting]
    waiting.reverse()
    pipe = Pipeline((waiting.pop() for _ in range(4)), pool, 4)
    assert next(pipe) == 0
    assert fifo.entered.wait(WAIT)
    del pipe
    assert len(alive()) == 2
    fifo.let_go()
    assert in_time(lambda: all(job() is None for job in watched))
    assert list(Pipeline(iter([FakeJob(0)]), pool, 1)) == [0]


@pytest.mark.usefixtures("short_grace")
def test_a_thread_whose_task_stalls_is_left_behind_and_ends_with_it(
    fifo: Fifo, caplog: pytest.LogCaptureFixture
) -> None:
    after: list[str] = []

    def task() -> None:
        fifo.read()
        after.append("the task went on")

    pool = Threads(3)
    pool.tasks.put(task)
    assert fifo.entered.wait(WAIT)
    with caplog.at_level(logging.WARNING, "gpuload"):
        del pool
    (left,) = alive()
    (record,) = caplog.records
    text = "left 1 of the loader's threads behind, which did not end within 0.2 seconds"
    assert record.getMessage().startswith(f"{text}: {left.name} in read ({jobs.__file__}:")
    fifo.let_go()
    left.join(WAIT)
    assert not left.is_alive()
    assert after == []


@pytest.mark.usefixtures("short_grace")
def test_python_code_that_does_not_end_is_ended(caplog: pytest.LogCaptureFixture) -> None:
    entered = threading.Event()

    def task() -> None:
        entered.set()
        while True:
            time.sleep(0.001)

    pool = Threads(2)
    pool.tasks.put(task)
    assert entered.wait(WAIT)
    del pool
    assert alive() == []
    assert caplog.records == []


def test_the_last_who_lets_them_go_may_be_one_of_them() -> None:
    holder: list[Any] = [Threads(3)]
    tasks = holder[0].tasks
    tasks.put(holder.clear)
    assert in_time(lambda: alive() == [])
    assert holder == []


def test_threads_say_what_they_are_busy_with(fifo: Fifo) -> None:
    pool = Threads(2)
    assert in_time(lambda: pool.busy() == "")
    pool.tasks.put(lambda: void(fifo.read()))
    assert in_time(lambda: " in read (" in pool.busy())
    assert pool.busy().count("gpuload-worker-") == 1
    fifo.let_go()


def void(_: object) -> None:
    """A statement of an expression."""
