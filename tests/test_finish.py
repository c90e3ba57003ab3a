"""A loader's batch transform: of the global batch, by key, on any ranks, workers and engines, and after a restart."""

import copy
import pickle
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import BatchSampler, DistributedSampler, TensorDataset
from torchvision.transforms import v2

from gpuload import ArgumentTypeError, DataLoader, ImageFolder, Shard, transforms as T
from gpuload.batch_transforms import Compose, CutMix, LabelSmoothing, MixUp, OneHot, Part, RandomChoice
from gpuload.batch_transforms.draws import KeyedDraws
from gpuload.device import HostDevice
from gpuload.testing import assert_same_batches
from tests.cases import THOROUGH
from tests.conftest import Engine

pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create")  # more workers than cores

ALONE = Shard(0, 1)
SEED, CLASSES, COUNT, GLOBAL = 3, 5, 42, 16
WORLDS, WORKERS = (1, 2, 4), (0, 2)
EITHER = RandomChoice([MixUp(num_classes=CLASSES), CutMix(num_classes=CLASSES, alpha=0.4)])
FAR = Compose([EITHER, MixUp(num_classes=CLASSES), LabelSmoothing(CLASSES)])
ROWS = TensorDataset(
    torch.rand(COUNT, 3, 4, 5, generator=torch.Generator().manual_seed(0)), torch.arange(COUNT) % CLASSES
)
FLOATS = T.Compose([T.RandomResizedCrop(12), T.RandomHorizontalFlip(), T.ToDtype(torch.float32, scale=True)])


class Plain:
    """A dataset that torch's workers read."""

    def __len__(self) -> int:
        return COUNT

    def __getitem__(self, index: int) -> Any:
        return ROWS[index]


class Named(Plain):
    """Of dicts, with names."""

    def __getitem__(self, index: int) -> Any:
        image, label = ROWS[index]
        return {"image": image, "label": label, "name": f"number {index}"}


def loader_of(dataset: Any, shard: Shard = ALONE, **options: Any) -> DataLoader:
    options = {"shuffle": True, "seed": SEED, "device": "cpu", "batch_transform": EITHER, **options}
    return DataLoader(dataset, GLOBAL // shard.world_size, shard=shard, **options)


def played(dataset: Any, world: int = 1, epochs: int = 2, tail: str = "pad", **options: Any) -> list[Any]:
    """The global batches: what all ranks deliver."""
    ranks = [loader_of(dataset, Shard(rank, world, tail), **options) for rank in range(world)]
    return [
        [torch.cat([part.cpu() for part in parts]) for parts in zip(*batch, strict=True)]
        for _ in range(epochs)
        for batch in zip(*ranks, strict=True)
    ]


def expected(dataset: Any, transform: Any = EITHER, epochs: int = 2, **options: Any) -> list[Any]:
    """Whole batches, changed as the definition has it."""
    loader = loader_of(dataset, batch_transform=None, **options)
    made = []
    for epoch in range(epochs):
        for number, batch in enumerate(loader):
            draws = KeyedDraws(SEED, epoch, number, 0, 1, HostDevice())
            made.append(transform.of(Part([one.cpu() for one in batch]), draws).batch)
    return made


def assert_begin_alike(found: list[Any], wanted: list[Any]) -> None:
    """Padding may follow."""
    assert len(found) == len(wanted)
    for batch, whole in zip(found, wanted, strict=True):
        for one, other in zip(batch, whole, strict=True):
            assert one.dtype == other.dtype
            assert torch.equal(one[: len(other)], other)


# ---- of the global batch ----


@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize("workers", WORKERS)
def test_images(engine: Engine, photos: Path, world: int, workers: int) -> None:
    dataset = ImageFolder(photos, transform=FLOATS)
    options = {"engine": engine.name, "device": engine.device, "num_workers": workers, "epochs": 1}
    assert_begin_alike(played(dataset, world, **options), expected(dataset, **options))


@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize("tail", ["pad", "drop"])
@pytest.mark.parametrize("transform", [EITHER, FAR], ids=["once", "twice"])
def test_rows(device: torch.device, world: int, tail: str, transform: Any) -> None:
    options = {"device": device, "batch_transform": transform, "tail": tail}
    wanted = expected(ROWS, transform, drop_last=tail == "drop")
    assert_begin_alike(played(ROWS, world, **options), wanted)


@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize("options", [{}, {"num_workers": 2}, {"num_workers": 1, "persistent_workers": True}])
def test_torchs_workers(world: int, options: dict[str, Any]) -> None:
    assert_begin_alike(played(Plain(), world, **options), expected(Plain()))


@pytest.mark.parametrize("world", [2, 4])
def test_a_short_tail_is_mixed_within_itself(world: int) -> None:
    """It is another global batch on each number of ranks; its first sample is mixed with its own last."""
    (*_, tail) = played(ROWS, world, 1, "short")
    (*_, plain) = played(ROWS, world, 1, "short", batch_transform=None)
    draws = KeyedDraws(SEED, 0, COUNT // GLOBAL, 0, 1, HostDevice())
    assert_begin_alike([tail], [EITHER.of(Part(plain), draws).batch])


def test_torchvisions_transform_with_the_same_parameters(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a whole batch becomes is what torchvision makes of it."""
    theirs = v2.MixUp(num_classes=CLASSES)
    for number, (made, batch) in enumerate(
        zip(played(ROWS, 2, 1, batch_transform=theirs), played(ROWS, 1, 1, batch_transform=None), strict=True)
    ):
        lam = KeyedDraws(SEED, 0, number, 0, 1, HostDevice()).beta(1.0)
        monkeypatch.setattr(theirs, "make_params", lambda _, lam=lam: {"lam": lam})
        wanted = theirs(batch)
        assert_begin_alike([made], [wanted])


@pytest.mark.parametrize("dataset", [ROWS, Plain(), Named()], ids=["rows", "torch's workers", "dicts"])
@pytest.mark.parametrize("tail", ["drop", "pad"])
def test_the_same_batches_wherever_it_was_stopped(dataset: Any, tail: str) -> None:
    def make(shard: Shard, workers: int) -> DataLoader:
        return loader_of(dataset, Shard(shard.rank, shard.world_size, tail), num_workers=workers, batch_transform=FAR)

    is_quick = dataset is ROWS
    assert_same_batches(make, WORLDS if is_quick or THOROUGH else (2,), WORKERS if is_quick or THOROUGH else (0,))


@pytest.mark.parametrize("engine", ["pillow", "cpu", "simulated"], indirect=True)
def test_the_same_images_wherever_it_was_stopped(engine: Engine, photos: Path) -> None:
    dataset = ImageFolder(photos, transform=FLOATS)

    def make(shard: Shard, workers: int) -> DataLoader:
        return loader_of(dataset, shard, num_workers=workers, engine=engine.name, device=engine.device)

    assert_same_batches(make, WORLDS if THOROUGH else (1, 2), (2,), 1)


def test_what_is_loaded_to_be_mixed_in_is_not_delivered(photos: Path) -> None:
    (mine, _) = (loader_of(ImageFolder(photos, transform=FLOATS), Shard(rank, 2)) for rank in range(2))
    assert [len(images) for images, _ in mine] == [8, 4]
    assert len([*mine.recipes(0)]) == 12


# ---- whatever is collated ----


def test_a_collate_function_has_both_parts() -> None:
    def collate(rows: list[Any]) -> Any:
        images, labels = zip(*rows, strict=True)
        return {"pixels": torch.stack(images), "labels": torch.stack(labels), "count": len(rows)}

    def values(batches: list[Any]) -> list[Any]:
        return [[batch["pixels"], batch["labels"]] for batch in batches]

    whole = values([*loader_of(ROWS, collate_fn=collate)])
    ranks = [loader_of(ROWS, Shard(rank, 2), collate_fn=collate) for rank in range(2)]
    parts = [*zip(*ranks, strict=True)]
    assert [part["count"] for part in parts[0]] == [8, 8]
    found = [[*map(torch.cat, zip(*values(list(part)), strict=True))] for part in parts]
    assert_begin_alike(found, whole)


def test_labels_that_are_no_numbers(photos: Path) -> None:
    """Both parts have their names; the transform's labels are elsewhere."""
    dataset = ImageFolder(photos, transform=FLOATS, target_transform=lambda label: {"name": "x", "label": label})
    ranks = [loader_of(dataset, Shard(rank, 2)) for rank in range(2)]
    for (one, other), (images, labels) in zip(zip(*ranks, strict=True), loader_of(dataset), strict=True):
        assert torch.equal(torch.cat([one[0], other[0]]), images)
        assert torch.equal(torch.cat([one[1]["label"], other[1]["label"]]), labels["label"])
        assert len(one[1]["name"]) == len(one[0])


def test_a_file_that_cannot_be_read_is_replaced_where_it_is_mixed_in(photos: Path, tmp_path: Path) -> None:
    root = shutil.copytree(photos, tmp_path / "photos")
    for name in ("03.jpg", "07.jpg", "09.jpg"):
        (root / "cats" / name).write_bytes(b"")
    dataset = ImageFolder(root, transform=FLOATS)
    options = {"on_error": "replace", "max_bad_samples": 3}
    assert_begin_alike(played(dataset, 4, **options), played(dataset, 1, **options))


# ---- batches that nobody knows more of ----


def test_with_a_sampler_of_others_a_rank_mixes_its_own() -> None:
    """As torch would; the parameters are those of the global batch all the same."""
    ranks = []
    for rank in range(2):
        options = {"sampler": DistributedSampler(ROWS, 2, rank), "shuffle": None, "shard": None, "seed": SEED}
        loader = DataLoader(ROWS, 8, device="cpu", batch_transform=MixUp(num_classes=CLASSES), **options)
        assert "samples of this rank are mixed with each other alone" in str(loader.stages()[-1])
        plain = DataLoader(ROWS, 8, device="cpu", **options)
        for number, (made, batch) in enumerate(zip(loader, plain, strict=True)):
            draws = KeyedDraws(SEED, 0, number, 0, 1, HostDevice())
            assert_begin_alike([made], [MixUp(num_classes=CLASSES).of(Part(batch), draws).batch])
        ranks.append(loader)


def test_batches_of_a_batch_sampler() -> None:
    batches = BatchSampler(range(COUNT), 10, False)
    loader = DataLoader(ROWS, batch_sampler=[*batches], seed=SEED, device="cpu", batch_transform=EITHER)
    for number, (made, indices) in enumerate(zip(loader, batches, strict=True)):
        draws = KeyedDraws(SEED, 0, number, 0, 1, HostDevice())
        assert_begin_alike([made], [EITHER.of(Part([*ROWS[indices]]), draws).batch])


# ---- any function ----


def test_ordinary_code_draws_by_key_and_leaves_the_generators_alone() -> None:
    def noisy(batch: Any) -> Any:
        return [batch[0] + torch.rand_like(batch[0]) * np.random.rand(), batch[1]]

    torch.manual_seed(1)
    first = played(ROWS, batch_transform=noisy)
    torch.manual_seed(2)
    before = torch.random.get_rng_state()
    assert_begin_alike(played(ROWS, batch_transform=noisy), first)
    assert torch.equal(torch.random.get_rng_state(), before)
    loader = loader_of(ROWS, batch_transform=noisy)
    state = loader.state_dict() | {"batch": 1}
    loader.load_state_dict(state)
    assert_begin_alike([*loader], first[1:3])
    (one, other) = (next(iter(loader_of(ROWS, Shard(rank, 2), batch_transform=noisy))) for rank in range(2))
    plain = [next(iter(loader_of(ROWS, Shard(rank, 2), batch_transform=None))) for rank in range(2)]
    assert not torch.allclose(one[0] - plain[0][0], other[0] - plain[1][0]), "each rank has numbers of its own"


@pytest.mark.parametrize("mode", ["batch", "pair", "elem"])
def test_timms(mode: str) -> None:
    mixup = pytest.importorskip("timm.data").Mixup(0.8, 1.0, mode=mode, num_classes=CLASSES)
    np.random.seed(5)
    found = played(ROWS, 1, 1, "drop", batch_transform=mixup)
    assert np.random.get_state()[1][0] == np.random.RandomState(5).get_state()[1][0]
    assert [labels.shape for _, labels in found] == [(GLOBAL, CLASSES)] * 2
    assert_begin_alike(played(ROWS, 1, 1, "drop", batch_transform=mixup, num_workers=0), found)
    assert "Mixup, ordinary code" in str(loader_of(ROWS, batch_transform=mixup).stages()[-1])


def test_what_it_raises_comes_in_its_turn() -> None:
    """And the batches after it have the numbers that they would have had."""

    def fails(batch: Any) -> Any:
        if len(seen) == 1:
            seen.append(None)
            raise KeyError("no")
        seen.append(float(torch.rand(1)))
        return batch

    seen = list[Any]()
    batches = iter(loader_of(ROWS, batch_transform=fails))
    next(batches)
    with pytest.raises(KeyError):
        next(batches)
    assert len(next(batches)[0]) == COUNT - 2 * GLOBAL
    drawn = [KeyedDraws(SEED, 0, number, 0, 1, HostDevice()).call(torch.rand, 1).item() for number in range(3)]
    assert seen == [drawn[0], None, drawn[2]]

    def ends(batch: Any) -> Any:
        raise StopIteration

    with pytest.raises(RuntimeError, match="raised StopIteration"):
        next(iter(loader_of(ROWS, batch_transform=ends)))


# ---- the attribute ----


@pytest.mark.parametrize("dataset", [ROWS, Plain()], ids=["rows", "torch's workers"])
@pytest.mark.parametrize("options", [{}, {"num_workers": 1, "persistent_workers": True}])
def test_it_counts_from_the_next_epoch(dataset: Any, options: dict[str, Any]) -> None:
    loader = loader_of(dataset, Shard(1, 2), batch_transform=None, **options)
    epochs = list[Any]()
    for transform in (OneHot(CLASSES), MixUp(num_classes=CLASSES), None):
        batches = iter(loader)
        first = next(batches)
        loader.batch_transform = transform
        epochs.append([first, *batches])
    epochs.append([*loader])
    kinds = [[labels.ndim for _, labels in epoch] for epoch in epochs]
    assert kinds == [[1] * 3, [2] * 3, [2] * 3, [1] * 3]
    assert {len(batch[0]) for epoch in epochs for batch in epoch[:2]} == {8}
    again = loader_of(dataset, Shard(1, 2), batch_transform=MixUp(num_classes=CLASSES))
    again.set_epoch(2)
    assert_begin_alike(epochs[2], [*again])


def test_copies() -> None:
    given = loader_of(ROWS, Shard(1, 2))
    wanted = [*given]
    given.set_epoch(0)
    for made in (pickle.loads(pickle.dumps(given)), copy.deepcopy(given)):
        assert_begin_alike([*made], wanted)


def test_lightning_makes_one_like_it() -> None:
    """Of its attributes, with a sampler of its own."""
    update = pytest.importorskip("lightning.pytorch.utilities.data")._update_dataloader
    loader = DataLoader(ROWS, 8, seed=SEED, device="cpu", batch_transform=EITHER)
    made = update(loader, DistributedSampler(ROWS, 2, 1, shuffle=False))
    assert type(made) is DataLoader and made is not loader
    assert made.batch_transform is EITHER
    assert [labels.shape for _, labels in made] == [(8, CLASSES), (8, CLASSES), (5, CLASSES)]


@pytest.mark.parametrize("world", [1, 2])
def test_accelerate_keeps_it(world: int) -> None:
    """With the parameters of the global batch; each process mixes its own samples."""
    prepare = pytest.importorskip("accelerate.data_loader").prepare_data_loader
    for rank in range(world):
        loaders = [DataLoader(ROWS, 8, seed=SEED, device="cpu", batch_transform=given) for given in (EITHER, None)]
        assert not any(loader._is_accelerate_prepared for loader in loaders)  # as `Accelerator.prepare` asks
        options = {"num_processes": world, "process_index": rank, "put_on_device": False}
        mixed, plain = (prepare(loader, **options) for loader in loaders)
        for number, (made, batch) in enumerate(zip(mixed, plain, strict=True)):
            draws = KeyedDraws(SEED, 0, number, 0, 1, HostDevice())
            assert_begin_alike([made], [EITHER.of(Part(batch), draws).batch])


def test_it_must_be_a_function() -> None:
    with pytest.raises(ArgumentTypeError, match=r"batch_transform must be one of .*, got 'mixup' \(str\)"):
        loader_of(ROWS, batch_transform="mixup")
    loader = loader_of(ROWS)
    loader.batch_transform = 3
    with pytest.raises(ArgumentTypeError, match=r"got 3 \(int\)"):
        iter(loader)


def test_words(capsys: pytest.CaptureFixture[str]) -> None:
    loader_of(ROWS, Shard(0, 2)).explain()
    printed = " ".join(capsys.readouterr().out.split())
    assert "transform CPU one of 0.5 MixUp(alpha=1.0, num_classes=5) or 0.5 CutMix(" in printed
    assert "of the global batch: 1 sample more than are delivered are loaded for each" in printed
    loader_of(ROWS).explain()
    assert "of the global batch" not in capsys.readouterr().out


def test_a_seed_that_is_restored_counts() -> None:
    given, other = loader_of(ROWS), loader_of(ROWS, seed=SEED + 1)
    wanted = [*given]
    given.set_epoch(0)
    other.load_state_dict(given.state_dict())
    assert_begin_alike([*other], wanted)


def test_batches_as_they_end(photos: Path) -> None:
    """The parameters go by the number of those that were delivered."""
    seen = list[float]()

    def draws(batch: Any) -> Any:
        seen.append(float(torch.rand(1)))
        return batch

    dataset = ImageFolder(photos, transform=FLOATS)
    batches = [*loader_of(dataset, batch_transform=draws, in_order=False, num_workers=2)]
    assert sorted(len(images) for images, _ in batches) == [8, 16]
    assert seen == [KeyedDraws(SEED, 0, number, 0, 1, HostDevice()).call(torch.rand, 1).item() for number in range(2)]
