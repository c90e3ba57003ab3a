"""Devices: the host does nothing, CUDA's calls are made on the right GPU, a user's device is found or named."""

import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch

from gpuload import ArgumentError, MissingError, device as seam
from gpuload.device import CudaDevice, Device, HostDevice, device_of, resolve
from tests.simulation.runtime import Runtime, simulated

# ---- both ----


@pytest.fixture
def place(device: torch.device) -> Device:
    return device_of(device)


def test_memory(place: Device, device: torch.device) -> None:
    here = place.empty((2, 3), torch.int16)
    assert here.shape == (2, 3)
    assert here.dtype == torch.int16
    assert here.device.type == place.torch_device.type == device.type
    host = place.pinned(100)
    assert host.shape == (100,)
    assert host.dtype == torch.uint8
    assert host.device.type == "cpu"
    assert host.is_pinned() == place.launches
    assert place.pinned(0).numel() == 0


def test_a_copy_there_and_back(place: Device) -> None:
    sent, received = place.pinned(64), place.pinned(64)
    sent.copy_(torch.arange(64))
    copied, side = place.event(blocking=True), place.stream()
    with place.on(side):
        there = place.empty((64,), torch.uint8)
        place.copy(there, sent)
        place.keep(there, side)
        place.copy(received, there)
        copied.record(side)
    copied.wait(place.current_stream())
    copied.synchronize()
    assert torch.equal(received, sent)


def test_an_event_that_was_never_recorded_is_past(place: Device) -> None:
    event = place.event()
    event.wait(place.current_stream())
    event.synchronize()


def test_a_stream_is_current_in_its_block(place: Device) -> None:
    side, before = place.stream(), place.current_stream()
    with place.on(side):
        assert place.current_stream() == side
        with place.on(None):
            assert place.current_stream() == side
    assert place.current_stream() == before


def test_what_is_resident_is_not_copied_again(place: Device) -> None:
    once = place.resident(torch.arange(5))
    assert once.tolist() == [0, 1, 2, 3, 4]
    assert place.resident(once) is once


def test_its_generator_is_seeded_for_a_block(device: torch.device, place: Device) -> None:
    if not place.launches:
        with place.seeded(7):  # the CPU's generators are of threads: see `gpuload.randomness`
            pass
        return
    place.empty((1,), torch.uint8)
    generator = torch.cuda.default_generators[torch.cuda.current_device()]
    before = generator.get_state()
    with place.seeded(2**64 - 1):
        assert generator.initial_seed() % 2**64 == 2**64 - 1
        generator.manual_seed(5)
    assert torch.equal(generator.get_state(), before)


def test_entering(place: Device) -> None:
    found: list[Any] = []

    def work() -> None:
        place.enter()
        found.append(place.empty((1,), torch.uint8).device)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [place.torch_device]


def test_the_host_launches_nothing() -> None:
    host = HostDevice()
    assert host.describe() == "CPU"
    assert not host.launches
    for call in (lambda: host.prepare("gather_4"), lambda: host.launch("gather_4", (1, 1), 256, ())):
        with pytest.raises(MissingError, match="the kernel gather_4 needs a GPU"):
            call()


@pytest.mark.cuda
def test_a_launch() -> None:
    place = device_of("cuda")
    place.prepare("order_replaced")
    out = place.empty((4,), torch.int64)
    arguments = np.uint64(0), np.uint32(0), np.uint64(1), np.int64(0), np.int64(4), np.uintp(out.data_ptr())
    place.launch("order_replaced", (1, 1), 32, arguments)
    assert out.tolist() == [0] * 4
    assert place.describe() == f"GPU cuda:{torch.cuda.current_device()}"


@pytest.mark.cuda
def test_a_worker_may_allocate_while_another_thread_captures_a_graph() -> None:
    """In the mode that torch captures in, which forbids it to all threads that have not entered."""
    place, problems = device_of("cuda"), list[BaseException]()
    begun, ended = threading.Event(), threading.Event()

    def work() -> None:
        try:
            place.enter()
            event = place.event(blocking=True)
            begun.wait(10)
            host = place.pinned(48 << 20)
            with place.on(place.stream()):
                place.copy(place.empty((48 << 20,), torch.uint8), host)
                event.record(place.current_stream())
            event.synchronize()
        except BaseException as error:
            problems.append(error)
        ended.set()

    thread = threading.Thread(target=work)
    thread.start()
    numbers, graph = torch.zeros(8, device="cuda"), torch.cuda.CUDAGraph()
    torch.cuda.synchronize()
    with torch.cuda.graph(graph):
        numbers += 1
        begun.set()
        assert ended.wait(10)
    graph.replay()
    thread.join()
    assert problems == []
    assert numbers.tolist() == [1] * 8


@pytest.mark.cuda
@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two GPUs")
def test_no_context_on_another_gpu(run_python: Any) -> None:
    program = """
import torch
from gpuload.device import CudaDevice
place = CudaDevice(1)
with place.on(place.stream()):
    there, event = place.empty((64,), torch.uint8), place.event(blocking=True)
    place.copy(there, place.pinned(64))
    event.record(place.current_stream())
event.synchronize()
place.prepare("gather_4")
print([torch._C._cuda_hasPrimaryContext(index) for index in (0, 1)])
"""
    assert run_python(program).stdout == "[False, True]\n"


# ---- on a simulated GPU ----


def on_another_thread(call: Callable[[], Any]) -> Any:
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append(call()))
    thread.start()
    thread.join()
    return found[0]


@pytest.fixture
def runtime() -> Iterator[Runtime]:
    """Two simulated GPUs."""
    with simulated() as made:
        yield made


def test_a_worker_enters_its_gpu_and_leaves_captures_alone(runtime: Runtime) -> None:
    def enter() -> tuple[int, bool]:
        CudaDevice(1).enter()
        return torch.cuda.current_device(), runtime.gpu.here.is_gentle

    assert on_another_thread(enter) == (1, True)
    assert (torch.cuda.current_device(), runtime.gpu.here.is_gentle) == (0, False)


def test_a_worker_enters_where_there_is_no_such_driver(runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise OSError(name)

    monkeypatch.setattr(seam.ctypes, "CDLL", missing)
    CudaDevice(1).enter()
    assert torch.cuda.current_device() == 1


@pytest.mark.usefixtures("runtime")
def test_cuda_alone_is_the_current_gpu() -> None:
    torch.cuda.set_device(1)
    for named, index in (("cuda", 1), ("cuda:0", 0), (torch.device("cuda", 1), 1)):
        place = device_of(named)
        assert place.torch_device == torch.device("cuda", index)
        assert place.describe() == f"GPU cuda:{index}"
        assert place.launches


# ---- what a user asks for ----


@pytest.mark.usefixtures("runtime")
@pytest.mark.parametrize(
    ("asked", "found"),
    [(None, "cuda:0"), ("cuda", "cuda:0"), ("cuda:1", "cuda:1"), ("cpu", "cpu"), (torch.device("cuda", 1), "cuda:1")],
)
def test_the_device_that_was_asked_for(asked: Any, found: str) -> None:
    assert resolve(asked).torch_device == torch.device(found)


def test_the_host_where_there_is_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert resolve(None).torch_device == torch.device("cpu")
    with pytest.raises(MissingError, match=r"device='cuda:0', but torch .* sees no CUDA GPU: run `gpuload doctor`"):
        resolve("cuda:0")


@pytest.mark.usefixtures("runtime")
@pytest.mark.parametrize(
    ("asked", "text"),
    [
        ("gpu", "device must be 'cpu', 'cuda' or 'cuda:N', got 'gpu'"),
        (1.5, "device must be 'cpu', 'cuda' or 'cuda:N', got 1.5"),
        ("meta", "device must be 'cpu', 'cuda' or 'cuda:N', got 'meta'"),
        ("cuda:2", "device='cuda:2', but there are 2 GPUs"),
    ],
)
def test_no_such_device(asked: Any, text: str) -> None:
    with pytest.raises(ArgumentError, match=text):
        resolve(asked)
