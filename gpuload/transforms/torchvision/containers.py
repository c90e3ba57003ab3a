"""torchvision's transforms of transforms. v1 draws otherwise than v2: choices and orders with Python's ``random``."""

from collections.abc import Callable
from itertools import accumulate
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from gpuload.recipes.draws import Draws, Floats, Integers, Rows
from gpuload.transforms.containers import RandomApply, RandomChoice, RandomOrder
from gpuload.transforms.hand import Native
from gpuload.transforms.torchvision.common import V1, V2, is_v1

__all__ = ["CONTAINERS", "parts_of"]


class FirstRandomApply(RandomApply):
    """``torchvision.transforms.RandomApply``."""

    def _happens(self, drawn: Floats) -> NDArray[np.bool_]:
        return drawn <= self._p


class FirstRandomChoice(RandomChoice):
    """``torchvision.transforms.RandomChoice``: as ``random.choices`` draws."""

    def _choice(self, every: Rows, draws: Draws) -> Integers:
        share, count = draws.of_python().uniform(0.0, 1.0, every), len(self._parts)
        if self.p is None:
            return np.floor(share * count).astype(np.int64)
        sums = list(accumulate(self.p))
        return np.minimum(np.searchsorted(sums, share * (sums[-1] + 0.0), side="right"), count - 1)


class SecondRandomChoice(RandomChoice):
    """``torchvision.transforms.v2.RandomChoice``, whose weights were divided by their sum when it was made."""

    p: list[float]

    def _choice(self, every: Rows, draws: Draws) -> Integers:
        return draws.choice(self.p, every)


class FirstRandomOrder(RandomOrder):
    """``torchvision.transforms.RandomOrder``."""

    def _order(self, every: Rows, draws: Draws) -> Integers:
        return draws.of_python().permutation(len(self._parts), every)


def _apply(transform: Any, parts: list[Native]) -> Native:
    kind = FirstRandomApply if is_v1(transform) else RandomApply
    return [kind(parts, transform.p)]


def _choice(transform: Any, parts: list[Native]) -> Native | None:
    if is_v1(transform):
        return [FirstRandomChoice(parts, transform.p)]
    is_list = type(transform.p) is list and all(type(one) is float for one in transform.p)
    return [SecondRandomChoice(parts, transform.p)] if is_list else None  # or it was changed since


def _order(transform: Any, parts: list[Native]) -> Native:
    return [(FirstRandomOrder if is_v1(transform) else RandomOrder)(parts)]


def _in_order(transform: Any, parts: list[Native]) -> Native:
    return [one for part in parts for one in part]


def parts_of(transform: Any) -> list[Any]:
    """The transforms in a container.

    Raises:
        TypeError: it holds something else.
    """
    parts = transform if isinstance(transform, nn.Sequential) else transform.transforms
    if type(parts) not in (list, tuple, nn.ModuleList, nn.Sequential):
        raise TypeError(f"{parts!r} may be iterated in a way of its own")
    return list(parts)


CONTAINERS: dict[str, Callable[[Any, list[Native]], Native | None]] = {
    f"{V1}RandomApply": _apply,
    f"{V1}RandomChoice": _choice,
    f"{V1}RandomOrder": _order,
    f"{V1}Compose": _in_order,
    f"{V2}_container.RandomApply": _apply,
    f"{V2}_container.RandomChoice": _choice,
    f"{V2}_container.RandomOrder": _order,
    f"{V2}_container.Compose": _in_order,
    "torch.nn.modules.container.Sequential": _in_order,
}
