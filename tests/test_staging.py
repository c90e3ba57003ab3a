"""Buffers and slabs: nothing is handed out twice, nothing is lost, nothing is allocated once warm."""

import gc
import random
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, strategies as st

from gpuload.staging import ALIGNMENT, BufferPool, DeviceSlab, Slab, SlabPool, take_pinned


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
    size = 32 << 20
    for _ in range(4):
        buffer = take_pinned(size).fill_(1)
        assert buffer.is_pinned()
        torch.cuda._sleep(200_000_000)
        copy = buffer.to("cuda", non_blocking=True)
        del buffer
        take_pinned(size).fill_(2)
        assert bool((copy == 1).all())


# ---- slabs ----


def fill(slab: Slab, sizes: list[int], seed: int) -> list[tuple[int, bytes]]:
    """Reserve and write; where, and what."""
    rng = random.Random(seed)
    written = []
    for size in sizes:
        offset, place = slab.reserve(size)
        assert place.shape == (size,) and place.dtype == np.uint8
        content = rng.randbytes(size)
        place[:] = np.frombuffer(content, np.uint8)
        written.append((offset, content))
    return written


def check(sealed: torch.Tensor, written: list[tuple[int, bytes]]) -> None:
    whole = sealed.numpy().tobytes()
    for offset, content in written:
        assert offset % ALIGNMENT == 0
        assert whole[offset : offset + len(content)] == content


batches = st.lists(st.lists(st.integers(0, 2000), max_size=12), min_size=1, max_size=6)


@given(batches)
def test_a_slab_keeps_what_is_written_as_it_grows(batches: list[list[int]]) -> None:
    slab = Slab()
    for number, sizes in enumerate(batches):
        slab.clear()
        written = fill(slab, sizes, number)
        check(slab.seal(), written)


@given(st.lists(st.integers(0, 2000), max_size=20))
def test_reservations_do_not_overlap(sizes: list[int]) -> None:
    slab = Slab()
    offsets = [slab.reserve(size)[0] for size in sizes]
    ends = [offset + size for offset, size in zip(offsets, sizes, strict=True)]
    assert all(end <= start for end, start in zip(ends, offsets[1:], strict=False))
    assert slab.seal().numel() >= max(ends, default=0)


def test_a_slab_that_was_not_cleared_goes_on() -> None:
    slab = Slab()
    written = fill(slab, [100, 700], 0)
    slab.seal()
    written += fill(slab, [5000, 3], 1)
    check(slab.seal(), written)
    check(slab.seal(), written)  # again, with nothing new


def test_an_empty_slab() -> None:
    assert Slab().seal().numel() == 0


def test_a_warm_slab_neither_grows_nor_spills(allocations: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    slab = Slab()
    fill(slab, [1000] * 8, 0)
    address = slab.seal().data_ptr()
    allocations.clear()
    monkeypatch.setattr(np, "empty", None)
    for sizes in ([1000] * 8, [10], [4000, 4000], [1000] * 8):
        slab.clear()
        written = fill(slab, sizes, 1)
        sealed = slab.seal()
        check(sealed, written)
        assert sealed.data_ptr() == address
    assert allocations == []


@pytest.mark.parametrize("warm", [0, 3000, 100_000])
def test_many_threads_fill_a_slab_at_once(warm: int) -> None:
    slab = Slab()
    slab.reserve(warm)
    slab.seal()
    for turn in range(5):
        slab.clear()
        written: list[list[tuple[int, bytes]]] = [[] for _ in range(8)]
        barrier = threading.Barrier(8)

        def work(number: int, written: Any = written, barrier: threading.Barrier = barrier, turn: int = turn) -> None:
            barrier.wait()
            rng = random.Random(8 * turn + number)
            written[number] = fill(slab, [rng.randint(0, 600) for _ in range(30)], number)

        threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        all_written = sorted(piece for pieces in written for piece in pieces)
        assert len(all_written) == 240
        check(slab.seal(), all_written)


class Batch:
    pass


def test_a_slab_is_a_batchs_own_until_the_batch_is_gone() -> None:
    pool = SlabPool(Slab)
    first, second = Batch(), Batch()
    slabs = [pool.take(first), pool.take(second)]
    assert slabs[0] is not slabs[1]
    del first
    third = Batch()
    assert pool.take(third) is slabs[0]
    assert pool.take(Batch()) not in slabs


def test_a_slab_comes_cleared() -> None:
    pool = SlabPool(Slab)
    batch = Batch()
    pool.take(batch).reserve(1000)
    del batch
    assert pool.take(Batch()).reserve(10)[0] == 0


@pytest.mark.cuda
def test_what_is_staged_is_what_was_written_however_late_the_device_is() -> None:
    """The host runs far ahead of both streams; sizes rise and fall, so that host and device side grow."""
    device = torch.device("cuda", torch.cuda.current_device())
    stream = torch.cuda.Stream(device)
    pool = SlabPool(lambda: DeviceSlab(device, stream))
    rng = random.Random(0)
    copies, expected = [], []
    for turn in range(40):
        batch = Batch()
        slab = pool.take(batch)
        written = fill(slab, [rng.randint(0, 60_000) for _ in range(rng.randint(1, 16))], turn)
        slab.stage()
        with slab.staged() as staged:
            torch.cuda._sleep(5_000_000)  # a kernel that reads late
            copies.append(staged.clone())
        expected.append(written)
    torch.cuda.synchronize()
    for copy, written in zip(copies, expected, strict=True):
        check(copy.cpu(), written)
