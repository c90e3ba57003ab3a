"""An image that is turned, sheared, moved or seen from aside: `Warp`, at the same size, and `Turn`, at the size that it
needs then. They are operations like those of `gpuload.recipes.ops`.

Source: Pillow 13 (``Image.transform``, ``Image.rotate``), as torchvision's functional uses it for PIL images.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from gpuload.recipes.ops import Filter, Fusing, Mask, Pixels

__all__ = [
    "WARP",
    "WARPED",
    "WARP_FILTERS",
    "Motion",
    "Turn",
    "Warp",
    "affine",
    "affine_of_v1",
    "flips",
    "full_turn",
    "rotation",
]

WARP = np.dtype(  # ``struct Warp`` of ``kernels/share.h``
    [
        ("numbers", "<f8", 8),
        ("kind", "<i4"),
        ("filter", "<i4"),
        ("height", "<i4"),  # of what leaves, in pixels
        ("width", "<i4"),
        ("fill", "u1", 4),
    ],
    align=True,
)
WARPED = 12  # of its ``enum Kind``
WARP_FILTERS = Filter.NEAREST, Filter.BILINEAR, Filter.BICUBIC  # Pillow has no others here
METHODS = {6: Image.Transform.AFFINE, 8: Image.Transform.PERSPECTIVE}
KINDS = {6: 0, 8: 1}  # ``enum Map``

Floats = NDArray[np.float64]
Sizes = NDArray[np.int64]


class Warp(NamedTuple):
    """Where each pixel comes from: ``numbers`` are Pillow's six of an affine map or eight of a perspective, for one
    sample, or (n, 6) or (n, 8) float64. ``motion`` is what they were made of, an angle or a `Motion`: (n, 1) or (n, 6).
    """

    numbers: Any
    filter: Filter
    fill: tuple[int, int, int]
    motion: Any = ()

    def size_after(self, height: Pixels, width: Pixels) -> tuple[Pixels, Pixels]:
        return height, width

    def apply(self, image: Image.Image) -> Image.Image:
        method, filter = METHODS[len(self.numbers)], Image.Resampling[self.filter.name]
        return image.transform(image.size, method, self.numbers, filter, fillcolor=self.fill)

    def fuse(self, fusing: Fusing, where: Mask) -> None:
        fusing.warp(self.warps(len(where)), where)

    def warps(self, n: int) -> NDArray[np.void]:
        """(n,) `WARP`."""
        count, made = np.shape(self.numbers)[-1], np.zeros(n, WARP)
        made["numbers"][:, :count] = self.numbers
        made["kind"], made["filter"], made["fill"][:, :3] = KINDS[count], self.filter.value, self.fill
        return made


class Turn(NamedTuple):
    """A rotation that leaves ``height`` x ``width`` pixels; ``numbers`` are six, as of `Warp`."""

    numbers: Any
    height: Pixels
    width: Pixels
    filter: Filter
    fill: tuple[int, int, int]

    def size_after(self, height: Pixels, width: Pixels) -> tuple[Pixels, Pixels]:
        return self.height, self.width

    def apply(self, image: Image.Image) -> Image.Image:
        size, filter = (int(self.width), int(self.height)), Image.Resampling[self.filter.name]
        return image.transform(size, Image.Transform.AFFINE, self.numbers, filter, fillcolor=self.fill)

    def fuse(self, fusing: Fusing, where: Mask) -> None:
        warps = Warp(self.numbers, self.filter, self.fill).warps(len(where))
        fusing.expand(warps, self.height, self.width, where)


def flips(axis: int, size: NDArray[np.int64]) -> NDArray[np.void]:
    """(n,) `WARP` that mirror n images along axis 0 or 1, of which ``size`` is the pixels: the same as a flip."""
    numbers = np.tile([1.0, 0.0, 0.0, 0.0, 1.0, 0.0], (len(size), 1))
    numbers[:, 4 if axis == 0 else 0] = -1.0
    numbers[:, 5 if axis == 0 else 2] = size
    return Warp(numbers, Filter.NEAREST, (0, 0, 0)).warps(len(size))


def _each(function: Callable[[float], float], values: Floats) -> Floats:
    """The C library's function of each: numpy's may differ in the last bit."""
    return np.array(list(map(function, values.tolist())))


def rotation(angle: Floats, center_x: Floats, center_y: Floats) -> Floats:
    """The numbers of ``Image.rotate``: degrees counterclockwise, around a point: (n, 6).

    Its ways around them, for right angles, give the same pixels.
    """
    turned = _each(lambda degrees: -math.radians(degrees % 360.0), angle)
    cosine = _each(lambda value: round(math.cos(value), 15), turned)
    sine = _each(lambda value: round(math.sin(value), 15), turned)
    x = cosine * -center_x + sine * -center_y + center_x
    y = -sine * -center_x + cosine * -center_y + center_y
    return np.stack([cosine, sine, x, -sine, cosine, y], axis=1)


def full_turn(
    angle: Floats, height: Sizes, width: Sizes, center: Sequence[float] | None
) -> tuple[Floats, Sizes, Sizes]:
    """The numbers of ``Image.rotate(expand=True)``: (n, 6), and the (n,) heights and widths that it leaves.

    Args:
        angle: degrees counterclockwise, (n,).
        height, width: pixels of n images.
        center: (x, y) in pixels; None is the middle, around which right angles leave no pixel more than there are.
    """
    none, (x, y) = np.zeros(len(angle)), (width / 2, height / 2) if center is None else center
    numbers = rotation(angle, none + x, none + y)
    across, along = _moved(numbers, np.stack([none, width, width, none]), np.stack([none, none, height, height]))
    wide = (np.ceil(across.max(0)) - np.floor(across.min(0))).astype(np.int64)
    high = (np.ceil(along.max(0)) - np.floor(along.min(0))).astype(np.int64)
    numbers[:, 2], numbers[:, 5] = _moved(numbers, -(wide - width) / 2.0, -(high - height) / 2.0)
    is_right = (angle % 180.0 == 90.0) & (center is None)
    numbers[is_right, 2] = np.where(angle % 360.0 == 90.0, width, 0)[is_right]
    numbers[is_right, 5] = np.where(angle % 360.0 == 90.0, 0, height)[is_right]
    return numbers, np.where(is_right, width, high), np.where(is_right, height, wide)


def _moved(numbers: Floats, x: Any, y: Any) -> tuple[Floats, Floats]:
    """Where n affine maps take points."""
    a, b, c, d, e, f = numbers.T
    return a * x + b * y + c, d * x + e * y + f


class Motion(NamedTuple):
    """What torchvision's ``affine`` is told of n samples, each (n,) float64: degrees clockwise, and pixels."""

    angle: Floats
    shift_x: Floats
    shift_y: Floats
    scale: Floats
    shear_x: Floats
    shear_y: Floats


def affine(motion: Motion, center_x: Floats, center_y: Floats) -> Floats:
    """The numbers of v2's ``affine``, its ``_get_inverse_affine_matrix``: (n, 6)."""
    turn, scale, shear_x, shear_y = _angles(motion)
    cosine, tangent = _each(math.cos, shear_y), _each(math.tan, shear_x)
    a, c = _each(math.cos, turn - shear_y) / cosine, _each(math.sin, turn - shear_y) / cosine
    b, d = -(a * tangent + _each(math.sin, turn)), _each(math.cos, turn) - c * tangent
    first, second, third, fourth = d / scale, -b / scale, -c / scale, a / scale
    moved_x, moved_y = center_x + motion.shift_x, center_y + motion.shift_y
    x = center_x - first * moved_x - second * moved_y
    y = center_y - third * moved_x - fourth * moved_y
    return np.stack([first, second, x, third, fourth, y], axis=1)


def affine_of_v1(motion: Motion, center_x: Floats, center_y: Floats) -> Floats:
    """The same of torchvision's first version, which rounds otherwise on its way."""
    turn, scale, shear_x, shear_y = _angles(motion)
    cosine, tangent = _each(math.cos, shear_y), _each(math.tan, shear_x)
    along, across = _each(math.cos, turn - shear_y), _each(math.sin, turn - shear_y)
    a, b = along / cosine, -along * tangent / cosine - _each(math.sin, turn)
    c, d = across / cosine, -across * tangent / cosine + _each(math.cos, turn)
    first, second, third, fourth = d / scale, -b / scale, -c / scale, a / scale
    moved_x, moved_y = -center_x - motion.shift_x, -center_y - motion.shift_y
    x = first * moved_x + second * moved_y + center_x
    y = third * moved_x + fourth * moved_y + center_y
    return np.stack([first, second, x, third, fourth, y], axis=1)


def _angles(motion: Motion) -> tuple[Floats, Floats, Floats, Floats]:
    """Turn, scale and both shears, in radians."""
    turn, shear_x, shear_y = (_each(math.radians, d) for d in (motion.angle, motion.shear_x, motion.shear_y))
    return turn, motion.scale, shear_x, shear_y
