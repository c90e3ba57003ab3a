"""The CUDA engine."""

from collections.abc import Iterator, Sequence

import torch

from gpuload.decoders import pillow
from gpuload.decoders.base import Decoder
from gpuload.decoders.files import Files
from gpuload.decoding import GpuDecoding
from gpuload.device import Device
from gpuload.engines.base import Layout, View, native_decoders
from gpuload.engines.cuda.adjusting import rendered_by_workers
from gpuload.engines.cuda.batch import CudaBatch
from gpuload.engines.cuda.launches import IDENTITY
from gpuload.engines.cuda.weights import needs_host_weights
from gpuload.libraries import host_library
from gpuload.recipes.fuse import Fused, fuse, left_to_pillow
from gpuload.recipes.recipes import Recipes
from gpuload.stage import Stage
from gpuload.staging import StagingPool

__all__ = ["CudaEngine"]


class CudaEngine:
    """Renders on a device that launches kernels.

    Args:
        layout: what leaves.
        device: the GPU.
        decoding: what it decodes of each batch; None: nothing.

    Raises:
        MissingError: CuPy or CUDA's headers are not installed.
    """

    name = "cuda"
    on_host = False

    def __init__(self, layout: Layout, device: Device, decoding: GpuDecoding | None = None) -> None:
        self.layout, self.device, self.library, self.decoding = layout, device, host_library(), decoding
        self.kernel = f"render_{layout.dtype.itemsize}"
        self.erasing = f"erase_{layout.dtype.itemsize}"
        device.prepare(self.kernel)  # what is missing fails here, not in the first batch
        if layout.fills.numel():
            device.prepare(self.erasing)
        tables = IDENTITY, layout.table.contiguous().view(torch.uint8).flatten()
        self.tables, self.fills = torch.cat(tables).to(device.torch_device), layout.fills.to(device.torch_device)
        self.staging = StagingPool(device, device.stream())

    def fuse(self, recipes: Recipes) -> Fused:
        if self.library is not None:
            return fuse(recipes)
        fused = fuse(recipes)
        by_host = rendered_by_workers(fused) | needs_host_weights(fused.records).any(axis=1)
        return left_to_pillow(fused, recipes, by_host)

    def batch(self, fused: Fused, files: Files) -> CudaBatch:
        return CudaBatch([View(self, fused, files)])

    def views(self, views: Sequence[View]) -> CudaBatch:
        return CudaBatch(views)

    def decoders(self, decoder: Decoder | None) -> Iterator[str]:
        if self.decoding is not None and self.decoding.split.is_all:
            return iter([f"all but ordinary JPEGs by {pillow.describe()}"])
        return native_decoders(decoder)

    def stages(self, threads: str, target: str, fusing: Sequence[str], facts: Sequence[str]) -> Iterator[Stage]:
        if self.decoding is not None:
            yield Stage("decode", target, (self.decoding.describe(), "close to Pillow's pixels, not bit-exact"))
        yield Stage("stage", f"CPU -> {target}", ("one copy per batch from pinned memory, on a side stream",))
        yield Stage("render", target, ("engine cuda: one kernel launch per batch", *fusing, *facts))
