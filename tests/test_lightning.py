"""Lightning's Trainer, with gpuload's loader in the place of torch's."""

import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader as TorchDataLoader, Dataset, TensorDataset

from gpuload import DataLoader, ImageFolder, transforms as T

pytestmark = [
    pytest.mark.filterwarnings(f"ignore:{start}")
    for start in (
        "`isinstance.treespec, LeafSpec.` is deprecated:FutureWarning",  # of torch, at what Lightning calls
        "The '\\w+_dataloader' does not have many workers",
    )
]
lightning = pytest.importorskip("lightning")

SAMPLES, RANKS_SAMPLES, BATCH = 12, 64, 4  # a sample's label is its number
LOADERS: dict[str, Any] = {"gpuload": DataLoader, "torch": TorchDataLoader}
KINDS = ["images", "torchvision", "tensors", "anything"]


class Samples(Dataset[Any]):
    def __init__(self, count: int) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return torch.full((3, 8, 8), float(index)), index


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A class for each sample."""
    root = tmp_path_factory.mktemp("photos")
    for number in range(RANKS_SAMPLES):
        (root / f"{number:02}").mkdir()
        noise = np.random.default_rng(number).integers(0, 256, (16, 16, 3), np.uint8)
        Image.fromarray(noise).save(root / f"{number:02}" / "photo.png")
    return root


def dataset_of(kind: str, folder: Path, samples: int) -> Any:
    """A dataset of this kind, of so many samples."""
    match kind:
        case "images":
            images = ImageFolder(folder, transform=T.Compose([T.RandomCrop(8), T.ToDtype(torch.float32, scale=True)]))
        case "torchvision":
            vision = pytest.importorskip("torchvision")
            crop = vision.transforms.Compose([vision.transforms.RandomCrop(8), vision.transforms.ToTensor()])
            images = vision.datasets.ImageFolder(folder, transform=crop)
        case "tensors":
            return TensorDataset(torch.rand(samples, 3, 8, 8), torch.arange(samples))
        case _:
            return Samples(samples)
    images.samples = images.samples[:samples]
    return images


@pytest.fixture
def dataset(request: pytest.FixtureRequest, folder: Path) -> Any:
    return dataset_of(request.param, folder, SAMPLES)


every_kind = pytest.mark.parametrize("dataset", KINDS, indirect=True)
both = pytest.mark.parametrize("loader_class", LOADERS.values(), ids=LOADERS)


def make(loader_class: Any, dataset: Any, **options: Any) -> Any:
    if loader_class is TorchDataLoader:
        options.pop("seed", None)
    return loader_class(dataset, BATCH, **options, **({"device": "cpu"} if loader_class is DataLoader else {}))


class Module(lightning.LightningModule):  # type: ignore[misc]
    """Remembers, of each epoch, which samples it got and what they looked like."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(3, 1)
        self.train_order: list[list[int]] = []
        self.looks: list[float] = []
        self.val_order: list[list[int]] = []

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), 0.01)

    def on_train_epoch_start(self) -> None:
        self.train_order.append([])

    def on_validation_epoch_start(self) -> None:
        self.val_order.append([])

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        images, labels = batch
        self.train_order[-1] += labels.tolist()
        self.looks += images.sum(dim=(1, 2, 3)).tolist()
        return self.layer(images.mean(dim=(2, 3))).square().mean()

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.val_order[-1] += batch[1].tolist()

    def predict_step(self, batch: Any, batch_idx: int) -> list[int]:
        return batch[1].tolist()


def trainer(epochs: int, **options: Any) -> Any:
    quiet = ("logger", "enable_progress_bar", "enable_model_summary", "enable_checkpointing")
    usual = {**dict.fromkeys(quiet, False), "devices": 1, "log_every_n_steps": 1, "num_sanity_val_steps": 0}
    return lightning.Trainer(accelerator="cpu", max_epochs=epochs, **{**usual, **options})


# ---- one process ----


@every_kind
@both
def test_fit(loader_class: Any, dataset: Any) -> None:
    module, loop = Module(), trainer(2)
    loop.fit(module, make(loader_class, dataset, shuffle=True), make(loader_class, dataset))
    first, second = module.train_order
    assert sorted(first) == sorted(second) == [*range(SAMPLES)]
    assert first != second
    assert module.val_order == [[*range(SAMPLES)]] * 2


@every_kind
@both
def test_predict(loader_class: Any, dataset: Any) -> None:
    """Lightning calls the loader's class again, with a batch sampler that counts, and without drop_last."""
    loop, loader = trainer(1), make(loader_class, dataset, drop_last=True, seed=5)
    found = loop.predict(Module(), loader)
    assert found == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]]
    remade = loop.predict_dataloaders
    assert type(remade) is loader_class
    if loader_class is DataLoader:
        assert remade is not loader
        assert (remade.seed, remade.device, remade.engine) == (5, torch.device("cpu"), loader.engine)


@every_kind
@both
@pytest.mark.filterwarnings("ignore:You requested to overfit but enabled train dataloader shuffling")
def test_overfit_batches(loader_class: Any, dataset: Any) -> None:
    """Lightning calls the loader's class again, with a sequential sampler."""
    module = Module()
    trainer(2, overfit_batches=2).fit(module, make(loader_class, dataset, shuffle=True), make(loader_class, dataset))
    assert module.train_order == module.val_order == [[*range(8)]] * 2


@every_kind
def test_a_run_that_is_resumed_is_as_one_that_went_on(dataset: Any, tmp_path: Path) -> None:
    def run(epochs: int, start: Path | None = None) -> tuple[Module, Any]:
        module, loop = Module(), trainer(epochs)
        train = make(DataLoader, dataset, shuffle=True, seed=3)
        loop.fit(module, train, make(DataLoader, dataset), ckpt_path=start)
        return module, loop

    unbroken, _ = run(4)
    begun, loop = run(2)
    loop.save_checkpoint(tmp_path / "half.ckpt")
    resumed, _ = run(4, tmp_path / "half.ckpt")
    assert begun.train_order + resumed.train_order == unbroken.train_order
    assert len({*map(tuple, unbroken.train_order)}) == 4
    if isinstance(dataset, ImageFolder):
        assert begun.looks + resumed.looks == unbroken.looks
        assert len({tuple(sorted(unbroken.looks[at : at + SAMPLES])) for at in range(0, 4 * SAMPLES, SAMPLES)}) == 4


class Steps(Module):
    """Remembers, of each step, where it was, which samples it got and what they looked like."""

    def __init__(self) -> None:
        super().__init__()
        self.steps: list[Any] = []

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        images, labels = batch
        self.steps.append([self.current_epoch, batch_idx, labels.tolist(), images.sum(dim=(1, 2, 3)).tolist()])
        return self.layer(images.mean(dim=(2, 3))).square().mean()


class Saves(lightning.Callback):  # type: ignore[misc]
    """Saves a checkpoint after each step, and after each epoch."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def on_train_batch_end(self, trainer: Any, *rest: Any) -> None:
        trainer.save_checkpoint(self.folder / f"{trainer.global_step}.ckpt")

    def on_train_epoch_end(self, trainer: Any, *rest: Any) -> None:
        trainer.save_checkpoint(self.folder / f"{trainer.global_step} epoch.ckpt")


def steps_of(
    make_loader: Callable[[], Any], saves: Path | None = None, start: Path | None = None, **options: Any
) -> Any:
    """The steps of three epochs, or of what is left of them."""
    module, loop = Steps(), trainer(3, callbacks=[Saves(saves)] if saves else [], **options)
    module.train_dataloader = make_loader  # by then there is a process group
    module.validation_step = None  # there is nothing to validate
    loop.fit(module, ckpt_path=start)
    return module.steps


@pytest.mark.parametrize("workers", [0, 2])
@every_kind
def test_a_run_that_is_resumed_in_mid_epoch(dataset: Any, workers: int, tmp_path: Path) -> None:
    """Or at an epoch's end. Lightning saves the loader's state by itself; between the epochs it wants the seed."""

    def loader(seed: int | None) -> Any:
        return make(DataLoader, dataset, shuffle=True, seed=seed, num_workers=workers)

    unbroken = steps_of(lambda: loader(3), tmp_path)
    assert len(unbroken) == 9
    for step in range(1, 9) if workers == 0 else (1, 3, 5, 6):
        assert steps_of(lambda: loader(None), start=tmp_path / f"{step}.ckpt") == unbroken[step:], step
    for step in (3, 6):
        assert steps_of(lambda: loader(3), start=tmp_path / f"{step} epoch.ckpt") == unbroken[step:], step


@every_kind
@pytest.mark.parametrize("shuffle", [False, True])
def test_lightning_warns_of_what_it_would_with_torchs(dataset: Any, shuffle: bool) -> None:
    def said(loader_class: Any) -> list[str]:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            loaders = make(loader_class, dataset, shuffle=True), make(loader_class, dataset, shuffle=shuffle)
            trainer(1).fit(Module(), *loaders)
        return sorted(str(one.message) for one in caught if not issubclass(one.category, FutureWarning))

    found = said(DataLoader)
    assert found == said(TorchDataLoader)
    assert any("`val_dataloader`'s sampler has shuffling enabled" in message for message in found) == shuffle


def test_all_arguments_survive(folder: Path) -> None:
    """Lightning takes them from the attributes of their names."""
    dataset = ImageFolder(folder, transform=T.ToDtype(torch.float32, scale=True))
    options = {"dtype": torch.float16, "memory_format": torch.channels_last, "engine": "pillow", "num_workers": 2}
    loop, loader = trainer(1), make(DataLoader, dataset, seed=5, timeout=9, prefetch_factor=3, **options)
    loop.predict(Module(), loader)
    remade = loop.predict_dataloaders
    assert remade is not loader
    for name in (*options, "seed", "device", "timeout", "prefetch_factor", "collate_fn"):
        assert getattr(remade, name) == getattr(loader, name), name


# ---- several ranks, without a seed in common ----

RUNS = [
    *(("gpuload", kind, True) for kind in KINDS),
    ("gpuload", "images", False),
    ("torch", "anything", True),
    ("torch", "anything", False),
]
PROGRAM = """
import json, sys, warnings
warnings.simplefilter("ignore")  # Lightning's and torch's own
from pathlib import Path
import lightning
from torch.utils.data import DistributedSampler
from tests.ranks import ranks
from tests.test_lightning import LOADERS, Module, RANKS_SAMPLES, RUNS, dataset_of, make, trainer

def run(rank, loader_class, kind, is_replaced):
    module, dataset = Module(), dataset_of(kind, Path(sys.argv[1]), RANKS_SAMPLES)
    loop = trainer(2, devices=2, strategy="ddp", use_distributed_sampler=is_replaced)
    sampler = None if is_replaced else DistributedSampler(dataset, 2, rank, seed=7)
    workers = {"num_workers": 2 if "images" in kind else 0}  # threads
    given = make(loader_class, dataset, shuffle=is_replaced, sampler=sampler, **workers)
    loop.fit(module, given, make(loader_class, dataset, **workers))
    train = loop.train_dataloader
    assert type(train) is loader_class and type(train.sampler) is DistributedSampler
    assert (train is not given) == is_replaced
    return module.train_order, module.val_order, module.looks

with ranks(2) as rank:
    found = {
        f"{name} {kind} {is_replaced}": run(rank, LOADERS[name], kind, is_replaced)
        for name, kind, is_replaced in RUNS
    }
    Path(sys.argv[2], str(rank)).write_text(json.dumps(found))
"""


def test_each_rank_has_its_share(run_python: Callable[..., Any], folder: Path, tmp_path: Path) -> None:
    """Whether Lightning replaces the sampler, and so makes the loader again, or the user has given the right one."""
    ended = run_python(PROGRAM, folder, tmp_path, timeout=180)
    first, second = (json.loads((tmp_path / str(rank)).read_text()) for rank in (0, 1))
    assert len(first) == len(second) == len(RUNS)
    for name, (train, val, looks) in first.items():
        other_train, other_val, _ = second[name]
        for epoch, other in zip(train, other_train, strict=True):
            assert sorted(epoch + other) == [*range(RANKS_SAMPLES)], name
        assert train[0] != train[1], name
        if name.endswith("True"):  # the validation loader's is replaced, too
            assert [sorted(a + b) for a, b in zip(val, other_val, strict=True)] == [[*range(RANKS_SAMPLES)]] * 2, name
        if "images" in name:
            assert looks[: len(train[0])] != looks[len(train[0]) :], name
    assert "terminate" not in ended.stderr


RESUMED = """
import json, sys, warnings
warnings.simplefilter("ignore")  # Lightning's and torch's own
from pathlib import Path
import torch
from gpuload import DataLoader, Shard
from tests.ranks import ranks
from tests.test_lightning import KINDS, RANKS_SAMPLES, dataset_of, make, steps_of

folder, told = map(Path, sys.argv[1:])
with ranks(2) as rank:
    torch.manual_seed(rank)
    found = []
    for kind in KINDS:
        for is_replaced in (False, True):
            torch.manual_seed(2)  # of the tensors
            dataset, saves = dataset_of(kind, folder, RANKS_SAMPLES), told / f"{kind} {is_replaced}"
            def loader(seed):
                shard = None if is_replaced else Shard.here()
                return make(DataLoader, dataset, shuffle=True, seed=seed, shard=shard)
            options = {"devices": 2, "strategy": "ddp", "use_distributed_sampler": is_replaced}
            unbroken = steps_of(lambda: loader(3), saves, **options)
            for step in (3, 8, 11):
                resumed = steps_of(lambda: loader(4), start=saves / f"{step}.ckpt", **options)
                found.append((unbroken[step:], resumed))
    (told / str(rank)).write_text(json.dumps(found))
"""


def test_ranks_that_are_resumed_in_mid_epoch(run_python: Callable[..., Any], folder: Path, tmp_path: Path) -> None:
    """With a shard, and with the sampler that Lightning puts in."""
    run_python(RESUMED, folder, tmp_path, timeout=180)
    for rank in range(2):
        runs = json.loads((tmp_path / str(rank)).read_text())
        assert [len(unbroken) for unbroken, _ in runs] == [21, 16, 13] * 2 * len(KINDS)
        for unbroken, resumed in runs:
            assert resumed == unbroken
