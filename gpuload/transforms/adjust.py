"""Transforms that adjust colors: ColorJitter, and what happens with a probability."""

import math
from collections.abc import Sequence
from typing import Any, TypeGuard

import numpy as np

from gpuload.arguments import at_least, is_number, probability
from gpuload.errors import ArgumentError, ArgumentTypeError
from gpuload.recipes.adjust import Adjust, Adjustment
from gpuload.recipes.draws import Draws, Integers, Rows
from gpuload.recipes.ops import Mask
from gpuload.transforms.base import Transform, chosen, every
from gpuload.transforms.plan import Sizes, Steps

__all__ = [
    "ColorJitter",
    "RandomAdjustSharpness",
    "RandomAutocontrast",
    "RandomChannelPermutation",
    "RandomEqualize",
    "RandomInvert",
    "RandomPhotometricDistort",
    "RandomPosterize",
    "RandomSolarize",
]

Range = float | Sequence[float] | None
HUES = 255  # of torchvision's: a shift of 1.0
MOST_FACTOR = float(np.finfo(np.float32).max)


class ColorJitter(Transform):
    """``torchvision.transforms.v2.ColorJitter``: brightness, contrast, saturation and hue, in a random order.

    Args:
        brightness, contrast, saturation: factors are drawn from [max(0, 1 - value), 1 + value], or from (min, max).
        hue: the share of a turn is drawn from [-value, value], or from (min, max), inside of [-0.5, 0.5].
    """

    brightness: Range
    contrast: Range
    saturation: Range
    hue: Range

    def __init__(
        self, brightness: Range = None, contrast: Range = None, saturation: Range = None, hue: Range = None
    ) -> None:
        super().__init__(brightness=brightness, contrast=contrast, saturation=saturation, hue=hue)

    def resolve(self) -> None:
        factors = {
            name: _around(name, getattr(self, name), 1.0, 0.0, MOST_FACTOR)
            for name in ("brightness", "contrast", "saturation")
        }
        self.ranges = [*factors.values(), _around("hue", self.hue, 0.0, -0.5, 0.5)]

    def steps(self, height: Sizes, width: Sizes, draws: Draws) -> Steps:
        every = np.arange(len(height))
        order = draws.permutation(len(JITTERED), every)
        values = [None if span is None else draws.uniform(*span, every) for span in self.ranges]
        for turn in range(len(JITTERED)):
            for number, (adjustment, value) in enumerate(zip(JITTERED, values, strict=True)):
                if value is not None:
                    yield (
                        Adjust(adjustment, value if number < HUE else np.trunc(value * HUES)),
                        order[:, turn] == number,
                    )


JITTERED = (
    Adjustment.ADJUST_BRIGHTNESS,
    Adjustment.ADJUST_CONTRAST,
    Adjustment.ADJUST_SATURATION,
    Adjustment.ADJUST_HUE,
)
HUE = JITTERED.index(Adjustment.ADJUST_HUE)


def _around(name: str, given: Range, center: float, least: float, most: float) -> tuple[float, float] | None:
    """(min, max) as torchvision takes them; None: nothing is done.

    Raises:
        ArgumentError, ArgumentTypeError: it is neither a number nor two, or they are not allowed.
    """
    if given is None:
        return None
    if isinstance(given, int | float) and is_number(given):
        if given < 0:
            raise ArgumentError(f"{name} must not be negative where it is a number, got {given}")
        low, high = max(center - given, least) if center else center - given, center + given
    elif _is_pair(given):
        low, high = given
    else:
        raise ArgumentTypeError(f"{name} must be a number, two numbers (min, max) or None, got {given!r}")
    if not least <= low <= high <= most:
        raise _out_of(name, given, least, most)
    return None if low == high == center else (float(low), float(high))


def _between(name: str, given: Sequence[float], least: float, most: float) -> tuple[float, float]:
    """(min, max) of two numbers. Errors as of `_around`."""
    if not _is_pair(given):
        raise ArgumentTypeError(f"{name} must be two numbers (min, max), got {given!r}")
    low, high = given
    if not least <= low <= high <= most:
        raise _out_of(name, given, least, most)
    return float(low), float(high)


def _is_pair(given: Any) -> TypeGuard[Sequence[float]]:
    return isinstance(given, Sequence) and len(given) == 2 and all(map(is_number, given))


def _out_of(name: str, given: Any, least: float, most: float) -> ArgumentError:
    return ArgumentError(f"{name} must be (min, max) with {least} <= min <= max <= {most}, got {given!r}")


class RandomPhotometricDistort(Transform):
    """``torchvision.transforms.v2.RandomPhotometricDistort``, as SSD has it: each with probability ``p``.

    Contrast comes before saturation and hue or after them, and at last channels change places.

    Args:
        brightness, contrast, saturation: factors are drawn from (min, max).
        hue: the share of a turn is drawn from (min, max), inside of [-0.5, 0.5].
        p: the probability of each.
    """

    brightness: Sequence[float]
    contrast: Sequence[float]
    saturation: Sequence[float]
    hue: Sequence[float]
    p: float

    def __init__(
        self,
        brightness: Sequence[float] = (0.875, 1.125),
        contrast: Sequence[float] = (0.5, 1.5),
        saturation: Sequence[float] = (0.5, 1.5),
        hue: Sequence[float] = (-0.05, 0.05),
        p: float = 0.5,
    ) -> None:
        super().__init__(brightness=brightness, contrast=contrast, saturation=saturation, hue=hue, p=p)

    def resolve(self) -> None:
        self._p = probability(self.p)
        names = "brightness", "contrast", "saturation"
        self.ranges = [_between(name, getattr(self, name), 0.0, MOST_FACTOR) for name in names]
        self.ranges.append(_between("hue", self.hue, -0.5, 0.5))

    def steps(self, height: Sizes, width: Sizes, draws: Draws) -> Steps:
        drawn: list[tuple[Adjust, Mask]] = []
        for adjustment, span in zip(JITTERED, self.ranges, strict=True):
            happens, values = chosen(self._p, height, draws), np.zeros(len(height))
            rows = np.flatnonzero(happens)
            values[rows] = draws.uniform(*span, rows)
            drawn.append((Adjust(adjustment, np.trunc(values * HUES) if len(drawn) == HUE else values), happens))
        brightness, (contrast, contrasted), *others = drawn
        first, permuted = chosen(0.5, height, draws), chosen(self._p, height, draws)
        orders, rows = np.zeros(len(height), np.int64), np.flatnonzero(permuted)
        orders[rows] = _orders(rows, draws)
        yield from (brightness, (contrast, contrasted & first), *others, (contrast, contrasted & ~first))
        yield Adjust(Adjustment.PERMUTE_CHANNELS, orders), permuted


class RandomChannelPermutation(Transform):
    """``torchvision.transforms.v2.RandomChannelPermutation``, of images in color: all orders are as probable."""

    def steps(self, height: Sizes, width: Sizes, draws: Draws) -> Steps:
        yield Adjust(Adjustment.PERMUTE_CHANNELS, _orders(np.arange(len(height)), draws)), every(height)


def _orders(rows: Rows, draws: Draws) -> Integers:
    """Numbers of drawn permutations, of three channels, among `gpuload.recipes.adjust.ORDERS`."""
    first, second, third = draws.permutation(3, rows).T
    numbers: Integers = first * 2 + (second > third)
    return numbers


class _Adjusting(Transform):
    """One adjustment, with probability ``p``."""

    p: float
    adjustment: Adjustment

    def resolve(self) -> None:
        self._p = probability(self.p)
        self._value = self.value()

    def value(self) -> float:
        """What is said of the adjustment."""
        return 0.0

    def steps(self, height: Sizes, width: Sizes, draws: Draws) -> Steps:
        return [(Adjust(self.adjustment, self._value), chosen(self._p, height, draws))]


class RandomAdjustSharpness(_Adjusting):
    """``torchvision.transforms.v2.RandomAdjustSharpness``: a factor of 0 blurs, 1 leaves the image, 2 sharpens."""

    adjustment = Adjustment.ADJUST_SHARPNESS
    sharpness_factor: float

    def __init__(self, sharpness_factor: float, p: float = 0.5) -> None:
        super().__init__(sharpness_factor=sharpness_factor, p=p)

    def value(self) -> float:
        if not is_number(self.sharpness_factor):
            raise ArgumentTypeError(f"sharpness_factor must be a number, got {self.sharpness_factor!r}")
        if not 0 <= self.sharpness_factor <= MOST_FACTOR:
            raise ArgumentError(f"sharpness_factor must be at least 0, and finite, got {self.sharpness_factor}")
        return float(self.sharpness_factor)


class RandomPosterize(_Adjusting):
    """``torchvision.transforms.v2.RandomPosterize``: of each value so many bits are kept, 1 to 8."""

    adjustment = Adjustment.POSTERIZE
    bits: int

    def __init__(self, bits: int, p: float = 0.5) -> None:
        super().__init__(bits=bits, p=p)

    def value(self) -> float:
        if at_least("bits", self.bits, 1) > 8:
            raise ArgumentError(f"bits must be 8 at most, got {self.bits}")
        return float(self.bits)


class RandomSolarize(_Adjusting):
    """``torchvision.transforms.v2.RandomSolarize``: values from ``threshold`` on are inverted."""

    adjustment = Adjustment.SOLARIZE
    threshold: float

    def __init__(self, threshold: float, p: float = 0.5) -> None:
        super().__init__(threshold=threshold, p=p)

    def value(self) -> float:
        if not is_number(self.threshold):
            raise ArgumentTypeError(f"threshold must be a number, got {self.threshold!r}")
        return float(min(max(math.ceil(self.threshold), 0), 256))


class RandomInvert(_Adjusting):
    """``torchvision.transforms.v2.RandomInvert``."""

    adjustment = Adjustment.SOLARIZE  # from 0 on

    def __init__(self, p: float = 0.5) -> None:
        super().__init__(p=p)


class RandomAutocontrast(_Adjusting):
    """``torchvision.transforms.v2.RandomAutocontrast``: each channel's values are stretched to 0 to 255."""

    adjustment = Adjustment.AUTOCONTRAST

    def __init__(self, p: float = 0.5) -> None:
        super().__init__(p=p)


class RandomEqualize(_Adjusting):
    """``torchvision.transforms.v2.RandomEqualize``: each channel's histogram becomes as even as it can."""

    adjustment = Adjustment.EQUALIZE

    def __init__(self, p: float = 0.5) -> None:
        super().__init__(p=p)
