"""Rows of different size in one tensor, filled up with a value."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.utils.rnn import pad_sequence

from gpuload.arguments import at_least, is_number
from gpuload.collate.base import Collate, Tensors, check_one_dtype, joined, placed, shared, shown, stacked
from gpuload.device import Device, device_of
from gpuload.errors import ArgumentError, ArgumentTypeError, CollateError

__all__ = ["LeftPadded", "Pad", "Padded"]

THREADS = 256
CHUNK = 16  # bytes that a thread of kernels/pad.cu makes at a time
DIMS = 4  # most dimensions of a row there
FILLING = np.dtype([("rows", "<i8"), ("extents", "<i8", DIMS), ("in_front", "<i8"), ("fill", "u1", CHUNK)])

Shape = tuple[int, ...]


class Padded(NamedTuple):
    """Rows that are filled up, and their sizes.

    Attributes:
        values: (B, ...).
        sizes: (B, D) int64, on the same device: the D extents of each row before it was filled up.
    """

    values: torch.Tensor
    sizes: torch.Tensor

    @property
    def lengths(self) -> torch.Tensor:
        """(B,) int64: the first extent of each row."""
        return self.sizes[:, 0]

    def mask(self, *dims: int) -> torch.Tensor:
        """Where the rows are, along some of their dimensions: ``mask(0)`` of tokens, ``mask(1, 2)`` of images.

        Args:
            dims: of a row, without the batch's dimension; none: all.

        Returns:
            (B, extents of these dimensions) bool, on the same device: True where the row is, False where it was filled
            up. torch's ``key_padding_mask`` is its inverse.

        Raises:
            ArgumentError: a row has no such dimension.
        """
        count = self.sizes.shape[1]
        for dim in dims:
            if not -count <= dim < count:
                raise ArgumentError(f"dims must be from {-count} to {count - 1}, got {dim}")
        return _grid([self._along(dim) for dim in sorted({dim % count for dim in dims} or range(count))])

    def _along(self, dim: int) -> torch.Tensor:
        extent = self.values.shape[1 + dim]
        return self._is_inside(torch.arange(extent, device=self.values.device), self.sizes[:, dim, None], extent)

    def _is_inside(self, at: torch.Tensor, size: torch.Tensor, extent: int) -> torch.Tensor:
        return at < size


class LeftPadded(Padded):
    """Rows that are filled up in front."""

    def _is_inside(self, at: torch.Tensor, size: torch.Tensor, extent: int) -> torch.Tensor:
        return at >= extent - size


def _grid(masks: Sequence[torch.Tensor]) -> torch.Tensor:
    """(B, n) each -> (B, n of the first, n of the second, ...): True where all are."""
    whole = masks[0]
    for mask in masks[1:]:
        whole = whole.unsqueeze(-1) & mask.view(len(mask), *[1] * (whole.ndim - 1), -1)
    return whole


class _Filling(NamedTuple):
    """What becomes of rows whose elements lie one behind the other."""

    places: torch.Tensor  # (B, 1 + DIMS) int64: where a row's elements start, its extents
    sizes: torch.Tensor | None  # (B, D), where they are wanted
    shape: Shape  # of a padded row
    extents: Shape  # the same in DIMS dimensions
    value: float


class _PackedRows(NamedTuple):
    elements: torch.Tensor
    filling: _Filling


@dataclass(frozen=True)
class Pad(Collate):
    """A collate function that fills rows up to the largest of the batch, in each dimension.

    Tensors (and numpy arrays) of one shape are stacked. Sequences, (L,) or (L, D), get a padding at their end, as of
    ``torch.nn.utils.rnn.pad_sequence``; images, (C, H, W), at the bottom and the right, as torchvision's detectors have
    it. Gradients do not flow through. On a GPU all rows of a batch are one kernel.

    Args:
        value: what rows are filled up with; or a mapping from keys of the samples' mappings to values, all others being
            0: ``{"labels": -100}``.
        multiple_of: padded rows have a multiple of it: as length, in one or two dimensions; as height and width, the
            last two, in three or more. Or one number a dimension, for tensors of just so many dimensions:
            ``(1, 32, 32)``. Or a mapping from keys to either.
        padding_side: "right", or "left" for a padding in front.
        lengths: each padded or stacked tensor becomes a `Padded`, which knows the sizes of its rows.

    Raises:
        ArgumentError, ArgumentTypeError: a bad argument.
        CollateError: when called: samples whose tensors have different numbers of dimensions or different dtypes, or
            a dtype that ``value`` does not fit.
    """

    packed: ClassVar[type] = _PackedRows

    value: float | Mapping[Any, float] = 0
    multiple_of: int | Sequence[int] | Mapping[Any, int | Sequence[int]] = 1
    padding_side: str = "right"
    lengths: bool = False

    def __post_init__(self) -> None:
        for value in _each(self.value):
            if not isinstance(value, float | bool) and not is_number(value):
                raise ArgumentTypeError(f"value must be a number, or a mapping to numbers, got {self.value!r}")
        for multiple in _each(self.multiple_of):
            for number in multiple if isinstance(multiple, list | tuple) else [multiple]:
                at_least("multiple_of", number, 1)
        if self.padding_side not in ("left", "right"):
            raise ArgumentError(f"padding_side must be 'left' or 'right', got {self.padding_side!r}")

    def prepare(self, device: Device) -> None:
        device.prepare("pad_4")  # of the kernels, which differ in the size of an element

    # ---- the worker's ----

    def _pack(self, rows: Tensors, key: Any) -> Any:
        filling = self._filling(rows, key)
        return stacked(rows) if filling is None else _PackedRows(joined([row.reshape(-1) for row in rows]), filling)

    def _whole(self, rows: Tensors, key: Any) -> Any:
        if device_of(rows[0].device).launches:
            return super()._whole(rows, key)
        filling = self._filling(rows, key)
        if filling is None:
            return stacked(rows)
        return self._with_sizes(self._filled([row.detach() for row in rows], filling), filling)

    def _filling(self, rows: Tensors, key: Any) -> _Filling | None:
        """None: there is nothing to fill up, and no sizes are wanted."""
        sizes, shape = self._measured(rows, key)
        if not self.lengths and (sizes == shape).all():
            return None
        check_one_dtype(rows)
        value = _option(self.value, key, 0)
        _element(value, rows[0].dtype)  # an error here is one of the samples', not of the device's
        extents, merged = _merged(sizes, shape)
        if len(extents) > DIMS:
            raise CollateError(f"at most {DIMS} dimensions of a batch's tensors can differ, got shapes {shown(rows)}")
        places = np.ones((len(rows), 1 + DIMS), np.int64)
        places[:, 0] = [0, *accumulate(row.numel() for row in rows[:-1])]
        places[:, -len(extents) :] = merged
        extents = (1,) * (DIMS - len(extents)) + extents
        wanted = placed(sizes, rows[0]) if self.lengths else None
        return _Filling(placed(places, rows[0]), wanted, shape, extents, value)

    def _measured(self, rows: Tensors, key: Any) -> tuple[NDArray[np.int64], Shape]:
        """The sizes of all rows, (B, D), and of a padded one."""
        sizes = np.array([row.shape for row in rows], np.int64)
        largest = sizes.max(axis=0)
        multiples = np.array(_multiples(_option(self.multiple_of, key, 1), len(largest)))
        return sizes, tuple((-(-largest // multiples) * multiples).tolist())

    # ---- where the batch is used ----

    def _finish(self, packed: _PackedRows) -> Any:
        elements, filling = packed
        device = device_of(elements.device)
        if device.launches:
            return self._with_sizes(self._launched(elements, filling, device), filling)
        counts = filling.places[:, 1:].prod(dim=1).tolist()
        return self._with_sizes(self._filled(elements.split(counts), filling), filling)

    def _with_sizes(self, values: torch.Tensor, filling: _Filling) -> Any:
        if filling.sizes is None:
            return values
        return (LeftPadded if self.padding_side == "left" else Padded)(values, filling.sizes)

    def _filled(self, rows: Tensors, filling: _Filling) -> torch.Tensor:
        """With torch's own operations."""
        shape, like = (len(rows), *filling.shape), rows[0]
        out = shared(shape, like)
        out = like.new_empty(shape) if out is None else out
        out.fill_(_element(filling.value, like.dtype)[0])
        places = filling.places[:, 1:].tolist()
        for target, row, extents in zip(out.view(len(rows), *filling.extents), rows, places, strict=True):
            target[self._part(extents, filling.extents)] = row.reshape(extents)
        return out

    def _part(self, size: Sequence[int], extents: Sequence[int]) -> tuple[slice, ...]:
        pairs = zip(size, extents, strict=True)
        return tuple(slice(b - a, b) if self.padding_side == "left" else slice(a) for a, b in pairs)

    def _launched(self, elements: torch.Tensor, filling: _Filling, device: Device) -> torch.Tensor:
        """By the kernel."""
        places, dtype = filling.places, elements.dtype
        out = device.empty((len(places), *filling.shape), dtype)
        if not elements.numel():  # and so there is no memory of theirs
            return out.fill_(_element(filling.value, dtype)[0])
        record = np.zeros((), FILLING)
        record["rows"], record["extents"] = len(places), filling.extents
        record["in_front"] = self.padding_side == "left"
        record["fill"] = np.resize(_element(filling.value, dtype).view(torch.uint8).numpy(), CHUNK)
        blocks = min(-(-out.nbytes // (CHUNK * THREADS)), 8192)
        addresses = np.uintp(elements.data_ptr()), np.uintp(places.data_ptr())
        device.launch(f"pad_{dtype.itemsize}", (blocks, 1), THREADS, (*addresses, record, np.uintp(out.data_ptr())))
        return out


# ---- options ----


def _each(option: Any) -> Sequence[Any]:
    return list(option.values()) if isinstance(option, Mapping) else [option]


def _option(option: Any, key: Any, default: Any) -> Any:
    return option.get(key, default) if isinstance(option, Mapping) else option


def _multiples(multiple_of: Any, count: int) -> Sequence[int]:
    """One number for each of so many dimensions."""
    if not isinstance(multiple_of, list | tuple):
        rounded = [0] if count <= 2 else [count - 2, count - 1]
        return [multiple_of if dim in rounded else 1 for dim in range(count)]
    return multiple_of if len(multiple_of) == count else [1] * count


def _element(value: float, dtype: torch.dtype) -> torch.Tensor:
    """(1,): the value as torch's ``pad_sequence`` takes it."""
    try:
        return pad_sequence([torch.empty(0, dtype=dtype), torch.empty(1, dtype=dtype)], True, value)[0]
    except RuntimeError as error:
        raise CollateError(f"value={value} does not fit the samples' {dtype}: pass another one") from error


# ---- rows ----


def _merged(sizes: NDArray[np.int64], shape: Shape) -> tuple[Shape, NDArray[np.int64]]:
    """Fewer dimensions with the same order of elements: one that all rows fill is joined to the one before.

    Args:
        sizes: (B, D) of rows.
        shape: of a padded one.

    Returns:
        The extents of a padded row, and (B, dimensions) those of each row.
    """
    extents, merged = [shape[0]], [sizes[:, 0]]
    for extent, size in zip(shape[1:], sizes.T[1:], strict=True):
        if (size == extent).all():
            extents[-1], merged[-1] = extents[-1] * extent, merged[-1] * extent
        else:
            extents.append(extent)
            merged.append(size)
    return tuple(extents), np.stack(merged, axis=1)
