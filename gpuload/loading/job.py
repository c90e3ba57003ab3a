"""One batch of images, for the pipeline: leg after leg of the dataset's program, each in shares of samples."""

import itertools
from collections.abc import Callable, Iterator
from functools import partial
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from gpuload.decoders.files import Files, Memory
from gpuload.engines.base import Batch, Images, UnrenderedError, View, ViewsEngine
from gpuload.errors import DecodeError
from gpuload.loading.course import Course
from gpuload.loading.stretch import Errors, Stretch, in_shares
from gpuload.loading.targets import TargetsOfBatch
from gpuload.loading.words import progress
from gpuload.loading.work import Aside, Gate, Stage
from gpuload.native import Status
from gpuload.randomness import call_seeded
from gpuload.recipes.draws import call_seeds
from gpuload.recipes.fuse import Fused
from gpuload.recipes.ops import Recipe
from gpuload.recipes.recipes import apply
from gpuload.stage import name_of
from gpuload.transforms.program import Leg, Views, image_of, pixels_of, run

__all__ = ["ImageJob"]

ATTEMPTS = 3  # how often a batch is planned while its files are being replaced

RENDERING = "reading, decoding and rendering"

Pixels = NDArray[np.uint8]


class _Source(NamedTuple):
    """What a leg of a batch works at.

    Attributes:
        slots: which samples of the batch these are.
        files: where their images lie.
        views: the records of each view.
        recipe: what was drawn for a view of one of them.
        image: one of them, for Pillow.
    """

    slots: NDArray[np.int64]
    files: Files
    views: list[Fused]
    recipe: Callable[[int, int], Recipe]
    image: Callable[[int], Image.Image]


class _Run(NamedTuple):
    """A leg of a batch.

    Attributes:
        number: of the leg.
        source: what it works at.
        batch: where that is rendered.
        errors: which samples went wrong.
        seeds: of the ordinary code after it, one for each sample.
        alone: those that Pillow has done.
    """

    number: int
    source: _Source
    batch: Batch
    errors: Errors
    seeds: list[int]
    alone: set[int]

    def is_waiting(self, slot: int) -> bool:
        """Is it still to be read, decoded and rendered?"""
        return self.source.files.status[slot] != Status.OK and slot not in self.alone and not self.errors.has(slot)


class ImageJob:
    """One batch.

    Args:
        course: of the epoch.
        stretch: what its samples are planned with; the first batch of a stretch has that done.
        first, count: which samples of the stretch they are.
    """

    def __init__(self, course: Course, stretch: Stretch, first: int, count: int) -> None:
        self._course, self._stretch, self._first, self._count = course, stretch, first, count
        self._doing = ""  # what is not the stretch's, in words
        self._replaced: set[int] = set()  # samples whose file has not the size that was planned for
        self._between: dict[int, Pixels] = {}  # what ordinary code has made of samples, for the next leg
        self._made: dict[int, Any] = {}  # samples that ordinary code has finished
        self._targets: TargetsOfBatch | None = None  # what moves with the images

    def stages(self) -> Iterator[Stage]:
        if not self._count:
            return
        yield from self._planned_together()
        yield from self._legs()

    def _legs(self) -> Iterator[Stage]:
        yield from self._first_leg()
        for number in range(1, len(self._course.program.legs)):
            if self._between:
                self._run = self._continued(number)
                yield from self._rendered()
        self._finish()

    def result(self) -> tuple[Any, Any]:
        """Images, in one tensor or a list, or so of each view, and labels."""
        if not self._count:  # a batch sampler of the user's may say so; what that makes is for the collate function
            return [], []
        if len(self._made) == self._count:
            return self._stacked, self._labels
        if isinstance(self._course.program, Views):
            return [self._run.batch.images(view) for view in range(len(self._course.planners))], self._labels
        images = self._images()
        if self._targets is not None:
            return images, self._course.parted(self._targets.delivered())
        if self._made:  # a few were no images where the others went on natively
            native = {int(at): images[slot] for slot, at in enumerate(self._run.source.slots)}
            images = [(native | self._made)[at] for at in range(self._count)]
        return images, self._labels

    def describe(self) -> str:
        """What it is at, in words."""
        if self._doing:
            return self._doing if self._doing != RENDERING else self._describe_leg()
        if self._first:
            return f"waiting for a batch that is planned with it, which is {self._stretch.describe()}"
        return self._stretch.describe()

    def _describe_leg(self) -> str:
        running = self._run
        leg, slots = self._course.program.legs[running.number], running.source.slots.tolist()
        dataset, indices = self._course.planners[0].dataset, self._indices[slots]
        done = self._made.keys() | self._between.keys() if leg.calls else set(slots)
        waiting = [
            slot
            for slot, at in enumerate(slots)
            if running.is_waiting(slot) or (at not in done and not running.errors.has(slot))
        ]
        called = bool(waiting) and not running.is_waiting(waiting[0])
        what = f"calling {self._call_names(running.number)} on" if called else RENDERING
        return progress(what, dataset, indices, waiting)

    def _call_names(self, number: int) -> str:
        return ", ".join(map(name_of, self._course.program.legs[number].calls))

    def _images(self) -> Images:
        running = self._run
        try:
            return running.batch.images()
        except UnrenderedError:
            errors = self._errors_of(running.number, running.source.slots)
            self._run = running._replace(errors=errors)
        with errors.raised():  # as a worker would have it, had the engine known earlier
            for slot in running.source.files.undone(0, len(running.source.slots)):
                self._render_alone(slot)
        self._assert_there()
        if errors.are_replaced:
            return self._images_anew()
        running.batch.finish()
        return running.batch.images()

    def _images_anew(self) -> Images:
        """With other samples, on the consumer's thread."""
        for stage in itertools.chain(self._planned_alone(), self._legs()):
            assert not isinstance(stage, Gate), "nobody else plans for this batch"
            for task in stage:
                task()
        return self._images()

    # ---- the plan ----

    def _planned_together(self) -> Iterator[Stage]:
        if self._first > 0:
            yield self._stretch.gate
        elif self._count == len(self._stretch.indices):
            yield from self._stretch.stages()
        else:
            try:
                yield from self._stretch.stages()
            except Exception:
                return  # which batch has the sample that failed is seen when each is planned alone

    def _first_leg(self) -> Iterator[Stage]:
        attempts, is_planned = ATTEMPTS, self._stretch.planned
        while attempts:
            if not is_planned:
                yield from self._planned_alone()
            self._run = self._begun()
            yield from self._rendered()
            if not self._replaced and not self._run.errors.are_replaced:
                return
            attempts -= bool(self._replaced)
            is_planned = False
        self._assert_there()

    def _assert_there(self) -> None:
        if self._replaced:
            with self._course.planners[0].dataset.naming(int(self._indices[min(self._replaced)])):
                raise DecodeError("the file is being replaced again and again while it is read")

    def _planned_alone(self) -> Iterator[Stage]:
        dataset = self._course.planners[0].dataset
        self._stretch = self._stretch.alone(self._first, self._count)
        self._first, self._doing = 0, ""
        unknown = self._stretch.indices[list(self._replaced)]
        dataset.remember(unknown, np.zeros((len(unknown), 2), np.int32))
        for state in (self._replaced, self._between, self._made):
            state.clear()
        yield from self._stretch.stages()

    def _begun(self) -> _Run:
        """The first leg: this batch's part of the stretch."""
        stretch, planner, part = self._stretch, self._course.planners[0], slice(self._first, self._first + self._count)
        self._indices, self._positions = stretch.indices[part], stretch.positions[part]
        indices, dataset, first = self._indices, planner.dataset, self._first
        self._doing = f"preparing the targets of {self._count} images"
        # here, not with the stretch: code of the user's runs for no more samples than are in flight
        targets = self._course.targets
        if targets is None:
            self._labels = self._course.prepared(dataset.labels(indices))
        else:
            self._targets = targets.begun(indices, stretch.recipes(part))
        source = _Source(
            np.arange(self._count),
            stretch.files[part],
            [fused[part] for fused in stretch.views],
            lambda slot, view: stretch.recipe(first + slot, view),
            lambda slot: dataset.image(int(indices[slot])),
        )
        return self._begin(0, source)

    def _continued(self, number: int) -> _Run:
        """A later leg: of those samples that ordinary code made images of."""
        self._doing = f"planning what comes after {self._call_names(number - 1)} for {len(self._between)} images"
        slots = np.array(sorted(self._between))
        pixels = [self._between.pop(slot) for slot in slots.tolist()]
        addresses = np.array([one.ctypes.data for one in pixels], np.uint64)
        channels = np.array([one.shape[2] for one in pixels], np.uint8)
        files = Files([b""] * len(slots), False, None, Memory(addresses, channels, pixels))
        files.sizes[:] = [one.shape[:2] for one in pixels]
        planner = self._course.planners[number]
        epoch, positions, indices = self._course.epoch, self._positions[slots], self._indices[slots]
        recipes, fused = planner.planned(epoch, positions, files.sizes, indices)
        files.status[:] = np.where(fused.by_pillow, Status.ODD, Status.TODO)
        source = _Source(slots, files, [fused], lambda slot, _: recipes[slot], lambda slot: image_of(pixels[slot]))
        return self._begin(number, source)

    def _begin(self, number: int, source: _Source) -> _Run:
        course, planner = self._course, self._course.planners[number]
        batch = self._batch(number, source)
        errors = self._errors_of(number, source.slots)
        positions = self._positions[source.slots]
        has_calls = bool(course.program.legs[number].calls)
        seeds = call_seeds(planner.seed, course.epoch, positions, number) if has_calls else []
        return _Run(number, source, batch, errors, seeds, set())

    def _batch(self, number: int, source: _Source) -> Batch:
        planners, files, views = self._course.planners, source.files, source.views
        if not isinstance(self._course.program, Views):
            return planners[number].engine.batch(views[0], files)
        engines = [planner.engine for planner in planners]
        assert isinstance(engines[0], ViewsEngine), "others are refused"
        return engines[0].views(list(map(View, engines, views, files.views(len(views)))))

    def _errors_of(self, number: int, slots: NDArray[np.int64]) -> Errors:
        """For what goes wrong in a leg: files may be tolerated that cannot be read."""
        if number == 0:
            return self._stretch.errors(slice(self._first, self._first + self._count))
        course = self._course
        return Errors(course.planners[number].dataset, course.epoch, self._positions[slots], self._indices[slots])

    # ---- pixels ----

    def _rendered(self) -> Iterator[Stage]:
        running, elsewhere = self._run, self._run.source.files.elsewhere
        in_all = partial(in_shares, first=0, count=len(running.source.slots), share=self._course.planners[0].share)
        self._doing = RENDERING
        with running.errors.raised():
            if elsewhere is None:
                yield in_all(self._render)
            else:
                yield in_all(elsewhere.read)
                yield [Aside(elsewhere.decode), *in_all(self._render)]
                yield [partial(self._render_alone, slot) for slot in elsewhere.undone()]

    def _render(self, first: int, count: int) -> None:
        running, begun = self._run, perf_counter()
        if self._targets is not None:
            for slot in range(first, first + count):
                with running.errors.of_reading(slot):
                    self._targets.make(slot)
        running.batch.share(first, count)
        for slot in running.source.files.undone(first, count):
            self._render_alone(slot)
        if running.source.files.elsewhere is not None:
            running.source.files.elsewhere.worked(first, count, perf_counter() - begun)
        if running.seeds:
            for slot in range(first, first + count):
                with running.errors.of(slot):
                    self._call(slot)

    def _render_alone(self, slot: int) -> None:
        with self._run.errors.of_reading(slot):
            self._render_with_pillow(slot)

    def _render_with_pillow(self, slot: int) -> None:
        """What native code did not take: other formats, odd JPEGs, recipes that do not fuse, whatever failed."""
        running = self._run
        if running.source.files.status[slot] == Status.CHANGED:
            self._replaced.add(slot)
            return
        image = self._image(slot)
        if image is None or (image.height, image.width) != tuple(running.source.files.sizes[slot].tolist()):
            self._replaced.add(slot)
            return
        for view, fused in enumerate(running.source.views):
            made = apply(image, running.source.recipe(slot, view)) if fused.by_pillow[slot] else image
            top, left, height, width = fused.regions[slot].tolist()
            running.batch.put(slot, np.asarray(made.crop((left, top, left + width, top + height))), view)
        running.alone.add(slot)

    def _image(self, slot: int) -> Image.Image | None:
        """The sample's image; None: another sample stands for it now."""
        try:
            image = self._run.source.image(slot)
            return image if image.mode == "RGB" else image.convert("RGB")  # gray ones that lie in memory
        except OSError:
            if self._course.planners[0].dataset.passes_over(int(self._indices[slot])):
                return None
            raise

    def _call(self, slot: int) -> None:
        """Ordinary code on a rendered image, with random numbers of its own."""
        running, number = self._run, self._run.number
        if slot in self._replaced or running.errors.has(slot):
            return
        leg, at = self._course.program.legs[number], int(running.source.slots[slot])
        is_last = number == len(self._course.program.legs) - 1
        made, pixels = call_seeded(running.seeds[slot], _called, leg, running.batch.images()[slot], is_last)
        if pixels is None:
            self._made[at] = made
        else:
            self._between[at] = pixels

    def _finish(self) -> None:
        self._doing = f"finishing {self._count} images"
        if self._targets is not None:
            self._targets.finish()
        if len(self._made) == self._count:
            finished = [self._made[at] for at in range(self._count)]
            self._stacked = self._course.stacked(finished)
        else:
            self._run.batch.finish()


def _called(leg: Leg, image: torch.Tensor, is_last: bool) -> tuple[Any, Pixels | None]:
    """A finished sample; or the pixels that go on to the next leg."""
    made = leg.call(image)
    pixels = None if is_last else pixels_of(made, leg)
    return (run(leg.rest, made), None) if pixels is None else (None, pixels)
