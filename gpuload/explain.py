"""What a loader does with a sample, in words: which stage runs where, and what became one kernel launch."""

import textwrap
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, Protocol

import PIL
import torch
from torch.utils.data import IterableDataset, default_collate, default_convert

from gpuload import taps
from gpuload.compilers import compiler
from gpuload.datasets import ImageFolder
from gpuload.decode import jpeg_decoder
from gpuload.draws import keyed_draws
from gpuload.engines.cuda import MAX_TAPS
from gpuload.errors import GpuloadError
from gpuload.geometry import Geometry, fold, identity
from gpuload.plan import Plan
from gpuload.routes import ImageRoute, Settings, TensorRoute, WorkerRoute
from gpuload.samplers import Keyed, SequentialSampler
from gpuload.steps import Recipe

__all__ = ["Stage", "format", "stages", "text"]

WIDTH = 110  # characters of a line
PROBED_IMAGES, PROBED_DRAWS = 8, 8  # recipes are drawn for the first images, so many times each
USUAL_SIZE = 375, 500  # height and width of a photo, where there is none to look at
CALLER = "CPU, the caller's thread"


class Loader(Settings, Protocol):
    """What is looked at of a loader."""

    dataset: Any
    route: ImageRoute | TensorRoute | WorkerRoute
    engine: str | None

    @property
    def epoch(self) -> int:
        """The epoch that the next ``iter`` starts."""


class Stage(NamedTuple):
    """One stage of a sample's way.

    Attributes:
        name: order, read, draw, decode, stage, render, deliver; or what stands in for some of them.
        where: the processor, and how many of its threads or processes.
        what: is done there; a fact a line.
    """

    name: str
    where: str
    what: str


def stages(loader: Loader) -> list[Stage]:
    """The way of a sample through the loader, in order.

    To see which recipes fold into the kernel, some are drawn for the first images of the dataset, whose files are
    opened for it. Neither the loader nor any random state changes.
    """
    route = loader.route
    if isinstance(route, ImageRoute):
        return list(_image_stages(loader, route))
    return list(_tensor_stages(loader, route) if isinstance(route, TensorRoute) else _worker_stages(loader))


def text(loader: Loader) -> str:
    """The stages as an aligned text."""
    return format(stages(loader))


def format(stages: Sequence[Stage]) -> str:
    """Three aligned columns, the last one wrapped."""
    names, places = (max(len(stage[column]) for stage in stages) + 2 for column in (0, 1))
    lines: list[str] = []
    for name, where, what in stages:
        head = f"{name:{names}}{where:{places}}"
        for fact in what.splitlines():
            wrapped = textwrap.wrap(fact, max(WIDTH - len(head), 40), break_long_words=False, break_on_hyphens=False)
            for line in wrapped:
                lines.append(head + line)
                head = " " * len(head)
    return "\n".join(lines)


def _stage(name: str, where: str, *facts: str) -> Stage:
    return Stage(name, where, "\n".join(facts))


# ---- images that gpuload renders ----


def _image_stages(loader: Loader, route: ImageRoute) -> Iterator[Stage]:
    dataset, plan = route.dataset, route.plan
    threads, target = _workers(loader, "thread", "threads"), _place(loader.device)
    on_gpu = loader.engine == "cuda"
    transforms = ", ".join(_name(transform) for transform, _ in plan.geometric) or "nothing"
    yield _order(loader, loader.device)
    yield _stage("read", threads, f"{len(dataset)} files in {len(dataset.classes)} classes below {dataset.root}")
    yield _stage("draw", threads, transforms, f"from seed {loader.seed}, epoch {loader.epoch} and position alone")
    yield _stage("decode", threads, *_decoders(loader, dataset))
    if on_gpu:
        yield _stage("stage", f"CPU -> {target}", "one copy a batch from a pinned slab, on a side stream")
    yield _stage("render", target if on_gpu else threads, *_rendering(loader, dataset, plan))
    if not on_gpu and loader.device.type == "cuda":
        yield _stage("stage", f"CPU -> {target}", "one copy a batch from a pinned buffer")
    if plan.tail:
        functions = ", ".join(_name(function) for function in plan.tail)
        yield _stage("call", CALLER, f"{functions}: ordinary code, not in the kernel, on one image after the other")
    under_way = "1 batch under way" if route.depth == 1 else f"{route.depth} batches under way"
    yield _stage("deliver", target, f"{_collated(loader, '[images, labels]')}, in order", under_way)


def _decoders(loader: Loader, dataset: ImageFolder) -> Iterator[str]:
    pillow, nvidia = f"Pillow {PIL.__version__}", jpeg_decoder()
    if nvidia is None:
        yield f"all by {pillow}; nvImageCodec, which is faster, is not installed"
    else:
        part = "whole" if loader.engine == "pillow" else "just the region that is needed"
        yield f"ordinary JPEGs by nvImageCodec {nvidia.version}, {part}"
        yield f"all others by {pillow}"
    if dataset.exif_transpose:
        yield "turned as their EXIF orientation says"


def _rendering(loader: Loader, dataset: ImageFolder, plan: Plan) -> Iterator[str]:
    drawn, failures = _draw(loader, dataset, plan)
    if loader.engine == "pillow":
        yield "engine pillow: Pillow and torch, step by step, no kernel"
        if compiler() is None:
            yield "there is no C++ compiler to build the kernel for this CPU: apt-get install g++"
    else:
        once = (
            "one kernel launch a batch" if loader.engine == "cuda" else "the kernel, built for this CPU, once a sample"
        )
        yield f"engine {loader.engine}: {once}"
        yield from _folding(drawn)
        if plan.pointwise:
            names = ", ".join(_name(transform) for transform in plan.pointwise)
            yield f"values by a table of 256 a channel: {names}"
    if loader.engine == "cuda" and (count := sum(recipe.host_taps for recipe in drawn)):
        yield f"the resampling weights of {count} of these {len(drawn)} come from the CPU"
    layout = "channels_last" if loader.memory_format == torch.channels_last else "contiguous"
    channels = "1 channel" if plan.channels == 1 else f"{plan.channels} channels"
    sizes = sorted({recipe.size for recipe in drawn})
    yield ", ".join([f"to {_dtype(loader.dtype or plan.dtype)}", layout, channels, *_span(sizes)])
    if len(sizes) > 1 and loader.collate_fn is default_collate and not plan.tail:
        yield "sizes differ, so batches will not stack: end the transform with a fixed size, or pass collate_fn"
    yield from failures[:1]


def _span(sizes: list[tuple[int, int]]) -> list[str]:
    shown = [f"{height} x {width}" for height, width in (sizes[0], sizes[-1])] if sizes else []
    return [f"{' to '.join(dict.fromkeys(shown))} pixels"] if shown else []


def _folding(drawn: list["_Drawn"]) -> Iterator[str]:
    breaks = [recipe.breaks for recipe in drawn if recipe.breaks]
    if breaks:
        steps = ", ".join(sorted({step for broken in breaks for step in broken}))
        yield f"{len(breaks)} of {len(drawn)} recipes drawn for the first images do not fold into it, at {steps}:"
        yield "Pillow runs the steps of such a sample while decoding, the kernel only its values"
    elif drawn:
        yield f"all {len(drawn)} recipes drawn for the first images fold into it"


class _Drawn(NamedTuple):
    """A recipe: its image's (height, width), the steps that do not fold, and whether the host makes its taps."""

    size: tuple[int, int]
    breaks: list[str]
    host_taps: bool


def _draw(loader: Loader, dataset: ImageFolder, plan: Plan) -> tuple[list[_Drawn], list[str]]:
    """Recipes for the first images, and what went wrong instead."""
    drawn: list[_Drawn] = []
    failures: list[str] = []
    for index in range(min(len(dataset), PROBED_IMAGES) or 1):
        positions = range(index * PROBED_DRAWS, (index + 1) * PROBED_DRAWS)
        try:
            height, width = _size(dataset, index) if len(dataset) else USUAL_SIZE
            recipes = (plan.recipe(height, width, d) for d in keyed_draws(loader.seed, loader.epoch, positions))
            drawn.extend(_follow(recipe, height, width) for recipe in recipes)
        except GpuloadError as error:
            failures.append(f"an image fails: {error}")
    return drawn, failures


def _size(dataset: ImageFolder, index: int) -> tuple[int, int]:
    image = dataset.open(index)
    return image.height, image.width


def _follow(recipe: Recipe, height: int, width: int) -> _Drawn:
    """Fold the recipe; where it does not, begin anew with the step that stood in the way."""
    geometry, breaks, begin = identity(height, width), list[str](), 0
    for end, step in enumerate(recipe, start=1):
        longer = fold(recipe[begin:end], height, width)
        if longer is None:
            breaks.append(type(step).__name__)
            begin, height, width = end - 1, geometry.y.extent, geometry.x.extent
            longer = fold((step,), height, width)
        assert longer is not None, f"{step} by itself does not fold"
        geometry = longer
    return _Drawn((geometry.y.extent, geometry.x.extent), breaks, not breaks and _host_taps(geometry))


def _host_taps(geometry: Geometry) -> bool:
    return any(taps.needs_host(axis, geometry.filter, MAX_TAPS) for axis in (geometry.x, geometry.y))


# ---- tensors, and any other dataset ----


def _tensor_stages(loader: Loader, route: TensorRoute) -> Iterator[Stage]:
    target = _place(loader.device)
    shown = ", ".join(f"{_dtype(tensor.dtype)} {tuple(tensor.shape)}" for tensor in route.tensors)
    megabytes = sum(tensor.numel() * tensor.element_size() for tensor in route.tensors) / 1e6
    how = "one kernel launch a tensor" if loader.device.type == "cuda" else "torch.index_select"
    yield _order(loader, loader.device)
    yield _stage("gather", target, f"rows of {shown}: {megabytes:,.1f} MB that stay there", how)
    yield _stage("deliver", target, f"{_collated(loader, 'a list of tensors')}, in order", "made when asked for")


def _worker_stages(loader: Loader) -> Iterator[Stage]:
    workers, target = _workers(loader, "worker process", "worker processes"), _place(loader.device)
    yield _order(loader, torch.device("cpu"))
    yield _stage("sample", workers, f"{_foreign(loader.dataset)}: ordinary code, gpuload renders nothing")
    yield _stage("collate", workers, _name(loader.collate_fn))
    if loader.device.type == "cuda":
        copy = "copied from pinned memory on a side stream, while the batch before is in use"
        yield _stage("stage", f"CPU -> {target}", copy)
    ahead = (loader.prefetch_factor or 0) * loader.num_workers
    yield _stage("deliver", target, "in order", f"{ahead} batches prepared ahead" if ahead else "made when asked for")


def _foreign(dataset: Any) -> str:
    if not isinstance(dataset, ImageFolder):
        return _name(dataset)
    if dataset.transform is None:
        return "ImageFolder without a transform, PIL images"
    return f"ImageFolder with the transform {_name(dataset.transform)}, which is not one of gpuload's"


# ---- words ----


def _order(loader: Loader, device: torch.device) -> Stage:
    """Who makes the order; gpuload's samplers make it on ``device``."""
    sampler = loader.sampler
    if isinstance(loader.dataset, IterableDataset):
        return _stage("order", CALLER, f"as {_name(loader.dataset)} yields")
    if loader.batch_sampler is not None and loader.batch_size is None:  # one of the user's
        return _stage("order", CALLER, f"the batches of {_name(loader.batch_sampler)}")
    full = ", only full ones" if loader.drop_last else ""
    batches = "one by one" if loader.batch_size is None else f"batches of {loader.batch_size}{full}"
    if not isinstance(sampler, Keyed):
        return _stage("order", CALLER, f"{_name(sampler)}, iterated", batches)
    key = "" if isinstance(sampler, SequentialSampler) else f", from seed {sampler.seed} and the epoch alone"
    where = _place(device) if device.type == "cuda" else CALLER
    return _stage("order", where, f"{_name(sampler)}: {len(sampler)} samples an epoch{key}", batches)


def _collated(loader: Loader, stacked: str) -> str:
    if loader.collate_fn not in (default_collate, default_convert):
        return f"what {_name(loader.collate_fn)} makes"
    return stacked if loader.batch_sampler is not None else "single samples"


def _workers(loader: Loader, one: str, several: str) -> str:
    count = loader.num_workers
    return CALLER if count == 0 else f"CPU, {count} {one if count == 1 else several}"


def _place(device: torch.device) -> str:
    if device.type != "cuda":
        return "CPU"
    return f"GPU cuda:{torch.cuda.current_device() if device.index is None else device.index}"


def _name(thing: Any) -> str:
    """A function's own name, or the type's."""
    if thing is default_collate:
        return "torch's default_collate"
    return str(getattr(thing, "__qualname__", type(thing).__name__))


def _dtype(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
