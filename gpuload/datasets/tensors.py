"""Tensors that live on the device."""

import torch
from torch.utils.data import TensorDataset as TorchTensorDataset

from gpuload.device import resolve
from gpuload.errors import ArgumentError, ArgumentTypeError

__all__ = ["TensorDataset"]


class TensorDataset(TorchTensorDataset):
    """Tensors that live on the device; sample i is row i of each.

    Args:
        tensors: features, labels, ...: all of the same length, any dtype.
        device: where they are put; None: on CUDA if there is a GPU, else on the CPU.

    Raises:
        ArgumentTypeError: something that is no tensor.
        ArgumentError: no tensors, a scalar, different lengths, or no such device.
        MissingError: CUDA where torch sees no GPU.
    """

    def __init__(self, *tensors: torch.Tensor, device: torch.device | str | None = None) -> None:
        if not tensors:
            raise ArgumentError("TensorDataset needs at least one tensor")
        for tensor in tensors:
            if not isinstance(tensor, torch.Tensor):
                raise ArgumentTypeError(
                    f"TensorDataset takes tensors, got {type(tensor).__name__}: torch.as_tensor(...)"
                )
        if any(t.ndim == 0 or len(t) != len(tensors[0]) for t in tensors):
            raise ArgumentError(f"tensors must have one length, got shapes {[tuple(t.shape) for t in tensors]}")
        target = resolve(device).torch_device
        super().__init__(*(tensor.to(target).contiguous() for tensor in tensors))

    @property
    def device(self) -> torch.device:
        """Where the tensors live."""
        return self.tensors[0].device
