"""Images: threads plan and decode, an engine renders. The batch is the unit; a share of it is a worker's task."""

import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import default_collate

from gpuload.datasets.base import ImageDataset
from gpuload.decoders import pillow
from gpuload.decoders.base import Decoder
from gpuload.device import Device
from gpuload.engines.base import Batch, Engine, Images
from gpuload.errors import CollateError, DecodeError
from gpuload.loading.order import Order
from gpuload.loading.prefetch import Pipeline, Stage as JobStage, unless_stop_iteration
from gpuload.loading.stretch import Errors, Planner, Stretch, from_start, in_shares
from gpuload.loading.survey import Survey, survey
from gpuload.loading.transfer import Moving, move, pinned, sending
from gpuload.native import Status
from gpuload.recipes.ops import Recipe
from gpuload.recipes.recipes import apply
from gpuload.stage import CALLER, Stage, collated_by, name_of, threads_of
from gpuload.transforms.plan import Plan

__all__ = ["ImagePath", "share_size"]

SHARE = 16  # most samples of a worker's task: a call costs little beside them, and a slow one holds up few others
TASKS = 32  # most workers that a batch is split for; more of them work at several batches
PLANNED = 1024  # samples that are planned together, where their sizes are known and the sampler can be asked ahead
ATTEMPTS = 3  # how often a batch is planned while its files are being replaced

Labels = Sequence[Any] | NDArray[np.int64]


def share_size(batch: int, workers: int) -> int:
    """Samples of a worker's task: few enough that every worker gets a part of a batch, up to `TASKS` of them.

    Shares of 4, 8, 16 and 32 of batches of 256, on 64 threads whose native calls sleep: 48,000, 77,000, 76,000 and
    91,000 images/s (`benchmarks/ceiling.py`, two cores). 32 would need 17 batches in flight for all to be busy.
    """
    return min(math.ceil(batch / min(max(workers, 1), TASKS)), SHARE)


class ImagePath:
    """`ImageDataset` with a plan: threads decode, an engine renders.

    Args:
        dataset: of images, with a gpuload transform.
        plan: what that compiled to.
        order: which samples are in a batch.
        seed: of what is drawn.
        workers: threads.
        prefetch: batches prepared ahead; more where the workers need more to be busy.
        device: where batches arrive.
        engine: renders; made by a function of the most batches in flight.
        decoder: of ordinary JPEGs; None: Pillow decodes everything.
        collate_fn: as of the loader.
    """

    def __init__(
        self,
        dataset: ImageDataset,
        plan: Plan,
        order: Order,
        seed: int,
        workers: int,
        prefetch: int,
        device: Device,
        engine: Callable[[int], Engine],
        decoder: Decoder | None,
        collate_fn: Callable[[Any], Any],
    ) -> None:
        self.order, self.workers, self.device, self.collate_fn = order, workers, device, collate_fn
        share = share_size(order.usual_size, workers)
        tasks = math.ceil(order.usual_size / share)
        self.depth = max(prefetch, math.ceil(2 * workers / tasks)) + 1 if workers else 1
        self.planner = Planner(dataset, plan, engine(self.depth), decoder, seed, share)
        self._side = device.stream() if self._is_sent else None

    @property
    def engine(self) -> Engine:
        """Renders."""
        return self.planner.engine

    def batches(self, epoch: int) -> Iterator[Any]:
        """The batches of an epoch, on the device."""
        anywhere = self.order.sampler is not None  # what a sampler of the user's does stays on the user's thread
        rendered = Pipeline(self._jobs(epoch), self.workers, self.depth, self.device.enter, anywhere)
        sent = Moving(rendered, self.device, self._side) if self._is_sent else rendered
        return map(partial(unless_stop_iteration, self._collate), sent)

    def _jobs(self, epoch: int) -> Iterator["_ImageJob"]:
        for start, batches in self._stretches(epoch):
            stretch, first = Stretch(self.planner, epoch, start, np.concatenate(batches)), 0
            for indices in batches:
                yield _ImageJob(self, stretch, first, len(indices))
                first += len(indices)

    def recipes(self, epoch: int) -> Iterator[tuple[int, Recipe]]:
        """(sample index, recipe) at each position of an epoch."""
        for start, batches in self._stretches(epoch):
            indices = from_start(np.concatenate(batches), len(self.planner.dataset)).tolist()
            sizes = np.array([self.planner.dataset.size(index) for index in indices])
            yield from zip(indices, self.planner.drawn(epoch, start, sizes), strict=True)

    def _stretches(self, epoch: int) -> Iterator[tuple[int, list[NDArray[np.int64]]]]:
        """(first position, the indices of each batch) of what is planned together.

        One batch, where it is the first, which should come soon; where a sampler of the user's decides, which is not
        asked for more than is in flight; and where files must be read for it, whose slowest holds up the others.
        """
        start, gathered, wanted = 0, list[NDArray[np.int64]](), 0
        for indices in self.order.host_batches(epoch):
            together = self.order.sampler is not None and self._knows(indices)
            if gathered and not together:
                yield start, gathered
                start, gathered = start + sum(map(len, gathered)), []
            gathered.append(indices)
            if not together or sum(map(len, gathered)) >= wanted:
                yield start, gathered
                start, gathered, wanted = start + sum(map(len, gathered)), [], PLANNED
        if gathered:
            yield start, gathered

    def _knows(self, indices: NDArray[np.int64]) -> bool:
        """Is the size of each of these images remembered?"""
        sizes = self.planner.dataset.sizes.take(indices, axis=0, mode="clip")  # what is outside is refused later
        return bool(np.count_nonzero(sizes) == sizes.size)

    @property
    def _stacks(self) -> bool:
        """Batches are torch's plain ones: images in a tensor, labels as default_collate has them."""
        return self.collate_fn is default_collate and not self.order.single

    def prepared(self, labels: Labels) -> Any:
        """What a worker can do for `_collate`: labels stacked, or as a list."""
        if not self._stacks:
            return labels.tolist() if isinstance(labels, np.ndarray) else labels
        # copied: a dataset may give a view of its own memory, and a batch is the user's
        collate: Callable[[Any], Any] = default_collate
        batch = torch.from_numpy(labels.copy()) if isinstance(labels, np.ndarray) else collate(tuple(labels))
        return pinned(batch, self.device)

    @property
    def _is_sent(self) -> bool:
        """Images are rendered in page-locked memory of the host's, and go on to the device."""
        return self.engine.on_host and self.device.launches

    def _collate(self, rendered: tuple[Images, Any]) -> Any:
        """Images and `prepared` labels as the batch that the user gets."""
        images, labels = rendered
        if self.device.launches:  # else they are there
            labels = move(labels, self.device)
        for function in self.planner.plan.tail:
            images = [function(image) for image in images]
        if self._stacks:
            return [_stacked(images), labels]
        if self.order.single:
            return self.collate_fn((images[0], labels[0]))
        return self.collate_fn(list(zip(images, labels, strict=True)))

    # ---- explain ----

    def stages(self, epoch: int) -> Iterator[Stage]:
        """What is done, for explain."""
        planner, threads, target = self.planner, threads_of(self.workers), self.device.describe()
        found = survey(planner.dataset, planner.plan, planner.engine, planner.seed, epoch)
        transforms = ", ".join(name_of(transform) for transform, _ in planner.plan.geometric) or "nothing"
        yield self.order.describe(host=threads)
        yield Stage("read", threads, (planner.dataset.describe(),))
        yield Stage("draw", threads, (transforms, f"from seed {planner.seed}, epoch {epoch} and position alone"))
        yield Stage("decode", threads, tuple(self._decoders(found)))
        yield from planner.engine.stages(threads, target, tuple(found.fusing()), self._facts(found))
        if self._is_sent:
            yield sending(target)
        if planner.plan.tail:
            names = ", ".join(name_of(function) for function in planner.plan.tail)
            yield Stage("call", CALLER, (f"{names}: ordinary code, not in the kernel, on one image after the other",))
        in_flight = "1 batch in flight" if self.depth == 1 else f"{self.depth} batches in flight"
        collated = collated_by(self.collate_fn, "[images, labels]" if not self.order.single else "single samples")
        yield Stage("deliver", target, (f"{collated}, in order", in_flight))

    def _facts(self, found: Survey) -> list[str]:
        plan = self.planner.plan
        values = ", ".join(name_of(transform) for transform in plan.pointwise)
        facts = [f"values by a table of 256 a channel: {values}"] if values else []
        facts.append(", ".join([self.engine.layout.describe(), *found.span()]))
        if len(found.sizes) > 1 and self.collate_fn is default_collate and not plan.tail:
            facts.append(
                "sizes differ, so batches will not stack: end the transform with a fixed size, or pass collate_fn"
            )
        return facts + found.failures[:1]

    def _decoders(self, found: Survey) -> Iterator[str]:
        decoder = self.planner.decoder
        if decoder is None:
            yield f"all by {pillow.describe()}; nvImageCodec, which is faster, is not installed"
        elif 0 < found.count == len(found.breaks):
            yield f"all by {pillow.describe()}"
        else:
            yield f"ordinary JPEGs by {decoder.describe()}, just the region that is needed"
            yield f"all others by {pillow.describe()}"
        if self.planner.dataset.exif_transpose:
            yield "turned as their EXIF orientation says"


class _ImageJob:
    """One batch of images, for the pipeline: planned with its stretch, decoded in shares, finished.

    Args:
        path: whose batch it is.
        stretch: what its samples are planned with; the first batch of a stretch has that done.
        first, count: which samples of the stretch they are.
    """

    def __init__(self, path: ImagePath, stretch: Stretch, first: int, count: int) -> None:
        self._path, self._stretch, self._first, self._count = path, stretch, first, count
        self._replaced: set[int] = set()  # samples whose file has not the size that was planned for

    def stages(self) -> Iterator[JobStage]:
        if not self._count:
            return
        yield from self._planned_together()
        for _ in range(ATTEMPTS):
            if not self._stretch.planned or self._replaced:
                yield from self._planned_alone()
            self._begin()
            with self._errors.raised():
                yield in_shares(self._render, 0, self._count, self._path.planner.share)
            if not self._replaced:
                break
        else:
            self._fail_replaced()
        self._batch.finish()

    def result(self) -> Any:
        if not self._count:  # a batch sampler of the user's may say so; what that makes is for the collate function
            return [], []
        return self._batch.images(), self._labels

    # ---- the plan ----

    def _planned_together(self) -> Iterator[JobStage]:
        if self._first > 0:
            yield self._stretch.gate
        elif self._count == len(self._stretch.indices):
            yield from self._stretch.stages()
        else:
            try:
                yield from self._stretch.stages()
            except Exception:
                return  # which batch has the sample that failed is seen when each is planned alone

    def _planned_alone(self) -> Iterator[JobStage]:
        dataset = self._path.planner.dataset
        self._stretch = self._stretch.alone(self._first, self._count)
        self._first = 0
        dataset.sizes[self._stretch.indices[list(self._replaced)]] = 0
        self._replaced.clear()
        yield from self._stretch.stages()

    def _begin(self) -> None:
        """Take this batch's part of the stretch."""
        stretch, planner, part = self._stretch, self._path.planner, slice(self._first, self._first + self._count)
        self._indices = stretch.indices[part]
        # here, not with the stretch: code of the user's runs for no more samples than are in flight
        self._labels = self._path.prepared(planner.dataset.labels(self._indices))
        self._files, self._fused = stretch.files[part], stretch.fused[part]
        self._errors = Errors(planner.dataset, self._indices)
        self._batch: Batch = planner.engine.batch(self._fused, self._files)

    # ---- pixels ----

    def _render(self, first: int, count: int) -> None:
        self._batch.share(first, count)
        for slot in self._files.undone(first, count):
            with self._errors.of(slot):
                self._render_with_pillow(slot)

    def _render_with_pillow(self, slot: int) -> None:
        """What native code did not take: other formats, odd JPEGs, recipes that do not fuse, whatever failed."""
        if self._files.status[slot] == Status.CHANGED:
            self._replaced.add(slot)
            return
        image = self._path.planner.dataset.image(int(self._indices[slot]))
        if (image.height, image.width) != tuple(self._files.sizes[slot].tolist()):
            self._replaced.add(slot)
            return
        if self._fused.by_pillow[slot]:
            image = apply(image, self._stretch.recipe(self._first + slot))
        top, left, height, width = self._fused.regions[slot].tolist()
        self._batch.put(slot, np.asarray(image.crop((left, top, left + width, top + height))))

    def _fail_replaced(self) -> None:
        for slot in self._replaced:
            with self._errors.of(slot):
                raise DecodeError("the file is being replaced again and again while it is read")
        self._errors.raise_first()


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
