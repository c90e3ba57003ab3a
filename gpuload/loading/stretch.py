"""Stretches of an epoch: consecutive samples that are measured and planned together, often several batches.

numpy's price is by the call, not by the sample: a thousand samples cost little more than sixty.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpuload.datasets.base import ImageDataset
from gpuload.decoders import pillow
from gpuload.decoders.base import Decoder
from gpuload.decoders.files import Files
from gpuload.engines.base import Engine
from gpuload.errors import SampleError
from gpuload.loading.quarantine import Reserve, Tolerance
from gpuload.loading.threads import Task
from gpuload.loading.words import progress
from gpuload.loading.work import Gate
from gpuload.native import Status
from gpuload.recipes.draws import CounterDraws
from gpuload.recipes.fuse import Fused
from gpuload.recipes.ops import Recipe
from gpuload.recipes.recipes import Recipes
from gpuload.transforms.plan import Plan

__all__ = ["Errors", "Planner", "Stretch", "from_start", "in_shares"]


@dataclass(frozen=True)
class Planner:
    """What a stretch's plan depends on, beside its samples.

    Attributes:
        dataset: of images, with a gpuload transform.
        plan: what that compiled to.
        engine: renders.
        decoder: of ordinary JPEGs; None: Pillow decodes everything.
        seed: of what is drawn.
        share: most samples of a worker's task.
        leg: of the dataset's program, whose plan it is.
    """

    dataset: ImageDataset
    plan: Plan
    engine: Engine
    decoder: Decoder | None
    seed: int
    share: int
    leg: int

    def drawn(self, epoch: int, positions: NDArray[np.int64], sizes: NDArray[Any]) -> Recipes:
        """What is drawn for images of these (height, width) at positions of an epoch."""
        draws = CounterDraws(self.seed, epoch, positions, self.leg)
        return self.plan.recipes(sizes[:, 0], sizes[:, 1], draws)

    def planned(
        self, epoch: int, positions: NDArray[np.int64], sizes: NDArray[Any], indices: NDArray[np.int64]
    ) -> tuple[Recipes, Fused]:
        """What is drawn, and how it fuses.

        Raises:
            SampleError: the plan fails at a sample, the first of them.
        """
        try:
            recipes = self.drawn(epoch, positions, sizes)
        except Exception:
            for slot, index in enumerate(indices.tolist()):
                with self.dataset.naming(index):
                    self.drawn(epoch, positions[slot : slot + 1], sizes[slot : slot + 1])
            raise
        return recipes, self.engine.fuse(recipes)


class Errors:
    """What went wrong with which sample while a stage's tasks run; the first one's is raised, whatever the timing.

    Args:
        dataset: names the file of a sample.
        epoch: whose samples they are.
        positions: of the samples in it.
        indices: of the samples in the dataset.
        tolerance: takes in samples that could not be read; None: that is an error like any other.

    Attributes:
        are_replaced: once all have ended: some samples were taken in, and others are to stand in for them.
    """

    def __init__(
        self,
        dataset: ImageDataset,
        epoch: int,
        positions: NDArray[np.int64],
        indices: NDArray[np.int64],
        tolerance: Tolerance | None = None,
    ) -> None:
        self._dataset, self._epoch, self._positions = dataset, epoch, positions
        self._indices, self._tolerance = indices, tolerance
        self._errors: dict[int, SampleError] = {}
        self._unreadable: set[int] = set()
        self._is_over = self.are_replaced = False

    @contextmanager
    def of(self, slot: int) -> Iterator[None]:
        """An error inside the block is the sample's; others go on."""
        try:
            with self._dataset.naming(int(self._indices[slot])):
                yield
        except SampleError as error:
            error.epoch, error.position = self._epoch, int(self._positions[slot])
            self._errors[slot] = error
            if self._is_over:  # a worker that stalled is late; asked after it is kept, so that none slips through
                self._errors.clear()

    @contextmanager
    def of_reading(self, slot: int) -> Iterator[None]:
        """Likewise; what the file system or the decoder says is what may be tolerated."""
        with self.of(slot):
            try:
                with self._dataset.naming(int(self._indices[slot])):
                    yield
            except OSError:
                self._unreadable.add(slot)
                raise

    def has(self, slot: int) -> bool:
        """Did this sample fail?"""
        return slot in self._errors

    @contextmanager
    def raised(self) -> Iterator[None]:
        """At the end of the block the first error is raised; from then on, or if it is left otherwise, none is kept.

        The frames that an error's traceback holds hold these errors: nothing but the garbage collector would end that.
        """
        try:
            yield
            if self._tolerance is not None:
                self._tolerate(self._tolerance)
            self._raise_first()
        finally:
            self._is_over = True
            self._errors.clear()

    def _tolerate(self, tolerance: Tolerance) -> None:
        for slot in sorted(self._unreadable):
            tolerance.add(self._errors.pop(slot))
            self.are_replaced = True

    def _raise_first(self) -> None:
        if not self._errors:
            return
        # nothing that the error's traceback holds may hold the error: it would outlive its handler
        error = self._errors[min(self._errors)]
        self._errors.clear()
        try:
            raise error
        finally:
            del error


def in_shares(work: Callable[[int, int], None], first: int, count: int, share: int) -> list[Task]:
    """``work(first, count)`` for samples of a stretch, in tasks of at most ``share`` samples."""
    return [partial(work, at, min(share, first + count - at)) for at in range(first, first + count, share)]


def from_start(given: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """Indices of ``count`` samples, counted from the start; negative ones count from the end.

    Raises:
        IndexError: there is no such sample.
    """
    indices = np.where(given < 0, given + count, given)
    outside = (indices < 0) | (indices >= count)
    if np.count_nonzero(outside):
        raise IndexError(f"sample {given[outside.argmax()]} of {count}")
    return indices


class Stretch:
    """Samples of an epoch.

    Args:
        planners: what else the plan depends on; one for each view.
        epoch: whose positions they are.
        positions: of the samples in the epoch: (n,) int64.
        indices: of the samples in the dataset: (n,) int64; negative ones count from the end.
        reserve: what is done about samples that cannot be read; None: an error is raised.

    Attributes:
        planned: `stages` has ended well; what follows is there.
        gate: opened when `stages` has ended, well or not.
        files: the encoded files.
        views: of each view, what to decode for it, and the kernels' records.
    """

    def __init__(
        self,
        planners: Sequence[Planner],
        epoch: int,
        positions: NDArray[np.int64],
        indices: NDArray[np.int64],
        reserve: Reserve | None,
    ) -> None:
        self._planners, self._planner = planners, planners[0]
        self._epoch, self.positions, self.indices = epoch, positions, indices
        self._reserve = reserve
        self.planned, self.gate = False, Gate()
        self._is_measured = False
        self.files: Files
        self.views: list[Fused]

    def alone(self, first: int, count: int) -> "Stretch":
        """Some of its samples as a stretch of their own, not planned."""
        part = slice(first, first + count)
        return Stretch(self._planners, self._epoch, self.positions[part], self.indices[part], self._reserve)

    def errors(self, part: slice = slice(None)) -> Errors:
        """For what goes wrong with the files of its samples, or of some."""
        tolerance = None if self._reserve is None else self._reserve.tolerance
        return Errors(self._planner.dataset, self._epoch, self.positions[part], self.indices[part], tolerance)

    def recipe(self, slot: int, view: int) -> Recipe:
        """What was drawn for a view of a sample."""
        recipe: Recipe = self._recipes[view][slot]
        return recipe

    def recipes(self, part: slice) -> Recipes:
        """What was drawn for some samples, of their first view."""
        return self._recipes[0].part(part)

    def stages(self) -> Iterator[list[Task]]:
        """Measure those images whose size is not known, then plan: a job's stages.

        Raises:
            SampleError: the first sample that failed.
        """
        try:
            self.indices = from_start(self.indices, len(self._planner.dataset))
            yield from self._measured()
            while self._errors.are_replaced:
                yield from self._measured()
            self._is_measured = True
            self._plan()
            self.planned = True
        finally:
            self.gate.open()

    def describe(self) -> str:
        """What `stages` is at, in words."""
        if self._is_measured:
            return f"planning {len(self.indices)} images: drawing random numbers, fusing operations"
        files = getattr(self, "files", None)
        if files is None:
            return f"looking up the files of {len(self.indices)} images"
        waiting = np.flatnonzero(~files.sizes.all(axis=1)).tolist()
        return progress("reading the sizes of", self._planner.dataset, self.indices, waiting)

    # ---- sizes ----

    def _measured(self) -> Iterator[list[Task]]:
        dataset = self._planner.dataset
        if self._reserve is not None:
            self.indices = self._reserve.instead(self.positions, self.indices)
        self._errors = self.errors()
        paths, memory = dataset.paths(self.indices), dataset.memory(self.indices)
        self.files = Files(paths, dataset.exif_transpose, self._planner.decoder, memory)
        self.files.sizes[:] = dataset.known_sizes(self.indices)
        if np.count_nonzero(self.files.sizes) < self.files.sizes.size:
            with self._errors.raised():
                yield self._measuring()
            dataset.remember(self.indices, self.files.sizes)

    def _measuring(self) -> list[Task]:
        self.files.status[:] = np.where(self.files.sizes.all(axis=1), Status.OK, Status.TODO)
        return in_shares(self._measure, 0, len(self.indices), self._planner.share)

    def _measure(self, first: int, count: int) -> None:
        mine = slice(first, first + count)
        self.files.measure(first, count)
        self.files.status[mine][_too_large(self.files.sizes[mine])] = Status.ODD
        for slot in self.files.undone(first, count):
            with self._errors.of_reading(slot):
                self.files.sizes[slot] = self._planner.dataset.size(int(self.indices[slot]))

    # ---- the plan ----

    def _plan(self) -> None:
        sizes = self.files.sizes
        planned = [planner.planned(self._epoch, self.positions, sizes, self.indices) for planner in self._planners]
        self._recipes, self.views = [recipes for recipes, _ in planned], [fused for _, fused in planned]
        by_pillow = np.any([fused.by_pillow for fused in self.views], axis=0)
        self.files.status[:] = np.where(by_pillow | _too_large(sizes), Status.ODD, Status.TODO)


def _too_large(sizes: NDArray[np.int32]) -> NDArray[np.bool_]:
    """Images with more pixels than Pillow opens without a word: it has warnings and errors of its own."""
    limit, most = pillow.pixel_limit(), int(sizes.max(initial=0))
    if limit is None or most * most <= limit:
        return np.zeros(len(sizes), bool)
    height, width = sizes.T.astype(np.int64)
    return np.asarray(height * width > limit)
