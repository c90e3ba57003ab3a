"""Host and device memory that batches pass through: a fixed set of buffers, used again and again.

`BufferPool` lends output buffers for as long as any tensor looks at them. A `StagingBuffer` is host memory that
many threads fill at once, with its copy on the device, where a part of it may be decoded instead. Events order their
reuse:

- the host's side is not written again before the copy to the device has read it (``copied``);
- the device's side is not written again before the kernel that reads it has run (``rendered``);
- what is decoded there is whole before a kernel reads it, or a later copy writes there (``decoded``).
"""

import weakref
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from heapq import heappop, heappush
from itertools import count

import numpy as np
import torch
from numpy.typing import NDArray

from gpuload.device import Device, Stream

__all__ = ["ALIGNMENT", "BufferPool", "StagingBuffer", "StagingPool"]

ALIGNMENT = 256  # bytes; sectors of the device's memory start here

_turns = count(1)


class BufferPool:
    """Ordinary host buffers that come back when the last tensor on them is gone.

    Args:
        keep: most buffers kept for reuse.
    """

    def __init__(self, keep: int) -> None:
        self._free: deque[torch.Tensor] = deque(maxlen=keep)

    def take(self, size: int) -> torch.Tensor:
        """A uint8 tensor of ``size`` bytes, contents undefined."""
        try:
            base = self._free.popleft()
        except IndexError:
            base = None
        if base is None or base.numel() < size:
            base = torch.empty(max(size, 1), dtype=torch.uint8, device="cpu")
        lent = base.numpy()[:size]
        # torch.from_numpy keeps `lent` alive with the storage: when it dies, nobody can see the buffer
        weakref.finalize(lent, self._free.append, base).atexit = False
        return torch.from_numpy(lent)


class StagingBuffer:
    """Page-locked host memory and its copy on the device; both grow to the largest batch and stay.

    Args:
        device: where the copies go.
        stream: the side stream of the copies.

    Attributes:
        turn: when its last copy was started, beside those of other buffers.
    """

    def __init__(self, device: Device, stream: Stream) -> None:
        self._device, self._stream = device, stream
        self._host = device.pinned(0)
        self._used = self._sent = 0
        self._late: list[slice] = []
        self.turn = 0
        self._copy = device.empty((0,), torch.uint8)
        # the host waits for the first, without spinning: cores are for decoding
        self._copied, self._rendered, self._decoded = device.event(blocking=True), device.event(), device.event()

    def room(self, size: int, behind: int = 0) -> NDArray[np.uint8]:
        """Host memory for a new batch, once the copy of the one before has read it.

        Args:
            size: bytes that are copied to the device.
            behind: bytes after them that are decoded there.
        """
        self._copied.synchronize()
        self._sent, self._used = size, size + behind
        size += behind
        self._late.clear()
        if self._host.numel() < size:
            self._host = self._device.pinned(size + size // 4)
        memory: NDArray[np.uint8] = self._host.numpy()[:size]
        return memory

    def late(self, begin: int, size: int) -> None:
        """These bytes behind are copied after all."""
        self._late.append(slice(begin, begin + size))

    @contextmanager
    def decoded_on(self, stream: Stream) -> Iterator[torch.Tensor]:
        """The device's side, for a decoder that is given work on ``stream`` inside the block; it writes behind."""
        with self._device.on(self._stream):
            self._grow()
            self._copied.record(self._stream)  # before that the memory may not be this buffer's on other streams
        with self._device.on(stream):
            self._rendered.wait(stream)
            self._copied.wait(stream)
            yield self._copy
            self._decoded.record(stream)
            self._device.keep(self._copy, stream)

    def stage(self) -> None:
        """Start the copy to the device, on the side stream. Nobody may write any more."""
        with self._device.on(self._stream):
            self._rendered.wait(self._stream)
            self._decoded.wait(self._stream)
            self._grow()
            for part in (slice(self._sent), *self._late):
                self._device.copy(self._copy[part], self._host[part])
            self._copied.record(self._stream)
        self.turn = next(_turns)

    def _grow(self) -> None:
        """Let the device's side be as large as the host's; on the side stream."""
        if self._copy.numel() < self._used:
            self._copy = self._device.empty((self._host.numel(),), torch.uint8)

    @contextmanager
    def staged(self) -> Iterator[torch.Tensor]:
        """The device's side, for kernels that are launched inside the block on the current stream."""
        stream = self._device.current_stream()
        self._copied.wait(stream)
        self._device.keep(self._copy, stream)  # the buffer may be dropped while a kernel still reads it
        yield self._copy
        self._rendered.record(stream)


class StagingPool:
    """Staging buffers that come back when the batch that used one is gone, delivered or canceled.

    Args:
        device, stream: as of `StagingBuffer`.
    """

    LEAST = 2  # so that a batch need not wait for the kernel of the one before

    def __init__(self, device: Device, stream: Stream) -> None:
        self._device, self._stream = device, stream
        self._free: list[tuple[int, int, StagingBuffer]] = []  # a heap; what is done to it is done in C, and at once
        for _ in range(self.LEAST):
            self._give_back(StagingBuffer(device, stream))

    def take(self, batch: object) -> StagingBuffer:
        """A buffer for as long as ``batch`` lives: the one whose copy was started first.

        It waits least, and copies stay in the order of their batches: in turns of another order, the consumer would
        wait for a batch that is copied after the next one, again and again.
        """
        try:
            _, _, buffer = heappop(self._free)
        except IndexError:
            buffer = StagingBuffer(self._device, self._stream)
        weakref.finalize(batch, self._give_back, buffer).atexit = False
        return buffer

    def _give_back(self, buffer: StagingBuffer) -> None:
        heappush(self._free, (buffer.turn, id(buffer), buffer))
