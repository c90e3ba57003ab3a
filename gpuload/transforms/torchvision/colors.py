"""torchvision's transforms of colors. It has other ones for tensors than for PIL images."""

import math
from typing import Any

from gpuload.transforms.adjust import (
    ColorJitter,
    RandomAdjustSharpness,
    RandomAutocontrast,
    RandomChannelPermutation,
    RandomEqualize,
    RandomInvert,
    RandomPhotometricDistort,
    RandomPosterize,
    RandomSolarize,
)
from gpuload.transforms.base import Transform
from gpuload.transforms.color import RGB, Grayscale, RandomGrayscale
from gpuload.transforms.gaussian_blur import FirstGaussianBlur, GaussianBlur
from gpuload.transforms.hand import Form, Hand, Maker, Native
from gpuload.transforms.torchvision.common import V1, V2, is_v1

__all__ = ["MAKERS"]


def _grayscale(transform: Any, hand: Hand) -> Native | None:
    return [Grayscale(transform.num_output_channels)] if hand.form is Form.PIL else None


def _random_grayscale(transform: Any, hand: Hand) -> Native | None:
    return [RandomGrayscale(transform.p)] if hand.form is Form.PIL else None


def _rgb(transform: Any, hand: Hand) -> Native | None:
    return None if hand.floats else [RGB()]


def _color_jitter(transform: Any, hand: Hand) -> Native | None:
    spans = [getattr(transform, name) for name in ("brightness", "contrast", "saturation", "hue")]
    jitter = ColorJitter(*spans)
    draws_alike = jitter.ranges == [span and tuple(span) for span in spans]  # whatever was put there since
    return [jitter] if draws_alike and hand.form is Form.PIL else None


def _adjusting(kind: type[Transform], *names: str) -> Maker:
    """With these attributes, and ``p``."""

    def make(transform: Any, hand: Hand) -> Native | None:
        arguments = {name: getattr(transform, name) for name in names}
        # v1 compares doubles: with float32, which draws are whole 2**-24th of, that is the next one
        p = math.ceil(transform.p * 2**24) / 2**24 if is_v1(transform) else transform.p
        return [kind(**arguments, p=p)] if hand.form is Form.PIL else None

    return make


def _gaussian_blur(transform: Any, hand: Hand) -> Native | None:
    """Of one channel, torch's convolution is another one."""
    (x, y), (low, high) = transform.kernel_size, transform.sigma
    if hand.form is not Form.PIL or hand.channels != 3 or not isinstance(transform.kernel_size, list | tuple):
        return None
    return [(FirstGaussianBlur if is_v1(transform) else GaussianBlur)((x, y), (low, high))]


def _channel_permutation(transform: Any, hand: Hand) -> Native | None:
    return [RandomChannelPermutation()] if hand.form is Form.PIL and hand.channels == 3 else None


def _photometric_distort(transform: Any, hand: Hand) -> Native | None:
    given = [getattr(transform, name) for name in ("brightness", "contrast", "saturation", "hue", "p")]
    return [RandomPhotometricDistort(*given)] if hand.form is Form.PIL and hand.channels == 3 else None


BY_NAME: dict[str, Maker] = {
    "Grayscale": _grayscale,
    "RandomGrayscale": _random_grayscale,
    "ColorJitter": _color_jitter,
    "RandomAdjustSharpness": _adjusting(RandomAdjustSharpness, "sharpness_factor"),
    "RandomPosterize": _adjusting(RandomPosterize, "bits"),
    "RandomSolarize": _adjusting(RandomSolarize, "threshold"),
    "RandomInvert": _adjusting(RandomInvert),
    "RandomAutocontrast": _adjusting(RandomAutocontrast),
    "RandomEqualize": _adjusting(RandomEqualize),
}
OF_V2: dict[str, Maker] = {
    "RGB": _rgb,
    "RandomChannelPermutation": _channel_permutation,
    "RandomPhotometricDistort": _photometric_distort,
}
MAKERS = {f"{module}{name}": maker for module in (V1, f"{V2}_color.") for name, maker in BY_NAME.items()}
MAKERS |= {f"{V2}_color.{name}": maker for name, maker in OF_V2.items()}
MAKERS |= {f"{V1}GaussianBlur": _gaussian_blur, f"{V2}_misc.GaussianBlur": _gaussian_blur}
