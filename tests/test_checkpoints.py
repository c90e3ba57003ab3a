"""Checkpoints that frameworks write in mid-epoch, with the loader's state in them: the run goes on as if unbroken."""

import itertools
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
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
    loader.load_state_dict(
        {**loader.state_dict(), "quarantine": [[3, "torn.jpg", "why"]]}
    )  # a list, which is not empty
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


# ---- Accelerate ----


@contextmanager
def accelerated(is_stateful: bool = False, **options: Any) -> Iterator[Any]:
    """An Accelerator of this process, on the CPU."""
    accelerate = pytest.importorskip("accelerate")
    configuration = accelerate.DataLoaderConfiguration(use_stateful_dataloader=is_stateful, **options)
    yield accelerate.Accelerator(cpu=True, dataloader_config=configuration)
    accelerate.state.AcceleratorState._reset_state(reset_partial_state=True)
    accelerate.state.GradientState._reset_state()


def begun(accelerator: Any, way: str, loader: DataLoader) -> Any:
    """The loader that is iterated, its state among what Accelerate saves."""
    if way == "unprepared":
        accelerator.register_for_checkpointing(loader)
        return loader
    prepared = accelerator.prepare(loader)
    assert type(prepared.base_dataloader) is DataLoader
    if way == "registered":
        accelerator.register_for_checkpointing(prepared)
    return prepared


def gone_on(accelerator: Any, loader: Any, folder: Path, count: int) -> list[Any]:
    """The next batches after a state was loaded, over as many epochs as it takes."""
    accelerator.load_state(str(folder))
    endless = itertools.chain.from_iterable(loader for _ in iter(int, 1))
    return shown(itertools.islice(endless, count))


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("way", ["registered", "unprepared", "torchdata's place"])
@pytest.mark.parametrize("kind", KINDS)
def test_accelerate(photos: Path, tmp_path: Path, kind: str, way: str, workers: int) -> None:
    """Stopped after any batch of two epochs; one loader goes on at each, back and forth, its own seed another one."""
    is_stateful = way == "torchdata's place"
    if is_stateful:
        pytest.importorskip("torchdata")
    with accelerated(is_stateful) as accelerator:
        loader, batches = begun(accelerator, way, shuffled(kind, photos, seed=3, num_workers=workers)), list[Any]()
        for _ in range(2):
            for batch in loader:
                accelerator.save_state(str(tmp_path / str(len(batches))))
                batches.append(values(batch))
    with accelerated(is_stateful) as accelerator:
        loader = begun(accelerator, way, shuffled(kind, photos, num_workers=workers))
        for step in (*range(len(batches)), 1, 0, 0) if workers == 0 else (1, len(batches) - 2, 0):
            found = gone_on(accelerator, loader, tmp_path / str(step), len(batches) - step - 1)
            assert found == batches[step + 1 :], step


@pytest.mark.parametrize("kind", KINDS)
def test_accelerate_counts_what_it_skips(photos: Path, kind: str) -> None:
    with accelerated() as accelerator:
        prepared = accelerator.prepare(shuffled(kind, photos, seed=3, batch_size=2))
        prepared.set_epoch(1)
        for loader in (rest := accelerator.skip_first_batches(prepared, 2)), accelerator.skip_first_batches(rest, 1):
            batches = iter(loader)
            next(batches)
            state = loader.state_dict()
            other = shuffled(kind, photos, batch_size=2)
            other.load_state_dict(state)
            assert shown(other) == shown(batches)
    assert (state["epoch"], state["batch"]) == (2, 4)


ACCELERATE_RUNS = [
    *((kind, "registered", {}) for kind in KINDS),
    *(("images", way, {"split_batches": True}) for way in ("registered", "torchdata's place")),
    *(("anything", way, {"even_batches": False}) for way in ("registered", "torchdata's place")),
    ("images", "torchdata's place", {}),
    # of full batches: else Accelerate fills up the last one with samples of the first that came in this process
    ("images", "registered", {"dispatch_batches": True}),
    ("images", "registered", {"dispatch_batches": True, "split_batches": True}),
]
ACCELERATE = """
import json, sys
from pathlib import Path
import torch
from tests.ranks import ranks
from tests.test_checkpoints import ACCELERATE_RUNS, accelerated, begun, gone_on, shown, shuffled

photos, folder = map(Path, sys.argv[1:])
with ranks(2) as rank:
    torch.manual_seed(rank)
    found = []
    for number, (kind, way, options) in enumerate(ACCELERATE_RUNS):
        saved = folder / f"run {number}"
        with accelerated(way == "torchdata's place", **options) as accelerator:
            loader = begun(accelerator, way, shuffled(kind, photos, batch_size=2, seed=3))
            shown(loader)
            batches = iter(loader)
            next(batches)
            next(batches)
            accelerator.save_state(str(saved))
            rest = shown(batches) + shown(loader)
            accelerator.wait_for_everyone()
        with accelerated(way == "torchdata's place", **options) as accelerator:
            loader = begun(accelerator, way, shuffled(kind, photos, batch_size=2))
            found.append((rest, gone_on(accelerator, loader, saved, len(rest))))
    Path(folder, str(rank)).write_text(json.dumps(found))
"""


def test_accelerate_on_two_ranks(run_python: Callable[..., Any], photos: Path, tmp_path: Path) -> None:
    pytest.importorskip("torchdata")
    run_python(ACCELERATE, photos, tmp_path, timeout=180)
    ranks = [json.loads((tmp_path / str(rank)).read_text()) for rank in range(2)]
    for rank in ranks:
        for run, (rest, found) in zip(ACCELERATE_RUNS, rank, strict=True):
            assert found == rest, run

    state = torch.load(tmp_path / "run 0" / "custom_checkpoint_0.pkl", weights_only=False)
    one = shuffled("images", photos, batch_size=4)  # as many as both had together
    one.load_state_dict(state)
    assert plain(together([shown(one) + shown(one)])) == plain(together([rank[0][0] for rank in ranks]))
    with pytest.raises(ArgumentError, match="mid-epoch with 4 samples in a batch of all ranks, but this loader has 2"):
        shuffled("images", photos, batch_size=2).load_state_dict(state)
