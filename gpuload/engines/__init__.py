"""Ways to render a batch, by name. All give the same bits."""

from collections.abc import Callable

from gpuload.decoding import GpuDecoding
from gpuload.device import Device
from gpuload.engines.base import Engine, Layout, Take
from gpuload.engines.cpu import CpuEngine
from gpuload.engines.cuda import CudaEngine
from gpuload.engines.pillow import PillowEngine
from gpuload.errors import ArgumentError
from gpuload.libraries import host_library

__all__ = ["ENGINES", "make_engine"]


def _cuda(layout: Layout, device: Device, take: Take) -> Engine:
    if not device.launches:
        raise ArgumentError(f"engine='cuda' renders on a GPU, got device={str(device.torch_device)!r}")
    return CudaEngine(layout, device)


def _cpu(layout: Layout, device: Device, take: Take) -> Engine:
    return CpuEngine(layout, take)


def _pillow(layout: Layout, device: Device, take: Take) -> Engine:
    return PillowEngine(layout, take)


ENGINES: dict[str, Callable[[Layout, Device, Take], Engine]] = {"cuda": _cuda, "cpu": _cpu, "pillow": _pillow}


def make_engine(
    name: str | None, layout: Layout, device: Device, take: Take, decoding: GpuDecoding | None = None
) -> Engine:
    """The engine of that name.

    Args:
        name: one of `ENGINES`; None: the fastest that the device allows.
        layout: what leaves.
        device: where the batches are wanted.
        take: gives host buffers, to engines that render on the host.
        decoding: what the GPU decodes of each batch; None: nothing.

    Raises:
        ArgumentError: the engine cannot serve this device.
        MissingError: what it needs is not installed.
    """
    if name is None:
        name = "cuda" if device.launches else "cpu" if host_library() is not None else "pillow"
    if decoding is not None:
        if name != "cuda":
            raise ArgumentError(f"what a GPU decodes is rendered by engine='cuda', got engine={name!r}")
        return CudaEngine(layout, device, decoding)
    return ENGINES[name](layout, device, take)
