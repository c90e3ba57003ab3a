"""Batches of ordinary datasets on their way to the device: asynchronous copies, one batch ahead."""

from collections.abc import Iterator, Mapping
from typing import Any

import torch

__all__ = ["move", "pinned", "to_device"]


def move(batch: Any, device: torch.device) -> Any:
    """The batch with every tensor in it on ``device``; asynchronously where it lies in pinned memory."""
    if isinstance(batch, torch.Tensor):
        return batch.to(device, non_blocking=True)
    if isinstance(batch, Mapping):
        return {key: move(value, device) for key, value in batch.items()}
    if isinstance(batch, tuple) and hasattr(batch, "_fields"):
        return type(batch)(*(move(value, device) for value in batch))
    if isinstance(batch, list | tuple):
        return type(batch)(move(value, device) for value in batch)
    return batch


def pinned(tensor: Any, device: torch.device) -> Any:
    """A CPU tensor in page-locked memory, where its copy to ``device`` is to be asynchronous; else as it is."""
    if device.type == "cuda" and isinstance(tensor, torch.Tensor) and tensor.device.type == "cpu":
        return tensor.pin_memory()
    return tensor


def tensors_in(batch: Any) -> Iterator[torch.Tensor]:
    """Every tensor in the batch."""
    if isinstance(batch, torch.Tensor):
        yield batch
    elif isinstance(batch, Mapping):
        for value in batch.values():
            yield from tensors_in(value)
    elif isinstance(batch, list | tuple):
        for value in batch:
            yield from tensors_in(value)


def to_device(batches: Iterator[Any], device: torch.device) -> Iterator[Any]:
    """The batches on ``device``. On CUDA each is copied on a side stream while the one before is in use."""
    if device.type != "cuda":
        for batch in batches:
            yield move(batch, device)
        return
    side = torch.cuda.Stream(device)
    waiting: list[Any] = []
    for batch in batches:
        with torch.cuda.stream(side):
            waiting.append(move(batch, device))
        if len(waiting) > 1:
            yield _hand_over(waiting.pop(0), side, device)
    for batch in waiting:
        yield _hand_over(batch, side, device)


def _hand_over(batch: Any, side: "torch.cuda.Stream", device: torch.device) -> Any:
    """Make the consumer's stream wait for the copy, and the allocator for the consumer."""
    stream = torch.cuda.current_stream(device)
    stream.wait_stream(side)
    for tensor in tensors_in(batch):
        if tensor.device.type == "cuda":
            tensor.record_stream(stream)
    return batch
