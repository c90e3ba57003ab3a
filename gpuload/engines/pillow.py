"""The Pillow engine: the oracle, sample by sample; for machines without a C++ compiler, and for comparison."""

import torch

from gpuload.decode import Encoded
from gpuload.engines.cpu import HostBatch, Take
from gpuload.plan import Plan
from gpuload.steps import Recipe

__all__ = ["PillowEngine"]


class _PillowBatch(HostBatch):
    def __init__(self, size: int, plan: Plan, take: Take, dtype: torch.dtype, channels_last: bool) -> None:
        super().__init__(size, take, dtype, channels_last)
        self._plan = plan

    def fill(self, slot: int, image: Encoded, recipe: Recipe) -> None:
        rendered = self._plan.render(image.image(), recipe)
        channels, height, width = rendered.shape
        self.place(slot, channels, height, width).copy_(rendered)


class PillowEngine:
    """Renders with Pillow and torch, one step after the other; arguments as `CpuEngine`."""

    name = "pillow"

    def __init__(self, plan: Plan, dtype: torch.dtype, memory_format: torch.memory_format, take: Take) -> None:
        self._plan, self._dtype, self._take = plan, dtype, take
        self._channels_last = memory_format == torch.channels_last

    def batch(self, size: int) -> _PillowBatch:
        return _PillowBatch(size, self._plan, self._take, self._dtype, self._channels_last)
