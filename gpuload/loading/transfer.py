"""Batches of ordinary datasets on their way to the device: asynchronous copies, one batch ahead."""

import weakref
from collections import deque
from collections.abc import Iterator
from typing import Any, NamedTuple

import torch

from gpuload.device import Device, Event, Stream
from gpuload.stage import Stage
from gpuload.structure import mapped

__all__ = ["Moving", "move", "pinned", "sending"]

AHEAD = 2  # batches: the one that is asked for, and the one after
PLAIN = (torch.Tensor,)  # no other types: they may hold more than their elements


def move(batch: Any, device: Device) -> Any:
    """The batch with all that is in it on ``device``; asynchronously where it lies in pinned memory.

    Lists, tuples and mappings keep their type. What has a ``to`` of its own, as tensors have, moves itself.
    """

    return mapped(batch, _moves, lambda thing: thing.to(device.torch_device, non_blocking=True))


def pinned(batch: Any, device: Device) -> Any:
    """The batch with its CPU tensors in page-locked memory, where copies to ``device`` can be asynchronous.

    The memory is torch's own, from a pool that knows of running copies: once warm nothing is allocated, and
    nobody need wait before the memory is written again, as with buffers of one's own.
    """

    def pin(tensor: torch.Tensor) -> torch.Tensor:
        if not tensor.is_cpu:
            return tensor
        return device.pinned(tensor.nbytes).view(tensor.dtype).view(tensor.shape).copy_(tensor)

    return mapped(batch, _is_tensor, pin) if device.launches else batch


def _is_tensor(thing: Any) -> bool:
    return isinstance(thing, torch.Tensor)


def _moves(thing: Any) -> bool:
    """Does it move itself? As tensors do, and torch's PackedSequence."""
    return callable(getattr(thing, "to", None))


def _travels(thing: Any) -> bool:
    """Is it a tensor on the host of which a copy is just its elements?"""
    return type(thing) in PLAIN and thing.is_cpu and thing.layout is torch.strided


class _Sent(NamedTuple):
    """A batch whose tensors are on their way."""

    batch: Any
    stream: Stream  # whose memory they are in
    copied: Event


class _Failed(NamedTuple):
    """What came in place of a batch."""

    error: Exception


class Moving:
    """Batches on their way to ``device``: each is copied on a side stream while the one before is in use.

    Their memory is the consumer's stream's, so that it can be used again in that stream's order as soon as the consumer
    drops a batch: no more of it is needed than for the batches at hand, however far the host is ahead. Plain tensors
    are copied ahead; whatever else moves itself does so when its turn comes.

    An error of the source comes in its turn, and the next batch can be asked for, as of torch's loader.

    Args:
        batches: where they come from.
        device: where they go.
        side: the stream of the copies.
    """

    def __init__(self, batches: Iterator[Any], device: Device, side: Stream) -> None:
        self._outcomes, self._device, self._side = _outcomes(batches), device, side
        self._events = deque(device.event() for _ in range(AHEAD + 1))  # used in turn; at most AHEAD are waited for
        self._ahead: deque[_Sent | _Failed] = deque()
        self._undelivered: deque[tuple[Event, Stream]] = deque()
        self._ended = False
        weakref.finalize(self, _settle, self._undelivered).atexit = False

    def __iter__(self) -> "Moving":
        return self

    def __next__(self) -> Any:
        # on the host there is nothing to do ahead
        while len(self._ahead) < (AHEAD if self._device.launches else 1) and not self._ended:
            self._fetch()
        if not self._ahead:
            raise StopIteration
        if isinstance(self._ahead[0], _Failed):
            raise self._ahead.popleft().error  # type: ignore[union-attr]  # no variable holds it: it would hold itself
        return self._delivered(self._ahead.popleft())  # type: ignore[arg-type]

    def _fetch(self) -> None:
        try:
            outcome = next(self._outcomes)
        except StopIteration:
            self._ended = True
        else:
            self._ahead.append(outcome if isinstance(outcome, _Failed) else self._sent(outcome))

    def _sent(self, batch: Any) -> _Sent:
        """Start the copies."""
        device, stream, copied = self._device, self._device.current_stream(), self._events[0]
        self._events.rotate(-1)
        pairs: list[tuple[torch.Tensor, torch.Tensor]] = []

        def place(thing: Any) -> Any:
            if not (device.launches and _travels(thing)):
                return thing
            pairs.append((device.empty_like(thing), thing))
            return pairs[-1][0]

        placed = mapped(batch, _moves, place)
        copied.record(stream)  # until then the memory may have been that of a batch that the consumer has dropped
        with device.on(self._side):
            copied.wait(self._side)
            for target, source in pairs:
                device.copy(target, source)
            copied.record(self._side)
        self._undelivered.append((copied, stream))
        return _Sent(placed, stream, copied)

    def _delivered(self, sent: _Sent) -> Any:
        """The batch, whole for the current stream; the host does not wait."""
        self._undelivered.popleft()
        stream = self._device.current_stream()
        sent.copied.wait(stream)
        moved = move(sent.batch, self._device)
        if stream != sent.stream:  # the consumer has gone over to another one
            mapped(moved, _is_tensor, lambda tensor: self._device.keep(tensor, stream))
        return moved


def _outcomes(batches: Iterator[Any]) -> Iterator[Any]:
    """Batches, or what came in their place.

    A generator: an error's traceback holds the frames that led to it, and so would hold whoever holds the error, but
    from a generator's frame no way leads to its caller's.
    """
    held = list[Any]()
    while True:
        try:
            held.append(next(batches))
        except StopIteration:
            return
        except Exception as error:
            held.append(_Failed(error))
        yield held.pop()


def sending(target: str) -> Stage:
    """What `Moving` does, for explain."""
    return Stage(
        "stage", f"CPU -> {target}", ("copied from pinned memory on a side stream, while the batch before is in use",)
    )


def _settle(undelivered: deque[tuple[Event, Stream]]) -> None:
    """Nobody will ask for these: their memory is not used again before the copies to it are done."""
    for copied, stream in undelivered:
        copied.wait(stream)
