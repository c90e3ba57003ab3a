"""Hugging Face's Trainer, with loaders of gpuload's in the place of its own, beside torch's."""

from itertools import chain
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader as TorchDataLoader, Dataset
from torchvision import transforms as v1
from torchvision.datasets import ImageFolder

from gpuload import DataLoader

transformers = pytest.importorskip("transformers")

BATCH = 5
SQUARE = v1.Compose([v1.Resize((8, 8)), v1.ToTensor()])
FLIPPED = v1.Compose([v1.Resize((8, 8)), v1.RandomHorizontalFlip(), v1.ToTensor()])


class Images(ImageFolder):  # type: ignore[misc]
    """Photos whose labels say which sample they are."""

    def __init__(self, root: Path, transform: Any = SQUARE) -> None:
        super().__init__(root, transform)
        self.samples = [(path, number) for number, (path, _) in enumerate(self.samples)]


class Rows(Dataset[dict[str, Any]]):
    """Dicts, as most datasets of Hugging Face's have them."""

    def __len__(self) -> int:
        return 24

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {"pixels": torch.full((3, 8, 8), index / 24), "labels": index}


def named(rows: list[Any]) -> dict[str, Any]:
    """A collate function: (image, label) pairs as the dict that a model takes."""
    images, labels = zip(*rows, strict=True)
    return {"pixels": torch.stack(images), "labels": torch.tensor(labels)}


class Net(nn.Module):
    """It notes what it saw."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(192, 24))
        self.trained, self.evaluated = list[list[int]](), list[list[int]]()

    def forward(self, pixels: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
        (self.trained if self.training else self.evaluated).append(labels.tolist())
        logits = self.layers(pixels)
        return {"loss": nn.functional.cross_entropy(logits, labels), "logits": logits}


class OwnLoaders(transformers.Trainer):  # type: ignore[misc, name-defined]
    """What a user of gpuload's writes; ``of`` is the class of the loaders."""

    of: Any = DataLoader
    options: dict[str, Any] = {}  # noqa: RUF012

    def loader(self, dataset: Any, **more: Any) -> Any:
        made = self.of(dataset, BATCH, collate_fn=self.data_collator, **self.options, **more)
        return self.accelerator.prepare(made)

    def get_train_dataloader(self) -> Any:
        return self.loader(self.train_dataset, shuffle=self.shuffle)

    def get_eval_dataloader(self, eval_dataset: Any = None) -> Any:
        return self.loader(eval_dataset or self.eval_dataset)


class Ours(OwnLoaders):
    of, options = DataLoader, {"device": "cpu", "seed": 3, "num_workers": 2}


class Torchs(OwnLoaders):
    of = TorchDataLoader


def trained(kind: Any, folder: Path, data: Any, collator: Any, shuffle: bool = False, **options: Any) -> Any:
    """A Trainer after two epochs, or what is left of them after a checkpoint."""
    arguments = transformers.TrainingArguments(
        str(folder), num_train_epochs=2, learning_rate=0.1, logging_steps=1, report_to=[], disable_tqdm=True,
        remove_unused_columns=False, use_cpu=True, save_steps=7, eval_strategy="epoch",
        per_device_train_batch_size=BATCH, per_device_eval_batch_size=BATCH,
    )  # fmt: skip
    trainer = kind(Net(), arguments, collator, data, data)
    trainer.shuffle = shuffle
    trainer.train(**options)
    return trainer


def logged(trainer: Any, name: str) -> list[float]:
    return [entry[name] for entry in trainer.state.log_history if name in entry]


@pytest.fixture(params=["images", "rows"])
def data(request: pytest.FixtureRequest, photos: Path) -> tuple[Any, Any]:
    """A dataset, and its collate function."""
    return (Images(photos), named) if request.param == "images" else (Rows(), None)


def test_in_the_same_order_the_network_learns_and_predicts_the_same(data: Any, tmp_path: Path) -> None:
    ours, torchs = (trained(kind, tmp_path / kind.__name__, *data) for kind in (Ours, Torchs))
    assert ours.model.trained == torchs.model.trained and len(ours.model.trained) == 10
    assert ours.model.evaluated == torchs.model.evaluated
    assert logged(ours, "loss") == logged(torchs, "loss")
    given, expected = (trainer.predict(data[0]) for trainer in (ours, torchs))
    assert (given.predictions == expected.predictions).all() and (given.label_ids == expected.label_ids).all()


def test_the_loss_of_evaluation_counts_the_last_batch_as_it_is(photos: Path, tmp_path: Path) -> None:
    """Of five batches the last has four samples: Accelerate knows from the loader."""
    data = Images(photos), named
    ours, torchs = (trained(kind, tmp_path / kind.__name__, *data) for kind in (Ours, Torchs))
    assert logged(ours, "eval_loss") == logged(torchs, "eval_loss")


@pytest.mark.parametrize("kind", [Ours, Torchs])
def test_each_sample_comes_once_an_epoch_and_in_another_order_in_the_next(
    kind: Any, photos: Path, tmp_path: Path
) -> None:
    seen = trained(kind, tmp_path, Images(photos), named, shuffle=True).model.trained
    first, second = ([*chain(*batches)] for batches in (seen[:5], seen[5:]))
    assert sorted(first) == sorted(second) == list(range(24)) and first != second


@pytest.mark.parametrize(("kind", "shuffle"), [(Ours, False), (Ours, True), (Torchs, True)])
def test_what_is_resumed_goes_on_with_the_batches_that_were_to_come(
    kind: Any, shuffle: bool, data: Any, tmp_path: Path
) -> None:
    whole = trained(kind, tmp_path, *data, shuffle=shuffle)
    rest = trained(kind, tmp_path, *data, shuffle=shuffle, resume_from_checkpoint=str(tmp_path / "checkpoint-7"))
    assert rest.model.trained == whole.model.trained[7:]
    assert logged(rest, "loss") == logged(whole, "loss")


def test_images_of_what_is_resumed_are_those_that_were_to_come(photos: Path, tmp_path: Path) -> None:
    """They are flipped by chance: with a seed, by that of their position."""
    data = Images(photos, FLIPPED), named
    whole = trained(Ours, tmp_path, *data, shuffle=True)
    rest = trained(Ours, tmp_path, *data, shuffle=True, resume_from_checkpoint=str(tmp_path / "checkpoint-7"))
    assert rest.model.trained == whole.model.trained[7:] and logged(rest, "loss") == logged(whole, "loss")
