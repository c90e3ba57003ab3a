"""The flow of torchvision's reference script for classification, with gpuload's loader and with torch's."""

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader as TorchDataLoader, RandomSampler, Sampler, SequentialSampler, default_collate
from torch.utils.data.distributed import DistributedSampler
from torchvision import transforms as v1
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2

from gpuload import DataLoader

BOTH = DataLoader, TorchDataLoader
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


# ---- what the script has ----


class TrainPreset:
    """A crop and a flip by chance; a policy; erased in the end."""

    def __init__(self, T: Any, backend: str = "pil", policy: str | None = None, erase: float = 0.0) -> None:
        steps = [T.PILToTensor()] if backend == "tensor" else []
        steps += [T.RandomResizedCrop(24, antialias=True), T.RandomHorizontalFlip(0.5)]
        steps += [getattr(T, policy)()] if policy else []
        steps += [T.PILToTensor()] if backend == "pil" else []
        steps += [T.ToDtype(torch.float, scale=True) if T is v2 else T.ConvertImageDtype(torch.float)]
        steps += [T.Normalize(mean=MEAN, std=STD)]
        steps += [T.RandomErasing(p=erase)] if erase else []
        self.transforms = T.Compose([*steps, T.ToPureTensor()] if T is v2 else steps)

    def __call__(self, img: Any) -> Any:
        return self.transforms(img)


class EvalPreset:
    def __init__(self, T: Any, backend: str = "pil") -> None:
        steps = [T.PILToTensor()] if backend == "tensor" else []
        steps += [T.Resize(28, antialias=True), T.CenterCrop(24)]
        steps += [T.PILToTensor()] if backend == "pil" else []
        steps += [T.ToDtype(torch.float, scale=True) if T is v2 else T.ConvertImageDtype(torch.float)]
        steps += [T.Normalize(mean=MEAN, std=STD)]
        self.transforms = T.Compose([*steps, T.ToPureTensor()] if T is v2 else steps)

    def __call__(self, img: Any) -> Any:
        return self.transforms(img)


class Repeated(Sampler[int]):
    """Repeated augmentation: each sample several times, on another rank each time; an epoch is a part of them."""

    def __init__(self, dataset: Any, num_replicas: int, rank: int, repetitions: int = 3) -> None:
        self.count, self.num_replicas, self.rank, self.repetitions = len(dataset), num_replicas, rank, repetitions
        self.epoch = 0

    def __iter__(self) -> Iterator[int]:
        order = torch.randperm(self.count, generator=torch.Generator().manual_seed(self.epoch)).tolist()
        repeated = [index for index in order for _ in range(self.repetitions)]
        return iter(repeated[self.rank :: self.num_replicas][: len(self)])

    def __len__(self) -> int:
        return self.count // self.num_replicas

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch


class MetricLogger:
    """It goes through a loader once, and needs its length before."""

    def __init__(self) -> None:
        self.values: list[float] = []

    def log_every(self, iterable: Any) -> Iterator[Any]:
        number, length = 0, len(iterable)
        for thing in iterable:
            yield thing
            number += 1
        assert number == length


def photos_with(root: Path, transform: Any) -> Any:
    """A folder whose labels say which sample it is."""
    dataset = ImageFolder(root, transform)
    dataset.samples = [(path, number) for number, (path, _) in enumerate(dataset.samples)]
    return dataset


def make(kind: Any, dataset: Any, sampler: Any, **options: Any) -> Any:
    """The call of the script, with its import line changed."""
    of_ours = {"device": "cpu", "seed": 4} if kind is DataLoader else {}
    loader = kind(dataset, batch_size=5, sampler=sampler, **{"num_workers": 2, **of_ours, **options})
    assert loader.sampler is sampler and loader.dataset is dataset and loader.batch_size == 5
    if kind is DataLoader:
        assert type(loader.path).__name__ == "ImagePath"
    return loader


def fit(train: Any, test: Any, epochs: int = 2) -> dict[str, Any]:
    """Train and evaluate, epoch after epoch."""
    torch.manual_seed(2)
    model = nn.Sequential(nn.Flatten(), nn.Linear(3 * 24 * 24, 24))
    optimizer, criterion = torch.optim.SGD(model.parameters(), 0.01), nn.CrossEntropyLoss(label_smoothing=0.1)
    seen: dict[str, Any] = {"train": [], "test": [], "correct": []}
    for epoch in range(epochs):
        if hasattr(train.sampler, "set_epoch"):
            train.sampler.set_epoch(epoch)
        logger, labels = MetricLogger(), list[int]()
        for number, (image, target) in enumerate(logger.log_every(train)):
            assert number < len(train) and image.dtype == torch.float and image.shape[1:] == (3, 24, 24)
            loss = criterion(model(image), target)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            logger.values.append(loss.item())
            labels += (target if target.ndim == 1 else target.argmax(1)).tolist()
        seen["train"].append((labels, logger.values))
        processed = 0
        with torch.inference_mode():
            for image, target in MetricLogger().log_every(test):
                seen["test"].append((image, target))
                seen["correct"].append((model(image).argmax(1) == target).sum().item())
                processed += image.shape[0]
        assert processed == len(test.sampler)
    return seen


# ---- the two beside each other ----

PRESETS = [(v1, "pil"), (v2, "pil"), (v2, "tensor"), (v1, "tensor")]


@pytest.mark.parametrize(("module", "backend"), PRESETS, ids=["v1", "v2", "v2-tensor", "v1-tensor"])
def test_without_chance_in_the_images_the_network_learns_the_same(module: Any, backend: str, photos: Path) -> None:
    runs = []
    for kind in BOTH:
        dataset = photos_with(photos, EvalPreset(module, backend))
        sampler = RandomSampler(dataset, generator=torch.Generator().manual_seed(6))
        runs.append(fit(make(kind, dataset, sampler), make(kind, dataset, SequentialSampler(dataset))))
    ours, torchs = runs
    assert ours["train"] == torchs["train"] and ours["correct"] == torchs["correct"]
    for (images, labels), (their_images, their_labels) in zip(ours["test"], torchs["test"], strict=True):
        assert torch.equal(images, their_images) and torch.equal(labels, their_labels)
    (first, _), (second, _) = ours["train"]
    assert sorted(first) == sorted(second) == list(range(24)) and first != second


@pytest.mark.parametrize("rank", [0, 1])
@pytest.mark.parametrize("sampler", [DistributedSampler, Repeated])
def test_each_rank_has_the_samples_that_its_sampler_says(sampler: Any, rank: int, photos: Path) -> None:
    runs = []
    for kind in BOTH:
        dataset = photos_with(photos, EvalPreset(v1))
        ranked = DistributedSampler(dataset, num_replicas=2, rank=rank, shuffle=False)
        train = make(kind, dataset, sampler(dataset, num_replicas=2, rank=rank))
        assert len(train) == 3
        runs.append(fit(train, make(kind, dataset, ranked)))
    ours, torchs = runs
    assert ours["train"] == torchs["train"] and ours["correct"] == torchs["correct"]
    (first, _), (second, _) = ours["train"]
    assert len(first) == len(second) == 12 and first != second


CHANCE: dict[str, Any] = {
    "crops": TrainPreset(v1),
    "erased": TrainPreset(v1, erase=1.0),
    "policy": TrainPreset(v1, policy="RandAugment", erase=0.5),
    "v2": TrainPreset(v2, policy="TrivialAugmentWide", erase=0.5),
    "tensor": TrainPreset(v2, "tensor", policy="AugMix"),
}


@pytest.mark.parametrize("name", CHANCE)
def test_images_of_chance_are_those_of_the_seed_and_new_in_each_epoch(name: str, photos: Path) -> None:
    epochs = []
    for workers in (0, 2):
        dataset = photos_with(photos, CHANCE[name])
        loader = make(DataLoader, dataset, SequentialSampler(dataset), num_workers=workers)
        epochs.append([[images for images, _ in loader] for _ in range(2)])
    (first, second), again = epochs
    assert all(map(torch.equal, [*first, *second], [*again[0], *again[1]]))
    assert not any(map(torch.equal, first, second))


def test_every_image_is_erased(photos: Path) -> None:
    """An upright part of it, to zeros: what torchvision's own transform leaves."""
    for kind in BOTH:
        dataset = photos_with(photos, TrainPreset(v1, erase=1.0))
        for images, _ in make(kind, dataset, SequentialSampler(dataset)):
            assert ((images == 0).all(1).flatten(1).sum(1) >= 4).all()


@pytest.mark.parametrize("module", [v1, v2], ids=["v1", "v2"])
def test_mixed_in_the_collate_function(module: Any, photos: Path) -> None:
    """With the same numbers of chance, the same batches."""
    mix = module.RandomChoice([v2.MixUp(alpha=0.2, num_classes=24), v2.CutMix(alpha=1.0, num_classes=24)])

    def collate(batch: list[Any]) -> Any:
        return mix(*default_collate(batch))

    mixed = []
    for kind in BOTH:
        dataset = photos_with(photos, EvalPreset(module))
        batches = iter(make(kind, dataset, SequentialSampler(dataset), collate_fn=collate, num_workers=0))
        torch.manual_seed(3)
        random.seed(3)
        mixed.append([*batches])
    for (images, targets), (their_images, their_targets) in zip(*mixed, strict=True):
        assert targets.shape[1:] == (24,) and (targets.sum(1) - 1).abs().max() < 1e-5
        assert torch.equal(images, their_images) and torch.equal(targets, their_targets)


def test_training_with_all_of_it(photos: Path) -> None:
    mix = v2.MixUp(alpha=0.2, num_classes=24)
    train, test = photos_with(photos, CHANCE["policy"]), photos_with(photos, EvalPreset(v1))
    loader = make(DataLoader, train, RandomSampler(train), collate_fn=lambda batch: mix(*default_collate(batch)))
    seen = fit(loader, make(DataLoader, test, SequentialSampler(test)))
    assert all(len(labels) == 24 and min(losses) > 0 for labels, losses in seen["train"])
