"""Rows one behind the other, as torch's jagged nested tensors have them."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch

from gpuload.collate.base import Collate, Tensors, check_one_dtype, joined, placed, shown, stacked
from gpuload.device import Device
from gpuload.errors import ArgumentTypeError, CollateError

__all__ = ["Ragged", "Rows"]


class Rows(NamedTuple):
    """Rows one behind the other: row i is ``values[offsets[i]:offsets[i + 1]]``.

    Attributes:
        values: (total length, ...).
        offsets: (B + 1,) int64, on the same device, from 0 to the total length.
    """

    values: torch.Tensor
    offsets: torch.Tensor


class _PackedRows(NamedTuple):
    values: torch.Tensor
    offsets: torch.Tensor
    shortest: int
    longest: int


@dataclass(frozen=True)
class Ragged(Collate):
    """A collate function for tensors whose first dimension differs: none is filled up.

    Args:
        nested: a batch is a nested tensor of torch's, layout ``torch.jagged``, of shape (B, *, ...); False: `Rows`.
        keys: only tensors under these keys of the samples' mappings are ragged, and all others as ``default_collate``
            has them; None: all tensors with a dimension are ragged.

    Raises:
        ArgumentTypeError: ``keys`` is a single string, or no collection.
        CollateError: when called: samples whose tensors differ in more than their first dimension, or in their dtypes.
    """

    packed: ClassVar[type] = _PackedRows

    nested: bool = True
    keys: Collection[Any] | None = None

    def __post_init__(self) -> None:
        if self.keys is not None and (isinstance(self.keys, str) or not isinstance(self.keys, Collection)):
            raise ArgumentTypeError(f"keys must be a collection of keys or None, got {self.keys!r}")

    def prepare(self, device: Device) -> None:
        """Nothing: there is no kernel."""

    def _pack(self, rows: Tensors, key: Any) -> Any:
        if self.keys is not None and key not in self.keys:
            return stacked(rows)
        check_one_dtype(rows)
        if len({row.shape[1:] for row in rows}) > 1:
            raise CollateError(
                f"ragged batches are of tensors whose first dimension alone differs, got shapes {shown(rows)}: "
                "use gpuload.collate.pad"
            )
        lengths = [len(row) for row in rows]
        offsets = np.cumsum([0, *lengths], dtype=np.int64)
        return _PackedRows(joined(rows), placed(offsets, rows[0]), min(lengths), max(lengths))

    def _finish(self, packed: _PackedRows) -> Any:
        values, offsets, shortest, longest = packed
        if not self.nested:
            return Rows(values, offsets)
        # with its bounds: torch would wait for the device to tell
        return torch.nested.nested_tensor_from_jagged(values, offsets, min_seqlen=shortest, max_seqlen=longest)
