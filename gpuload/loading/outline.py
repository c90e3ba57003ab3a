"""The way of images through a loader, in words, for explain."""

from collections.abc import Iterator, Sequence
from itertools import groupby

from torch.utils.data import default_collate

from gpuload.decoders import pillow
from gpuload.loading.course import Course, Settings
from gpuload.loading.order import Order
from gpuload.loading.stretch import Planner
from gpuload.loading.survey import Survey, cost_of_calls, survey
from gpuload.loading.transfer import sending
from gpuload.stage import Stage, collated_by, name_of, threads_of
from gpuload.transforms.program import Views, why_apart

__all__ = ["image_stages"]


def image_stages(course: Course, order: Order, settings: Settings, depth: int) -> Iterator[Stage]:
    """What is done with the images of an epoch; depth: most batches in flight."""
    threads, target = threads_of(settings.workers), course.device.describe()
    first = course.planners[0]
    each = [survey(planner, course.epoch) for planner in course.of_files]
    found = Survey.of_all(each)
    yield order.describe(host=threads)
    yield Stage("read", threads, (first.dataset.describe(), *_replacing(course)))
    yield Stage("draw", threads, (*_drawn(course), f"from seed {first.seed}, epoch {course.epoch} and position alone"))
    yield Stage("decode", threads, tuple(_decoders(first, found)))
    if isinstance(course.program, Views):
        yield from _views(course, each, threads, target)
    else:
        yield from _legs(course, found, threads, target)
    if course.targets is not None:
        yield Stage("targets", threads, (course.targets.describe(),))
    if course.is_sent:
        yield sending(target)
    in_flight = "1 batch in flight" if depth == 1 else f"{depth} batches in flight"
    collated = collated_by(settings.collate_fn, _delivered(course))
    yield Stage("deliver", target, (f"{collated}, in order", in_flight))


def _delivered(course: Course) -> str:
    if course.single:
        return "single samples"
    return "[[images of each view], labels]" if isinstance(course.program, Views) else "[images, labels]"


def _replacing(course: Course) -> Iterator[str]:
    if course.tolerance is not None:
        found, most = len(course.tolerance.quarantine), course.tolerance.most
        yield f"others stand in for what cannot be read: {found} samples until now, {most} at most"


def _drawn(course: Course) -> Iterator[str]:
    plans = [leg.plan for leg in course.program.legs]
    drawing = [[*(one for one, _ in plan.geometric), *(one.transform for one in plan.erasers)] for plan in plans]
    names = [", ".join(map(name_of, transforms)) for transforms in drawing]
    if isinstance(course.program, Views):
        counts = ((name or "nothing", len(list(views))) for name, views in groupby(names))
        yield from (f"for {count} view{'s' if count > 1 else ''}: {name}" for name, count in counts)
    else:
        yield ", ".join(filter(None, names)) or "nothing"


def _legs(course: Course, found: Survey, threads: str, target: str) -> Iterator[Stage]:
    costs = cost_of_calls(course)
    for number, (leg, planner) in enumerate(zip(course.program.legs, course.planners, strict=True)):
        is_last = number == len(course.planners) - 1
        known = found if number == 0 else Survey()  # what ordinary code leaves is not known before
        yield from planner.engine.stages(threads, target, tuple(known.fusing()), _facts(course, number, known))
        if leg.calls:
            names = ", ".join(name_of(function) for function in leg.calls)
            cost = f", {costs[number] * 1000:.1f} ms an image" if number in costs else ""
            apart = [f"views one after the other, for {why}" for call in leg.calls if (why := why_apart(call))]
            after = "its result is delivered" if is_last else "what it returns goes on natively"
            yield Stage("call", threads, (f"{names}: ordinary code on {leg.form.value}{cost}; {after}", *apart))


def _views(course: Course, found: Sequence[Survey], threads: str, target: str) -> Iterator[Stage]:
    for engine in dict.fromkeys(planner.engine for planner in course.planners):
        mine = [number for number, planner in enumerate(course.planners) if planner.engine is engine]
        together = Survey.of_all([found[number] for number in mine])
        facts = [f"{len(mine)} views of each image, which is decoded once", *_facts(course, mine[0], together)]
        yield from engine.stages(threads, target, tuple(together.fusing()), facts)


def _facts(course: Course, number: int, found: Survey) -> list[str]:
    leg, engine = course.program.legs[number], course.planners[number].engine
    values = ", ".join(repr(transform).partition("(")[0] for transform in leg.plan.pointwise)
    facts = [f"values by a table of 256 a channel: {values}"] if values else []
    facts.append(", ".join([engine.layout.describe(), *found.span()]))
    ends = not leg.calls and number == len(course.planners) - 1
    if len(found.sizes) > 1 and course.collate_fn is default_collate and ends:
        facts.append("sizes differ, so batches will not stack: end the transform with a fixed size, or pass collate_fn")
    return facts + found.failures[:1]


def _decoders(first: Planner, found: Survey) -> Iterator[str]:
    if 0 < found.count == len(found.breaks):
        yield f"all by {pillow.describe()}"
    else:
        yield from first.engine.decoders(first.decoder)
    if first.dataset.exif_transpose:
        yield "turned as their EXIF orientation says"
