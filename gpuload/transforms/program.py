"""What a transform compiles to: native legs, with calls of ordinary code between them and after.

A leg is a `Plan` and the callables after it that gpuload has no operation for. They get what torchvision's would get
there: a PIL image until something makes a tensor of it. What they return goes on natively where it is such an image
again; where a callable returns something else, the rest of that sample's way is ordinary code.
"""

from collections.abc import Callable, Iterator, Sequence
from types import FunctionType
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import nn

from gpuload.errors import ArgumentTypeError, GpuloadError
from gpuload.recipes.draws import Draws
from gpuload.shipped import overrides
from gpuload.stage import name_of
from gpuload.transforms.base import Transform
from gpuload.transforms.hand import Form, Hand, qualified_name
from gpuload.transforms.lifted import is_plain, lifted
from gpuload.transforms.plan import Part, Plan, Pointwise

__all__ = [
    "Leg",
    "Program",
    "Views",
    "compiled",
    "flat",
    "image_of",
    "pixels_of",
    "program_of",
    "run",
    "views_of",
    "why_apart",
]

Function = Callable[[Any], Any]
COMPOSES = (
    "gpuload.transforms.compose.Compose",
    "torchvision.transforms.transforms.Compose",
    "torchvision.transforms.v2._container.Compose",
    "torch.nn.modules.container.Sequential",
)
VIEWS = "gpuload.transforms.multiview.MultiView"
ITERATES = [kind.__iter__ for kind in (list, tuple, nn.ModuleList, nn.Sequential)]  # others may give something else


class Leg(NamedTuple):
    """A native stretch of a transform, and the ordinary code after it.

    Attributes:
        plan: what native code does.
        form: what the first of ``calls`` gets.
        calls: ordinary code; empty at a native end.
        rest: everything after ``calls``, for what they return that is no such image.
    """

    plan: Plan
    form: Form
    calls: tuple[Function, ...]
    rest: tuple[Function, ...]

    def call(self, image: torch.Tensor) -> Any:
        """What the calls make of the plan's (C, H, W) tensor."""
        return run(self.calls, self._given(image))

    def _given(self, image: torch.Tensor) -> Any:
        match self.form:
            case Form.PIL:
                return image_of(image.permute(1, 2, 0).numpy())
            case Form.IMAGE:
                return Form.IMAGE.wrapped(image)
            case Form.TENSOR:
                return image


class Program(NamedTuple):
    """A transform, compiled.

    Attributes:
        legs: at least one.
        leaves: what the last plan leaves, to torchvision.
    """

    legs: tuple[Leg, ...]
    leaves: Form

    @property
    def ends_natively(self) -> bool:
        """Are finished samples a plan's own?"""
        return not self.legs[-1].calls

    @property
    def is_native(self) -> bool:
        """Is there no ordinary code?"""
        return not any(leg.calls for leg in self.legs)

    def wrapped(self, image: Any) -> Any:
        """A finished (C, H, W) tensor of the loader's, as the transform would have it."""
        return self.leaves.wrapped(image) if self.ends_natively and type(image) is torch.Tensor else image

    def __call__(self, image: Image.Image, draws: Draws) -> Any:
        """One sample on the CPU, with Pillow and torch: (C, H, W) tensor, or what the last call makes of it.

        Args:
            image: any PIL image.
            draws: its random numbers; ordinary code draws its own.
        """
        for leg, after in zip(self.legs, (*self.legs[1:], None), strict=True):
            tensor = leg.plan(image, draws)
            if not leg.calls:
                return self.leaves.wrapped(tensor)
            result = leg.call(tensor)
            if after is None:
                return result
            pixels = pixels_of(result, leg)
            if pixels is None:
                return run(leg.rest, result)
            image = image_of(pixels)
        raise AssertionError("the last leg returns")


class Views(NamedTuple):
    """Several views of one image, compiled: all of them are of the image as it is read.

    Attributes:
        legs: one for each view, without ordinary code.
        forms: what each leaves, to torchvision.
    """

    legs: tuple[Leg, ...]
    forms: tuple[Form, ...]

    @property
    def ends_natively(self) -> bool:
        """Are finished samples plans' own?"""
        return True

    def wrapped(self, images: Any) -> Any:
        """The finished (C, H, W) tensors of one image, as its transforms would have them."""
        return [form.wrapped(image) for form, image in zip(self.forms, images, strict=True)]


def run(functions: Sequence[Function], thing: Any) -> Any:
    """One function after the other."""
    for function in functions:
        thing = function(thing)
    return thing


def pixels_of(result: Any, leg: Leg) -> NDArray[np.uint8] | None:
    """What the next leg goes on with, where a leg's calls returned an image of the kind that they got.

    Returns:
        (H, W, C) uint8, packed; None: it is something else.
    """
    channels = leg.plan.channels
    if type(result) is not leg.form.type and not (leg.form is Form.PIL and isinstance(result, Image.Image)):
        return None
    if leg.form is Form.PIL:
        if result.mode != ("RGB" if channels == 3 else "L") or 0 in result.size:
            return None
        return np.asarray(result).reshape(result.height, result.width, channels)
    if result.dtype != torch.uint8 or result.ndim != 3 or len(result) != channels or not result.numel():
        return None
    return np.ascontiguousarray(result.as_subclass(torch.Tensor).cpu().permute(1, 2, 0).numpy())


def image_of(pixels: NDArray[np.uint8]) -> Image.Image:
    """(H, W, C) pixels as a PIL image: RGB, or L where C is 1."""
    return Image.fromarray(pixels if pixels.shape[2] == 3 else pixels[:, :, 0])


def flat(transform: Any) -> Iterator[Any]:
    """The transforms that a transform consists of, in order."""
    parts = _parts(transform)
    if parts is None:
        yield transform
    else:
        for part in parts:
            yield from flat(part)


def _handing(self: Any, image: Any) -> Any:
    return self.inner(image)


def _delegate(transform: Any) -> Any | None:
    """What a user's transform hands its image to, where that is all it does: ``return self.transforms(image)``."""
    kind: Any = type(transform)
    call, handing = getattr(kind, "__call__", None), _handing.__code__  # noqa: B004
    if not isinstance(call, FunctionType) or kind.__getattribute__ is not object.__getattribute__:
        return None
    code, same = call.__code__, ("co_code", "co_flags", "co_argcount", "co_nlocals")
    if len(code.co_names) != 1 or any(getattr(code, name) != getattr(handing, name) for name in same):
        return None
    inner = None if hasattr(kind, code.co_names[0]) else getattr(transform, "__dict__", {}).get(code.co_names[0])
    return inner if callable(inner) else None


def _parts(transform: Any) -> list[Any] | None:
    """What it calls, one after the other; None: it does something else, or more."""
    kind = type(transform)
    base = next((base for base in kind.__mro__ if f"{base.__module__}.{base.__qualname__}" in COMPOSES), None)
    if base is None:
        inner = _delegate(transform)
        return None if inner is None else [inner]
    if overrides(kind, base) or hasattr(kind, "transforms") or not is_plain(transform, base):
        return None
    parts: Any = transform if base is nn.Sequential else getattr(transform, "transforms", None)
    is_list = isinstance(parts, list | tuple | nn.ModuleList | nn.Sequential) and type(parts).__iter__ in ITERATES
    return list(parts) if is_list else None


def compiled(transform: Any, channels: int = 3) -> "Program | Views | str":
    """A dataset's transform as a program, or why it is none, in words.

    Args, Raises: as `program_of`.
    """
    if transform is None:
        return "it has no transform, so its samples are PIL images"
    parts = list(flat(transform))
    if len(parts) == 1 and _is_multiview(parts[0]):
        views = views_of(parts[0].each, channels)
        if isinstance(views, Views):
            return views
    program = program_of(parts, channels)
    if all(leg.plan.is_empty for leg in program.legs) and not any(map(_is_multiview, parts)):
        return f"gpuload knows no part of its transform {name_of(transform)}"
    if program.leaves is Form.PIL and program.ends_natively and not isinstance(transform, Transform):
        return f"its transform {name_of(transform)} ends with a PIL image"
    return program


def _is_multiview(transform: Any) -> bool:
    return qualified_name(transform) == VIEWS and is_plain(transform)


def views_of(transforms: Sequence[Any], channels: int = 3) -> Views | str:
    """Transforms of one image, each for a view of it, or why they cannot be compiled together, in words.

    Args, Raises: as `program_of`.
    """
    programs = [program_of(list(flat(transform)), channels) for transform in transforms]
    for number, (transform, program) in enumerate(zip(transforms, programs, strict=True), start=1):
        if not program.is_native:
            names = ", ".join(name_of(call) for leg in program.legs for call in leg.calls)
            return f"view {number} calls {names}"
        if program.leaves is Form.PIL and not isinstance(transform, Transform):
            return f"view {number} is a PIL image"
    return Views(tuple(program.legs[0] for program in programs), tuple(program.leaves for program in programs))


def program_of(transforms: Sequence[Any], channels: int = 3) -> Program:
    """Compile transforms as they are now; what the user changes later is for the next program.

    Args:
        transforms: gpuload's, torchvision's, or any callables.
        channels: of the image that enters: 3 (RGB) or 1 (L).

    Raises:
        ArgumentTypeError: something that is not callable, or a transform of gpuload's where it cannot stand.
        ArgumentError: as `Plan`.
    """
    builder = _Builder(transforms, channels)
    for place in range(len(transforms)):
        builder.add(place)
    return builder.done()


def why_apart(call: Any) -> str | None:
    """Why the views of a `MultiView` that is called are not made together, in words; None: it is none."""
    if not _is_multiview(call):
        return None
    views = views_of(call.each)
    return views if isinstance(views, str) else "MultiView is not all of the transform"


class _Builder:
    """Legs while transforms are added."""

    def __init__(self, transforms: Sequence[Any], channels: int) -> None:
        self._transforms, self._channels = transforms, channels
        self._form = self._given = Form.PIL
        self._legs: list[Leg] = []
        self._native: list[Any] = []
        self._calls: list[Function] = []

    def add(self, place: int) -> None:
        """The transform at this place of the list."""
        transform = self._transforms[place]
        if not (isinstance(transform, Part) or callable(transform)):
            raise ArgumentTypeError(f"transforms must be transforms or callables, got {transform!r}")
        native = self._lift(transform)
        if native is None:
            if not self._calls:
                self._given = self._form
            self._calls.append(_as_function(transform))
            return
        if self._calls:
            self._end_leg(place)
        steps, self._form = native
        self._native += steps

    def _lift(self, transform: Any) -> tuple[list[Any], Form] | None:
        """The native transforms that this one is, and the form after it; None: it is ordinary code."""
        is_ours = isinstance(transform, Part)
        plan = self._plan()
        floats = plan.dtype.is_floating_point
        if self._calls and floats:
            if is_ours and not isinstance(transform, Pointwise):
                raise ArgumentTypeError(
                    f"{transform!r} stands after {self._calls[-1]!r}, which gpuload cannot compile and which works on "
                    "floats by then: put it before"
                )
            return None
        before = [] if self._calls else self._native
        native = lifted(transform, Hand(self._form, floats, plan.channels))
        if native is None:
            return None
        try:
            Plan([*before, *native[0]], plan.channels if self._calls else self._channels)
        except GpuloadError:
            if is_ours and not self._calls:
                raise
            return None
        return native

    def _plan(self) -> Plan:
        return Plan(self._native, self._channels)

    def _end_leg(self, place: int) -> None:
        plan = self._plan()
        rest = tuple(map(_as_function, self._transforms[place:]))
        self._legs.append(Leg(plan, self._given, tuple(self._calls), rest))
        self._native, self._calls, self._channels = [], [], plan.channels

    def done(self) -> Program:
        self._end_leg(len(self._transforms))
        return Program(tuple(self._legs), self._form)


def _as_function(transform: Any) -> Function:
    """How ordinary code calls it: gpuload's transforms of values take any tensor."""
    return transform.values if isinstance(transform, Pointwise) else transform
