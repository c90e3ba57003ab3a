"""The three ways to a batch: render images, gather rows of tensors, or leave it to torch's workers.

A route is made once for a loader, and makes the batches of one epoch after the other.
"""

import math
import operator
from collections.abc import Iterator
from typing import Any, Protocol

import torch
from torch.utils.data import BatchSampler, DataLoader as TorchDataLoader, default_collate

from gpuload.datasets import ImageFolder
from gpuload.draws import KeyedDraws, keyed_draws
from gpuload.engines import Batch, Engine, Images
from gpuload.engines.choose import make_engine
from gpuload.errors import ArgumentError, ArgumentTypeError, CollateError, SampleError
from gpuload.gather import gather_rows
from gpuload.pipeline import Pipeline
from gpuload.plan import Plan
from gpuload.samplers import Keyed
from gpuload.steps import Recipe
from gpuload.transfer import Moving, move, pinned, side_stream

__all__ = ["ImageRoute", "Settings", "TensorRoute", "WorkerRoute"]

INDEX_CHUNK = 1 << 16  # positions whose indices are made, and fetched from the device, at a time


class Settings(Protocol):
    """What a route knows of the loader that it serves: its arguments, checked."""

    device: torch.device
    seed: int
    sampler: Any
    batch_sampler: Any
    batch_size: int | None
    drop_last: bool
    num_workers: int
    prefetch_factor: int | None
    collate_fn: Any
    pin_memory: bool
    dtype: torch.dtype | None
    memory_format: torch.memory_format


# ---- order ----


def _keyed(loader: Settings) -> Keyed | None:
    """The sampler, where it is one of gpuload's and torch's plain batches are wanted of it."""
    plain = type(loader.batch_sampler) in (BatchSampler, type(None))
    return loader.sampler if isinstance(loader.sampler, Keyed) and plain else None


def _own_batches(loader: Settings) -> Iterator[Any]:
    """Whatever a sampler or batch sampler of the user's gives: lists, tuples or tensors of indices."""
    return iter(loader.batch_sampler) if loader.batch_sampler is not None else ([i] for i in loader.sampler)


def _keyed_batches(
    loader: Settings, sampler: Keyed, epoch: int, device: torch.device, side: torch.cuda.Stream | None = None
) -> Iterator[torch.Tensor]:
    """The order is made where the batches go, on the stream ``side``, and brought to ``device`` in chunks."""
    count, size = len(sampler), loader.batch_size or 1
    chunk = max(INDEX_CHUNK // size, 1) * size
    for start in range(0, count, chunk):
        with torch.cuda.stream(side):  # None: the current one
            indices = sampler.indices(start, min(start + chunk, count), epoch, loader.device).to(device)
        for batch in indices.split(size):
            if len(batch) == size or not loader.drop_last:
                yield batch


def _whole(index: Any) -> int:
    """An index that a user's sampler gave: any kind of integer."""
    try:
        return operator.index(index)
    except TypeError as error:
        raise ArgumentTypeError(f"sampler must give integers, got {index!r} ({type(index).__name__})") from error


def _is_single(loader: Settings) -> bool:
    """batch_size=None: samples as they are, no batches."""
    return loader.batch_size is None and loader.batch_sampler is None


# ---- images ----


class ImageRoute:
    """`ImageFolder` with a plan: threads decode, an engine renders.

    Attributes:
        engine: renders.
        depth: batches under way at a time: those prepared ahead and the one that is waited for.
    """

    def __init__(self, loader: Settings, dataset: ImageFolder, plan: Plan, engine: str | None) -> None:
        self.dataset, self.plan = dataset, plan
        self._loader = loader
        self._side = side_stream(loader.device)  # the host waits for the order, not for the consumer's work
        ahead = max(loader.prefetch_factor or 2, math.ceil(2 * loader.num_workers / (loader.batch_size or 1)))
        self.depth = ahead + 1 if loader.num_workers else 1
        wanted = loader.device, loader.dtype, loader.memory_format, loader.pin_memory
        self.engine: Engine = make_engine(engine, plan, *wanted, keep=self.depth + 2)

    def batches(self, epoch: int) -> Iterator[Any]:
        """The batches of an epoch, on the loader's device."""
        jobs = (_ImageJob(self, indices, draws) for indices, draws in self._drawn(epoch))
        return Pipeline(jobs, self._loader.num_workers, self.depth)

    def recipes(self, epoch: int) -> Iterator[tuple[int, Recipe]]:
        """(sample index, recipe) at each position of an epoch."""
        for indices, draws in self._drawn(epoch):
            yield from ((i, self.dataset.recipe(i, draw)) for i, draw in zip(indices, draws, strict=True))

    def _drawn(self, epoch: int) -> Iterator[tuple[list[int], list[KeyedDraws]]]:
        """Indices and random numbers of each batch."""
        position = 0
        for indices in self._indices(epoch):
            yield indices, keyed_draws(self._loader.seed, epoch, range(position, position + len(indices)))
            position += len(indices)

    def _indices(self, epoch: int) -> Iterator[list[int]]:
        sampler = _keyed(self._loader)
        if sampler is None:
            return ([_whole(index) for index in batch] for batch in _own_batches(self._loader))
        order = _keyed_batches(self._loader, sampler, epoch, torch.device("cpu"), self._side)
        return (batch.tolist() for batch in order)

    def collate(self, images: Images, labels: list[Any]) -> Any:
        """Images and labels as the batch that the user gets."""
        loader = self._loader
        images = move(images, loader.device)
        for function in self.plan.tail:
            images = [function(image) for image in images]
        if _is_single(loader):
            return loader.collate_fn((images[0], labels[0]))
        if loader.collate_fn is not default_collate:
            return loader.collate_fn(list(zip(images, labels, strict=True)))
        return [_stacked(images), move(pinned(default_collate(labels), loader.device), loader.device)]


class _ImageJob:
    """One batch of images, for the pipeline."""

    def __init__(self, route: ImageRoute, indices: list[int], draws: list[KeyedDraws]) -> None:
        self._route, self._indices, self._draws = route, indices, draws
        self._batch: Batch = route.engine.batch(len(indices))
        self._labels: list[Any] = [None] * len(indices)

    def __len__(self) -> int:
        return len(self._indices)

    def run(self, task: int) -> None:
        dataset = self._route.dataset
        index = dataset.samples.position(self._indices[task])
        image = dataset.open(index)
        try:
            recipe = self._route.plan.recipe(image.height, image.width, self._draws[task])
            self._batch.fill(task, image, recipe)
            self._labels[task] = dataset.label(index)
        except Exception as error:
            raise SampleError(index, dataset.samples[index][0], error) from error

    def finish(self) -> None:
        self._batch.finish()

    def result(self) -> Any:
        return self._route.collate(self._batch.images(), self._labels)


def _stacked(images: Images) -> Any:
    if isinstance(images, torch.Tensor):
        return images
    shapes = {tuple(image.shape) for image in images if isinstance(image, torch.Tensor)}
    if len(shapes) > 1:
        shown = ", ".join(str(shape) for shape in sorted(shapes)[:3])
        raise CollateError(
            f"the images of this batch have {len(shapes)} shapes ({shown}, ...), which make no single tensor: "
            "end the transform with a fixed size, such as CenterCrop or Resize((height, width)), or pass collate_fn"
        )
    return default_collate(images)


# ---- tensors ----


class TensorRoute:
    """A TensorDataset: order and rows never leave the device.

    Attributes:
        tensors: the dataset's, on the loader's device.
    """

    def __init__(self, loader: Settings, tensors: tuple[torch.Tensor, ...]) -> None:
        self._loader = loader
        self.tensors = tuple(tensor.to(loader.device).contiguous() for tensor in tensors)
        bound = loader.sampler.bound if isinstance(loader.sampler, Keyed) else 0
        if bound > len(tensors[0]):
            raise ArgumentError(
                f"sampler gives indices up to {bound - 1}, but the dataset has {len(tensors[0])} samples"
            )

    def batches(self, epoch: int) -> Iterator[Any]:
        """The batches of an epoch."""
        loader = self._loader
        for indices in self._indices(epoch):
            rows = [gather_rows(tensor, indices) for tensor in self.tensors]
            if _is_single(loader):
                yield loader.collate_fn(tuple(row[0] for row in rows))
            elif loader.collate_fn is default_collate:
                yield rows
            else:
                yield loader.collate_fn(list(zip(*rows, strict=True)))

    def _indices(self, epoch: int) -> Iterator[torch.Tensor]:
        loader, sampler = self._loader, _keyed(self._loader)
        if sampler is None:
            return map(self._checked, _own_batches(loader))
        return _keyed_batches(loader, sampler, epoch, loader.device)

    def _checked(self, batch: Any) -> torch.Tensor:
        """A user's own indices, on the device; a kernel would read whatever lies outside the tensor."""
        indices, count = torch.as_tensor(batch, dtype=torch.int64, device="cpu"), len(self.tensors[0])
        outside = indices[(indices < -count) | (indices >= count)]
        if len(outside):
            raise IndexError(f"index {int(outside[0])} of a dataset of {count} samples")
        return move(pinned(indices % count, self._loader.device), self._loader.device)  # type: ignore[no-any-return]


# ---- anything else ----


class WorkerRoute:
    """Any other dataset: torch's workers and collate, then an asynchronous copy to the device."""

    def __init__(self, loader: TorchDataLoader[Any], device: torch.device) -> None:
        self._loader, self._device = loader, device
        self._side = side_stream(device)
        if device.type == "cuda":
            loader.pin_memory = True  # without it the copy to the device would wait

    def batches(self, epoch: int) -> Iterator[Any]:
        """The batches of an epoch."""
        if isinstance(self._loader.sampler, Keyed):
            self._loader.sampler.set_epoch(epoch)  # torch iterates it, and it moves on by itself
        return Moving(TorchDataLoader.__iter__(self._loader), self._device, self._side)
