"""Transforms of values: dtype and normalization. Each maps every value by itself, so it becomes a table."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from gpuload.arguments import is_number
from gpuload.errors import ArgumentError, ArgumentTypeError
from gpuload.recipes.draws import Draws
from gpuload.transforms.base import Transform
from gpuload.transforms.plan import Sizes, Steps

__all__ = ["DTYPES", "Normalize", "PILToTensor", "ToDtype", "ToImage", "ToTensor"]


class ToImage(Transform):
    """``torchvision.transforms.v2.ToImage``: without effect here, gpuload's images are tensors already."""

    floats = True

    def steps(self, height: Sizes, width: Sizes, draws: Draws) -> Steps:
        return []


class PILToTensor(ToImage):
    """``torchvision.transforms.v2.PILToTensor``: without effect here, gpuload's images are tensors already."""


DTYPES = (torch.uint8, torch.float16, torch.bfloat16, torch.float32)


class ToDtype(Transform):
    """``torchvision.transforms.v2.ToDtype``.

    Args:
        dtype: torch.uint8, float16, bfloat16 or float32.
        scale: True maps 0..255 to 0..1 (times 1/255, in ``dtype``, as torchvision v2 computes it).
    """

    dtype: torch.dtype
    scale: bool

    def __init__(self, dtype: torch.dtype, scale: bool = False) -> None:
        super().__init__(dtype=dtype, scale=scale)

    def resolve(self) -> None:
        if self.dtype not in DTYPES:
            allowed = ", ".join(str(d) for d in DTYPES)
            raise ArgumentTypeError(f"dtype must be one of {allowed}, got {self.dtype!r}")

    def values(self, image: torch.Tensor) -> torch.Tensor:
        if image.dtype == self.dtype or not self.scale or image.is_floating_point() == self.dtype.is_floating_point:
            return image.to(self.dtype)
        if self.dtype.is_floating_point:
            return image.to(self.dtype).mul_(1.0 / 255)
        return image.mul(255 + 1.0 - 1e-3).to(self.dtype)


class ToTensor(Transform):
    """``torchvision.transforms.ToTensor``: float32, divided by 255; what are floats stay so.

    `ToDtype`, with ``scale=True``, multiplies by 1/255, which is another number now and then, in the last bit.
    """

    def values(self, image: torch.Tensor) -> torch.Tensor:
        return image if image.is_floating_point() else image.to(torch.float32).div_(255)


class Normalize(Transform):
    """``torchvision.transforms.v2.Normalize``: (image - mean) / std, channel by channel, in the image's dtype.

    Args:
        mean, std: a number, or one for each channel; std not 0.
        inplace: accepted and without effect.
    """

    mean: Sequence[float] | float
    std: Sequence[float] | float
    inplace: bool

    def __init__(self, mean: Sequence[float] | float, std: Sequence[float] | float, inplace: bool = False) -> None:
        super().__init__(mean=mean, std=std, inplace=inplace)

    def resolve(self) -> None:
        self._mean, self._std = self._per_channel("mean", self.mean), self._per_channel("std", self.std)
        if 0.0 in self._std:
            raise ArgumentError(f"std must not be 0, got {self.std!r}")

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
