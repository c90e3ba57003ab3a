"""The assertion that users have, on gpuload's own datasets and engines; and what it finds."""

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import ConcatDataset, TensorDataset

import gpuload
from gpuload import DataLoader, ImageFolder, Shard, transforms as T
from gpuload.libraries import host_library
from gpuload.testing import assert_same_batches

CROPS = T.Compose([T.RandomResizedCrop(12), T.RandomHorizontalFlip()])
GLOBAL = 24


class Words:
    """A dataset that torch's workers read, of dicts."""

    def __len__(self) -> int:
        return 30

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {"number": index, "word": f"word {index}"}


def loader_of(dataset: Any, shard: Shard, workers: int, **options: Any) -> DataLoader:
    options = {"shuffle": True, "seed": 3, "device": "cpu", **options}
    with warnings.catch_warnings():  # torch's, of more workers than cores
        warnings.filterwarnings("ignore", "This DataLoader will create")
        return DataLoader(dataset, GLOBAL // shard.world_size, num_workers=workers, shard=shard, **options)


@pytest.mark.parametrize("engine", ["cpu", "pillow", "dali"])
def test_images_on_every_engine(photos: Path, engine: str) -> None:
    if engine == "cpu" and host_library() is None:
        pytest.skip("no native code")
    if engine == "dali":
        pytest.importorskip("nvidia.dali")
    dataset = ConcatDataset([ImageFolder(photos, transform=CROPS)] * 2)
    worlds = (1, 2, 3, 4, 8) if engine == "cpu" else (3,)
    workers = (1, 2, 5) if engine == "cpu" else (2,)
    assert_same_batches(lambda shard, workers: loader_of(dataset, shard, workers, engine=engine), worlds, workers)


@pytest.mark.parametrize("tail", ["drop", "pad"])
@pytest.mark.parametrize("kind", ["weighted", "balanced", "subset", "replacement"])
def test_tensors_by_every_sampler(kind: str, tail: str) -> None:
    dataset = TensorDataset(torch.arange(70), torch.rand(70, 3, generator=torch.Generator().manual_seed(0)))

    def make(shard: Shard, workers: int) -> DataLoader:
        sampler = {
            "weighted": lambda: gpuload.WeightedRandomSampler(range(1, 71), 70, seed=1),
            "balanced": lambda: gpuload.ClassBalancedSampler([i % 7 for i in range(70)], seed=1),
            "subset": lambda: gpuload.SubsetRandomSampler(range(3, 68), seed=1),
            "replacement": lambda: gpuload.RandomSampler(dataset, replacement=True, num_samples=80, seed=1),
        }[kind]()
        shard = Shard(shard.rank, shard.world_size, tail)
        return loader_of(dataset, shard, workers, shuffle=None, sampler=sampler)

    assert_same_batches(make, workers=(0,))


def test_what_torchs_workers_read() -> None:
    assert_same_batches(lambda shard, workers: loader_of(Words(), shard, workers), (1, 2), (0, 1), epochs=1)


# ---- what it finds ----


class Broken(DataLoader[Any]):
    """Its batches are changed by ``change``."""

    change = staticmethod(lambda loader, batches: batches)

    def __iter__(self) -> Any:
        return self.change(self, super().__iter__())


def _other_order_on_ranks(loader: Any, batches: Iterator[Any]) -> Iterator[Any]:
    for (batch,) in batches:
        yield [batch.flip(0) if loader.shard.world_size > 1 else batch]


def _other_type_on_ranks(loader: Any, batches: Iterator[Any]) -> Iterator[Any]:
    for (batch,) in batches:
        yield [batch.float() if loader.shard.world_size > 1 else batch]


def _shorter_on_ranks(loader: Any, batches: Iterator[Any]) -> Iterator[Any]:
    for (batch,) in batches:
        yield [batch[1:] if loader.shard.world_size > 1 else batch]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_other_order_on_ranks, "2 ranks with 0 workers, batch 0: sample 0 is another one than on one rank"),
        (_other_type_on_ranks, "2 ranks with 0 workers, batch 0: sample 0 is another one than on one rank"),
        (_shorter_on_ranks, "2 ranks with 0 workers, batch 0: 22 samples, not 24"),
    ],
)
def test_batches_that_are_not_the_same(monkeypatch: pytest.MonkeyPatch, change: Any, message: str) -> None:
    monkeypatch.setattr(Broken, "change", staticmethod(change))
    dataset = TensorDataset(torch.arange(60))

    def make(shard: Shard, workers: int) -> DataLoader:
        return Broken(
            dataset, GLOBAL // shard.world_size, shuffle=True, seed=1, device="cpu", shard=shard, num_workers=workers
        )

    with pytest.raises(AssertionError, match=message):
        assert_same_batches(make, (2,), (0,))


def test_a_state_that_forgets_where_it_was() -> None:
    class Forgetful(DataLoader[Any]):
        def state_dict(self) -> dict[str, Any]:
            return {**super().state_dict(), "batch": 0}

    dataset = TensorDataset(torch.arange(60))

    def make(shard: Shard, workers: int) -> DataLoader:
        return Forgetful(dataset, GLOBAL // shard.world_size, shuffle=True, seed=1, device="cpu", shard=shard)

    with pytest.raises(AssertionError, match="resumed at batch 1, batch 1: sample 0 is another one"):
        assert_same_batches(make, (2,), (0,))


def test_batches_that_are_missing() -> None:
    class Short(DataLoader[Any]):
        def __iter__(self) -> Any:
            return iter(list(super().__iter__())[: 2 if self.shard and self.shard.world_size > 1 else None])

    dataset = TensorDataset(torch.arange(60))

    def make(shard: Shard, workers: int) -> DataLoader:
        return Short(dataset, GLOBAL // shard.world_size, shuffle=True, seed=1, device="cpu", shard=shard)

    with pytest.raises(AssertionError, match="2 ranks with 0 workers, batch 2: "):
        assert_same_batches(make, (2,), (0,))
