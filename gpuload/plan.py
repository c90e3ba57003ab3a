"""Transforms compiled once: what they do to the geometry, to the values, and what is left to ordinary code."""

from collections.abc import Callable, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from PIL import Image

from gpuload import oracle
from gpuload.draws import Draws
from gpuload.errors import ArgumentError, ArgumentTypeError
from gpuload.geometry import fold
from gpuload.steps import Crop, Pad, Recipe, Resize, Step

__all__ = ["Geometric", "Plan", "Pointwise"]


@runtime_checkable
class Geometric(Protocol):
    """A transform of 8-bit pixels: for one sample, it becomes steps."""

    channels: int | None  # channels that the image has from here on; None: as before
    floats: bool  # True: also exact after ToDtype, as long as it only moves pixels

    def steps(self, height: int, width: int, draws: Draws) -> Recipe:
        """The steps for an image of height x width pixels."""


@runtime_checkable
class Pointwise(Protocol):
    """A transform that maps each value by itself: 256 inputs a channel, so it becomes a table."""

    def values(self, image: torch.Tensor) -> torch.Tensor:
        """The transform of a (C, H, W) tensor."""


class Plan:
    """A sequence of transforms, checked and sorted.

    Attributes:
        geometric: the transforms of 8-bit pixels, each with whether values are floats by then.
        pointwise: the transforms of values.
        tail: callables that gpuload does not know; they get the finished (C, H, W) tensor of one sample.
        channels: 1 or 3, of the image that leaves.

    Raises:
        ArgumentTypeError: an entry that is neither a transform nor callable, or a transform after a callable.
        ArgumentError: a transform that needs 8-bit pixels after ToDtype made floats of them.
    """

    def __init__(self, transforms: Sequence[Any]) -> None:
        self.geometric: list[tuple[Geometric, bool]] = []
        self.pointwise: list[Pointwise] = []
        self.tail: list[Callable[[Any], Any]] = []
        self.channels = 3
        for transform in transforms:
            self._add(transform)
        self._values = self._map(torch.arange(256, dtype=torch.uint8).view(1, 1, 256).repeat(self.channels, 1, 1))

    def _add(self, transform: Any) -> None:
        known = isinstance(transform, Geometric | Pointwise)
        if self.tail and known:
            raise ArgumentTypeError(
                f"{transform!r} stands after {self.tail[-1]!r}, which gpuload cannot compile: "
                "put your own callables last, after all of gpuload's transforms"
            )
        if isinstance(transform, Geometric):
            self._add_geometric(transform)
        elif isinstance(transform, Pointwise):
            self.pointwise.append(transform)
        elif callable(transform):
            self.tail.append(transform)
        else:
            raise ArgumentTypeError(f"transforms must be gpuload transforms or callables, got {transform!r}")

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

    def recipe(self, height: int, width: int, draws: Draws) -> Recipe:
        """The steps for an image of height x width pixels, random numbers taken from ``draws``."""
        recipe: list[Step] = []
        for transform, floats in self.geometric:
            for step in transform.steps(height, width, draws):
                if floats and isinstance(step, Pad):
                    raise ArgumentError(
                        f"{transform!r} must pad an image of {height} x {width} pixels, "
                        f"but stands after {self.pointwise[0]!r}: put it before"
                    )
                recipe.append(step)
                height, width = _size_after(step, height, width)
        return tuple(recipe)

    def table(self, dtype: torch.dtype | None = None) -> torch.Tensor:
        """The output value of each input byte: (channels, 256), of ``dtype`` or the plan's own."""
        return self._values[:, 0, :].to(dtype or self.dtype).contiguous()

    def __call__(self, image: Image.Image, draws: Draws) -> Any:
        """Draw and apply: see `apply`."""
        return self.apply(image, self.recipe(image.height, image.width, draws))

    def apply(self, image: Image.Image, recipe: Recipe) -> Any:
        """One sample on the CPU, step by step with Pillow and torch.

        Args:
            image: any PIL image; it is converted to RGB.
            recipe: the sample's steps.

        Returns:
            (channels, H, W) tensor of `dtype`, or whatever the last of ``tail`` makes of it.
        """
        finished: Any = self.render(image, recipe)
        for function in self.tail:
            finished = function(finished)
        return finished

    def render(self, image: Image.Image, recipe: Recipe) -> torch.Tensor:
        """As `apply`, without the callables of ``tail``."""
        pixels = np.array(oracle.apply(image.convert("RGB"), recipe))
        return self._map(torch.from_numpy(pixels).permute(2, 0, 1)[: self.channels].contiguous())

    def _map(self, values: torch.Tensor) -> torch.Tensor:
        for transform in self.pointwise:
            values = transform.values(values)
        return values

    def folds(self, height: int, width: int, draws: Draws) -> bool:
        """Does one such sample become one kernel launch, or does Pillow have to go first?"""
        return fold(self.recipe(height, width, draws), height, width) is not None


def _size_after(step: Step, height: int, width: int) -> tuple[int, int]:
    if isinstance(step, Pad):
        return height + step.top + step.bottom, width + step.left + step.right
    if isinstance(step, Crop | Resize):
        return step.height, step.width
    return height, width
