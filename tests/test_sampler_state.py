"""The samplers' own state: at every step, what is yielded next is what would have been, whoever iterates."""

import copy
import itertools
import json
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import (
    BatchSampler,
    DataLoader as TorchDataLoader,
    Sampler,
    TensorDataset,
)

from gpuload import ArgumentError, DataLoader, RandomSampler, Shard
from gpuload.samplers import EpochOrder, ShardedBatches
from gpuload.samplers.base import CHUNK
from tests.test_sharded import samplers_of
from tests.test_state import KINDS, loader_of, values

SAMPLES = 23
KINDS_OF_SAMPLERS = sorted(samplers_of(2))

every_sampler = pytest.mark.parametrize("kind", KINDS_OF_SAMPLERS)


def stated(stateful: Any) -> Any:
    """Its state, as it comes back from a file."""
    return json.loads(json.dumps(stateful.state_dict()))


def resumed(kind: str, state: Any, n: int = SAMPLES) -> Any:
    """Another sampler, whose own seed is another one."""
    sampler = samplers_of(n)[kind]
    sampler.seed = 99
    sampler.load_state_dict(state)
    return sampler


def rest(sampler: Any, count: int) -> list[Any]:
    """The next ones, over as many epochs as it takes."""
    endless = itertools.chain.from_iterable(sampler for _ in iter(int, 1))
    return [values(one) for one in itertools.islice(endless, count)]


def played(stateful: Any, iterated: Any, epochs: int) -> tuple[list[Any], list[Any]]:
    """What comes, and the state before each of them, and after the last of an epoch."""
    found, states = list[Any](), [stated(stateful)]
    for _ in range(epochs):
        for one in iterated:
            found.append(values(one))
            states.append(stated(stateful))
    return found, states


# ---- iterated as it is ----


@every_sampler
def test_at_every_step(kind: str) -> None:
    sampler = samplers_of(SAMPLES)[kind]
    indices, states = played(sampler, sampler, 2)
    for step, state in enumerate(states):
        assert rest(resumed(kind, state), len(indices) - step) == indices[step:], step


def test_beyond_what_is_made_at_a_time() -> None:
    count = 2 * CHUNK + 100
    indices = list(RandomSampler(range(count), seed=5))
    for step in (1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK + 99, count):
        sampler = RandomSampler(range(count), seed=5)
        iterator = iter(sampler)
        assert list(itertools.islice(iterator, step)) == indices[:step]
        assert (state := stated(sampler))["position"] == step
        assert stated(iterator) == state
        assert list(resumed("random", state, count)) == indices[step:]
        assert list(iterator) == indices[step:]


def test_what_comes_before_is_not_made() -> None:
    class Asked(RandomSampler):
        def order(self, epoch: int) -> EpochOrder:
            order = super().order(epoch)

            class Watched(type(order)):  # type: ignore[misc]
                def indices(self, start: int, stop: int, device: Any = "cpu") -> torch.Tensor:
                    asked.append((start, stop))
                    return super().indices(start, stop, device)

            return Watched(order.n, order.count, order.seed, order.epoch)  # type: ignore[attr-defined]

    asked = list[tuple[int, int]]()
    sampler = Asked(range(10**9), seed=5)
    sampler.load_state_dict({**sampler.state_dict(), "position": 10**9 - 3})
    assert len(list(sampler)) == 3
    assert asked == [(10**9 - 3, 10**9)]


def test_a_state_is_a_handful_of_integers() -> None:
    sampler = RandomSampler(range(SAMPLES), seed=7)
    sampler.set_epoch(3)
    next(iter(sampler))
    assert sampler.state_dict() == {"version": 1, "seed": 7, "epoch": 3, "position": 1, "samples": SAMPLES}


def where(stateful: Any) -> tuple[int, int]:
    state = stateful.state_dict()
    return state["epoch"], state["position"]


def test_where_it_is() -> None:
    sampler = RandomSampler(range(SAMPLES))
    found = [where(sampler)]
    indices = iter(sampler)
    found.append(where(sampler))
    next(indices)
    found.append(where(sampler))
    del indices  # broken off
    found.append(where(sampler))
    list(sampler)
    found.append(where(sampler))
    sampler.set_epoch(7)
    found.append(where(sampler))
    list(itertools.islice(sampler, SAMPLES))  # all of them, but nobody knows
    found.append(where(sampler))
    sampler.set_epoch(7)  # from the start
    found.append(where(sampler))
    assert found == [(0, 0), (0, 0), (0, 1), (0, 1), (2, 0), (7, 0), (7, SAMPLES), (7, 0)]
    assert len(list(sampler)) == SAMPLES


@every_sampler
def test_copies_do_not_go_on_where_they_were_made(kind: str) -> None:
    """What was loaded stays."""
    sampler = samplers_of(SAMPLES)[kind]
    next(iter(sampler))
    state = stated(sampler)
    sampler.load_state_dict(state)
    for copied in (copy.copy(sampler), copy.deepcopy(sampler), pickle.loads(pickle.dumps(sampler))):
        assert stated(copied) == state
        assert len(list(copied)) == len(sampler) - 1
    assert len(list(sampler)) == len(sampler) - 1
    assert where(pickle.loads(pickle.dumps(sampler))) == (1, 0)


def test_an_epoch_that_is_chosen_again_is_gone_on_with_another_is_not() -> None:
    """A training loop tells the sampler its epoch before each."""
    sampler = RandomSampler(range(SAMPLES))
    next(iter(sampler))
    state = stated(sampler)
    for epoch, count in ((0, SAMPLES - 1), (1, SAMPLES)):
        sampler.load_state_dict(state)
        sampler.set_epoch(epoch)
        assert len(list(sampler)) == count


def test_of_ranks() -> None:
    """Counted of all of them: with the same global batch, of 12, on others at every step."""

    def ranks(count: int) -> list[ShardedBatches]:
        shards = [Shard(rank, count, "pad") for rank in range(count)]
        return [ShardedBatches(RandomSampler(range(50), seed=5), 12 // count, False, shard) for shard in shards]

    def together(parts: list[list[Any]]) -> list[list[int]]:
        return [[index for part in batch for index in part] for batch in zip(*parts, strict=True)]

    old = [played(batches, batches, 2) for batches in ranks(2)]
    batches = together([found for found, _ in old])
    for step, states in enumerate(zip(*(states for _, states in old), strict=True)):
        assert states[0] == states[1]
        new = ranks(4)
        for one in new:
            one.load_state_dict(states[0])
        found = together([rest(one, len(batches) - step) for one in new])
        for mine, theirs in zip(found, batches[step:], strict=True):
            assert mine[: len(theirs)] == theirs  # the last is padded for four


# ---- in torch's loader, and torchdata's ----


@pytest.mark.parametrize("drop_last", [False, True])
def test_in_torchs_loader(drop_last: bool) -> None:
    """Without workers, which are ahead. An epoch that is not full is over with its last batch."""

    def made() -> TorchDataLoader[Any]:
        return TorchDataLoader(range(SAMPLES), 5, sampler=RandomSampler(range(SAMPLES), seed=3), drop_last=drop_last)

    loader = made()
    batches, states = played(loader.sampler, loader, 2)
    for step, state in enumerate(states):
        loader = made()
        loader.sampler.load_state_dict(state)
        assert rest(loader, len(batches) - step) == batches[step:], step


torchdatas = pytest.mark.filterwarnings("ignore:'set_vital' is deprecated", "ignore:This DataLoader will create")


def run_of_torchdata(make: Any, workers: int, **options: Any) -> None:
    """Two epochs that are stopped after any batch go on in another loader, which ``make`` gives a sampler."""
    stateful = pytest.importorskip("torchdata.stateful_dataloader")

    def loader() -> Any:
        return stateful.StatefulDataLoader(range(SAMPLES), **make(), num_workers=workers, **options)

    def play(state: Any) -> tuple[list[list[Any]], list[Any]]:
        """The batches of what is left of two epochs, and the states after each of these."""
        now, epochs, states = loader(), list[list[Any]](), list[Any]()
        if state is not None:
            now.load_state_dict(copy.deepcopy(state[0]))
        for _ in range(2 if state is None else 2 - state[1]):
            epochs.append([])
            for batch in now:
                epochs[-1].append(values(batch))
                states.append((now.state_dict(), len(epochs) - 1, len(epochs[-1])))
        return epochs, states

    unbroken, states = play(None)
    ends = {0, 1, len(unbroken[0]) - 1, len(unbroken[0]), len(states) - 1}
    for state in states if workers == 0 else [states[step] for step in ends]:
        _, epoch, batch = state
        assert play(state)[0] == [unbroken[epoch][batch:], *unbroken[epoch + 1 :]], (epoch, batch)


@torchdatas
@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("batch_size", [4, 23, None])
@pytest.mark.parametrize("kind", ["torchdata", "gpuload"])
def test_theirs_and_ours(kind: str, batch_size: int | None, workers: int) -> None:
    """Theirs says what is to be expected."""

    def made() -> dict[str, Any]:
        theirs = pytest.importorskip("torchdata.stateful_dataloader.sampler").RandomSampler
        kinds = {"torchdata": theirs, "gpuload": RandomSampler}
        return {"sampler": kinds[kind](range(SAMPLES), generator=torch.Generator().manual_seed(3))}

    run_of_torchdata(made, workers, batch_size=batch_size)


@torchdatas
@pytest.mark.parametrize("workers", [0, 2])
@every_sampler
def test_every_sampler_in_torchdatas_loader(kind: str, workers: int) -> None:
    run_of_torchdata(lambda: {"sampler": samplers_of(SAMPLES)[kind]}, workers, batch_size=5)


@torchdatas
@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("tail", ["drop", "pad", "short"])
def test_batches_of_a_rank_in_torchdatas_loader(tail: str, workers: int) -> None:
    def made() -> dict[str, Any]:
        return {"batch_sampler": ShardedBatches(RandomSampler(range(SAMPLES), seed=3), 3, False, Shard(1, 2, tail))}

    run_of_torchdata(made, workers)


# ---- in gpuload's own ----


@pytest.mark.filterwarnings("ignore:This DataLoader will create")
@pytest.mark.parametrize("workers", [0, 2])
@every_sampler
@pytest.mark.parametrize("kind_of_dataset", KINDS)
def test_in_gpuloads_loader(photos: Path, kind_of_dataset: str, kind: str, workers: int) -> None:
    """What is delivered counts, by batches; what is drawn for the samples is what would have been drawn."""
    dataset = KINDS[kind_of_dataset](photos)

    def made() -> DataLoader:
        sampler = samplers_of(min(len(dataset), 17))[kind]
        return loader_of(dataset, sampler=sampler, num_workers=workers, seed=3, persistent_workers=workers > 0)

    loader = made()
    batches, states = played(loader.sampler, loader, 2)
    steps = range(len(states)) if workers == 0 else [1, len(batches) // 2, len(batches) // 2 + 1]
    for step in steps:
        loader = made()
        loader.sampler.load_state_dict(states[step])
        assert loader.state_dict()["batch"] == -(-states[step]["position"] // 5)
        assert rest(loader, len(batches) - step) == batches[step:], step


@pytest.mark.parametrize("kind", KINDS)
def test_the_state_that_was_loaded_last_counts(photos: Path, kind: str) -> None:
    def made() -> DataLoader:
        return loader_of(KINDS[kind](photos), shuffle=True)

    loader, states = made(), list[tuple[Any, Any]]()
    for _ in loader:
        states.append((stated(loader), stated(loader.sampler)))
    for count in (1, 2):
        mine, samplers = states[0], states[count]
        loader = made()
        loader.load_state_dict(mine[0])
        loader.sampler.load_state_dict(samplers[1])
        assert loader.state_dict()["batch"] == count + 1
        assert len(list(loader)) == len(states) - count - 1
        loader.sampler.load_state_dict(samplers[1])
        loader.load_state_dict(mine[0])
        assert len(list(loader)) == len(states) - 1
        assert len(list(loader)) == len(states)


def test_on_other_ranks_in_gpuloads_loader() -> None:
    def ranks(count: int) -> list[DataLoader]:
        shards = [Shard(rank, count) for rank in range(count)]
        rows = TensorDataset(torch.arange(48))
        return [loader_of(rows, batch_size=12 // count, shuffle=True, seed=5, shard=shard) for shard in shards]

    def together(loaders: list[DataLoader]) -> list[list[int]]:
        return [torch.cat([rows for (rows,) in parts]).tolist() for parts in zip(*loaders, strict=True)]

    old, new = ranks(2), ranks(4)
    batches = together(old) + together(old)
    for loader in old:
        loader.set_epoch(1)
        next(iter(loader))
    for loader in new:
        loader.sampler.load_state_dict(stated(old[1].sampler))
    assert together(new) == batches[5:]


class Pairs(Sampler[list[int]]):
    """A batch sampler of the user's."""

    def __init__(self, sampler: RandomSampler) -> None:
        self.sampler = sampler

    def __iter__(self) -> Iterator[list[int]]:
        return iter(BatchSampler(self.sampler, 2, False))

    def __len__(self) -> int:
        return -(-SAMPLES // 2)


@pytest.mark.parametrize("kind", KINDS)
def test_no_batch_begins_there(photos: Path, kind: str) -> None:
    dataset = KINDS[kind](photos)
    middle = {**RandomSampler(dataset, seed=1).state_dict(), "position": 8}
    loader = loader_of(dataset, shuffle=True)
    loader.sampler.load_state_dict(middle)
    with pytest.raises(
        ArgumentError,
        match="that was loaded into the sampler is at position 8, in the middle of a batch: all ranks together have "
        "batches of 5; choose batch_size so that batch_size times the ranks divides it",
    ):
        next(iter(loader))
    own = loader_of(dataset, batch_size=1, batch_sampler=Pairs(RandomSampler(dataset, seed=1)))
    own.batch_sampler.sampler.load_state_dict(middle)
    with pytest.raises(
        ArgumentError,
        match="into the sampler is in mid-epoch, at position 8, but batch_sampler makes batches of its own: load what "
        "DataLoader.state_dict.. gave instead",
    ):
        next(iter(own))
    own.batch_sampler.sampler.load_state_dict({**middle, "position": 0, "epoch": 3})
    next(iter(own))
    assert own.state_dict()["epoch"] == 3


def test_no_batch_of_ranks_begins_there() -> None:
    batches = ShardedBatches(RandomSampler(range(SAMPLES), seed=1), 3, False, Shard(1, 2))
    batches.load_state_dict({**batches.state_dict(), "position": 9})
    with pytest.raises(ArgumentError, match="at position 9, in the middle of a batch: all ranks together .* of 6"):
        next(iter(batches))


# ---- what is refused ----


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: None, "state must be what RandomSampler.state_dict.. gave, got None"),
        (lambda state: {"yielded": 3}, "state must be what RandomSampler.state_dict.. gave, got {'yielded': 3}"),
        (lambda state: {**state, "version": 2}, "state has version 2, but this gpuload reads version 1: use the"),
        (
            lambda state: {**state, "samples": 24},
            "state is of a sampler with 24 samples in an epoch, but this one has 23",
        ),
        (lambda state: {**state, "position": 24}, "state is damaged: position is 24, of 23 samples"),
        (lambda state: {**state, "position": -1}, "state is damaged: position is -1"),
        (lambda state: {**state, "epoch": 1.0}, "state is damaged: epoch is 1.0"),
        (lambda state: {**state, "seed": None}, "state is damaged: seed is None"),
        (lambda state: {**state, 5: 1}, "state is damaged: 5 is 1"),
        (lambda state: {k: v for k, v in state.items() if k != "seed"}, "state is damaged: seed is 'missing'"),
        (lambda state: loader_of(range(SAMPLES)).state_dict(), "state is damaged: batch is 0"),
    ],
)
@pytest.mark.parametrize(
    "of", [lambda sampler: sampler, iter, lambda sampler: ShardedBatches(sampler, 2, False, Shard(0, 1))]
)
def test_what_is_no_state(of: Any, change: Any, message: str) -> None:
    sampler = RandomSampler(range(SAMPLES), seed=7)
    before = sampler.state_dict()
    with pytest.raises(ArgumentError, match=message):
        of(sampler).load_state_dict(change(before))
    assert sampler.state_dict() == before


def test_an_iterator_that_has_begun_takes_no_state() -> None:
    indices: Any = iter(RandomSampler(range(SAMPLES)))
    state = indices.state_dict()
    next(indices)
    with pytest.raises(ArgumentError, match="state must be loaded before the first index is asked for: into a new ite"):
        indices.load_state_dict(state)
