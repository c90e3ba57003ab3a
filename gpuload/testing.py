"""An assertion for your own datasets: the same batches on any number of ranks and workers, resumed at any step."""

import itertools
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch

from gpuload.loader import DataLoader
from gpuload.samplers import Shard

__all__ = ["assert_same_batches"]

Make = Callable[[Shard, int], DataLoader[Any]]
AHEAD = 2  # batches that a resumed loader is asked for: its first, and one that its workers prepared


def assert_same_batches(
    make: Make,
    worlds: Iterable[int] = (1, 2, 3, 4, 8),
    workers: Iterable[int] = (0, 1, 2, 5),
    epochs: int = 2,
) -> None:
    """Whatever loads, and wherever it was stopped, the global batches are those of one rank that never stops.

    All ranks are played in this process, one after the other. After every global batch all of them are made anew,
    get one rank's state as JSON has it, and must go on with the very batches that come next.

    Args:
        make: gives the loader of a shard with so many workers, a new one at each call. Its ``batch_size`` times
            ``shard.world_size`` is the same for each, and its seed is given. A tail is dropped or padded.
        worlds: numbers of ranks.
        workers: numbers of workers.
        epochs: how many are played.

    Raises:
        AssertionError: a sample is another one, or there are more or fewer; it says where.
    """
    first = make(Shard(0, 1), 0)
    start = _json(first.state_dict())
    expected = [_samples(batch) for batch in _played([first], epochs)]
    for world, count in itertools.product(worlds, workers):
        _check(expected, make, start, world, count, epochs)


def _check(expected: list[list[Any]], make: Make, start: Any, world: int, workers: int, epochs: int) -> None:
    what = f"{world} ranks with {workers} workers"
    ranks = _resumed(make, start, world, workers)
    states = [start]
    played = _played(ranks, epochs)
    for number, wanted in enumerate(expected):
        _compare(wanted, next(played, None), f"{what}, batch {number}")
        states.append(_json(ranks[-1].state_dict()))
    _compare(None, next(played, None), f"{what}, batch {len(expected)}")
    for step, state in enumerate(states):
        rest = _played(_resumed(make, state, world, workers), epochs)
        for number, wanted in enumerate(expected[step : step + AHEAD], start=step):
            _compare(wanted, next(rest, None), f"{what}, resumed at batch {step}, batch {number}")


def _resumed(make: Make, state: Any, world: int, workers: int) -> list[DataLoader[Any]]:
    loaders = [make(Shard(rank, world), workers) for rank in range(world)]
    for loader in loaders:
        loader.load_state_dict(state)
    return loaders


def _played(ranks: Sequence[DataLoader[Any]], epochs: int) -> Iterator[list[Any]]:
    """The global batches: what each rank delivers, one batch after the other."""
    for _ in range(epochs):
        yield from map(list, zip(*ranks, strict=True))


def _json(state: Any) -> Any:
    return json.loads(json.dumps(state))


# ---- samples ----


def _samples(parts: list[Any]) -> list[Any]:
    """Of the batches of all ranks."""
    return [sample for batch in parts for sample in _unbatched(batch)]


def _unbatched(batch: Any) -> list[Any]:
    """The samples of a collated batch."""
    if isinstance(batch, torch.Tensor):
        return list(batch.unbind())
    if isinstance(batch, Mapping):
        return [dict(zip(batch, values, strict=True)) for values in zip(*map(_unbatched, batch.values()), strict=True)]
    if isinstance(batch, Sequence) and all(
        isinstance(part, torch.Tensor | Mapping) or _are_views(part) for part in batch
    ):
        return list(zip(*map(_unbatched, batch), strict=True))
    return list(batch)


def _are_views(part: Any) -> bool:
    """Are these several views of each sample, as `transforms.MultiView` makes them?"""
    return isinstance(part, list) and bool(part) and all(isinstance(one, torch.Tensor) and one.ndim > 1 for one in part)


def _compare(wanted: list[Any] | None, parts: list[Any] | None, where: str) -> None:
    if wanted is None or parts is None:
        assert wanted is parts, f"{where}: {'one more' if wanted is None else 'none'}, unlike one rank without a stop"
        return
    found, most = _samples(parts), len(wanted) + len(parts) - 1  # padding is less than one for each rank
    assert len(wanted) <= len(found) <= most, f"{where}: {len(found)} samples, not {len(wanted)}"
    for number, (one, other) in enumerate(zip(wanted, found, strict=False)):
        assert _is_equal(one, other), f"{where}: sample {number} is another one than on one rank without a stop"


def _is_equal(one: Any, other: Any) -> bool:
    if isinstance(one, torch.Tensor):
        return isinstance(other, torch.Tensor) and one.dtype == other.dtype and torch.equal(one, other)
    if isinstance(one, Mapping):
        return one.keys() == other.keys() and all(_is_equal(one[key], other[key]) for key in one)
    if isinstance(one, tuple):
        return len(one) == len(other) and all(map(_is_equal, one, other))
    return bool(one == other)
