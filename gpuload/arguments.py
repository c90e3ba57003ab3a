"""What a user passes, checked: each function returns the value in its plain form, or says what is allowed."""

import math
import numbers
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from gpuload.errors import ArgumentError, ArgumentTypeError

__all__ = [
    "at_least",
    "color",
    "epoch_number",
    "fills",
    "is_number",
    "margins",
    "pair",
    "probability",
    "range_of",
    "seed_or_new",
]


def _is_int(value: object) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def is_number(value: object) -> bool:
    """A finite real number, and no bool."""
    return isinstance(value, numbers.Real) and not isinstance(value, bool) and math.isfinite(value)


def at_least(name: str, value: Any, least: int, unit: str = "") -> int:
    """An int, no smaller than ``least``."""
    if not _is_int(value):
        raise ArgumentTypeError(f"{name} must be an int, got {value!r} ({type(value).__name__})")
    if value < least:
        raise ArgumentError(f"{name} must be at least {least}{unit}, got {value}")
    return int(value)


def pair(name: str, size: int | Sequence[int]) -> tuple[int, int]:
    """(height, width) in pixels: an int or a sequence of one gives a square."""
    sizes = list(size) if isinstance(size, Sequence) else [size]
    if isinstance(size, str) or len(sizes) not in (1, 2):
        raise ArgumentError(f"{name} must be an int or (height, width), got {size!r}")
    checked = [at_least(name, one, 1, " pixel") for one in sizes]
    return checked[0], checked[-1]


def probability(p: float) -> float:
    """From 0 to 1, as the float32 that torchvision compares."""
    if not is_number(p):
        raise ArgumentTypeError(f"p must be a number, got {p!r}")
    if not 0.0 <= p <= 1.0:
        raise ArgumentError(f"p must be a probability between 0 and 1, got {p}")
    return float(np.float32(p))


def range_of(name: str, values: Sequence[float], lowest: float) -> tuple[float, float]:
    """(min, max), no smaller than ``lowest``, and not 0 alone."""
    is_pair = isinstance(values, Sequence) and not isinstance(values, str) and len(values) == 2
    if not is_pair or not all(is_number(value) for value in values):
        raise ArgumentTypeError(f"{name} must be two numbers (min, max), got {values!r}")
    low, high = values
    if low > high or low < lowest or high <= 0:
        raise ArgumentError(f"{name} must be (min, max) with {lowest} <= min <= max and max > 0, got {values!r}")
    return float(low), float(high)


def margins(padding: int | Sequence[int]) -> tuple[int, int, int, int]:
    """(left, top, right, bottom) in pixels, of torchvision's one, two or four numbers, any of them negative."""
    values = list(padding) if isinstance(padding, Sequence) else [padding]
    if isinstance(padding, str) or len(values) not in (1, 2, 4):
        raise ArgumentError(f"padding must be an int, or 1, 2 or 4 of them, got {padding!r}")
    for value in values:
        if not _is_int(value):
            raise ArgumentTypeError(f"padding must be an int, got {value!r} ({type(value).__name__})")
    left, top, right, bottom = (int(value) for value in (values * 4)[:4])
    return left, top, right, bottom


def color(fill: Any) -> tuple[int, int, int]:
    """(red, green, blue), 0 to 255: of one number, or three."""
    values = list(fill) if isinstance(fill, Sequence) and not isinstance(fill, str) else [0 if fill is None else fill]
    if len(values) not in (1, 3) or not all(is_number(value) for value in values):
        raise ArgumentTypeError(f"fill must be a number or three (red, green, blue), got {fill!r}")
    if not all(0 <= value <= 255 and value == int(value) for value in values):
        raise ArgumentError(f"fill must be integers from 0 to 255, got {fill!r}")
    red, green, blue = (int(value) for value in (values * 3)[:3])
    return red, green, blue


def fills(fill: Any) -> tuple[tuple[int, int, int], int | None]:
    """(color of images, number of masks), each 0 to 255, of one for both or of a dict as torchvision has it.

    Args:
        fill: as of `color`; or a dict with ``tv_tensors.Image`` or "image", ``tv_tensors.Mask`` or "mask", "others".

    Returns:
        The number is None where masks have none: a sequence is a color.
    """
    if not isinstance(fill, Mapping):
        return color(fill), _of_masks(fill)
    named = {str(getattr(key, "__name__", key)).lower(): value for key, value in fill.items()}
    if not named.keys() <= {"image", "mask", "others"}:
        raise ArgumentError(f"fill must be for Image, Mask or 'others', got {fill!r}")
    others = named.get("others", 0)
    return color(named.get("image", others)), _of_masks(named.get("mask", others))


def _of_masks(fill: Any) -> int | None:
    return None if isinstance(fill, Sequence) else color(fill)[0]


def seed_or_new(seed: int | None, generator: torch.Generator | None = None) -> int:
    """The seed itself, 64 bits; None: one drawn from ``generator`` or, like torch, from its default generator."""
    if seed is None:
        return int(torch.empty((), dtype=torch.int64).random_(generator=generator).item())
    return _below("seed", seed, 64, "an int or None")


def epoch_number(epoch: int) -> int:
    """The number of an epoch, 32 bits."""
    return _below("epoch", epoch, 32, "an int")


def _below(name: str, value: Any, bits: int, kind: str) -> int:
    if not _is_int(value):
        raise ArgumentTypeError(f"{name} must be {kind}, got {value!r}")
    if not 0 <= value < 1 << bits:
        raise ArgumentError(f"{name} must be from 0 to 2^{bits} - 1, got {value}")
    return int(value)
