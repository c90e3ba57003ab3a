"""Accelerate, which makes a loader of its own of the one that it is given: it stays gpuload's."""

import json
import logging
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader as TorchDataLoader, IterableDataset, TensorDataset

from gpuload import DataLoader, ImageFolder, RandomSampler, frameworks, transforms as T
from gpuload.frameworks import Turns

accelerate = pytest.importorskip("accelerate")
data_loader = pytest.importorskip("accelerate.data_loader")

LOADERS: dict[str, Any] = {"gpuload": DataLoader, "torch": TorchDataLoader}
KINDS = ["images", "tensors", "anything"]
CONFIGURATIONS: list[dict[str, bool]] = [
    {},
    {"split_batches": True},
    {"dispatch_batches": True},
    {"even_batches": False},
    {"use_seedable_sampler": True},
]

both = pytest.mark.parametrize("loader_class", LOADERS.values(), ids=LOADERS)
every_kind = pytest.mark.parametrize("kind", KINDS)


@pytest.fixture
def accelerator() -> Iterator[Any]:
    yield accelerate.Accelerator(cpu=True)
    accelerate.state.AcceleratorState._reset_state(reset_partial_state=True)
    accelerate.state.GradientState._reset_state()


def dataset_of(kind: str, photos: Any, count: int) -> Any:
    """A dataset of this kind; the second item of a sample is its number."""
    if kind == "images":
        transform = T.Compose([T.RandomCrop(16), T.ToDtype(torch.float32, scale=True)])
        return Numbered(photos, transform=transform).first(count)
    if kind == "tensors":
        return TensorDataset(torch.rand(count, 3), torch.arange(count))
    return [(torch.full((3,), float(number)), number) for number in range(count)]


class Numbered(ImageFolder):
    """Labels are numbers of samples."""

    def first(self, count: int) -> "Numbered":
        """With so many samples, the same ones again where there are less."""
        self.samples = [(self.samples[number % len(self.samples)][0], number) for number in range(count)]
        return self


def make(loader_class: Any, dataset: Any, **options: Any) -> Any:
    return loader_class(dataset, 4, **options, **({"device": "cpu"} if loader_class is DataLoader else {}))


def numbers(loader: Any) -> list[int]:
    return [number for batch in loader for number in batch[1].tolist()]


# ---- one process ----


@every_kind
@both
def test_one_process(accelerator: Any, photos: Path, loader_class: Any, kind: str) -> None:
    loader = make(loader_class, dataset_of(kind, photos, 22), shuffle=True)
    prepared = accelerator.prepare(loader)
    assert type(prepared.base_dataloader) is loader_class
    assert isinstance(prepared, loader_class)
    assert len(prepared) == 6
    first, second = numbers(prepared), numbers(prepared)
    assert sorted(first) == sorted(second) == [*range(22)]
    assert first != second
    assert accelerator.prepare(prepared) is prepared


@both
def test_gradients_are_accumulated_to_the_end(photos: Path, loader_class: Any) -> None:
    accelerator = accelerate.Accelerator(cpu=True, gradient_accumulation_steps=4)
    model = torch.nn.Linear(3, 1)
    loader = make(loader_class, dataset_of("tensors", photos, 22), shuffle=True)
    model, optimizer, loader = accelerator.prepare(model, torch.optim.SGD(model.parameters(), 0.1), loader)
    synced, ends, metrics = [], [], []
    for rows, labels in loader:
        with accelerator.accumulate(model):
            accelerator.backward(model(rows).mean())
            optimizer.step()
            optimizer.zero_grad()
            synced.append(accelerator.sync_gradients)
            ends.append(accelerator.gradient_state.end_of_dataloader)
        metrics += accelerator.gather_for_metrics(labels).tolist()
    assert synced == [False, False, False, True, False, True]
    assert ends == [False] * 5 + [True]
    assert accelerator.gradient_state.remainder == -1  # of no loader: the epoch is over
    assert sorted(metrics) == [*range(22)]
    assert type(loader.base_dataloader) is loader_class
    accelerate.state.AcceleratorState._reset_state(reset_partial_state=True)
    accelerate.state.GradientState._reset_state()


@every_kind
def test_batches_that_are_skipped_are_those_that_were_seen(accelerator: Any, photos: Path, kind: str) -> None:
    """What is drawn for the others, too."""

    def prepared() -> Any:
        return accelerator.prepare(make(DataLoader, dataset_of(kind, photos, 22), shuffle=True, seed=3))

    def shown(loader: Any) -> list[Any]:
        return [[part.tolist() for part in batch] for batch in loader]

    unbroken = prepared()
    epochs = [shown(unbroken) for _ in range(3)]
    resumed = prepared()
    resumed.set_epoch(1)
    rest = accelerator.skip_first_batches(resumed, 2)
    assert type(rest.base_dataloader) is DataLoader
    assert len(rest) == 4
    found = shown(rest)
    if kind == "tensors":  # rows are random
        found, epochs = [one[1] for one in found], [[one[1] for one in epoch] for epoch in epochs]
    assert found == epochs[1][2:]
    again = accelerator.skip_first_batches(rest, 1)
    assert type(again.base_dataloader) is DataLoader


@both
def test_an_epoch_that_is_broken_off_does_not_come_again(accelerator: Any, loader_class: Any) -> None:
    prepared = accelerator.prepare(make(loader_class, range(1000), shuffle=True))
    firsts = {tuple(next(iter(prepared)).tolist()) for _ in range(5)}
    assert len(firsts) == 5


def test_turns() -> None:
    turns = Turns()
    assert [turns.next(told) for told in (0, 0, 0, 1, 2, 2)] == [0, 1, 2, 3, 4, 5]
    assert [turns.next(told) for told in (7, 8)] == [7, 8]
    assert [turns.next(told) for told in (1, 1, 2)] == [1, 2, 3]


def test_a_loader_of_torchs_is_left_alone(accelerator: Any) -> None:
    dataset = TensorDataset(torch.arange(8))
    ours, theirs = accelerator.prepare(make(DataLoader, dataset), TorchDataLoader(dataset, 4))
    assert type(ours.base_dataloader) is DataLoader
    assert type(theirs.base_dataloader) is TorchDataLoader


def test_what_was_chosen_is_kept(accelerator: Any, photos: Path) -> None:
    options = {"dtype": torch.float16, "memory_format": torch.channels_last, "engine": "pillow", "num_workers": 2}
    loader = make(DataLoader, dataset_of("images", photos, 22), seed=5, timeout=9, prefetch_factor=3, **options)
    kept = accelerator.skip_first_batches(accelerator.prepare(loader), 1).base_dataloader
    assert kept is not loader
    for name in (*options, "seed", "device", "timeout", "prefetch_factor", "collate_fn"):
        assert getattr(kept, name) == getattr(loader, name), name
    images, _ = next(iter(kept))
    assert (images.dtype, images.is_contiguous(memory_format=torch.channels_last)) == (torch.float16, True)


# ---- what cannot be kept is said, in one line ----


class Stream(IterableDataset[int]):
    def __iter__(self) -> Iterator[int]:
        return iter(range(8))


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == "gpuload"]


def test_samples_without_batches(accelerator: Any, caplog: pytest.LogCaptureFixture) -> None:
    accelerator.prepare(DataLoader(TensorDataset(torch.arange(8)), batch_size=None, device="cpu"))
    (line,) = lines(caplog)
    assert line == "Accelerate leaves out gpuload, and the sampler, where batch_size is None: give it a number"


def test_an_iterable_dataset(accelerator: Any, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    prepared = accelerator.prepare(DataLoader(Stream(), 4, device="cpu"))
    assert [batch.tolist() for batch in prepared] == [[0, 1, 2, 3], [4, 5, 6, 7]]
    (line,) = lines(caplog)
    assert line == (
        "Accelerate reads an IterableDataset with torch's own loader: for gpuload's asynchronous copies, "
        "pass pin_memory=True here and DataLoaderConfiguration(non_blocking=True) there"
    )


def test_in_the_place_of_torchdatas_loader(accelerator: Any, caplog: pytest.LogCaptureFixture) -> None:
    """torchdata's does not read what gpuload's does; its state is not saved then, but gpuload's."""
    loader = DataLoader(TensorDataset(torch.arange(8)), 4, device="cpu")
    assert not loader._is_accelerate_prepared
    made = data_loader.DataLoaderShard(loader.dataset, batch_sampler=loader.batch_sampler, use_stateful_dataloader=True)
    assert type(made.base_dataloader) is DataLoader
    assert made.use_stateful_dataloader
    assert made.state_dict() == loader.state_dict()
    assert lines(caplog) == []


@pytest.mark.filterwarnings("ignore:'set_vital' is deprecated")
def test_torchdatas_loader_of_torchs(accelerator: Any) -> None:
    torchdata = pytest.importorskip("torchdata.stateful_dataloader")
    assert not make(DataLoader, range(8))._is_accelerate_prepared  # adapters are gpuload's from now on
    made = data_loader.DataLoaderShard(range(8), batch_size=4, use_stateful_dataloader=True)
    assert type(made.base_dataloader) is torchdata.StatefulDataLoader
    batches = iter(made)
    next(batches)
    state = made.state_dict()
    assert not state["_iterator_finished"]
    made.load_state_dict(state)
    assert [batch.tolist() for batch in made] == [batch.tolist() for batch in batches] == [[4, 5, 6, 7]]


def test_an_accelerate_without_adapters(
    accelerator: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "accelerate.data_loader", ModuleType("accelerate.data_loader"))
    monkeypatch.setattr(frameworks, "_follow_accelerate", frameworks._follow_accelerate.__wrapped__)
    assert not make(DataLoader, TensorDataset(torch.arange(8)))._is_accelerate_prepared
    (line,) = lines(caplog)
    assert line == "Accelerate makes a loader of torch's, and gpuload is left out: install accelerate>=1.10"


# ---- the part of a process ----


@pytest.mark.parametrize(("count", "skipped"), [(3, 0), (16, 0), (21, 0), (24, 0), (21, 1), (24, 1)])
@pytest.mark.parametrize("split_batches", [False, True])
@pytest.mark.parametrize("even_batches", [False, True])
@pytest.mark.parametrize("drop_last", [False, True])
@every_kind
def test_parts_are_accelerates(
    photos: Path, kind: str, count: int, split_batches: bool, even_batches: bool, drop_last: bool, skipped: int
) -> None:
    """The batches that its batch sampler gives; and samples look as they do in one process."""
    dataset = dataset_of(kind, photos, count)
    whole = make(DataLoader, dataset, sampler=RandomSampler(dataset, seed=3), seed=5)
    looks = {label: look.tolist() for rows, labels in whole for look, label in zip(rows, labels.tolist(), strict=True)}
    for rank in range(2):

        def part(seed: int = 3, rank: int = rank) -> Any:
            batches = torch.utils.data.BatchSampler(RandomSampler(dataset, seed=seed), 4, drop_last)
            shard = data_loader.BatchSamplerShard(batches, 2, rank, split_batches, even_batches)
            return data_loader.SkipBatchSampler(shard, skipped) if skipped else shard

        wanted = list(part())
        loader = DataLoader(dataset, batch_sampler=part(), seed=5, device="cpu")
        found = list(loader)
        assert [labels.tolist() for _, labels in found] == wanted
        for rows, labels in found:
            for look, label in zip(rows, labels.tolist(), strict=True):
                assert look.tolist() == looks[label]
        assert loader.stages()[0].facts[-1] != "one by one"


def test_parts_of_tensors_are_made_on_the_device(device: torch.device) -> None:
    rows, parts = TensorDataset(torch.arange(1000)), []
    for rank in range(2):
        batches = torch.utils.data.BatchSampler(RandomSampler(rows, seed=3), 48, False)
        shard = data_loader.BatchSamplerShard(batches, 2, rank)
        parts.append([batch.cpu() for (batch,) in DataLoader(rows, batch_sampler=shard, device=device)])
    order = RandomSampler(rows, seed=3).order(0).indices(0, 1000)
    wanted = torch.cat([order, order[: 22 * 48 - 1000]])  # filled up from the beginning
    assert torch.equal(torch.cat([batch for pair in zip(*parts, strict=True) for batch in pair]), wanted)


RUNS = [(DataLoader, "images"), (DataLoader, "tensors"), (DataLoader, "anything"), (TorchDataLoader, "anything")]
PROGRAM = """
import json, sys
from pathlib import Path
import accelerate, torch
from tests.ranks import ranks
from tests.test_accelerate import CONFIGURATIONS, RUNS, dataset_of, make

def run(loader_class, kind, options, count):
    configuration = accelerate.DataLoaderConfiguration(**options)
    accelerator = accelerate.Accelerator(cpu=True, dataloader_config=configuration)
    loader = accelerator.prepare(make(loader_class, dataset_of(kind, sys.argv[1], count), shuffle=True))
    assert type(loader.base_dataloader) is loader_class
    epochs, metrics, ends = [], [], []
    for _ in range(2):
        epochs.append([])
        for _, numbers in loader:
            epochs[-1] += numbers.tolist()
            ends.append(loader.end_of_dataloader)
            if options.get("even_batches", True):  # else there are not as many in each process
                metrics += accelerator.gather_for_metrics(numbers).tolist()
    broken_off = [next(iter(loader))[1].tolist() for _ in range(3)]
    rest = [len(numbers) for _, numbers in accelerator.skip_first_batches(loader, 2)]
    return {"epochs": epochs, "metrics": metrics, "ends": ends, "broken_off": broken_off, "rest": rest}

with ranks(2) as rank:
    torch.manual_seed(rank)
    found = [
        [run(loader_class, kind, options, 61 if options else 64) for options in CONFIGURATIONS]
        for loader_class, kind in RUNS
    ]
    Path(sys.argv[2], str(rank)).write_text(json.dumps(found))
"""


def test_two_processes(run_python: Callable[..., Any], photos: Path, tmp_path: Path) -> None:
    """Without a seed in common: every sample once, in each epoch another order; all else as with torch's class."""
    ended = run_python(PROGRAM, photos, tmp_path, timeout=180)
    assert "terminate" not in ended.stderr
    first, second = (json.loads((tmp_path / str(rank)).read_text()) for rank in (0, 1))
    for (_, kind), runs, others in zip(RUNS, first, second, strict=True):
        for options, run, other, theirs in zip(CONFIGURATIONS, runs, others, first[-1], strict=True):
            name, count = f"{kind} {options}", 61 if options else 64
            assert [len(one) for one in run["epochs"]] == [len(one) for one in theirs["epochs"]], name
            for same in ("ends", "rest"):
                assert run[same] == theirs[same], name
            assert run["metrics"] == other["metrics"], name
            if "use_seedable_sampler" in options:
                continue  # an order of Accelerate's, which wants a seed in common
            assert run["epochs"][0] != run["epochs"][1], name
            for epoch, rest in zip(run["epochs"], other["epochs"], strict=True):
                assert {*epoch, *rest} == {*range(count)}, name
            assert sorted(run["metrics"]) == sorted([*range(count)] * 2 if run["metrics"] else []), name
            assert len({*map(tuple, run["broken_off"])}) == 3, name
            for one, rest in zip(run["broken_off"], other["broken_off"], strict=True):
                assert not {*one} & {*rest}, name  # parts of the same epoch


def test_whoever_looks_at_all_that_a_loader_has_does_not_import_it(run_python: Callable[..., Any]) -> None:
    code = """
import inspect, sys
sys.modules["accelerate"] = None  # as where it is not installed
from gpuload import DataLoader
print(dict(inspect.getmembers(DataLoader([1, 2], device="cpu")))["_is_accelerate_prepared"])
"""
    assert run_python(code).stdout == "False\n"
