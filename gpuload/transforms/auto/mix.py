"""AugMix: chains of operations on the same image, mixed with it."""

import math
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray

from gpuload.arguments import at_least, color, is_number
from gpuload.errors import ArgumentError
from gpuload.recipes.as_torch import mixes_as_torch
from gpuload.recipes.draws import Draws, Rows
from gpuload.recipes.mix import EFFECTS, LEAST_GRID, MOST_SUMMED, MOVING, NOTHING, Mix
from gpuload.recipes.ops import Filter, Mask
from gpuload.recipes.warp import Motion, affine, affine_of_v1
from gpuload.transforms.base import Fill, Interpolation, InterpolationMode, Transform, every, filter_of
from gpuload.transforms.plan import Sizes, Steps

__all__ = ["BINS", "AugMix", "magnitudes"]

BINS = 10  # of the magnitudes, of which severity says how many are drawn from
FEWER = EFFECTS.index("Brightness")  # effects where not all are wanted: those before it
MOST_DEPTH = 3  # of a chain whose depth is drawn
SCALED = np.array([name not in ("AutoContrast", "Equalize") for name in EFFECTS])  # by a magnitude
SIGNED = SCALED & np.array([name not in ("Posterize", "Solarize") for name in EFFECTS])  # which may be negative
FILTERS = Filter.NEAREST, Filter.BILINEAR  # torch has no others for a grid
FLOAT32 = np.float32

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


@lru_cache(maxsize=4096)  # one for each size of image
def _shifts(pixels: int) -> list[float]:
    made: list[float] = torch.linspace(0.0, pixels / 3.0, BINS).tolist()
    return made


@lru_cache
def magnitudes(version: int) -> Floats:
    """(len(EFFECTS), BINS) of torchvision's v1 or v2; without shifts, which are a third of the image at most."""
    table = dict.fromkeys(EFFECTS, torch.zeros(BINS))
    table |= dict.fromkeys(("ShearX", "ShearY"), torch.linspace(0.0, 0.3, BINS))
    table |= dict.fromkeys(EFFECTS[FEWER:], torch.linspace(0.0, 0.9, BINS))
    less = torch.arange(BINS) / ((BINS - 1) / 4)
    table["Rotate"] = torch.linspace(0.0, 30.0, BINS)
    table["Posterize"] = 4 - less.round().int() if version == 1 else (4 - less).round().int()
    least = torch.linspace(255.0, 0.0, BINS) if version == 1 else torch.linspace(1.0, 0.0, BINS).double() * 255.0
    table["Solarize"] = least.float().ceil()  # compared as float32; values are whole
    return np.stack([table[name].double().numpy() for name in EFFECTS])


class AugMix(Transform):
    """``torchvision.transforms.v2.AugMix``, of PIL images in color.

    torchvision makes a tensor of such an image, and adjusts, moves and adds in torch's arithmetic; so does this. Native
    code does it where it has been tried to give the same bits, which is said by
    `gpuload.recipes.as_torch.mixes_as_torch`; elsewhere torch does.

    Args:
        severity: how many of ten magnitudes are drawn from, 1 to 10.
        mixture_width: chains, at least 1.
        chain_depth: operations of a chain; not above 0: 1 to 3, drawn.
        alpha: of the Dirichlet distributions of the weights, above 0.
        all_ops: False: without brightness, color, contrast and sharpness.
        interpolation: of rotations, shears and shifts: nearest or bilinear.
        fill: the color beside what they move: a number, or three, from 0 to 255; None: black, blended.
    """

    severity: int
    mixture_width: int
    chain_depth: int
    alpha: float
    all_ops: bool
    interpolation: Interpolation
    fill: Fill
    version = 2

    def __init__(
        self,
        severity: int = 3,
        mixture_width: int = 3,
        chain_depth: int = -1,
        alpha: float = 1.0,
        all_ops: bool = True,
        interpolation: Interpolation = InterpolationMode.BILINEAR,
        fill: Fill = None,
    ) -> None:
        super().__init__(
            severity=severity,
            mixture_width=mixture_width,
            chain_depth=chain_depth,
            alpha=alpha,
            all_ops=all_ops,
            interpolation=interpolation,
            fill=fill,
        )

    def resolve(self) -> None:
        self._bins = at_least("severity", self.severity, 1)
        if self._bins > BINS:
            raise ArgumentError(f"severity must be from 1 to {BINS}, got {self.severity}")
        self._chains = at_least("mixture_width", self.mixture_width, 1)
        self._depth = at_least("chain_depth", self.chain_depth, -(2**31))
        if not is_number(self.alpha) or not 0 < self.alpha < math.inf:
            raise ArgumentError(f"alpha must be a number above 0, got {self.alpha!r}")
        self._effects = len(EFFECTS) if self.all_ops else FEWER
        self._filter = filter_of(self.interpolation)
        if self._filter not in FILTERS:
            raise ArgumentError(f"interpolation must be nearest or bilinear here, got {self.interpolation!r}")
        self._fill = None if self.fill is None else color(self.fill)

    def steps(self, height: Sizes, width: Sizes, draws: Draws) -> Steps:
        n, rows = len(height), np.arange(len(height))
        shape = n, self._chains, self._depth if self._depth > 0 else MOST_DEPTH
        effects, amounts, thetas = np.full(shape, NOTHING), np.zeros(shape), np.zeros((*shape, 6))
        shares = draws.dirichlet(float(self.alpha), 2, rows).astype(FLOAT32)
        others = draws.dirichlet(float(self.alpha), self._chains, rows).astype(FLOAT32) * shares[:, 1:]
        for chain in range(self._chains):
            depth = np.full(n, self._depth) if self._depth > 0 else 1 + draws.integer(MOST_DEPTH, rows)
            for place in range(shape[2]):
                deep = np.flatnonzero(depth > place)
                effect, amount = self._drawn(deep, height, width, draws)
                theta = self._thetas(effect, amount, height[deep], width[deep])
                still = (effect == EFFECTS.index("Rotate")) & (amount == 0) & (self.version == 2)  # as v2 leaves it
                effects[deep, chain, place] = np.where(still, NOTHING, effect)
                amounts[deep, chain, place], thetas[deep, chain, place] = amount, theta
        is_summed = (height * width > MOST_SUMMED) & (effects == EFFECTS.index("Contrast")).any((1, 2))
        native = ~is_summed & (height * width >= LEAST_GRID) & mixes_as_torch()
        weights = np.concatenate([shares[:, :1], others], axis=1).astype(np.float64)
        yield Mix(weights, effects, amounts, thetas, native, self._filter, self._fill, self.version), every(height)

    def _negative(self, rows: Rows, draws: Draws) -> Mask:
        return draws.uniform(0.0, 1.0, rows) <= 0.5

    def _drawn(self, rows: Rows, height: Sizes, width: Sizes, draws: Draws) -> tuple[Integers, Floats]:
        """Effects, and how much of each, with its sign, for some samples."""
        effect = draws.integer(self._effects, rows)
        at = np.zeros(len(rows), np.int64)
        scaled, signed = np.flatnonzero(SCALED[effect]), np.flatnonzero(SIGNED[effect])
        at[scaled] = draws.integer(self._bins, rows[scaled])
        amount = magnitudes(self.version)[effect, at]
        for name, sizes in (("TranslateX", width), ("TranslateY", height)):
            for i in np.flatnonzero(effect == EFFECTS.index(name)).tolist():
                amount[i] = int(_shifts(int(sizes[rows[i]]))[at[i]])
        amount[signed[self._negative(rows[signed], draws)]] *= -1
        return effect, amount

    def _thetas(self, effect: Integers, amount: Floats, height: Sizes, width: Sizes) -> Floats:
        """(n, 6) of those that move pixels, around the middle; shears are from the corner."""
        none, moving = np.zeros(len(effect)), effect < MOVING
        shear_x, shear_y, shift_x, shift_y, turn = (np.where(effect == k, amount, 0.0) for k in range(MOVING))
        slopes = (np.array([math.degrees(math.atan(slope)) for slope in of.tolist()]) for of in (shear_x, shear_y))
        angle = -turn if self.version == 1 else -(turn % 360.0)
        motion = Motion(angle, shift_x, shift_y, none + 1.0, *slopes)
        sheared = effect < 2
        middle = np.where(sheared, width * -0.5, 0.0), np.where(sheared, height * -0.5, 0.0)
        numbers = (affine_of_v1 if self.version == 1 else affine)(motion, *middle).astype(FLOAT32)
        half = np.stack([width * 0.5] * 3 + [height * 0.5] * 3, axis=1).astype(FLOAT32)
        return np.where(moving[:, None], numbers / half, 0.0).astype(np.float64)
