"""Transforms in order: `Compose` compiles those of gpuload into one plan."""

from collections.abc import Callable, Sequence
from typing import Any

from gpuload.errors import ArgumentTypeError
from gpuload.recipes.draws import TorchDraws
from gpuload.transforms.base import Transform, pil_image
from gpuload.transforms.plan import Plan

__all__ = ["Compose", "plan_of"]


class Compose(Transform):
    """``torchvision.transforms.v2.Compose``: transforms in order; those of gpuload become one plan.

    Args:
        transforms: gpuload transforms, nested Compose allowed. Callables of your own may stand at the end: each
            gets the (C, H, W) tensor of one sample, after the plan.

    Attributes:
        transforms: as given, nested ones flattened.
        plan: what they compiled to.
    """

    def __init__(self, transforms: Sequence[Callable[[Any], Any]]) -> None:
        if not isinstance(transforms, Sequence) or isinstance(transforms, str):
            raise ArgumentTypeError(f"Compose takes a list of transforms, got {transforms!r}")
        flat: list[Callable[[Any], Any]] = []
        for transform in transforms:
            flat += transform.transforms if isinstance(transform, Compose) else [transform]
        super().__init__(transforms=flat)
        self.transforms: list[Callable[[Any], Any]] = flat
        self.plan = Plan(flat)

    def __call__(self, image: Any) -> Any:
        return self.plan(pil_image(image), TorchDraws())


def plan_of(transform: Any) -> Plan | None:
    """What a transform compiles to; None: it is not one of gpuload's."""
    if isinstance(transform, Compose):
        return transform.plan
    return Plan([transform]) if isinstance(transform, Transform) else None
