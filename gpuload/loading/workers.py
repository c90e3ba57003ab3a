"""Any other dataset: torch's workers and collate, then an asynchronous copy to the device."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Any

from torch.utils.data import DataLoader as TorchDataLoader, IterableDataset
from torch.utils.data.dataloader import _MultiProcessingDataLoaderIter

from gpuload.collate import Collate
from gpuload.device import Device
from gpuload.loading.finish import parted
from gpuload.loading.order import Order
from gpuload.loading.processes import WorkerBatches, forget_ended
from gpuload.loading.transfer import Moving, sending
from gpuload.stage import CALLER, Stage, name_of, threads_of

__all__ = ["WorkerPath"]


class WorkerPath:
    """A dataset of whose samples gpuload knows nothing: the loader does what torch's class does.

    Args:
        order: which samples are in a batch.
        collate_fn: as of the loader, by now.
        device: where batches arrive.

    Raises:
        MissingError: what ``collate_fn`` launches cannot be compiled.
    """

    def __init__(self, order: Order, collate_fn: Any, device: Device) -> None:
        self.order, self._device = order, device
        self._side = device.stream()
        self._prepare(collate_fn)

    def _prepare(self, collate_fn: Any) -> None:
        if isinstance(collate_fn, Collate) and self._device.launches:
            collate_fn.prepare(self._device)

    def batches(self, loader: TorchDataLoader[Any], first: int = 0, reach: int = 0) -> tuple[Iterator[Any], Any]:
        """The batches of an epoch from one on, and torch's iterator, which reads them.

        Args:
            loader: whose.
            first: the one that comes first.
            reach: samples that are to come in front of each, where they can be told.
        """
        reach = self.order.reach(reach)
        if not self._device.launches:
            theirs = _begun(loader, self.order, first, reach)
            return _from(theirs, loader, first), theirs
        collate = loader.collate_fn if isinstance(loader.collate_fn, Collate) else None
        self._prepare(collate)
        with self._device.on(None), _as_is_sent(loader):  # torch's pinning thread makes a context on the current GPU
            theirs = _begun(loader, self.order, first, reach)
        moving = Moving(_from(theirs, loader, first), self._device, self._side)
        return moving if collate is None else map(collate.finish, moving), theirs

    def stages(self, loader: TorchDataLoader[Any], reason: str) -> Iterator[Stage]:
        """What is done, for explain; reason: why the samples are torch's workers' to read."""
        target = self._device.describe()
        workers = threads_of(loader.num_workers, "worker process", "worker processes")
        if isinstance(loader.dataset, IterableDataset):
            yield Stage("order", CALLER, (f"as {name_of(loader.dataset)} yields",))
        else:
            yield self.order.describe(anywhere=False)
        yield Stage("sample", workers, (f"{_dataset(loader.dataset)}: ordinary code", reason))
        yield Stage("collate", workers, (name_of(loader.collate_fn),))
        if self._device.launches:
            yield sending(target)
        ahead = (loader.prefetch_factor or 0) * loader.num_workers
        yield Stage(
            "deliver", target, ("in order", f"{ahead} batches prepared ahead" if ahead else "made when asked for")
        )


def _begun(loader: TorchDataLoader[Any], order: Order, first: int, reach: int) -> Iterator[Any]:
    """torch's own iterator, of the batches from one on; of an iterable dataset, from the first."""
    forget_ended(loader)
    if loader._iterator is not None and getattr(loader._iterator._collate_fn, "reach", 0) != reach:
        loader._iterator = None  # of persistent workers, which know no other collate function
    if not (first or reach) or isinstance(loader.dataset, IterableDataset):
        return TorchDataLoader.__iter__(loader)
    name = "sampler" if loader.batch_sampler is None else "batch_sampler"
    attributes, whole, collate_fn = vars(loader), getattr(loader, name), loader.collate_fn
    rest = attributes[name] = _Rest(whole, order, first, reach)
    loader.collate_fn = _Parted(collate_fn, reach) if reach else collate_fn
    if loader._iterator is not None:
        loader._iterator._index_sampler = rest
    try:
        return TorchDataLoader.__iter__(loader)
    finally:
        attributes[name], loader.collate_fn = whole, collate_fn
        if loader._iterator is not None:
            loader._iterator._index_sampler = whole


class _Parted:
    """A collate function for samples of which some in front are another part's.

    Args:
        collate_fn: for these, and for the others.
        reach: how many they are.
    """

    def __init__(self, collate_fn: Callable[[Any], Any], reach: int) -> None:
        self._collate_fn, self.reach = collate_fn, reach

    def __call__(self, samples: Any) -> Any:
        return parted(samples, self.reach, self._collate_fn)


def _from(theirs: Iterator[Any], loader: TorchDataLoader[Any], first: int) -> Iterator[Any]:
    """The batches from one on: nothing but an iterable dataset itself knows how it goes on there."""
    passed = first if isinstance(loader.dataset, IterableDataset) else 0
    batches = WorkerBatches(theirs, first - passed) if isinstance(theirs, _MultiProcessingDataLoaderIter) else theirs
    return islice(batches, passed, None) if passed else batches


class _Rest:
    """What a sampler or batch sampler gives from one on, as long as all of it.

    It begins with the first ``next``, as theirs: torch's iterators with workers are made twice.
    """

    def __init__(self, whole: Any, order: Order, first: int, reach: int) -> None:
        self._whole, self.order, self._first, self._reach = whole, order, first, reach

    def __len__(self) -> int:
        return len(self._whole)

    def __iter__(self) -> Iterator[Any]:
        sampler = self.order.sampler
        if sampler is None:
            yield from islice(self._whole, self._first, None)
            return
        epoch, _ = sampler.begin()
        for _, indices in self.order.host_batches(epoch, self._first, self._reach):  # of no more than is wanted
            yield indices.item() if self.order.single else indices.tolist()


@contextmanager
def _as_is_sent(loader: TorchDataLoader[Any]) -> Iterator[None]:
    """While torch's iterator is made, the loader asks for what a copy to the device wants."""
    pin_memory, collate_fn = loader.pin_memory, loader.collate_fn
    loader.pin_memory = True  # without it the copy would wait
    if isinstance(collate_fn, Collate):
        loader.collate_fn = collate_fn.pack
    try:
        yield
    finally:
        loader.pin_memory, loader.collate_fn = pin_memory, collate_fn


def _dataset(dataset: Any) -> str:
    """A dataset in words, with its transform where it has one."""
    transform = getattr(dataset, "transform", None)
    return name_of(dataset) if transform is None else f"{name_of(dataset)} with the transform {name_of(transform)}"
