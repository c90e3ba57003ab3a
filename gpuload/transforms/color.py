"""Transforms of colors: RGB to grayscale and back."""

from gpuload.arguments import probability
from gpuload.errors import ArgumentError
from gpuload.recipes.draws import Draws
from gpuload.recipes.ops import Grayscale as GrayscaleOp
from gpuload.transforms.base import Transform, chosen, every
from gpuload.transforms.plan import Sizes, Steps

__all__ = ["RGB", "Grayscale", "RandomGrayscale"]


class Grayscale(Transform):
    """``torchvision.transforms.v2.Grayscale``, as Pillow computes it: (19595 R + 38470 G + 7471 B + 32768) >> 16.

    Args:
        num_output_channels: 1, or 3 equal ones.
    """

    num_output_channels: int

    def __init__(self, num_output_channels: int = 1) -> None:
        super().__init__(num_output_channels=num_output_channels)

    def resolve(self) -> None:
        if type(self.num_output_channels) is not int or self.num_output_channels not in (1, 3):
            raise ArgumentError(f"num_output_channels must be 1 or 3, got {self.num_output_channels!r}")
        self.channels = self.num_output_channels

    def steps(self, height: Sizes, width: Sizes, draws: Draws) -> Steps:
        return [(GrayscaleOp(), every(height))]


class RandomGrayscale(Transform):
    """``torchvision.transforms.v2.RandomGrayscale``: grayscale with probability ``p``, channels as before."""

    p: float

    def __init__(self, p: float = 0.1) -> None:
        super().__init__(p=p)

    def resolve(self) -> None:
        self._p = probability(self.p)

    def steps(self, height: Sizes, width: Sizes, draws: Draws) -> Steps:
        return [(GrayscaleOp(), chosen(self._p, height, draws))]


class RGB(Transform):
    """``torchvision.transforms.v2.RGB``: three channels, a grayscale one repeated."""

    channels = 3

    def steps(self, height: Sizes, width: Sizes, draws: Draws) -> Steps:
        return []
