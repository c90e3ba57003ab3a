"""Tensors: order and rows never leave the device."""

from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import default_collate

from gpuload.batch_transforms import Part
from gpuload.device import Device, Event
from gpuload.lifting import Rows
from gpuload.loading.course import Settings
from gpuload.loading.order import Order, integers
from gpuload.loading.transfer import move, pinned
from gpuload.loading.work import unless_stop_iteration
from gpuload.stage import Stage, collated_by

__all__ = ["Resident", "TensorPath", "gather_rows", "widest_word"]

THREADS = 256
WORDS = (16, 4, 1)  # bytes that one access of kernels/gather.cu moves

Collation = Callable[[Any], Any]


class _Column(NamedTuple):
    """Rows of one tensor of each source, on the device, and what they were copied from."""

    of: list[tuple[Any, ...]]
    rows: torch.Tensor

    @classmethod
    def placed(cls, parts: tuple[torch.Tensor, ...], device: Device) -> "_Column":
        """All parts, one after the other."""
        here = [device.resident(part).contiguous() for part in parts]
        return cls([*map(_state, parts)], here[0] if len(here) == 1 else torch.cat(here))

    def is_of(self, parts: tuple[torch.Tensor, ...]) -> bool:
        """Is it a copy of these tensors, as they are now?"""
        now = [_state(part) for part in parts]
        return len(now) == len(self.of) and all(
            one[0] is other[0] and one[1:] == other[1:] for one, other in zip(self.of, now, strict=True)
        )


def _state(tensor: torch.Tensor) -> tuple[Any, ...]:
    """What differs once a tensor was written to through torch, or given other memory."""
    version = object() if tensor.is_inference() else tensor._version  # inference tensors count no changes
    return tensor, version, tensor.data_ptr(), tensor.shape, tensor.stride()


class Resident:
    """Rows on the device: each tensor's of all sources together, and the table that picks from them.

    Args:
        rows: the dataset's.
        device: where they are put.
        before: what is there of an earlier epoch; what has not changed since stays.
    """

    def __init__(self, rows: Rows, device: Device, before: "Resident | None" = None) -> None:
        self._rows, self._device = rows, device
        kept = list[_Column]() if before is None else before._columns
        if before is not None:
            before._ready.wait(device.current_stream())  # it may be another one than put there what is kept
        self._columns: list[_Column] = [
            next((column for column in kept if column.is_of(parts)), None) or _Column.placed(parts, device)
            for parts in zip(*rows.sources, strict=True)
        ]
        self._table = None if rows.table is None else move(pinned(torch.from_numpy(rows.table), device), device)
        self._ready: Event = device.event()
        self._ready.record(device.current_stream())

    def __len__(self) -> int:
        return len(self._rows)

    def of(self, rows: Rows) -> "Resident":
        """The same for these rows: itself, where nothing has changed."""
        parts = [*zip(*rows.sources, strict=True)]
        same = len(parts) == len(self._columns) and all(
            column.is_of(some) for column, some in zip(self._columns, parts, strict=True)
        )
        return self if same and _equal(self._rows.table, rows.table) else Resident(rows, self._device, self)

    def gather(self, indices: torch.Tensor) -> list[torch.Tensor]:
        """These samples' rows of each tensor.

        Args:
            indices: (B,) int64 on the device, each in [0, N).
        """
        self._ready.wait(self._device.current_stream())
        places = indices if self._table is None else gather_rows(self._table, indices, self._device)
        return [gather_rows(column.rows, places, self._device) for column in self._columns]

    def describe(self) -> str:
        """What is there, for explain."""
        tensors = [column.rows for column in self._columns]
        shown = ", ".join(f"{str(t.dtype).removeprefix('torch.')} {tuple(t.shape)}" for t in tensors)
        megabytes = sum(tensor.nbytes for tensor in tensors) / 1e6
        picked = "" if self._table is None else f"{len(self)} "
        return f"{picked}rows of {shown}: {megabytes:,.1f} MB that stay there"


def _equal(a: NDArray[np.int64] | None, b: NDArray[np.int64] | None) -> bool:
    return a is b or (a is not None and b is not None and np.array_equal(a, b))


class TensorPath:
    """TensorDatasets and views of them: rows are gathered on the device.

    Args:
        rows: the dataset's; they are moved to the device once, and again where they have been changed.
        order: which samples are in a batch.
        device: where batches arrive.

    Raises:
        MissingError: CuPy or CUDA's headers are not installed.
    """

    def __init__(self, rows: Rows, order: Order, device: Device) -> None:
        self.order, self._device = order, device
        if device.launches:
            device.prepare(f"gather_{WORDS[0]}")  # what is missing fails here, not in the first batch
        self._resident = Resident(rows, device)

    def batches(self, epoch: int, rows: Rows, settings: Settings, first: int = 0) -> Iterator[Any]:
        """The batches of an epoch from one on, of the rows and with the function that the loader has now."""
        self._resident = self._resident.of(rows)  # an epoch after may have another one
        given = self._resident, settings.collate_fn
        reach = self.order.reach(settings.reach)
        if self.order.sampler is None:
            own = islice(self.order.own_batches(epoch), first, None)
            return map(partial(unless_stop_iteration, partial(self._own_batch, *given)), own)
        asked = self.order.device_batches(epoch, len(self._resident), first, reach)
        return map(
            partial(unless_stop_iteration, partial(self._batch, *given, reach)), asked
        )  # which goes on after a batch that failed, as torch's

    def stages(self, epoch: int, rows: Rows, settings: Settings) -> Iterator[Stage]:
        """What is done, for explain."""
        self._resident = self._resident.of(rows)
        target = self._device.describe()
        how = "one kernel launch per tensor" if self._device.launches else "torch.index_select"
        yield self.order.describe()
        yield Stage("gather", target, (self._resident.describe(), how))
        collated = collated_by(settings.collate_fn, "single samples" if self.order.single else "a list of tensors")
        yield Stage("deliver", target, (f"{collated}, in order", "made when asked for"))

    def _batch(self, here: Resident, collate_fn: Collation, reach: int, indices: torch.Tensor) -> Any:
        """What is delivered of these samples; as a part with what stands before it, where that comes in front.

        Args:
            here: the rows.
            collate_fn: as of the loader.
            reach: how many come in front.
            indices: on the device.
        """
        columns = here.gather(indices)
        if not reach:
            return self._collated(columns, collate_fn)
        parts = [column[reach:] for column in columns], [column[:reach] for column in columns]
        return Part(*(self._collated(part, collate_fn) for part in parts))

    def _collated(self, columns: list[torch.Tensor], collate_fn: Collation, is_columns: bool = False) -> Any:
        """Rows as a batch.

        Args:
            columns: of each tensor.
            collate_fn: as of the loader.
            is_columns: as torch's ``dataset[indices]`` has them, where the sampler is one of batches.
        """
        if is_columns:
            return collate_fn(tuple(columns))
        if self.order.single:
            return collate_fn(tuple(column[0] for column in columns))
        if collate_fn is default_collate and len(columns[0]):
            return columns
        return collate_fn(list(zip(*columns, strict=True)))

    def _own_batch(self, here: Resident, collate_fn: Collation, batch: Any) -> Any:
        """The same of indices that a user's own sampler gave."""
        is_columns = self.order.single and np.ndim(batch[0]) > 0
        indices = self._checked(batch[0] if is_columns else batch, len(here))
        return self._collated(here.gather(indices), collate_fn, is_columns)

    def _checked(self, batch: Any, count: int) -> torch.Tensor:
        """A user's own indices, on the device; a kernel would read whatever lies outside the tensor."""
        indices = integers(batch)
        outside = indices[(indices < -count) | (indices >= count)]
        if len(outside):
            raise IndexError(f"index {outside[0]} of a dataset of {count} samples")
        return move(pinned(torch.from_numpy(indices % count), self._device), self._device)  # type: ignore[no-any-return]


def gather_rows(source: torch.Tensor, indices: torch.Tensor, device: Device) -> torch.Tensor:
    """``source[indices]`` along the first dimension, without waiting for the device.

    Args:
        source: (N, ...) contiguous tensor on ``device``, any dtype.
        indices: (B,) int64 tensor there, each in [0, N).
        device: where they are.

    Returns:
        (B, ...) tensor.
    """
    if not device.launches:
        return source.index_select(0, indices)
    out = device.empty((len(indices), *source.shape[1:]), source.dtype)
    device.keep(source, device.current_stream())  # the loader may be dropped while the kernel still reads it
    row_bytes = source.element_size() * (source.numel() // max(len(source), 1))
    if out.numel():
        word = widest_word(row_bytes, source.data_ptr(), out.data_ptr())
        words = row_bytes // word
        blocks = min(-(-len(indices) * words // THREADS), 8192)
        addresses = np.uintp(source.data_ptr()), np.uintp(indices.data_ptr())
        sizes = np.int64(len(indices)), np.int64(words)
        device.launch(f"gather_{word}", (blocks, 1), THREADS, (*addresses, *sizes, np.uintp(out.data_ptr())))
    return out


def widest_word(row_bytes: int, *addresses: int) -> int:
    """Bytes of the widest access that divides the row and every address."""
    return next(word for word in WORDS if all(value % word == 0 for value in (row_bytes, *addresses)))
