"""Transforms under torchvision v2's names and arguments.

They are descriptions: a `Compose` compiles once into a plan, and whoever holds the pixels runs it — Pillow in
``dataset[i]``, one kernel per batch in the loader. All of them are defined as torchvision defines them for
PIL images, so resizing is Pillow's and always antialiased. Called on a PIL image, a transform returns a
(C, H, W) tensor, with the random numbers that torchvision would draw from torch's generator.

Sizes are (height, width) in pixels.
"""

import math
from collections.abc import Callable, Sequence
from enum import Enum
from typing import Any

import numpy as np
import torch
from PIL import Image

from gpuload.arguments import at_least, colour, is_number, margins, pair, probability, range_of
from gpuload.draws import Draws, TorchDraws
from gpuload.errors import ArgumentError, ArgumentTypeError
from gpuload.plan import Plan
from gpuload.steps import Crop, Filter, Flip, Grey, Pad as PadStep, PadMode, Recipe, Resize as ResizeStep

__all__ = [
    "RGB",
    "CenterCrop",
    "Compose",
    "Grayscale",
    "InterpolationMode",
    "Normalize",
    "PILToTensor",
    "Pad",
    "RandomCrop",
    "RandomGrayscale",
    "RandomHorizontalFlip",
    "RandomResizedCrop",
    "RandomVerticalFlip",
    "Resize",
    "ToDtype",
    "ToImage",
    "Transform",
]


class InterpolationMode(Enum):
    """torchvision's names for the resampling filters; its own enum, strings and Pillow's integers work too."""

    NEAREST = "nearest"
    NEAREST_EXACT = "nearest-exact"
    BILINEAR = "bilinear"
    BICUBIC = "bicubic"
    BOX = "box"
    HAMMING = "hamming"
    LANCZOS = "lanczos"


Interpolation = InterpolationMode | str | int | Enum
PILLOW_CODES = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic", 4: "box", 5: "hamming"}


# ---- arguments ----


def _filter(interpolation: Interpolation) -> Filter:
    name: Any = interpolation.value if isinstance(interpolation, Enum) else interpolation
    name = PILLOW_CODES.get(name, name) if isinstance(name, int) else name
    allowed = [mode.value for mode in InterpolationMode]
    if name not in allowed:
        raise ArgumentError(f"interpolation must be one of {', '.join(allowed)}, got {interpolation!r}")
    return Filter[name.removesuffix("-exact").upper()]


def _pad_mode(padding_mode: str) -> PadMode:
    allowed = [mode.name.lower() for mode in PadMode]
    if padding_mode not in allowed:
        raise ArgumentError(f"padding_mode must be one of {', '.join(allowed)}, got {padding_mode!r}")
    return PadMode[padding_mode.upper()]


# ---- the transforms ----


class Transform:
    """Base of gpuload's transforms."""

    channels: int | None = None
    floats: bool = False

    def __init__(self, **arguments: Any) -> None:
        self._arguments = arguments

    def __repr__(self) -> str:
        shown = ", ".join(f"{name}={value!r}" for name, value in self._arguments.items())
        return f"{type(self).__name__}({shown})"

    def __call__(self, image: Any) -> Any:
        """The transform of one image, on the CPU.

        Args:
            image: PIL image, or (C, H, W) uint8 tensor with C = 1 or 3.

        Returns:
            (C, H, W) tensor.
        """
        return Plan([self])(_as_pil(image), TorchDraws())


def _as_pil(image: Any) -> Image.Image:
    if isinstance(image, Image.Image):
        return image
    if isinstance(image, torch.Tensor) and image.dtype == torch.uint8 and image.ndim == 3 and len(image) in (1, 3):
        pixels = image.cpu().permute(1, 2, 0).numpy()
        return Image.fromarray(np.ascontiguousarray(np.broadcast_to(pixels, (*pixels.shape[:2], 3))))
    shown = f"{image.dtype} tensor of shape {tuple(image.shape)}" if isinstance(image, torch.Tensor) else repr(image)
    raise ArgumentTypeError(f"expected a PIL image or a uint8 tensor of shape (1 or 3, H, W), got {shown}")


class Compose(Transform):
    """``torchvision.transforms.v2.Compose``: transforms in order; those of gpuload become one plan.

    Args:
        transforms: gpuload transforms, nested Compose allowed. Callables of your own may stand at the end: each
            gets the (C, H, W) tensor of one sample, after the plan.

    Attributes:
        transforms: as given, nested ones flattened.
        plan: what they compiled to.
    """

    def __init__(self, transforms: Sequence[Callable[[Any], Any]]) -> None:
        if not isinstance(transforms, Sequence) or isinstance(transforms, str):
            raise ArgumentTypeError(f"Compose takes a list of transforms, got {transforms!r}")
        flat: list[Callable[[Any], Any]] = []
        for transform in transforms:
            flat += transform.transforms if isinstance(transform, Compose) else [transform]
        super().__init__(transforms=flat)
        self.transforms: list[Callable[[Any], Any]] = flat
        self.plan = Plan(flat)

    def __call__(self, image: Any) -> Any:
        return self.plan(_as_pil(image), TorchDraws())


class Resize(Transform):
    """``torchvision.transforms.v2.Resize``: the shorter edge to ``size`` pixels, or to exactly (height, width).

    Args:
        size: int for the shorter edge, or (height, width); None, with ``max_size``, for the longer edge.
        interpolation: filter; always antialiased, as Pillow is.
        max_size: most pixels of the longer edge; only where ``size`` is one int or None.
        antialias: accepted and without effect, as in torchvision for PIL images.
    """

    def __init__(
        self,
        size: int | Sequence[int] | None,
        interpolation: Interpolation = InterpolationMode.BILINEAR,
        max_size: int | None = None,
        antialias: bool | None = True,
    ) -> None:
        super().__init__(size=size, interpolation=interpolation, max_size=max_size)
        sizes = pair("size", size) if size is not None else None
        self._exact = sizes if isinstance(size, Sequence) and len(size) == 2 else None
        self._edge = sizes[0] if sizes is not None else None
        if max_size is not None:
            at_least("max_size", max_size, 1, " pixel")
            if self._exact is not None:
                raise ArgumentError(f"max_size={max_size} goes with one int as size, got size={size!r}")
            if self._edge is not None and max_size <= self._edge:
                raise ArgumentError(f"max_size must be greater than size={self._edge}, got {max_size}")
        elif sizes is None:
            raise ArgumentError("size must be an int or (height, width), or None with max_size; got size=None")
        self._max_size = max_size
        self._filter = _filter(interpolation)

    def size_of(self, height: int, width: int) -> tuple[int, int]:
        """The (height, width) that an image of height x width pixels gets."""
        if self._exact is not None:
            return self._exact
        short, long = min(height, width), max(height, width)
        if self._edge is None:
            assert self._max_size is not None
            new_short, new_long = int(self._max_size * short / long), self._max_size
        else:
            new_short, new_long = self._edge, int(self._edge * long / short)
            if self._max_size is not None and new_long > self._max_size:
                new_short, new_long = int(self._max_size * new_short / new_long), self._max_size
        size = (new_long, new_short) if width <= height else (new_short, new_long)
        if min(size) < 1:
            raise ArgumentError(f"{self!r} leaves no pixels of an image of {height} x {width}")
        return size

    def steps(self, height: int, width: int, draws: Draws) -> Recipe:
        size = self.size_of(height, width)
        return () if size == (height, width) else (ResizeStep(*size, self._filter),)


class CenterCrop(Transform):
    """``torchvision.transforms.v2.CenterCrop``: the middle ``size`` pixels; smaller images are padded with 0.

    Args:
        size: int for a square, or (height, width).
    """

    floats = True

    def __init__(self, size: int | Sequence[int]) -> None:
        super().__init__(size=size)
        self._size = pair("size", size)

    def steps(self, height: int, width: int, draws: Draws) -> Recipe:
        crop_height, crop_width = self._size
        recipe: Recipe = ()
        if crop_height > height or crop_width > width:
            left, top = max(crop_width - width, 0) // 2, max(crop_height - height, 0) // 2
            right, bottom = max(crop_width - width + 1, 0) // 2, max(crop_height - height + 1, 0) // 2
            recipe = (PadStep(left, top, right, bottom, (0, 0, 0), PadMode.CONSTANT),)
            height, width = height + top + bottom, width + left + right
        if (height, width) == self._size:
            return recipe
        top, left = round((height - crop_height) / 2.0), round((width - crop_width) / 2.0)
        return (*recipe, Crop(top, left, crop_height, crop_width))


class RandomCrop(Transform):
    """``torchvision.transforms.v2.RandomCrop``: ``size`` pixels from anywhere in the (padded) image.

    Args:
        size: int for a square, or (height, width).
        padding: pixels to add first: one for all sides, two for (left and right, top and bottom), or four for
            left, top, right, bottom.
        pad_if_needed: pad images that are smaller than ``size``; without it they raise.
        fill: colour of constant padding, one number or (red, green, blue), 0 to 255.
        padding_mode: constant, edge, reflect or symmetric.
    """

    def __init__(
        self,
        size: int | Sequence[int],
        padding: int | Sequence[int] | None = None,
        pad_if_needed: bool = False,
        fill: Any = 0,
        padding_mode: str = "constant",
    ) -> None:
        super().__init__(size=size, padding=padding, pad_if_needed=pad_if_needed, fill=fill, padding_mode=padding_mode)
        self._size = pair("size", size)
        self._margins = margins(padding) if padding is not None else (0, 0, 0, 0)
        self._pad_if_needed = pad_if_needed
        self._fill, self._mode = colour(fill), _pad_mode(padding_mode)
        self.floats = padding is None and not pad_if_needed

    def steps(self, height: int, width: int, draws: Draws) -> Recipe:
        crop_height, crop_width = self._size
        left, top, right, bottom = self._margins
        if self._pad_if_needed:
            down = max(crop_height - (height + top + bottom), 0)
            across = max(crop_width - (width + left + right), 0)
            left, top, right, bottom = left + across, top + down, right + across, bottom + down
        padded_height, padded_width = height + top + bottom, width + left + right
        if padded_height < crop_height or padded_width < crop_width:
            raise ArgumentError(
                f"a crop of {crop_height} x {crop_width} pixels is larger than the image "
                f"({padded_height} x {padded_width}): resize it first, or pass pad_if_needed=True"
            )
        recipe: Recipe = ()
        if left or top or right or bottom:
            recipe = (PadStep(left, top, right, bottom, self._fill, self._mode),)
        if (padded_height, padded_width) == self._size:
            return recipe
        at_y = draws.integer(padded_height - crop_height + 1) if padded_height > crop_height else 0
        at_x = draws.integer(padded_width - crop_width + 1) if padded_width > crop_width else 0
        return (*recipe, Crop(at_y, at_x, crop_height, crop_width))


class RandomResizedCrop(Transform):
    """``torchvision.transforms.v2.RandomResizedCrop``: a random part of the image, resized to ``size``.

    Args:
        size: int for a square, or (height, width).
        scale: least and most of the image's area.
        ratio: least and most of width / height; drawn evenly on a logarithmic scale.
        interpolation: filter; always antialiased, as Pillow is.
        antialias: accepted and without effect, as in torchvision for PIL images.
    """

    def __init__(
        self,
        size: int | Sequence[int],
        scale: Sequence[float] = (0.08, 1.0),
        ratio: Sequence[float] = (3.0 / 4.0, 4.0 / 3.0),
        interpolation: Interpolation = InterpolationMode.BILINEAR,
        antialias: bool | None = True,
    ) -> None:
        super().__init__(size=size, scale=scale, ratio=ratio, interpolation=interpolation)
        self._size = pair("size", size)
        self._scale = range_of("scale", scale, 0.0)
        self._ratio = range_of("ratio", ratio, 1e-6)
        logs = torch.log(torch.tensor(self._ratio))  # in float32, as torchvision has them
        self._log_ratio = float(logs[0]), float(logs[1])
        self._filter = _filter(interpolation)

    def steps(self, height: int, width: int, draws: Draws) -> Recipe:
        crop = self._crop(height, width, draws)
        if (crop.height, crop.width) == self._size:
            return (crop,)
        return crop, ResizeStep(*self._size, self._filter)

    def _crop(self, height: int, width: int, draws: Draws) -> Crop:
        area = height * width
        for _ in range(10):
            target = area * draws.uniform(*self._scale)
            ratio = draws.log_uniform(*self._log_ratio)
            w, h = round(math.sqrt(target * ratio)), round(math.sqrt(target / ratio))
            if 0 < w <= width and 0 < h <= height:
                top = draws.integer(height - h + 1)
                return Crop(top, draws.integer(width - w + 1), h, w)
        return self._central(height, width)

    def _central(self, height: int, width: int) -> Crop:
        """After ten tries: the largest crop in the middle with an allowed ratio."""
        low, high = self._ratio
        h, w = height, width
        if width / height < low:
            h = round(width / low)
        elif width / height > high:
            w = round(height * high)
        return Crop((height - h) // 2, (width - w) // 2, h, w)


class _RandomFlip(Transform):
    floats = True
    horizontal: bool

    def __init__(self, p: float = 0.5) -> None:
        super().__init__(p=p)
        self._p = probability(p)

    def steps(self, height: int, width: int, draws: Draws) -> Recipe:
        return (Flip(self.horizontal),) if draws.uniform(0.0, 1.0) < self._p else ()


class RandomHorizontalFlip(_RandomFlip):
    """``torchvision.transforms.v2.RandomHorizontalFlip``: left and right swapped with probability ``p``."""

    horizontal = True


class RandomVerticalFlip(_RandomFlip):
    """``torchvision.transforms.v2.RandomVerticalFlip``: top and bottom swapped with probability ``p``."""

    horizontal = False


class Pad(Transform):
    """``torchvision.transforms.v2.Pad``: pixels added around the image.

    Args:
        padding: one for all sides, two for (left and right, top and bottom), or four for left, top, right,
            bottom.
        fill: colour of constant padding, one number or (red, green, blue), 0 to 255.
        padding_mode: constant, edge, reflect or symmetric.
    """

    def __init__(self, padding: int | Sequence[int], fill: Any = 0, padding_mode: str = "constant") -> None:
        super().__init__(padding=padding, fill=fill, padding_mode=padding_mode)
        self._step = PadStep(*margins(padding), colour(fill), _pad_mode(padding_mode))

    def steps(self, height: int, width: int, draws: Draws) -> Recipe:
        return (self._step,)


class Grayscale(Transform):
    """``torchvision.transforms.v2.Grayscale``, as Pillow computes it: (19595 R + 38470 G + 7471 B + 32768) >> 16.

    Args:
        num_output_channels: 1, or 3 equal ones.
    """

    def __init__(self, num_output_channels: int = 1) -> None:
        super().__init__(num_output_channels=num_output_channels)
        if num_output_channels not in (1, 3):
            raise ArgumentError(f"num_output_channels must be 1 or 3, got {num_output_channels!r}")
        self.channels = num_output_channels

    def steps(self, height: int, width: int, draws: Draws) -> Recipe:
        return (Grey(),)


class RandomGrayscale(Transform):
    """``torchvision.transforms.v2.RandomGrayscale``: grey with probability ``p``, channels as before."""

    def __init__(self, p: float = 0.1) -> None:
        super().__init__(p=p)
        self._p = probability(p)

    def steps(self, height: int, width: int, draws: Draws) -> Recipe:
        return (Grey(),) if draws.uniform(0.0, 1.0) < self._p else ()


class RGB(Transform):
    """``torchvision.transforms.v2.RGB``: three channels, a grey one repeated."""

    channels = 3

    def steps(self, height: int, width: int, draws: Draws) -> Recipe:
        return ()


class ToImage(Transform):
    """``torchvision.transforms.v2.ToImage``: without effect here, gpuload's images are tensors already."""

    floats = True

    def steps(self, height: int, width: int, draws: Draws) -> Recipe:
        return ()


class PILToTensor(ToImage):
    """``torchvision.transforms.v2.PILToTensor``: without effect here, gpuload's images are tensors already."""


DTYPES = (torch.uint8, torch.float16, torch.bfloat16, torch.float32)


class ToDtype(Transform):
    """``torchvision.transforms.v2.ToDtype``.

    Args:
        dtype: torch.uint8, float16, bfloat16 or float32.
        scale: True maps 0..255 to 0..1 (times 1/255, in ``dtype``, as torchvision v2 computes it).
    """

    def __init__(self, dtype: torch.dtype, scale: bool = False) -> None:
        super().__init__(dtype=dtype, scale=scale)
        if dtype not in DTYPES:
            allowed = ", ".join(str(d) for d in DTYPES)
            raise ArgumentTypeError(f"dtype must be one of {allowed}, got {dtype!r}")
        self.dtype, self.scale = dtype, scale

    def values(self, image: torch.Tensor) -> torch.Tensor:
        if image.dtype == self.dtype or not self.scale or image.is_floating_point() == self.dtype.is_floating_point:
            return image.to(self.dtype)
        if self.dtype.is_floating_point:
            return image.to(self.dtype).mul_(1.0 / 255)
        return image.mul(255 + 1.0 - 1e-3).to(self.dtype)


class Normalize(Transform):
    """``torchvision.transforms.v2.Normalize``: (image - mean) / std, channel by channel, in the image's dtype.

    Args:
        mean, std: a number, or one for each channel; std not 0.
        inplace: accepted and without effect.
    """

    def __init__(self, mean: Sequence[float] | float, std: Sequence[float] | float, inplace: bool = False) -> None:
        super().__init__(mean=mean, std=std)
        self._mean, self._std = self._per_channel("mean", mean), self._per_channel("std", std)
        if 0.0 in self._std:
            raise ArgumentError(f"std must not be 0, got {std!r}")

    @staticmethod
    def _per_channel(name: str, values: Any) -> list[float]:
        values = values.tolist() if isinstance(values, torch.Tensor | np.ndarray) else values
        listed = list(values) if isinstance(values, Sequence) and not isinstance(values, str) else [values]
        if not all(is_number(v) for v in listed):
            raise ArgumentTypeError(f"{name} must be numbers, got {values!r}")
        if len(listed) not in (1, 3):
            raise ArgumentError(f"{name} must have 1 or 3 values, one for each channel, got {len(listed)}: {values!r}")
        return [float(v) for v in listed]

    def values(self, image: torch.Tensor) -> torch.Tensor:
        if not image.is_floating_point():
            raise ArgumentError(f"{self!r} needs floats: put ToDtype(torch.float32, scale=True) before it")
        for name, values in (("mean", self._mean), ("std", self._std)):
            if len(values) not in (1, len(image)):
                raise ArgumentError(f"{name} has {len(values)} values, but the image has {len(image)} channel(s)")
        mean = torch.as_tensor(self._mean, dtype=image.dtype).view(-1, 1, 1)
        std = torch.as_tensor(self._std, dtype=image.dtype).view(-1, 1, 1)
        return image.sub(mean).div_(std)
