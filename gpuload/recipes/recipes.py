"""What was drawn for each sample of a batch: its operations, in order."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from gpuload.errors import ArgumentError
from gpuload.recipes.ops import Mask, Op, Recipe

__all__ = ["MOST_PIXELS", "Recipes", "RecipesBuilder", "apply"]

MOST_PIXELS = 2**30 - 1  # on a side: sums of two fit in 32 bits, and products of two in 64; as in kernels/checks.h


@dataclass(frozen=True)
class Recipes(Sequence[Recipe]):
    """The recipes of n samples, as arrays.

    Attributes:
        steps: operations in order, each with the samples that it is for: (n,) bool.
        height, width: pixels of the images that enter: (n,) int64.
        final_height, final_width: pixels of the images that leave.
    """

    steps: list[tuple[Op, Mask]]
    height: NDArray[np.int64]
    width: NDArray[np.int64]
    final_height: NDArray[np.int64]
    final_width: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.height)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        if not 0 <= index < len(self):
            raise IndexError(f"recipe {index} of {len(self)}")
        return tuple(_of_sample(op, index) for op, where in self.steps if where[index])

    def part(self, part: slice) -> "Recipes":
        """Those of some of the samples, as views."""
        steps = [(_sliced(op, part), where[part]) for op, where in self.steps]
        sizes = self.height, self.width, self.final_height, self.final_width
        return Recipes([(op, where) for op, where in steps if where.any()], *(size[part] for size in sizes))

    def __iter__(self) -> Iterator[Recipe]:
        return (self[i] for i in range(len(self)))

    @staticmethod
    def of(recipes: Sequence[Recipe], height: Sequence[int], width: Sequence[int]) -> "Recipes":
        """Single recipes, and the sizes of their images, as one batch."""
        builder = RecipesBuilder(np.asarray(height, np.int64), np.asarray(width, np.int64))
        for i, recipe in enumerate(recipes):
            for op in recipe:
                builder.add(op, np.arange(len(recipes)) == i)
        return builder.done()


class RecipesBuilder:
    """Recipes while operations are added.

    Attributes:
        height, width: pixels of the images by now: (n,) int64.

    Raises:
        ArgumentError: an image gets more than `MOST_PIXELS` on a side.
    """

    def __init__(self, height: NDArray[np.int64], width: NDArray[np.int64]) -> None:
        self._entering = height, width
        self._steps: list[tuple[Op, Mask]] = []
        self.height, self.width = height, width
        self._check()

    def add(self, op: Op, where: Mask) -> None:
        """Add an operation for the samples ``where``."""
        if not np.count_nonzero(where):
            return
        self._steps.append((op, where))
        height, width = op.size_after(self.height, self.width)
        if height is not self.height or width is not self.width:
            self.height, self.width = np.where(where, height, self.height), np.where(where, width, self.width)
            self._check()

    def _check(self) -> None:
        either = self.height | self.width  # greater than the limit, all of whose bits are set, where one of them is
        if len(either) and either.max() > MOST_PIXELS:
            first = int((either > MOST_PIXELS).argmax())
            height, width = self.height[first], self.width[first]
            raise ArgumentError(f"an image of {height} x {width} pixels is larger than {MOST_PIXELS} on a side")

    def done(self) -> Recipes:
        return Recipes(self._steps, *self._entering, self.height, self.width)


def _of_sample(op: Any, index: int) -> Any:
    """The operation of one sample: each array's entry as an int, a float or a list."""
    entries = (value[index] if isinstance(value, np.ndarray) else value for value in op)
    return type(op)(*(one.tolist() if isinstance(one, np.generic | np.ndarray) else one for one in entries))


def _sliced(op: Any, part: slice) -> Any:
    """The operation of some of the samples."""
    return type(op)(*(value[part] if isinstance(value, np.ndarray) else value for value in op))


def apply(image: Image.Image, recipe: Recipe) -> Image.Image:
    """One sample's recipe on an RGB image, with Pillow, operation by operation: the definition of exact."""
    for op in recipe:
        image = op.apply(image)
    return image
