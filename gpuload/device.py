"""Where batches go, and all that is asynchronous there: streams, events, memory, copies, kernel launches.

This is the one module that tells CUDA from the host. Everything else asks a `Device`; on the host, streams and
events are without effect, and kernels cannot be launched: numpy and torch serve.

No call makes a context on a GPU that is not its own, whatever the calling thread's current device: what torch, CuPy
or the driver would do on the current one runs inside ``torch.cuda.device``, which leaves other GPUs untouched.
"""

import ctypes
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from typing import Any, Protocol

import torch

from gpuload import nvrtc
from gpuload.errors import ArgumentError, CaptureError, MissingError

__all__ = ["CudaDevice", "Device", "Event", "HostDevice", "Stream", "Timer", "device_of", "resolve"]

THREAD_LOCAL = 1  # CU_STREAM_CAPTURE_MODE_THREAD_LOCAL of CUDA's driver

Stream = Any  # opaque: what `Device.stream` and `Device.current_stream` give


class Event(Protocol):
    """A point in a stream's work."""

    def record(self, stream: Stream) -> None:
        """The point is now: after what the stream was given so far."""

    def wait(self, stream: Stream) -> None:
        """The stream waits for the point, the host does not; one that was never recorded is past."""

    def synchronize(self) -> None:
        """The host waits for the point."""


class Timer(Protocol):
    """How long a part of a stream's work takes there, whatever the host does meanwhile."""

    def start(self, stream: Stream) -> None:
        """It begins: after what the stream was given so far."""

    def stop(self, stream: Stream) -> None:
        """It has ended: likewise."""

    def seconds(self) -> float | None:
        """The time between, as the device measured it; None: it has not ended yet. Nothing waits."""


class Device(Protocol):
    """A place for batches.

    Attributes:
        torch_device: the device, as torch names it.
        launches: kernels can be launched here.
    """

    torch_device: torch.device
    launches: bool

    def enter(self) -> None:
        """Make it the calling thread's current device: the first thing on every worker."""

    def stream(self) -> Stream:
        """A stream beside the others."""

    def current_stream(self) -> Stream:
        """The stream that torch's calls of this thread go to."""

    def on(self, stream: Stream) -> AbstractContextManager[Any]:
        """Inside the block, ``stream`` is the current one."""

    def event(self, blocking: bool = False) -> Event:
        """An event; blocking: a host that waits for it sleeps, and leaves its core to others."""

    def timer(self) -> Timer:
        """A timer; for one part."""

    def native(self, stream: Stream) -> int:
        """The stream, as native code knows it."""

    def pinned(self, size: int) -> torch.Tensor:
        """``size`` bytes of host memory, uint8; page-locked where copies from it can be asynchronous.

        Page-locked memory comes from torch's own pool, which knows of copies that still read a tensor when the
        last reference to it is gone.
        """

    def empty(self, shape: Sequence[int], dtype: torch.dtype) -> torch.Tensor:
        """A tensor here, contents undefined, for the current stream."""

    def empty_like(self, tensor: torch.Tensor) -> torch.Tensor:
        """The same for a tensor of another one's shape, dtype and, where they are dense, strides."""

    def copy(self, target: torch.Tensor, source: torch.Tensor) -> None:
        """Copy on the current stream; asynchronously where the host's side is page-locked."""

    def resident(self, tensor: torch.Tensor) -> torch.Tensor:
        """The tensor here; whoever drops it, the current stream's work still finds it."""

    def keep(self, tensor: torch.Tensor, stream: Stream) -> None:
        """Memory of a tensor here that is dropped is not used again before the stream's work so far is done."""

    def seeded(self, seed: int) -> AbstractContextManager[Any]:
        """Inside the block, torch's generator of this device, if that is no CPU, draws from a seed of 64 bits.

        Afterwards it goes on where it was; nothing waits.
        """

    def prepare(self, name: str) -> None:
        """Compile a kernel.

        Raises:
            MissingError: what that takes is not installed.
        """

    def launch(self, name: str, grid: tuple[int, int], threads: int, arguments: tuple[Any, ...]) -> None:
        """Start a kernel on the current stream; nothing waits for it.

        Args:
            name: the kernel.
            grid: blocks along x and y.
            threads: of a block.
            arguments: numpy scalars, numpy records (by value) and addresses as np.uintp.
        """

    def describe(self) -> str:
        """Its name, for explain."""


# ---- the host ----


class _Past:
    """An event of the host: whatever it stood for is done."""

    def record(self, stream: Stream) -> None:
        pass

    def wait(self, stream: Stream) -> None:
        pass

    def synchronize(self) -> None:
        pass

    start = stop = record

    def seconds(self) -> float:
        return 0.0


class HostDevice:
    """The CPU: all that is asked of it is done when the call returns."""

    torch_device = torch.device("cpu")
    launches = False

    def enter(self) -> None:
        pass

    def stream(self) -> Stream:
        return None

    def current_stream(self) -> Stream:
        return None

    def on(self, stream: Stream) -> AbstractContextManager[Any]:
        return nullcontext()

    def event(self, blocking: bool = False) -> Event:
        return _Past()

    def timer(self) -> Timer:
        return _Past()

    def native(self, stream: Stream) -> int:
        return 0

    def pinned(self, size: int) -> torch.Tensor:
        return torch.empty(size, dtype=torch.uint8, device=self.torch_device)

    def empty(self, shape: Sequence[int], dtype: torch.dtype) -> torch.Tensor:
        return torch.empty(tuple(shape), dtype=dtype, device=self.torch_device)

    def empty_like(self, tensor: torch.Tensor) -> torch.Tensor:
        return torch.empty_like(tensor, device=self.torch_device)

    def copy(self, target: torch.Tensor, source: torch.Tensor) -> None:
        target.copy_(source)

    def resident(self, tensor: torch.Tensor) -> torch.Tensor:
        return tensor.to(self.torch_device)

    def keep(self, tensor: torch.Tensor, stream: Stream) -> None:
        pass

    def seeded(self, seed: int) -> AbstractContextManager[Any]:
        return nullcontext()

    def prepare(self, name: str) -> None:
        raise MissingError(f"the kernel {name} needs a GPU, and this is the CPU")

    def launch(self, name: str, grid: tuple[int, int], threads: int, arguments: tuple[Any, ...]) -> None:
        self.prepare(name)

    def describe(self) -> str:
        return "CPU"


# ---- CUDA ----


class _CudaEvent:
    def __init__(self, device: torch.device, blocking: bool) -> None:
        self._device, self._event = device, torch.cuda.Event(blocking=blocking)

    def record(self, stream: Stream) -> None:
        self._event.record(stream)

    def wait(self, stream: Stream) -> None:
        if stream == torch.cuda.current_stream(self._device):  # another one is not the graph's
            with torch.cuda.device(self._device):
                _refuse_capture()
        stream.wait_event(self._event)

    def synchronize(self) -> None:
        with torch.cuda.device(self._device):  # torch itself sets none here
            self._event.synchronize()


class _CudaTimer:
    def __init__(self) -> None:
        self._begun, self._ended = (torch.cuda.Event(enable_timing=True) for _ in range(2))

    def start(self, stream: Stream) -> None:
        self._begun.record(stream)

    def stop(self, stream: Stream) -> None:
        self._ended.record(stream)

    def seconds(self) -> float | None:
        return self._begun.elapsed_time(self._ended) / 1000 if self._ended.query() else None


def _refuse_capture() -> None:
    """A graph would make the same batch again and again, of memory that has been given to others."""
    if torch.cuda.is_current_stream_capturing():
        raise CaptureError(
            "a batch was asked for while a CUDA graph is captured on the current stream: call next(...) before the "
            "capture, and copy each batch into the graph's own input before replay()"
        )


class CudaDevice:
    """A GPU.

    Args:
        index: its number.
    """

    launches = True

    def __init__(self, index: int) -> None:
        self.index = index
        self.torch_device = torch.device("cuda", index)

    def enter(self) -> None:
        torch.cuda.set_device(self.index)
        # memory that this thread allocates does not spoil a CUDA graph that another thread captures meanwhile
        with suppress(OSError):  # there is no such driver under ROCm
            driver, mode = ctypes.CDLL("libcuda.so.1"), ctypes.byref(ctypes.c_int(THREAD_LOCAL))
            driver.cuThreadExchangeStreamCaptureMode(mode)

    def stream(self) -> Stream:
        return torch.cuda.Stream(self.torch_device)

    def current_stream(self) -> Stream:
        return torch.cuda.current_stream(self.torch_device)

    @contextmanager
    def on(self, stream: Stream) -> Iterator[None]:
        with self._current(), torch.cuda.stream(stream):
            yield

    def _current(self) -> torch.cuda.device:
        return torch.cuda.device(self.torch_device)

    def event(self, blocking: bool = False) -> Event:
        return _CudaEvent(self.torch_device, blocking)

    def timer(self) -> Timer:
        return _CudaTimer()

    def native(self, stream: Stream) -> int:
        return int(stream.cuda_stream)

    def pinned(self, size: int) -> torch.Tensor:
        with self._current():
            return torch.empty(size, dtype=torch.uint8, device="cpu", pin_memory=True)

    def empty(self, shape: Sequence[int], dtype: torch.dtype) -> torch.Tensor:
        return torch.empty(tuple(shape), dtype=dtype, device=self.torch_device)

    def empty_like(self, tensor: torch.Tensor) -> torch.Tensor:
        return torch.empty_like(tensor, device=self.torch_device)

    def copy(self, target: torch.Tensor, source: torch.Tensor) -> None:
        target.copy_(source, non_blocking=True)

    def resident(self, tensor: torch.Tensor) -> torch.Tensor:
        here = tensor.to(self.torch_device)
        self.keep(here, self.current_stream())
        return here

    def keep(self, tensor: torch.Tensor, stream: Stream) -> None:
        tensor.record_stream(stream)

    @contextmanager
    def seeded(self, seed: int) -> Iterator[None]:
        generator = torch.cuda.default_generators[self.index]
        before = generator.get_state()  # it lies on the host
        generator.manual_seed(seed)
        try:
            yield
        finally:
            generator.set_state(before)

    def prepare(self, name: str) -> None:
        with self._current():
            nvrtc.cuda_kernel(name, self.index)

    def launch(self, name: str, grid: tuple[int, int], threads: int, arguments: tuple[Any, ...]) -> None:
        with self._current():
            _refuse_capture()
            nvrtc.launch(name, self.index, grid, threads, arguments)

    def describe(self) -> str:
        return f"GPU cuda:{self.index}"


def device_of(device: torch.device | str) -> Device:
    """The device of that name; 'cuda' alone is the current one."""
    named = torch.device(device)
    if named.type != "cuda":
        return HostDevice()
    return CudaDevice(torch.cuda.current_device() if named.index is None else named.index)


def resolve(device: Any) -> Device:
    """The device that a user asked for.

    Args:
        device: 'cpu', 'cuda', 'cuda:N' or a torch.device; None: CUDA if there is a GPU, else the CPU.

    Raises:
        ArgumentError: no such device.
        MissingError: CUDA where torch sees no GPU.
    """
    try:
        named = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    except (RuntimeError, TypeError) as error:
        raise ArgumentError(f"device must be 'cpu', 'cuda' or 'cuda:N', got {device!r}") from error
    if named.type not in ("cuda", "cpu"):
        raise ArgumentError(f"device must be 'cpu', 'cuda' or 'cuda:N', got {device!r}")
    if named.type == "cuda" and not torch.cuda.is_available():
        raise MissingError(
            f"device={device!r}, but torch {torch.__version__} sees no CUDA GPU: run `gpuload doctor` "
            "to see what is missing, or pass device='cpu'"
        )
    if named.index is not None and named.type == "cuda" and named.index >= torch.cuda.device_count():
        raise ArgumentError(f"device={str(device)!r}, but there are {torch.cuda.device_count()} GPUs")
    return device_of(named)
