"""A fork after use: in the child a loader begins anew, an iterator of the parent's is an error, and nothing hangs."""

import multiprocessing
import os
import signal
import sys
import threading
import traceback
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader as TorchDataLoader, Dataset

from gpuload import DataLoader, ImageFolder, TensorDataset, transforms as T
from gpuload.compilers import once
from gpuload.errors import WorkerError
from gpuload.libraries import host_library
from gpuload.loading.work import Gate
from tests.jobs import Fifo

pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork")

LIMIT = 30  # seconds after which a child counts as hung
ENGINES = ["pillow"] if host_library() is None else ["cpu", "pillow"]
BEGUN_ELSEWHERE = "begun in another process, .* Begin a new one here"


def in_child(call: Callable[[], object]) -> None:
    """Call it in a forked child; it fails the test if it fails or hangs."""
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            signal.alarm(LIMIT)
            call()
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0


class Numbers(Dataset[torch.Tensor]):
    def __len__(self) -> int:
        return 24

    def __getitem__(self, index: int) -> torch.Tensor:
        return torch.tensor([index])


def made(kind: str, photos: Path, workers: int, keeps: bool = False) -> "DataLoader[Any]":
    options: dict[str, Any] = {"batch_size": 4, "shuffle": True, "seed": 1, "device": "cpu"}
    options |= {"num_workers": workers, "persistent_workers": keeps}
    match kind:
        case "tensors":
            return DataLoader(TensorDataset(torch.arange(24)), **options)
        case "processes":
            return DataLoader(Numbers(), **options)
    transform = T.Compose([T.RandomResizedCrop(16), T.ToDtype(torch.float32, scale=True)])
    return DataLoader(ImageFolder(photos, transform=transform), engine=kind, **options)


def epoch(loader: "DataLoader[Any]", number: int = 0) -> list[float]:
    """A number of each batch of an epoch."""
    loader.set_epoch(number)
    return [float(batch[0].double().sum()) for batch in loader]


def is_refused(batches: Iterator[Any]) -> None:
    for _ in range(2):
        with pytest.raises(WorkerError, match=BEGUN_ELSEWHERE):
            next(batches)


ways = pytest.mark.parametrize(("workers", "keeps"), [(0, False), (2, False), (2, True)])


@ways
@pytest.mark.parametrize("kind", [*ENGINES, "tensors", "processes"])
def test_a_loader_begins_anew_in_a_child(photos: Path, kind: str, workers: int, keeps: bool) -> None:
    """Between epochs and in mid-epoch; the parent's goes on."""
    loader = made(kind, photos, workers, keeps)
    batches = epoch(loader)

    def anew() -> None:
        assert epoch(loader) == batches

    in_child(anew)
    loader.set_epoch(0)
    begun = iter(loader)
    assert float(next(begun)[0].double().sum()) == batches[0]
    in_child(anew)
    assert [float(batch[0].double().sum()) for batch in begun] == batches[1:]


@pytest.mark.parametrize("keeps", [False, True])
@pytest.mark.parametrize("kind", [*ENGINES, "processes"])
def test_an_iterator_of_the_parents_is_refused_at_once(photos: Path, kind: str, keeps: bool) -> None:
    """torch's, in a child, takes batches away from its parent, which then waits for them without an end."""
    loader = made(kind, photos, 2, keeps)
    batches = iter(loader)
    next(batches)
    in_child(lambda: is_refused(batches))
    assert len(list(batches)) == 5


def test_what_a_child_drops_is_still_the_parents(photos: Path) -> None:
    for kind in (*ENGINES, "processes"):
        held = [iter(made(kind, photos, 2))]
        next(held[0])
        in_child(held.clear)
        assert len(list(held[0])) == 5


@pytest.mark.parametrize("keeps", [False, True])
def test_a_child_ends_as_any_program(run_python: Callable[..., Any], photos: Path, keeps: bool) -> None:
    """With all that runs at its exit; its parent's threads go on."""
    program = f"""
import os, sys, torch
from gpuload import DataLoader, ImageFolder, transforms as T
transform = T.Compose([T.Resize((8, 8)), T.ToDtype(torch.float32)])
loader = DataLoader(ImageFolder(sys.argv[1], transform=transform), 4, num_workers=2, persistent_workers={keeps},
                    device="cpu")
batches = iter(loader)
next(batches)
child = os.fork()
if child == 0:
    print(len(list(loader)), flush=True)
    sys.exit(0)
status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
print(status, len(list(batches)), len(list(loader)))
"""
    assert run_python(program, photos).stdout == "6\n0 5 6\n"


@pytest.mark.parametrize("kind", [*ENGINES, "tensors"])
def test_without_workers_an_iterator_goes_on_in_a_child_as_torchs(photos: Path, kind: str) -> None:
    loader = made(kind, photos, 0)
    batches = epoch(loader)
    loader.set_epoch(0)
    begun, theirs = iter(loader), iter(TorchDataLoader(Numbers(), 4))
    next(begun), next(theirs)

    def goes_on() -> None:
        assert [float(batch[0].double().sum()) for batch in begun] == batches[1:]
        assert len(list(theirs)) == 5

    in_child(goes_on)


def test_a_batch_that_another_thread_had_in_hand_is_refused(fifo: Fifo, photos: Path) -> None:
    """Without workers, too: that thread is not in the child."""

    class Stalling(ImageFolder):
        def targets_of(self, indices: Any) -> Any:
            fifo.read()
            return super().targets_of(indices)

    transform = T.Compose([T.Resize((8, 8)), T.ToDtype(torch.float32)])
    batches = iter(DataLoader(Stalling(photos, transform=transform), 4, engine="pillow", device="cpu"))
    consumer = threading.Thread(target=lambda: next(batches))
    consumer.start()
    assert fifo.entered.wait(LIMIT)
    in_child(lambda: is_refused(batches))
    fifo.let_go()
    consumer.join()


class Within(Dataset[float]):
    """Each sample is an epoch of a loader of gpuload's."""

    def __init__(self, loader: "DataLoader[Any]") -> None:
        self.loader = loader

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> float:
        return sum(epoch(self.loader, index))


@pytest.mark.parametrize("kind", ENGINES)
def test_workers_of_torchs_use_a_loader_that_was_used_before(photos: Path, kind: str) -> None:
    loader = made(kind, photos, 2, keeps=True)
    expected = [sum(epoch(loader, number)) for number in range(4)]
    context = multiprocessing.get_context("fork")
    found = TorchDataLoader(Within(loader), None, num_workers=2, multiprocessing_context=context, timeout=LIMIT)
    assert list(found) == expected


def test_forks_while_workers_are_busy(photos: Path) -> None:
    """Whatever they held at that moment, a lock or a native library's memory, a child does not wait for."""
    loader = made(ENGINES[0], photos, 3, keeps=True)
    batches, is_over = epoch(loader), threading.Event()

    def use() -> None:
        while not is_over.is_set():
            epoch(loader, 1)

    def anew() -> None:
        assert epoch(loader) == batches

    user = threading.Thread(target=use)
    user.start()
    try:
        for _ in range(10):
            in_child(anew)
    finally:
        is_over.set()
        user.join()


# ---- locks ----


def test_what_is_made_once_is_made_in_a_child_while_the_parent_makes_it() -> None:
    begun, go_on = threading.Event(), threading.Event()

    @once
    def make() -> int:
        begun.set()
        assert os.getpid() != parent or go_on.wait(LIMIT)
        return 7

    parent = os.getpid()
    maker = threading.Thread(target=make)
    maker.start()
    assert begun.wait(LIMIT)

    def makes() -> None:
        assert make() == 7

    in_child(makes)
    go_on.set()
    maker.join()


def test_a_gate_opens_in_a_child_while_a_thread_of_the_parents_comes_to_it() -> None:
    """Which a lock would have held at that moment."""
    came, go_on, gate = threading.Event(), threading.Event(), Gate()

    class Stalling(deque[Callable[[], None]]):
        def append(self, call: Callable[[], None]) -> None:
            came.set()
            assert go_on.wait(LIMIT)
            super().append(call)

    gate._waiting = Stalling()
    comer = threading.Thread(target=gate.when_open, args=[came.clear])
    comer.start()
    assert came.wait(LIMIT)
    in_child(gate.open)
    gate.open()
    go_on.set()
    comer.join()
    assert not came.is_set()
