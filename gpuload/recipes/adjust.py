"""What can be done to an image's colors: `Adjust`, an operation like those of `gpuload.recipes.ops`.

Source: Pillow 13 (``ImageEnhance``, ``ImageOps``, ``ImageFilter.GaussianBlur``, ``Image.convert("HSV")``), as
torchvision's functional and timm use it for PIL images.
"""

from collections.abc import Callable
from enum import Enum
from itertools import permutations
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageEnhance, ImageFilter, ImageOps

from gpuload.recipes.ops import Fusing, Mask, Pixels

__all__ = ["ADJUSTMENT", "ORDERS", "Adjust", "Adjustment", "box_radius"]

ADJUSTMENT = np.dtype([("kind", "<i4"), ("value", "<f4")])  # ``struct Adjustment`` of ``kernels/share.h``


def _hue(image: Image.Image, shift: float) -> Image.Image:
    hue, saturation, value = image.convert("HSV").split()
    shifted = np.array(hue) + np.int32(shift).astype(np.uint8)
    return Image.merge("HSV", (Image.fromarray(shifted), saturation, value)).convert("RGB")


def _posterize(image: Image.Image, bits: float) -> Image.Image:
    """Of no bits an image is black: Pillow 13 refuses that, which timm asks for."""
    return ImageOps.posterize(image, int(bits)) if bits else Image.new("RGB", image.size)


ORDERS = list(permutations(range(3)))  # of three channels: which of them each one becomes
BOXES = 3  # of ``Image.core.gaussian_blur``


def box_radius(radius: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of the boxes that stand for a Gaussian of a radius, its standard deviation: libImaging's, in its float32.

    Args, Returns: pixels.
    """
    one = np.float32
    variance = radius.astype(one) ** 2 / one(BOXES)
    length = np.sqrt(12.0 * variance.astype(np.float64) + 1.0).astype(one)
    whole = np.floor((length.astype(np.float64) - 1.0) / 2.0).astype(one)
    more = (one(2) * whole + one(1)) * (whole * (whole + one(1)) - one(3) * variance)
    more /= one(6) * (variance - (whole + one(1)) * (whole + one(1)))
    made: NDArray[np.float64] = (whole + more).astype(np.float64)
    return made


def _blur(image: Image.Image, radius: float) -> Image.Image:
    """By its boxes, one after the other; Pillow's own would make them of the Gaussian's radius."""
    for _ in range(BOXES):
        image = image.filter(ImageFilter.BoxBlur((radius, 0)))
    for _ in range(BOXES):
        image = image.filter(ImageFilter.BoxBlur((0, radius)))
    return image


class Adjustment(Enum):
    """What is done, by the name of torchvision's functional or timm's, and what one number says of it."""

    ADJUST_BRIGHTNESS = 0  # the factor
    ADJUST_CONTRAST = 1
    ADJUST_SATURATION = 2
    ADJUST_HUE = 3  # how far the hue is shifted: 256 is once around
    ADJUST_SHARPNESS = 4  # the factor
    POSTERIZE = 5  # bits that are kept
    SOLARIZE = 6  # values from here on are inverted
    AUTOCONTRAST = 7
    EQUALIZE = 8
    GRAYSCALE = 9
    SOLARIZE_ADD = 10  # what is added to values below 128
    BLUR = 11  # the radius of each of three boxes: `box_radius`
    PERMUTE_CHANNELS = 28  # which of `ORDERS`

    def __call__(self, image: Image.Image, value: float) -> Image.Image:
        """An RGB image with that done, by Pillow."""
        return REFERENCES[self](image, value)


REFERENCES: dict[Adjustment, Callable[[Image.Image, float], Image.Image]] = {
    Adjustment.ADJUST_BRIGHTNESS: lambda image, factor: ImageEnhance.Brightness(image).enhance(factor),
    Adjustment.ADJUST_CONTRAST: lambda image, factor: ImageEnhance.Contrast(image).enhance(factor),
    Adjustment.ADJUST_SATURATION: lambda image, factor: ImageEnhance.Color(image).enhance(factor),
    Adjustment.ADJUST_HUE: _hue,
    Adjustment.ADJUST_SHARPNESS: lambda image, factor: ImageEnhance.Sharpness(image).enhance(factor),
    Adjustment.POSTERIZE: _posterize,
    Adjustment.SOLARIZE: lambda image, threshold: ImageOps.solarize(image, int(threshold)),
    Adjustment.AUTOCONTRAST: lambda image, _: ImageOps.autocontrast(image),
    Adjustment.EQUALIZE: lambda image, _: ImageOps.equalize(image),
    Adjustment.GRAYSCALE: lambda image, _: image.convert("L").convert("RGB"),
    Adjustment.SOLARIZE_ADD: lambda image, added: image.point(
        [min(255, value + int(added)) if value < 128 else value for value in range(256)] * 3
    ),
    Adjustment.BLUR: _blur,
    Adjustment.PERMUTE_CHANNELS: lambda image, number: Image.merge(
        "RGB", [image.getchannel(channel) for channel in ORDERS[int(number)]]
    ),
}


class Adjust(NamedTuple):
    """An adjustment of colors; ``value`` is what it says of that, a float for one sample or (n,) float64."""

    adjustment: Adjustment
    value: Any = 0.0

    def size_after(self, height: Pixels, width: Pixels) -> tuple[Pixels, Pixels]:
        return height, width

    def apply(self, image: Image.Image) -> Image.Image:
        return self.adjustment(image, float(self.value))

    def fuse(self, fusing: Fusing, where: Mask) -> None:
        fusing.adjust(self.adjustment.value, self.value, where)
