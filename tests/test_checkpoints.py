"""Checkpoints that frameworks write in mid-epoch, with the loader's state in them: the run goes on as if unbroken."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed.checkpoint as dcp

from gpuload import ArgumentError, DataLoader, RandomSampler, Shard
from tests.test_state import KINDS, loader_of, values

pytestmark = pytest.mark.filterwarnings("ignore:torch.distributed is disabled, unavailable or uninitialized")


def shuffled(kind: str, photos: Path, **options: Any) -> DataLoader:
    return loader_of(KINDS[kind](photos), shuffle=True, **options)


def shown(batches: Any) -> list[Any]:
    return [values(batch) for batch in batches]


# ---- torch.distributed.checkpoint ----


@pytest.mark.parametrize("kind", KINDS)
def test_dcp_in_one_process(photos: Path, tmp_path: Path, kind: str) -> None:
    """The loader stands in the state dict as it is: DCP asks it for its state, and gives it back."""
    loader, weights = shuffled(kind, photos, seed=3), torch.rand(4)
    batches = iter(loader)
    next(batches), next(batches)
    dcp.save({"weights": weights, "loader": loader}, checkpoint_id=tmp_path, no_dist=True)
    other = shuffled(kind, photos)
    found = {"weights": torch.zeros(4), "loader": other}
    dcp.load(found, checkpoint_id=tmp_path, no_dist=True)
    assert torch.equal(found["weights"], weights)
    assert other.state_dict() == loader.state_dict()
    assert shown(other) == shown(batches)
    assert shown(other) == shown(loader)


def test_dcp_of_a_sampler(tmp_path: Path) -> None:
    sampler, other = RandomSampler(range(10), seed=3), RandomSampler(range(10), seed=5)
    indices = iter(sampler)
    next(indices)
    dcp.save({"sampler": sampler}, checkpoint_id=tmp_path, no_dist=True)
    dcp.load({"sampler": other}, checkpoint_id=tmp_path, no_dist=True)
    assert list(other) == list(indices)


def test_dcp_refuses_what_does_not_fit(tmp_path: Path) -> None:
    """It calls `load_state_dict` itself, whose error arrives as it is."""
    dcp.save({"loader": loader_of(range(10))}, checkpoint_id=tmp_path, no_dist=True)
    with pytest.raises(ArgumentError, match="state is of a loader with 10 samples in the dataset, but this one has 11"):
        dcp.load({"loader": loader_of(range(11))}, checkpoint_id=tmp_path, no_dist=True)


DCP = """
import json, sys
from pathlib import Path
import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from gpuload import Shard
from tests.ranks import ranks
from tests.test_checkpoints import GLOBAL_BATCH, shown, shuffled
from tests.test_state import KINDS

what, count, photos, saved, told = sys.argv[1], int(sys.argv[2]), *map(Path, sys.argv[3:])
with ranks(count) as rank:
    dist.init_process_group("gloo")
    torch.manual_seed(count + rank)  # no seed is in common but what the loaders agree on
    found = {}
    for kind in KINDS:
        loader = shuffled(kind, photos, batch_size=GLOBAL_BATCH // count, shard=Shard.here())
        state = {"weights": torch.zeros(2), "loader": loader}
        if what == "load":
            dcp.load(state, checkpoint_id=saved / kind)
        batches = iter(loader)
        if what == "save":
            next(batches)
            dcp.save(state, checkpoint_id=saved / kind)
        found[kind] = shown(batches) + shown(loader)
    (told / f"{what} {count} {rank}").write_text(json.dumps(found))
    dist.destroy_process_group()
"""
GLOBAL_BATCH = 4


def together(ranks: list[list[Any]]) -> list[list[Any]]:
    """The samples of each global batch."""
    return [[sample for part in parts for sample in samples_of(part)] for parts in zip(*ranks, strict=True)]


def samples_of(batch: list[Any]) -> list[Any]:
    """Of rows, of images and labels, or of numbers."""
    return list(zip(*batch, strict=True)) if isinstance(batch[0], list) else batch


def test_dcp_on_other_ranks(run_python: Callable[..., Any], photos: Path, tmp_path: Path) -> None:
    """Saved by two in mid-epoch, loaded by four, two and one: what is no tensor is saved once, for all of them."""
    for what, count in (("save", 2), ("load", 4), ("load", 2)):
        run_python(DCP, what, count, photos, tmp_path, tmp_path, timeout=120)
    for kind in KINDS:
        wanted, *found = (
            together([json.loads((tmp_path / f"{what} {count} {rank}").read_text())[kind] for rank in range(count)])
            for what, count in (("save", 2), ("load", 4), ("load", 2))
        )
        one = shuffled(kind, photos, batch_size=GLOBAL_BATCH, shard=Shard(0, 1))
        dcp.load({"loader": one}, checkpoint_id=tmp_path / kind, no_dist=True)
        found.append(together([shown(one) + shown(one)]))
        for batches in found:
            assert len(batches) == len(wanted)
            for batch, other in zip(batches, wanted, strict=True):  # a last one is padded
                count = min(len(batch), len(other))
                assert plain(batch[:count]) == plain(other[:count]), kind


def plain(samples: list[Any]) -> Any:
    """As JSON has them."""
    return json.loads(json.dumps(samples))
