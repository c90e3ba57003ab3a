"""The contract of torch's DataLoader, clause by clause, of torch's class and of gpuload's."""

import copy
import pickle
import random
import traceback
import weakref
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import (
    BatchSampler,
    DataLoader as TorchDataLoader,
    Dataset,
    IterableDataset,
    SequentialSampler,
    TensorDataset,
    default_collate,
)

from gpuload import DataLoader, ImageFolder, transforms as T

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork"),
    pytest.mark.filterwarnings("ignore:.*no accelerator is found"),
]

HALF_MADE = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # an iterator of torch's

KINDS = ["anything", "tensors", "images"]
TRAIN = T.Compose([T.RandomResizedCrop(8), T.ToDtype(torch.float32, scale=True)])
EXACT = T.Resize((8, 8))

Make = Callable[..., Any]


class Squares(Dataset[Any]):
    """Any map-style dataset: (square, label) of an index or, as columns, of a list of them."""

    def __init__(self, count: int = 24) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: Any) -> Any:
        indices = torch.as_tensor(index)
        if not bool(((indices >= 0) & (indices < self.count)).all()):
            raise IndexError(index)
        return indices**2, indices % 3


class Stream(IterableDataset[int]):
    def __iter__(self) -> Iterator[int]:
        return iter(range(7))


class Measured(Stream):
    def __init__(self, length: int) -> None:
        self.length = length

    def __len__(self) -> int:
        return self.length


@pytest.fixture(params=["torch", "gpuload"])
def make(request: pytest.FixtureRequest) -> Make:
    """A loader of torch's class, or of gpuload's, on the host."""
    return TorchDataLoader if request.param == "torch" else partial(DataLoader, device="cpu", seed=1)


@pytest.fixture(params=KINDS)
def dataset(request: pytest.FixtureRequest, photos: Path) -> Any:
    """24 samples of two tensors each."""
    return of_kind(request.param, photos)


def of_kind(kind: str, photos: Path, transform: Any = EXACT) -> Any:
    if kind == "images":
        return ImageFolder(photos, transform=transform)
    return Squares() if kind == "anything" else TensorDataset(torch.arange(48).view(24, 2), torch.arange(24))


def equal(one: Any, other: Any) -> bool:
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(equal, one, other))
    return bool(one == other)


def rows(batches: Any) -> list[list[float]]:
    """The features of each sample."""
    return [row.flatten().tolist() for features, _ in batches for row in features]


def count(batches: Any) -> int:
    return sum(len(labels) for _, labels in batches)


def fails(loader: Any, kind: type[Exception], text: str | None = None) -> None:
    """An epoch of the loader raises this."""
    with pytest.raises(kind, match=text) as caught:
        list(loader)
    traceback.clear_frames(caught.tb)  # they hold torch's iterator, whose workers end late where it is collected


# ---- what is refused ----

REFUSED: list[tuple[dict[str, Any], type[Exception]]] = [
    ({"num_workers": -1}, ValueError),
    ({"num_workers": None}, TypeError),
    ({"timeout": -1}, ValueError),
    ({"prefetch_factor": 2}, ValueError),
    ({"num_workers": 1, "prefetch_factor": -1}, ValueError),
    ({"persistent_workers": True}, ValueError),
    ({"batch_size": 0}, ValueError),
    ({"batch_size": -1}, ValueError),
    ({"batch_size": 2.0}, ValueError),
    ({"batch_size": "4"}, ValueError),
    ({"batch_size": True}, ValueError),
    ({"batch_size": np.int64(4)}, ValueError),
    ({"drop_last": "no"}, ValueError),
    ({"batch_size": None, "drop_last": True}, ValueError),
    ({"batch_sampler": [[0]], "batch_size": 2}, ValueError),
    ({"batch_sampler": [[0]], "batch_size": None}, ValueError),
    ({"batch_sampler": [[0]], "shuffle": True}, ValueError),
    ({"batch_sampler": [[0]], "sampler": [0]}, ValueError),
    ({"batch_sampler": [[0]], "drop_last": True}, ValueError),
    ({"sampler": [0], "shuffle": True}, ValueError),
    ({"multiprocessing_context": "fork"}, ValueError),
    ({"num_workers": 1, "multiprocessing_context": "thread"}, ValueError),
    ({"num_workers": 1, "multiprocessing_context": 3}, TypeError),
]


@pytest.mark.parametrize(("options", "kind"), REFUSED, ids=str)
def test_arguments_that_are_refused(make: Make, dataset: Any, options: dict[str, Any], kind: type[Exception]) -> None:
    with pytest.raises(kind):
        make(dataset, **options)


@pytest.mark.parametrize("options", [{"sampler": [0]}, {"shuffle": True}, {"batch_sampler": [[0]]}], ids=str)
def test_a_stream_has_its_own_order(make: Make, options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"IterableDataset"):
        make(Stream(), **options)
    assert torch.cat(list(make(Stream(), 3, shuffle=False))).tolist() == list(range(7))


@pytest.mark.parametrize(
    "name", ["batch_size", "batch_sampler", "sampler", "drop_last", "dataset", "persistent_workers"]
)
def test_attributes_that_stay(make: Make, dataset: Any, name: str) -> None:
    loader = make(dataset, 4)
    with pytest.raises(ValueError, match=f"{name} attribute should not be set after"):
        setattr(loader, name, getattr(loader, name))


@pytest.mark.parametrize("workers", [True, False, torch.tensor(1)], ids=str)
def test_a_number_is_any_that_python_counts_with(make: Make, dataset: Any, workers: Any) -> None:
    assert count(make(dataset, 9, num_workers=workers, prefetch_factor=True if workers else None)) == 24


def test_a_timeout_needs_workers(make: Make, dataset: Any) -> None:
    loader = make(dataset, timeout=5)
    with pytest.raises(AssertionError, match="timeout"):
        iter(loader)
    loader.timeout = 0
    next(iter(loader))


@HALF_MADE
def test_workers_that_are_to_prefetch_nothing(make: Make, dataset: Any) -> None:
    loader = make(dataset, num_workers=1, prefetch_factor=0)
    assert (len(loader), loader.prefetch_factor) == (24, 0)
    fails(loader, AssertionError, "prefetch_factor must be greater than 0")


@HALF_MADE
def test_workers_of_a_negative_number(make: Make, dataset: Any) -> None:
    loader = make(dataset)
    loader.num_workers = -1
    fails(loader, AssertionError, "num_workers must")


@pytest.mark.parametrize("cls", [TorchDataLoader, DataLoader])
def test_the_class_is_generic(cls: Any) -> None:
    assert cls[int].__origin__ is cls


def test_too_many_processes_are_warned_of_where_torch_says(make: Make) -> None:
    with pytest.warns(UserWarning, match="excessive worker creation") as warned:
        make(Squares(), num_workers=10_000)
    assert [warning.filename for warning in warned] == [torch.utils.data.dataloader.__file__]


def test_a_context_is_kept_where_there_are_workers(make: Make, dataset: Any) -> None:
    loader = make(dataset, num_workers=1, multiprocessing_context="fork")
    assert loader.multiprocessing_context.get_start_method() == "fork"
    with pytest.raises(ValueError, match="valid start method"):
        loader.multiprocessing_context = "thread"


# ---- lengths ----


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("drop_last", [False, True])
def test_lengths(make: Make, dataset: Any, workers: int, drop_last: bool) -> None:
    loader = make(dataset, 7, drop_last=drop_last, num_workers=workers)
    batches = iter(loader)
    assert len(loader) == len(batches) == (3 if drop_last else 4)
    next(batches)
    assert len(batches) == len(loader) == 1 + len(list(batches))


def test_a_stream_has_the_length_that_it_says(make: Make) -> None:
    with pytest.raises(TypeError):
        len(make(Stream()))
    assert len(make(Measured(7), 3)) == 3
    assert len(make(Measured(7), 3, drop_last=True)) == 2


def test_a_stream_longer_than_it_says_is_warned_of(make: Make) -> None:
    loader = make(Measured(2))
    assert len(loader) == 2
    with pytest.warns(UserWarning, match="Length of IterableDataset"):
        assert len(list(loader)) == 7


@pytest.mark.parametrize("kind", KINDS)
def test_an_empty_dataset(make: Make, kind: str, tmp_path: Path) -> None:
    (tmp_path / "class").mkdir()
    empty: dict[str, Any] = {
        "anything": Squares(0),
        "tensors": TensorDataset(torch.zeros(0, 2)),
        "images": ImageFolder(tmp_path, transform=EXACT, allow_empty=True),
    }
    loader = make(empty[kind], 4)
    assert len(loader) == len(iter(loader)) == 0
    assert list(loader) == list(loader) == []
    with pytest.raises(ValueError, match="num_samples"):
        make(empty[kind], 4, shuffle=True)


# ---- the order ----


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("order", [[3, 1, 2], (3, 1, 2), range(3), {3: 0, 1: 0}, np.array([3, 1, 2])], ids=str)
def test_a_sampler_is_any_iterable(make: Make, dataset: Any, workers: int, order: Any) -> None:
    batches = list(make(dataset, 2, sampler=order, num_workers=workers))
    wanted = [dataset[int(index)] for index in order]
    assert equal(torch.cat([features for features, _ in batches]), torch.stack([features for features, _ in wanted]))
    assert torch.cat([labels for _, labels in batches]).tolist() == [int(label) for _, label in wanted]


def test_a_batch_sampler_is_any_iterable(make: Make, dataset: Any) -> None:
    loader = make(dataset, batch_sampler=[[3], (1, 2)])
    assert [len(labels) for _, labels in loader] == [1, 2]
    assert loader.batch_size is None
    assert len(loader) == 2


@pytest.mark.parametrize("kind", ["anything", "tensors"])
def test_batches_of_indices_are_asked_of_the_dataset(make: Make, kind: str, photos: Path) -> None:
    dataset = of_kind(kind, photos)
    loader = make(dataset, batch_size=None, sampler=BatchSampler(SequentialSampler(dataset), 10, False))
    assert len(loader) == 3
    assert equal(list(loader), [dataset[[*range(start, min(start + 10, 24))]] for start in (0, 10, 20)])


@pytest.mark.parametrize("workers", [0, 2])
def test_a_batch_without_samples_does_not_collate(make: Make, dataset: Any, workers: int) -> None:
    fails(make(dataset, batch_sampler=[[0], []], num_workers=workers), IndexError)


def test_batch_size_none_gives_samples(make: Make, dataset: Any) -> None:
    samples = list(make(dataset, batch_size=None))
    assert len(samples) == 24
    assert equal(tuple(samples[5]), tuple(dataset[5]))


@pytest.mark.parametrize("workers", [0, 2])
def test_shuffled_epochs_have_every_sample_in_new_order(make: Make, dataset: Any, workers: int) -> None:
    loader = make(dataset, 5, shuffle=True, num_workers=workers)
    first, second = rows(loader), rows(loader)
    assert first != second
    assert sorted(first) == sorted(second) == sorted(rows(make(dataset, 5)))


@pytest.mark.parametrize("workers", [0, 2])
def test_two_epochs_at_once_are_each_complete(make: Make, dataset: Any, workers: int) -> None:
    loader = make(dataset, 5, shuffle=True, num_workers=workers)
    one, other = iter(loader), iter(loader)
    assert one is not other
    pairs = list(zip(one, other, strict=True))
    assert count(a for a, _ in pairs) == count(b for _, b in pairs) == 24


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_out_of_order_are_complete(make: Make, dataset: Any, workers: int) -> None:
    loader = make(dataset, 5, num_workers=workers, in_order=False)
    assert loader.in_order is False
    assert sorted(rows(loader)) == sorted(rows(make(dataset, 5)))


# ---- batches ----


def named(label: Any) -> str:
    return f"number {int(label)}"


class Named(Squares):
    def __getitem__(self, index: Any) -> Any:
        square, label = super().__getitem__(index)
        return square, named(label)


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("kind", ["anything", "images"])
def test_strings_as_labels(make: Make, kind: str, photos: Path, workers: int) -> None:
    images = ImageFolder(photos, transform=EXACT, target_transform=named)
    dataset = images if kind == "images" else Named()
    batches = list(make(dataset, 5, num_workers=workers))
    assert [list(labels) for _, labels in batches] == [
        [dataset[index][1] for index in range(start, min(start + 5, 24))] for start in range(0, 24, 5)
    ]
    assert type(batches[0]) is list
    assert type(batches[0][1]) is type(next(iter(TorchDataLoader(dataset, 5)))[1])


def test_rows_that_require_gradients(make: Make) -> None:
    table = torch.ones(6, 2, requires_grad=True)
    for (rows,) in make(TensorDataset(table), 4):
        rows.sum().backward()
    assert table.grad is not None and bool((table.grad == 1).all())


# ---- what is changed later counts from the next epoch ----


@pytest.mark.parametrize("workers", [0, 2])
def test_collate_fn_changed_later(make: Make, dataset: Any, workers: int) -> None:
    loader = make(dataset, 5, num_workers=workers)
    next(iter(loader))
    loader.collate_fn = len
    assert list(loader) == [5, 5, 5, 5, 4]


@pytest.mark.parametrize("changes", [{"batch_size": 9}, {"drop_last": True}, {"sampler": [3, 1, 2]}], ids=str)
def test_the_batch_sampler_changed_later(make: Make, dataset: Any, changes: dict[str, Any]) -> None:
    loader = make(dataset, 5)
    next(iter(loader))
    for name, value in changes.items():
        setattr(loader.batch_sampler, name, value)
    sizes = {"batch_size": [9, 9, 6], "drop_last": [5, 5, 5, 5], "sampler": [3]}
    batches = list(loader)
    assert [len(labels) for _, labels in batches] == sizes[next(iter(changes))]
    if "sampler" in changes:
        assert equal(batches[0][0], torch.stack([dataset[index][0] for index in (3, 1, 2)]))


def test_num_workers_changed_later(make: Make, dataset: Any) -> None:
    loader = make(dataset, 5, num_workers=1)
    before = list(loader)
    for workers in (2, 0):
        loader.num_workers = workers
        loader.prefetch_factor = 2 if workers else None
        assert equal(list(loader), before)


# ---- workers ----


@pytest.mark.parametrize("persistent", [False, True])
def test_worker_init_fn_is_called_once_by_each_worker(
    make: Make, dataset: Any, tmp_path: Path, persistent: bool
) -> None:
    def begin(worker: int) -> None:
        with open(tmp_path / str(worker), "a") as file:
            file.write("called ")

    loader = make(dataset, 4, num_workers=2, worker_init_fn=begin, persistent_workers=persistent)
    for _ in range(2):
        assert count(loader) == 24
    calls = {path.name: path.read_text().count("called") for path in tmp_path.iterdir()}
    assert calls == dict.fromkeys("01", 1 if persistent else 2)


def test_a_worker_init_fn_that_raises(make: Make, dataset: Any) -> None:
    def fail(worker: int) -> None:
        raise LookupError("no database")

    fails(make(dataset, 4, num_workers=2, worker_init_fn=fail), LookupError, "no database")


def test_worker_init_fn_changed_later(make: Make, dataset: Any) -> None:
    def fail(worker: int) -> None:
        raise LookupError("no database")

    loader = make(dataset, 4, num_workers=2)
    before = list(loader)
    loader.worker_init_fn = fail
    fails(loader, LookupError, "no database")
    loader.worker_init_fn = None
    assert equal(list(loader), before)


def test_worker_init_fn_seeds_its_worker_alone(make: Make, dataset: Any, tmp_path: Path) -> None:
    """As torch's pages on reproducibility have it."""

    def seed(worker: int) -> None:
        worker_seed = torch.initial_seed() % 2**32
        random.seed(worker_seed)
        np.random.seed(worker_seed)
        torch.manual_seed(worker_seed)
        (tmp_path / str(worker)).write_text(str(worker_seed))

    states = [random.getstate(), np.random.get_state()[1].tolist(), torch.initial_seed()]  # type: ignore[union-attr, index]
    assert count(make(dataset, 4, num_workers=2, worker_init_fn=seed)) == 24
    assert states == [random.getstate(), np.random.get_state()[1].tolist(), torch.initial_seed()]  # type: ignore[union-attr, index]
    assert len({(tmp_path / name).read_text() for name in "01"}) == 2


def test_without_workers_no_worker_begins(make: Make, dataset: Any) -> None:
    def fail(worker: int) -> None:
        raise LookupError("no worker")

    assert count(make(dataset, 4, worker_init_fn=fail)) == 24


# ---- what fails ----


def fail_at_once(*_: Any) -> Any:
    raise LookupError("nothing there")


def fails_after_three() -> Iterator[int]:
    yield from range(3)
    raise LookupError("nothing there")


class Failing:
    def __iter__(self) -> Iterator[int]:
        return fails_after_three()


class NoSquares(Squares):
    def __getitem__(self, index: Any) -> Any:
        return fail_at_once()


@pytest.mark.parametrize("workers", [0, 2])
def test_a_collate_fn_that_raises(make: Make, dataset: Any, workers: int) -> None:
    fails(make(dataset, 4, num_workers=workers, collate_fn=fail_at_once), LookupError, "nothing there")


@pytest.mark.parametrize("workers", [0, 2])
def test_a_sampler_that_raises(make: Make, dataset: Any, workers: int) -> None:
    fails(make(dataset, 2, num_workers=workers, sampler=Failing()), LookupError, "nothing there")


@pytest.mark.parametrize("workers", [0, 2])
def test_an_index_outside_the_dataset(make: Make, dataset: Any, workers: int) -> None:
    fails(make(dataset, 2, num_workers=workers, sampler=[0, 24]), IndexError)


def skipped(loader: Any) -> list[Any]:
    """How many samples the batches of an epoch have; None: one failed, and the loop went on."""
    sizes, batches = list[int | None](), iter(loader)
    while True:
        try:
            sizes.append(len(next(batches)[1]))
        except StopIteration:
            return sizes
        except LookupError:
            sizes.append(None)


@pytest.mark.parametrize("workers", [0, 2])
def test_an_epoch_goes_on_after_a_batch_that_failed(make: Make, dataset: Any, workers: int) -> None:
    batches = [[0, 1], [2, 24], [3, 4, 5], [-25], [6]]
    assert skipped(make(dataset, batch_sampler=batches, num_workers=workers)) == [2, None, 3, None, 1]


@pytest.mark.parametrize("workers", [0, 2])
def test_an_epoch_goes_on_after_a_collate_fn_that_raised(make: Make, dataset: Any, workers: int) -> None:
    def collate(samples: Any) -> Any:
        return fail_at_once() if len(samples) == 2 else default_collate(samples)

    batches = [[0], [1, 2], [3, 4, 5], [6, 7]]
    loader = make(dataset, batch_sampler=batches, collate_fn=collate, num_workers=workers)
    assert skipped(loader) == [1, None, 3, None]


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("kind", ["anything", "images"])
def test_a_sample_that_raises(make: Make, kind: str, photos: Path, workers: int) -> None:
    dataset = NoSquares() if kind == "anything" else ImageFolder(photos, EXACT, target_transform=fail_at_once)
    fails(make(dataset, 2, num_workers=workers), LookupError, "nothing there")


@pytest.mark.parametrize("workers", [0, 2])
def test_a_transform_that_raises(make: Make, photos: Path, workers: int) -> None:
    dataset = ImageFolder(photos, transform=T.Compose([EXACT, fail_at_once]))
    fails(make(dataset, 2, num_workers=workers), LookupError, "nothing there")


# ---- copies, and the end ----

COPIES: dict[str, Callable[[Any], Any]] = {
    "pickled": lambda loader: pickle.loads(pickle.dumps(loader)),
    "copied deeply": copy.deepcopy,
}


@pytest.mark.parametrize("way", COPIES)
@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("after", [0, 1])
def test_copies_give_the_same_batches(make: Make, dataset: Any, way: str, workers: int, after: int) -> None:
    loader = make(dataset, 5, num_workers=workers)
    for _ in range(after):
        list(loader)
    copied = COPIES[way](loader)
    assert type(copied) is type(loader)
    assert copied.dataset is not loader.dataset
    assert equal(list(copied), list(loader))


@pytest.mark.parametrize("way", COPIES)
@pytest.mark.parametrize("kind", KINDS)
def test_copies_go_on_with_the_same_epoch(way: str, kind: str, photos: Path) -> None:
    loader = DataLoader(of_kind(kind, photos, TRAIN), 5, shuffle=True, seed=3, device="cpu")
    list(loader)
    copied = COPIES[way](loader)
    list(copied)
    assert (loader.epoch, copied.epoch) == (1, 2)
    copied.set_epoch(1)
    assert equal(list(copied), list(loader))


@pytest.mark.usefixtures("no_collector")
@pytest.mark.parametrize("taken", [0, 1, 5])
@pytest.mark.parametrize("options", [{}, {"num_workers": 2}, {"num_workers": 2, "persistent_workers": True}], ids=str)
def test_a_dropped_loader_is_freed_at_once(make: Make, dataset: Any, options: dict[str, Any], taken: int) -> None:
    loader = make(dataset, 5, **options)
    gone, batches = weakref.ref(loader), iter(loader)
    for _ in range(taken):
        next(batches)
    del loader, batches
    assert gone() is None


@pytest.mark.parametrize("taken", [0, 1, 4])
@pytest.mark.parametrize("persistent", [False, True])
def test_processes_of_an_iterator_end_with_it(make: Make, dataset: Any, persistent: bool, taken: int) -> None:
    """What has none of torch's processes lists none."""
    loader = make(dataset, 5, num_workers=2, persistent_workers=persistent)
    batches = iter(loader)
    processes = list(batches._workers)
    assert len(processes) == (2 if type(loader) is TorchDataLoader or isinstance(dataset, Squares) else 0)
    for _ in range(taken):
        next(batches)
    assert [process.is_alive() for process in processes] == [True] * len(processes)
    del loader, batches
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0] * len(processes)


@pytest.mark.parametrize("kind", ["anything", "tensors"])
def test_more_workers_than_cores_are_warned_of(make: Make, photos: Path, kind: str) -> None:
    with pytest.warns(UserWarning, match="will create 1000 worker processes in total"):
        make(of_kind(kind, photos), num_workers=1000)


def test_threads_that_decode_may_be_more_than_cores(photos: Path) -> None:
    DataLoader(of_kind("images", photos), num_workers=1000, device="cpu")
