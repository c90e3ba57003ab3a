"""Transforms that native code runs, compiled: what they do to the geometry, and what to the values."""

from collections.abc import Iterable, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from gpuload.errors import ArgumentError, ArgumentTypeError
from gpuload.recipes import recipes as reference
from gpuload.recipes.draws import Draws
from gpuload.recipes.ops import Mask, Op, Pad, Recipe
from gpuload.recipes.recipes import Recipes, RecipesBuilder

__all__ = ["Geometric", "Plan", "Pointwise", "Steps"]

Steps = Iterable[tuple[Op, Mask]]
Sizes = NDArray[np.int64]


@runtime_checkable
class Geometric(Protocol):
    """A transform of 8-bit pixels: for the samples of a batch, it becomes operations."""

    channels: int | None  # channels that the image has from here on; None: as before
    floats: bool  # True: also exact after ToDtype, as long as it only moves pixels

    def steps(self, height: Sizes, width: Sizes, draws: Draws) -> Steps:
        """Its operations in order, and the samples that each is for.

        Args:
            height, width: pixels of n images: (n,) int64.
            draws: the random numbers of these n samples.
        """


@runtime_checkable
class Pointwise(Protocol):
    """A transform that maps each value by itself: 256 inputs a channel, so it becomes a table."""

    def values(self, image: torch.Tensor) -> torch.Tensor:
        """The transform of a (C, H, W) tensor."""


class Plan:
    """A sequence of transforms, checked and sorted.

    Args:
        transforms: each `Geometric` or `Pointwise`.
        channels: 1 or 3, of the image that enters; a single one is three equal ones to the operations.

    Attributes:
        geometric: the transforms of 8-bit pixels, each with whether values are floats by then.
        pointwise: the transforms of values.
        channels: 1 or 3, of the image that leaves.

    Raises:
        ArgumentTypeError: an entry that is neither.
        ArgumentError: a transform that needs 8-bit pixels after ToDtype made floats of them.
    """

    def __init__(self, transforms: Sequence[Any], channels: int = 3) -> None:
        self.geometric: list[tuple[Geometric, bool]] = []
        self.pointwise: list[Pointwise] = []
        self.channels = channels
        for transform in transforms:
            self._add(transform)
        self._values = self._map(torch.arange(256, dtype=torch.uint8).view(1, 1, 256).repeat(self.channels, 1, 1))

    def _add(self, transform: Any) -> None:
        if isinstance(transform, Geometric):
            self._add_geometric(transform)
        elif isinstance(transform, Pointwise):
            self.pointwise.append(transform)
        else:
            raise ArgumentTypeError(f"a plan is made of gpuload transforms, got {transform!r}")

    def _add_geometric(self, transform: Geometric) -> None:
        floats = self._map(torch.zeros(self.channels, 1, 1, dtype=torch.uint8)).is_floating_point()
        if floats and not transform.floats:
            raise ArgumentError(
                f"{transform!r} stands after {self.pointwise[0]!r}, but works on 8-bit pixels: put it before"
            )
        if transform.channels is not None:
            self.channels = transform.channels
        self.geometric.append((transform, floats))

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the image that leaves."""
        return self._values.dtype

    def recipes(self, height: Any, width: Any, draws: Draws) -> Recipes:
        """What is drawn for n images.

        Args:
            height, width: their pixels: (n,) integers.
            draws: their random numbers.
        """
        made = RecipesBuilder(np.asarray(height, np.int64), np.asarray(width, np.int64))
        for transform, floats in self.geometric:
            for op, where in transform.steps(made.height, made.width, draws):
                if floats and isinstance(op, Pad) and where.any():
                    first = int(where.argmax())
                    raise ArgumentError(
                        f"{transform!r} must pad an image of {made.height[first]} x {made.width[first]} pixels, "
                        f"but stands after {self.pointwise[0]!r}: put it before"
                    )
                made.add(op, where)
        return made.done()

    def table(self, dtype: torch.dtype | None = None) -> torch.Tensor:
        """The output value of each input byte: (channels, 256), of ``dtype`` or the plan's own."""
        return self._values[:, 0, :].to(dtype or self.dtype).contiguous()

    def __call__(self, image: Image.Image, draws: Draws) -> torch.Tensor:
        """Draw and apply: see `apply`."""
        return self.apply(image, self.recipes([image.height], [image.width], draws)[0])

    def apply(self, image: Image.Image, recipe: Recipe) -> torch.Tensor:
        """One sample on the CPU, operation by operation with Pillow and torch.

        Args:
            image: any PIL image; it is converted to RGB.
            recipe: the sample's operations.

        Returns:
            (channels, H, W) tensor of `dtype`.
        """
        pixels = np.array(reference.apply(image.convert("RGB"), recipe))
        return self._map(torch.from_numpy(pixels).permute(2, 0, 1)[: self.channels].contiguous())

    def _map(self, values: torch.Tensor) -> torch.Tensor:
        for transform in self.pointwise:
            values = transform.values(values)
        return values
