"""Ranks: every index as often as the tail's name says, as many batches on each, the same global batches."""

import itertools
import pickle
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, strategies as st
from torch.utils.data import BatchSampler, IterableDataset, RandomSampler as TorchRandomSampler, TensorDataset
from torch.utils.data.distributed import DistributedSampler

import gpuload
from gpuload import ArgumentError, ArgumentTypeError, DataLoader, ImageFolder, Shard, transforms as T
from gpuload.samplers import ShardedBatches

TAILS = ["drop", "pad", "short"]
WORLDS = [1, 2, 3, 4, 8]


class Numbers:
    """A dataset that torch's workers read."""

    def __init__(self, count: int) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> int:
        return index


def samplers_of(n: int) -> dict[str, Any]:
    """A new one of each kind."""
    data = range(n)
    return {
        "sequential": gpuload.SequentialSampler(data),
        "random": gpuload.RandomSampler(data, seed=5),
        "replacement": gpuload.RandomSampler(data, replacement=True, num_samples=n + 3, seed=5),
        "subset": gpuload.SubsetRandomSampler(range(1, n), seed=5),
        "weighted": gpuload.WeightedRandomSampler(np.arange(n) + 1.0, n, seed=5),
        "balanced": gpuload.ClassBalancedSampler([i % 2 for i in range(n)], seed=5),
    }


def loaders(dataset: Any, world: int, batch_size: int, tail: str | None = None, **options: Any) -> list[DataLoader]:
    options = {"seed": 3, "device": "cpu", **options}
    return [DataLoader(dataset, batch_size, shard=Shard(rank, world, tail), **options) for rank in range(world)]


# ---- what is delivered ----


@given(
    n=st.integers(2, 300),
    batch=st.integers(1, 40),
    world=st.integers(1, 9),
    tail=st.sampled_from(TAILS),
    kind=st.sampled_from(sorted(samplers_of(2))),
    epoch=st.integers(0, 3),
)
def test_every_position_as_often_as_promised(n: int, batch: int, world: int, tail: str, kind: str, epoch: int) -> None:
    made = [ShardedBatches(samplers_of(n)[kind], batch, False, Shard(rank, world, tail)) for rank in range(world)]
    for batches in made:
        batches.sampler.set_epoch(epoch)
    order = made[0].sampler.order(epoch)
    expected = order.indices(0, len(order)).tolist()
    delivered = [list(batches) for batches in made]
    sizes = [[len(part) for part in parts] for parts in delivered]
    assert sizes == [sizes[0]] * world
    assert {len(batches) for batches in made} == {len(sizes[0])}
    assert all(size == batch for size in sizes[0][:-1])
    in_turn = [index for parts in zip(*delivered, strict=True) for part in parts for index in part]
    rest = len(expected) % (batch * world)
    count = {
        "drop": len(expected) - rest,
        "pad": len(expected) - rest + -(-rest // world) * world,
        "short": len(expected) - rest % world,
    }[tail]
    assert in_turn == list(itertools.islice(itertools.cycle(expected), count))


@given(
    n=st.integers(1, 200),
    batch=st.integers(1, 20),
    world=st.integers(1, 6),
    tail=st.sampled_from(TAILS),
    reach=st.integers(1, 5),
    first=st.integers(0, 3),
)
def test_what_stands_before_a_part(n: int, batch: int, world: int, tail: str, reach: int, first: int) -> None:
    """In its global batch, around whose end it goes on; padding is passed over there, and follows what it follows."""
    made = [
        ShardedBatches(gpuload.SequentialSampler(range(n)), batch, False, Shard(r, world, tail)) for r in range(world)
    ]
    whole = [part.tolist() for part in made[0].global_positions(n)][first:]
    for number, parts in enumerate(zip(*(one.positions(n, first, reach) for one in made), strict=True)):
        plain = [part[reach:].tolist() for part in parts]
        assert plain == [next(itertools.islice(one.positions(n, first), number, None)).tolist() for one in made]
        for part in parts:
            for earlier, later in itertools.pairwise(part.tolist()):
                is_first = later == whole[number][0]
                assert earlier == (whole[number][-1] if is_first else later - 1)


@pytest.mark.parametrize("tail", TAILS)
@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("of", [lambda n: TensorDataset(torch.arange(n)), Numbers])
def test_tensors_and_torchs_workers(of: Any, workers: int, tail: str) -> None:
    dataset, one = of(103), loaders(of(103), 1, 24, "drop", shuffle=True, num_workers=workers)[0]
    shards = loaders(dataset, 4, 6, tail, shuffle=True, num_workers=workers)
    for _ in range(2):
        played = [[batch[0] if isinstance(batch, list) else batch for batch in shard] for shard in shards]
        alone = [batch[0] if isinstance(batch, list) else batch for batch in one]
        for whole, parts in zip(alone, zip(*played, strict=True), strict=False):
            assert torch.equal(whole, torch.cat(parts))
        assert [len(parts) for parts in played] == [len(shards[0])] * 4 == [{"drop": 4}.get(tail, 5)] * 4


@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize("engine", ["cpu", "pillow"])
def test_images_are_the_same_on_any_number_of_ranks(photos: Path, world: int, engine: str) -> None:
    transform = T.Compose([T.RandomResizedCrop(20), T.RandomHorizontalFlip()])
    dataset = ImageFolder(photos, transform=transform)
    options = {"shuffle": True, "engine": engine, "num_workers": 2}
    (one,) = loaders(dataset, 1, 8, **options)
    shards = loaders(dataset, world, 8 // world, **options) if world != 3 else loaders(dataset, world, 4, **options)
    for _ in range(2):
        alone = torch.cat([images for images, _ in one])
        parts = [[images for images, _ in shard] for shard in shards]
        together = torch.cat([image for batch in zip(*parts, strict=True) for image in batch])
        assert torch.equal(alone, together)


def test_what_is_repeated_is_drawn_anew(photos: Path) -> None:
    dataset = ImageFolder(photos, transform=T.RandomResizedCrop(20))
    shards = loaders(dataset, 5, 2, "pad", shuffle=True)
    last = [list(shard.recipes(0))[-1] for shard in shards]
    (index, recipe), (first, drawn) = last[4], next(iter(shards[0].recipes(0)))
    assert (len(dataset), index) == (24, first)
    assert recipe != drawn


def test_each_index_is_on_one_rank() -> None:
    shards = loaders(TensorDataset(torch.arange(96)), 4, 8, shuffle=True)
    counted = Counter(index for shard in shards for (batch,) in shard for index in batch.tolist())
    assert counted == Counter(range(96))


# ---- whose ----


def test_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RANK", raising=False)
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    assert Shard.here() == Shard(0, 1)
    monkeypatch.setenv("RANK", "2")
    monkeypatch.setenv("WORLD_SIZE", "6")
    assert Shard.here(tail="short") == Shard(2, 6, "short")
    monkeypatch.setenv("RANK", "two")
    with pytest.raises(ArgumentError, match="RANK must be a number in the environment, got 'two'"):
        Shard.here()


RANKS = """
import torch
import gpuload
from gpuload import DataLoader, Shard
from tests.ranks import ranks

with ranks(4) as rank:
    torch.distributed.init_process_group("gloo")
    mesh = torch.distributed.init_device_mesh("cpu", (2, 2), mesh_dim_names=("dp", "tp"))
    shard = Shard.here(mesh["dp"])
    assert (Shard.here(), shard) == (Shard(rank, 4), Shard(rank // 2, 2))
    torch.manual_seed(rank)  # as unlike as they can be
    dataset = torch.utils.data.TensorDataset(torch.arange(40))
    for options in ({"shuffle": True}, {"sampler": gpuload.RandomSampler(dataset)}):
        loader = DataLoader(dataset, 5, device="cpu", shard=shard, **options)
        mine = torch.cat([batch[0] for batch in loader])
        all_ranks = [torch.zeros(20, dtype=torch.int64) for _ in range(4)]
        torch.distributed.all_gather(all_ranks, mine)
        assert torch.equal(all_ranks[0], all_ranks[1])
        assert torch.equal(all_ranks[2], all_ranks[3])
        assert sorted(torch.cat(all_ranks[::2]).tolist()) == list(range(40))
    torch.distributed.destroy_process_group()
"""


def test_four_ranks_of_which_two_share_data(run_python: Callable[..., Any]) -> None:
    """The mesh's dimension "dp" shards, those along "tp" have the same; all agree on one seed."""
    run_python(RANKS, timeout=60)


def test_as_torch_a_loader_without_a_shard_has_it_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert len(DataLoader(TensorDataset(torch.arange(8)), 2, device="cpu")) == 4


def test_copies_and_epochs() -> None:
    (_, loader) = loaders(TensorDataset(torch.arange(50)), 2, 5, shuffle=True)
    copied = pickle.loads(pickle.dumps(loader))
    for _ in range(2):
        assert [batch[0].tolist() for batch in copied] == [batch[0].tolist() for batch in loader]
    loader.set_epoch(0)
    again = [batch[0].tolist() for batch in loader]
    loader.sampler.set_epoch(0)
    assert [batch[0].tolist() for batch in loader] == again


def test_explain_says_which_part(capsys: pytest.CaptureFixture[str]) -> None:
    loaders(TensorDataset(torch.arange(50)), 2, 5, shuffle=True)[1].explain()
    assert "batches of 5, rank 1 of 2, global batches of 10: a rest is padded" in capsys.readouterr().out


# ---- what is refused ----


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((2, 2), "rank must be below world_size=2, got 2"),
        ((-1, 2), "rank must be at least 0, got -1"),
        ((0, 0), "world_size must be at least 1, got 0"),
        ((0, 2, "wrap"), "tail must be one of drop, pad, short or None, got 'wrap'"),
    ],
)
def test_shards_that_are_none(arguments: Any, message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        Shard(*arguments)


NUMBERS = TensorDataset(torch.arange(8))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"shard": (0, 2)}, r"shard must be a gpuload.Shard, such as Shard.here\(\), got \(0, 2\)"),
        ({"batch_size": None}, "got batch_size=None"),
        ({"batch_sampler": BatchSampler(range(8), 2, False)}, "got a batch_sampler"),
        (
            {"seed": 1, "sampler": TorchRandomSampler(NUMBERS)},
            "the same on every rank: shuffle, or a sampler of gpuload, got",
        ),
        (
            {"seed": 1, "sampler": DistributedSampler(NUMBERS, 2, 0)},
            "shard and a DistributedSampler would both give each rank",
        ),
        (
            {"seed": 1, "drop_last": True, "shard": Shard(0, 2, "pad")},
            "drop_last=True leaves the tail out, got tail='pad'",
        ),
        ({"shuffle": True}, "2 ranks agree on one over torch.distributed, which is not initialized"),
    ],
)
def test_what_cannot_be_sharded(options: dict[str, Any], message: str) -> None:
    with pytest.raises((ArgumentError, ArgumentTypeError), match=message):
        DataLoader(NUMBERS, **{"device": "cpu", "shard": Shard(0, 2), **options})


def test_an_iterable_shards_itself() -> None:
    class Stream(IterableDataset[int]):
        def __iter__(self) -> Any:
            return iter(range(3))

    with pytest.raises(ArgumentError, match="got an IterableDataset, which shards itself"):
        DataLoader(Stream(), 2, device="cpu", shard=Shard(0, 2))


def test_a_group_without_torch_distributed() -> None:
    with pytest.raises(ArgumentError, match="torch.distributed is not initialized: call init_process_group"):
        Shard.here(object())
