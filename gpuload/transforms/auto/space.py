"""What torchvision's automatic augmentation chooses from: operations by number, and how much of each."""

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from gpuload.recipes.adjust import Adjust, Adjustment
from gpuload.recipes.warp import Motion, Warp, affine, rotation
from gpuload.transforms.base import Look
from gpuload.transforms.plan import Sizes, Steps

__all__ = ["NAMES", "SCALED", "SIGNED", "Amounts", "Choice", "Space", "amounts", "steps_of"]

NAMES = (  # in torchvision's order
    "Identity", "ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate", "Brightness", "Color", "Contrast",
    "Sharpness", "Posterize", "Solarize", "AutoContrast", "Equalize", "Invert",
)  # fmt: skip
NUMBER = {name: number for number, name in enumerate(NAMES)}
SCALED = np.array([0 < number <= NUMBER["Solarize"] for number in range(len(NAMES))])  # by a magnitude
SIGNED = np.array([0 < number <= NUMBER["Sharpness"] for number in range(len(NAMES))])  # which may be negative
FACTORS = {
    "Brightness": Adjustment.ADJUST_BRIGHTNESS,
    "Color": Adjustment.ADJUST_SATURATION,
    "Contrast": Adjustment.ADJUST_CONTRAST,
    "Sharpness": Adjustment.ADJUST_SHARPNESS,
}
OTHERS = {
    "Posterize": Adjustment.POSTERIZE,
    "Solarize": Adjustment.SOLARIZE,
    "AutoContrast": Adjustment.AUTOCONTRAST,
    "Equalize": Adjustment.EQUALIZE,
    "Invert": Adjustment.SOLARIZE,  # from 0 on
}
SHIFTS = "TranslateX", "TranslateY"

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


class Space(NamedTuple):
    """The greatest magnitude of each kind of operation.

    Attributes:
        shear: the tangent.
        shift: pixels; or, where ``of_edge``, of the image's width or height.
        turn: degrees.
        factor: what is added to 1, or taken from it.
        bits: that posterizing takes away.
    """

    shear: float
    shift: float
    of_edge: bool
    turn: float
    factor: float
    bits: int


class Choice(NamedTuple):
    """What n samples get.

    Attributes:
        operation: (n,) number of the operation.
        amount: (n,) float64, its magnitude, with its sign.
    """

    operation: Integers
    amount: Floats


# ---- how much ----


class Amounts(NamedTuple):
    """The magnitudes of a space's operations, in so many bins.

    Attributes:
        table: (len(NAMES), bins) float64; without shifts that are a share of the edge.
        edge: that share, or 0.
    """

    table: Floats
    edge: float

    def of(self, operation: Integers, at: Integers, height: Sizes, width: Sizes) -> Floats:
        """(n,) the magnitude in bin ``at`` of each sample."""
        found: Floats = self.table[operation, at]
        if self.edge:
            for name, size in (("TranslateX", width), ("TranslateY", height)):
                rows = np.flatnonzero(operation == NUMBER[name])
                each = zip(rows.tolist(), size[rows].tolist(), at[rows].tolist(), strict=True)
                for row, pixels, place in each:
                    found[row] = _linear(0.0, self.edge * pixels, self.table.shape[1])[place]
        return found


@lru_cache(maxsize=4096)  # one for each size of image
def _linear(first: float, last: float, bins: int) -> list[float]:
    """``torch.linspace``'s, to the last bit."""
    made: list[float] = torch.linspace(first, last, bins).tolist()
    return made


@lru_cache
def amounts(space: Space, bins: int, first_version: bool = False) -> Amounts:
    """Those of torchvision's v2, or of its first version, which rounds two of them otherwise.

    Args:
        space: of the transform.
        bins: at least 2.
        first_version: True: as v1 has them.
    """
    table = np.zeros((len(NAMES), bins))
    ends = {"ShearX": space.shear, "ShearY": space.shear, "Rotate": space.turn}
    shift = 0.0 if space.of_edge else space.shift
    for name, end in (ends | dict.fromkeys(FACTORS, space.factor) | dict.fromkeys(SHIFTS, shift)).items():
        table[NUMBER[name]] = _linear(0.0, end, bins)
    less = torch.arange(bins) / ((bins - 1) / space.bits)
    bits = 8 - less.round().int() if first_version else (8 - less).round().int()
    table[NUMBER["Posterize"]] = bits.tolist()
    least = np.array(_linear(255.0, 0.0, bins)) if first_version else 255.0 * np.array(_linear(1.0, 0.0, bins))
    table[NUMBER["Solarize"]] = np.ceil(least)  # values are whole
    return Amounts(table, space.shift if space.of_edge else 0.0)


# ---- what is done ----


def steps_of(choice: Choice, height: Sizes, width: Sizes, look: Look) -> Steps:
    """One operation for each of n samples."""
    operation, amount = choice
    moved = (operation >= NUMBER["ShearX"]) & (operation <= NUMBER["Rotate"])
    if moved.any():
        numbers = np.zeros((len(operation), 6))
        rows = np.flatnonzero(moved)
        numbers[rows] = _numbers(Choice(operation[rows], amount[rows]), height[rows], width[rows])
        yield Warp(numbers, look.filter, look.fill), moved
    for name, adjustment in FACTORS.items():
        yield Adjust(adjustment, 1.0 + amount), operation == NUMBER[name]
    for name, adjustment in OTHERS.items():
        yield Adjust(adjustment, amount), operation == NUMBER[name]


def _numbers(choice: Choice, height: Sizes, width: Sizes) -> Floats:
    """(n, 6) of shears from the corner, shifts by whole pixels, and turns around the middle."""
    operation, amount = choice
    none, pixels = np.zeros(len(operation)), np.trunc(amount)
    middle_x, middle_y = none + width * 0.5, none + height * 0.5
    degrees = np.array([math.degrees(math.atan(slope)) for slope in amount.tolist()])
    sheared, turned = operation <= NUMBER["ShearY"], operation == NUMBER["Rotate"]
    motion = Motion(
        angle=none,
        shift_x=np.where(operation == NUMBER["TranslateX"], pixels, 0.0),
        shift_y=np.where(operation == NUMBER["TranslateY"], pixels, 0.0),
        scale=none + 1.0,
        shear_x=np.where(operation == NUMBER["ShearX"], degrees, 0.0),
        shear_y=np.where(operation == NUMBER["ShearY"], degrees, 0.0),
    )
    numbers = affine(motion, np.where(sheared, 0.0, middle_x), np.where(sheared, 0.0, middle_y))
    numbers[turned] = rotation(amount[turned], middle_x[turned], middle_y[turned])
    return numbers
