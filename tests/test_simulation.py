"""The simulated GPU itself: it finds what is in no order, and nothing where all is; memory comes back when it may."""

import threading
from collections.abc import Callable, Iterator
from functools import partial

import pytest
import torch

from gpuload.loading import prefetch
from tests.simulation.gpu import Deadlock, Event, Gpu, Stream
from tests.simulation.runtime import Runtime, simulated
from tests.simulation.tensors import plain
from tests.simulation.threads import Threads

SEEDS = range(10)


@pytest.fixture(params=SEEDS)
def runtime(request: pytest.FixtureRequest) -> Iterator[Runtime]:
    with simulated(request.param) as made:
        yield made


def problems(runtime: Runtime) -> list[str]:
    runtime.gpu.finish()
    return runtime.gpu.problems


# ---- streams and events ----


@pytest.mark.parametrize("waits", [False, True])
def test_two_streams_that_share_memory(runtime: Runtime, waits: bool) -> None:
    numbers, side, event = torch.zeros(100, device="cuda"), torch.cuda.Stream(), torch.cuda.Event()
    event.record(torch.cuda.current_stream())
    if waits:
        side.wait_event(event)
    with torch.cuda.stream(side):
        numbers.add_(1)
    found = problems(runtime)
    assert (found == []) == waits
    assert waits or "are in no order" in found[0]


def test_reading_needs_no_order(runtime: Runtime) -> None:
    numbers, side = torch.zeros(100, device="cuda"), torch.cuda.Stream()
    side.wait_event(_recorded())
    sums = [numbers.sum()]
    with torch.cuda.stream(side):
        sums.append(numbers.sum())
    assert problems(runtime) == []


def _recorded() -> torch.cuda.Event:
    event = torch.cuda.Event()
    event.record(torch.cuda.current_stream())
    return event


def test_an_event_stands_for_its_last_recording(runtime: Runtime) -> None:
    side, event = torch.cuda.Stream(), _recorded()
    numbers = torch.zeros(100, device="cuda")
    side.wait_event(event)  # recorded before the zeros were written
    with torch.cuda.stream(side):
        numbers.add_(1)
    assert problems(runtime) != []


def test_work_of_one_stream_runs_in_order(runtime: Runtime) -> None:
    numbers = torch.zeros(100, device="cuda")
    for step in range(5):
        numbers.mul_(2).add_(step)
    assert numbers.tolist() == [26.0] * 100
    assert problems(runtime) == []


def test_one_that_waits_for_itself_is_seen() -> None:
    gpu = Gpu()
    with pytest.raises(Deadlock):
        gpu.until(lambda: False)


# ---- the host ----


@pytest.mark.parametrize("waits", [False, True])
def test_the_host_writes_where_a_copy_reads(runtime: Runtime, waits: bool) -> None:
    host, there = torch.empty(100, pin_memory=True).fill_(1), torch.empty(100, device="cuda")
    there.copy_(host, non_blocking=True)
    if waits:
        _recorded().synchronize()
    host.fill_(2)
    assert (problems(runtime) == []) == waits
    assert not waits or there.tolist() == [1] * 100


@pytest.mark.parametrize("waits", [False, True])
def test_the_host_reads_where_a_copy_writes(runtime: Runtime, waits: bool) -> None:
    host = torch.empty(100, pin_memory=True)
    host.copy_(torch.ones(100, device="cuda"), non_blocking=True)
    if waits:
        _recorded().synchronize()
    array = host.numpy()
    assert (problems(runtime) == []) == waits
    assert not waits or array.tolist() == [1] * 100


def test_copies_of_ordinary_memory_are_done_when_they_return(runtime: Runtime) -> None:
    host = torch.ones(100)
    there = host.to("cuda", non_blocking=True)
    host.fill_(2)
    assert runtime.gpu.waits
    assert there.cpu().tolist() == [1] * 100
    assert problems(runtime) == []


# ---- memory ----


def test_memory_is_used_again_at_once_in_its_streams_order(runtime: Runtime) -> None:
    numbers = torch.ones(100, device="cuda")
    address, doubled = numbers.data_ptr(), numbers * 2
    del numbers
    again = torch.empty(100, device="cuda")
    assert again.data_ptr() == address
    again.fill_(5)
    assert doubled.tolist() == [2] * 100
    assert problems(runtime) == []


@pytest.mark.parametrize("recorded", [False, True])
def test_memory_that_another_stream_still_reads(runtime: Runtime, recorded: bool) -> None:
    numbers, side = torch.ones(100, device="cuda"), torch.cuda.Stream()
    side.wait_event(_recorded())
    with torch.cuda.stream(side):
        doubled = numbers * 2
    if recorded:
        numbers.record_stream(side)
    del numbers
    runtime.reuse()
    assert (problems(runtime) == []) == recorded
    assert not recorded or plain(doubled).tolist() == [2] * 100


def test_page_locked_memory_waits_for_its_copies(runtime: Runtime) -> None:
    there = []
    for number in range(5):
        host = torch.empty(100, pin_memory=True).fill_(number)
        there.append(host.to("cuda", non_blocking=True))
        del host
    assert [copied.cpu().unique().tolist() for copied in there] == [[number] for number in range(5)]
    assert problems(runtime) == []


def test_all_memory_comes_back(runtime: Runtime) -> None:
    host = torch.empty(100, pin_memory=True)
    views = host.to("cuda").view(10, 10).t()[2:4].split(1)
    assert runtime.used == 2
    del host
    assert runtime.used == 1
    del views
    assert runtime.used == 0


def test_rows_are_in_simulated_memory_too(runtime: Runtime) -> None:
    for row in torch.zeros(3, 4, device="cuda"):
        assert row.device == torch.device("cuda", 0)
    assert [row.is_pinned() for row in torch.empty(2, 4, pin_memory=True)] == [True, True]


def test_tensors_of_two_devices_do_not_meet(runtime: Runtime) -> None:
    with pytest.raises(RuntimeError, match="tensors of several devices"):
        torch.zeros(3, device="cuda:0") + torch.zeros(3, device="cuda:1")


# ---- devices and captures ----


def test_contexts(runtime: Runtime) -> None:
    torch.cuda.current_stream(1)
    assert runtime.gpu.contexts == set()
    torch.zeros(3, device="cuda:1")
    with torch.cuda.device(1):
        pass
    assert runtime.gpu.contexts == {1}
    torch.cuda.Event().synchronize()
    assert runtime.gpu.contexts == {0, 1}


def test_every_thread_begins_with_device_0(runtime: Runtime) -> None:
    torch.cuda.set_device(1)
    found: list[int] = []
    thread = threading.Thread(target=lambda: found.append(torch.cuda.current_device()))
    thread.start()
    thread.join()
    assert (torch.cuda.current_device(), found) == (1, [0])


def test_what_spoils_a_capture(runtime: Runtime) -> None:
    warm = torch.zeros(3, device="cuda")
    runtime.gpu.capturing = threading.get_ident()
    warm.add_(1)
    assert problems(runtime) == []
    torch.zeros(1000, device="cuda")
    assert "an allocation on MainThread spoils a capture" in problems(runtime)


# ---- threads and time ----


def run_threads(gpu: Gpu, *targets: Callable[[Threads], None]) -> Threads:
    """Run them as the pipeline's threads."""
    threads = Threads(gpu)
    with threads.installed():
        others = [prefetch.threading.Thread(target=target, args=(threads,), daemon=True) for target in targets]
        for other in others:
            other.start()
        for other in others:
            other.join()
    return threads


def test_threads_take_turns_in_any_order() -> None:
    orders = set()
    for seed in range(30):
        order: list[int] = []

        def work(number: int, threads: Threads, order: list[int] = order) -> None:
            for _ in range(3):
                with prefetch.threading.Lock():
                    order.append(number)

        threads = run_threads(Gpu(seed), partial(work, 0), partial(work, 1))
        assert (threads.started, threads.running) == (2, 0)
        orders.add(tuple(order))
    assert len(orders) > 5


def test_threads_that_wait_for_each_other_are_seen() -> None:
    def work(threads: Threads) -> None:
        lock = prefetch.threading.Lock()
        lock.acquire()
        lock.acquire()

    with pytest.raises(Deadlock, match="every thread waits for another"):
        run_threads(Gpu(), work)


def test_time_passes_for_threads_and_streams_alike() -> None:
    """Threads sleep beside each other; a stream's work begins when the work before it, or what it waits for, ends."""
    gpu = Gpu(costs=lambda what, size: {"slow": 5.0, "short": 1.0}.get(what, 0.0))
    first, second, ends = Stream(gpu, 0, "first"), Stream(gpu, 0, "second"), dict[str, float]()

    def note(what: str) -> Callable[[], None]:
        return lambda: ends.__setitem__(what, gpu.now)

    def work(threads: Threads) -> None:
        threads.sleep(2.0)
        first.add("slow", note("slow"))
        second.add("short", note("short"))
        event = Event(gpu)
        event.put(first)
        second.wait_event(event)
        second.add("short", note("after slow"))
        threads.sleep(1.5)
        ends["thread"] = gpu.now
        event.synchronize()
        ends["waited"] = gpu.now
        second.synchronize()

    run_threads(gpu, work, lambda threads: threads.sleep(3.0))
    assert ends == {"slow": 7.0, "short": 3.0, "after slow": 8.0, "thread": 3.5, "waited": 7.0}


def test_an_array_keeps_page_locked_memory() -> None:
    """As torch's: another tensor gets it once the last array of it is gone."""
    with simulated():
        array = torch.empty(4096, dtype=torch.uint8, pin_memory=True).numpy()
        array[:] = 7
        part = array[100:200]
        del array
        others = [torch.empty(4096, dtype=torch.uint8, pin_memory=True) for _ in range(2)]
        assert (part == 7).all()
        assert part.ctypes.data not in range(others[0].data_ptr(), others[0].data_ptr() + 4096)
