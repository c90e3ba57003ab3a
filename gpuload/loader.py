"""DataLoader: checks its arguments and wires the stages."""

import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch.utils.data import (
    BatchSampler,
    DataLoader as TorchDataLoader,
    Dataset,
    IterableDataset,
    Sampler,
    TensorDataset as TorchTensorDataset,
    default_collate,
)

from gpuload import explain
from gpuload.compilers import compiler
from gpuload.datasets import ImageFolder, TensorDataset
from gpuload.draws import KeyedDraws, keyed_draws
from gpuload.engines import Batch, Engine, Images
from gpuload.engines.cpu import CpuEngine
from gpuload.engines.cuda import CudaEngine
from gpuload.engines.pillow import PillowEngine
from gpuload.errors import ArgumentError, ArgumentTypeError, CollateError, MissingError, SampleError
from gpuload.gather import gather_rows
from gpuload.pipeline import Pipeline
from gpuload.plan import Plan
from gpuload.samplers import Keyed, RandomSampler, SequentialSampler, resolve_seed
from gpuload.staging import BufferPool, take_pinned
from gpuload.steps import Recipe
from gpuload.transfer import move, to_device
from gpuload.transforms import DTYPES

__all__ = ["DataLoader"]

ENGINES = ("cuda", "cpu", "pillow")
INDEX_CHUNK = 1 << 16  # positions whose indices are fetched from the device at a time


class DataLoader(TorchDataLoader[Any]):
    """``torch.utils.data.DataLoader`` whose batches arrive on the GPU.

    Three kinds of dataset, one signature:

    - `ImageFolder` with a gpuload transform: threads decode, one kernel a batch renders. ``num_workers`` counts
      the threads; with 0 the caller's own thread does the work.
    - ``TensorDataset`` (torch's or gpuload's): its tensors are moved to the device once; order and gather stay
      there, and nothing waits for the host.
    - any other dataset: torch's own workers and collate, then an asynchronous copy to the device.

    Batch k of epoch e depends on the seed alone. Each ``iter`` starts the next epoch.

    Args:
        dataset, batch_size, shuffle, sampler, batch_sampler, num_workers, collate_fn, pin_memory, drop_last,
        timeout, worker_init_fn, multiprocessing_context, generator, prefetch_factor, persistent_workers,
        pin_memory_device, in_order: as in torch. For images ``prefetch_factor`` is the number of batches
            prepared ahead, by all workers together (default 2), and ``collate_fn`` gets (image, label) pairs
            whose images are on the device already.
        device: where batches arrive; None: CUDA if there is a GPU, else the CPU.
        seed: 64 bits, for order and random transforms; None: drawn from ``generator`` or torch's default one.
        dtype: of the images, instead of the transform's own: uint8, float16, bfloat16 or float32.
        memory_format: of the images: torch.contiguous_format or torch.channels_last.
        engine: "cuda", "cpu" or "pillow"; None: the fastest that the device allows. All give the same bits.

    Attributes:
        engine: the engine that was chosen; None where there are no images to render.
        epoch: the epoch that the next ``iter`` starts.

    Raises:
        ArgumentError, ArgumentTypeError: a bad argument.
        MissingError: a GPU, a package or a compiler that was asked for is missing.
    """

    def __init__(
        self,
        dataset: Dataset[Any],
        batch_size: int | None = 1,
        shuffle: bool | None = None,
        sampler: Sampler[Any] | Iterable[Any] | None = None,
        batch_sampler: Sampler[list[Any]] | Iterable[list[Any]] | None = None,
        num_workers: int = 0,
        collate_fn: Callable[[list[Any]], Any] | None = None,
        pin_memory: bool = False,
        drop_last: bool = False,
        timeout: float = 0,
        worker_init_fn: Callable[[int], None] | None = None,
        multiprocessing_context: Any = None,
        generator: torch.Generator | None = None,
        *,
        prefetch_factor: int | None = None,
        persistent_workers: bool = False,
        pin_memory_device: str = "",
        in_order: bool = True,
        device: torch.device | str | None = None,
        seed: int | None = None,
        dtype: torch.dtype | None = None,
        memory_format: torch.memory_format = torch.contiguous_format,
        engine: str | None = None,
    ) -> None:
        _check_counts(batch_size, num_workers, prefetch_factor)
        _check_sampling(batch_size, shuffle, sampler, batch_sampler, drop_last)
        self.seed = resolve_seed(seed, generator)
        self.device = _resolve_device(device, dataset)
        self.dtype, self.memory_format = dtype, memory_format
        self._plan = dataset.plan if isinstance(dataset, ImageFolder) else None
        self._stacks = collate_fn is None
        _check_images(self._plan, dataset, dtype, memory_format, engine)
        if sampler is None and batch_sampler is None and not isinstance(dataset, IterableDataset):
            _check_not_empty(dataset)
            sampler = RandomSampler(dataset, seed=self.seed) if shuffle else SequentialSampler(dataset)  # type: ignore[arg-type]
            shuffle = None
        super().__init__(
            dataset,
            batch_size,
            shuffle,
            sampler,
            batch_sampler,
            num_workers,
            collate_fn,
            pin_memory,
            drop_last,
            timeout,
            worker_init_fn,
            multiprocessing_context,
            generator,
            prefetch_factor=prefetch_factor,
            persistent_workers=persistent_workers,
            pin_memory_device=pin_memory_device,
            in_order=in_order,
        )
        self._epoch = 0
        self._tensors: tuple[torch.Tensor, ...] = ()
        self._engine: Engine | None = None
        if self._plan is not None:
            self._engine = self._make_engine(self._plan, engine)
        elif (tensors := _tensors_of(dataset)) is not None:
            self._tensors = tuple(t.to(self.device).contiguous() for t in tensors)
        elif self.device.type == "cuda":
            self.pin_memory = True  # without it the copy to the device would wait
        self.engine = self._engine.name if self._engine is not None else None

    def check_worker_number_rationality(self) -> None:
        """torch's warning of more worker processes than cores; workers that are threads may be more."""
        if self._plan is None:
            super().check_worker_number_rationality()

    # ---- epochs ----

    @property
    def epoch(self) -> int:
        """The epoch that the next ``iter`` starts."""
        return self.sampler.epoch if isinstance(self.sampler, Keyed) else self._epoch

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch that the next ``iter`` starts."""
        if isinstance(self.sampler, Keyed):
            self.sampler.set_epoch(epoch)
        self._epoch = epoch

    def explain(self) -> None:
        """Print the path that a sample will take: which stage runs where, and what became one kernel."""
        print(explain.text(self))

    def __iter__(self) -> Any:
        epoch = self.epoch
        if self._engine is None and not self._tensors:
            self._epoch = epoch + 1
            return to_device(super().__iter__(), self.device)
        self.set_epoch(epoch + 1)
        if self._tensors:
            return self._tensor_batches(epoch)
        jobs = (self._job(epoch, *numbered) for numbered in self._numbered_batches(epoch))
        return Pipeline(jobs, self.num_workers, self.depth)

    # ---- order ----

    def _index_batches(self, epoch: int, device: torch.device) -> Iterator[Any]:
        """Lists of indices; or, of gpuload's samplers, int64 tensors on ``device``."""
        if isinstance(self.sampler, Keyed) and type(self.batch_sampler) in (BatchSampler, type(None)):
            return self._keyed_batches(self.sampler, epoch, device)
        return iter(self.batch_sampler) if self.batch_sampler is not None else ([i] for i in self.sampler)

    def _keyed_batches(self, sampler: Keyed, epoch: int, device: torch.device) -> Iterator[torch.Tensor]:
        """The order is made where the batches go, and brought to ``device`` a chunk at a time."""
        count, size = len(sampler), self.batch_size or 1
        chunk = max(INDEX_CHUNK // size, 1) * size
        for start in range(0, count, chunk):
            indices = sampler.indices(start, min(start + chunk, count), epoch, self.device).to(device)
            for batch in indices.split(size):
                if len(batch) == size or not self.drop_last:
                    yield batch

    def _numbered_batches(self, epoch: int) -> Iterator[tuple[int, list[int]]]:
        """(first position, indices on the host) of each batch."""
        position = 0
        for batch in self._index_batches(epoch, torch.device("cpu")):
            indices = batch.tolist() if isinstance(batch, torch.Tensor) else [int(index) for index in batch]
            yield position, indices
            position += len(indices)

    # ---- images ----

    @property
    def depth(self) -> int:
        """Batches under way at a time: those prepared ahead and the one that is waited for."""
        if self.num_workers == 0:
            return 1
        ahead = self.prefetch_factor if self.prefetch_factor is not None else 2
        return max(ahead, math.ceil(2 * self.num_workers / (self.batch_size or 1))) + 1

    def _make_engine(self, plan: Plan, name: str | None) -> Engine:
        if name is None:
            name = "cuda" if self.device.type == "cuda" else "cpu" if compiler() is not None else "pillow"
        dtype = self.dtype or plan.dtype
        if name == "cuda":
            return CudaEngine(plan, dtype, self.memory_format, _need_cuda(self.device))
        pinned = torch.cuda.is_available() and (self.pin_memory or self.device.type == "cuda")
        take = take_pinned if pinned else BufferPool(self.depth + 2).take
        return (CpuEngine if name == "cpu" else PillowEngine)(plan, dtype, self.memory_format, take)

    def _job(self, epoch: int, position: int, indices: list[int]) -> "_ImageJob":
        assert self._engine is not None
        draws = keyed_draws(self.seed, epoch, range(position, position + len(indices)))
        return _ImageJob(self, self._engine.batch(len(indices)), indices, draws)

    def recipes(self, epoch: int) -> Iterator[tuple[int, Recipe]]:
        """(sample index, recipe) at each position of an epoch of images: all that the loader draws.

        ``dataset.apply(index, recipe)`` is then, bit for bit, the image that the loader delivers there. A batch
        sampler or sampler of your own is iterated for it.
        """
        if self._plan is None or not isinstance(self.dataset, ImageFolder):
            raise ArgumentError("only a loader over an ImageFolder with a gpuload transform has recipes")
        for position, indices in self._numbered_batches(epoch):
            draws = keyed_draws(self.seed, epoch, range(position, position + len(indices)))
            for index, draw in zip(indices, draws, strict=True):
                yield index, self.dataset.recipe(index, draw)

    def collate(self, images: Images, labels: list[Any]) -> Any:
        """Images and labels as the batch that the user gets."""
        assert self._plan is not None
        if self._engine is not None and self._engine.name != "cuda":
            images = move(images, self.device)
        for function in self._plan.tail:
            images = [function(image) for image in images]
        if self.batch_size is None and self.batch_sampler is None:
            return self.collate_fn((images[0], labels[0]))  # type: ignore[arg-type]
        if not self._stacks:
            return self.collate_fn(list(zip(images, labels, strict=True)))
        return [_stacked(images), move(_pinned(default_collate(labels), self.device), self.device)]

    # ---- tensors ----

    def _tensor_batches(self, epoch: int) -> Iterator[Any]:
        for batch in self._index_batches(epoch, self.device):
            indices = torch.as_tensor(batch, dtype=torch.int64)
            indices = move(_pinned(indices, self.device), self.device)
            rows = [gather_rows(tensor, indices) for tensor in self._tensors]
            if self.batch_size is None and self.batch_sampler is None:
                yield self.collate_fn(tuple(row[0] for row in rows))  # type: ignore[arg-type]
            elif self._stacks:
                yield rows
            else:
                yield self.collate_fn(list(zip(*rows, strict=True)))


class _ImageJob:
    """One batch of images, for the pipeline."""

    def __init__(self, loader: DataLoader, batch: Batch, indices: list[int], draws: list[KeyedDraws]) -> None:
        assert isinstance(loader.dataset, ImageFolder)
        assert loader._plan is not None
        self._dataset, self._plan, self._collate = loader.dataset, loader._plan, loader.collate
        self._batch, self._indices, self._draws = batch, indices, draws
        self._labels: list[Any] = [None] * len(indices)

    def __len__(self) -> int:
        return len(self._indices)

    def run(self, task: int) -> None:
        index = self._indices[task]
        image = self._dataset.open(index)
        try:
            recipe = self._plan.recipe(image.height, image.width, self._draws[task])
            self._batch.fill(task, image, recipe)
            self._labels[task] = self._dataset.label(index)
        except Exception as error:
            raise SampleError(index, self._dataset.samples[index][0], error) from error

    def finish(self) -> None:
        self._batch.finish()

    def result(self) -> Any:
        return self._collate(self._batch.images(), self._labels)


def _stacked(images: Images) -> Any:
    if isinstance(images, torch.Tensor) or not all(isinstance(image, torch.Tensor) for image in images):
        return images if isinstance(images, torch.Tensor) else default_collate(images)
    shapes = {tuple(image.shape) for image in images}
    if len(shapes) > 1:
        shown = ", ".join(str(shape) for shape in sorted(shapes)[:3])
        raise CollateError(
            f"the images of this batch have {len(shapes)} shapes ({shown}, ...), which make no single tensor: "
            "end the transform with a fixed size, such as CenterCrop or Resize((height, width)), or pass collate_fn"
        )
    return torch.stack(images)


def _pinned(batch: Any, device: torch.device) -> Any:
    """A CPU tensor in page-locked memory, where the copy to the device is to be asynchronous."""
    if device.type == "cuda" and isinstance(batch, torch.Tensor) and batch.device.type == "cpu":
        return batch.pin_memory()
    return batch


# ---- arguments ----


def _check_counts(batch_size: Any, num_workers: Any, prefetch_factor: Any) -> None:
    least = {"batch_size": (batch_size, 1), "num_workers": (num_workers, 0), "prefetch_factor": (prefetch_factor, 1)}
    for name, (value, smallest) in least.items():
        if value is None and name != "num_workers":
            continue
        if isinstance(value, bool) or not isinstance(value, int):
            raise ArgumentTypeError(f"{name} must be an int, got {value!r} ({type(value).__name__})")
        if value < smallest:
            raise ArgumentError(f"{name} must be at least {smallest}, got {value}")


def _check_sampling(batch_size: Any, shuffle: Any, sampler: Any, batch_sampler: Any, drop_last: bool) -> None:
    if sampler is not None and shuffle:
        raise ArgumentError("shuffle=True and sampler exclude each other: the sampler decides the order; drop one")
    if batch_sampler is not None and (batch_size != 1 or shuffle or sampler is not None or drop_last):
        raise ArgumentError("batch_sampler decides on its own: leave out batch_size, shuffle, sampler and drop_last")


def _check_not_empty(dataset: Any) -> None:
    if len(dataset) == 0:
        raise ArgumentError("the dataset is empty: it has no samples")


def _check_images(plan: Plan | None, dataset: Any, dtype: Any, memory_format: Any, engine: Any) -> None:
    if dtype is not None and dtype not in DTYPES:
        raise ArgumentTypeError(f"dtype must be one of {', '.join(map(str, DTYPES))} or None, got {dtype!r}")
    if memory_format not in (torch.contiguous_format, torch.channels_last):
        raise ArgumentError(
            f"memory_format must be torch.contiguous_format or torch.channels_last, got {memory_format!r}"
        )
    if engine is not None and engine not in ENGINES:
        raise ArgumentError(f"engine must be one of {', '.join(ENGINES)} or None, got {engine!r}")
    given = {"dtype": dtype is not None, "engine": engine is not None}
    given["memory_format"] = memory_format != torch.contiguous_format
    for name in (name for name, is_given in given.items() if is_given and plan is None):
        raise ArgumentError(
            f"{name} is for images that gpuload renders (an ImageFolder with a gpuload transform), "
            f"got {type(dataset).__name__}"
        )


def _resolve_device(device: torch.device | str | None, dataset: Any) -> torch.device:
    if device is None:
        if isinstance(dataset, TensorDataset):
            return dataset.device
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        resolved = torch.device(device)
    except (RuntimeError, TypeError) as error:
        raise ArgumentError(f"device must be such as 'cuda', 'cuda:1' or 'cpu', got {device!r}") from error
    if resolved.type not in ("cuda", "cpu"):
        raise ArgumentError(f"device must be CUDA or the CPU, got {device!r}")
    return _need_cuda(resolved) if resolved.type == "cuda" else resolved


def _need_cuda(device: torch.device) -> torch.device:
    if device.type != "cuda":
        raise ArgumentError(f"engine='cuda' renders on a GPU, got device={str(device)!r}")
    if not torch.cuda.is_available():
        raise MissingError(
            f"device={str(device)!r}, but torch {torch.__version__} sees no CUDA GPU: run `gpuload doctor` "
            "to see what is missing, or pass device='cpu'"
        )
    if device.index is None:
        return torch.device("cuda", torch.cuda.current_device())
    if device.index >= torch.cuda.device_count():
        raise ArgumentError(f"device={str(device)!r}, but there are {torch.cuda.device_count()} GPUs")
    return device


def _tensors_of(dataset: Any) -> tuple[torch.Tensor, ...] | None:
    """The tensors of a TensorDataset whose samples are just their rows."""
    if isinstance(dataset, TorchTensorDataset) and type(dataset).__getitem__ is TorchTensorDataset.__getitem__:
        return dataset.tensors
    return None
