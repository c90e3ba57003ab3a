"""The two loaders: one recipe, one dataset of torchvision's, the same arguments; what differs is the class."""

import os
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils.data import DataLoader as TorchDataLoader, Dataset

from gpuload.datasets import ImageDataset, ImageFolder
from gpuload.errors import ArgumentError
from gpuload.lifting import find
from gpuload.loader import DataLoader
from gpuload.samplers import RandomSampler
from gpuload.tools.common import need
from gpuload.tools.rounds import rate

__all__ = ["MAKERS", "Entrant", "Task", "check_shared_memory", "folder_of", "images_of", "to_values", "torchvision"]

MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]  # ImageNet's
SHARED = "/dev/shm"
AHEAD = 2  # batches that each of torch's workers prepares, as torch's loader has it by default


def torchvision() -> Any:
    """The package, with transforms.v2.

    Raises:
        MissingError: it is not installed.
    """
    need("torchvision.transforms.v2", "gpuload bench", "torchvision")
    return need("torchvision", "gpuload bench", "torchvision")


def folder_of(folder: str, size: int) -> Any:
    """torchvision's ImageFolder, with the transforms that one trains with.

    Raises:
        DatasetError: there is no such folder, or no images are in it.
    """
    v2 = torchvision().transforms.v2
    transform = v2.Compose([v2.RandomResizedCrop(size), v2.RandomHorizontalFlip(), *_values(v2)])
    try:
        return torchvision().datasets.ImageFolder(folder, transform=transform)
    except OSError:
        ImageFolder(folder)  # whose errors say what to do
        raise


def images_of(dataset: Any) -> ImageDataset:
    """The same dataset, as gpuload's loader sees it."""
    found = find(dataset)
    assert isinstance(found, ImageDataset), found
    return found


def to_values() -> Any:
    """From a PIL image to what the model gets."""
    v2 = torchvision().transforms.v2
    return v2.Compose(_values(v2))


def _values(v2: Any) -> list[Any]:
    return [v2.ToImage(), v2.ToDtype(torch.float32, scale=True), v2.Normalize(MEAN, STD)]


def check_shared_memory(batch_bytes: int, workers: int) -> None:
    """Is there enough of it for what torch's workers prepare ahead? Where not, they would be killed.

    Raises:
        ArgumentError: there is not, as in a container that is started without more.
    """
    needed = (AHEAD * workers + 2) * batch_bytes if workers else 0
    free = shutil.disk_usage(SHARED).free if os.path.isdir(SHARED) else needed
    if free < needed:
        raise ArgumentError(
            f"torch's worker processes hand batches over in shared memory, of which {workers} need "
            f"{needed / 2**20:,.0f} MiB, and {SHARED} has {free / 2**20:,.0f} free: pass --ipc=host to docker run, or "
            "a smaller --batch-size or fewer --workers"
        )


@dataclass(frozen=True)
class Task:
    """What both are to do.

    Attributes:
        dataset: whose images they load.
        batch_size: images of a batch.
        device: where batches are to arrive.
        seed: of the order and, with gpuload, of the transforms.
    """

    dataset: Dataset[Any]
    batch_size: int
    device: torch.device
    seed: int

    def torch_loader(self, **arguments: Any) -> Any:
        """torch's DataLoader; what it pins, the training loop moves to the device."""
        return TorchDataLoader(self.dataset, self.batch_size, pin_memory=self.device.type == "cuda", **arguments)

    def gpuload_loader(self, **arguments: Any) -> DataLoader[Any]:
        """gpuload's, whose batches arrive there."""
        return DataLoader(self.dataset, self.batch_size, device=self.device, seed=self.seed, **arguments)


MAKERS: dict[str, Callable[..., Any]] = {"torch": Task.torch_loader, "gpuload": Task.gpuload_loader}


class _Stretches(RandomSampler):
    """Images in random order, each as often as any other, as many as the next epoch is to have."""

    count = 1

    @property
    def num_samples(self) -> int:
        return self.count


class Entrant:
    """A loader in the race, whose workers live as long as it. Use it in a ``with``.

    It plays epochs in which every worker gets as many whole batches as any other, for torch's workers make one each:
    none waits for the others at the end, and while another entrant plays, nothing is prepared.

    Args:
        make: one of `MAKERS`.
        task: of both.
        workers: their number.

    Attributes:
        first_batch: seconds from making the loader until its first batch is on the device.
    """

    def __init__(self, make: Callable[..., Any], task: Task, workers: int) -> None:
        self._task, self._unit = task, max(workers, 1) * task.batch_size
        self._sampler = _Stretches(task.dataset, seed=task.seed)  # type: ignore[arg-type]
        self._sampler.count = self._unit
        arguments = {"num_workers": workers, "persistent_workers": workers > 0, "drop_last": True}
        start = time.perf_counter()
        self._loader = make(task, sampler=self._sampler, **arguments)
        batches = iter(self._loader)
        rate([next(batches)], task.device)
        self.first_batch = time.perf_counter() - start
        for _ in batches:
            pass
        self._rate = rate(self._loader, task.device)

    def play(self, seconds: float) -> float:
        """Images per second, in about so many seconds."""
        self._sampler.count = self._unit * max(1, round(seconds * self._rate / self._unit))
        self._rate = rate(self._loader, self._task.device)
        return self._rate

    def __enter__(self) -> "Entrant":
        return self

    def __exit__(self, *error: object) -> None:
        del self._loader  # its workers end
