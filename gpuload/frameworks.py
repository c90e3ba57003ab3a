"""Frameworks that make a loader of their own of the one that they are given, and how that stays gpuload's.

Lightning calls the loader's own class again, with another sampler: nothing is to be done for it. Accelerate makes a
loader of torch's class, to read the batches that are its process's, and puts it into one of its own adapters. Before,
it asks the loader that it was given whether it is prepared. From then on, the adapters get a loader like that one.
"""

import logging
import sys
from copy import copy
from functools import cache, wraps
from operator import index
from typing import Any, TypeVar
from weakref import WeakValueDictionary

from torch.utils.data import BatchSampler, DataLoader as TorchDataLoader, IterableDataset

__all__ = ["Kept", "Sample", "Turns", "of_positions", "part_of", "size_of_all", "skipped", "whole"]

logger = logging.getLogger("gpuload")

ACCELERATE = "accelerate.data_loader"

Sample = TypeVar("Sample", covariant=True)

_by_batches = WeakValueDictionary[int, "Kept[Any]"]()  # loaders, by the address of their batch sampler


class Kept(TorchDataLoader[Sample]):
    """A loader that Accelerate keeps: ``prepare`` and ``skip_first_batches`` read their batches with one like it.

    Attributes:
        turns: of the one that an adapter of Accelerate's holds.
    """

    turns: "Turns | None" = None

    def _where(self) -> Any:
        """How far it has come."""
        raise NotImplementedError

    def state_dict(self) -> dict[str, Any]:
        """Where it is, for `load_state_dict`."""
        raise NotImplementedError

    @property
    def _is_accelerate_prepared(self) -> bool:
        """What Accelerate asks of a loader before it makes one of its own: it is to make one."""
        if ACCELERATE not in sys.modules:  # somebody else looks at all that a loader has
            return False
        if not _follow_accelerate():
            logger.warning("Accelerate makes a loader of torch's, and gpuload is left out: install accelerate>=1.10")
        elif self.batch_sampler is None:
            logger.warning("Accelerate leaves out gpuload, and the sampler, where batch_size is None: give it a number")
        elif isinstance(self.dataset, IterableDataset):
            logger.warning(
                "Accelerate reads an IterableDataset with torch's own loader: for gpuload's asynchronous copies, "
                "pass pin_memory=True here and DataLoaderConfiguration(non_blocking=True) there"
            )
        else:
            _remember(self)
        return False


class Turns:
    """The epochs of a loader in an adapter: Accelerate counts those that came to their end, and tells the number.

    One that was broken off would come again; it is passed over, as torch's ``RandomSampler`` draws another order.
    """

    def __init__(self) -> None:
        self._told: int | None = None
        self._broken_off = 0

    def next(self, told: int) -> int:
        """The epoch to play where Accelerate tells this one."""
        if told == self._told:
            self._broken_off += 1
        elif self._told is None or told != self._told + 1:  # the user has chosen it
            self._broken_off = 0
        self._told = told
        return told + self._broken_off


def _remember(loader: Kept[Any]) -> None:
    _by_batches[id(loader.batch_sampler)] = loader


@cache
def _follow_accelerate() -> bool:
    """Have Accelerate's adapters read with gpuload where the batches are a gpuload loader's; False: it has none.

    Their state is then the loader's, too; in the place of torchdata's, where that was asked for.
    """
    adapter = getattr(sys.modules[ACCELERATE], "DataLoaderAdapter", None)
    if adapter is None:
        return False
    init, update = adapter.__init__, adapter._update_state_dict
    state, load = adapter.state_dict, adapter.load_state_dict

    @wraps(init)
    def keeping(self: Any, *args: Any, **kwargs: Any) -> None:
        loader = _origin(kwargs.get("batch_sampler"))
        if loader is None:
            init(self, *args, **kwargs)
            return
        is_stateful = kwargs.pop("use_stateful_dataloader", False)
        init(self, *args, **kwargs)
        self.base_dataloader, self.use_stateful_dataloader = _kept(loader, self.base_dataloader), is_stateful
        self.dl_state_dict = {}

    @wraps(update)
    def updating(self: Any) -> None:
        if not isinstance(self.base_dataloader, Kept):
            update(self)
            return
        at = self.base_dataloader._where()
        self.dl_state_dict = {"epoch": at.epoch, "batch": at.batch - _ahead(self)}  # the rest, when it is asked for

    @wraps(state)
    def stating(self: Any) -> Any:
        if not isinstance(self.base_dataloader, Kept):
            return state(self)
        return {**self.base_dataloader.state_dict(), **self.dl_state_dict}

    @wraps(load)
    def loading(self: Any, state_dict: Any) -> None:
        load(self, state_dict)
        if isinstance(self.base_dataloader, Kept):
            self.base_dataloader.turns = Turns()
            self.iteration = state_dict["epoch"]  # it tells the sampler
            self.dl_state_dict = {}

    adapter.__init__, adapter._update_state_dict = keeping, updating
    adapter.state_dict, adapter.load_state_dict = stating, loading
    return True


def _ahead(adapter: Any) -> int:
    """Batches that were taken of a round for which Accelerate takes one for each process, and sends them out."""
    is_round = type(adapter).__name__ == "DataLoaderDispatcher" and not adapter.split_batches
    return 0 if adapter.end_of_dataloader or not is_round else adapter.state.num_processes - 1


def _kept(loader: Any, made: TorchDataLoader[Any]) -> TorchDataLoader[Any]:
    """A gpuload loader like the first for what Accelerate has made of it."""
    kept = object.__new__(type(loader))
    path = loader.path if made.batch_sampler is loader.batch_sampler else None
    kept.__setstate__({**loader.__getstate__(), **vars(made), "path": path, "turns": Turns()})
    _remember(kept)
    return kept  # type: ignore[no-any-return]


def _origin(batch_sampler: Any) -> Any:
    """The loader whose batches they are, or a part of them."""
    loader = _by_batches.get(id(batch_sampler))
    if loader is not None and loader.batch_sampler is batch_sampler:
        return loader
    return _origin(batch_sampler.batch_sampler) if _is_part(batch_sampler) else None


# ---- Accelerate's batch samplers: a part of the batches of another one ----


def whole(batch_sampler: Any) -> Any:
    """The batch sampler that they are a part of: of all processes' batches, from the first one; else the same."""
    return whole(batch_sampler.batch_sampler) if _is_part(batch_sampler) else batch_sampler


def size_of_all(batch_sampler: Any) -> int | None:
    """Samples of a batch, of all processes together; None: batches are not made of a number of them."""
    if not _is_part(batch_sampler):
        found: Any = getattr(batch_sampler, "global_batch_size", getattr(batch_sampler, "batch_size", None))
        try:
            return index(found)
        except TypeError:  # of the user's own: a list of sizes, say
            return None
    size = size_of_all(batch_sampler.batch_sampler)
    is_share = size is not None and not getattr(batch_sampler, "split_batches", True)  # each has whole batches
    return size * batch_sampler.num_processes if is_share else size


def skipped(batch_sampler: Any) -> int:
    """Batches of an epoch that are left out, from the first one on."""
    if not _is_part(batch_sampler):
        return 0
    return getattr(batch_sampler, "skip_batches", 0) + skipped(batch_sampler.batch_sampler)


def part_of(batch_sampler: Any, sampler: Any) -> tuple[int, int]:
    """(rank, ranks in all) that the batches of a loader are for, whoever deals them out; else (0, 1)."""
    names = ("process_index", "num_processes"), ("rank", "world_size"), ("rank", "num_replicas")
    found = sampler if batch_sampler is None else batch_sampler
    while found is not None:
        known = getattr(found, "shard", found)
        for rank, ranks in names:
            if isinstance(getattr(known, rank, None), int) and isinstance(getattr(known, ranks, None), int):
                return getattr(known, rank), getattr(known, ranks)
        found = getattr(found, "batch_sampler", getattr(found, "sampler", None))
    return 0, 1


def of_positions(batch_sampler: Any, count: int) -> Any:
    """The same batches, of positions instead of the indices that a sampler has there.

    Args:
        batch_sampler: torch's own, gpuload's with ``positions``, or a part of that.
        count: indices of an epoch.
    """
    if hasattr(batch_sampler, "positions"):
        return batch_sampler.positions(count)
    if not _is_part(batch_sampler):
        return BatchSampler(range(count), batch_sampler.batch_size, batch_sampler.drop_last)
    same = copy(batch_sampler)
    same.batch_sampler = of_positions(batch_sampler.batch_sampler, count)
    return same


def _is_part(batch_sampler: Any) -> bool:
    known = type(batch_sampler)
    return known.__module__ == ACCELERATE and known.__name__ in ("BatchSamplerShard", "SkipBatchSampler")
