"""What can be done to an image. Each operation owns all that is known of it: the size it leaves, how Pillow does
it (the definition that every engine meets, bit for bit), and how it fuses into the kernels' records.

The fields of an operation are ints for one sample, or arrays of n for a batch; what does not differ between
samples (a filter, a color) stays one value. `Recipe` is one sample's operations, in order.

Source: Pillow 13 (``Image.resize``, ``crop``, ``transpose``, ``convert("L")``, ``ImageOps.expand``) and, for
padding modes, ``numpy.pad``, as torchvision's functional of the same name does it for PIL images. Torch's own
filters are ``torch.nn.functional.interpolate``, as torchvision's v2 resizes 8-bit tensors with it on a CPU.
"""

from enum import Enum
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image, ImageOps

__all__ = [
    "Crop",
    "Filter",
    "Flip",
    "Fusing",
    "Grayscale",
    "Mask",
    "Op",
    "Pad",
    "PadMode",
    "Pixels",
    "Recipe",
    "Resize",
]

Pixels = Any  # an int for one sample, or (n,) int64
Mask = NDArray[np.bool_]  # (n,): the samples that an operation is for


class Filter(Enum):
    """Resampling filters, Pillow's and torch's, each by its own names; the values are those of ``kernels/record.cuh``.

    Of the same name, the two give different pixels: torch's weights have 16 bits where Pillow's have 22, its
    horizontal pass is always the first, and its nearest pixel lies at another place.
    """

    NEAREST = 0
    BOX = 1
    BILINEAR = 2
    HAMMING = 3
    BICUBIC = 4
    LANCZOS = 5
    TORCH_BILINEAR = 6
    TORCH_BICUBIC = 7
    TORCH_LANCZOS = 8
    TORCH_NEAREST = 9

    @property
    def torch_mode(self) -> str | None:
        """The ``mode`` of torch's ``interpolate``; None: the filter is Pillow's."""
        return self.name.removeprefix("TORCH_").lower() if self.name.startswith("TORCH_") else None


class PadMode(Enum):
    """What padding shows: a color, the edge, or the image mirrored without or with its edge."""

    CONSTANT = 0
    EDGE = 1
    REFLECT = 2
    SYMMETRIC = 3


class Fusing(Protocol):
    """What operations fuse into, for n samples; ``where`` says which of them an operation is for."""

    def crop(self, top: Any, left: Any, height: Any, width: Any, where: Mask) -> None:
        """Keep a part."""

    def resize(self, height: Any, width: Any, filter: int, where: Mask) -> None:
        """Resample."""

    def flip(self, axis: int, where: Mask) -> None:
        """Mirror along axis 0 (vertically) or 1."""

    def pad(self, before: Any, after: Any, fill: tuple[int, int, int], mode: int, where: Mask) -> None:
        """Add pixels; before: (top, left), after: (bottom, right)."""

    def grayscale(self, where: Mask) -> None:
        """Replace each pixel by its luma."""

    def adjust(self, kind: int, value: Any, where: Mask) -> None:
        """Adjust the colors."""

    def warp(self, warps: NDArray[np.void], where: Mask) -> None:
        """Move each pixel, at the same size: (n,) `WARP`."""

    def expand(self, warps: NDArray[np.void], height: Any, width: Any, where: Mask) -> None:
        """Move each pixel, into an image of another size."""

    def erase(self, rectangles: NDArray[np.void], where: Mask) -> None:
        """Other values for a rectangle of what leaves: (n,) `RECTANGLE`."""

    def mix(self, kind: int, value: Any, where: Mask) -> None:
        """A step in torch's arithmetic; what follows it is another stage, but for colors, and flips by warps."""

    def refuse(self, where: Mask) -> None:
        """Leave these samples to Pillow, operation by operation."""


class Op(Protocol):
    """An operation on 8-bit RGB images."""

    def size_after(self, height: Pixels, width: Pixels) -> tuple[Pixels, Pixels]:
        """The (height, width) that it leaves of such an image."""

    def apply(self, image: Image.Image) -> Image.Image:
        """One sample's operation on an RGB image, with Pillow."""

    def fuse(self, fusing: Fusing, where: Mask) -> None:
        """Add it for the samples ``where``; what cannot be added is refused."""


Recipe = tuple[Any, ...]  # of Op; each also a NamedTuple, so that it prints, compares and unpacks


class Crop(NamedTuple):
    """``torchvision.transforms.v2.functional.crop``; pixels, inside the image."""

    top: Pixels
    left: Pixels
    height: Pixels
    width: Pixels

    def size_after(self, height: Pixels, width: Pixels) -> tuple[Pixels, Pixels]:
        return self.height, self.width

    def apply(self, image: Image.Image) -> Image.Image:
        top, left, height, width = map(int, self)
        return image.crop((left, top, left + width, top + height))

    def fuse(self, fusing: Fusing, where: Mask) -> None:
        fusing.crop(self.top, self.left, self.height, self.width, where)


class Resize(NamedTuple):
    """``functional.resize`` to exactly height x width pixels, antialiased, as Pillow does it; with a filter of torch's,
    as torch does it with the same pixels in a uint8 tensor.
    """

    height: Pixels
    width: Pixels
    filter: Filter

    def size_after(self, height: Pixels, width: Pixels) -> tuple[Pixels, Pixels]:
        return self.height, self.width

    def apply(self, image: Image.Image) -> Image.Image:
        height, width = int(self.height), int(self.width)
        if self.filter.torch_mode is not None:
            return _interpolate(image, height, width, self.filter.torch_mode)
        return image.resize((width, height), Image.Resampling[self.filter.name])

    def fuse(self, fusing: Fusing, where: Mask) -> None:
        fusing.resize(self.height, self.width, self.filter.value, where)


class Flip(NamedTuple):
    """``functional.horizontal_flip`` or, where not horizontal, ``vertical_flip``."""

    horizontal: bool

    def size_after(self, height: Pixels, width: Pixels) -> tuple[Pixels, Pixels]:
        return height, width

    def apply(self, image: Image.Image) -> Image.Image:
        ways = Image.Transpose
        return image.transpose(ways.FLIP_LEFT_RIGHT if self.horizontal else ways.FLIP_TOP_BOTTOM)

    def fuse(self, fusing: Fusing, where: Mask) -> None:
        fusing.flip(int(self.horizontal), where)


class Pad(NamedTuple):
    """``functional.pad``: pixels to add on each side; ``mask_fill`` is the color of an image's mask."""

    left: Pixels
    top: Pixels
    right: Pixels
    bottom: Pixels
    fill: tuple[int, int, int]
    mode: PadMode
    mask_fill: int | None = 0

    def size_after(self, height: Pixels, width: Pixels) -> tuple[Pixels, Pixels]:
        return height + self.top + self.bottom, width + self.left + self.right

    def apply(self, image: Image.Image) -> Image.Image:
        left, top, right, bottom = (int(margin) for margin in self[:4])
        if self.mode is PadMode.CONSTANT:
            return ImageOps.expand(image, (left, top, right, bottom), self.fill)
        margins = ((top, bottom), (left, right), (0, 0))
        mode: Any = self.mode.name.lower()
        return Image.fromarray(np.pad(np.asarray(image), margins, mode=mode))

    def fuse(self, fusing: Fusing, where: Mask) -> None:
        fusing.pad((self.top, self.left), (self.bottom, self.right), self.fill, self.mode.value, where)


class Grayscale(NamedTuple):
    """``functional.rgb_to_grayscale``. Three channels throughout: the plan knows how many leave."""

    def size_after(self, height: Pixels, width: Pixels) -> tuple[Pixels, Pixels]:
        return height, width

    def apply(self, image: Image.Image) -> Image.Image:
        return image.convert("L").convert("RGB")

    def fuse(self, fusing: Fusing, where: Mask) -> None:
        fusing.grayscale(where)


def _interpolate(image: Image.Image, height: int, width: int, mode: str) -> Image.Image:
    """Torch's resize of an image's pixels, as a tensor of bytes."""
    pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1)
    resized = F.interpolate(pixels[None], (height, width), mode=mode, antialias=not mode.startswith("nearest"))
    return Image.fromarray(resized[0].permute(1, 2, 0).contiguous().numpy())
