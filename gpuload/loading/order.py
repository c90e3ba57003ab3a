"""Which samples are in a batch: from positions in the epoch to sample indices."""

import hashlib
import operator
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import BatchSampler

from gpuload.device import Device
from gpuload.errors import ArgumentError, ArgumentTypeError
from gpuload.frameworks import of_positions, whole
from gpuload.samplers.base import CHUNK, CounterSampler
from gpuload.samplers.orders import EpochOrder
from gpuload.samplers.sharded import ShardedBatches
from gpuload.stage import CALLER, Stage, name_of

__all__ = ["Integers", "Order", "counter", "integers", "keeper_of_epoch"]

Integers = NDArray[np.int64]
Part = range | Integers  # the positions of a batch; ranges follow each other


class Order:
    """The batches of an epoch, as sample indices.

    Args:
        sampler, batch_sampler: as torch's DataLoader has them: samples come by themselves where there is no batch
            sampler; where there is one, the sampler that counts is its own.
        device: where counter-based samplers make their indices.
    """

    def __init__(self, sampler: Any, batch_sampler: Any, device: Device) -> None:
        self._sampler, self._batch_sampler, self._device = sampler, batch_sampler, device
        self._side = device.stream()  # the host waits for the order there, not for the consumer's work
        self._begun: dict[int, EpochOrder] = {}  # by epoch, of the last ones

    @property
    def single(self) -> bool:
        """Samples are delivered as they are, not in batches."""
        return self._batch_sampler is None

    @property
    def usual_size(self) -> int:
        """Samples of a batch, as far as it is known before."""
        return getattr(whole(self._batch_sampler), "batch_size", None) or 1

    @property
    def sampler(self) -> CounterSampler | None:
        """The sampler, where it is counter-based, plainly iterated, and torch's plain batches are wanted of it."""
        return counter(self._sampler, self._batch_sampler)

    @property
    def _plain(self) -> Any:
        """The sampler that is asked, one index after the other; None: batches are made in a way of the user's."""
        return _asked(self._sampler, self._batch_sampler)

    @property
    def _is_part(self) -> bool:
        """They are a part of other batches."""
        batches = whole(self._batch_sampler)
        return batches is not self._batch_sampler or isinstance(batches, ShardedBatches)

    def reach(self, wanted: int) -> int:
        """How many samples can be had that stand before a batch, in the global batch that it is a part of.

        Args:
            wanted: by a batch transform. There are none of a batch that is whole, and none are known where a sampler
                of the user's, or a framework's, deals the samples out.
        """
        batches = self._batch_sampler
        is_known = isinstance(batches, ShardedBatches) and batches.shard.world_size > 1
        return wanted if is_known and self.sampler is not None else 0

    def host_batches(self, epoch: int, first: int = 0, reach: int = 0) -> Iterator[tuple[Integers, Integers]]:
        """(positions in the epoch, indices there) of each batch from one on, on the host: (reach + B,) int64 each."""
        if self.sampler is None:
            batches, plain = map(integers, self.own_batches(epoch)), self._plain
            is_known = self._is_part and plain is not None
            placed = (
                zip(map(_listed, self._parts(len(plain))), batches, strict=False) if is_known else _consecutive(batches)
            )
            return islice(placed, first, None)
        return self._fetched(self.sampler, epoch, first, reach)

    def device_batches(self, epoch: int, samples: int, first: int = 0, reach: int = 0) -> Iterator[torch.Tensor]:
        """The indices of each batch of a counter-based sampler, which never leave the device: (reach + B,) int64.

        Args:
            epoch: whose.
            samples: those that there are.
            first: the batch that is made first.
            reach: samples that stand before each, as `reach` says.

        Raises:
            ArgumentError: the sampler is for more samples.
        """
        assert self.sampler is not None
        order, made = self._begin_order(self.sampler, epoch), self._device.event()
        if order.bound > samples:
            raise ArgumentError(f"sampler gives indices up to {order.bound - 1}, but the dataset has {samples} samples")
        for parts, chunk in self._chunks(order, first, reach):
            stream = self._device.current_stream()
            made.record(stream)
            for batch in chunk.split([*map(len, parts)]):
                current = self._device.current_stream()
                if current != stream:  # the consumer has gone over to another one
                    made.wait(current)
                    self._device.keep(chunk, current)
                yield batch

    def digest(self, epoch: int, batches: int, of: bytes) -> str:
        """32 hexadecimal digits of what stands in an epoch's first batches, of all ranks; padding does not count.

        Args:
            epoch: whose.
            batches: how many of them.
            of: what else the digest is of.

        Raises:
            ArgumentError: a sampler of the user's makes the order.
        """
        if self.sampler is None:
            whose = self._batch_sampler if self._plain is None else self._plain
            raise ArgumentError(f"digest is of an order that a sampler of gpuload's makes, got {name_of(whose)}")
        order, digest = self.begun(epoch) or self.sampler.order(epoch), hashlib.blake2b(of, digest_size=16)
        parts = islice(self._whole_parts(len(order)), batches)
        while some := _together(parts, CHUNK):
            lengths = np.array([*map(len, some)], "<i8")
            digest.update(lengths.tobytes() + _indices(order, some).numpy().astype("<i8").tobytes())
        return digest.hexdigest()

    def _whole_parts(self, count: int) -> Iterator[Part]:
        """The positions of each batch, of all ranks, of ``count`` samples."""
        batches = self._batch_sampler
        return batches.global_positions(count) if isinstance(batches, ShardedBatches) else self._parts(count)

    def begun(self, epoch: int) -> EpochOrder | None:
        """The order of an epoch whose batches are made; None: a sampler of the user's makes it."""
        return self._begun.get(epoch)

    def _begin_order(self, sampler: CounterSampler, epoch: int) -> EpochOrder:
        order = sampler.order(epoch)
        self._begun = {**dict(list(self._begun.items())[-1:]), epoch: order}
        return order

    def own_batches(self, epoch: int) -> Iterator[Any]:
        """Whatever a sampler or batch sampler of the user's gives: lists, tuples or tensors of indices."""
        self.begin(epoch)
        return iter(self._batch_sampler) if self._batch_sampler is not None else ([i] for i in self._sampler)

    def begin(self, epoch: int) -> None:
        """Choose the epoch of a counter-based sampler that is iterated next, and then moves on by itself."""
        keeper = keeper_of_epoch(self._sampler, self._batch_sampler)
        if isinstance(keeper, CounterSampler):
            keeper.set_epoch(epoch)

    def _parts(self, count: int, first: int = 0, reach: int = 0) -> Iterator[Part]:
        """The positions of each batch from one on, of ``count`` samples."""
        batches = self._batch_sampler
        if isinstance(batches, ShardedBatches):
            return batches.positions(count, first, reach)
        if self._is_part:
            return islice(map(np.asarray, of_positions(batches, count)), first, None)
        size, ends = self.usual_size, count
        if getattr(batches, "drop_last", False):
            ends -= count % size
        return (range(start, min(start + size, ends)) for start in range(first * size, ends, size))

    def _fetched(
        self, sampler: CounterSampler, epoch: int, first: int, reach: int
    ) -> Iterator[tuple[Integers, Integers]]:
        """Batches on the host. The chunk after is in flight while one is used: nobody waits for it."""
        ahead: list[tuple[list[Part], torch.Tensor, Any]] = []
        for parts, chunk in self._chunks(self._begin_order(sampler, epoch), first, reach, self._side):
            ahead.append((parts, *self._start_fetch(chunk)))
            if len(ahead) == 2:
                yield from _arrived(*ahead.pop(0))
        for fetched in ahead:
            yield from _arrived(*fetched)

    def _start_fetch(self, chunk: torch.Tensor) -> tuple[torch.Tensor, Any]:
        host, copied = self._device.pinned(chunk.nbytes).view(torch.int64), self._device.event(blocking=True)
        with self._device.on(self._side):
            self._device.copy(host, chunk)
            copied.record(self._side)
        return host, copied

    def _chunks(
        self, order: EpochOrder, first: int, reach: int, stream: Any = None
    ) -> Iterator[tuple[list[Part], torch.Tensor]]:
        """The positions of some batches, and the indices there; few at first, which should come soon."""
        parts, wanted = self._parts(len(order), first, reach), 1
        while some := _together(parts, wanted):
            with self._device.on(stream):  # None: the current one
                indices = _indices(order, some, self._device.torch_device)
            yield some, indices
            wanted = min(8 * len(indices), CHUNK)

    def describe(self, anywhere: bool = True, host: str = CALLER) -> Stage:
        """Who makes it, for explain.

        Args:
            anywhere: counter-based samplers make it on the device, where that launches kernels.
            host: the threads where they make it otherwise.
        """
        sampler = self._plain
        if sampler is None:
            return Stage("order", CALLER, (f"the batches of {name_of(self._batch_sampler)}",))
        full = ", only full ones" if getattr(self._batch_sampler, "drop_last", False) else ""
        part = f", {self._part()}" if self._is_part else ""
        batches = "one by one" if self.single else f"batches of {self.usual_size}{full}{part}"
        if not isinstance(sampler, CounterSampler):
            return Stage("order", CALLER, (f"{name_of(sampler)}, iterated", batches))
        where = self._device.describe() if anywhere and self._device.launches else host
        return Stage("order", where, (sampler.describe(), batches))

    def _part(self) -> str:
        """Which part of other batches they are."""
        batches = self._batch_sampler
        return batches.describe() if isinstance(batches, ShardedBatches) else f"of which {name_of(batches)} picks"


def keeper_of_epoch(sampler: Any, batch_sampler: Any) -> Any:
    """What is told the epoch, of a loader's sampler, batch sampler and those that they wrap; None: nothing is.

    It has ``set_epoch`` and ``epoch``, as gpuload's samplers and torch's ``DistributedSampler`` have.
    """
    found = sampler if batch_sampler is None else batch_sampler
    while found is not None:
        if callable(getattr(found, "set_epoch", None)) and isinstance(getattr(found, "epoch", None), int):
            return found
        found = getattr(found, "batch_sampler", getattr(found, "sampler", None))
    return None


def counter(sampler: Any, batch_sampler: Any) -> CounterSampler | None:
    """The sampler, where it is counter-based, plainly iterated, and torch's plain batches are wanted of it."""
    asked = _asked(sampler, batch_sampler)
    is_plain = isinstance(asked, CounterSampler) and type(asked).__iter__ is CounterSampler.__iter__
    return asked if is_plain else None


def _asked(sampler: Any, batch_sampler: Any) -> Any:
    """The sampler that is asked, one index after the other; None: batches are made in a way of the user's."""
    if batch_sampler is None:
        return sampler
    batches = whole(batch_sampler)
    return batches.sampler if type(batches) in (BatchSampler, ShardedBatches) else None


def integers(batch: Any) -> Integers:
    """A user's own batch of indices, checked: (B,) int64.

    Args:
        batch: any iterable of integers of any kind, or a tensor on any device.

    Raises:
        ArgumentTypeError: something in it is no integer.
    """
    listed = batch.numpy(force=True) if isinstance(batch, torch.Tensor) else batch
    if isinstance(listed, np.ndarray) and listed.ndim == 1 and listed.dtype.kind == "i":
        return listed.astype(np.int64)
    return np.array([_integer(index) for index in listed], np.int64)


def _consecutive(batches: Iterable[Integers]) -> Iterator[tuple[Integers, Integers]]:
    start = 0
    for indices in batches:
        yield np.arange(start, start + len(indices)), indices
        start += len(indices)


def _listed(part: Part) -> Integers:
    return np.arange(part.start, part.stop) if isinstance(part, range) else part


def _indices(order: EpochOrder, parts: list[Part], device: torch.device | str = "cpu") -> torch.Tensor:
    """What stands at all of these positions."""
    first, last = parts[0], parts[-1]
    if isinstance(first, range) and isinstance(last, range):
        return order.indices(first.start, last.stop, device)
    return order.at(np.concatenate([*map(_listed, parts)]), device)


def _together(parts: Iterator[Part], wanted: int) -> list[Part]:
    """The next of them, until they have that many positions."""
    some, count = list[Part](), 0
    for part in parts:
        some.append(part)
        count += len(part)
        if count >= wanted:
            break
    return some


def _arrived(parts: list[Part], host: torch.Tensor, copied: Any) -> Iterator[tuple[Integers, Integers]]:
    copied.synchronize()
    return zip(map(_listed, parts), (batch.numpy() for batch in host.split([*map(len, parts)])), strict=True)


def _integer(index: Any) -> int:
    """An index that a user's sampler gave: any kind of integer."""
    try:
        return operator.index(index)
    except TypeError as error:
        raise ArgumentTypeError(f"sampler must give integers, got {index!r} ({type(index).__name__})") from error
