"""What a training recipe comes to for a loader."""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch

from gpuload import transforms as T

__all__ = ["IMAGENET", "Preset", "Statistics"]


class Statistics(NamedTuple):
    """Mean and standard deviation of each channel, of values from 0 to 1."""

    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    def values(self) -> list[T.Transform]:
        """From bytes to normalized float32."""
        return [T.ToImage(), T.ToDtype(torch.float32, scale=True), T.Normalize(self.mean, self.std)]


IMAGENET = Statistics((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


class Preset(NamedTuple):
    """``transform, batch_transform = preset``.

    Attributes:
        transform: of a dataset of images.
        batch_transform: of the `DataLoader`; None: batches stay as they are.
    """

    transform: Callable[[Any], Any]
    batch_transform: Callable[..., Any] | None = None
