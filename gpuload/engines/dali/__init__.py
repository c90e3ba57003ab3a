"""The DALI engine: NVIDIA DALI's operators decode, resize, pad and scale; gpuload says what, sample by sample."""

from gpuload.engines.dali.engine import DaliEngine

__all__ = ["DaliEngine"]
