"""Buffers: nothing is handed out twice, nothing is lost or allocated once warm, and streams wait where they must."""

import gc
import random
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, strategies as st

from gpuload.device import Event, HostDevice, device_of
from gpuload.staging import BufferPool, StagingBuffer, StagingPool


@pytest.fixture
def allocations(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The sizes of all tensors that staging allocates while the test runs."""
    sizes: list[int] = []
    empty = torch.empty

    def counted(size: int, **options: Any) -> torch.Tensor:
        sizes.append(size)
        return empty(size, **options)

    monkeypatch.setattr(torch, "empty", counted)
    return sizes


@pytest.fixture(autouse=True)
def without_the_garbage_collector() -> Iterator[None]:
    """Buffers must come back by reference counts alone."""
    gc.disable()
    yield
    gc.enable()


# ---- output buffers ----


@pytest.mark.parametrize("size", [0, 1, 7, 4096])
def test_a_buffer_has_its_size(size: int) -> None:
    buffer = BufferPool(2).take(size)
    assert buffer.shape == (size,) and buffer.dtype == torch.uint8 and buffer.is_contiguous()


def test_a_buffer_comes_back(allocations: list[int]) -> None:
    pool = BufferPool(2)
    for _ in range(5):
        pool.take(1000)
    assert allocations == [1000]


VIEWS: dict[str, Callable[[torch.Tensor], Any]] = {
    "itself": lambda t: t,
    "slice": lambda t: t[10:20],
    "element": lambda t: t[5],
    "other dtype": lambda t: t.view(torch.float32),
    "reshaped": lambda t: t.view(10, 10, 10),
    "permuted": lambda t: t.view(10, 5, 20).permute(2, 0, 1),
    "strided": lambda t: t[::7],
    "unbound": lambda t: t.view(10, 100).unbind()[3],
    "array": lambda t: t.numpy(),
    "part of an array": lambda t: t.numpy()[3:4],
    "dlpack": lambda t: torch.from_dlpack(t),
    "storage": lambda t: t.untyped_storage(),
    "detached": lambda t: t.detach(),
    "memory": lambda t: memoryview(t.numpy()),
    "parameter": lambda t: torch.nn.Parameter(t.view(torch.float32)),
    "graph": lambda t: t.view(torch.float32).requires_grad_().mul(2).grad_fn,
}


@pytest.mark.parametrize("view", VIEWS.values(), ids=VIEWS.keys())
def test_a_buffer_is_lent_as_long_as_anything_looks_at_it(view: Callable[[torch.Tensor], Any]) -> None:
    pool = BufferPool(4)
    buffer = pool.take(1000)
    address = buffer.data_ptr()
    kept = view(buffer)
    del buffer
    others = [pool.take(1000) for _ in range(3)]
    assert address not in [other.data_ptr() for other in others]
    del kept
    others.append(pool.take(1000))
    assert others[-1].data_ptr() == address


def test_a_larger_buffer_serves_a_smaller_request(allocations: list[int]) -> None:
    pool = BufferPool(2)
    pool.take(1000)
    assert pool.take(10).shape == (10,)
    assert pool.take(1000).shape == (1000,)
    assert allocations == [1000]


def test_a_smaller_buffer_is_replaced(allocations: list[int]) -> None:
    pool = BufferPool(2)
    pool.take(10)
    assert pool.take(1000).shape == (1000,)
    pool.take(1000)
    assert allocations == [10, 1000]


def test_no_more_are_kept_than_asked(allocations: list[int]) -> None:
    pool = BufferPool(2)
    lent = [pool.take(100) for _ in range(5)]
    lent.clear()
    lent = [pool.take(100) for _ in range(5)]
    assert len(allocations) == 5 + 3


def test_a_buffer_outlives_its_pool() -> None:
    pool = BufferPool(2)
    buffer = pool.take(100).fill_(7)
    del pool
    assert buffer.tolist() == [7] * 100


def test_no_two_threads_hold_one_buffer() -> None:
    pool = BufferPool(4)
    wrong: list[int] = []

    def work(mark: int) -> None:
        rng = random.Random(mark)
        for _ in range(200):
            buffer = pool.take(rng.randint(1, 300)).fill_(mark)
            if rng.random() < 0.3:
                threading.Event().wait(0.0001)
            if not bool((buffer == mark).all()):
                wrong.append(mark)

    threads = [threading.Thread(target=work, args=(mark,)) for mark in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


@pytest.mark.cuda
def test_a_pinned_buffer_waits_for_copies_that_still_read_it() -> None:
    """Dropped while a copy to the device is queued behind a busy stream, and taken again at once."""
    size, device = 32 << 20, device_of("cuda")
    for _ in range(4):
        buffer = device.pinned(size).fill_(1)
        assert buffer.is_pinned()
        torch.cuda._sleep(200_000_000)
        copy = buffer.to("cuda", non_blocking=True)
        del buffer
        device.pinned(size).fill_(2)
        assert bool((copy == 1).all())


# ---- staging buffers: what is on the device is what was written ----


def contents(size: int, seed: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    return np.frombuffer(random.Random(seed).randbytes(size), np.uint8)


def staged(buffer: StagingBuffer, size: int) -> torch.Tensor:
    """What a kernel would read, once it is staged."""
    buffer.stage()
    with buffer.staged() as copy:
        return copy[:size].clone()


@given(st.lists(st.integers(0, 3000), min_size=1, max_size=8))
def test_what_is_staged_is_what_was_written(sizes: list[int]) -> None:
    buffer = StagingBuffer(HostDevice(), None)
    for number, size in enumerate(sizes):
        room = buffer.room(size)
        assert room.shape == (size,) and room.dtype == np.uint8
        room[:] = contents(size, number)
        assert staged(buffer, size).numpy().tobytes() == contents(size, number).tobytes()


@pytest.fixture
def host_memory(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """What is allocated, of host and device memory, while the test runs."""
    made: list[tuple[str, int]] = []
    pinned, empty = HostDevice.pinned, HostDevice.empty

    def counted_pinned(self: HostDevice, size: int) -> torch.Tensor:
        made.append(("host", size))
        return pinned(self, size)

    def counted_empty(self: HostDevice, shape: Sequence[int], dtype: torch.dtype) -> torch.Tensor:
        made.append(("device", *shape))
        return empty(self, shape, dtype)

    monkeypatch.setattr(HostDevice, "pinned", counted_pinned)
    monkeypatch.setattr(HostDevice, "empty", counted_empty)
    return made


def test_a_warm_buffer_does_not_grow(host_memory: list[tuple[str, int]]) -> None:
    buffer = StagingBuffer(HostDevice(), None)
    staged(buffer, len(buffer.room(1000)))
    assert [size for _, size in host_memory if size] == [1250, 1250]  # a quarter more than was asked for
    host_memory.clear()
    address = buffer.room(1).ctypes.data
    for size in (1000, 10, 0, 1250, 600):
        assert buffer.room(size).ctypes.data == address
        staged(buffer, size)
    assert host_memory == []
    staged(buffer, len(buffer.room(1251)))
    assert [size for _, size in host_memory] == [1251 + 312] * 2


def test_many_threads_fill_a_buffer_at_once() -> None:
    buffer = StagingBuffer(HostDevice(), None)
    parts = [(number * 700, 600 + number) for number in range(8)]
    for turn in range(5):
        room = buffer.room(8 * 700)
        barrier = threading.Barrier(8)

        def work(number: int, room: Any = room, barrier: threading.Barrier = barrier, turn: int = turn) -> None:
            barrier.wait()
            begin, size = parts[number]
            room[begin : begin + size] = contents(size, 8 * turn + number)

        threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        whole = staged(buffer, 8 * 700).numpy().tobytes()
        for number, (begin, size) in enumerate(parts):
            assert whole[begin : begin + size] == contents(size, 8 * turn + number).tobytes()


# ---- staging buffers: who waits for whom ----


class Recorder(HostDevice):
    """Writes down what it is asked for, in order."""

    def __init__(self) -> None:
        self.log: list[str] = []
        self.current, self._events = "consumer", 0

    def current_stream(self) -> str:
        return self.current

    @contextmanager
    def _on(self, stream: str) -> Iterator[None]:
        before, self.current = self.current, stream
        yield
        self.current = before

    def on(self, stream: str) -> AbstractContextManager[Any]:
        return self._on(stream)

    def event(self, blocking: bool = False) -> Event:
        self._events += 1
        return RecordedEvent(self, ("copied", "rendered", "decoded")[self._events - 1])

    def empty(self, shape: Sequence[int], dtype: torch.dtype) -> torch.Tensor:
        self.log.append(f"allocate on {self.current}")
        return super().empty(shape, dtype)

    def copy(self, target: torch.Tensor, source: torch.Tensor) -> None:
        self.log.append(f"copy {source.numel()} on {self.current}")

    def keep(self, tensor: torch.Tensor, stream: str) -> None:
        self.log.append(f"keep for {stream}")


class RecordedEvent:
    def __init__(self, device: Recorder, name: str) -> None:
        self._log, self._name = device.log, name

    def record(self, stream: str) -> None:
        self._log.append(f"{self._name} recorded on {stream}")

    def wait(self, stream: str) -> None:
        self._log.append(f"{stream} waits for {self._name}")

    def synchronize(self) -> None:
        self._log.append(f"host waits for {self._name}")


def test_streams_and_host_wait_for_each_other() -> None:
    device = Recorder()
    buffer = StagingBuffer(device, "side")
    assert device._events == 3
    for turn in range(3):
        device.log.clear()
        buffer.room(800)
        assert device.log == ["host waits for copied"]  # or it would write what is still being read
        buffer.stage()
        with buffer.staged():
            device.log.append("kernel")
        growth = ["allocate on side"] if turn == 0 else []
        waits = ["side waits for rendered", "side waits for decoded"]
        copy = [*waits, *growth, "copy 800 on side", "copied recorded on side"]
        kernel = ["consumer waits for copied", "keep for consumer", "kernel", "rendered recorded on consumer"]
        assert device.log[1:] == [*copy, *kernel]
    assert device._events == 3  # used again, not made for each batch


def test_a_decoder_waits_for_what_was_there_before_and_is_waited_for() -> None:
    device = Recorder()
    buffer = StagingBuffer(device, "side")
    for turn in range(2):
        assert len(buffer.room(800, behind=1200)) == 2000
        device.log.clear()
        with buffer.decoded_on("decoder") as memory:
            assert memory.numel() >= 2000
            device.log.append(f"decodes on {device.current}")
        growth = ["allocate on side"] if turn == 0 else []
        before = [*growth, "copied recorded on side", "decoder waits for rendered", "decoder waits for copied"]
        assert device.log == [*before, "decodes on decoder", "decoded recorded on decoder", "keep for decoder"]
        device.log.clear()
        buffer.late(1900, 20)  # one that the decoder refused
        buffer.stage()
        waits = ["side waits for rendered", "side waits for decoded"]
        assert device.log == [*waits, "copy 800 on side", "copy 20 on side", "copied recorded on side"]
    buffer.room(800)  # with nothing late in it
    device.log.clear()
    buffer.stage()
    assert device.log[2:] == ["copy 800 on side", "copied recorded on side"]


def test_any_stream_may_be_the_consumers() -> None:
    device = Recorder()
    buffer = StagingBuffer(device, "side")
    buffer.room(8)
    buffer.stage()
    with device.on("another"):
        device.log.clear()
        with buffer.staged():
            pass
        assert device.log == ["another waits for copied", "keep for another", "rendered recorded on another"]


# ---- staging buffers: whose they are ----


class Batch:
    pass


def test_a_buffer_is_a_batchs_own_until_the_batch_is_gone() -> None:
    pool = StagingPool(HostDevice(), None)
    first, second = Batch(), Batch()
    buffers = [pool.take(first), pool.take(second)]
    assert buffers[0] is not buffers[1]
    del first
    third = Batch()
    assert pool.take(third) is buffers[0]
    assert pool.take(Batch()) not in buffers


def test_the_buffer_whose_copy_was_started_first_is_used_first() -> None:
    """Whatever the order in which they come back; those that were given up go first."""
    pool = StagingPool(HostDevice(), None)
    batches = [Batch() for _ in range(5)]
    buffers = [pool.take(batch) for batch in batches]
    assert len(set(map(id, buffers))) == 5
    for number in (2, 0, 3, 1):
        staged(buffers[number], 0)
    for number in (1, 3, 4, 2, 0):
        batches[number] = Batch()  # the one before is gone
    again = [pool.take(batch) for batch in batches]
    assert again == [buffers[number] for number in (4, 2, 0, 3, 1)]


def test_two_batches_take_turns_from_the_start() -> None:
    """A batch that follows at once does not wait for the kernel of the one before."""
    pool, used = StagingPool(HostDevice(), None), []
    for _ in range(6):
        batch = Batch()
        used.append(pool.take(batch))
        staged(used[-1], 0)
        del batch
    assert used[0] is used[2] is used[4] and used[1] is used[3] is used[5] and used[0] is not used[1]


@pytest.mark.cuda
def test_what_is_staged_is_what_was_written_however_late_the_device_is() -> None:
    """The host runs far ahead of both streams; sizes rise and fall, so that host and device side grow."""
    device = device_of("cuda")
    pool = StagingPool(device, device.stream())
    rng = random.Random(0)
    copies, expected = [], []
    for turn in range(40):
        batch = Batch()
        buffer, size = pool.take(batch), rng.randint(1, 500_000)
        buffer.room(size)[:] = contents(size, turn)
        buffer.stage()
        with buffer.staged() as copy:
            torch.cuda._sleep(5_000_000)  # a kernel that reads late
            copies.append(copy[:size].clone())
        expected.append(contents(size, turn))
    torch.cuda.synchronize()
    for copied, written in zip(copies, expected, strict=True):
        assert np.array_equal(copied.cpu().numpy(), written)
