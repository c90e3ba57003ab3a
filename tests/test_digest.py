"""A digest of the order: the same for the same batches, however they are loaded; another one for any others."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import BatchSampler, Dataset, TensorDataset

import gpuload
from gpuload import ArgumentError, DataLoader, ImageFolder, Shard, transforms as T

COUNT = 24  # samples


class Numbers(Dataset[int]):
    """A dataset that torch's workers read."""

    def __len__(self) -> int:
        return COUNT

    def __getitem__(self, index: int) -> int:
        return index


KINDS: dict[str, Callable[[Path], Any]] = {
    "images": lambda photos: ImageFolder(photos, transform=T.RandomResizedCrop(8)),
    "tensors": lambda photos: TensorDataset(torch.arange(COUNT)),
    "anything": lambda photos: Numbers(),
}


def loader_of(dataset: Any, **options: Any) -> DataLoader:
    return DataLoader(dataset, **{"batch_size": 6, "shuffle": True, "seed": 3, "device": "cpu", **options})


def digests(loader: DataLoader, epochs: int = 2) -> list[str]:
    """Before the first batch, and after each."""
    return [loader.digest(), *(loader.digest() for _ in range(epochs) for _ in loader)]


@pytest.mark.parametrize("kind", KINDS)
def test_every_batch_changes_it(photos: Path, kind: str) -> None:
    dataset = KINDS[kind](photos)
    found = digests(loader_of(dataset))
    assert len({*found}) == len(found) == 9
    assert all(len(one) == 32 and int(one, 16) >= 0 for one in found)
    assert found == digests(loader_of(dataset, num_workers=2))
    assert not {*found} & {*digests(loader_of(dataset, seed=4))}


def test_the_same_of_every_kind_of_dataset(photos: Path) -> None:
    assert len({tuple(digests(loader_of(make(photos)))) for make in KINDS.values()}) == 1


@pytest.mark.parametrize("tail", ["drop", "pad", "short"])
def test_the_same_on_every_rank(tail: str) -> None:
    """Whatever the number of ranks, where they deliver the same: what a short tail leaves out depends on that."""
    dataset = TensorDataset(torch.arange(COUNT + 3))
    of_world = {}
    for world in (1, 2, 3, 6):
        ranks = [Shard(rank, world, tail) for rank in range(world)]
        of_rank = {tuple(digests(loader_of(dataset, batch_size=6 // world, shard=shard))) for shard in ranks}
        (of_world[world],) = of_rank
    plain = tuple(digests(loader_of(dataset, drop_last=tail == "drop")))
    for world, found in of_world.items():
        assert (found == plain) == (tail != "short" or 3 % world == 0), world


def test_a_run_that_goes_on_has_the_same() -> None:
    dataset = TensorDataset(torch.arange(COUNT))
    wanted = digests(loader_of(dataset), 1)
    for step in range(4):
        loader = loader_of(dataset)
        for _, _ in zip(range(step), loader, strict=False):
            pass
        resumed = loader_of(dataset, seed=8)
        resumed.load_state_dict(json.loads(json.dumps(loader.state_dict())))
        assert digests(resumed, 1) == wanted[step:]


def test_it_is_of_what_was_delivered_not_of_what_the_sampler_has_become() -> None:
    sampler = gpuload.WeightedRandomSampler([1.0] * COUNT, COUNT, seed=1)
    dataset = TensorDataset(torch.arange(COUNT))
    loader = loader_of(dataset, shuffle=None, sampler=sampler)
    batches = iter(loader)
    next(batches)
    before = loader.digest()
    sampler.weights = torch.arange(COUNT, dtype=torch.float64)
    assert loader.digest() == before
    list(batches), list(loader)
    loader.set_epoch(0)
    next(iter(loader))
    assert loader.digest() != before


def test_it_is_of_the_batches_too() -> None:
    """The same samples in the same order, in batches of another size or one by one."""
    dataset = TensorDataset(torch.arange(COUNT))
    sizes = [{"batch_size": 6}, {"batch_size": 12}, {"batch_size": None}]
    assert len({digests(loader_of(dataset, **options), 1)[-1] for options in sizes}) == 3
    batches = BatchSampler(gpuload.RandomSampler(dataset, seed=3), 6, False)
    same = DataLoader(dataset, batch_sampler=batches, seed=3, device="cpu")
    assert digests(same, 1) == digests(loader_of(dataset), 1)


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"sampler": [1, 2]}, "list"),
        ({"batch_size": 1, "batch_sampler": [[1, 2]]}, "list"),
        ({"sampler": torch.utils.data.SequentialSampler(range(COUNT))}, "SequentialSampler"),
    ],
)
def test_of_an_own_sampler_there_is_none(options: dict[str, Any], name: str) -> None:
    loader = loader_of(TensorDataset(torch.arange(COUNT)), shuffle=None, **options)
    with pytest.raises(ArgumentError, match=f"digest is of an order that a sampler of gpuload's makes, got {name}"):
        loader.digest()


def test_what_it_is_stays() -> None:
    """A run of this version is compared with one of the next."""
    loader = loader_of(TensorDataset(torch.arange(COUNT)))
    list(loader)
    assert loader.digest() == "6539b89318f7783a4f63417d95152475"


def test_any_number_of_samples() -> None:
    """More than are made at a time."""
    count = 50_001
    loader = loader_of(TensorDataset(torch.arange(count)), batch_size=1000)
    order = np.concatenate([batch.numpy() for (batch,) in loader])
    whole = loader.digest()
    same = loader_of(TensorDataset(torch.from_numpy(order)), batch_size=1000)
    list(same)
    assert same.digest() == whole != digests(loader_of(TensorDataset(torch.arange(count)), batch_size=999), 1)[-1]
