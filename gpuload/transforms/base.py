"""What all transforms share: their base class, and the names of filters and padding modes."""

from copy import copy, deepcopy
from enum import Enum
from typing import Any, Self

import numpy as np
import torch
from PIL import Image

from gpuload.errors import ArgumentError, ArgumentTypeError
from gpuload.recipes.draws import Draws, TorchDraws
from gpuload.recipes.ops import Filter, Mask, PadMode
from gpuload.transforms.plan import Plan, Sizes

__all__ = [
    "Interpolation",
    "InterpolationMode",
    "Transform",
    "chosen",
    "every",
    "filter_of",
    "pad_mode_of",
    "pil_image",
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


def filter_of(interpolation: Interpolation) -> Filter:
    """The filter that ``interpolation`` names."""
    name: Any = interpolation.value if isinstance(interpolation, Enum) else interpolation
    name = PILLOW_CODES.get(name, name) if isinstance(name, int) else name
    allowed = [mode.value for mode in InterpolationMode]
    if name not in allowed:
        raise ArgumentError(f"interpolation must be one of {', '.join(allowed)}, got {interpolation!r}")
    return Filter[name.removesuffix("-exact").upper()]


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

    def state(self) -> dict[str, Any]:
        """All that the transform depends on, as it is now; to compare with what it is later."""
        return {name: _kept(value) if name in self._names else value for name, value in vars(self).items()}

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
            (C, H, W) tensor.
        """
        return Plan([self.frozen()])(pil_image(image), TorchDraws())


def _kept(argument: Any) -> Any:
    return deepcopy(argument) if isinstance(argument, list | np.ndarray | torch.Tensor) else argument


def pil_image(image: Any) -> Image.Image:
    """A PIL image of what a transform is called with."""
    if isinstance(image, Image.Image):
        return image
    if isinstance(image, torch.Tensor) and image.dtype == torch.uint8 and image.ndim == 3 and len(image) in (1, 3):
        pixels = image.cpu().permute(1, 2, 0).numpy()
        return Image.fromarray(np.ascontiguousarray(np.broadcast_to(pixels, (*pixels.shape[:2], 3))))
    shown = f"{image.dtype} tensor of shape {tuple(image.shape)}" if isinstance(image, torch.Tensor) else repr(image)
    raise ArgumentTypeError(f"expected a PIL image or a uint8 tensor of shape (1 or 3, H, W), got {shown}")
