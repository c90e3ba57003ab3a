"""What a transform becomes for one sample: steps with every number decided.

A *recipe* is the tuple of a sample's steps, in order. It is what was drawn for the sample, and can be asked
for, printed, applied with torchvision's functional of the same name, or given to any engine.
"""

from enum import Enum
from typing import NamedTuple

__all__ = ["Crop", "Filter", "Flip", "Grey", "Pad", "PadMode", "Recipe", "Resize", "Step"]


class Filter(Enum):
    """Resampling filters by Pillow's names; the values are those of ``kernels/sample.cuh``."""

    NEAREST = 0
    BOX = 1
    BILINEAR = 2
    HAMMING = 3
    BICUBIC = 4
    LANCZOS = 5


class PadMode(Enum):
    """What padding shows: a colour, the edge, or the image mirrored without or with its edge."""

    CONSTANT = 0
    EDGE = 1
    REFLECT = 2
    SYMMETRIC = 3


class Crop(NamedTuple):
    """``torchvision.transforms.v2.functional.crop``; pixels, inside the image."""

    top: int
    left: int
    height: int
    width: int


class Resize(NamedTuple):
    """``functional.resize`` to exactly height x width pixels, antialiased, as Pillow does it."""

    height: int
    width: int
    filter: Filter


class Flip(NamedTuple):
    """``functional.horizontal_flip`` or, where not horizontal, ``vertical_flip``."""

    horizontal: bool


class Pad(NamedTuple):
    """``functional.pad``: pixels to add on each side."""

    left: int
    top: int
    right: int
    bottom: int
    fill: tuple[int, int, int]
    mode: PadMode


class Grey(NamedTuple):
    """``functional.rgb_to_grayscale``. Three channels throughout: the plan knows how many leave."""


Step = Crop | Resize | Flip | Pad | Grey
Recipe = tuple[Step, ...]
