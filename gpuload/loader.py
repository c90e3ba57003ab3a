"""DataLoader: checks its arguments and chooses the loading path."""

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any

import torch
from torch.utils.data import (
    DataLoader as TorchDataLoader,
    Dataset,
    IterableDataset,
    Sampler,
    TensorDataset as TorchTensorDataset,
)

from gpuload.arguments import at_least, epoch_number, seed_or_new
from gpuload.datasets import ImageDataset, TensorDataset
from gpuload.decoders import find_decoder
from gpuload.device import Device, resolve
from gpuload.engines import ENGINES, make_engine
from gpuload.engines.base import Engine, Layout
from gpuload.errors import ArgumentError, ArgumentTypeError
from gpuload.loading.images import ImagePath
from gpuload.loading.order import Order
from gpuload.loading.tensors import TensorPath
from gpuload.loading.workers import WorkerPath
from gpuload.recipes.ops import Recipe
from gpuload.samplers import RandomSampler, SequentialSampler
from gpuload.samplers.base import CounterSampler
from gpuload.stage import Stage, lay_out
from gpuload.staging import BufferPool
from gpuload.transforms.plan import Plan
from gpuload.transforms.values import DTYPES

__all__ = ["DataLoader"]

PREFETCHED = 2  # batches ahead, as torch's workers have them each


class DataLoader(TorchDataLoader[Any]):
    """``torch.utils.data.DataLoader`` whose batches arrive on the GPU.

    Three kinds of dataset, one signature:

    - `ImageDataset` (an `ImageFolder`, say) with a gpuload transform: threads decode, one kernel per batch renders.
      ``num_workers`` counts the threads; with 0 the caller's own thread does the work.
    - ``TensorDataset`` (torch's or gpuload's): its tensors are moved to the device once; order and gather stay
      there, and nothing waits for the host.
    - any other dataset: torch's own workers and collate, then an asynchronous copy to the device.

    Batch k of epoch e depends on the seed alone. Each ``iter`` starts the next epoch.

    Args:
        dataset, batch_size, shuffle, sampler, batch_sampler, num_workers, collate_fn, pin_memory, drop_last,
        timeout, worker_init_fn, multiprocessing_context, generator, prefetch_factor, persistent_workers,
        pin_memory_device, in_order: as in torch. For images ``prefetch_factor`` is the number of batches
            prepared ahead, by all workers together (default 2; more where that many workers need it), and
            ``collate_fn`` gets (image, label) pairs whose images are on the device already.
        device: where batches arrive; None: CUDA if there is a GPU, else the CPU.
        seed: 64 bits, for order and random transforms; None: drawn from ``generator`` or torch's default one.
        dtype: of the images, instead of the transform's own: uint8, float16, bfloat16 or float32.
        memory_format: of the images: torch.contiguous_format or torch.channels_last.
        engine: "cuda", "cpu" or "pillow"; None: the fastest that the device allows. All give the same bits.

    Attributes:
        engine: the engine that was chosen; None where there are no images to render.
        path: the way that was chosen for the dataset; makes the batches.
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
        at_least("num_workers", num_workers, 0)
        for name, count in (("batch_size", batch_size), ("prefetch_factor", prefetch_factor)):
            if count is not None:
                at_least(name, count, 1)
        _check_sampling(batch_size, shuffle, sampler, batch_sampler, drop_last)
        if sampler is None and batch_sampler is None and not isinstance(dataset, IterableDataset):
            # given the seed of the user's alone: where there is none, ranks that share a generator share the order
            made = RandomSampler(dataset, generator=generator, seed=seed) if shuffle else SequentialSampler(dataset)  # type: ignore[arg-type]
            self.seed = made.settled_seed() if shuffle else seed_or_new(seed, generator)
            sampler, shuffle = made, None
        else:
            self.seed = seed_or_new(seed, generator)
        place = resolve(dataset.device if device is None and isinstance(dataset, TensorDataset) else device)
        self.device = place.torch_device
        self.dtype, self.memory_format = dtype, memory_format
        self._plan = _plan_of(dataset)
        _check_images(self._plan, dataset, dtype, memory_format, engine)
        # torch's own loader with the same arguments: this object, and another one where torch's workers serve it
        as_torch: Callable[..., None] = partial(
            TorchDataLoader.__init__,
            dataset=dataset,
            batch_size=batch_size,
            shuffle=shuffle,
            sampler=sampler,
            batch_sampler=batch_sampler,
            num_workers=num_workers,
            collate_fn=collate_fn,
            pin_memory=pin_memory,
            drop_last=drop_last,
            timeout=timeout,
            worker_init_fn=worker_init_fn,
            multiprocessing_context=multiprocessing_context,
            generator=generator,
            prefetch_factor=prefetch_factor,
            persistent_workers=persistent_workers,
            pin_memory_device=pin_memory_device,
            in_order=in_order,
        )
        as_torch(self)
        self._epoch = 0
        self.path = self._make_path(place, engine, as_torch)
        self.engine = self.path.engine.name if isinstance(self.path, ImagePath) else None

    def _make_path(
        self, device: Device, engine: str | None, as_torch: Callable[..., None]
    ) -> ImagePath | TensorPath | WorkerPath:
        order = Order(self.sampler, self.batch_sampler, self.batch_size, self.drop_last, device)
        if self._plan is not None and isinstance(self.dataset, ImageDataset):
            return self._image_path(self.dataset, self._plan, order, device, engine)
        tensors = _tensors_of(self.dataset)
        if tensors is not None:
            return TensorPath(tensors, order, self.collate_fn, device)
        inner: TorchDataLoader[Any] = TorchDataLoader.__new__(TorchDataLoader)
        as_torch(inner)
        return WorkerPath(inner, order, device)

    def _image_path(
        self, dataset: ImageDataset, plan: Plan, order: Order, device: Device, engine: str | None
    ) -> ImagePath:
        layout = Layout.of(plan, self.dtype, self.memory_format)
        pinning = device if device.launches else resolve(None) if self.pin_memory else None

        def make(in_flight: int) -> Engine:
            take = BufferPool(in_flight + 2).take if pinning is None else pinning.pinned
            return make_engine(engine, layout, device, take)

        prefetch = self.prefetch_factor or PREFETCHED
        return ImagePath(
            dataset, plan, order, self.seed, self.num_workers, prefetch, device, make, find_decoder(), self.collate_fn
        )

    def check_worker_number_rationality(self) -> None:
        """torch's warning of more worker processes than cores; workers that are threads may be more."""
        if self._plan is None:
            super().check_worker_number_rationality()

    @property
    def epoch(self) -> int:
        """The epoch that the next ``iter`` starts."""
        return self.sampler.epoch if isinstance(self.sampler, CounterSampler) else self._epoch

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch that the next ``iter`` starts: from 0 to 2^32 - 1."""
        self._epoch = epoch_number(epoch)
        if isinstance(self.sampler, CounterSampler):
            self.sampler.set_epoch(self._epoch)

    def __iter__(self) -> Any:
        epoch = self.epoch
        self.set_epoch(epoch + 1)
        return self.path.batches(epoch)

    def recipes(self, epoch: int) -> Iterator[tuple[int, Recipe]]:
        """(sample index, recipe) at each position of an epoch of images: all that the loader draws.

        ``dataset.apply(index, recipe)`` is then, bit for bit, the image that the loader delivers there. A batch
        sampler or sampler of your own is iterated for it.
        """
        if not isinstance(self.path, ImagePath):
            raise ArgumentError("only a loader over images with a gpuload transform has recipes")
        return self.path.recipes(epoch_number(epoch))

    def stages(self) -> list[Stage]:
        """The path that a sample will take, in order: which stage runs where, and what it does."""
        return list(self.path.stages(self.epoch))

    def explain(self) -> None:
        """Print the path that a sample will take: which stage runs where, and what became one kernel."""
        print(lay_out(self.stages()))


# ---- arguments ----


def _check_sampling(batch_size: Any, shuffle: Any, sampler: Any, batch_sampler: Any, drop_last: bool) -> None:
    if sampler is not None and shuffle:
        raise ArgumentError("shuffle=True and sampler exclude each other: the sampler decides the order; drop one")
    if batch_sampler is not None and (batch_size != 1 or shuffle or sampler is not None or drop_last):
        raise ArgumentError("batch_sampler decides on its own: leave out batch_size, shuffle, sampler and drop_last")


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


def _plan_of(dataset: Any) -> Plan | None:
    """The plan of a dataset of images whose samples are just that: file, transform, target."""
    is_plain = isinstance(dataset, ImageDataset) and dataset.why_not_plain() is None
    return dataset.plan if is_plain else None


def _tensors_of(dataset: Any) -> tuple[torch.Tensor, ...] | None:
    """The tensors of a TensorDataset whose samples are just their rows."""
    if isinstance(dataset, TorchTensorDataset) and type(dataset).__getitem__ is TorchTensorDataset.__getitem__:
        return dataset.tensors
    return None
