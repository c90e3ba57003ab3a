"""Rows of a tensor, in the order of the indices, on the tensor's device."""

import numpy as np
import torch

from gpuload.compilers import launch

__all__ = ["gather_rows"]

THREADS = 256
WORDS = (16, 4, 1)  # bytes that one access of kernels/gather.cu moves


def gather_rows(source: torch.Tensor, indices: torch.Tensor) -> torch.Tensor:
    """``source[indices]`` along the first dimension, without waiting for the device.

    Args:
        source: (N, ...) contiguous tensor, any dtype.
        indices: (B,) int64 tensor on the same device, each in [0, N).

    Returns:
        (B, ...) tensor.
    """
    if source.device.type != "cuda":
        return source.index_select(0, indices)
    out = torch.empty((len(indices), *source.shape[1:]), dtype=source.dtype, device=source.device)
    row_bytes = source.element_size() * (source.numel() // max(len(source), 1))
    if out.numel():
        word = widest_word(row_bytes, source.data_ptr(), out.data_ptr())
        words = row_bytes // word
        blocks = min(-(-len(indices) * words // THREADS), 8192)
        addresses = np.uintp(source.data_ptr()), np.uintp(indices.data_ptr())
        sizes = np.int64(len(indices)), np.int64(words)
        launch(f"gather_{word}", source.device, (blocks, 1), THREADS, (*addresses, *sizes, np.uintp(out.data_ptr())))
    return out


def widest_word(row_bytes: int, *addresses: int) -> int:
    """Bytes of the widest access that divides the row and every address."""
    return next(word for word in WORDS if all(value % word == 0 for value in (row_bytes, *addresses)))
