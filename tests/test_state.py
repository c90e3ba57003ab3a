"""Resuming: at every step, what comes is what would have come, on other workers and ranks, too."""

import copy
import itertools
import json
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import (
    BatchSampler,
    DataLoader as TorchDataLoader,
    IterableDataset,
    SequentialSampler as TorchSequentialSampler,
    Subset,
    TensorDataset,
)
from torch.utils.data.distributed import DistributedSampler

import gpuload
from gpuload import ArgumentError, DataLoader, ImageFolder, Shard, transforms as T
from gpuload.loading.state import LOOKED_AT

CROPS = T.Compose([T.RandomResizedCrop(16), T.RandomHorizontalFlip()])


class Numbers:
    """A dataset that torch's workers read."""

    def __len__(self) -> int:
        return 23

    def __getitem__(self, index: int) -> int:
        return index


class Stream(IterableDataset[int]):
    def __iter__(self) -> Iterator[int]:
        return iter(range(23))


def loader_of(dataset: Any, **options: Any) -> DataLoader:
    return DataLoader(dataset, **{"batch_size": 5, "device": "cpu", **options})


def kept(state: dict[str, Any]) -> dict[str, Any]:
    """As it comes back from a file."""
    return json.loads(json.dumps(state))  # type: ignore[no-any-return]


def values(batch: Any) -> Any:
    """A batch, to be compared."""
    if isinstance(batch, torch.Tensor):
        return batch.tolist()
    return [values(part) for part in batch] if isinstance(batch, tuple | list) else batch


def played(loader: DataLoader, epochs: int) -> tuple[list[Any], list[dict[str, Any]]]:
    """What comes, and the state before each batch, and after the last of an epoch."""
    batches, states = list[Any](), [kept(loader.state_dict())]
    for _ in range(epochs):
        for batch in loader:
            batches.append(values(batch))
            states.append(kept(loader.state_dict()))
    return batches, states


def rest(loader: DataLoader, state: dict[str, Any], count: int) -> list[Any]:
    """The next batches after a state was loaded, over as many epochs as it takes."""
    loader.load_state_dict(state)
    epochs = itertools.chain.from_iterable(loader for _ in iter(int, 1))
    return [values(batch) for batch in itertools.islice(epochs, count)]


# ---- at every step ----

KINDS: dict[str, Callable[[Path], Any]] = {
    "images": lambda photos: ImageFolder(photos, transform=CROPS),
    "a subset": lambda photos: Subset(ImageFolder(photos, transform=CROPS), list(range(3, 20))),
    "tensors": lambda photos: TensorDataset(torch.arange(23)),
    "anything": lambda photos: Numbers(),
}
SAMPLERS: dict[str, Callable[[Any], dict[str, Any]]] = {
    "shuffle": lambda dataset: {"shuffle": True},
    "in order": lambda dataset: {},
    "full batches": lambda dataset: {"shuffle": True, "drop_last": True},
    "replacement": lambda dataset: {"sampler": gpuload.RandomSampler(dataset, replacement=True, num_samples=31)},
    "weighted": lambda dataset: {"sampler": gpuload.WeightedRandomSampler(range(1, len(dataset) + 1), 17)},
    "balanced": lambda dataset: {"sampler": gpuload.ClassBalancedSampler([i % 3 for i in range(len(dataset))])},
    "subset": lambda dataset: {"sampler": gpuload.SubsetRandomSampler(range(2, 16))},
    "by themselves": lambda dataset: {"shuffle": True, "batch_size": None},
    "torch's own": lambda dataset: {"sampler": TorchSequentialSampler(dataset)},
    "batches": lambda dataset: {
        "batch_size": 1,
        "batch_sampler": BatchSampler(gpuload.RandomSampler(dataset, seed=1), 4, False),
    },
}


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("kind", KINDS)
def test_at_every_step(photos: Path, kind: str, sampler: str) -> None:
    """In another loader, whose own seeds are others; two epochs."""
    dataset = KINDS[kind](photos)
    batches, states = played(loader_of(dataset, **SAMPLERS[sampler](dataset)), 2)
    for step, state in enumerate(states):
        resumed = loader_of(dataset, **SAMPLERS[sampler](dataset))
        assert rest(resumed, state, len(batches) - step) == batches[step:], step


@pytest.mark.filterwarnings("ignore:This DataLoader will create")
@pytest.mark.parametrize("workers", [1, 2, 5])
@pytest.mark.parametrize("kind", ["images", "anything"])
def test_with_workers_that_are_ahead(photos: Path, kind: str, workers: int) -> None:
    """Batches count that were delivered."""
    dataset = KINDS[kind](photos)
    options = {"shuffle": True, "seed": 3, "persistent_workers": True}
    batches, states = played(loader_of(dataset, num_workers=workers, **options), 2)
    assert batches == played(loader_of(dataset, shuffle=True, seed=3), 2)[0]
    steps = [0, 1, 4, 5, 8, 10] if kind == "images" else [3, 7]
    resumed = loader_of(dataset, num_workers=workers % 2 + 1, **options)
    for step in steps:  # of one loader, back and forth
        assert rest(resumed, states[step], len(batches) - step) == batches[step:], step


@pytest.mark.parametrize(("before", "after"), [(1, 4), (4, 2), (2, 1), (3, 6)])
def test_on_other_ranks(photos: Path, before: int, after: int) -> None:
    """With the same global batch, of 12, at every step; each rank has the state of any."""
    dataset = ImageFolder(photos, transform=CROPS)

    def ranks(count: int) -> list[DataLoader]:
        shards = [Shard(rank, count) for rank in range(count)]
        return [loader_of(dataset, batch_size=12 // count, shuffle=True, seed=5, shard=shard) for shard in shards]

    def together(batches: list[list[Any]]) -> list[list[Any]]:
        """Images of each global batch."""
        return [[image for images, _ in parts for image in images] for parts in zip(*batches, strict=True)]

    old = [played(loader, 2) for loader in ranks(before)]
    batches = together([batches for batches, _ in old])
    for step, states in enumerate(zip(*(states for _, states in old), strict=True)):
        assert all(state == states[0] for state in states)
        resumed = [rest(loader, states[0], len(batches) - step) for loader in ranks(after)]
        assert together(resumed) == batches[step:], step


# ---- what it says ----


def test_a_state_is_a_handful_of_integers(photos: Path) -> None:
    loader = loader_of(ImageFolder(photos, transform=CROPS), shuffle=True, seed=7)
    next(iter(loader))
    state = loader.state_dict()
    name = state.pop("dataset")
    assert (len(name), int(name, 16) > 0) == (16, True)
    assert state == {
        "version": 1,
        "epoch": 0,
        "batch": 1,
        "seed": 7,
        "order_seed": 7,
        "samples": 24,
        "positions": 24,
        "global_batch_size": 5,
        "quarantine": [],
    }


def where(loader: DataLoader) -> tuple[int, int]:
    state = loader.state_dict()
    return state["epoch"], state["batch"]


@pytest.mark.parametrize("kind", KINDS)
def test_where_it_is(photos: Path, kind: str) -> None:
    loader = loader_of(KINDS[kind](photos), shuffle=True)
    found = [where(loader)]
    batches = iter(loader)
    found.append(where(loader))
    next(batches)
    found.append(where(loader))
    del batches  # broken off
    found.append(where(loader))
    list(loader)
    found.append(where(loader))
    loader.set_epoch(7)
    found.append(where(loader))
    next(iter(loader))
    loader.set_epoch(7)  # from the start
    found.append(where(loader))
    assert found == [(0, 0), (0, 0), (0, 1), (0, 1), (2, 0), (7, 0), (7, 0)]


def test_after_the_last_batch_an_epoch_has_no_more(photos: Path) -> None:
    """As a loop over epochs has it, that was broken off there and goes on in the same epoch."""
    loader = loader_of(TensorDataset(torch.arange(10)), shuffle=True)
    batches = iter(loader)
    for _ in range(2):
        next(batches)
    state = loader.state_dict()
    assert (state["epoch"], state["batch"]) == (0, 2)
    resumed = loader_of(TensorDataset(torch.arange(10)), shuffle=True)
    resumed.load_state_dict(state)
    assert [len(list(resumed)) for _ in range(2)] == [0, 2]


@pytest.mark.parametrize("kind", KINDS)
def test_a_loaded_state_is_the_loaders_own(photos: Path, kind: str) -> None:
    first, second = (loader_of(KINDS[kind](photos), shuffle=True) for _ in range(2))
    batches = iter(first)
    for _ in range(2):
        next(batches)
    second.load_state_dict(first.state_dict())
    assert second.state_dict() == first.state_dict()
    resumed = iter(second)
    assert second.state_dict() == first.state_dict()
    assert values(next(resumed)) == values(next(batches))
    assert second.state_dict() == first.state_dict()


def test_the_same_epoch_chosen_again_is_gone_on_with_another_is_not() -> None:
    """A training loop tells the sampler its epoch before each."""
    loader = loader_of(TensorDataset(torch.arange(20)), shuffle=True, seed=1)
    next(iter(loader))
    state = loader.state_dict()
    for epoch, count in ((0, 3), (1, 4)):
        loader.load_state_dict(state)
        loader.sampler.set_epoch(epoch)
        assert len(list(loader)) == count


def test_of_torchs_distributed_sampler() -> None:
    def made() -> DataLoader:
        dataset = TensorDataset(torch.arange(24))
        return loader_of(dataset, batch_size=3, sampler=DistributedSampler(dataset, 2, 1))

    batches, states = played(made(), 1)
    for step, state in enumerate(states[:-1]):
        loader = made()
        loader.load_state_dict(state)
        assert [values(batch) for batch in loader] == batches[step:]


def test_a_stream_is_read_up_to_there() -> None:
    batches, states = played(loader_of(Stream()), 1)
    assert rest(loader_of(Stream()), states[2], 3) == batches[2:]


class Unsized:
    """A dataset without a length, or a sampler."""

    def __init__(self, error: type[Exception]) -> None:
        self.error = error

    def __getitem__(self, index: int) -> int:
        return index

    def __iter__(self) -> Iterator[int]:
        return iter(range(12))


class Raising(Unsized):
    """One whose length raises, which torch does not mind where nobody asks for it."""

    def __len__(self) -> int:
        raise self.error("no length")


@pytest.mark.parametrize("error", [TypeError, NotImplementedError, AttributeError, RuntimeError])
@pytest.mark.parametrize("rows", [False, True])
def test_what_has_no_length(error: type[Exception], rows: bool) -> None:
    dataset = TensorDataset(torch.arange(12)) if rows else Unsized(error)

    def made(kind: Callable[..., Any] = loader_of) -> Any:
        return kind(dataset, batch_size=5, sampler=Raising(error))

    batches, states = played(made(), 1)
    assert batches == [values(batch) for batch in made(TorchDataLoader)]
    assert states[1]["samples"] == (12 if rows else None)
    assert states[1]["positions"] is None
    assert rest(made(), states[1], 2) == batches[1:]


@pytest.mark.parametrize(("size", "kept_size"), [([2, 3], None), (np.int64(3), 3)])
def test_a_batch_sampler_with_a_size_of_its_own_kind(size: Any, kept_size: int | None) -> None:
    class Own(list[Any]):
        batch_size = size

    def made() -> DataLoader:
        return DataLoader(TensorDataset(torch.arange(9)), batch_sampler=Own([[0, 1, 2], [3, 4], [8]]), device="cpu")

    batches, states = played(made(), 1)
    assert states[1]["global_batch_size"] == kept_size
    assert rest(made(), states[1], 2) == batches[1:]


def test_copies_do_not_go_on_where_they_were_made(photos: Path) -> None:
    """As torch's; what was loaded stays."""
    loader = loader_of(ImageFolder(photos, transform=CROPS), shuffle=True)
    next(iter(loader))
    state = loader.state_dict()
    loader.load_state_dict(state)
    for copied in (copy.copy(loader), copy.deepcopy(loader), pickle.loads(pickle.dumps(loader))):
        assert copied.state_dict() == state
        assert len(list(copied)) == 4


def test_a_batch_that_failed_is_passed(photos: Path) -> None:
    def refuse(batch: Any) -> Any:
        if refused.pop():
            raise ValueError("not this one")
        return batch

    refused = [False, True, False]
    loader = loader_of(ImageFolder(photos, transform=CROPS), collate_fn=refuse)
    batches = iter(loader)
    next(batches)
    with pytest.raises(ValueError, match="not this one"):
        next(batches)
    assert where(loader) == (0, 2)


# ---- what is refused ----


def test_a_state_of_another_dataset(photos: Path, tmp_path: Path) -> None:
    state = loader_of(ImageFolder(photos, transform=CROPS)).state_dict()
    moved = tmp_path / "elsewhere"
    moved.symlink_to(photos)
    loader_of(ImageFolder(moved, transform=CROPS)).load_state_dict(state)
    other = tmp_path / "other"
    for path in photos.rglob("*.jpg"):
        name = "renamed.jpg" if path.name == "05.jpg" else path.name
        (other / path.parent.name).mkdir(parents=True, exist_ok=True)
        (other / path.parent.name / name).symlink_to(path)
    with pytest.raises(ArgumentError, match="as the fingerprint of the dataset's files, but this one has"):
        loader_of(ImageFolder(other, transform=CROPS)).load_state_dict(state)
    (other / "cats" / "more.jpg").symlink_to(photos / "cats" / "00.jpg")
    with pytest.raises(ArgumentError, match="state is of a loader with 24 samples in the dataset, but this one has 25"):
        loader_of(ImageFolder(other, transform=CROPS)).load_state_dict(state)


def test_a_fingerprint_costs_the_same_for_any_number_of_files(tmp_path: Path) -> None:
    class Asked(gpuload.ImageList):
        def paths(self, indices: Any) -> list[bytes]:
            asked.append(len(indices))
            return super().paths(indices)

    asked = list[int]()
    names = [f"a/{number}.jpg" for number in range(5000)]
    loader_of(Asked(names, [0] * 5000, transform=CROPS)).state_dict()
    assert asked == [LOOKED_AT]


def test_a_state_of_another_order_or_batch() -> None:
    dataset = TensorDataset(torch.arange(24))
    loader = loader_of(dataset, shuffle=True)
    start = loader.state_dict()
    next(iter(loader))
    middle = loader.state_dict()
    with pytest.raises(ArgumentError, match="state is of a loader with 24 samples in an epoch, but this one has 30"):
        loader_of(dataset, sampler=gpuload.WeightedRandomSampler([1] * 24, 30)).load_state_dict(start)
    loader_of(dataset, shuffle=True, batch_size=6).load_state_dict(start)
    with pytest.raises(ArgumentError, match="mid-epoch with 5 samples in a batch of all ranks, but this loader has 6"):
        loader_of(dataset, shuffle=True, batch_size=6).load_state_dict(middle)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: None, "state must be what DataLoader.state_dict.. gave, got None"),
        (lambda state: {}, "state must be what DataLoader.state_dict.. gave, got {}"),
        (lambda state: {**state, "version": 2}, "state has version 2, but this gpuload reads version 1: use the"),
        (lambda state: {**state, "batch": -1}, "state is damaged: batch is -1"),
        (lambda state: {**state, "batch": "1"}, "state is damaged: batch is '1'"),
        (lambda state: {**state, "epoch": 1 << 32}, "state is damaged: epoch is 4294967296"),
        (lambda state: {**state, "seed": None}, "state is damaged: seed is None"),
        (lambda state: {**state, "more": 1}, "state is damaged: more is 1"),
        (lambda state: {k: v for k, v in state.items() if k != "seed"}, "state is damaged: seed is 'missing'"),
        (lambda state: {**state, "dataset": 5}, "state is damaged: dataset is 5"),
    ],
)
def test_what_is_no_state(change: Callable[[dict[str, Any]], Any], message: str) -> None:
    loader = loader_of(TensorDataset(torch.arange(24)), shuffle=True)
    before = loader.state_dict()
    with pytest.raises(ArgumentError, match=message):
        loader.load_state_dict(change(before))
    assert loader.state_dict() == before
