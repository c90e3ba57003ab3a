"""What is in hand at a place of a transform that is not gpuload's: it decides what that does there."""

import sys
from collections.abc import Callable
from enum import Enum
from typing import Any, NamedTuple

import torch
from PIL import Image

__all__ = ["Form", "Hand", "Maker", "Native", "qualified_name"]


class Form(Enum):
    """What torchvision's transforms would have in hand at a place: it decides what they do."""

    PIL = "a PIL image"
    IMAGE = "a tv_tensors.Image"
    TENSOR = "a tensor"

    @property
    def type(self) -> Any:
        """The class of it."""
        match self:
            case Form.PIL:
                return Image.Image
            case Form.IMAGE:
                return sys.modules["torchvision.tv_tensors"].Image
            case Form.TENSOR:
                return torch.Tensor

    def wrapped(self, image: torch.Tensor) -> Any:
        """A (C, H, W) tensor as a transform would have it."""
        return self.type(image) if self is Form.IMAGE else image


class Hand(NamedTuple):
    """What is in hand at a place of a transform.

    Attributes:
        form: of the image.
        floats: its values are floats by then.
        channels: 1 or 3.
    """

    form: Form
    floats: bool
    channels: int

    def example(self) -> Any:
        """The smallest image of this kind."""
        if self.form is Form.PIL:
            return Image.new("L" if self.channels == 1 else "RGB", (1, 1))
        return self.form.wrapped(torch.zeros(self.channels, 1, 1, dtype=torch.float32 if self.floats else torch.uint8))


Native = list[Any]  # gpuload's transforms, whose effect is the same
Maker = Callable[[Any, Hand], Native | None]


def qualified_name(thing: Any) -> str:
    """The full name of a thing's type."""
    return f"{type(thing).__module__}.{type(thing).__qualname__}"
