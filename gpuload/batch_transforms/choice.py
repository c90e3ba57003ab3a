"""Batch transforms of batch transforms: one of several, or one after the other."""

from collections.abc import Callable, Sequence
from typing import Any

from gpuload.arguments import is_number
from gpuload.batch_transforms.base import BatchTransform, Ordinary, Part
from gpuload.batch_transforms.draws import Draws, TorchDraws
from gpuload.errors import ArgumentError, ArgumentTypeError

__all__ = ["Compose", "RandomChoice"]

Member = Callable[..., Any]


def _members(transforms: Any) -> list[Member]:
    if not isinstance(transforms, Sequence) or not all(map(callable, transforms)):
        raise ArgumentTypeError(f"transforms must be a list of functions of a batch, got {transforms!r}")
    if not transforms:
        raise ArgumentError("transforms must be one at least, got none")
    return list(transforms)


class RandomChoice(BatchTransform):
    """One of several, drawn for each batch. torchvision's ``v2.RandomChoice``, for batches.

    Args:
        transforms: batch transforms, or any functions of a batch.
        p: a weight for each, none below 0; None: they are equally probable.

    Raises:
        ArgumentError, ArgumentTypeError: an argument is not allowed.
    """

    def __init__(self, transforms: Sequence[Member], p: Sequence[float] | None = None) -> None:
        self.transforms = _members(transforms)
        weights = [1.0] * len(self.transforms) if p is None else list(p)
        if len(weights) != len(self.transforms):
            raise ArgumentError(f"p must be as long as transforms, {len(self.transforms)}, got {len(weights)}")
        if not all(is_number(weight) and weight >= 0 for weight in weights) or not any(weights):
            raise ArgumentError(f"p must be numbers from 0 on, not all 0, got {p!r}")
        total = sum(weights)
        self.p = [weight / total for weight in weights]

    @property
    def reach(self) -> int:  # type: ignore[override]
        """As far as any of them reaches."""
        return max(_reach(transform) for transform in self.transforms)

    def __call__(self, *inputs: Any) -> Any:
        return self.transforms[TorchDraws().choice(self.p)](*inputs)

    def of(self, part: Part, draws: Draws) -> Part:
        transform: Any = self.transforms[draws.choice(self.p)]
        return transform.of(part, draws)  # type: ignore[no-any-return]

    def describe(self) -> str:
        members = (f"{p:.3g} {_described(one)}" for p, one in zip(self.p, self.transforms, strict=True))
        return f"one of {' or '.join(members)}"


class Compose(BatchTransform):
    """One after the other.

    Args:
        transforms: batch transforms, or any functions of a batch. After one that is ordinary code, samples of a rank
            are mixed with each other alone.

    Raises:
        ArgumentError, ArgumentTypeError: it is no list of these.
    """

    def __init__(self, transforms: Sequence[Member]) -> None:
        self.transforms = _members(transforms)

    @property
    def reach(self) -> int:  # type: ignore[override]
        """As far as all of them reach, up to ordinary code."""
        reach = 0
        for transform in self.transforms:
            if isinstance(transform, Ordinary):
                break
            reach += _reach(transform)
        return reach

    def __call__(self, *inputs: Any) -> Any:
        several = len(inputs) > 1
        for transform in self.transforms:
            made = transform(*inputs)
            inputs = made if several else (made,)
        return made

    def of(self, part: Part, draws: Draws) -> Part:
        for transform in self.transforms:
            part = transform.of(part, draws)  # type: ignore[attr-defined]
        return part

    def describe(self) -> str:
        return ", then ".join(map(_described, self.transforms))


def _reach(transform: Any) -> int:
    return getattr(transform, "reach", 0)


def _described(transform: Any) -> str:
    return (transform if isinstance(transform, BatchTransform) else Ordinary(transform)).describe()
