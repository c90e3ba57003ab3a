"""Host and device memory that batches pass through: a fixed set of buffers, used again and again.

`BufferPool` lends output buffers for as long as any tensor looks at them. A `Slab` is a piece of pinned
memory that many threads fill at once, and its twin on the device; its two events order their reuse:

- the host side is not written again before the copy to the device has read it (``copied``);
- the device side is not written again before the kernel that reads it has run (``rendered``).
"""

import threading
import weakref
from collections import deque

import numpy as np
import torch
from numpy.typing import NDArray

__all__ = ["BufferPool", "Slab", "SlabPool"]

ALIGNMENT = 256  # bytes; sectors of the device's memory start here


class BufferPool:
    """Host buffers that come back when the last tensor on them is gone.

    Args:
        pinned: page-locked memory, for asynchronous copies.
        keep: most buffers kept for reuse.
    """

    def __init__(self, pinned: bool, keep: int) -> None:
        self._pinned = pinned
        self._free: deque[torch.Tensor] = deque(maxlen=keep)

    def take(self, size: int) -> torch.Tensor:
        """A uint8 tensor of ``size`` bytes, contents undefined."""
        try:
            base = self._free.popleft()
        except IndexError:
            base = None
        if base is None or base.numel() < size:
            base = torch.empty(max(size, 1), dtype=torch.uint8, pin_memory=self._pinned)
        lent = base.numpy()[:size]
        # torch.from_numpy keeps `lent` alive with the storage: when it dies, nobody can see the buffer
        weakref.finalize(lent, self._free.append, base).atexit = False
        return torch.from_numpy(lent)


class Slab:
    """Pinned memory for one batch on its way, filled by many threads.

    Args:
        device: where `stage` copies it; None keeps it on the host, in ordinary memory.
        stream: the side stream of the copies.
    """

    def __init__(self, device: torch.device | None, stream: "torch.cuda.Stream | None") -> None:
        self._device, self._stream = device, stream
        self._host = self._allocate(0)
        self._staged = torch.empty(0, dtype=torch.uint8, device=device)
        self._lock = threading.Lock()
        self._used = 0
        self._spilled: list[tuple[int, NDArray[np.uint8]]] = []
        self._waiting = False
        self._copied = torch.cuda.Event() if stream is not None else None
        self.rendered = torch.cuda.Event() if stream is not None else None

    def _allocate(self, size: int) -> torch.Tensor:
        return torch.empty(size, dtype=torch.uint8, pin_memory=self._device is not None and size > 0)

    def clear(self) -> None:
        """Forget the contents; the first `reserve` waits until the device has read the last ones."""
        self._used, self._spilled, self._waiting = 0, [], self._copied is not None

    def reserve(self, size: int) -> tuple[int, NDArray[np.uint8]]:
        """``size`` bytes for the calling thread: their offset, and a view to write through."""
        with self._lock:
            if self._waiting and self._copied is not None:
                self._copied.synchronize()
                self._waiting = False
            offset = self._used
            self._used += -(-size // ALIGNMENT) * ALIGNMENT
            if offset + size <= self._host.numel():
                return offset, self._host.numpy()[offset : offset + size]
            spill = np.empty(size, np.uint8)  # only until the slab has its size
            self._spilled.append((offset, spill))
            return offset, spill

    def seal(self) -> torch.Tensor:
        """All that was reserved, as one host tensor. Nobody may write any more."""
        if self._spilled:
            grown = self._allocate(self._used + self._used // 4)
            kept = min(self._spilled[0][0], self._host.numel())
            grown[:kept] = self._host[:kept]
            for offset, spill in self._spilled:
                grown[offset : offset + len(spill)] = torch.from_numpy(spill)
            self._host, self._spilled = grown, []
        return self._host[: self._used]

    def stage(self) -> None:
        """Start the copy to the device, on the side stream."""
        host = self.seal()
        assert self._stream is not None
        assert self._copied is not None
        with torch.cuda.stream(self._stream):
            self._stream.wait_event(self.rendered)
            if self._staged.numel() < host.numel():
                self._staged = torch.empty(self._host.numel(), dtype=torch.uint8, device=self._device)
            self._staged[: host.numel()].copy_(host, non_blocking=True)
            self._copied.record(self._stream)

    def staged(self, stream: "torch.cuda.Stream") -> torch.Tensor:
        """The device's side, for kernels on ``stream``; record `rendered` behind the last of them."""
        assert self._copied is not None
        stream.wait_event(self._copied)
        return self._staged


class SlabPool:
    """Slabs that come back when the batch that used one is gone, delivered or given up."""

    def __init__(self, device: torch.device | None) -> None:
        self._device = device
        self._stream = torch.cuda.Stream(device) if device is not None else None
        self._free: deque[Slab] = deque()

    def take(self, batch: object) -> Slab:
        """A cleared slab for as long as ``batch`` lives."""
        try:
            slab = self._free.popleft()
        except IndexError:
            slab = Slab(self._device, self._stream)
        slab.clear()
        weakref.finalize(batch, self._free.append, slab).atexit = False
        return slab
