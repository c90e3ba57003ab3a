"""Engines: from an encoded image and its recipe to its place in the batch.

An engine makes one `Batch` for each batch of the epoch. Workers `fill` its slots, in any order; the last of
them calls `finish`; the consumer asks for `images`.
"""

from collections.abc import Callable
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from gpuload import oracle
from gpuload.decode import Encoded
from gpuload.geometry import Geometry, fold, identity
from gpuload.steps import Recipe

__all__ = ["Batch", "Engine", "Images", "decode_for"]

Images = torch.Tensor | list[torch.Tensor]


class Batch(Protocol):
    """One batch on its way."""

    def fill(self, slot: int, image: Encoded, recipe: Recipe) -> None:
        """Decode a sample for its slot; on a worker thread."""

    def finish(self) -> None:
        """Every slot is filled; on a worker thread."""

    def images(self) -> Images:
        """(B, C, H, W) on the consumer's current stream; a list of (C, H, W) where sizes differ."""


class Engine(Protocol):
    """A way to fill batches."""

    name: str

    def batch(self, size: int) -> Batch:
        """A batch of ``size`` empty slots."""


def decode_for(
    image: Encoded, recipe: Recipe, room: Callable[[int], NDArray[np.uint8]]
) -> tuple[Geometry, NDArray[np.uint8]]:
    """Decode what the recipe needs into ``room(bytes)``; a recipe that does not fold is run with Pillow first."""
    geometry, finished = fold(recipe, image.height, image.width), None
    if geometry is None:
        finished = oracle.apply(image.image(), recipe)
        geometry = identity(finished.height, finished.width)
    region = geometry.region
    pixels = room(region.height * region.width * 3).reshape(region.height, region.width, 3)
    if finished is not None:
        pixels[:] = np.asarray(finished)
    else:
        image.read(region.top, region.left, pixels)
    return geometry, pixels
