"""Host and device memory that batches pass through: a fixed set of buffers, used again and again.

`BufferPool` lends output buffers for as long as any tensor looks at them. A `Slab` is memory that many threads
fill at once; a `DeviceSlab` is pinned, has a twin on the GPU, and two events that order their reuse:

- the host's side is not written again before the copy to the device has read it (``copied``);
- the device's side is not written again before the kernel that reads it has run (``rendered``).
"""

import threading
import weakref
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Generic, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

__all__ = ["BufferPool", "DeviceSlab", "Slab", "SlabPool", "take_pinned"]

ALIGNMENT = 256  # bytes; sectors of the device's memory start here


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


def take_pinned(size: int) -> torch.Tensor:
    """A pinned uint8 tensor of ``size`` bytes.

    From torch's own pool, which knows of copies that still read a tensor when the last reference to it is gone.
    """
    return torch.empty(size, dtype=torch.uint8, device="cpu", pin_memory=True)


class Slab:
    """Memory for one batch on its way, filled by many threads at once; it grows to the largest batch and stays.

    Args:
        pinned: page-locked memory.
    """

    def __init__(self, pinned: bool = False) -> None:
        self._pinned = pinned
        self._host = torch.empty(0, dtype=torch.uint8, device="cpu")
        self._lock = threading.Lock()
        self._used = 0
        self._spilled: list[tuple[int, NDArray[np.uint8]]] = []

    def clear(self) -> None:
        """Forget the contents."""
        self._used, self._spilled = 0, []

    def reserve(self, size: int) -> tuple[int, NDArray[np.uint8]]:
        """``size`` bytes for the calling thread: their offset, and a view to write through."""
        with self._lock:
            self._wait_until_read()
            offset = self._used
            self._used += -(-size // ALIGNMENT) * ALIGNMENT
            if offset + size <= self._host.numel():
                return offset, self._host.numpy()[offset : offset + size]
            spill = np.empty(size, np.uint8)  # only until the slab has its size
            self._spilled.append((offset, spill))
            return offset, spill

    def _wait_until_read(self) -> None:
        """Memory of the host is free as soon as it is cleared."""

    def seal(self) -> torch.Tensor:
        """All that was reserved, as one uint8 tensor on the host. Nobody may write any more."""
        if self._spilled:
            size = self._used + self._used // 4
            grown = torch.empty(size, dtype=torch.uint8, device="cpu", pin_memory=self._pinned)
            kept = min(self._spilled[0][0], self._host.numel())
            grown[:kept] = self._host[:kept]
            for offset, spill in self._spilled:
                grown[offset : offset + len(spill)] = torch.from_numpy(spill)
            self._host, self._spilled = grown, []
        return self._host[: self._used]


class DeviceSlab(Slab):
    """Pinned memory and its twin on a GPU.

    Args:
        device: the GPU.
        stream: the side stream of the copies.
    """

    def __init__(self, device: torch.device, stream: torch.cuda.Stream) -> None:
        super().__init__(pinned=True)
        self._device, self._stream = device, stream
        self._twin = torch.empty(0, dtype=torch.uint8, device=device)
        # the host waits for the first, without spinning: cores are for decoding
        self._copied, self._rendered = torch.cuda.Event(blocking=True), torch.cuda.Event()
        self._being_read = False

    def clear(self) -> None:
        super().clear()
        self._being_read = True

    def _wait_until_read(self) -> None:
        if self._being_read:
            self._copied.synchronize()
            self._being_read = False

    def stage(self) -> None:
        """Start the copy to the device, on the side stream."""
        host = self.seal()
        with torch.cuda.device(self._device), torch.cuda.stream(self._stream):
            self._stream.wait_event(self._rendered)
            if self._twin.numel() < host.numel():
                self._twin = torch.empty(self._host.numel(), dtype=torch.uint8, device=self._device)
            self._twin[: host.numel()].copy_(host, non_blocking=True)
            self._copied.record(self._stream)

    @contextmanager
    def staged(self) -> Iterator[torch.Tensor]:
        """The device's side, for kernels that are launched inside the block on torch's current stream."""
        stream = torch.cuda.current_stream(self._device)
        stream.wait_event(self._copied)
        self._twin.record_stream(stream)  # the slab may be dropped while a kernel still reads it
        yield self._twin
        self._rendered.record(stream)


Kind = TypeVar("Kind", bound=Slab)


class SlabPool(Generic[Kind]):
    """Slabs that come back when the batch that used one is gone, delivered or given up.

    Args:
        make: makes a new slab when none is free.
    """

    def __init__(self, make: Callable[[], Kind]) -> None:
        self._make = make
        self._free: deque[Kind] = deque()

    def take(self, batch: object) -> Kind:
        """A cleared slab for as long as ``batch`` lives."""
        try:
            slab = self._free.popleft()
        except IndexError:
            slab = self._make()
        slab.clear()
        weakref.finalize(batch, self._free.append, slab).atexit = False
        return slab
