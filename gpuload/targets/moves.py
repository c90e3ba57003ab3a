"""How masks, boxes and keypoints follow their image: `Move`, an operation that leaves the image itself as it is.

What is drawn for an image is told to torchvision's functional of the same transform, which moves whatever else there
is: clamping, formats and rounding are its own.
"""

from typing import Any, NamedTuple

from PIL import Image

from gpuload.recipes.ops import Fusing, Mask, Pixels, Recipe
from gpuload.structure import mapped
from gpuload.targets.installed import functional, tv_tensors

__all__ = ["Call", "Move", "moved"]


class Move(NamedTuple):
    """One of torchvision's functionals, called on what belongs to an image.

    Attributes:
        name: of the functional.
        told: the numbers that were drawn for it, in its order: of one sample, or (n, k).
        given: its other arguments.
    """

    name: str
    told: Any
    given: tuple[tuple[str, Any], ...] = ()

    def size_after(self, height: Pixels, width: Pixels) -> tuple[Pixels, Pixels]:
        return height, width

    def apply(self, image: Image.Image) -> Image.Image:
        return image

    def fuse(self, fusing: Fusing, where: Mask) -> None:
        pass

    def of(self, target: Any) -> Any:
        """What becomes of a sample's target: of each mask, and of all boxes and keypoints in it."""
        return mapped(target, _moves, self._moved)

    def _moved(self, thing: Any) -> Any:
        function, given = getattr(functional(), self.name), dict(self.given)
        match self.name:
            case "pad" | "resize" if self.told:
                return function(thing, list(self.told), **given)
            case "affine":
                angle, shift_x, shift_y, scale, *shear = self.told
                return function(thing, angle, [shift_x, shift_y], scale, shear, **given)
            case "perspective":
                return function(thing, None, None, coefficients=list(self.told), **given)
        return function(thing, *self.told, **given)


class Call(NamedTuple):
    """A transform of torchvision's that changes targets alone.

    Attributes:
        transform: called on (image, target).
        image: the smallest image of the kind that it would get; what becomes of it is not looked at.
    """

    transform: Any
    image: Any

    def size_after(self, height: Pixels, width: Pixels) -> tuple[Pixels, Pixels]:
        return height, width

    def apply(self, image: Image.Image) -> Image.Image:
        return image

    def fuse(self, fusing: Fusing, where: Mask) -> None:
        pass

    def of(self, target: Any) -> Any:
        """What becomes of a sample's target."""
        _, changed = self.transform(self.image, target)
        return changed


def moved(target: Any, recipe: Recipe) -> Any:
    """A sample's target, after all that its recipe has for it."""
    for op in recipe:
        if isinstance(op, Move | Call):
            target = op.of(target)
    return target


def _moves(thing: Any) -> bool:
    kinds = tv_tensors()
    return isinstance(thing, kinds.Mask | kinds.BoundingBoxes | kinds.KeyPoints)
