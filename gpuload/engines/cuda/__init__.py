"""The CUDA engine: workers decode into pinned memory; one copy and a few kernel launches per batch."""

from gpuload.engines.cuda.batch import CudaBatch
from gpuload.engines.cuda.engine import CudaEngine

__all__ = ["CudaBatch", "CudaEngine"]
