"""What timm's own transforms do to PIL images; each draws the numbers that timm's draws, in its order.

timm draws with Python's ``random``; of the same numbers, the same pixels are made here.
"""

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from gpuload.arguments import color, is_number, pair, range_of
from gpuload.errors import ArgumentError
from gpuload.recipes.draws import Draws, Rows
from gpuload.recipes.erase import Cover
from gpuload.recipes.ops import Crop, Mask, Op, Resize as ResizeOp
from gpuload.transforms.base import Interpolation, Transform, chosen, every, filter_of, pad_mode_of
from gpuload.transforms.erase import fills_of, fitting, noise_of
from gpuload.transforms.geometry import CenterCrop, RandomResizedCrop
from gpuload.transforms.hand import Form, Hand, Maker, Native
from gpuload.transforms.plan import Rectangles, Sizes, Steps, Values
from gpuload.transforms.torchvision.common import fill_of, nothing
from gpuload.transforms.torchvision.values import FromPil, to_tensor
from gpuload.transforms.values import DTYPES

__all__ = ["AFTER", "MAKERS", "RandomResizedCropAndInterpolation", "ResizeKeepRatio", "TrimBorder"]

Floats = NDArray[np.float64]
Range = tuple[float, float]


def _resized(
    height: Sizes, width: Sizes, differs: Mask, interpolations: Sequence[Interpolation], draws: Draws
) -> Iterator[tuple[Op, Mask]]:
    """A resize with one of several filters, which is drawn where there is a choice."""
    filters, rows = [filter_of(one) for one in interpolations], np.arange(len(height))
    drawn = draws.integer(len(filters), rows) if len(filters) > 1 else np.zeros_like(rows)
    for number, filter in enumerate(filters):
        yield ResizeOp(height, width, filter), differs & (drawn == number)


class RandomResizedCropAndInterpolation(RandomResizedCrop):
    """A random part of the image, resized with one of the filters.

    Args:
        size: (height, width) in pixels.
        scale, ratio: as of `RandomResizedCrop`.
        interpolations: at least one filter.
    """

    _least = 0  # where Pillow ends with an error

    def __init__(
        self,
        size: Sequence[int],
        scale: Sequence[float],
        ratio: Sequence[float],
        interpolations: Sequence[Interpolation],
    ) -> None:
        self._interpolations = interpolations
        super().__init__(size, scale, ratio, interpolations[0])

    def resolve(self) -> None:
        super().resolve()
        low, high = self._ratio
        self._log_ratio = math.log(low), math.log(high)  # torchvision's are of float32

    def steps(self, height: Sizes, width: Sizes, draws: Draws) -> Steps:
        draws = draws.of_python()
        crop = self._crop(height, width, draws)
        new_height, new_width = (np.full_like(height, size) for size in self._size)
        differs = (crop.height != new_height) | (crop.width != new_width)
        yield crop, every(height)
        yield from _resized(new_height, new_width, differs, self._interpolations, draws)


class ResizeKeepRatio(Transform):
    """A size at which the image fits around ``size``, or into it; larger or smaller, and wider or higher, by chance.

    Args:
        size: (height, width) in pixels.
        longest: 0.0: the image covers ``size``; 1.0: it lies inside; or anything between.
        interpolations: at least one filter.
        scale: the probability of another scale, and its range.
        scale_area: the scale is of the area.
        aspect: the probability of another ratio of width to height, and its range.
    """

    size: Sequence[int]
    longest: float
    interpolations: Sequence[Interpolation]
    scale: tuple[float, Range]
    scale_area: bool
    aspect: tuple[float, Range]

    def __init__(
        self,
        size: Sequence[int],
        longest: float,
        interpolations: Sequence[Interpolation],
        scale: tuple[float, Range],
        scale_area: bool,
        aspect: tuple[float, Range],
    ) -> None:
        super().__init__(
            size=size, longest=longest, interpolations=interpolations, scale=scale, scale_area=scale_area, aspect=aspect
        )

    def resolve(self) -> None:
        self._size = pair("size", self.size)

    def steps(self, height: Sizes, width: Sizes, draws: Draws) -> Steps:
        draws = draws.of_python()
        ratios = height / self._size[0], width / self._size[1]
        ratio = np.maximum(*ratios) * self.longest + np.minimum(*ratios) * (1.0 - self.longest)
        tall, wide = self._factors(height, draws)
        new_height = np.rint(height * tall / ratio).astype(np.int64)
        new_width = np.rint(width * wide / ratio).astype(np.int64)
        if min(new_height.min(initial=1), new_width.min(initial=1)) < 1:
            first = int(np.minimum(new_height, new_width).argmin())
            raise ArgumentError(f"{self!r} leaves no pixels of an image of {height[first]} x {width[first]}")
        differs = (new_height != height) | (new_width != width)
        yield from _resized(new_height, new_width, differs, self.interpolations, draws)

    def _factors(self, height: Sizes, draws: Draws) -> tuple[Floats, Floats]:
        """What chance makes of height and width: factors, one of each image."""
        tall, wide = np.ones(len(height)), np.ones(len(height))
        rows = _happens(self.scale[0], height, draws)
        if len(rows):
            factor = draws.uniform(*self.scale[1], rows)
            tall[rows] = wide[rows] = 1.0 / np.sqrt(factor) if self.scale_area else factor
        rows = _happens(self.aspect[0], height, draws)
        if len(rows):
            low, high = self.aspect[1]
            factor = np.sqrt(draws.log_uniform(math.log(low), math.log(high), rows))
            tall[rows] /= factor
            wide[rows] *= factor
        return tall, wide


def _happens(p: float, height: Sizes, draws: Draws) -> Sizes:
    """The samples that something of probability ``p`` happens to; of none, nothing is drawn."""
    return np.flatnonzero(chosen(p, height, draws)) if p > 0 else np.zeros(0, np.int64)


class TrimBorder(Transform):
    """``border`` pixels less on each side.

    Args:
        border: pixels.
    """

    border: int

    def __init__(self, border: int) -> None:
        super().__init__(border=border)

    def steps(self, height: Sizes, width: Sizes, draws: Draws) -> Steps:
        at_y, at_x = np.minimum(height, self.border), np.minimum(width, self.border)
        left_y, left_x = np.maximum(height - 2 * self.border, 0), np.maximum(width - 2 * self.border, 0)
        return [(Crop(at_y, at_x, left_y, left_x), every(height))]


class RandomErasing(Transform):
    """Some rectangles of the image get other values, each over those before.

    Args:
        p: the probability of it.
        area: least and most of the image's area that all of them have together.
        aspect: least and most of the logarithm of height / width.
        cover: what they show; a color is 0.
        count: least and most rectangles.
    """

    p: float
    area: Range
    aspect: Range
    cover: Cover
    count: tuple[int, int]

    def __init__(self, p: float, area: Range, aspect: Range, cover: Cover, count: tuple[int, int]) -> None:
        super().__init__(p=p, area=area, aspect=aspect, cover=cover, count=count)

    def fills(self, given: Values) -> torch.Tensor:
        if self.cover is not Cover.COLOR and not given.dtype.is_floating_point:
            raise ArgumentError("noise needs floats")
        return fills_of([0.0] if self.cover is Cover.COLOR else None, given)

    def rectangles(self, height: Sizes, width: Sizes, given: Values, draws: Draws) -> Rectangles:
        every, draws = np.arange(len(height)), draws.of_python()
        rows = every[draws.uniform(0.0, 1.0, every) <= self.p]
        counts, (least, most) = np.zeros(len(height), np.int64), self.count
        counts[rows] = least if least == most else least + draws.integer(most - least + 1, rows)

        def drawn(rows: Rows) -> tuple[Floats, Floats]:
            area = draws.uniform(*self.area, rows) * (height[rows] * width[rows]) / counts[rows]
            return area, draws.log_uniform(*self.aspect, rows)

        for number in range(most):
            for sides in fitting(height, width, np.flatnonzero(counts > number), drawn):
                top, left = sides.placed(height, width, draws)
                noise = noise_of(self.cover, sides, given, given.dtype, draws)
                yield sides.erase(len(height), self.cover, top, left, noise)


# ---- timm's classes as these, for `lifted` ----


def _crop(transform: Any, hand: Hand) -> Native | None:
    if hand.form is not Form.PIL or len(transform.size) != 2:
        return None
    filters = _choice(transform.interpolation)
    return [RandomResizedCropAndInterpolation(transform.size, transform.scale, transform.ratio, filters)]


def _resize(transform: Any, hand: Hand) -> Native | None:
    if hand.form is not Form.PIL or len(transform.size) != 2:
        return None
    scale = transform.random_scale_prob, tuple(transform.random_scale_range)
    aspect = transform.random_aspect_prob, tuple(transform.random_aspect_range)
    filters = _choice(transform.interpolation)
    return [ResizeKeepRatio(transform.size, transform.longest, filters, scale, transform.random_scale_area, aspect)]


def _choice(interpolation: Any) -> tuple[Any, ...]:
    return tuple(interpolation) if isinstance(interpolation, list | tuple) else (interpolation,)


def _center(transform: Any, hand: Hand) -> Native | None:
    if hand.form is not Form.PIL:
        return None
    native = CenterCrop(transform.size)
    native._fill, native._mode = color(fill_of(transform, hand)), pad_mode_of(transform.padding_mode)
    return [native]


def _trim(transform: Any, hand: Hand) -> Native | None:
    border = transform.border_size
    return [TrimBorder(border)] if hand.form is Form.PIL and type(border) is int and border >= 0 else None


def _tensor(transform: Any, hand: Hand) -> Native | None:
    return [FromPil(transform, hand.form)] if hand.form is Form.PIL and transform.dtype in DTYPES else None


def _maybe_tensor(transform: Any, hand: Hand) -> Native | None:
    return to_tensor(transform, hand) if hand.form is Form.PIL else []


COVERS = {"": Cover.COLOR, "const": Cover.COLOR, "rand": Cover.NOISY_COLOR, "pixel": Cover.NOISE}


def _erasing(transform: Any, hand: Hand) -> Native | None:
    if hand.form is not Form.TENSOR or str(transform.device) != "cpu":
        return None
    p, count = transform.probability, (transform.min_count, transform.max_count)
    is_noise = COVERS[transform.mode] is Cover.NOISE, COVERS[transform.mode] is Cover.NOISY_COLOR
    if is_noise != (transform.per_pixel, transform.rand_color and not transform.per_pixel):
        return None  # changed since
    if not (all(type(one) is int for one in count) and 0 <= count[0] <= count[1]) or not is_number(p):
        return None
    area = range_of("area", (transform.min_area, transform.max_area), 0.0)
    low, high = transform.log_aspect_ratio
    return [RandomErasing(p, area, (float(low), float(high)), COVERS[transform.mode], count)]


TIMM = "timm.data."
MAKERS: dict[str, Maker] = {
    f"{TIMM}transforms.RandomResizedCropAndInterpolation": _crop,
    f"{TIMM}transforms.ResizeKeepRatio": _resize,
    f"{TIMM}transforms.CenterCropOrPad": _center,
    f"{TIMM}transforms.TrimBorder": _trim,
    f"{TIMM}transforms.ToTensor": _tensor,
    f"{TIMM}transforms.MaybeToTensor": _maybe_tensor,
    f"{TIMM}transforms.MaybePILToTensor": nothing,
    f"{TIMM}random_erasing.RandomErasing": _erasing,
}
AFTER = {
    ("MaybeToTensor", Form.PIL): Form.TENSOR,
    ("MaybePILToTensor", Form.PIL): Form.TENSOR,
}
