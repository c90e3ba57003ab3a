"""The assertion that users have, on gpuload's own datasets and engines; and what it finds."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch.utils.data import ConcatDataset, Subset, TensorDataset

import gpuload
from gpuload import DataLoader, ImageFolder, Shard, transforms as T
from gpuload.testing import assert_same_batches
from tests.cases import THOROUGH
from tests.conftest import Engine, encode, make_photo

pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create")  # more workers than cores

CROPS = T.Compose([T.RandomResizedCrop(12), T.RandomHorizontalFlip()])
GLOBAL = 24
WORLDS = (1, 2, 3, 4, 8)
FEW = WORLDS if THOROUGH else (3,)
EPOCHS = 2 if THOROUGH else 1

Sampling = Callable[[Any], tuple[Any, dict[str, Any]]]
SAMPLINGS: dict[str, Sampling] = {  # of 48 samples: what of them is loaded, and options
    "shuffled": lambda all_of: (all_of, {"shuffle": True}),
    "in order": lambda all_of: (all_of, {}),
    "weighted": lambda all_of: (all_of, {"sampler": gpuload.WeightedRandomSampler(range(1, 49), 70, seed=1)}),
    "balanced": lambda all_of: (all_of, {"sampler": gpuload.ClassBalancedSampler([i % 7 for i in range(48)], seed=1)}),
    "picked": lambda all_of: (all_of, {"sampler": gpuload.SubsetRandomSampler(range(3, 45), seed=1)}),
    "with replacement": lambda all_of: (
        all_of, {"sampler": gpuload.RandomSampler(all_of, replacement=True, num_samples=60, seed=1)},
    ),
    "filtered": lambda all_of: (Subset(all_of, [i for i in range(48) if i % 5]), {"shuffle": True}),
    "concatenated": lambda all_of: (ConcatDataset([all_of, Subset(all_of, range(20))]), {"shuffle": True}),
}  # fmt: skip


class Words:
    """A dataset that torch's workers read, of dicts."""

    def __len__(self) -> int:
        return 48

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {"number": index, "word": f"word {index}"}


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> ImageFolder:
    """48 JPEGs that are soon decoded."""
    root = tmp_path_factory.mktemp("small")
    (root / "only").mkdir()
    for i in range(48):
        data = encode(make_photo(16 + i % 5, 18 + i % 3, seed=i), quality=90)
        (root / "only" / f"{i:02}.jpg").write_bytes(data)
    return ImageFolder(root, transform=CROPS)


def loader_of(dataset: Any, shard: Shard, workers: int, **options: Any) -> DataLoader:
    options = {"seed": 3, "device": "cpu", **options}
    return DataLoader(dataset, GLOBAL // shard.world_size, num_workers=workers, shard=shard, **options)


def sampled(samples: Any, sampling: str, tail: str = "drop", **options: Any) -> Callable[[Shard, int], DataLoader]:
    """What makes loaders of these samples."""

    def make(shard: Shard, workers: int) -> DataLoader:
        dataset, chosen = SAMPLINGS[sampling](samples)
        return loader_of(dataset, Shard(shard.rank, shard.world_size, tail), workers, **chosen, **options)

    return make


@pytest.mark.parametrize(
    "engine", ["pillow", "cpu", "dali", "simulated", pytest.param("cuda", marks=pytest.mark.cuda)], indirect=True
)
def test_images_on_every_engine(engine: Engine, small: ImageFolder) -> None:
    make = sampled(small, "shuffled", engine=engine.name, device=engine.device)
    assert_same_batches(make, WORLDS, (1, 2, 5), EPOCHS)


@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_images_by_every_sampling(sampling: str, small: ImageFolder) -> None:
    assert_same_batches(sampled(small, sampling, "pad"), FEW, (1, 2, 5) if THOROUGH else (2,), EPOCHS)


@pytest.mark.parametrize("tail", ["drop", "pad"])
@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_tensors_by_every_sampling(sampling: str, tail: str) -> None:
    dataset = TensorDataset(torch.arange(48), torch.rand(48, 3, generator=torch.Generator().manual_seed(0)))
    assert_same_batches(sampled(dataset, sampling, tail), WORLDS, (0,))


@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_what_torchs_workers_read_by_every_sampling(sampling: str) -> None:
    make = sampled(Words(), sampling, "pad")
    assert_same_batches(make, WORLDS, (0,))
    assert_same_batches(make, FEW, (1, 2) if THOROUGH else (2,), epochs=1)  # processes are slow to begin


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
