"""Which engine renders, by name or as the device allows."""

import torch

from gpuload.compilers import compiler
from gpuload.engines import Engine
from gpuload.engines.cpu import CpuEngine
from gpuload.engines.cuda import CudaEngine
from gpuload.engines.pillow import PillowEngine
from gpuload.errors import ArgumentError
from gpuload.plan import Plan
from gpuload.staging import BufferPool, take_pinned

__all__ = ["ENGINES", "make_engine"]

ENGINES = ("cuda", "cpu", "pillow")


def make_engine(
    name: str | None,
    plan: Plan,
    device: torch.device,
    dtype: torch.dtype | None,
    memory_format: torch.memory_format,
    pin_memory: bool,
    keep: int,
) -> Engine:
    """The engine of that name; None: the fastest that the device allows.

    Args:
        name: one of `ENGINES`, or None.
        plan: what to do.
        device: where the batches are wanted.
        dtype: of the images; None: the plan's own.
        memory_format: torch.contiguous_format or torch.channels_last.
        pin_memory: batches made on the host lie in pinned memory; always so where they go on to a GPU.
        keep: host buffers kept for reuse.
    """
    dtype = dtype or plan.dtype
    if name is None:
        name = "cuda" if device.type == "cuda" else "cpu" if compiler() is not None else "pillow"
    if name == "cuda":
        if device.type != "cuda":
            raise ArgumentError(f"engine='cuda' renders on a GPU, got device={str(device)!r}")
        return CudaEngine(plan, dtype, memory_format, device)
    pinned = torch.cuda.is_available() and (pin_memory or device.type == "cuda")
    take = take_pinned if pinned else BufferPool(keep).take
    return (CpuEngine if name == "cpu" else PillowEngine)(plan, dtype, memory_format, take)
