"""Transforms that native code runs, compiled: what they do to pixels, what to values, and what is erased at last."""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from gpuload.errors import ArgumentError, ArgumentTypeError
from gpuload.recipes import recipes as reference
from gpuload.recipes.draws import CounterDraws, Draws
from gpuload.recipes.erase import Cover, Erase
from gpuload.recipes.ops import Mask, Op, Pad, Recipe
from gpuload.recipes.recipes import Recipes, RecipesBuilder

__all__ = ["Erasing", "Geometric", "Part", "Plan", "Pointwise", "Rectangles", "Steps", "Values"]

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


class Values(NamedTuple):
    """What an image consists of at a place of a transform.

    Attributes:
        channels: 1 or 3.
        dtype: uint8 or floats.
    """

    channels: int
    dtype: torch.dtype


Rectangles = Iterable[tuple[Erase, Mask]]


@runtime_checkable
class Erasing(Protocol):
    """A transform that gives other values to rectangles; what maps each value by itself may follow."""

    def fills(self, given: Values) -> torch.Tensor:
        """All values that rectangles can get: (channels, m) of the given dtype.

        Raises:
            ArgumentError: it has none of that dtype, or for so many channels.
        """

    def rectangles(self, height: Sizes, width: Sizes, given: Values, draws: Draws) -> Rectangles:
        """Rectangles in order, and the samples that each is for; ``fill`` of each is a place among `fills`.

        Args:
            height, width: pixels of n images: (n,) int64.
            given: what the images consist of.
            draws: the random numbers of these n samples.
        """


Part = Geometric | Pointwise | Erasing  # of a plan
NONE = np.zeros(0, np.int64)


class _Eraser(NamedTuple):
    """A transform that erases, in a plan.

    Attributes:
        transform: that.
        given: what it gets.
        fills: its values: (channels, m).
        first: where they begin among the plan's.
    """

    transform: Erasing
    given: Values
    fills: torch.Tensor
    first: int

    def rectangles(self, height: Sizes, width: Sizes, draws: Draws) -> Rectangles:
        """What is drawn, as operations of the plan."""
        for erase, where in self.transform.rectangles(height, width, self.given, draws):
            yield erase._replace(fill=self.first + erase.fill), where

    def erase(self, values: torch.Tensor, erased: Sequence[Erase]) -> None:
        """Those of the plan's rectangles that are its own, in a (C, H, W) image."""
        for one in erased:
            at = one.fill - self.first
            if 0 <= at < self.fills.shape[1]:
                is_color = one.cover is Cover.COLOR
                values[one.place] = self.fills[:, at, None, None] if is_color else one.numbers(len(values))


class Plan:
    """A sequence of transforms, checked and sorted.

    Args:
        transforms: each a `Part`; what moves pixels or adjusts them is before what erases.
        channels: 1 or 3, of the image that enters; a single one is three equal ones to the operations.

    Attributes:
        geometric: the transforms of 8-bit pixels, each with whether values are floats by then.
        pointwise: the transforms of values.
        erasers: the transforms that erase.
        channels: 1 or 3, of the image that leaves.

    Raises:
        ArgumentTypeError: an entry that is none.
        ArgumentError: a transform that needs 8-bit pixels after ToDtype made floats of them, or moves what was erased.
    """

    def __init__(self, transforms: Sequence[Any], channels: int = 3) -> None:
        self.geometric: list[tuple[Geometric, bool]] = []
        self.pointwise: list[Pointwise] = []
        self.erasers: list[_Eraser] = []
        self._after: list[Pointwise | _Eraser] = []  # pixels, in order
        self.channels = channels
        for transform in transforms:
            self._add(transform)
        self._values = self._map(torch.arange(256, dtype=torch.uint8).view(1, 1, 256).repeat(self.channels, 1, 1))

    def _add(self, transform: Any) -> None:
        if isinstance(transform, Geometric):
            self._add_geometric(transform)
        elif isinstance(transform, Pointwise):
            self.pointwise.append(transform)
            self._after.append(transform)
        elif isinstance(transform, Erasing):
            self._add_eraser(transform)
        else:
            raise ArgumentTypeError(f"a plan is made of gpuload transforms, got {transform!r}")

    def _add_geometric(self, transform: Geometric) -> None:
        floats = self._zero().is_floating_point()
        if floats and not transform.floats:
            raise ArgumentError(
                f"{transform!r} stands after {self.pointwise[0]!r}, but works on 8-bit pixels: put it before"
            )
        if self.erasers and (transform.channels is not None or _moves(transform)):
            raise ArgumentError(f"{transform!r} stands after {self.erasers[0].transform!r}: put it before")
        if transform.channels is not None:
            self.channels = transform.channels
        self.geometric.append((transform, floats))

    def _add_eraser(self, transform: Erasing) -> None:
        given = Values(self.channels, self._zero().dtype)
        eraser = _Eraser(transform, given, transform.fills(given), sum(one.fills.shape[1] for one in self.erasers))
        self.erasers.append(eraser)
        self._after.append(eraser)

    def _zero(self) -> torch.Tensor:
        """A value of a black image, by now."""
        return self._map(torch.zeros(self.channels, 1, 1, dtype=torch.uint8))

    @property
    def is_empty(self) -> bool:
        """Was it made of no transforms?"""
        return not (self.geometric or self._after)

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
        for eraser in self.erasers:
            for erase, where in eraser.rectangles(made.height, made.width, draws):
                made.add(erase, where)
        return made.done()

    def table(self, dtype: torch.dtype | None = None) -> torch.Tensor:
        """The output value of each input byte: (channels, 256), of ``dtype`` or the plan's own."""
        return self._values[:, 0, :].to(dtype or self.dtype).contiguous()

    def fills(self, dtype: torch.dtype | None = None) -> torch.Tensor:
        """The output values that rectangles can get: (channels, m), of ``dtype`` or the plan's own."""
        fills = [torch.zeros(self.channels, 0, dtype=self.dtype)]
        for eraser in self.erasers:
            place = next(at for at, part in enumerate(self._after) if part is eraser)
            later = [part for part in self._after[place:] if not isinstance(part, _Eraser)]
            fills.append(_mapped(eraser.fills[:, None, :], later)[:, 0, :])
        return torch.cat(fills, dim=1).to(dtype or self.dtype).contiguous()

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
        values = torch.from_numpy(pixels).permute(2, 0, 1)[: self.channels].contiguous()
        return self._map(values, [op for op in recipe if isinstance(op, Erase)])

    def _map(self, values: torch.Tensor, erased: Sequence[Erase] = ()) -> torch.Tensor:
        for part in self._after:
            if isinstance(part, _Eraser):
                part.erase(values, erased)
            else:
                values = part.values(values)
        return values


def _mapped(values: torch.Tensor, transforms: Sequence[Pointwise]) -> torch.Tensor:
    for transform in transforms:
        values = transform.values(values)
    return values


def _moves(transform: Geometric) -> bool:
    """Does it become any operation?"""
    return any(True for _ in transform.steps(NONE, NONE, CounterDraws(0, 0, NONE)))
