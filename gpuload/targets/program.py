"""A transform of image and target together, compiled: the program of its images, whose recipes targets follow."""

from collections.abc import Iterator
from typing import Any

from gpuload.errors import ArgumentError
from gpuload.stage import name_of
from gpuload.targets.followed import Followed, TargetsOnly, follows, leaves_targets
from gpuload.transforms.base import InterpolationMode, Transform
from gpuload.transforms.compose import Compose
from gpuload.transforms.hand import Form, Hand, qualified_name
from gpuload.transforms.lifted import is_plain, lifted
from gpuload.transforms.plan import Plan
from gpuload.transforms.program import Leg, Program

__all__ = ["called", "joint"]

V2 = "torchvision.transforms.v2."
COMPOSE = f"{V2}_container.Compose"
TARGETS_ONLY = [
    *(f"{V2}_meta.{name}" for name in ("ClampBoundingBoxes", "ClampKeyPoints", "ConvertBoundingBoxFormat")),
    *(f"{V2}_meta.SetClampingMode", f"{V2}_misc.SanitizeBoundingBoxes", f"{V2}_misc.SanitizeKeyPoints"),
]
PURE = f"{V2}_type_conversion.ToPureTensor"
BOTH = f"{V2}_misc.ToDtype", PURE  # of values: images in one way, targets in another
EXACT = InterpolationMode.NEAREST_EXACT.value
MIRRORS = "reflect", "symmetric"  # torchvision pads images with numpy, and masks with torch


def joint(transforms: Any) -> Program | str:
    """A dataset's transform of (image, target), or why torch's workers call it, in words.

    Its recipes have `Move` and `Call` between the operations of images.

    Raises:
        ArgumentError: a transform of gpuload's that targets cannot follow.
    """
    if transforms is None:
        return "it has no transforms, so its samples are PIL images"
    builder = _Builder()
    for transform in _flat(transforms):
        reason = builder.add(transform)
        if reason is not None:
            if isinstance(transforms, Transform):
                raise ArgumentError(f"{reason}: pass torchvision's v2.Compose of such transforms")
            return reason
    return builder.done(isinstance(transforms, Transform))


def called(program: Program, target: Any) -> Any:
    """A target after what a program does to targets alone, whatever its image."""
    for transform, _ in program.legs[0].plan.geometric:
        if isinstance(transform, TargetsOnly):
            target = transform.call.of(target)
    return target


class _Builder:
    """A plan while transforms are added."""

    def __init__(self) -> None:
        self._native: list[Any] = []
        self._form = Form.PIL
        self._is_pure = False  # are targets tensors like any others by now?

    def add(self, transform: Any) -> str | None:
        """Add a transform; why it cannot be, in words."""
        name, plan = qualified_name(transform), self._plan()
        hand = Hand(self._form, plan.dtype.is_floating_point, plan.channels)
        if not (isinstance(transform, Transform) or name.startswith(V2)):
            return f"{name_of(transform)} is no transform of both that gpuload knows"
        if name in TARGETS_ONLY:
            if not is_plain(transform):
                return f"{name_of(transform)} was changed"
            self._native.append(TargetsOnly(transform, hand.example()))
            return None
        found = lifted(transform, hand)
        if found is None or _differs(transform):
            return f"gpuload has no operation for {name_of(transform)}, of image and target"
        native, self._form = found
        for one in native:
            if not (leaves_targets(one) or (follows(one) and not self._is_pure)):
                return f"targets cannot follow {name_of(one)}"
            try:
                self._native.append(Followed(one) if follows(one) else one)
            except ArgumentError:
                if isinstance(transform, Transform):
                    raise
                return f"{name_of(transform)} fills masks with a color"
        if name in BOTH:
            self._native.append(TargetsOnly(transform, hand.example()))
            self._is_pure |= name == PURE
        return None

    def _plan(self) -> Plan:
        return Plan(self._native)

    def done(self, is_ours: bool) -> Program | str:
        """The program: one leg."""
        if self._form is Form.PIL and not is_ours:
            return "its transforms end with a PIL image"
        return Program((Leg(self._plan(), Form.PIL, (), ()),), self._form)


def _flat(transforms: Any) -> Iterator[Any]:
    """The transforms that are called on image and target, in order."""
    is_compose = type(transforms) is Compose or qualified_name(transforms) == COMPOSE
    if is_compose and is_plain(transforms) and isinstance(transforms.transforms, list | tuple):
        for transform in transforms.transforms:
            yield from _flat(transform)
    else:
        yield transforms


def _differs(transform: Any) -> bool:
    """Does torchvision do it to masks in another way than gpuload would?"""
    if isinstance(transform, Transform):
        return False
    mode = getattr(transform, "interpolation", None)
    is_exact = getattr(mode, "value", mode) == EXACT  # which masks follow, pixel for pixel
    return is_exact or getattr(transform, "padding_mode", "") in MIRRORS or bool(getattr(transform, "expand", False))
