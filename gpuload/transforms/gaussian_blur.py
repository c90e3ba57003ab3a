"""torchvision's blur, whose arithmetic is torch's."""

import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from gpuload.arguments import is_number, pair
from gpuload.errors import ArgumentError, ArgumentTypeError
from gpuload.recipes.as_torch import blurs_as_torch
from gpuload.recipes.blur import MOST_KERNEL, Blur
from gpuload.recipes.draws import Draws
from gpuload.transforms.base import Transform, every
from gpuload.transforms.plan import Sizes, Steps

__all__ = ["FirstGaussianBlur", "GaussianBlur"]

LEAST_SIGMA, MOST_SIGMA = 2.0**-149, float(np.finfo(np.float32).max)  # torchvision draws float32
Weights = NDArray[np.float32]  # (n, kernel size)


class GaussianBlur(Transform):
    """``torchvision.transforms.v2.GaussianBlur``, of PIL images in color: of a random standard deviation.

    torchvision makes a tensor of such an image, and convolves it in torch's arithmetic; so does this. Native code does
    it where that gives the same bits, which `gpuload.recipes.as_torch.blurs_as_torch` tries out, and the kernel is 99
    pixels long at most; elsewhere torch does.

    Args:
        kernel_size: pixels that are weighted, odd: an int, or (along x, along y). An image is longer than half of them,
            for it is mirrored at its edges.
        sigma: the Gaussian's standard deviation in pixels is drawn from (min, max); or it is always a number.
    """

    kernel_size: int | Sequence[int]
    sigma: float | Sequence[float]

    def __init__(self, kernel_size: int | Sequence[int], sigma: float | Sequence[float] = (0.1, 2.0)) -> None:
        super().__init__(kernel_size=kernel_size, sigma=sigma)

    def resolve(self) -> None:
        self._size = pair("kernel_size", self.kernel_size)
        if not all(length % 2 for length in self._size):
            raise ArgumentError(f"kernel_size must be odd, got {self.kernel_size!r}")
        given = self.sigma if isinstance(self.sigma, Sequence) else (self.sigma, self.sigma)
        if len(given) != 2 or not all(map(is_number, given)):
            raise ArgumentTypeError(f"sigma must be a number or two numbers (min, max), got {self.sigma!r}")
        low, high = map(float, given)
        if not LEAST_SIGMA <= low <= high <= MOST_SIGMA:
            raise ArgumentError(f"sigma must be (min, max) with 0 < min <= max, got {self.sigma!r}")
        self._sigma = low, high

    def steps(self, height: Sizes, width: Sizes, draws: Draws) -> Steps:
        sigma = draws.uniform(*self._sigma, np.arange(len(height)))
        beside, beyond = (length // 2 for length in self._size)
        small = (width <= beside) | (height <= beyond)
        if small.any():
            first = int(small.argmax())
            raise ArgumentError(
                f"{self!r} takes images longer than half of its kernel, got one of {height[first]} x {width[first]}"
            )
        x, y = (self._weights(length, sigma) for length in self._size)
        yield Blur(x, y, max(self._size) <= MOST_KERNEL and blurs_as_torch()), every(height)

    def _weights(self, length: int, sigma: NDArray[np.float64]) -> Weights:
        end = (length - 1) / (2.0 * math.sqrt(2.0))
        x = torch.linspace(-end, end, length, dtype=torch.float32, device="cpu")
        made: Weights = torch.softmax(x.div(_column(sigma)).pow(2).neg(), dim=1).numpy()
        return made


class FirstGaussianBlur(GaussianBlur):
    """``torchvision.transforms.GaussianBlur``, whose weights are rounded otherwise."""

    def _weights(self, length: int, sigma: NDArray[np.float64]) -> Weights:
        end = (length - 1) * 0.5
        x = torch.linspace(-end, end, length, dtype=torch.float32, device="cpu")
        heights = torch.exp(-0.5 * (x / _column(sigma)).pow(2))
        made: Weights = (heights / heights.sum(dim=1, keepdim=True)).numpy()
        return made


def _column(sigma: NDArray[np.float64]) -> torch.Tensor:
    return torch.from_numpy(sigma.astype(np.float32)[:, None])
