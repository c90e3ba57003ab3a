"""A look at the first images of a dataset: what is drawn for them, and which of it fuses into the kernel."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from gpuload.errors import GpuloadError
from gpuload.loading.course import Course
from gpuload.loading.stretch import Planner
from gpuload.randomness import call_seeded
from gpuload.recipes.draws import CounterDraws, call_seeds
from gpuload.recipes.ops import Recipe
from gpuload.recipes.recipes import Recipes
from gpuload.transforms.program import Views, image_of, pixels_of

__all__ = ["Survey", "cost_of_calls", "survey"]

IMAGES, DRAWS = 8, 8  # recipes are drawn for the first images, so many times each
USUAL_SIZE = 375, 500  # height and width of a photo, where there is none to look at


@dataclass
class Survey:
    """What was found.

    Attributes:
        count: recipes that were drawn.
        adjusted: of these, those with adjustments, or later stages, that native code makes.
        breaks: the operations at which recipes do not fuse, by name, one for each such recipe.
        sizes: (height, width) that leave, in pixels.
        failures: what went wrong instead.
    """

    count: int = 0
    adjusted: int = 0
    breaks: list[str] = field(default_factory=list)
    sizes: set[tuple[int, int]] = field(default_factory=set)
    failures: list[str] = field(default_factory=list)

    @classmethod
    def of_all(cls, found: Sequence["Survey"]) -> "Survey":
        """What was found for several views, together."""
        whole = cls()
        for one in found:
            whole.count, whole.adjusted = whole.count + one.count, whole.adjusted + one.adjusted
            whole.breaks, whole.failures = whole.breaks + one.breaks, whole.failures + one.failures
            whole.sizes |= one.sizes
        return whole

    def fusing(self) -> Iterator[str]:
        """How much of it fuses, in words."""
        if self.breaks:
            names = ", ".join(sorted(set(self.breaks)))
            yield f"{len(self.breaks)} of {self.count} recipes of the first images do not fuse into it, at {names}:"
            yield "Pillow runs the operations of such a sample while decoding, the engine only its values"
        elif self.count:
            yield f"all {self.count} recipes of the first images fuse into it"
        if self.adjusted:
            yield f"native code adjusts colors, warps or resizes again {self.adjusted} of {self.count}"

    def span(self) -> Iterator[str]:
        """The sizes, in words."""
        if self.sizes:
            least, most = min(self.sizes), max(self.sizes)
            shown = dict.fromkeys(f"{height} x {width}" for height, width in (least, most))
            yield f"{' to '.join(shown)} pixels"


def survey(planner: Planner, epoch: int) -> Survey:
    """Draw recipes for the first images of the dataset, whose files are opened for it. No random state changes."""
    found, dataset = Survey(), planner.dataset
    for index in range(min(len(dataset), IMAGES) or 1):
        positions = np.arange(index * DRAWS, (index + 1) * DRAWS)
        try:
            height, width = dataset.size(index) if len(dataset) else USUAL_SIZE
            recipes = planner.drawn(epoch, positions, np.tile([height, width], (DRAWS, 1)))
            fused = planner.engine.fuse(recipes)
        except GpuloadError as error:
            found.failures.append(f"an image fails: {error}")
            continue
        found.count += DRAWS
        found.sizes |= set(zip(recipes.final_height.tolist(), recipes.final_width.tolist(), strict=True))
        found.adjusted += int(np.count_nonzero(fused.adjustments.any))
        left = np.flatnonzero(fused.by_pillow).tolist()
        found.breaks += [_break(planner, recipes[i], height, width) for i in left]
    return found


def cost_of_calls(course: Course) -> dict[int, float]:
    """Seconds that the ordinary code of each leg takes for the first image, by the leg's number; where it works."""
    costs: dict[int, float] = {}
    dataset, epoch, seed = course.planners[0].dataset, course.epoch, course.planners[0].seed
    if isinstance(course.program, Views) or course.program.is_native or not len(dataset):
        return costs
    try:
        image = dataset.image(0)
        for number, leg in enumerate(course.program.legs):
            tensor = leg.plan(image, CounterDraws(seed, epoch, [0], number))
            if not leg.calls:
                break
            seed_of_calls = call_seeds(seed, epoch, [0], number)[0]
            call_seeded(seed_of_calls, leg.call, tensor)  # once before: first calls import and compile
            begin = time.perf_counter()
            made = call_seeded(seed_of_calls, leg.call, tensor)
            costs[number] = time.perf_counter() - begin
            pixels = pixels_of(made, leg)
            if pixels is None:
                break
            image = image_of(pixels)
    except Exception:  # it will be said when the sample's turn comes
        return costs
    return costs


def _break(planner: Planner, recipe: Recipe, height: int, width: int) -> str:
    """The first operation at which the engine leaves a recipe to Pillow."""
    begun = (Recipes.of([recipe[:end]], [height], [width]) for end in range(1, len(recipe) + 1))
    left = (type(so_far[0][-1]).__name__ for so_far in begun if planner.engine.fuse(so_far).by_pillow[0])
    return next(left, "no operation of its own")
