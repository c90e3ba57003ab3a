"""Transforms that give other values to rectangles of what leaves."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from gpuload.arguments import is_number, probability, range_of
from gpuload.errors import ArgumentError, ArgumentTypeError
from gpuload.recipes.draws import Draws, Rows
from gpuload.recipes.erase import LEVELS, Cover, Erase, levels
from gpuload.recipes.ops import Mask
from gpuload.transforms.base import Transform, chosen
from gpuload.transforms.plan import Rectangles, Sizes, Values

__all__ = ["RandomErasing", "Sides", "fills_of", "fitting", "noise_of"]

Floats = NDArray[np.float64]
TRIES = 10
BYTES = 256  # values below are bytes, once cut off


class Sides(NamedTuple):
    """Height and width of a rectangle for each of some samples, in pixels."""

    height: Sizes
    width: Sizes
    rows: Rows

    def placed(self, height: Sizes, width: Sizes, draws: Draws) -> tuple[Sizes, Sizes]:
        """Top and left of each, drawn, in images of n samples' height and width."""
        top = draws.integer(height[self.rows] - self.height + 1, self.rows)
        return top, draws.integer(width[self.rows] - self.width + 1, self.rows)

    def erase(self, n: int, cover: Cover, top: Sizes, left: Sizes, noise: NDArray[Any]) -> tuple[Erase, Mask]:
        """The operation, for n samples."""

        def of_all(values: NDArray[Any]) -> NDArray[Any]:
            made = np.zeros(n, values.dtype)
            made[self.rows] = values
            return made

        fields = map(of_all, (top, left, self.height, self.width, noise))
        return Erase(cover, 0, *fields), of_all((self.height > 0) & (self.width > 0))


def fitting(height: Sizes, width: Sizes, rows: Rows, drawn: Callable[[Rows], tuple[Floats, Floats]]) -> Iterator[Sides]:
    """For ``rows`` of n samples, sides that are smaller than the image's: those of the first try, the second, ...

    Args:
        height, width: of the images, in pixels: (n,).
        rows: the samples that get a rectangle.
        drawn: areas in pixels and ratios of height to width, for each of some rows.
    """
    for _ in range(TRIES):
        if not len(rows):
            return
        area, ratio = drawn(rows)
        high, wide = np.rint(np.sqrt(area * ratio)), np.rint(np.sqrt(area / ratio))
        fits = (high < height[rows]) & (wide < width[rows])
        yield Sides(high[fits].astype(np.int64), wide[fits].astype(np.int64), rows[fits])
        rows = rows[~fits]


def noise_of(cover: Cover, sides: Sides, given: Values, dtype: torch.dtype, draws: Draws) -> NDArray[Any]:
    """What `Erase` takes for noise; nothing is drawn for a color."""
    if cover is Cover.COLOR:
        return np.zeros(len(sides.rows), np.uint64)
    shapes = [
        cover.shape(given.channels, *one) for one in zip(sides.height.tolist(), sides.width.tolist(), strict=True)
    ]
    return draws.noise(shapes, dtype, sides.rows)


def fills_of(colors: Sequence[float] | None, given: Values) -> torch.Tensor:
    """The values that rectangles can get: one for each channel, or, where there are none, noise's: (channels, m)."""
    if colors is None:
        return levels().to(given.dtype).expand(given.channels, LEVELS)
    return torch.tensor(colors, dtype=torch.float32)[:, None].to(given.dtype).expand(given.channels, 1)


class RandomErasing(Transform):
    """``torchvision.transforms.v2.RandomErasing``: a rectangle of the image gets another value, or noise.

    It stands after all that moves or adjusts pixels; ToDtype and Normalize may stand before or after it.

    Args:
        p: the probability of it.
        scale: least and most of the image's area, from 0 to 1.
        ratio: least and most of height / width; drawn evenly on a logarithmic scale. Where no rectangle that is smaller
            than the image comes of ten tries, nothing is erased.
        value: a number, or one for each channel; from 0 to 255 where pixels are bytes. 'random': each value is drawn
            from the standard normal distribution, where they are floats. In the loader these are 2^16 different ones.
        inplace: accepted and without effect.
    """

    p: float
    scale: Sequence[float]
    ratio: Sequence[float]
    value: float | str | Sequence[float]
    inplace: bool

    def __init__(
        self,
        p: float = 0.5,
        scale: Sequence[float] = (0.02, 0.33),
        ratio: Sequence[float] = (0.3, 3.3),
        value: float | str | Sequence[float] = 0.0,
        inplace: bool = False,
    ) -> None:
        super().__init__(p=p, scale=scale, ratio=ratio, value=value, inplace=inplace)

    def resolve(self) -> None:
        self._p = probability(self.p)
        self._scale, ratio = range_of("scale", self.scale, 0.0), range_of("ratio", self.ratio, 1e-6)
        if self._scale[1] > 1:
            raise ArgumentError(f"scale must be shares of the image's area, from 0 to 1, got {self.scale!r}")
        logs = torch.log(torch.tensor(ratio))  # in float32, as torchvision has them
        self._log_ratio = float(logs[0]), float(logs[1])
        self._colors = _colors(self.value)

    def fills(self, given: Values) -> torch.Tensor:
        if self._colors is None and not given.dtype.is_floating_point:
            raise ArgumentError("value='random' needs floats: put ToDtype(torch.float32, scale=True) before it")
        if self._colors is not None and len(self._colors) not in (1, given.channels):
            raise ArgumentError(f"value has {len(self._colors)} numbers, but the image has {given.channels} channel(s)")
        if self._colors and given.dtype == torch.uint8 and not all(0 <= color < BYTES for color in self._colors):
            raise ArgumentError(f"value must be from 0 to 255 where pixels are bytes, got {self.value!r}")
        return fills_of(self._colors, given)

    def rectangles(self, height: Sizes, width: Sizes, given: Values, draws: Draws) -> Rectangles:
        def drawn(rows: Rows) -> tuple[Floats, Floats]:
            area = (height[rows] * width[rows]) * draws.uniform(*self._scale, rows)
            return area, draws.log_uniform(*self._log_ratio, rows)

        cover = Cover.NOISE if self._colors is None else Cover.COLOR
        for sides in fitting(height, width, np.flatnonzero(chosen(self._p, height, draws)), drawn):
            noise = noise_of(cover, sides, given, torch.float32, draws)
            yield sides.erase(len(height), cover, *sides.placed(height, width, draws), noise)


def _colors(value: Any) -> list[float] | None:
    """A number, or one for each channel; None: noise."""
    if isinstance(value, str):
        if value != "random":
            raise ArgumentError(f"value must be a number, one for each channel, or 'random', got {value!r}")
        return None
    listed = list(value) if isinstance(value, Sequence) else [value]
    if not listed or not all(map(is_number, listed)):
        raise ArgumentTypeError(f"value must be a number, one for each channel, or 'random', got {value!r}")
    return [float(one) for one in listed]
