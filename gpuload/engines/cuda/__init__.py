"""The CUDA engine: workers decode into pinned memory; one copy and one kernel launch per batch."""

from gpuload.engines.cuda.batch import CudaBatch
from gpuload.engines.cuda.engine import CudaEngine

__all__ = ["CudaBatch", "CudaEngine"]
