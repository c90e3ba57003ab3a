"""torch.cuda, CuPy and CUDA's driver, as far as gpuload calls them, on a simulated GPU."""

import ctypes
import re
import threading
import types
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest import mock

import torch

from gpuload import device as seam, nvrtc
from gpuload.lifting import rows
from gpuload.loading import transfer
from tests.fake_codec import FAIL, SUCCESS, FakeCodec, has_codec, region_of
from tests.simulation.gpu import Costs, Event, Gpu, Stream
from tests.simulation.kernels import Launch
from tests.simulation.memory import Memory
from tests.simulation.tensors import DeviceTensor, PinnedTensor, copy, plain, untracked

__all__ = ["Runtime", "simulated"]

FACTORIES = ("arange", "empty", "empty_like", "full", "ones", "tensor", "zeros")
REFUSED = 0.1  # of the JPEGs
MEMORY = 1 << 28  # bytes of each device, and of what is page-locked


class Runtime:
    """Simulated devices, and what stands in for torch.cuda, CuPy and the driver.

    Args:
        gpu: streams and events.
        devices: how many.

    Attributes:
        memories: one a device.
        pinned: the host's page-locked memory.
        launched: name, grid and threads of each kernel that was launched.
        decoded: how many JPEGs were.
        refuses: whether the next one is not.
    """

    def __init__(self, gpu: Gpu, devices: int) -> None:
        self.gpu = gpu
        self.memories = [Memory(gpu, index, MEMORY) for index in range(devices)]
        self.pinned = Memory(gpu, None, MEMORY)
        self.launched: list[tuple[str, tuple[int, ...], int]] = []
        self.decoded = 0
        self.refuses: Callable[[], bool] = lambda: self.gpu.random.random() < REFUSED

    @property
    def used(self) -> int:
        """Blocks that are handed out."""
        return sum(len(memory.live) for memory in (*self.memories, self.pinned))

    def reuse(self) -> None:
        """Somebody else gets all memory that has come back."""
        for memory in (*self.memories, self.pinned):
            memory.reuse()

    # ---- tensors ----

    def index_of(self, device: Any) -> int | None:
        """The number of a device; None: it is not one of these."""
        if device is None or torch.device(device).type != "cuda":
            return None
        named = torch.device(device).index
        return self.gpu.here.device if named is None else named

    def empty(self, index: int, shape: Sequence[int], dtype: torch.dtype) -> DeviceTensor:
        self.gpu.touch(index)
        return DeviceTensor.new(self.memories[index], self.gpu.current_stream(index), shape, dtype)

    def pin(self, shape: Sequence[int], dtype: torch.dtype) -> PinnedTensor:
        if not self.gpu.contexts:  # torch takes any that there is
            self.gpu.touch(self.gpu.here.device)
        return PinnedTensor.new(self.pinned, None, shape, dtype)

    def pin_memory(self, tensor: torch.Tensor, device: Any = None) -> torch.Tensor:
        return tensor if tensor.is_pinned() else self.pin(tensor.shape, tensor.dtype).copy_(tensor)

    def moved(self, tensor: torch.Tensor, index: int, dtype: torch.dtype, non_blocking: bool) -> torch.Tensor:
        if tensor.device == torch.device("cuda", index) and tensor.dtype == dtype:
            return tensor
        return copy(self.empty(index, tensor.shape, dtype), tensor, non_blocking)

    def factory(self, make: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
        def made(*args: Any, device: Any = None, pin_memory: bool = False, **kwargs: Any) -> torch.Tensor:
            index = self.index_of(device)
            if index is None and not pin_memory:
                return make(*args, **kwargs, **({} if device is None else {"device": device}))
            with untracked():
                like = make(*args, **kwargs, device="meta")
            if pin_memory:
                return self.pin(like.shape, like.dtype)
            there = self.empty(index, like.shape, like.dtype)
            if make.__name__ == "tensor":
                return copy(there, make(*args, **kwargs))
            if not make.__name__.startswith("empty"):  # a kernel's work
                target, value = plain(there), make(*args, **kwargs)
                there.stream.add(make.__name__, lambda: target.copy_(value), writes=[there.span()])
            return there

        return made

    def to(self, tensor: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        device, dtype, non_blocking, _ = torch._C._nn._parse_to(*args, **kwargs)
        index, dtype = self.index_of(device), dtype or tensor.dtype
        if index is not None:
            return self.moved(tensor, index, dtype, non_blocking)
        if device is not None and isinstance(tensor, DeviceTensor):
            return tensor.cpu().to(dtype)
        return REAL_TO(tensor, *args, **kwargs)

    # ---- devices, streams and events ----

    def set_device(self, device: torch.device | int) -> None:
        self.gpu.here.device = device if isinstance(device, int) else device.index
        self.gpu.touch(self.gpu.here.device)

    @contextmanager
    def device(self, device: Any) -> Iterator[None]:
        before = self.gpu.here.device
        self.set_device(device)
        yield
        self.gpu.here.device = before  # torch makes no context there

    @contextmanager
    def on(self, stream: Stream | None) -> Iterator[None]:
        if stream is None:
            yield
            return
        here = self.gpu.here
        before, device = here.streams.get(stream.device), here.device
        here.streams[stream.device], here.device = stream, stream.device
        yield
        if device != stream.device:
            self.set_device(device)  # torch makes a context there
        if before is None:
            del here.streams[stream.device]
        else:
            here.streams[stream.device] = before

    def new_stream(self, device: Any = None) -> Stream:
        index = self.index_of(device if device is not None else "cuda")
        self.gpu.touch(index)
        return Stream(self.gpu, index, f"stream {len(self.gpu.streams)} of cuda:{index}")

    def new_event(self, enable_timing: bool = False, blocking: bool = False, interprocess: bool = False) -> Any:
        return _Event(self.gpu)

    def current_stream(self, device: Any = None) -> Stream:
        index = device if isinstance(device, int) else self.index_of("cuda" if device is None else device)
        return self.gpu.current_stream(index)

    def is_capturing(self) -> bool:
        self.gpu.touch(self.gpu.here.device)
        return self.gpu.capturing == threading.get_ident()

    # ---- CuPy and the driver ----

    def cupy(self) -> Any:
        cuda = types.SimpleNamespace(
            runtime=types.SimpleNamespace(getDevice=lambda: self.gpu.here.device),
            Device=self._cupy_device,
            Stream=types.SimpleNamespace(from_external=self.on),
        )
        return types.SimpleNamespace(cuda=cuda, RawModule=self._module)

    @contextmanager
    def _cupy_device(self, index: int) -> Iterator[None]:
        before = self.gpu.here.device
        self.set_device(index)
        yield
        self.set_device(before)  # CuPy makes a context there

    def _module(self, code: str, options: tuple[str, ...]) -> Any:
        names = re.findall(r"GPULOAD_KERNEL (\w+)\(", code)
        made_for = self.gpu.here.device
        self.gpu.touch(made_for)

        def function(name: str) -> Callable[..., None]:
            if name not in names:
                raise ValueError(f"there is no kernel {name}")

            def start(grid: tuple[int, ...], block: tuple[int, ...], arguments: tuple[Any, ...]) -> None:
                self.launched.append((name, grid, *block))
                self._start(made_for, name, grid, arguments)

            return start

        return types.SimpleNamespace(get_function=function)

    def _start(self, made_for: int, name: str, grid: tuple[int, ...], arguments: tuple[Any, ...]) -> None:
        here = self.gpu.here.device
        if here != made_for:
            self.gpu.problem(f"{name}, compiled for cuda:{made_for}, is launched on cuda:{here}")
        launch = Launch(name, grid, arguments, self.memories[here])
        self.gpu.current_stream(here).add(name, launch.run, reads=launch.reads, writes=launch.writes)

    def driver(self, name: str) -> Any:
        def exchange(mode: Any) -> int:
            self.gpu.here.is_gentle = mode._obj.value == seam.THREAD_LOCAL
            return 0

        return types.SimpleNamespace(cuThreadExchangeStreamCaptureMode=exchange)

    # ---- nvImageCodec ----

    def decodes(self, data: bytes, region: list[int], out: int, stream: int) -> int:
        """A JPEG's region, decoded by the device some time later; as Pillow does it."""
        if self.refuses():
            return FAIL
        pixels = torch.from_numpy(region_of(data, region).reshape(-1).copy())
        queue = self.gpu.streams[stream - 1]
        memory = self.memories[queue.device]
        block = memory.block_at(out)
        if block is None or out + len(pixels) > memory.address + block[1]:
            self.gpu.problem(f"a JPEG is decoded to where no memory is in use in the {memory.name}")
            return FAIL
        begin = out - memory.address
        target = torch.from_numpy(memory.array[begin : begin + len(pixels)])
        writes = [(memory.accesses, begin, begin + len(pixels))]
        queue.add("decode", lambda: target.copy_(pixels), writes=writes)
        self.decoded += 1
        return SUCCESS

    # ---- in place of the real ones ----

    @contextmanager
    def installed(self) -> Iterator[None]:
        """torch sees these devices inside the block."""
        cuda = {
            "is_available": lambda: True, "device_count": lambda: len(self.memories),
            "current_device": lambda: self.gpu.here.device, "set_device": self.set_device, "device": self.device,
            "stream": self.on, "Stream": self.new_stream, "Event": self.new_event,
            "current_stream": self.current_stream,
            "is_current_stream_capturing": self.is_capturing,
            "default_generators": tuple(torch.Generator() for _ in self.memories),
        }  # fmt: skip
        accelerator = {
            "is_available": lambda: True, "current_accelerator": lambda check_available=False: torch.device("cuda"),
            "current_device_index": lambda: self.gpu.here.device, "set_device_index": self.set_device,
        }  # fmt: skip
        with ExitStack() as stack:
            for owner, changed in ((torch.cuda, cuda), (torch.accelerator, accelerator)):
                for name, value in changed.items():
                    stack.enter_context(mock.patch.object(owner, name, value))
            for name in FACTORIES:
                stack.enter_context(mock.patch.object(torch, name, self.factory(getattr(torch, name))))
            runtime = self
            stack.enter_context(mock.patch.object(torch.Tensor, "to", lambda *a, **k: runtime.to(*a, **k)))
            stack.enter_context(mock.patch.object(torch.Tensor, "pin_memory", lambda *a: runtime.pin_memory(*a)))
            stack.enter_context(mock.patch.object(nvrtc, "cupy", self.cupy))
            stack.enter_context(mock.patch.object(rows, "PICKS", ()))  # tensors here have ways of their own
            stack.enter_context(mock.patch.object(transfer, "PLAIN", (torch.Tensor, PinnedTensor)))
            driver = types.SimpleNamespace(CDLL=self.driver, byref=ctypes.byref, c_int=ctypes.c_int)
            stack.enter_context(mock.patch.object(seam, "ctypes", driver))
            stack.callback(nvrtc.cuda_kernel.cache_clear)
            nvrtc.cuda_kernel.cache_clear()
            if has_codec():
                stack.enter_context(FakeCodec(self.decodes).installed())
            yield


REAL_TO = torch.Tensor.to


class _Event(Event):
    """torch.cuda.Event."""

    def record(self, stream: Stream) -> None:
        self.put(stream)

    def query(self) -> bool:
        self._gpu.unsafe("a query")
        return self.ticket is None or self.ticket.done

    def elapsed_time(self, end: "_Event") -> float:
        assert self.ticket is not None and self.ticket.done, "it was not recorded, or is not past"
        assert end.ticket is not None and end.ticket.done, "it was not recorded, or is not past"
        return (end.ticket.at - self.ticket.at) * 1000


@contextmanager
def simulated(seed: int = 0, devices: int = 2, costs: Costs | None = None) -> Iterator[Runtime]:
    """Run the block on simulated devices.

    Args:
        seed: of the order in which streams' work runs.
        devices: how many.
        costs: as of `Gpu`.
    """
    runtime = Runtime(Gpu(seed, costs), devices)
    with runtime.installed():
        yield runtime
