"""What the loader knows of a dataset: images, rows of tensors, or nothing."""

from typing import Any, NamedTuple

import torch
from torch.utils.data import TensorDataset as TorchTensorDataset

from gpuload.datasets import ImageDataset

__all__ = ["Rows", "Unknown", "find"]


class Unknown(NamedTuple):
    """A dataset that torch's own workers serve.

    Attributes:
        reason: why, in words.
    """

    reason: str


class Rows(NamedTuple):
    """Rows of tensors."""

    tensors: tuple[torch.Tensor, ...]


def find(dataset: Any) -> ImageDataset | Rows | Unknown:
    """What is known of a dataset, as it is now."""
    kind = type(dataset)
    if isinstance(dataset, ImageDataset):
        if kind.__getitem__ is not ImageDataset.__getitem__:
            return Unknown(f"{kind.__name__} overrides __getitem__")
        program = dataset.program
        return dataset if not isinstance(program, str) else Unknown(program)
    if isinstance(dataset, TorchTensorDataset) and kind.__getitem__ is TorchTensorDataset.__getitem__:
        return Rows(dataset.tensors)
    return Unknown(f"gpuload does not know {kind.__name__}")
