"""Transforms in order: `Compose` compiles those of gpuload into one plan, again where they were changed."""

from collections.abc import Callable, Sequence
from typing import Any

from gpuload.errors import ArgumentTypeError
from gpuload.recipes.draws import TorchDraws
from gpuload.transforms.base import Transform, pil_image
from gpuload.transforms.plan import Plan

__all__ = ["Compose", "plan_of", "state_of"]


class Compose(Transform):
    """``torchvision.transforms.v2.Compose``: transforms in order; those of gpuload become one plan.

    Args:
        transforms: gpuload transforms, nested Compose allowed. Callables of your own may stand at the end: each
            gets the (C, H, W) tensor of one sample, after the plan.

    Attributes:
        transforms: as given. What is changed of it, or of the transforms in it, counts from the loader's next epoch on.
    """

    transforms: Sequence[Callable[[Any], Any]]
    _compiled: tuple[list[Any], Plan] | None = None

    def __init__(self, transforms: Sequence[Callable[[Any], Any]]) -> None:
        super().__init__(transforms=transforms)

    def resolve(self) -> None:
        if not isinstance(self.transforms, Sequence) or isinstance(self.transforms, str):
            raise ArgumentTypeError(f"Compose takes a list of transforms, got {self.transforms!r}")
        self._compiled = state_of(self), _compile(self)

    @property
    def plan(self) -> Plan:
        """What the transforms compile to, as they are now.

        Raises:
            ArgumentError, ArgumentTypeError: as of `Plan`, where they were changed.
        """
        if self._compiled is None or not _equal(self._compiled[0], state_of(self)):
            self.resolve()
        assert self._compiled is not None
        return self._compiled[1]

    def __call__(self, image: Any) -> Any:
        return self.plan(pil_image(image), TorchDraws())

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_compiled": None}  # pickled and copied without what it compiled to


def plan_of(transform: Any) -> Plan | None:
    """What a transform compiles to, as it is now; None: it is not gpuload's, or is called in a way of its own."""
    if not isinstance(transform, Transform) or type(transform).__call__ not in (Transform.__call__, Compose.__call__):
        return None
    return transform.plan if isinstance(transform, Compose) else _compile(transform)


def state_of(transform: Any) -> list[Any]:
    """What the plan of a transform depends on: transforms whose states are equal make the same plan.

    Of other callables it is their identity, which is their own as long as somebody has them.
    """
    return [(type(one), one.state()) if isinstance(one, Transform) else id(one) for one in _flat(transform)]


def _flat(transform: Any) -> list[Any]:
    """The transforms that one consists of, in order."""
    if not isinstance(transform, Compose):
        return [transform]
    return [one for part in transform.transforms for one in _flat(part)]


def _compile(transform: Any) -> Plan:
    return Plan([one.frozen() if isinstance(one, Transform) else one for one in _flat(transform)])


def _equal(state: list[Any], other: list[Any]) -> bool:
    try:
        return state == other
    except (TypeError, ValueError, RuntimeError):  # arrays that are not one value: not known to be equal
        return False
