"""Transforms of transforms: with a probability, one of several, or all in any order."""

from collections.abc import Iterator, Sequence
from copy import copy
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray

from gpuload.arguments import is_number, probability
from gpuload.errors import ArgumentError, ArgumentTypeError
from gpuload.recipes.draws import Draws, Floats, Integers, Rows
from gpuload.recipes.recipes import RecipesBuilder
from gpuload.transforms.base import Transform
from gpuload.transforms.plan import Geometric, Sizes, Steps

__all__ = ["Part", "RandomApply", "RandomChoice", "RandomOrder"]

Part = list[Geometric]  # one after the other


class _Some:
    """The draws of some of n samples, counted from 0."""

    def __init__(self, draws: Draws, some: Rows) -> None:
        self._draws, self._some = draws, some

    def uniform(self, low: float, high: float, rows: Rows) -> Floats:
        return self._draws.uniform(low, high, self._some[rows])

    def log_uniform(self, low: float, high: float, rows: Rows) -> Floats:
        return self._draws.log_uniform(low, high, self._some[rows])

    def normal(self, rows: Rows) -> Floats:
        return self._draws.normal(self._some[rows])

    def integer(self, bound: Any, rows: Rows) -> Integers:
        return self._draws.integer(bound, self._some[rows])

    def permutation(self, count: int, rows: Rows) -> Integers:
        return self._draws.permutation(count, self._some[rows])

    def dirichlet(self, alpha: float, count: int, rows: Rows) -> Floats:
        return self._draws.dirichlet(alpha, count, self._some[rows])

    def choice(self, weights: Sequence[float], rows: Rows) -> Integers:
        return self._draws.choice(weights, self._some[rows])

    def noise(self, shapes: Sequence[tuple[int, ...]], dtype: torch.dtype, rows: Rows) -> NDArray[Any]:
        return self._draws.noise(shapes, dtype, self._some[rows])

    def of_python(self) -> Draws:
        return _Some(self._draws.of_python(), self._some)


class _Container(Transform):
    """What the three share.

    Raises:
        ArgumentTypeError: one of the transforms is none of gpuload's that works on pixels, or leaves a single channel.
    """

    transforms: Sequence[Any]

    def resolve(self) -> None:
        if not isinstance(self.transforms, Sequence) or isinstance(self.transforms, str) or not self.transforms:
            raise ArgumentTypeError(f"transforms must be a list of transforms, at least one, got {self.transforms!r}")
        self._parts = [[_checked(one) for one in _listed(part)] for part in self.transforms]
        every = [one for part in self._parts for one in part]
        self.floats = all(one.floats for one in every)
        self.channels = 3 if any(one.channels for one in every) else None

    def frozen(self) -> Self:
        copied = copy(self)
        parts = [[one.frozen() if isinstance(one, Transform) else one for one in part] for part in self._parts]
        vars(copied)["transforms"] = parts
        copied.resolve()
        return copied

    def steps(self, height: Sizes, width: Sizes, draws: Draws) -> Steps:
        made, count = RecipesBuilder(height, width), len(height)
        for part, rows in self._turns(np.arange(count), draws):
            for transform in part if len(rows) else ():
                for op, where in transform.steps(made.height[rows], made.width[rows], _Some(draws, rows)):
                    spread, mask = _spread(op, count, rows), np.zeros(count, bool)
                    mask[rows] = where
                    made.add(spread, mask)
                    yield spread, mask

    def _turns(self, every: Rows, draws: Draws) -> Iterator[tuple[Part, Rows]]:
        """What is done in turn, and to which samples."""
        raise NotImplementedError


def _listed(part: Any) -> list[Any]:
    return list(part) if isinstance(part, list | tuple) else [part]


def _checked(transform: Any) -> Any:
    if not isinstance(transform, Geometric) or transform.channels == 1:
        raise ArgumentTypeError(
            "transforms must be gpuload's that move pixels or change colors, and leave three channels, "
            f"got {transform!r}"
        )
    return transform


def _spread(op: Any, count: int, rows: Rows) -> Any:
    """The operation of some samples as one of all; the others have values that serve."""
    if len(rows) == count:
        return op

    def of_all(value: Any) -> Any:
        if not isinstance(value, np.ndarray):
            return value
        made = np.repeat(value[:1], count, axis=0)
        made[rows] = value
        return made

    return type(op)(*map(of_all, op))


class RandomApply(_Container):
    """``torchvision.transforms.v2.RandomApply``: all transforms in order, with probability ``p``.

    Args:
        transforms: gpuload's, of those that move pixels or change colors.
        p: the probability.
    """

    p: float

    def __init__(self, transforms: Sequence[Any], p: float = 0.5) -> None:
        super().__init__(transforms=transforms, p=p)

    def resolve(self) -> None:
        super().resolve()
        self._p = probability(self.p)

    def _turns(self, every: Rows, draws: Draws) -> Iterator[tuple[Part, Rows]]:
        rows = every[self._happens(draws.uniform(0.0, 1.0, every))]
        yield from ((part, rows) for part in self._parts)

    def _happens(self, drawn: Floats) -> NDArray[np.bool_]:
        return drawn < self._p


class RandomChoice(_Container):
    """``torchvision.transforms.v2.RandomChoice``: one of the transforms.

    Args:
        transforms: as of `RandomApply`; a list among them is its transforms in order.
        p: a weight for each; None: all have the same.
    """

    p: Sequence[float] | None

    def __init__(self, transforms: Sequence[Any], p: Sequence[float] | None = None) -> None:
        super().__init__(transforms=transforms, p=p)

    def resolve(self) -> None:
        super().resolve()
        count = len(self._parts)
        given = [1] * count if self.p is None else self.p
        if not isinstance(given, Sequence) or not all(map(is_number, given)):
            raise ArgumentTypeError(f"p must be a weight for each transform, or None, got {self.p!r}")
        if len(given) != count or min(given) < 0 or sum(given) <= 0:
            raise ArgumentError(
                f"p must be {count} weights, one for each transform, none negative and not all 0, got {self.p!r}"
            )
        self._weights = [one / sum(given) for one in given]

    def _turns(self, every: Rows, draws: Draws) -> Iterator[tuple[Part, Rows]]:
        chosen = self._choice(every, draws)
        yield from ((part, every[chosen == number]) for number, part in enumerate(self._parts))

    def _choice(self, every: Rows, draws: Draws) -> Integers:
        return draws.choice(self._weights, every)


class RandomOrder(_Container):
    """``torchvision.transforms.v2.RandomOrder``: all transforms, in an order that is drawn.

    Args:
        transforms: as of `RandomChoice`.
    """

    def __init__(self, transforms: Sequence[Any]) -> None:
        super().__init__(transforms=transforms)

    def _turns(self, every: Rows, draws: Draws) -> Iterator[tuple[Part, Rows]]:
        order = self._order(every, draws)
        for turn in order.T:
            yield from ((part, every[turn == number]) for number, part in enumerate(self._parts))

    def _order(self, every: Rows, draws: Draws) -> Integers:
        return draws.permutation(len(self._parts), every)
