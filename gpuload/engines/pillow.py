"""The Pillow engine: the oracle, sample by sample; for machines without a C++ compiler, and for comparison."""

import torch

from gpuload.decode import Encoded
from gpuload.engines.cpu import HostBatch
from gpuload.plan import Plan
from gpuload.staging import BufferPool
from gpuload.steps import Recipe

__all__ = ["PillowEngine"]


class _PillowBatch(HostBatch):
    def __init__(self, size: int, plan: Plan, pool: BufferPool, dtype: torch.dtype, channels_last: bool) -> None:
        super().__init__(size, pool, dtype, channels_last)
        self._plan = plan

    def fill(self, slot: int, image: Encoded, recipe: Recipe) -> None:
        rendered = self._plan.render(image.image(), recipe)
        channels, height, width = rendered.shape
        self.place(slot, channels, height, width).copy_(rendered)


class PillowEngine:
    """Renders with Pillow and torch, one step after the other; arguments as `CpuEngine`."""

    name = "pillow"

    def __init__(self, plan: Plan, dtype: torch.dtype, memory_format: torch.memory_format, pool: BufferPool) -> None:
        self._plan, self._dtype, self._pool = plan, dtype, pool
        self._channels_last = memory_format == torch.channels_last

    def batch(self, size: int) -> _PillowBatch:
        return _PillowBatch(size, self._plan, self._pool, self._dtype, self._channels_last)
