"""Images: threads plan and decode, an engine renders. The batch is the unit; a share of it is a worker's task."""

import math
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch

from gpuload.datasets.base import ImageDataset
from gpuload.datasets.joint import JointDataset
from gpuload.decoders import find_decoder
from gpuload.decoders.balance import AllAway, Balancer
from gpuload.decoding import GpuDecoding
from gpuload.device import Device, resolve
from gpuload.engines import Wanted, make_engine
from gpuload.engines.base import Engine, Layout, Take, ViewsEngine
from gpuload.errors import ArgumentError
from gpuload.loading.course import Course, Images, Settings
from gpuload.loading.job import ImageJob
from gpuload.loading.order import Integers, Order
from gpuload.loading.outline import image_stages
from gpuload.loading.prefetch import Pipeline
from gpuload.loading.quarantine import OfBatch, OfEpoch, Reserve
from gpuload.loading.stretch import Planner, Stretch, from_start
from gpuload.loading.targets import MaskRendering, Targets, Walking
from gpuload.loading.threads import Threads
from gpuload.loading.transfer import Moving
from gpuload.loading.work import unless_stop_iteration
from gpuload.randomness import call_seeded
from gpuload.recipes.ops import Recipe
from gpuload.stage import Stage, name_of
from gpuload.staging import BufferPool
from gpuload.transforms.hand import Form
from gpuload.transforms.plan import Plan
from gpuload.transforms.program import Leg, Program, Views

__all__ = ["DECODING", "ImagePath", "Rendering", "share_size"]

SHARE = 16  # most samples of a worker's task: a call costs little beside them, and a slow one holds up few others
TASKS = 32  # most workers that a batch is split for; more of them work at several batches
DECODING = "cpu", "gpu", "hybrid"  # who decodes: the workers, the GPU, or both at once
EXACT = "cuda", "cpu", "pillow"  # engines that render masks
MASKS = -1  # the key of their engine, beside the numbers of legs
PLANNED = 1024  # samples that are planned together, where their sizes are known and the sampler can be asked ahead


class Rendering(NamedTuple):
    """How a loader's images are made.

    Attributes:
        engine: by name; None: the fastest.
        decoder: one of `DECODING`.
        dtype: of what leaves, instead of the transform's own.
        memory_format: of it.
        seed: of what is drawn.
    """

    engine: str | None
    decoder: str
    dtype: torch.dtype | None
    memory_format: torch.memory_format
    seed: int


def share_size(batch: int, workers: int) -> int:
    """Samples of a worker's task: few enough that every worker gets a part of a batch, up to `TASKS` of them.

    Shares of 4, 8, 16 and 32 of batches of 256, on 64 threads whose native calls sleep: 48,000, 77,000, 76,000 and
    91,000 images/s (`benchmarks/ceiling.py`, two cores). 32 would need 17 batches in flight for all to be busy.
    """
    return min(math.ceil(batch / min(max(workers, 1), TASKS)), SHARE)


class ImagePath:
    """`ImageDataset` with a program: threads decode, an engine renders.

    Args:
        order: which samples are in a batch.
        rendering: how images are made.
        device: where batches arrive.
    """

    def __init__(self, order: Order, rendering: Rendering, device: Device) -> None:
        self.order, self.rendering, self.device = order, rendering, device
        self._decoder = find_decoder()
        self._side = device.stream()
        self._engines: dict[int, tuple[tuple[int, int, bool], Engine]] = {}
        self._kept: tuple[Threads, Threads | None] | None = None

    def batches(self, epoch: int, images: Images, settings: Settings, first: int = 0) -> Iterator[Any]:
        """The batches of an epoch from one on, on the device."""
        course = self.course(epoch, images, settings)
        anywhere = self.order.sampler is not None  # what a sampler of the user's does stays on the user's thread
        (threads, aside), depth = self._working(settings), self.depth(settings)
        made: Pipeline[tuple[Any, Any]] = Pipeline(
            self._jobs(course, first), threads, depth, anywhere, settings.in_order, settings.timeout, aside
        )
        sent = Moving(made, self.device, self._side) if course.is_sent else made
        return map(partial(unless_stop_iteration, course.collated), sent)

    def _working(self, settings: Settings) -> tuple[Threads, Threads | None]:
        """The workers of an epoch, and who waits for the GPU; persistent ones are those of the epoch before."""
        kept = self._kept
        if kept is not None and settings.keeps_workers and kept[0].count == settings.workers and _run(*kept):
            return kept
        start = partial(_start, self.device.enter, settings.worker_init_fn, self.rendering.seed)
        threads, aside = Threads(settings.workers, start, settings.timeout), None
        if settings.workers and self.rendering.decoder != "cpu":
            aside = Threads(1, lambda number: self.device.enter())
        self._kept = (threads, aside) if settings.keeps_workers else None
        return threads, aside

    def depth(self, settings: Settings) -> int:
        """Most batches in flight."""
        size, workers = self.order.usual_size, settings.workers
        tasks = math.ceil(size / share_size(size, workers))
        return max(settings.prefetch, math.ceil(2 * workers / tasks)) + 1 if workers else 1

    def stages(self, epoch: int, images: Images, settings: Settings) -> Iterator[Stage]:
        """What is done, for explain."""
        return image_stages(self.course(epoch, images, settings), self.order, settings, self.depth(settings))

    # ---- what an epoch goes by ----

    def course(self, epoch: int, images: Images, settings: Settings) -> Course:
        """What an epoch of these images, with these settings, goes by."""
        dataset, program = images
        engines = self._engines_of(program, settings)
        planners = tuple(
            self._planner(dataset, number, leg, engines[number], settings) for number, leg in enumerate(program.legs)
        )
        single, collate_fn = self.order.single, settings.collate_fn
        reach = self.order.reach(settings.reach)
        targets = self._targets(dataset, program, planners[-1].engine, settings)
        return Course(epoch, program, planners, single, collate_fn, self.device, settings.tolerance, reach, targets)

    def _targets(
        self, dataset: ImageDataset, program: Program | Views, engine: Engine, settings: Settings
    ) -> Targets | None:
        """How what moves with the images is made."""
        if not isinstance(dataset, JointDataset) or isinstance(program, Views):
            return None
        if not dataset.has_masks:
            return Walking(dataset)
        known = self._engines.get(MASKS)
        fits = self.depth(settings), settings.workers, settings.pin_memory
        if known is None or known[0] != fits:
            name = engine.name if engine.name in EXACT else None
            take = self._take(fits[0], settings)
            wanted = Wanted(
                Plan([], 1), Layout.of(Plan([], 1), None, torch.contiguous_format), self.device, take, fits[1]
            )
            known = self._engines[MASKS] = fits, make_engine(name, wanted)
        return MaskRendering(dataset, known[1], dataset.form(program))

    def _planner(self, dataset: ImageDataset, number: int, leg: Leg, engine: Engine, settings: Settings) -> Planner:
        share = share_size(self.order.usual_size, settings.workers)
        return Planner(dataset, leg.plan, engine, self._decoder, self.rendering.seed, share, number)

    def _engines_of(self, program: Program | Views, settings: Settings) -> list[Engine]:
        """One for each leg; views of one layout have one together.

        Raises:
            ArgumentError: the engine makes no views.
        """
        if isinstance(program, Program):
            return [self._engine(number, leg, settings) for number, leg in enumerate(program.legs)]
        engines = list[Engine]()
        for number, leg in enumerate(program.legs):
            layout = self._layout(leg)
            made = (engine for engine in engines if engine.layout.equals(layout))
            engines.append(next(made, None) or self._engine(number, leg, settings))
        if not isinstance(engines[0], ViewsEngine):
            raise ArgumentError(
                f"engine={self.rendering.engine!r} makes one view of an image, but MultiView has {len(engines)}: leave "
                "engine out, or pass 'cuda', 'cpu' or 'pillow'"
            )
        return engines

    def _engine(self, number: int, leg: Leg, settings: Settings) -> Engine:
        """A leg's engine: the one of the epoch before, if that still does."""
        layout, fits = self._layout(leg), (self.depth(settings), settings.workers, settings.pin_memory)
        known = self._engines.get(number)
        if known is not None and known[0] == fits and known[1].layout.equals(layout):
            return known[1]
        engine = self._made_engine(number, leg, settings, layout)
        self._engines[number] = fits, engine
        return engine

    def _made_engine(self, number: int, leg: Leg, settings: Settings, layout: Layout) -> Engine:
        name, depth = self.rendering.engine, self.depth(settings)
        if leg.calls:  # ordinary code wants it on the host, and exact
            self._refuse_decoding(number, leg)
            name = "pillow" if name == "pillow" else None
            wanted = Wanted(leg.plan, layout, resolve("cpu"), BufferPool(depth + 2).take, settings.workers)
        else:
            decoding = self._decoding(settings) if number == 0 else None  # what goes on to later legs is decoded
            take = self._take(depth, settings)
            wanted = Wanted(leg.plan, layout, self.device, take, settings.workers, decoding)
        return make_engine(name, wanted)

    def _refuse_decoding(self, number: int, leg: Leg) -> None:
        if number == 0 and self.rendering.decoder != "cpu":
            names = ", ".join(name_of(function) for function in leg.calls)
            raise ArgumentError(
                f"decoder={self.rendering.decoder!r} decodes into the GPU's memory, but the transform calls {names}, "
                "ordinary code that wants images on the host: pass decoder='cpu'"
            )

    def _decoding(self, settings: Settings) -> GpuDecoding | None:
        """What the GPU decodes."""
        if self.rendering.decoder == "cpu":
            return None
        return GpuDecoding(
            self.device, AllAway() if self.rendering.decoder == "gpu" else Balancer(settings.workers or 1)
        )

    def _layout(self, leg: Leg) -> Layout:
        """What a leg leaves: what is delivered, or what ordinary code gets."""
        if leg.calls and not leg.plan.dtype.is_floating_point:
            last = torch.channels_last if leg.form is Form.PIL else torch.contiguous_format
            return Layout.of(leg.plan, None, last)
        return Layout.of(leg.plan, self.rendering.dtype, self.rendering.memory_format)

    def _take(self, depth: int, settings: Settings) -> Take:
        """Where engines on the host render to."""
        pinning = self.device if self.device.launches else resolve(None) if settings.pin_memory else None
        return BufferPool(depth + 2).take if pinning is None else pinning.pinned

    # ---- the batches ----

    def _jobs(self, course: Course, first_batch: int) -> Iterator[ImageJob]:
        for batches in self._stretches(course, first_batch):
            positions, indices = map(np.concatenate, zip(*batches, strict=True))
            reserve = self._reserve(course, positions, indices)
            stretch, first = Stretch(course.of_files, course.epoch, positions, indices, reserve), 0
            for _, mine in batches:
                yield ImageJob(course, stretch, first, len(mine))
                first += len(mine)

    def _reserve(self, course: Course, positions: Integers, indices: Integers) -> Reserve | None:
        """What is done about samples of these that cannot be read."""
        if course.tolerance is None:
            return None
        order = self.order.begun(course.epoch)
        if order is None:
            return Reserve(course.tolerance, OfBatch(positions, from_start(indices, len(course.planners[0].dataset))))
        return Reserve(course.tolerance, OfEpoch(order, self.rendering.seed, course.epoch))

    def recipes(self, epoch: int, images: Images, settings: Settings) -> Iterator[tuple[int, Recipe]]:
        """(sample index, recipe) at each position of an epoch.

        Raises:
            ArgumentError: there is ordinary code in the transform.
        """
        images.dataset.require_recipes()
        is_multiple = isinstance(images.program, Views)
        course = self.course(epoch, images, settings)._replace(reach=0)
        for batches in self._stretches(course):
            positions, given = map(np.concatenate, zip(*batches, strict=True))
            indices = from_start(given, len(images.dataset))
            reserve = self._reserve(course, positions, given)
            indices = indices if reserve is None else reserve.instead(positions, indices)
            sizes = np.array([images.dataset.size(index) for index in indices.tolist()])
            drawn = [planner.drawn(epoch, positions, sizes) for planner in course.of_files]
            yield from zip(indices.tolist(), zip(*drawn, strict=True) if is_multiple else drawn[0], strict=True)

    def _stretches(self, course: Course, first: int = 0) -> Iterator[list[tuple[Integers, Integers]]]:
        """(positions, indices) of the batches that are planned together.

        One batch, where it is the first, which should come soon; where a sampler of the user's decides, which is not
        asked for more than is in flight; and where files must be read for it, whose slowest holds up the others.
        """
        gathered, count, wanted = list[tuple[Integers, Integers]](), 0, 0
        dataset = course.planners[0].dataset
        for positions, indices in self.order.host_batches(course.epoch, first, course.reach):
            together = self.order.sampler is not None and _knows(dataset, indices)
            if gathered and not together:
                yield gathered
                gathered, count = [], 0
            gathered.append((positions, indices))
            count += len(indices)
            if not together or count >= wanted:
                yield gathered
                gathered, count, wanted = [], 0, PLANNED
        if gathered:
            yield gathered


def _run(*threads: Threads | None) -> bool:
    """Are all of them there? They are not in a forked child, nor is one that something has ended."""
    return not any(some.ended() for some in threads if some is not None)


def _start(enter: Callable[[], None], worker_init_fn: Callable[[int], None] | None, seed: int, number: int) -> None:
    """What a worker does first. What it seeds are generators of its own, as in a process."""
    enter()
    if worker_init_fn is not None:
        call_seeded((seed + number) % 2**64, worker_init_fn, number)


def _knows(dataset: ImageDataset, indices: Integers) -> bool:
    """Is the size of each of these images remembered?"""
    inside = indices[(indices >= -len(dataset)) & (indices < len(dataset))]  # what is outside is refused later
    sizes = dataset.known_sizes(np.where(inside < 0, inside + len(dataset), inside))
    return bool(np.count_nonzero(sizes) == sizes.size)
