"""Any other dataset: torch's workers with the user's arguments, gpuload's order, nothing left behind."""

import multiprocessing
import time
import weakref
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader as TorchDataLoader, Dataset, IterableDataset

from gpuload import DataLoader, RandomSampler
from gpuload.device import CudaDevice, HostDevice, device_of
from gpuload.loading.order import Order
from gpuload.loading.workers import WorkerPath
from gpuload.stage import CALLER, Stage
from tests.simulation.runtime import simulated

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork"),
    pytest.mark.filterwarnings("ignore:.*no accelerator is found"),
]


class Squares(Dataset[int]):
    def __len__(self) -> int:
        return 12

    def __getitem__(self, index: int) -> int:
        return index * index


class Stream(IterableDataset[int]):
    def __iter__(self) -> Iterator[int]:
        return iter(range(5))


class Played:
    """A path with a loader of torch's."""

    def __init__(self, device: Any = None, dataset: Any = None, **options: Any) -> None:
        loader: TorchDataLoader[Any] = TorchDataLoader(Squares() if dataset is None else dataset, **options)
        device = device or HostDevice()
        order = Order(loader.sampler, loader.batch_sampler, device)
        self.loader, self.path = loader, WorkerPath(order, loader.collate_fn, device)

    def batches(self) -> Iterator[Any]:
        return self.path.batches(self.loader)[0]

    def stages(self) -> Iterator[Stage]:
        return self.path.stages(self.loader, "nobody knows it")


def test_torchs_iterator_comes_with_its_batches(device: torch.device) -> None:
    path = Played(device_of(device), batch_size=5)
    batches, theirs = path.path.batches(path.loader)
    assert type(theirs) is type(iter(TorchDataLoader(Squares())))
    next(batches)
    assert theirs._num_yielded >= 1


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_are_torchs(workers: int, device: torch.device) -> None:
    path = Played(device_of(device), batch_size=5, num_workers=workers)
    batches = list(path.batches())
    assert [batch.tolist() for batch in batches] == [batch.tolist() for batch in TorchDataLoader(Squares(), 5)]
    assert all(batch.device.type == device.type for batch in batches)


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("persistent", [False, True])
def test_epochs_are_the_samplers(workers: int, persistent: bool) -> None:
    sampler = RandomSampler(range(12), seed=4)
    path = Played(sampler=sampler, num_workers=workers, persistent_workers=persistent and workers > 0)
    for epoch in (0, 7, 1):
        sampler.set_epoch(epoch)
        found = torch.cat(list(path.batches())).tolist()
        assert found == [index**2 for index in sampler.order(epoch).indices(0, 12).tolist()]


def test_arguments_reach_torch() -> None:
    called: list[int] = []

    def collate(samples: list[int]) -> list[int]:
        return [-sample for sample in samples]

    path = Played(batch_size=5, drop_last=True, collate_fn=collate, worker_init_fn=called.append)
    assert list(path.batches()) == [[0, -1, -4, -9, -16], [-25, -36, -49, -64, -81]]


def test_a_worker_init_fn_that_raises() -> None:
    def fail(worker: int) -> None:
        raise ValueError("no database")

    loader = DataLoader(Squares(), 2, num_workers=1, worker_init_fn=fail, device="cpu")
    with pytest.raises(ValueError, match="no database"):
        next(iter(loader))


# ---- words ----


def test_words() -> None:
    order, sample, collate, deliver = Played(batch_size=5, sampler=RandomSampler(range(12), seed=4)).stages()
    key = "RandomSampler: 12 samples an epoch, from seed 4 and the epoch alone"
    assert order == ("order", CALLER, (key, "batches of 5"))
    assert sample == ("sample", CALLER, ("Squares: ordinary code", "nobody knows it"))
    assert collate == ("collate", CALLER, ("torch's default_collate",))
    assert deliver == ("deliver", "CPU", ("in order", "made when asked for"))


def test_words_of_workers_and_a_device() -> None:
    with simulated():
        stages = {stage.name: stage for stage in Played(CudaDevice(0), num_workers=2, prefetch_factor=4).stages()}
    assert stages["order"].where == CALLER  # torch iterates the sampler
    assert stages["sample"].where == stages["collate"].where == "CPU, 2 worker processes"
    assert stages["stage"].where == "CPU -> GPU cuda:0"
    assert stages["deliver"] == ("deliver", "GPU cuda:0", ("in order", "8 batches prepared ahead"))


def test_an_iterable_dataset_has_its_own_order() -> None:
    path = Played(dataset=Stream(), batch_size=2)
    assert [batch.tolist() for batch in path.batches()] == [[0, 1], [2, 3], [4]]
    assert next(path.stages()).facts == ("as Stream yields",)


# ---- the device ----


@pytest.mark.parametrize("workers", [0, 1])
def test_torchs_pinning_thread_finds_its_gpu(workers: int) -> None:
    """It pins for the GPU that is current where torch's iterator is made, and would make a context on another."""
    with simulated() as runtime:
        found = [int(batch) for batch in Played(CudaDevice(1), num_workers=workers).batches()]
    assert found == [index**2 for index in range(12)]
    assert runtime.pinned.made > 0
    assert runtime.gpu.contexts == {1}
    assert runtime.gpu.problems == []


@pytest.mark.cuda
@pytest.mark.parametrize("workers", [0, 2])
def test_batches_come_from_pinned_memory(workers: int) -> None:
    path = Played(device_of("cuda"), batch_size=4, num_workers=workers)
    path.loader.pin_memory = True
    assert all(batch.is_pinned() for batch in path.loader)


# ---- nothing is left behind ----


@pytest.mark.usefixtures("no_collector")
@pytest.mark.parametrize("persistent", [False, True])
@pytest.mark.parametrize("ended", [False, True])
def test_a_dropped_loader_leaves_no_process(persistent: bool, ended: bool) -> None:
    loader = DataLoader(Squares(), 2, num_workers=2, persistent_workers=persistent, device="cpu")
    gone = weakref.ref(loader), weakref.ref(loader.path)
    batches = iter(loader)
    next(batches)
    processes = multiprocessing.active_children()
    assert len(processes) >= 2
    if ended:
        assert len(list(batches)) == 5
    del loader, batches
    assert [one() for one in gone] == [None, None]
    deadline = time.monotonic() + 5
    while any(process.is_alive() for process in processes) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not any(process.is_alive() for process in processes)


@pytest.mark.usefixtures("no_collector")
def test_a_path_dropped_with_a_batch_ahead_is_freed_at_once() -> None:
    with simulated():
        path = Played(CudaDevice(0))
        batches, gone = path.batches(), (weakref.ref(path), weakref.ref(path.loader))
        next(batches)
        del path, batches
        assert [one() for one in gone] == [None, None]
