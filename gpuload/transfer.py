"""Batches of ordinary datasets on their way to the device: asynchronous copies, one batch ahead."""

from collections import deque
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from copy import copy
from functools import partial
from typing import Any

import torch

__all__ = ["Moving", "move", "pinned", "side_stream"]


def move(batch: Any, device: torch.device) -> Any:
    """The batch with all that is in it on ``device``; asynchronously where it lies in pinned memory.

    Lists, tuples and mappings keep their type. What has a ``to`` of its own, as tensors have, moves itself.
    """
    if callable(getattr(batch, "to", None)):
        return batch.to(device, non_blocking=True)
    if isinstance(batch, MutableMapping):
        moved = copy(batch)  # with whatever else the mapping knows
        moved.update({key: move(value, device) for key, value in batch.items()})
        return moved
    if isinstance(batch, Mapping):
        return _same_mapping(batch, {key: move(value, device) for key, value in batch.items()})
    if isinstance(batch, tuple) and hasattr(batch, "_fields"):
        return type(batch)(*(move(value, device) for value in batch))
    if isinstance(batch, list | tuple):
        return type(batch)(move(value, device) for value in batch)
    return batch


def _same_mapping(batch: Mapping[Any, Any], moved: dict[Any, Any]) -> Any:
    try:
        return type(batch)(moved)  # type: ignore[call-arg]
    except TypeError:  # a mapping that is not made of a dict
        return moved


def pinned(tensor: Any, device: torch.device) -> Any:
    """A CPU tensor in page-locked memory, where its copy to ``device`` is to be asynchronous; else as it is."""
    if device.type == "cuda" and isinstance(tensor, torch.Tensor) and tensor.device.type == "cpu":
        return tensor.pin_memory()
    return tensor


def side_stream(device: torch.device) -> torch.cuda.Stream | None:
    """A stream beside the consumer's, for one loader's whole life; None on the CPU."""
    return torch.cuda.Stream(device) if device.type == "cuda" else None


class Moving:
    """Batches on their way to ``device``. On CUDA each is copied on a side stream while the one before is in use.

    An error of the source comes in its turn, and the next batch can be asked for, as of torch's loader.

    Args:
        batches: where they come from.
        device: where they go.
        side: the stream of the copies; None: no copies ahead.
    """

    def __init__(self, batches: Iterator[Any], device: torch.device, side: torch.cuda.Stream | None) -> None:
        self._batches, self._device, self._side = batches, device, side
        self._ahead: deque[Callable[[], Any]] = deque()  # each gives its batch, or raises
        self._ended = False

    def __iter__(self) -> "Moving":
        return self

    def __next__(self) -> Any:
        while len(self._ahead) < (1 if self._side is None else 2) and not self._ended:
            self._fetch()
        if not self._ahead:
            raise StopIteration
        return self._ahead.popleft()()

    def _fetch(self) -> None:
        try:
            batch = next(self._batches)
        except StopIteration:
            self._ended = True
        except Exception as error:
            self._ahead.append(partial(_raise, error))
        else:
            self._ahead.append(self._started(batch))

    def _started(self, batch: Any) -> Callable[[], Any]:
        """Start the copy; what is returned hands it over."""
        if self._side is None:
            return partial(move, batch, self._device)
        # what the consumer has dropped may be used again for this copy, so it waits for the consumer's uses
        self._side.wait_stream(torch.cuda.current_stream(self._device))
        with torch.cuda.stream(self._side):
            moved = move(batch, self._device)
            copied = self._side.record_event()
        return partial(self._hand_over, moved, copied)

    def _hand_over(self, moved: Any, copied: torch.cuda.Event) -> Any:
        """The consumer's stream waits for the copy; the host does not."""
        torch.cuda.current_stream(self._device).wait_event(copied)
        return moved


def _raise(error: Exception) -> Any:
    raise error
