"""The pipeline with fake jobs: order, bounds, errors in their turn, and shutdown in every way there is."""

import contextlib
import gc
import random
import signal
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import gpuload
from gpuload.loading import prefetch, threads, work
from gpuload.loading.prefetch import Pipeline
from gpuload.loading.threads import Threads
from gpuload.loading.work import Aside, Gate, Stage
from tests.jobs import WAIT, FakeJob, Run, in_time, nothing

Alive = Callable[[], list[threading.Thread]]


@pytest.fixture(autouse=True)
def workers_alive() -> Iterator[Alive]:
    """Asks for the workers that this test has started and that run; none may be left at its end."""
    before = threading.enumerate()

    def alive() -> list[threading.Thread]:
        return [t for t in threading.enumerate() if t.name.startswith("gpuload-worker") and t not in before]

    yield alive
    if alive():
        gc.collect()
    assert alive() == []


shapes = pytest.mark.parametrize(
    ("workers", "depth"), [(0, 1), (0, 4), (1, 1), (1, 3), (2, 1), (2, 2), (3, 5), (6, 2)], ids=str
)


# ---- order ----


@shapes
def test_results_come_in_order_whatever_the_timing(workers: int, depth: int) -> None:
    rng = random.Random(workers * 10 + depth)
    delays = {(job, task): rng.choice([0, 0, 0, 0.001, 0.003]) for job in range(40) for task in range(9)}
    sizes = [[rng.randint(0, 3) for _ in range(rng.randint(0, 3))] for _ in range(40)]
    jobs = (FakeJob(n, sizes[n], lambda job, task: time.sleep(delays[job, task])) for n in range(40))
    assert list(Pipeline(jobs, Threads(workers), depth)) == list(range(40))


@shapes
def test_each_task_runs_once_after_those_of_the_stage_before(workers: int, depth: int) -> None:
    """What ran before a stage ends is checked in `FakeJob.stages`."""
    jobs = [FakeJob(n, [n % 5, 0, n % 3]) for n in range(30)]
    assert list(Pipeline(iter(jobs), Threads(workers), depth)) == list(range(30))
    for job in jobs:
        assert sorted(job.ran) == list(range(sum(job.sizes)))
        assert job.finished == 1


@shapes
def test_no_jobs(workers: int, depth: int, workers_alive: Alive) -> None:
    pipe: Pipeline[int] = Pipeline(iter(()), Threads(workers), depth)
    assert list(pipe) == []
    assert list(pipe) == []
    assert workers_alive() == []


@shapes
@pytest.mark.parametrize("sizes", [[], [0], [0, 0, 0], [0, 2, 0]], ids=str)
def test_stages_without_tasks_and_jobs_without_stages(workers: int, depth: int, sizes: list[int]) -> None:
    assert list(Pipeline((FakeJob(n, sizes) for n in range(9)), Threads(workers), depth)) == list(range(9))


def test_more_empty_stages_than_python_could_nest() -> None:
    assert list(Pipeline(iter([FakeJob(0, [0] * 5000)]), Threads(1), 1)) == [0]


@shapes
def test_the_end_is_the_end(workers: int, depth: int, workers_alive: Alive) -> None:
    pipe = Pipeline((FakeJob(n) for n in range(3)), Threads(workers), depth)
    assert list(pipe) == [0, 1, 2]
    for _ in range(3):
        with pytest.raises(StopIteration):
            next(pipe)
    assert workers_alive() == []


def test_tasks_of_one_job_run_side_by_side() -> None:
    """Each waits for the other, so this ends only if both are in flight at once."""
    barrier = threading.Barrier(3)
    jobs = [FakeJob(0, 3, lambda job, task: void(barrier.wait(WAIT)))]
    assert list(Pipeline(iter(jobs), Threads(3), 1)) == [0]


class WithAside(FakeJob):
    """Two stages of two tasks, each beside one that is put aside: a call with the job's number."""

    def __init__(self, number: int, aside: Callable[[int], None], run: Run = nothing) -> None:
        super().__init__(number, [2, 2], run)
        self._aside = aside

    def stages(self) -> Iterator[Stage]:
        for stage in super().stages():
            yield [Aside(partial(self._aside, self.number)), *stage]


def test_a_task_put_aside_holds_up_no_worker() -> None:
    """The only worker runs the others of its stage while a thread of its own waits for them."""
    others = threading.Semaphore(0)

    def wait(job: int) -> None:
        for _ in range(2):
            assert others.acquire(timeout=WAIT)

    jobs = (WithAside(number, wait, lambda job, task: others.release()) for number in range(3))
    assert list(Pipeline(jobs, Threads(1), 3, aside=Threads(1))) == [0, 1, 2]


@pytest.mark.parametrize(("workers", "has_aside"), [(0, False), (2, False), (2, True)])
def test_tasks_put_aside_are_part_of_their_stage(workers: int, has_aside: bool) -> None:
    """What comes after waits for them, and what they raise is the job's error."""
    done: list[int] = []

    def fail(job: int) -> None:
        done.append(job)
        if job == 1:
            raise ValueError("aside")

    jobs = (WithAside(number, fail) for number in range(3))
    aside = Threads(1) if has_aside else None
    assert outcomes(Pipeline(jobs, Threads(workers), 2, aside=aside)) == [0, "aside", 2]
    assert sorted(done) == [0, 0, 1, 2, 2]


def test_tasks_of_different_jobs_run_side_by_side() -> None:
    barrier = threading.Barrier(3)
    jobs = (FakeJob(n, 1, lambda job, task: void(barrier.wait(WAIT))) for n in range(3))
    assert list(Pipeline(jobs, Threads(3), 3)) == [0, 1, 2]


def test_without_workers_all_happens_on_the_consumers_thread() -> None:
    seen: set[threading.Thread] = set()
    jobs = (FakeJob(n, 2, lambda job, task: seen.add(threading.current_thread())) for n in range(3))
    assert list(Pipeline(jobs, Threads(0), 2)) == [0, 1, 2]
    assert seen == {threading.current_thread()}


def test_what_a_job_does_between_stages_runs_on_a_worker() -> None:
    threads: set[threading.Thread] = set()

    class Watched(FakeJob):
        def stages(self) -> Iterator[Stage]:
            for stage in super().stages():
                threads.add(threading.current_thread())
                yield stage

    assert list(Pipeline((Watched(n, [1, 0, 2]) for n in range(5)), Threads(2), 2)) == list(range(5))
    assert threading.current_thread() not in threads


def test_jobs_are_asked_for_and_results_made_on_the_consumers_thread() -> None:
    here = threading.current_thread()

    class Watched(FakeJob):
        def result(self) -> int:
            assert threading.current_thread() is here
            return super().result()

    def jobs() -> Iterator[FakeJob]:
        for number in range(10):
            assert threading.current_thread() is here
            yield Watched(number)

    assert list(Pipeline(jobs(), Threads(2), 3)) == list(range(10))


@pytest.mark.parametrize("count", [0, 1, 2, 3, 50])
def test_workers_may_ask_for_jobs(count: int) -> None:
    asked = set[threading.Thread]()
    busy = threading.Lock()

    def jobs() -> Iterator[FakeJob]:
        for number in range(count):
            assert busy.acquire(blocking=False), "two threads ask at once"
            asked.add(threading.current_thread())
            busy.release()
            yield FakeJob(number)

    delivered = []
    for number in Pipeline(jobs(), Threads(3), 2, anywhere=True):
        delivered.append(number)
        time.sleep(0.001)  # a consumer that is busy, so that something is ready when it asks
    assert delivered == list(range(count))
    assert len(asked) > 1 or count < 50


def test_a_source_that_fails_on_a_worker_fails_in_its_turn() -> None:
    def jobs() -> Iterator[FakeJob]:
        yield from map(FakeJob, range(5))
        raise Broken("no more")

    pipe = Pipeline(jobs(), Threads(2), 2, anywhere=True)
    assert [next(pipe) for _ in range(5)] == list(range(5))
    with pytest.raises(Broken, match="no more"):
        next(pipe)


# ---- gates ----


class Waiting(FakeJob):
    """Waits at a gate before its tasks."""

    def __init__(self, number: int, gate: Gate, sizes: int | Sequence[int] = 3) -> None:
        super().__init__(number, sizes)
        self.gate = gate

    def stages(self) -> Iterator[Stage]:
        yield self.gate
        yield from super().stages()


def test_a_job_waits_at_a_gate_and_holds_up_no_worker() -> None:
    """Two jobs wait for what the third does, with one worker."""
    gate = Gate()
    jobs = [Waiting(0, gate, 0), Waiting(1, gate, [2, 1]), FakeJob(2, 1, lambda job, task: gate.open())]
    assert list(Pipeline(iter(jobs), Threads(1), 3)) == [0, 1, 2]


@shapes
def test_an_open_gate_stays_open(workers: int, depth: int) -> None:
    gate = Gate()
    gate.open()
    gate.open()
    assert list(Pipeline((Waiting(n, gate, n % 3) for n in range(6)), Threads(workers), depth)) == list(range(6))


def test_what_waits_at_a_gate_is_called_once() -> None:
    gate, called = Gate(), list[str]()
    gate.when_open(lambda: called.append("early"))
    assert called == []
    gate.open()
    gate.open()
    gate.when_open(lambda: called.append("late"))
    assert called == ["early", "late"]


def test_many_jobs_come_to_a_gate_while_it_opens() -> None:
    for _ in range(20):
        gate = Gate()
        jobs: list[FakeJob] = [Waiting(n, gate, 2) for n in range(1, 12)]
        jobs.insert(0, FakeJob(0, 1, lambda job, task, gate=gate: gate.open()))  # type: ignore[misc]
        assert list(Pipeline(iter(jobs), Threads(6), 12)) == list(range(12))


# ---- bounds ----


@shapes
def test_never_more_than_depth_jobs_in_flight(workers: int, depth: int) -> None:
    asked = delivered = 0

    def jobs() -> Iterator[FakeJob]:
        nonlocal asked
        for number in range(25):
            asked += 1
            assert asked - delivered <= (depth if workers else 1)
            yield FakeJob(number, 2)

    for _ in Pipeline(jobs(), Threads(workers), depth):
        delivered += 1
        if delivered % 5 == 0:
            time.sleep(0.002)  # let the workers run ahead, if they can
            assert asked - delivered <= depth
    assert asked == delivered == 25


def test_nothing_is_asked_for_before_the_first_next() -> None:
    asked: list[int] = []
    pipe = Pipeline((asked.append(n) or FakeJob(n) for n in range(5)), Threads(2), 3)  # type: ignore[func-returns-value]
    assert asked == []
    pipe.close()


def test_the_workers_run_ahead_as_far_as_depth() -> None:
    jobs = [FakeJob(n) for n in range(10)]
    pipe = Pipeline(iter(jobs), Threads(2), 4)
    assert next(pipe) == 0
    assert in_time(lambda: all(job.finished for job in jobs[:4]))
    assert not any(job.ran for job in jobs[4:])
    pipe.close()


@pytest.mark.parametrize("workers", [0, 2])
def test_a_delivered_job_is_let_go(workers: int) -> None:
    """What a batch holds must be free for the next one, with no help from the garbage collector."""
    jobs = [FakeJob(n) for n in range(12)]
    watched = [weakref.ref(job) for job in jobs]
    jobs.reverse()
    gc.disable()
    try:
        for number in Pipeline((jobs.pop() for _ in range(12)), Threads(workers), 3):
            assert in_time(lambda: all(job() is None for job in watched[: number + 1]))  # noqa: B023
    finally:
        gc.enable()


# ---- errors ----


class Broken(Exception):
    pass


def fail_at(*where: tuple[int, int]) -> Run:
    def run(job: int, number: int) -> None:
        if (job, number) in where:
            raise Broken(f"{job}.{number}") from ValueError("the cause")

    return run


def outcomes(pipe: "Pipeline[int]") -> list[Any]:
    """All that next gives: results, and errors as their text."""
    collected: list[Any] = []
    for _ in range(100):
        try:
            collected.append(next(pipe))
        except StopIteration:
            break
        except Exception as error:
            collected.append(str(error))
    return collected


@shapes
def test_errors_come_in_their_turn_and_the_others_arrive(workers: int, depth: int) -> None:
    jobs = (FakeJob(n, 3, fail_at((2, 1), (3, 0), (7, 2))) for n in range(8))
    assert outcomes(Pipeline(jobs, Threads(workers), depth)) == [0, 1, "2.1", "3.0", 4, 5, 6, "7.2"]


@shapes
def test_the_error_is_the_first_tasks_whatever_the_timing(workers: int, depth: int) -> None:
    """Of the first stage that fails; later ones are not begun."""

    def run(job: int, number: int) -> None:
        if number == 4:
            time.sleep(0.01)
        if number >= 4:
            raise Broken(str(number))

    for _ in range(3):
        job = FakeJob(0, [3, 5, 2], run)
        assert outcomes(Pipeline(iter([job]), Threads(workers), depth)) == ["4"]
        assert sorted(job.ran) == [0, 1, 2, 3]


@pytest.mark.parametrize("workers", [0, 2])
def test_the_error_arrives_as_it_was_raised(workers: int) -> None:
    pipe = Pipeline(iter([FakeJob(0, 2, fail_at((0, 1)))]), Threads(workers), 2)
    with pytest.raises(Broken, match=r"0\.1") as caught:
        next(pipe)
    assert isinstance(caught.value.__cause__, ValueError)
    assert caught.traceback[-1].name == "run"  # where it happened, not where it was delivered


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("sizes", [0, 2, [1, 2]])
def test_the_end_of_a_job_may_fail(workers: int, sizes: Any) -> None:
    class Unfinished(FakeJob):
        def finish(self) -> None:
            raise Broken("finish")

    jobs = iter([FakeJob(0), Unfinished(1, sizes), FakeJob(2)])
    assert outcomes(Pipeline(jobs, Threads(workers), 2)) == [0, "finish", 2]


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("after", [0, 1, 2])
def test_a_job_may_fail_between_its_stages(workers: int, after: int) -> None:
    class Halting(FakeJob):
        def stages(self) -> Iterator[Stage]:
            for number, stage in enumerate(super().stages()):
                if number == after:
                    raise Broken(f"after {len(self.ran)} tasks")
                yield stage

    jobs = iter([FakeJob(0), Halting(1, [2, 2, 2]), FakeJob(2)])
    assert outcomes(Pipeline(jobs, Threads(workers), 2)) == [0, f"after {2 * after} tasks", 2]


@pytest.mark.parametrize("workers", [0, 2])
def test_stages_may_be_what_fails(workers: int) -> None:
    """A job is not bound to be written as a generator; then this is its source's failure."""

    class Hopeless(FakeJob):
        def stages(self) -> Iterator[Stage]:
            raise Broken("stages")

    jobs = iter([FakeJob(0), Hopeless(1), FakeJob(2)])
    assert outcomes(Pipeline(jobs, Threads(workers), 2)) == [0, "stages"]


@pytest.mark.parametrize("workers", [0, 2])
def test_result_may_fail(workers: int) -> None:
    class Fruitless(FakeJob):
        def result(self) -> int:
            raise Broken("result")

    jobs = iter([FakeJob(0), Fruitless(1), FakeJob(2)])
    assert outcomes(Pipeline(jobs, Threads(workers), 2)) == [0, "result", 2]


@pytest.mark.parametrize("workers", [0, 2])
def test_a_failed_job_is_not_finished(workers: int) -> None:
    job = FakeJob(0, 3, fail_at((0, 2)))
    assert outcomes(Pipeline(iter([job]), Threads(workers), 1)) == ["0.2"]
    assert job.finished == 0


@shapes
def test_where_the_jobs_come_from_may_fail_after_earlier_ones_are_delivered(
    workers: int, depth: int, workers_alive: Alive
) -> None:
    """What arrives does not depend on how far ahead the pipeline looks."""

    def jobs() -> Iterator[FakeJob]:
        yield from (FakeJob(n) for n in range(3))
        raise Broken("no more")

    assert outcomes(Pipeline(jobs(), Threads(workers), depth)) == [0, 1, 2, "no more"]
    assert workers_alive() == []


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("where", ["task", "finish", "result"])
def test_a_stopiteration_is_not_taken_for_the_end(workers: int, where: str) -> None:
    """It would end a for loop, and with it the epoch, in silence."""

    class Stopping(FakeJob):
        pass

    def stop(*_: Any) -> Any:
        raise StopIteration

    setattr(Stopping, where, stop)
    jobs = iter([FakeJob(0), Stopping(1), FakeJob(2)])
    pipe = Pipeline(jobs, Threads(workers), 2)
    assert next(pipe) == 0
    with pytest.raises(RuntimeError):
        next(pipe)
    assert list(pipe) == [2]


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("where", ["task", "finish", "result"])
def test_a_failed_job_is_let_go_with_its_error(workers: int, where: str) -> None:
    """Its buffers come back when the error is dealt with, not at some later garbage collection."""

    class Failing(FakeJob):
        pass

    def fail(*_: Any) -> Any:
        raise Broken(where)

    setattr(Failing, where, fail)
    jobs: list[FakeJob] = [FakeJob(1), Failing(0)]
    watched = weakref.ref(jobs[-1])
    gc.disable()
    try:
        pipe = Pipeline((jobs.pop() for _ in range(2)), Threads(workers), 1)
        with contextlib.suppress(Broken):
            next(pipe)
        assert list(pipe) == [1]
        assert in_time(lambda: watched() is None)
    finally:
        gc.enable()


# ---- shutdown ----


@pytest.mark.parametrize("workers", [1, 3])
def test_close_ends_the_threads_and_the_iteration(workers: int, workers_alive: Alive) -> None:
    pipe = Pipeline((FakeJob(n) for n in range(100)), Threads(workers), 3)
    assert next(pipe) == 0
    assert len(workers_alive()) == workers
    pipe.close()
    assert workers_alive() == []
    assert list(pipe) == []
    pipe.close()


@pytest.mark.parametrize("workers", [1, 3])
def test_breaking_off_ends_the_threads(workers: int, workers_alive: Alive) -> None:
    for number in Pipeline((FakeJob(n) for n in range(100)), Threads(workers), 3):
        if number == 2:
            break
    assert workers_alive() == []


def test_a_pipeline_that_is_never_used_is_collected(workers_alive: Alive) -> None:
    Pipeline((FakeJob(n) for n in range(3)), Threads(2), 2)
    assert workers_alive() == []


class Tracked:
    """Something that a job or an error holds."""


@pytest.mark.usefixtures("no_collector")
@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("fails", ["no one", "a task", "the generator"])
def test_a_dropped_pipeline_frees_all_without_the_garbage_collector(
    workers: int, fails: str, workers_alive: Alive
) -> None:
    """Also errors that nobody asked for, and what their tracebacks hold."""
    held: list[weakref.ref[Tracked]] = []

    def fail_or_not(job: int, number: int) -> None:
        local = Tracked()
        held.append(weakref.ref(local))
        if fails == "a task" and job:
            raise Broken(str(job))

    class Job(FakeJob):
        def __init__(self, number: int) -> None:
            super().__init__(number, [2, 2], fail_or_not)
            self.tracked = Tracked()
            held.append(weakref.ref(self.tracked))

        def stages(self) -> Iterator[Stage]:
            for stage in super().stages():
                local = Tracked()
                held.append(weakref.ref(local))
                if fails == "the generator" and self.number:
                    raise Broken(str(self.number))
                yield stage

    pipe = Pipeline(map(Job, range(20)), Threads(workers), 4)
    with contextlib.suppress(Broken):
        next(pipe)
    time.sleep(0.01)  # the workers run ahead
    gone = weakref.ref(pipe), weakref.ref(pipe._state)
    del pipe
    assert [ref() for ref in gone] == [None, None]
    assert workers_alive() == []
    assert [ref() for ref in held if ref() is not None] == []


@pytest.mark.usefixtures("no_collector")
def test_jobs_that_wait_at_a_gate_are_freed_with_the_pipeline(workers_alive: Alive) -> None:
    gate = Gate()
    jobs = [Waiting(2, gate), Waiting(1, gate), FakeJob(0)]
    watched, gate_gone = [weakref.ref(job) for job in jobs], weakref.ref(gate)
    del gate
    pipe = Pipeline((jobs.pop() for _ in range(3)), Threads(2), 3)
    assert next(pipe) == 0
    time.sleep(0.01)  # the others come to the gate
    del pipe
    assert workers_alive() == []
    assert [job() for job in watched] == [None] * 3
    assert gate_gone() is None


def test_a_pipeline_dropped_before_the_error_of_its_source_came_up_is_collected(workers_alive: Alive) -> None:
    """The error knows the consumer's own frames, and so the pipeline: this takes the garbage collector."""

    def jobs() -> Iterator[FakeJob]:
        yield FakeJob(0)
        raise Broken("no more")

    pipe = Pipeline(jobs(), Threads(2), 2)
    assert next(pipe) == 0
    del pipe
    gc.collect()
    assert workers_alive() == []


@pytest.mark.usefixtures("no_collector")
@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("fails", ["task", "finish", "result", "jobs"])
def test_an_error_that_was_handled_is_gone(workers: int, fails: str) -> None:
    class Error(Exception):
        pass

    errors: list[weakref.ref[Error]] = []

    def fail(*_: Any) -> Any:
        error = Error()
        errors.append(weakref.ref(error))
        try:
            raise error
        finally:
            del error

    job = FakeJob(0)
    if fails in ("task", "finish", "result"):
        setattr(job, fails, fail)
    jobs = (fail() if fails == "jobs" else job for _ in range(1))
    pipe = Pipeline(jobs, Threads(workers), 1)
    with contextlib.suppress(Error):
        next(pipe)
    pipe.close()
    assert errors
    assert [error() for error in errors if error() is not None] == []


def test_a_dropped_pipeline_in_a_cycle_is_collected(workers_alive: Alive) -> None:
    class Holder:
        pass

    holder: Any = Holder()
    holder.itself, holder.pipe = holder, Pipeline((FakeJob(n) for n in range(50)), Threads(2), 3)
    next(holder.pipe)
    del holder
    gc.collect()
    assert workers_alive() == []


@pytest.mark.parametrize("where", ["task", "result"])
def test_a_pipeline_dropped_after_an_error_is_collected(where: str, workers_alive: Alive) -> None:
    """The error's traceback knows the pipeline; no worker may know the error."""

    class Failing(FakeJob):
        pass

    def fail(*_: Any) -> Any:
        raise Broken(where)

    setattr(Failing, where, fail)
    pipe = Pipeline(iter([Failing(0)]), Threads(2), 2)
    with pytest.raises(Broken):
        next(pipe)
    time.sleep(0.01)  # the workers wait again
    del pipe
    gc.collect()
    assert workers_alive() == []


def test_a_worker_may_be_the_one_that_collects_the_pipeline(workers_alive: Alive) -> None:
    """The garbage collector runs on any thread at any allocation."""
    holder: list[Any] = []
    drop = threading.Event()

    def run(job: int, number: int) -> None:
        if drop.is_set():
            holder.clear()
        time.sleep(0.002)

    holder.append(Pipeline((FakeJob(n, 20, run) for n in range(50)), Threads(3), 3))
    next(holder[0])
    drop.set()
    assert in_time(lambda: not holder)
    assert in_time(lambda: not workers_alive())


def test_the_collector_may_run_wherever_python_code_does(workers_alive: Alive) -> None:
    """A worker drops the pipeline at each line of its own: none holds a lock that closing takes."""
    holder: list[Any] = []
    armed = threading.Event()
    left = 0

    def trace(frame: Any, event: str, argument: Any) -> Any:
        nonlocal left
        if frame.f_code.co_filename not in (prefetch.__file__, work.__file__, threads.__file__, threading.__file__):
            return None
        if event == "line" and armed.is_set():
            left -= 1
            if left == 0:
                holder.clear()
        return trace

    def run(job: int, number: int) -> None:
        if job:
            armed.wait(WAIT)
        fail_at((2, 0))(job, number)

    for line in range(1, 1000):
        armed.clear()
        left = line
        jobs = (FakeJob(n, [2, 1] if n else 1, run) for n in range(4))
        holder.append(Pipeline(jobs, Threads(1, lambda number: sys.settrace(trace)), 4))
        next(holder[0])
        armed.set()
        assert in_time(lambda: not holder or holder[0]._state.tasks.empty())
        if holder:  # there are no more lines
            break
        assert in_time(lambda: not workers_alive())
    holder.clear()
    assert line > 100


def test_closing_wakes_a_consumer_that_waits() -> None:
    blocked, release = threading.Event(), threading.Event()

    def run(job: int, number: int) -> None:
        blocked.set()
        release.wait(WAIT)

    pipe = Pipeline(iter([FakeJob(0, 2, run)]), Threads(1), 1)
    ended: list[Any] = []
    consumer = threading.Thread(target=lambda: ended.append(outcomes(pipe)), daemon=True)
    consumer.start()
    assert blocked.wait(WAIT)
    closer = threading.Thread(target=pipe.close, daemon=True)
    closer.start()
    time.sleep(0.02)  # the closer waits for the task that is running
    release.set()
    closer.join(WAIT)
    consumer.join(WAIT)
    assert ended == [[]]


def test_a_keyboard_interrupt_on_the_consumers_thread_ends_the_threads(workers_alive: Alive) -> None:
    def jobs() -> Iterator[FakeJob]:
        yield FakeJob(0)
        raise KeyboardInterrupt

    pipe = Pipeline(jobs(), Threads(2), 1)
    assert next(pipe) == 0
    with pytest.raises(KeyboardInterrupt):
        next(pipe)
    assert list(pipe) == []
    assert workers_alive() == []


PROGRAM = """
import importlib.util, sys, time
from pathlib import Path

def load(name):  # without torch
    path = Path(sys.argv[1], *name.split(".")[1:]).with_suffix(".py")
    spec = importlib.util.spec_from_file_location(name, path)
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module

load("gpuload.errors")
threads = load("gpuload.loading.threads")
load("gpuload.loading.work")
prefetch = load("gpuload.loading.prefetch")

class Job:
    def __init__(self, number): self.number = number
    def stages(self): yield [self.run] * 4
    def run(self): time.sleep(0.005 if self.number < 3 else delay)
    def result(self): return self.number

jobs = map(Job, range(10**9))
"""


def start(body: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-W", "error", "-c", PROGRAM + body, str(Path(gpuload.__file__).parent)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("delay", [0.005, 0.3])
def test_ctrl_c_ends_the_program(workers: int, delay: float) -> None:
    body = f"""
delay = {delay}
for number in prefetch.Pipeline(jobs, threads.Threads({workers}), 3):
    print(number, flush=True)
"""
    with start(body) as process:
        try:
            assert process.stdout is not None
            assert [process.stdout.readline() for _ in range(3)] == ["0\n", "1\n", "2\n"]
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=WAIT)
        finally:
            process.kill()
    assert process.returncode == -signal.SIGINT
    assert errors.rstrip().endswith("KeyboardInterrupt")
    assert "Fatal" not in errors and "Exception ignored" not in errors


@pytest.mark.parametrize("ending", ["", "sys.exit(0)", "raise SystemExit(0)", "del pipe"])
def test_the_program_may_end_with_a_live_pipeline(ending: str) -> None:
    body = f"delay = 0.05\npipe = prefetch.Pipeline(jobs, threads.Threads(3), 3)\nnext(pipe), next(pipe)\n{ending}\n"
    with start(body) as process:
        try:
            output, errors = process.communicate(timeout=WAIT)
        finally:
            process.kill()
    assert (process.returncode, output, errors) == (0, "", "")


def void(_: object) -> None:
    """A statement of an expression."""
