"""What goes wrong around a loader ends in a clear error or goes on, never in a hang: the table of docs/faults.md."""

import ctypes
import io
import logging
import os
import shutil
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader as TorchDataLoader, Dataset

from gpuload import DataLoader, ImageFolder, SampleError, transforms as T
from gpuload.errors import TimedOutError, WorkerError
from gpuload.libraries import host_library
from gpuload.loading import prefetch
from gpuload.loading.prefetch import Pipeline
from gpuload.loading.threads import Threads
from tests.jobs import WAIT, FakeJob, Fifo, alive, in_time

pytestmark = [
    pytest.mark.usefixtures("none_left", "short_grace"),
    pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork"),
]

ENGINES = ["pillow"] if host_library() is None else ["cpu", "pillow"]
TRAIN = T.Compose([T.RandomResizedCrop(16), T.ToDtype(torch.float32, scale=True)])


@pytest.fixture(autouse=True)
def limit() -> Iterator[None]:
    """A wait without an end is a failure."""

    def stop(*_: object) -> None:
        raise TimeoutError("it hangs")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(30)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture
def folder(tmp_path: Path, photos: Path) -> Path:
    """A class folder of twelve photos, to be written to."""
    shutil.copytree(photos / "cats", tmp_path / "only")
    return tmp_path / "only"


def made(folder: Path, transform: Any = TRAIN, **options: Any) -> "DataLoader[Any]":
    options = {"batch_size": 2, "device": "cpu", **options}
    return DataLoader(ImageFolder(folder.parent, transform=transform), **options)


def outcomes(batches: Any) -> list[Any]:
    """What each ``next`` comes to: the number of images, or an error."""
    collected = list[Any]()
    while True:
        try:
            collected.append(len(next(batches)[0]))
        except StopIteration:
            return collected
        except Exception as error:
            collected.append(error)


# ---- the watchdog: which batch, which sample, doing what, on which thread ----


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("known", [False, True])
def test_a_read_that_stalls_is_named(folder: Path, engine: str, known: bool) -> None:
    """In measuring, or in decoding where the sizes are known."""
    loader = made(folder, engine=engine, num_workers=2, timeout=0.3)
    if known:
        list(loader)
    path = folder / "05.jpg"
    path.unlink()
    os.mkfifo(path)
    writer = os.open(path, os.O_RDWR)  # whoever opens it waits for what is written
    batches = iter(loader)
    assert [len(next(batches)[0]) for _ in range(2)] == [2, 2]
    doing = "reading, decoding and rendering" if known else "reading the sizes of"
    text = rf"batch 2 is {doing} 2 images: 1 is not done, the first is sample 5 \({path}\); gpuload-worker-\d in \w+ \("
    with pytest.raises(TimedOutError, match=r"^DataLoader timed out after 0\.3 seconds: " + text):
        next(batches)
    del batches
    os.write(writer, bytes(1000))
    os.close(writer)
    assert in_time(lambda: alive() == [])


class Stalls:
    """Ordinary code that reads a FIFO at its second call."""

    def __init__(self, fifo: Fifo) -> None:
        self.fifo, self.calls = fifo, 0

    def __call__(self, given: Any) -> Any:
        self.calls += 1
        if self.calls == 2:
            self.fifo.read()
        return given


@pytest.mark.parametrize("engine", ENGINES)
def test_code_of_the_users_that_stalls_is_named(folder: Path, fifo: Fifo, engine: str) -> None:
    transform = T.Compose([Stalls(fifo), T.Resize((8, 8)), T.ToDtype(torch.float32)])
    batches = iter(made(folder, transform, engine=engine, num_workers=1, timeout=0.3))
    text = (
        r"batch 0 is calling .*Stalls.* on 2 images: 1 is not done, the first is sample 1 \(.*01\.jpg\); .* in read \("
    )
    with pytest.raises(TimedOutError, match=text):
        next(batches)


def test_targets_that_stall_are_named(folder: Path, fifo: Fifo) -> None:
    dataset = ImageFolder(folder.parent, transform=TRAIN, target_transform=Stalls(fifo))
    batches = iter(DataLoader(dataset, 2, num_workers=1, timeout=0.3, device="cpu"))
    with pytest.raises(TimedOutError, match=r"batch 0 is preparing the targets of 2 images; .* in read \("):
        next(batches)


def test_a_batch_that_no_worker_has_begun_is_named(fifo: Fifo) -> None:
    threads = Threads(1)
    threads.tasks.put(lambda: void(fifo.read()))
    with pytest.raises(TimedOutError, match=r"batch 0 has not begun; gpuload-worker-0 in read \("):
        next(Pipeline(map(FakeJob, range(2)), threads, 2, timeout=0.1))


def test_worker_init_fn_that_stalls_is_named(folder: Path, fifo: Fifo) -> None:
    """It is timed, as with torch's processes."""
    batches = iter(made(folder, num_workers=2, timeout=0.3, worker_init_fn=lambda number: void(fifo.read())))
    text = r"^DataLoader timed out after 0\.3 seconds: worker_init_fn is still running; gpuload-worker-0 in read \("
    with pytest.raises(TimedOutError, match=text):
        next(batches)


def test_a_long_wait_says_in_the_log_what_it_waits_for(
    fifo: Fifo, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Without a timeout, too; seldom, and less and less so."""
    monkeypatch.setattr(prefetch, "LOOK", 0.01)
    monkeypatch.setattr(prefetch, "PATIENCE", 0.02)

    def run(job: int, task: int) -> None:
        fifo.read()

    pipe, delivered = Pipeline(map(partial_job(run), range(1)), Threads(1), 1), list[int]()
    consumer = threading.Thread(target=lambda: delivered.extend(pipe), daemon=True)
    with caplog.at_level(logging.WARNING, "gpuload"):
        consumer.start()
        assert in_time(lambda: len(caplog.records) >= 3)
        fifo.let_go()
        consumer.join(WAIT)
    assert delivered == [0]
    texts = [record.getMessage() for record in caplog.records]
    assert [text.split(":")[0] for text in texts[:3]] == [f"waiting for {n} seconds" for n in ("0.02", "0.04", "0.08")]
    assert all("batch 0 is running task 0; gpuload-worker-0 in read (" in text for text in texts)


def partial_job(run: Callable[[int, int], None]) -> Callable[[int], FakeJob]:
    return lambda number: FakeJob(number, 1, run)


# ---- workers that end ----


def test_a_thread_that_something_ends_is_missed() -> None:
    """By an exception that is set from outside, and comes as soon as it has a task; the task is lost with it."""
    threads = Threads(1)
    assert in_time(lambda: threads.busy() == "")
    (thread,) = alive()
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident or 0), ctypes.py_object(SystemExit))
    pipe = Pipeline(map(FakeJob, range(3)), threads, 2)
    with pytest.raises(
        WorkerError, match=r"^DataLoader worker \(gpuload-worker-0\) exited unexpectedly: batch 0 has not"
    ):
        next(pipe)
    assert list(pipe) == []


def test_threads_that_are_kept_are_made_again_where_one_has_ended(folder: Path) -> None:
    loader = made(folder, num_workers=2, persistent_workers=True)
    assert len(list(loader)) == 6
    path: Any = loader.path
    path._kept[0].tasks.put(None)
    assert in_time(lambda: len(alive()) == 1)
    assert len(list(loader)) == 6
    assert len(alive()) == 2


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt, MemoryError, RecursionError])
@pytest.mark.parametrize("workers", [0, 2])
def test_what_code_of_the_users_raises_comes_to_the_consumer(
    folder: Path, error: type[BaseException], workers: int
) -> None:
    def fails(image: Any) -> Any:
        raise error("from a transform")

    loader = made(folder, T.Compose([T.Resize((8, 8)), fails]), num_workers=workers)
    with pytest.raises(error, match="from a transform"):
        next(iter(loader))
    loader.dataset.transform = TRAIN  # type: ignore[attr-defined]
    assert len(list(loader)) == 6


class Deadly(Dataset[torch.Tensor]):
    """Ends the process that asks for a sample, if that is not its maker's."""

    def __init__(self, at: int, how: str = "") -> None:
        self.at, self.how, self.process = at, how, os.getpid()

    def __len__(self) -> int:
        return 12

    def __getitem__(self, index: int) -> torch.Tensor:
        if index == self.at and os.getpid() != self.process:
            match self.how:
                case "SIGKILL":
                    os.kill(os.getpid(), signal.SIGKILL)
                case "_exit":
                    os._exit(3)
        return torch.tensor([index])


@pytest.mark.parametrize("keeps", [False, True])
@pytest.mark.parametrize("how", ["SIGKILL", "_exit"])
def test_a_worker_process_that_dies_is_named(how: str, keeps: bool) -> None:
    """torch's iterator then waits without an end for whatever is asked for next."""
    dataset = Deadly(7, how)
    loader = DataLoader(dataset, 2, num_workers=2, persistent_workers=keeps, device="cpu")
    found = outcomes(iter(loader))
    errors = [error for error in found if isinstance(error, Exception)]
    assert errors and all(isinstance(error, RuntimeError) for error in errors)
    assert str(errors[-1]).startswith("DataLoader worker (pid")
    assert isinstance(errors[-1], WorkerError)
    dataset.at = -1
    assert len(list(loader)) == 6


def test_torchs_timeout_says_which_worker_owes_which_batch(fifo: Fifo) -> None:
    class Slow(Deadly):
        def __getitem__(self, index: int) -> torch.Tensor:
            if index == self.at:
                fifo.read()
            return super().__getitem__(index)

    batches = iter(DataLoader(Slow(3), 2, num_workers=1, timeout=0.3, device="cpu"))
    assert next(batches).flatten().tolist() == [0, 1]
    text = r"^DataLoader timed out after 0\.3 seconds: batch 1 of worker 0, process \d+, has not come$"
    with pytest.raises(TimedOutError, match=text) as caught:
        next(batches)
    assert isinstance(caught.value.__cause__, RuntimeError)
    fifo.let_go()
    assert next(batches).flatten().tolist() == [2, 3]  # it may still come, as torch's


# ---- files that vanish or change in mid-epoch ----


def encoded(height: int, width: int, form: str) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.full((height, width, 3), 90, np.uint8)).save(file, form)
    return file.getvalue()


def replaced(path: Path, by: Callable[[Path], object]) -> None:
    path.unlink()
    by(path)


FAULTS: dict[str, Callable[[Path], object]] = {
    "gone": Path.unlink,
    "a folder": lambda path: replaced(path, Path.mkdir),
    "a circle of links": lambda path: replaced(path, lambda path: path.symlink_to(path)),
    "a link to nothing": lambda path: replaced(path, lambda path: path.symlink_to("/nowhere/at all")),
    "torn": lambda path: os.truncate(path, path.stat().st_size // 2),
    "torn in its header": lambda path: os.truncate(path, 10),
    "empty": lambda path: os.truncate(path, 0),
    "noise": lambda path: path.write_bytes(b"no image at all" * 100),
}
FINE: dict[str, Callable[[Path], object]] = {
    "longer": lambda path: path.write_bytes(path.read_bytes() + bytes(5000)),
    "of another size": lambda path: path.write_bytes(encoded(31, 50, "JPEG")),
    "of another format": lambda path: path.write_bytes(encoded(60, 80, "PNG")),
    "of another size and format": lambda path: path.write_bytes(encoded(31, 50, "PNG")),
}


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("known", [False, True])
@pytest.mark.parametrize("fault", [*FAULTS, *FINE])
def test_a_file_that_changes_in_mid_epoch(folder: Path, engine: str, workers: int, known: bool, fault: str) -> None:
    """Before its header is read or, where its size is known, between header and pixels."""
    loader = made(folder, engine=engine, num_workers=workers, timeout=WAIT if workers else 0)
    if known:
        list(loader)
    batches, path = iter(loader), folder / "11.jpg"
    next(batches)
    (FAULTS | FINE)[fault](path)
    for found in (outcomes(batches), outcomes(iter(loader))[1:]):
        assert found[:-1] == [2] * 4
        if fault in FINE:
            assert found[-1] == 2
        else:
            assert isinstance(found[-1], SampleError) and isinstance(found[-1], OSError)
            assert (found[-1].index, found[-1].path) == (11, str(path))


# ---- consumers that are slow, or go away ----


@pytest.mark.parametrize("keeps", [False, True])
def test_many_abandoned_iterators(folder: Path, keeps: bool) -> None:
    """Dropped in mid-epoch, or kept while others begin."""
    loader = made(folder, num_workers=2, persistent_workers=keeps)
    kept = [iter(loader) for _ in range(5)]
    for begun in kept:
        next(begun)
    for _ in range(10):
        next(iter(loader))
    assert [len(list(begun)) for begun in kept] == [5] * 5
    assert len(alive()) == (2 if keeps else 0)


@pytest.mark.parametrize("kind", ["images", "anything"])
@pytest.mark.parametrize("where", ["sampler", "batch_sampler", "collate_fn", "worker_init_fn"])
def test_an_error_of_code_of_the_users_has_its_type_and_text_and_the_loader_serves_on(
    folder: Path, kind: str, where: str
) -> None:
    is_broken = [True]

    def fail(*_: Any) -> Any:
        if is_broken[0]:
            raise LookupError(f"in {where}")

    class Numbers:
        def __iter__(self) -> Any:
            yield from (range(4) if where == "sampler" else [[0, 1], [2, 3]])
            fail()

        def __len__(self) -> int:
            return 4

    given: Any = {"sampler": Numbers(), "batch_sampler": Numbers()}.get(where, fail)
    options = {"num_workers": 2, where: given}
    if where == "collate_fn":
        options[where] = lambda samples: fail() or samples
    options |= {} if where == "batch_sampler" else {"batch_size": 2}
    dataset: Any = ImageFolder(folder.parent, transform=TRAIN) if kind == "images" else Deadly(-1)
    loaders = [DataLoader(dataset, device="cpu", **options)]
    loaders += [TorchDataLoader(dataset, **options)] if kind == "anything" else []
    for loader in loaders:
        with pytest.raises(LookupError, match=f"in {where}"):
            list(loader)
    is_broken[0] = False
    assert [len(list(loader)) for loader in loaders] == [len(loader) for loader in loaders] or where == "batch_sampler"


def void(_: object) -> None:
    """A statement of an expression."""
