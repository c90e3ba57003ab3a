"""Several views of one image: SimCLR's and BYOL's two, DINO's large and small crops."""

from collections.abc import Callable, Sequence
from typing import Any

from gpuload.arguments import at_least
from gpuload.errors import ArgumentError, ArgumentTypeError
from gpuload.transforms.base import Transform

__all__ = ["MultiView"]

Function = Callable[[Any], Any]


class MultiView(Transform):
    """Several views of one image: each is a whole transform's, with draws of its own.

    ``dataset[i]`` is ``([view, view, ...], target)``, as classes have it that call their transforms one after the
    other, with the same draws from torch's generator; the loader's batch is ``[[views, views, ...], targets]``, what
    torch's ``default_collate`` makes of that: a (B, C, h, w) tensor for each view. Where it is all of a dataset's
    transform, and gpuload has operations for each view, an image is read and decoded once for all of its views; else
    the transforms are called one after the other.

    Args:
        transforms: one for each view, or (transform, number of views).

    Raises:
        ArgumentError, ArgumentTypeError: there is none, or it is no transform, or a number is below 1.

    Example:
        DINO's: ``MultiView([(large, 2), (small, 8)])``; SimCLR's: ``MultiView([(augment, 2)])``.
    """

    transforms: Sequence[Function | tuple[Function, int]]

    def __init__(self, transforms: Sequence[Function | tuple[Function, int]]) -> None:
        super().__init__(transforms=transforms)

    def resolve(self) -> None:
        if not isinstance(self.transforms, Sequence) or isinstance(self.transforms, str):
            raise ArgumentTypeError(
                f"MultiView takes a list of transforms, or of (transform, number of views), got {self.transforms!r}"
            )
        if not self.each:
            raise ArgumentError("MultiView takes at least one transform, got none")

    @property
    def each(self) -> list[Function]:
        """The transform of each view, as they are now."""
        return [transform for given in self.transforms for transform in _repeated(given)]

    def __call__(self, image: Any) -> list[Any]:
        """The views of an image, one after the other.

        Args:
            image: a PIL image, or whatever the transforms take.
        """
        return [transform(image) for transform in self.each]


def _repeated(given: Any) -> list[Function]:
    transform, count = given if isinstance(given, tuple) and len(given) == 2 else (given, 1)
    if not callable(transform):
        raise ArgumentTypeError(f"MultiView takes transforms, or (transform, number of views), got {given!r}")
    return [transform] * at_least("number of views", count, 1)
