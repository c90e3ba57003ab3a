"""Pillow's blur, which recipes of self-supervised learning use."""

from collections.abc import Sequence

import numpy as np

from gpuload.arguments import is_number, probability
from gpuload.errors import ArgumentError, ArgumentTypeError
from gpuload.recipes.adjust import Adjust, Adjustment, box_radius
from gpuload.recipes.draws import Draws
from gpuload.transforms.base import Transform, chosen
from gpuload.transforms.plan import Sizes, Steps

__all__ = ["PillowGaussianBlur"]

MOST = 10_000.0  # pixels


class PillowGaussianBlur(Transform):
    """``PIL.ImageFilter.GaussianBlur`` of a random radius, as DINO and BYOL have it; torchvision's is another one.

    Args:
        radius: the Gaussian's standard deviation in pixels is drawn from (min, max); or it is always a number.
        p: the probability that an image is blurred.
    """

    radius: float | Sequence[float]
    p: float

    def __init__(self, radius: float | Sequence[float] = (0.1, 2.0), p: float = 0.5) -> None:
        super().__init__(radius=radius, p=p)

    def resolve(self) -> None:
        self._p = probability(self.p)
        given = self.radius if isinstance(self.radius, Sequence) else (self.radius, self.radius)
        if len(given) != 2 or not all(map(is_number, given)):
            raise ArgumentTypeError(f"radius must be a number or two numbers (min, max), got {self.radius!r}")
        low, high = map(float, given)
        if not 0 <= low <= high <= MOST:
            raise ArgumentError(f"radius must be (min, max) with 0 <= min <= max <= {MOST:.0f}, got {self.radius!r}")
        self._range = low, high

    def steps(self, height: Sizes, width: Sizes, draws: Draws) -> Steps:
        blurred = chosen(self._p, height, draws)
        radius, rows = np.zeros(len(height)), np.flatnonzero(blurred)
        radius[rows] = draws.uniform(*self._range, rows)
        return [(Adjust(Adjustment.BLUR, box_radius(radius)), blurred)]
