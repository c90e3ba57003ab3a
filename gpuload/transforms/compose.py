"""Transforms in order: what `Compose` holds compiles into one program."""

from collections.abc import Callable, Sequence
from typing import Any

from gpuload.errors import ArgumentTypeError
from gpuload.recipes.draws import TorchDraws
from gpuload.transforms.base import Transform, channels_of, pil_image
from gpuload.transforms.plan import Plan
from gpuload.transforms.program import Program, flat, program_of

__all__ = ["Compose"]


class Compose(Transform):
    """``torchvision.transforms.v2.Compose``: transforms in order.

    Args:
        transforms: gpuload's, torchvision's (v1 and v2), or any callables, nested Compose allowed. What gpuload has
            an operation for becomes native code, whichever library it is of. Other callables may stand anywhere:
            each gets one image, a PIL image until a transform makes a tensor of it (ToTensor, ToImage, ToDtype, ...),
            and what it returns goes on natively where it is such an image again.

    Attributes:
        transforms: as given. What is changed of it, or of the transforms in it, counts from the loader's next epoch on.
    """

    transforms: Sequence[Callable[[Any], Any]]

    def __init__(self, transforms: Sequence[Callable[[Any], Any]]) -> None:
        super().__init__(transforms=transforms)

    def resolve(self) -> None:
        if not isinstance(self.transforms, Sequence) or isinstance(self.transforms, str):
            raise ArgumentTypeError(f"Compose takes a list of transforms, got {self.transforms!r}")
        self.program  # noqa: B018  what cannot be compiled is said here

    @property
    def program(self) -> Program:
        """What they compile to, as they are now.

        Raises:
            ArgumentError, ArgumentTypeError: as of `Plan`, where they were changed.
        """
        return self._of(3)

    @property
    def plan(self) -> Plan:
        """The first native leg of the program: all of it, where there is no ordinary code."""
        return self.program.legs[0].plan

    def _of(self, channels: int) -> Program:
        return program_of([one for transform in self.transforms for one in flat(transform)], channels)

    def __call__(self, image: Any) -> Any:
        given = pil_image(image)
        return self._of(channels_of(given))(given, TorchDraws())
