"""Allocators that hand memory out again as soon as CUDA's would, in other hands: whoever still uses it is found."""

import ctypes
import mmap
import threading
from collections.abc import Callable

import numpy as np
import torch

from tests.simulation.clocks import Accesses
from tests.simulation.gpu import Gpu, Span, Stream, Ticket

GRAIN = 512  # bytes; sizes are rounded up, as torch does
POISON = 0xA5


def _rounded(size: int) -> int:
    return max(-(-size // GRAIN), 1) * GRAIN


def _sanitizer(name: str) -> Callable[[int, int], None]:
    """A function of AddressSanitizer's, which tells it what compiled code may touch; without it, nothing."""
    found = getattr(ctypes.CDLL(None), f"__asan_{name}_memory_region", None)
    if found is not None:
        found.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
    return found or (lambda address, size: None)


_forbid, _allow = _sanitizer("poison"), _sanitizer("unpoison")


class Block:
    """Memory that has been handed out; it goes back when the last reference is gone.

    Attributes:
        begin, size: its place in the memory, in bytes, and how many were asked for.
        stream: on which it may be used again at once; None: the host's.
        users: other streams that use it.
    """

    def __init__(self, memory: "Memory", begin: int, size: int, stream: Stream | None) -> None:
        self.memory, self.begin, self.size, self.stream = memory, begin, size, stream
        self.users: dict[Stream, None] = {}

    def __del__(self) -> None:
        self.memory.give_back(self)

    def span(self) -> Span:
        return self.memory.accesses, self.begin, self.begin + self.size

    def array(self) -> np.ndarray:
        return self.memory.array[self.begin : self.begin + self.size]


class Memory:
    """The memory of a device, or what is page-locked of the host's.

    Args:
        gpu: whose streams use it.
        device: the number of the device; None: page-locked.
        size: bytes.

    Attributes:
        live: blocks that are handed out.
        made: how often memory was got from the driver, as nothing fitting had come back.
    """

    def __init__(self, gpu: Gpu, device: int | None, size: int) -> None:
        self.gpu, self.device = gpu, device
        self.array = np.frombuffer(mmap.mmap(-1, size), np.uint8)
        self.address = self.array.ctypes.data
        _forbid(self.address, size)
        self.accesses = Accesses()
        self._top, self.made = 0, 0
        self._free: list[tuple[int, int, Stream | None]] = []  # begin, size, stream; what came back last, last
        self._in_use: list[tuple[list[Ticket], int, int, Stream | None]] = []
        self.live: dict[int, int] = {}  # begin: size
        self._lock = threading.RLock()

    def __del__(self) -> None:
        _allow(self.address, len(self.array))

    @property
    def name(self) -> str:
        return "page-locked memory" if self.device is None else f"memory of cuda:{self.device}"

    def take(self, size: int, stream: Stream | None) -> Block:
        """A block, poisoned.

        Args:
            size: bytes.
            stream: on which it is used first; None: the host.
        """
        with self._lock:
            self._collect()
            room = _rounded(size)
            begin = self._reused(room, stream)
            if begin is None:
                begin = self._top
                self._top += room
                self.made += 1
                self.gpu.unsafe("an allocation")
                assert self._top <= len(self.array), f"the simulated {self.name} is full"
            self.live[begin] = size
            _forbid(self.address + begin, room)
            _allow(self.address + begin, size)
            block = Block(self, begin, size, stream)
        self._poison(block)
        return block

    def _reused(self, room: int, stream: Stream | None) -> int | None:
        for i in reversed(range(len(self._free))):
            begin, size, last = self._free[i]
            if last is stream and size == room:
                del self._free[i]
                return begin
        return None

    def _poison(self, block: Block) -> None:
        """Whoever has it now may write to it at any time: so it is."""
        array = block.array()
        if block.stream is None:
            self.gpu.access(f"new {self.name}", block.span(), writes=True)
            array.fill(POISON)
        elif block.size:
            block.stream.add(f"new {self.name}", lambda: array.fill(POISON), writes=[block.span()])

    def give_back(self, block: Block) -> None:
        with self._lock:
            del self.live[block.begin]
            tickets = [user.ticket() for user in block.users]
            self._in_use.append((tickets, block.begin, _rounded(block.size), block.stream))

    def _collect(self) -> None:
        """What nobody uses any more can be used again; the host looks, and does not wait."""
        waiting = []
        for entry in self._in_use:
            if all(ticket.done for ticket in entry[0]):
                for ticket in entry[0]:
                    self.gpu.host.learn(ticket.known)
                self._free.append(entry[1:])
            else:
                waiting.append(entry)
        self._in_use = waiting

    def reuse(self) -> None:
        """Somebody else gets all that has come back, and writes to it."""
        with self._lock:
            self._collect()
            free = [(size, stream) for _, size, stream in self._free]
        blocks = [self.take(size, stream) for size, stream in free]
        blocks.clear()

    def block_at(self, address: int) -> tuple[int, int] | None:
        """Begin and end of the block that is handed out there."""
        at = address - self.address
        return next(((begin, begin + size) for begin, size in self.live.items() if begin <= at < begin + size), None)

    def span_of(self, tensor: torch.Tensor) -> Span:
        """The bytes that a tensor in this memory looks at, and what lies between them."""
        if not tensor.numel():
            return self.accesses, 0, 0
        begin = tensor.data_ptr() - self.address
        reach = sum((length - 1) * stride for length, stride in zip(tensor.shape, tensor.stride(), strict=True))
        return self.accesses, begin, begin + (reach + 1) * tensor.element_size()
