"""TensorDatasets, and what picks their rows."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import TensorDataset as TorchTensorDataset

from gpuload.datasets.tensors import TensorDataset
from gpuload.lifting.plain import READ, TORCH, Refusal, attribute, check_methods, of_class

__all__ = ["Rows", "TensorLeaf"]

PICKS = "__getitem__", "__torch_function__", "__torch_dispatch__"  # how a tensor's rows are picked


class TensorLeaf:
    """A TensorDataset, as it is now.

    Args:
        dataset: torch's or gpuload's; every sample is just a row of each of its tensors.

    Attributes:
        tensors: the dataset's.
        device: where gpuload's dataset was put; None: it is torch's.

    Raises:
        Refusal: it does something of its own, or has no rows to pick.
    """

    def __init__(self, dataset: TorchTensorDataset) -> None:
        check_methods(dataset, TORCH, READ)
        self.tensors: tuple[torch.Tensor, ...] = tuple(attribute(dataset, "tensors"))
        _check_rows(self.tensors)
        self.device = self.tensors[0].device if isinstance(dataset, TensorDataset) else None

    def __len__(self) -> int:
        return len(self.tensors[0])

    @property
    def columns(self) -> list[tuple[torch.dtype, tuple[int, ...]]]:
        """dtype and shape of a sample's tensors."""
        return [(tensor.dtype, tuple(tensor.shape[1:])) for tensor in self.tensors]


def _check_rows(tensors: tuple[Any, ...]) -> None:
    for tensor in tensors:
        if not isinstance(tensor, torch.Tensor) or tensor.layout is not torch.strided or tensor.ndim == 0:
            raise Refusal(f"its TensorDataset has a {type(tensor).__name__} without rows to pick")
        if tensor.requires_grad:
            raise Refusal("its TensorDataset has a tensor that requires gradients: picked rows pass none on")
        if tensor.is_conj() or tensor.is_neg():
            raise Refusal("its TensorDataset has a tensor whose bytes are not its values: resolve_conj()")
        for name in PICKS:
            if of_class(type(tensor), name) not in (of_class(torch.Tensor, name), of_class(torch.nn.Parameter, name)):
                raise Refusal(f"the {type(tensor).__name__} of its TensorDataset overrides {name}")
    if len({len(tensor) for tensor in tensors}) != 1:
        raise Refusal(f"its TensorDataset has tensors of shapes {[tuple(tensor.shape) for tensor in tensors]}")


@dataclass(frozen=True, eq=False)
class Rows:
    """Rows of one or several TensorDatasets.

    Attributes:
        sources: the tensors of each dataset, as many and of the same dtypes and shapes, but for the first dimension.
        table: where each sample is among the rows of all sources, one after the other: (N,) int64, not to be written
            to; None: just there.
        device: where gpuload's TensorDatasets were put; None: they are torch's, or lie on several.
    """

    sources: tuple[tuple[torch.Tensor, ...], ...]
    table: NDArray[np.int64] | None = None
    device: torch.device | None = None

    @classmethod
    def of(cls, leaves: list[TensorLeaf], table: NDArray[np.int64] | None) -> "Rows":
        """What a view has of its leaves.

        Raises:
            Refusal: leaves whose samples differ in dtype or shape.
        """
        for leaf in leaves[1:]:
            if leaf.columns != leaves[0].columns:
                raise Refusal(f"its TensorDatasets differ: {_shown(leaves[0])} and {_shown(leaf)}")
        devices = {leaf.device for leaf in leaves}
        return cls(tuple(leaf.tensors for leaf in leaves), table, devices.pop() if len(devices) == 1 else None)

    def __len__(self) -> int:
        return sum(len(tensors[0]) for tensors in self.sources) if self.table is None else len(self.table)


def _shown(leaf: TensorLeaf) -> str:
    return ", ".join(f"{str(dtype).removeprefix('torch.')} {shape}" for dtype, shape in leaf.columns)
