"""DataLoader: checks its arguments and chooses the loading path."""

import logging
from collections.abc import Callable, Iterable, Iterator
from copy import copy
from functools import partial
from operator import index
from typing import Any

import torch
from torch.utils.data import Dataset, IterableDataset, Sampler

from gpuload.arguments import epoch_number, seed_or_new
from gpuload.device import resolve
from gpuload.errors import ArgumentError
from gpuload.frameworks import Kept, Sample
from gpuload.lifting import Rows, Unknown, find
from gpuload.loading.checks import assert_iterable, check_decoder, check_rendering, check_shard, known, length, level
from gpuload.loading.course import Images, Settings
from gpuload.loading.early import Early
from gpuload.loading.epoch import Epoch
from gpuload.loading.finish import Finish
from gpuload.loading.images import ImagePath, Rendering
from gpuload.loading.order import Order
from gpuload.loading.progress import Progress, Samplers
from gpuload.loading.quarantine import Quarantine, Tolerance
from gpuload.loading.state import State
from gpuload.loading.targets import usual_collate
from gpuload.loading.tensors import TensorPath
from gpuload.loading.workers import WorkerPath
from gpuload.recipes.ops import Recipe
from gpuload.samplers import RandomSampler, SequentialSampler
from gpuload.samplers.base import CounterSampler
from gpuload.samplers.position import Position
from gpuload.samplers.sharded import Shard, ShardedBatches
from gpuload.stage import Stage, lay_out

__all__ = ["DataLoader"]

logger = logging.getLogger("gpuload")

PREFETCHED = 2  # batches ahead, as torch's workers have them each
# attributes that stay, as some of torch's do
FIXED = "decoder", "device", "dtype", "engine", "memory_format", "seed", "shard"


class DataLoader(Kept[Sample]):
    """``torch.utils.data.DataLoader`` whose batches arrive on the GPU.

    Three kinds of dataset, one signature:

    - `ImageDataset` (an `ImageFolder`, say) with a gpuload transform: threads decode, one kernel per batch renders.
      ``num_workers`` counts the threads; with 0 the caller's own thread does the work.
    - ``TensorDataset`` (torch's or gpuload's): its tensors are moved to the device once; order and gather stay
      there, and nothing waits for the host. Not with workers and a ``worker_init_fn``: they go the way of any other.
    - any other dataset: torch's own workers and collate, then an asynchronous copy to the device.

    Batch k of epoch e depends on the seed alone. Each ``iter`` starts the next epoch.

    Args:
        dataset, batch_size, shuffle, sampler, batch_sampler, num_workers, collate_fn, pin_memory, drop_last,
        timeout, worker_init_fn, multiprocessing_context, generator, prefetch_factor, persistent_workers,
        pin_memory_device, in_order: as in torch. For images ``prefetch_factor`` is the number of batches
            prepared ahead, by all workers together (default 2; more where that many workers need it), and
            ``collate_fn`` gets (image, label) pairs whose images are on the device already. Their workers are
            threads: ``worker_init_fn`` is called on each, with random generators of its own, and
            ``torch.utils.data.get_worker_info()`` is None there.
        device: where batches arrive; None: CUDA if there is a GPU, else the CPU.
        seed: 64 bits, for order and random transforms; None: drawn from ``generator`` or torch's default one.
        dtype: of the images, instead of the transform's own: uint8, float16, bfloat16 or float32.
        memory_format: of the images: torch.contiguous_format or torch.channels_last.
        engine: "cuda", "cpu" or "pillow"; None: the fastest of these that the device allows. They give the same bits.
            "dali": NVIDIA DALI's operators; the same samples, crops and flips, pixels as docs/dali.md says.
        decoder: "cpu": the workers decode, bit-exact. "gpu": the GPU decodes ordinary JPEGs, by nvImageCodec, into the
            batch's buffer. "hybrid": both at once, each batch's images shared by the speeds that are measured. Order,
            samples, labels and all that is drawn are the same with each; pixels that the GPU decodes are not Pillow's
            to the bit, but within the bound that README.md states. Which images of a batch those are depends, with
            "hybrid", on how fast both were.
        shard: the part of every global batch that this process delivers; None: all of it, as in torch. ``batch_size``
            is this process's, and ``len`` counts its batches, as many as on every other rank. With ``seed=None`` the
            ranks agree on one seed when the loader is made: all of them make it, in the same order.
        on_error: "raise", or "replace": another sample stands in for one whose file cannot be read or decoded, and
            that is logged once. Which one depends on the seed, epoch and position alone: it is one of the same epoch;
            where a sampler of your own makes the order, of the same batch.
        max_bad_samples: how many may be replaced before that is an error after all: an int, or a share of the dataset.
        batch_transform: what is done to a batch on the device: of `gpuload.batch_transforms`, torchvision's v2 MixUp,
            CutMix and RandomChoice of them, timm's Mixup, or any function of the batch, whose random numbers are its
            own. What is drawn depends on the seed, epoch and number of the batch alone; it is of the global batch.

    Attributes:
        quarantine: the samples that could not be read, by this process: each with its index, path and reason.
        engine: the engine that was chosen; None where there are no images to render.
        path: the way that was chosen for the dataset; makes the batches.
        epoch: the epoch that the next ``iter`` starts.

    Raises:
        ValueError, TypeError: a bad argument: as of torch's class, or an ArgumentError or ArgumentTypeError.
        MissingError: a GPU, a package or a compiler that was asked for is missing.
        BadSamplesError: by ``next``: more than ``max_bad_samples`` cannot be read.
    """

    def __init__(
        self,
        dataset: Dataset[Sample],
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
        decoder: str = "cpu",
        shard: Shard | None = None,
        on_error: str = "raise",
        max_bad_samples: int | float = 0.01,
        batch_transform: Callable[..., Any] | None = None,
    ) -> None:
        if shard is not None:
            check_shard(shard, dataset, batch_size, batch_sampler)
            seed = shard.agreed(seed_or_new(None, generator)) if seed is None else seed
        if sampler is None and batch_sampler is None and not isinstance(dataset, IterableDataset):
            # given the seed of the user's alone: where there is none, ranks that share a generator share the order
            made = RandomSampler(dataset, generator=generator, seed=seed) if shuffle else SequentialSampler(dataset)  # type: ignore[arg-type]
            self.seed = made.settled_seed() if shuffle else seed_or_new(seed, generator)
            sampler, shuffle = made, None
        else:
            self.seed = seed_or_new(seed, generator)
        rows = find(dataset) if device is None else None
        self._place = resolve(rows.device if isinstance(rows, Rows) else device)
        self.device = self._place.torch_device
        check_decoder(decoder, engine, device, self._place)
        self.dtype, self.memory_format, self._engine, self.decoder = dtype, memory_format, engine, decoder
        self.shard, self.on_error, self.max_bad_samples = shard, on_error, max_bad_samples
        self.batch_transform = batch_transform
        self.quarantine = Quarantine()
        self._progress, self._reason = Progress(), ""
        self.path: ImagePath | TensorPath | WorkerPath | None = None
        super().__init__(
            dataset,
            batch_size,
            shuffle,
            sampler,
            batch_sampler,
            num_workers,
            usual_collate(dataset, batch_size, batch_sampler) if collate_fn is None else collate_fn,
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
        if shard is not None:
            # torch's class has made others, and has no way to change them
            vars(self)["batch_sampler"] = ShardedBatches(self.sampler, batch_size, drop_last, shard)  # type: ignore[arg-type]
        path, images = self._now()
        is_rendered = isinstance(path, ImagePath)
        self.engine = path.course(0, images, self._settings()).engine.name if is_rendered else None  # type: ignore[union-attr, arg-type]

    @property
    def _is_accelerate_prepared(self) -> bool:
        """Whether Accelerate is to leave it as it is: a shard would be given a part of its part."""
        return isinstance(self.batch_sampler, ShardedBatches) or super()._is_accelerate_prepared

    def __setattr__(self, name: str, value: Any) -> None:
        if name in FIXED and name in vars(self):
            raise ArgumentError(f"{name} attribute should not be set after {type(self).__name__} is initialized")
        super().__setattr__(name, value)

    # ---- the way that the dataset takes, as it is now ----

    def _found(self) -> Images | Rows | Unknown:
        """What the dataset is, as far as gpuload reads it."""
        found = known(self.dataset)
        if isinstance(found, Rows) and self.num_workers and self.worker_init_fn is not None:
            return Unknown("worker_init_fn wants workers; rows stay on the device without it, or with num_workers=0")
        return found

    def _follow(self, found: Images | Rows | Unknown) -> None:
        """Choose the path of a dataset; the one that is there goes on, with all that it keeps, if it still does."""
        match found:
            case Images() if not isinstance(self.path, ImagePath):
                rendering = Rendering(self._engine, self.decoder, self.dtype, self.memory_format, self.seed)
                self.path = ImagePath(self._order(), rendering, self._place)
            case Rows() if not isinstance(self.path, TensorPath):
                self.path = TensorPath(found, self._order(), self._place)
            case Unknown() if not isinstance(self.path, WorkerPath):
                self.path = WorkerPath(self._order(), self.collate_fn, self._place)
        reason = found.reason if isinstance(found, Unknown) else ""
        if reason and reason != self._reason:
            logger.log(level(self.dataset), "torch's own workers read %s: %s", type(self.dataset).__name__, reason)
        self._reason = reason

    def _order(self) -> Order:
        """Made for a new path alone: each has a stream of its own."""
        return Order(self.sampler, self.batch_sampler, self._place)

    def _settings(self) -> Settings:
        replaces = self.on_error == "replace"
        return Settings(
            index(self.num_workers),
            self.prefetch_factor or PREFETCHED,
            self.persistent_workers,
            self.collate_fn,
            self.pin_memory,
            self.timeout,
            self.worker_init_fn,
            self.in_order,
            Tolerance.of(self.quarantine, self.max_bad_samples, length(self.dataset) or 0) if replaces else None,
            Finish.of(self),
        )

    def _now(self) -> tuple[ImagePath, Images] | tuple[TensorPath, Rows] | tuple[WorkerPath, Unknown]:
        """The path and what it is for.

        Raises:
            ArgumentError: arguments are for images, which gpuload no longer renders.
        """
        found = self._found()
        check_rendering(found, self)
        self._follow(found)
        return self.path, found  # type: ignore[return-value]

    @property
    def check_worker_number_rationality(self) -> Callable[[], None]:
        """torch's warning of more workers than cores; threads, which decode images, may be more.

        A property, so that nothing stands between torch's method and its caller, whose line the warning names.
        """
        return (lambda: None) if isinstance(self._found(), Images) else super().check_worker_number_rationality

    # ---- epochs ----

    @property
    def epoch(self) -> int:
        """The epoch that the next ``iter`` starts: the one that the sampler was told since the last, or one more."""
        return self._progress.epoch(self._keeper)

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch that the next ``iter`` starts, the sampler's, too: from 0 to 2^32 - 1."""
        epoch_number(epoch)
        if self._keeper is not None:
            self._keeper.set_epoch(epoch)
        self._progress.turn_to(epoch, self._keeper)

    @property
    def _keeper(self) -> Any:
        return self._samplers.keeper

    @property
    def _samplers(self) -> Samplers:
        return Samplers.of(self)

    def __iter__(self) -> Any:
        path, found = self._now()
        keeper = self._keeper
        if self.turns is not None and isinstance(keeper, CounterSampler):
            keeper.set_epoch(self.turns.next(keeper.epoch))
        if isinstance(path, WorkerPath):
            early = Early(self, path, self._progress)
            return Epoch(early, self.__len__, early.theirs)
        assert_iterable(self)
        return Epoch(partial(self._begin, path, found), self.__len__)

    def _begin(self, path: ImagePath | TensorPath, found: Any) -> tuple[Iterator[Any], Position]:
        """The batches of the next epoch, and where it is."""
        keeper = self._keeper
        position = self._progress.start(self._samplers)
        if isinstance(keeper, CounterSampler):  # others, as torch's DistributedSampler, have the user to tell them
            keeper.set_epoch(position.epoch + 1)
        self._progress.turn_to(position.epoch + 1, keeper)
        settings = self._settings()
        batches = path.batches(position.epoch, found, settings, position.own)
        if settings.finish is not None:
            batches = settings.finish.each(batches, position)
        return self._progress.begun(position, batches, keeper)

    # ---- where it is ----

    def state_dict(self) -> dict[str, Any]:
        """Where it is: plain JSON, for `load_state_dict`. Batches count that were delivered, not what is ahead."""
        return self._state().plain()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on where another loader was, or this one: the next ``iter`` delivers the rest of its epoch.

        Batches, and what is drawn for them, are those that come there without a break, on any number of workers, and
        of ranks that have the same global batch. The seeds become the state's. A sampler of your own is iterated up to
        there, and an ``IterableDataset``, too.

        Raises:
            ArgumentError: it is no state, or one of another dataset, order or global batch.
        """
        state = State.of(state_dict)
        state.check(self._state())
        self._restore_seeds(state)
        self.quarantine.restore(state.quarantine)
        self.set_epoch(state.epoch)
        self._progress.resume(state.epoch, state.batch)

    def digest(self) -> str:
        """What was delivered of the epoch that was begun last: 32 hexadecimal digits, to compare runs and ranks.

        It is of the epoch, of its batches up to here with the samples that stand there, and of the seeds: equal on all
        ranks, and for a run that went on from a state. Samples that were replaced are in `quarantine`, not here.

        Raises:
            ArgumentError: a sampler of your own makes the order.
        """
        epoch, batches = self._progress.delivered(self._samplers)
        path, _ = self._now()
        return path.order.digest(epoch, batches, f"{self.seed} {epoch} {batches}".encode())

    def _where(self) -> Position:
        """What is delivered next."""
        return self._progress.here(self._samplers)

    def _state(self) -> State:
        found = self._found()
        return State.here(self, self._where(), found.dataset if isinstance(found, Images) else None)

    def _restore_seeds(self, state: State) -> None:
        if isinstance(self._keeper, CounterSampler):
            self._keeper.begin_at(state.epoch, None)  # a state that was loaded into it before counts no longer
            if state.order_seed is not None:
                self._keeper.seed = state.order_seed
        if state.seed != self.seed:
            vars(self)["seed"] = state.seed
            self.path = None  # it draws with the other one
            self._now()

    # ---- what it does, and would ----

    def recipes(self, epoch: int) -> Iterator[tuple[int, Recipe]]:
        """(sample index, recipe) at each position of an epoch of images: all that the loader draws.

        ``dataset.apply(index, recipe)`` is then, bit for bit, the image that the loader delivers there. A batch
        sampler or sampler of your own is iterated for it.
        """
        path, found = self._now()
        if not isinstance(path, ImagePath):
            raise ArgumentError("only a loader over images whose transform gpuload renders has recipes")
        return path.recipes(epoch_number(epoch), found, self._settings())  # type: ignore[arg-type]

    def values(self, dtype: torch.dtype) -> torch.Tensor | None:
        """The value that each byte of an image becomes: (channels, 256) of ``dtype``; None: there is no such table."""
        path, found = self._now()
        if not isinstance(path, ImagePath):
            return None
        course = path.course(self.epoch, found, self._settings())  # type: ignore[arg-type]
        table, *others = [planner.plan.table(dtype) for planner in course.last]
        is_one = course.program.ends_natively and all(torch.equal(table, other) for other in others)
        return table if is_one else None

    def stages(self) -> list[Stage]:
        """The path that a sample will take, in order: which stage runs where, and what it does."""
        (path, found), settings = self._now(), self._settings()
        if isinstance(path, WorkerPath):
            stages = path.stages(self, found.reason)  # type: ignore[union-attr]
        else:
            stages = path.stages(self.epoch, found, settings)  # type: ignore[arg-type]
        finish = settings.finish
        return [*stages, *([] if finish is None else [finish.describe(path.order)])]

    def explain(self) -> None:
        """Print the path that a sample will take: which stage runs where, and what became one kernel."""
        print(lay_out(self.stages()))

    # ---- copies ----

    def __getstate__(self) -> dict[str, Any]:
        """Without what is of this process: threads, streams, native code."""
        own = {"path": None, "_place": None, "_iterator": None, "_progress": copy(self._progress)}
        return {**self.__dict__, **own}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _place=resolve(state["device"]))
        self._follow(self._found())
