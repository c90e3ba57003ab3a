"""What all transforms share: their base class, and the names of filters and padding modes."""

import platform
from collections.abc import Sequence
from copy import copy
from enum import Enum
from typing import Any, NamedTuple, Self

import numpy as np
import torch
from PIL import Image

from gpuload.arguments import color
from gpuload.errors import ArgumentError, ArgumentTypeError
from gpuload.recipes.draws import Draws, TorchDraws
from gpuload.recipes.ops import Filter, Mask, PadMode
from gpuload.recipes.warp import WARP_FILTERS
from gpuload.transforms.plan import Plan, Sizes

__all__ = [
    "Fill",
    "Interpolation",
    "InterpolationMode",
    "Look",
    "Transform",
    "channels_of",
    "chosen",
    "every",
    "filter_of",
    "look_of",
    "pad_mode_of",
    "pil_image",
    "torch_filter_of",
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
Fill = Sequence[float] | float | None
AVX2_OR_BETTER = ("AVX2", "AVX512")
PILLOW_CODES = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic", 4: "box", 5: "hamming"}


def filter_of(interpolation: Interpolation) -> Filter:
    """The filter that ``interpolation`` names."""
    return Filter[_named(interpolation).removesuffix("-exact").upper()]


def torch_filter_of(interpolation: Interpolation, antialias: bool | None = True) -> Filter | None:
    """The filter with which torchvision's v2 resizes a uint8 *tensor* on this machine's CPU.

    Source: ``resize_image`` of torchvision 0.29, which leaves the work to ``torch.nn.functional.interpolate``.

    Args:
        interpolation: as of `filter_of`.
        antialias: v2's own argument; None is False there. Nearest has no antialiasing.

    Returns:
        None where no filter is torchvision's: without antialiasing; box and Hamming, which it refuses; nearest-exact,
        whose pixels follow from how torch was compiled; Lanczos, where torch has none; and bilinear on a CPU on
        which torchvision takes floats for it.
    """
    match _named(interpolation):
        case "nearest":
            return Filter.TORCH_NEAREST
        case "bilinear" if antialias and _resizes_bytes():
            return Filter.TORCH_BILINEAR
        case "bicubic" if antialias:
            return Filter.TORCH_BICUBIC
        case "lanczos" if antialias and hasattr(torch._C._nn, "_upsample_lanczos2d_aa"):
            return Filter.TORCH_LANCZOS
    return None


def _resizes_bytes() -> bool:
    """Does torchvision find this CPU fast enough for bilinear on bytes?"""
    return torch.backends.cpu.get_cpu_capability() in AVX2_OR_BETTER or platform.machine() in ("aarch64", "arm64")


def _named(interpolation: Interpolation) -> str:
    """The value of `InterpolationMode` that was meant."""
    name: Any = interpolation.value if isinstance(interpolation, Enum) else interpolation
    name = PILLOW_CODES.get(name, name) if isinstance(name, int) else name
    allowed = [mode.value for mode in InterpolationMode]
    if name not in allowed:
        raise ArgumentError(f"interpolation must be one of {', '.join(allowed)}, got {interpolation!r}")
    return str(name)


class Look(NamedTuple):
    """How what turns, shears or moves an image makes its pixels, and the color beside them."""

    filter: Filter
    fill: tuple[int, int, int]


def look_of(interpolation: Interpolation, fill: Fill) -> Look:
    """The filter and the color, checked."""
    filter = filter_of(interpolation)
    if filter not in WARP_FILTERS:
        raise ArgumentError(f"interpolation must be nearest, bilinear or bicubic here, got {interpolation!r}")
    return Look(filter, color(fill))


def pad_mode_of(padding_mode: str) -> PadMode:
    """The mode that ``padding_mode`` names."""
    allowed = [mode.name.lower() for mode in PadMode]
    if padding_mode not in allowed:
        raise ArgumentError(f"padding_mode must be one of {', '.join(allowed)}, got {padding_mode!r}")
    return PadMode[padding_mode.upper()]


def every(height: Sizes) -> Mask:
    """The mask of all samples."""
    return np.ones(len(height), bool)


def chosen(p: float, height: Sizes, draws: Draws) -> Mask:
    """The samples that an event of probability ``p`` happens to."""
    return draws.uniform(0.0, 1.0, np.arange(len(height))) < p


class Transform:
    """Base of gpuload's transforms.

    Args:
        arguments: what the transform was made with. Each becomes an attribute, which may be set: it is checked then,
            and counts from the loader's next epoch on, or the next ``dataset[i]``.
    """

    channels: int | None = None
    floats: bool = False

    def __init__(self, **arguments: Any) -> None:
        self._names = tuple(arguments)
        vars(self).update(arguments)
        self.resolve()

    def resolve(self) -> None:
        """Check the arguments as they are now, and take what `steps` or `values` need of them.

        Raises:
            ArgumentError, ArgumentTypeError: one is not allowed.
        """

    def frozen(self) -> Self:
        """A transform with the arguments as they are now."""
        copied = copy(self)
        copied.resolve()  # a list among them may have been changed
        return copied

    def __setattr__(self, name: str, value: Any) -> None:
        before = vars(self).copy()
        super().__setattr__(name, value)
        if name in before.get("_names", ()):
            try:
                self.resolve()
            except Exception:
                vars(self).update(before)
                raise

    def __repr__(self) -> str:
        shown = ", ".join(f"{name}={getattr(self, name)!r}" for name in self._names)
        return f"{type(self).__name__}({shown})"

    def __call__(self, image: Any) -> Any:
        """The transform of one image, on the CPU.

        Args:
            image: PIL image, or (C, H, W) uint8 tensor with C = 1 or 3.

        Returns:
            (C, H, W) tensor; of a PIL image C = 1 where its mode is L, else 3, unless the transform changes that.
        """
        given = pil_image(image)
        return Plan([self.frozen()], channels_of(given))(given, TorchDraws())


def pil_image(image: Any) -> Image.Image:
    """A PIL image of what a transform is called with: L of one channel."""
    if isinstance(image, Image.Image):
        return image
    if isinstance(image, torch.Tensor) and image.dtype == torch.uint8 and image.ndim == 3 and len(image) in (1, 3):
        pixels = image.cpu().permute(1, 2, 0).numpy()
        return Image.fromarray(np.ascontiguousarray(pixels[..., 0] if len(image) == 1 else pixels))
    shown = f"{image.dtype} tensor of shape {tuple(image.shape)}" if isinstance(image, torch.Tensor) else repr(image)
    raise ArgumentTypeError(f"expected a PIL image or a uint8 tensor of shape (1 or 3, H, W), got {shown}")


def channels_of(image: Image.Image) -> int:
    """Channels that a plan takes an image to have."""
    return 1 if image.mode == "L" else 3
