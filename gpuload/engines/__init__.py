"""Ways to render a batch, by name. All but DALI's give the same bits."""

from collections.abc import Callable
from typing import NamedTuple

from gpuload.decoding import GpuDecoding
from gpuload.device import Device
from gpuload.engines.base import Engine, Layout, Take
from gpuload.engines.cpu import CpuEngine
from gpuload.engines.cuda import CudaEngine
from gpuload.engines.dali import DaliEngine
from gpuload.engines.pillow import PillowEngine
from gpuload.errors import ArgumentError
from gpuload.libraries import host_library
from gpuload.transforms.plan import Plan

__all__ = ["ENGINES", "Wanted", "make_engine"]


class Wanted(NamedTuple):
    """What an engine is for.

    Attributes:
        plan: what is rendered.
        layout: what leaves.
        device: where the batches are wanted.
        take: gives host buffers, to engines that render on the host.
        threads: workers; an engine with threads of its own has as many.
        decoding: what the GPU decodes of each batch, for the CUDA engine; None: nothing.
    """

    plan: Plan
    layout: Layout
    device: Device
    take: Take
    threads: int
    decoding: GpuDecoding | None = None


def _cuda(wanted: Wanted) -> Engine:
    if not wanted.device.launches:
        raise ArgumentError(f"engine='cuda' renders on a GPU, got device={str(wanted.device.torch_device)!r}")
    return CudaEngine(wanted.layout, wanted.device, wanted.decoding)


def _cpu(wanted: Wanted) -> Engine:
    return CpuEngine(wanted.layout, wanted.take)


def _pillow(wanted: Wanted) -> Engine:
    return PillowEngine(wanted.layout, wanted.take)


def _dali(wanted: Wanted) -> Engine:
    return DaliEngine(wanted.plan, wanted.layout, wanted.device, wanted.threads)


ENGINES: dict[str, Callable[[Wanted], Engine]] = {"cuda": _cuda, "cpu": _cpu, "pillow": _pillow, "dali": _dali}


def make_engine(name: str | None, wanted: Wanted) -> Engine:
    """The engine of that name.

    Args:
        name: one of `ENGINES`; None: the fastest exact one that the device allows.
        wanted: what it is for.

    Raises:
        ArgumentError: the engine cannot serve this device or plan.
        MissingError: what it needs is not installed.
    """
    if name is None:
        name = "cuda" if wanted.device.launches else "cpu" if host_library() is not None else "pillow"
    return ENGINES[name](wanted)
