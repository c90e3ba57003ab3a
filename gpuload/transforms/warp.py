"""Transforms that turn, shear, move and tilt an image."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from gpuload.arguments import fills, is_number, probability
from gpuload.errors import ArgumentError, ArgumentTypeError
from gpuload.recipes.draws import Draws, Rows
from gpuload.recipes.warp import Motion, Turn, Warp, affine, affine_of_v1, full_turn, rotation
from gpuload.transforms.base import Fill, Interpolation, InterpolationMode, Transform, chosen, every, look_of
from gpuload.transforms.plan import Sizes, Steps

__all__ = ["FirstRandomAffine", "RandomAffine", "RandomPerspective", "RandomRotation"]

Degrees = Sequence[float] | float
Floats = NDArray[np.float64]


def _numbers(name: str, given: Any, counts: tuple[int, ...]) -> tuple[float, ...]:
    """So many numbers."""
    if not isinstance(given, Sequence) or len(given) not in counts or not all(map(is_number, given)):
        raise ArgumentTypeError(f"{name} must be {' or '.join(map(str, counts))} numbers, got {given!r}")
    return tuple(map(float, given))


def _ranges(name: str, given: Degrees, counts: tuple[int, ...] = (2,)) -> list[tuple[float, float]]:
    """(min, max), or two of them, as torchvision takes them: one number is from its negative on."""
    if isinstance(given, int | float) and is_number(given):
        if given < 0:
            raise ArgumentError(f"{name} must not be negative where it is a number, got {given}")
        return [(-float(given), float(given))]
    numbers = _numbers(name, given, counts)
    ranges = list(zip(numbers[::2], numbers[1::2], strict=True))
    if any(low > high for low, high in ranges):
        raise ArgumentError(f"{name} must be (min, max) with min <= max, got {given!r}")
    return ranges


class _Warping(Transform):
    """What the three share.

    Attributes:
        mask_fill: the number beside a mask; None: a color was passed.
    """

    interpolation: Interpolation
    fill: Fill

    def resolve(self) -> None:
        fill, self.mask_fill = fills(self.fill)
        self._look = look_of(self.interpolation, fill)


class _Around(_Warping):
    """Around a point: (x, y) in pixels; None is the middle."""

    center: Sequence[float] | None

    def resolve(self) -> None:
        super().resolve()
        self._center = None if self.center is None else _numbers("center", self.center, (2,))

    def _middle(self, height: Sizes, width: Sizes) -> tuple[Floats, Floats]:
        """x and y of n images."""
        if self._center is None:
            return np.asarray(width * 0.5), np.asarray(height * 0.5)
        x, y = self._center
        return np.full(len(width), x), np.full(len(height), y)


class RandomRotation(_Around):
    """``torchvision.transforms.v2.RandomRotation``.

    Args:
        degrees: counterclockwise, drawn from (min, max), or from [-degrees, degrees].
        interpolation: nearest, bilinear or bicubic.
        expand: True: what leaves is as large as the turned image needs; False: as large as it was.
        center: (x, y) in pixels from the upper left corner; None is the middle.
        fill: the color beside the image: a number, or three, from 0 to 255; or a dict of those of "image" and of
            "mask", as torchvision's of ``tv_tensors``.
    """

    degrees: Degrees
    expand: bool

    def __init__(
        self,
        degrees: Degrees,
        interpolation: Interpolation = InterpolationMode.NEAREST,
        expand: bool = False,
        center: Sequence[float] | None = None,
        fill: Fill = 0,
    ) -> None:
        super().__init__(degrees=degrees, interpolation=interpolation, expand=expand, center=center, fill=fill)

    def resolve(self) -> None:
        super().resolve()
        (self._degrees,) = _ranges("degrees", self.degrees)

    def steps(self, height: Sizes, width: Sizes, draws: Draws) -> Steps:
        angle = draws.uniform(*self._degrees, np.arange(len(height)))
        if self.expand:
            yield Turn(*full_turn(angle, height, width, self._center), *self._look), every(height)
            return
        yield Warp(rotation(angle, *self._middle(height, width)), *self._look, angle[:, None]), every(height)


class RandomAffine(_Around):
    """``torchvision.transforms.v2.RandomAffine``.

    Args:
        degrees: clockwise, drawn from (min, max), or from [-degrees, degrees].
        translate: greatest shares, from 0 to 1, of the width and the height by which it is shifted, either way; None:
            it is not.
        scale: factor, drawn from (min, max), above 0; None is 1.
        shear: degrees, drawn for x from (min, max) or from [-shear, shear], and for y where there are four numbers.
        interpolation, fill, center: as of `RandomRotation`.
    """

    degrees: Degrees
    translate: Sequence[float] | None
    scale: Sequence[float] | None
    shear: Degrees | None

    def __init__(
        self,
        degrees: Degrees,
        translate: Sequence[float] | None = None,
        scale: Sequence[float] | None = None,
        shear: Degrees | None = None,
        interpolation: Interpolation = InterpolationMode.NEAREST,
        fill: Fill = 0,
        center: Sequence[float] | None = None,
    ) -> None:
        super().__init__(
            degrees=degrees,
            translate=translate,
            scale=scale,
            shear=shear,
            interpolation=interpolation,
            fill=fill,
            center=center,
        )

    def resolve(self) -> None:
        super().resolve()
        (self._degrees,) = _ranges("degrees", self.degrees)
        self._shares = None if self.translate is None else _numbers("translate", self.translate, (2,))
        if self._shares is not None and not all(0 <= share <= 1 for share in self._shares):
            raise ArgumentError(f"translate must be from 0 to 1, shares of width and height, got {self.translate!r}")
        self._scale = None if self.scale is None else _numbers("scale", self.scale, (2,))
        if self._scale is not None and not 0 < self._scale[0] <= self._scale[1]:
            raise ArgumentError(f"scale must be (min, max) with 0 < min <= max, got {self.scale!r}")
        self._shear = [] if self.shear is None else _ranges("shear", self.shear, (2, 4))

    def steps(self, height: Sizes, width: Sizes, draws: Draws) -> Steps:
        rows, none = np.arange(len(height)), np.zeros(len(height))
        motion = Motion(  # in the order of torchvision's draws
            angle=draws.uniform(*self._degrees, rows),
            shift_x=none if self._shares is None else _shifts(self._shares[0], width, draws),
            shift_y=none if self._shares is None else _shifts(self._shares[1], height, draws),
            scale=none + 1.0 if self._scale is None else draws.uniform(self._scale[0], self._scale[1], rows),
            shear_x=draws.uniform(*self._shear[0], rows) if self._shear else none,
            shear_y=draws.uniform(*self._shear[1], rows) if len(self._shear) == 2 else none,
        )
        numbers = self._numbers(motion, *self._middle(height, width))
        yield Warp(numbers, *self._look, np.stack(motion, axis=1)), every(height)

    def _numbers(self, motion: Motion, center_x: Floats, center_y: Floats) -> Floats:
        return affine(motion, center_x, center_y)


class FirstRandomAffine(RandomAffine):
    """``torchvision.transforms.RandomAffine``."""

    def _numbers(self, motion: Motion, center_x: Floats, center_y: Floats) -> Floats:
        return affine_of_v1(motion, center_x, center_y)


def _shifts(share: float, sizes: Sizes, draws: Draws) -> Floats:
    """(n,) whole pixels."""
    drawn = np.zeros(len(sizes))
    for size in np.unique(sizes):
        rows, most = np.flatnonzero(sizes == size), share * int(size)
        drawn[rows] = np.rint(draws.uniform(-most, most, rows))
    return drawn


class RandomPerspective(_Warping):
    """``torchvision.transforms.v2.RandomPerspective``.

    Args:
        distortion_scale: from 0 to 1: how far the corners move, as a share of half the image.
        p: the probability of it.
        interpolation, fill: as of `RandomRotation`.
    """

    distortion_scale: float
    p: float

    def __init__(
        self,
        distortion_scale: float = 0.5,
        p: float = 0.5,
        interpolation: Interpolation = InterpolationMode.BILINEAR,
        fill: Fill = 0,
    ) -> None:
        super().__init__(distortion_scale=distortion_scale, p=p, interpolation=interpolation, fill=fill)

    def resolve(self) -> None:
        super().resolve()
        self._p = probability(self.p)
        if not is_number(self.distortion_scale) or not 0 <= self.distortion_scale <= 1:
            raise ArgumentError(f"distortion_scale must be a number from 0 to 1, got {self.distortion_scale!r}")

    def steps(self, height: Sizes, width: Sizes, draws: Draws) -> Steps:
        where = chosen(self._p, height, draws)
        numbers, rows = np.zeros((len(height), 8)), np.flatnonzero(where)
        if len(rows):
            numbers[rows] = self._numbers(height[rows], width[rows], draws, rows)
        yield Warp(numbers, *self._look), where

    def _numbers(self, height: Sizes, width: Sizes, draws: Draws, rows: Rows) -> Floats:
        """(n, 8)"""
        ends = np.zeros((len(rows), 4, 2))  # of the corners, clockwise from the upper left one: x, y
        for corner, (is_right, is_low) in enumerate(((0, 0), (1, 0), (1, 1), (0, 1))):
            for axis, (is_far, size) in enumerate(((is_right, width), (is_low, height))):
                bound = (self.distortion_scale * (size // 2)).astype(np.int64) + 1
                ends[:, corner, axis] = draws.integer(bound, rows) + is_far * (size - bound)
        right, low, none = width - 1, height - 1, np.zeros_like(width)
        corners = np.stack([none, none, right, none, right, low, none, low], axis=1)
        return np.array([_solved(*of_one) for of_one in zip(corners.reshape(-1, 4, 2), ends, strict=True)])


def _solved(corners: Floats, ends: Floats) -> Floats:
    """torchvision's ``_get_perspective_coeffs``, by the same solver: (8,)."""
    x, y, one, none = ends[:, 0], ends[:, 1], np.ones(4), np.zeros(4)
    matrix = np.empty((8, 8))
    matrix[::2] = np.stack([x, y, one, none, none, none, -corners[:, 0] * x, -corners[:, 0] * y], axis=1)
    matrix[1::2] = np.stack([none, none, none, x, y, one, -corners[:, 1] * x, -corners[:, 1] * y], axis=1)
    given = torch.from_numpy(matrix), torch.from_numpy(corners.astype(np.float64).reshape(8))
    solution: torch.Tensor = torch.linalg.lstsq(*given, driver="gels").solution
    return solution.to(torch.float32).double().numpy()
