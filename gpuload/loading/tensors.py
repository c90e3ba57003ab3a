"""Tensors: order and rows never leave the device."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch.utils.data import default_collate

from gpuload.device import Device
from gpuload.loading.order import Order, integers
from gpuload.loading.transfer import move, pinned
from gpuload.stage import Stage, collated_by

__all__ = ["TensorPath", "gather_rows", "widest_word"]

THREADS = 256
WORDS = (16, 4, 1)  # bytes that one access of kernels/gather.cu moves


class TensorPath:
    """A ``TensorDataset``: rows are gathered on the device.

    Args:
        tensors: the dataset's; they are moved to the device once.
        order: which rows are in a batch.
        collate_fn: as of the loader.
        device: where batches arrive.

    Raises:
        MissingError: CuPy or CUDA's headers are not installed.
    """

    def __init__(
        self, tensors: tuple[torch.Tensor, ...], order: Order, collate_fn: Callable[[Any], Any], device: Device
    ) -> None:
        self._order, self._collate_fn, self._device = order, collate_fn, device
        if device.launches:
            device.prepare(f"gather_{WORDS[0]}")  # what is missing fails here, not in the first batch
        self.tensors = tuple(device.resident(tensor).contiguous() for tensor in tensors)
        self._ready = device.event()
        self._ready.record(device.current_stream())

    def batches(self, epoch: int) -> Iterator[Any]:
        """The batches of an epoch."""
        for indices, is_sample in self._indices(epoch):
            self._ready.wait(self._device.current_stream())
            rows = [gather_rows(tensor, indices, self._device) for tensor in self.tensors]
            if is_sample:
                yield self._collate_fn(tuple(row[0] for row in rows))
            elif self._order.single:  # as of torch: dataset[indices], where the sampler is one of batches
                yield self._collate_fn(tuple(rows))
            elif self._collate_fn is default_collate:
                yield rows
            else:
                yield self._collate_fn(list(zip(*rows, strict=True)))

    def stages(self, epoch: int) -> Iterator[Stage]:
        """What is done, for explain."""
        target = self._device.describe()
        shown = ", ".join(f"{str(t.dtype).removeprefix('torch.')} {tuple(t.shape)}" for t in self.tensors)
        megabytes = sum(tensor.nbytes for tensor in self.tensors) / 1e6
        how = "one kernel launch per tensor" if self._device.launches else "torch.index_select"
        yield self._order.describe()
        yield Stage("gather", target, (f"rows of {shown}: {megabytes:,.1f} MB that stay there", how))
        collated = collated_by(self._collate_fn, "single samples" if self._order.single else "a list of tensors")
        yield Stage("deliver", target, (f"{collated}, in order", "made when asked for"))

    def _indices(self, epoch: int) -> Iterator[tuple[torch.Tensor, bool]]:
        """Indices on the device; True: of a sample by itself."""
        single = self._order.single
        if self._order.sampler is not None:
            yield from ((indices, single) for indices in self._order.device_batches(epoch, len(self.tensors[0])))
            return
        for batch in self._order.own_batches(epoch):
            is_sample = single and np.ndim(batch[0]) == 0
            yield self._checked(batch[0] if single and not is_sample else batch), is_sample

    def _checked(self, batch: Any) -> torch.Tensor:
        """A user's own indices, on the device; a kernel would read whatever lies outside the tensor."""
        indices, count = integers(batch), len(self.tensors[0])
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
