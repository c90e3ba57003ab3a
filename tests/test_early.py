"""Epochs that torch's workers begin at ``iter``: the one is delivered that is chosen by the first ``next``."""

import itertools
from collections.abc import Callable
from typing import Any

import pytest
from torch.utils.data.distributed import DistributedSampler

from gpuload import DataLoader, RandomSampler
from tests.test_state import Numbers, loader_of, values

pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create")

SAMPLERS: dict[str, Callable[[], Any]] = {
    "gpuload's": lambda: RandomSampler(Numbers(), seed=3),
    "torch's": lambda: DistributedSampler(Numbers(), 1, 0, seed=3),
}
every_sampler = pytest.mark.parametrize("kind", SAMPLERS)
every_worker = pytest.mark.parametrize(
    "options", [{}, {"num_workers": 1}, {"num_workers": 2, "persistent_workers": True}]
)


def made(kind: str, options: dict[str, Any]) -> DataLoader:
    return loader_of(Numbers(), sampler=SAMPLERS[kind](), **options)


def shown(batches: Any) -> list[Any]:
    return [values(batch) for batch in batches]


def epochs_of(kind: str) -> list[list[Any]]:
    loader, epochs = made(kind, {}), list[list[Any]]()
    for epoch in range(7):
        loader.sampler.set_epoch(epoch)
        epochs.append(shown(loader))
    return epochs


@every_sampler
@every_worker
@pytest.mark.parametrize("chosen", [0, 1, 5])
def test_another_one_is_chosen(kind: str, options: dict[str, Any], chosen: int) -> None:
    """Or the same once more."""
    loader, epochs = made(kind, options), epochs_of(kind)
    batches = iter(loader)
    loader.sampler.set_epoch(chosen)
    found = [values(next(batches))]
    assert (loader.state_dict()["epoch"], loader.state_dict()["batch"]) == (chosen, 1)
    assert found + shown(batches) == epochs[chosen]
    assert loader.state_dict()["epoch"] == chosen + 1
    loader.sampler.set_epoch(chosen + 1)  # torch's does not move on by itself
    assert shown(loader) == epochs[chosen + 1]


@every_sampler
@every_worker
@pytest.mark.parametrize("chosen", [None, 0, 1, 5])
@pytest.mark.parametrize("batch", [2, 5])
def test_where_a_state_has_it_begin(kind: str, options: dict[str, Any], chosen: int | None, batch: int) -> None:
    """In the middle, or where nothing is left of an epoch."""
    loader, epochs = made(kind, options), epochs_of(kind)
    loader.load_state_dict({**loader.state_dict(), "batch": batch})
    batches = iter(loader)
    if chosen is not None:
        loader.sampler.set_epoch(chosen)
    assert shown(batches) == (epochs[chosen] if chosen else epochs[0][batch:])
    next_one = (chosen or 0) + 1
    assert loader.state_dict()["epoch"] == next_one
    loader.sampler.set_epoch(next_one)
    assert shown(loader) == epochs[next_one]


@every_worker
def test_loaders_that_share_a_sampler(options: dict[str, Any]) -> None:
    """Each takes the next epoch: that is nobody's choice."""
    sampler, epochs = RandomSampler(Numbers(), seed=3), epochs_of("gpuload's")
    both = [loader_of(Numbers(), sampler=sampler, **options) for _ in range(2)]
    pairs = list(itertools.islice(zip(*both, strict=True), 99))
    assert [shown(batches) for batches in zip(*pairs, strict=True)] == epochs[:2]
