"""Two phases: a worker packs the rows of a batch, and where the batch is used they are laid out."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import get_worker_info
from torch.utils.data._utils.collate import collate, default_collate_fn_map

from gpuload.device import Device, device_of
from gpuload.errors import CollateError
from gpuload.structure import mapped, same_mapping

__all__ = ["Collate", "Tensors", "check_one_dtype", "joined", "placed", "shared", "shown", "stacked"]

Tensors = Sequence[torch.Tensor]
Functions = dict[type | tuple[type, ...], Callable[..., Any]]


class Collate(ABC):
    """A collate function of two phases: ``collate(samples)`` is ``collate.finish(collate.pack(samples))``.

    Where a loader sends batches to a GPU, workers just ``pack``, and the GPU does the rest. What is packed is a
    structure of plain tensors, which can be pickled, pinned and moved.

    Attributes:
        packed: the type of a leaf that is packed.
    """

    packed: ClassVar[type]

    def __call__(self, samples: Sequence[Any]) -> Any:
        """The batch of a list of samples, where their tensors are."""
        return self._collated(self._whole, None, samples)

    def pack(self, samples: Sequence[Any]) -> Any:
        """The batch, each of its tensors packed: all elements one behind the other, and what is known of the rows."""
        return self._collated(self._pack, None, samples)

    def finish(self, batch: Any) -> Any:
        """The batch of what `pack` made, wherever that has been moved; nothing waits for the device."""
        return mapped(batch, lambda thing: isinstance(thing, self.packed), self._finish)

    @abstractmethod
    def prepare(self, device: Device) -> None:
        """Compile what `finish` launches there.

        Raises:
            MissingError: what that takes is not installed.
        """

    @abstractmethod
    def _pack(self, rows: Tensors, key: Any) -> Any:
        """Rows of one number of dimensions, at least one, packed or as their batch."""

    @abstractmethod
    def _finish(self, packed: Any) -> Any:
        """The batch of packed rows."""

    def _whole(self, rows: Tensors, key: Any) -> Any:
        """Both phases at once."""
        return self.finish(self._pack(rows, key))

    def _collated(self, made: Callable[[Tensors, Any], Any], key: Any, samples: Sequence[Any]) -> Any:
        """As torch's collate has it, but rows are ``made`` into their batch; key: of the mapping that they are in."""

        def of_mappings(samples: Sequence[Mapping[Any, Any]], **_: Any) -> Any:
            values = {key: self._collated(made, key, [sample[key] for sample in samples]) for key in samples[0]}
            return same_mapping(samples[0], values)

        def of_tensors(rows: Tensors, **_: Any) -> Any:
            return made(rows, key) if _are_rows(rows) else stacked(rows)

        functions: Functions = {**default_collate_fn_map, torch.Tensor: of_tensors, Mapping: of_mappings}
        return collate(samples, collate_fn_map=functions)


# ---- rows ----


def _are_rows(rows: Tensors) -> bool:
    """Are they more than numbers, and what elements alone make?"""
    if others := {type(row).__name__ for row in rows if not isinstance(row, torch.Tensor)}:
        raise CollateError(f"the samples of this batch have tensors and {', '.join(sorted(others))} in one place")
    if any(row.is_nested or row.layout is not torch.strided for row in rows):
        return False
    if len({row.ndim for row in rows}) > 1:
        raise CollateError(
            f"the samples of this batch have tensors of different numbers of dimensions in one place: {shown(rows)}"
        )
    return rows[0].ndim > 0


def stacked(rows: Tensors) -> Any:
    """As ``default_collate`` has it."""
    return default_collate_fn_map[torch.Tensor](rows, collate_fn_map=default_collate_fn_map)


def check_one_dtype(rows: Tensors) -> None:
    """Rows of different size are of one dtype, or it is an error."""
    if len(dtypes := dict.fromkeys(row.dtype for row in rows)) > 1:
        raise CollateError(
            f"the samples of this batch have tensors of different dtypes in one place: {', '.join(map(str, dtypes))}"
        )


def shown(rows: Tensors) -> str:
    """Some of their shapes."""
    shapes = list(dict.fromkeys(str(tuple(row.shape)) for row in rows))
    return ", ".join(shapes[:3]) + (", ..." if len(shapes) > 3 else "")


def shared(shape: Sequence[int], like: torch.Tensor) -> torch.Tensor | None:
    """In a worker process, a tensor that the loader's process sees, too, as torch's own collate makes it; else None."""
    if get_worker_info() is None or like.device.type != "cpu":
        return None
    storage = torch.UntypedStorage._new_shared(torch.Size(shape).numel() * like.itemsize)
    return torch.empty(0, dtype=like.dtype).set_(storage, 0, tuple(shape))  # type: ignore[call-overload,no-any-return]


def joined(rows: Tensors) -> torch.Tensor:
    """All in one, along the first dimension; without a history of gradients."""
    shape = (sum(map(len, rows)), *rows[0].shape[1:])
    return torch.cat([row.detach() for row in rows], out=shared(shape, rows[0]))


def placed(numbers: NDArray[np.int64], like: torch.Tensor) -> torch.Tensor:
    """Numbers beside a tensor; nothing waits for its device."""
    device, source = device_of(like.device), torch.from_numpy(numbers)
    if not device.launches:
        return source
    here = device.empty(numbers.shape, torch.int64)
    device.copy(here, device.pinned(source.nbytes).view(torch.int64).view(source.shape).copy_(source))
    return here
