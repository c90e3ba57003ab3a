"""Batches of ordinary datasets on their way to the device: asynchronous copies, one batch ahead."""

from collections import deque
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from copy import copy
from typing import Any

import torch

from gpuload.device import Device, Event, Stream

__all__ = ["Moving", "move", "pinned"]

AHEAD = 2  # batches: the one that is asked for, and the one after


def move(batch: Any, device: Device) -> Any:
    """The batch with all that is in it on ``device``; asynchronously where it lies in pinned memory.

    Lists, tuples and mappings keep their type. What has a ``to`` of its own, as tensors have, moves itself.
    """

    def to(thing: Any) -> Any:
        return thing.to(device.torch_device, non_blocking=True)

    return _mapped(batch, lambda thing: callable(getattr(thing, "to", None)), to)


def pinned(batch: Any, device: Device) -> Any:
    """The batch with its CPU tensors in page-locked memory, where copies to ``device`` can be asynchronous.

    The memory is torch's own, from a pool that knows of running copies: once warm nothing is allocated, and
    nobody need wait before the memory is written again, as with buffers of one's own.
    """

    def pin(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.device.type != "cpu":
            return tensor
        return device.pinned(tensor.nbytes).view(tensor.dtype).view(tensor.shape).copy_(tensor)

    return _mapped(batch, lambda thing: isinstance(thing, torch.Tensor), pin) if device.launches else batch


def _mapped(batch: Any, is_leaf: Callable[[Any], bool], change: Callable[[Any], Any]) -> Any:
    """The same structure, its leaves changed; what is neither leaf nor container stays as it is."""
    if is_leaf(batch):
        return change(batch)
    if isinstance(batch, Mapping):
        return _same_mapping(batch, {key: _mapped(value, is_leaf, change) for key, value in batch.items()})
    if isinstance(batch, list | tuple):
        values = (_mapped(value, is_leaf, change) for value in batch)
        return type(batch)(*values) if hasattr(batch, "_fields") else type(batch)(values)
    return batch


def _same_mapping(batch: Mapping[Any, Any], changed: dict[Any, Any]) -> Any:
    if isinstance(batch, MutableMapping):
        same = copy(batch)  # with whatever else the mapping knows
        same.update(changed)
        return same
    try:
        return type(batch)(changed)  # type: ignore[call-arg]
    except TypeError:  # a mapping that is not made of a dict
        return changed


class Moving:
    """Batches on their way to ``device``: each is copied on a side stream while the one before is in use.

    An error of the source comes in its turn, and the next batch can be asked for, as of torch's loader.

    Args:
        batches: where they come from.
        device: where they go.
        side: the stream of the copies.
    """

    def __init__(self, batches: Iterator[Any], device: Device, side: Stream) -> None:
        self._batches, self._device, self._side = batches, device, side
        self._events = deque(device.event() for _ in range(AHEAD + 1))  # used in turn; at most AHEAD are waited for
        self._users: list[Stream] = []  # the consumer's streams: often one, which is current all the time
        self._ahead: deque[tuple[Any, Event] | Exception] = deque()
        self._ended = False

    def __iter__(self) -> "Moving":
        return self

    def __next__(self) -> Any:
        # on the host there is nothing to do ahead
        while len(self._ahead) < (AHEAD if self._device.launches else 1) and not self._ended:
            self._fetch()
        if not self._ahead:
            raise StopIteration
        if isinstance(self._ahead[0], Exception):
            raise self._ahead.popleft()  # type: ignore[misc]  # no variable holds it: it would hold itself
        moved, copied = self._ahead.popleft()  # type: ignore[misc]
        copied.wait(self._user())  # the host does not wait
        return moved

    def _user(self) -> Stream:
        stream = self._device.current_stream()
        if stream not in self._users:
            self._users.append(stream)
        return stream

    def _fetch(self) -> None:
        try:
            self._ahead.append(self._started(next(self._batches)))
        except StopIteration:
            self._ended = True
        except Exception as error:
            self._ahead.append(error)

    def _started(self, batch: Any) -> tuple[Any, Event]:
        """Start the copy: the batch, and the event that says it is there."""
        copied = self._events[0]
        self._events.rotate(-1)
        self._user()
        for stream in self._users:  # memory that the consumer has dropped may be used again for this copy
            copied.record(stream)
            copied.wait(self._side)
        with self._device.on(self._side):
            moved = move(batch, self._device)
            copied.record(self._side)
        return moved, copied
