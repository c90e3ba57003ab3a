"""Rectangles of what leaves that get other values: `Erase`, after all operations on pixels.

Noise is standard normal: each number is one of `levels`, which 16 random bits choose. So the numbers are the same
wherever they are looked up, and nothing but the table is computed in floats.
"""

from collections.abc import Sequence
from enum import IntEnum
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from gpuload.philox import philox
from gpuload.recipes.ops import Fusing, Mask, Pixels

__all__ = ["LEVELS", "RECTANGLE", "Cover", "Erase", "Erasures", "levels", "levels_of"]

LEVELS = 1 << 16  # as in kernels/erase.cuh
RECTANGLE = np.dtype(  # ``struct Rectangle`` there
    [
        ("key", "<u8"),
        ("top", "<i4"),
        ("left", "<i4"),
        ("height", "<i4"),
        ("width", "<i4"),
        ("fill", "<i4"),
        ("cover", "<i4"),
    ]
)


class Cover(IntEnum):
    """What a rectangle shows; the values are those of ``enum Cover``."""

    COLOR = 0
    NOISY_COLOR = 1  # a random number for each channel
    NOISE = 2  # for each value

    def shape(self, channels: int, height: int, width: int) -> tuple[int, int, int]:
        """(channels, height, width) of its random numbers."""
        return (channels, height, width) if self is Cover.NOISE else (channels, 1, 1)


@lru_cache(maxsize=1)
def levels() -> torch.Tensor:
    """(`LEVELS`,) float32: the standard normal distribution in as many equal parts, by their middles."""
    from statistics import NormalDist  # a dozen milliseconds that others need not wait

    normal = NormalDist()
    half = [normal.inv_cdf((level + 0.5) / LEVELS) for level in range(LEVELS // 2)]
    return torch.tensor([*half, *(-value for value in reversed(half))], dtype=torch.float32)


def levels_of(key: int, shape: tuple[int, int, int]) -> NDArray[np.int64]:
    """Which of the levels noise of this (channels, height, width) shows; ``level`` of kernels/erase.cuh."""
    channels, height, width = shape
    pairs, rows = np.arange((width + 1) // 2)[None, :], np.arange(height)[:, None]
    words = np.stack(philox(key, pairs, rows, 0), axis=-1).astype("<u4")  # of two neighbors, in each row
    halves = words.view("<u2").reshape(height, -1, 4)[:, :width, :channels]
    return halves.transpose(2, 0, 1).astype(np.int64)


class Erase(NamedTuple):
    """A rectangle that gets other values, in pixels of what leaves.

    Attributes:
        cover: what it shows.
        fill: where the values that this is chosen from begin, among the plan's.
        top, left, height, width: ints for one sample, or (n,) int64.
        noise: a key of 64 bits that numbers follow from, or a tensor of them; of n samples, (n,) of either.
    """

    cover: Cover
    fill: int
    top: Any
    left: Any
    height: Any
    width: Any
    noise: Any = 0

    def size_after(self, height: Pixels, width: Pixels) -> tuple[Pixels, Pixels]:
        return height, width

    def apply(self, image: Image.Image) -> Image.Image:
        return image  # values come after pixels: `Plan.apply`

    def fuse(self, fusing: Fusing, where: Mask) -> None:
        rectangles = np.zeros(len(where), RECTANGLE)
        for name in ("top", "left", "height", "width", "fill", "cover"):
            rectangles[name] = getattr(self, name)
        rectangles["key"] = self.noise
        fusing.erase(rectangles, where)

    @property
    def place(self) -> tuple[slice, slice, slice]:
        """Where that is in a (C, H, W) image."""
        rows, columns = slice(self.top, self.top + self.height), slice(self.left, self.left + self.width)
        return slice(None), rows, columns

    def values(self, fills: NDArray[Any]) -> NDArray[Any]:
        """What it shows of (C, m) values: (C, height, width), or (C, 1, 1)."""
        if self.cover is Cover.COLOR:
            return fills[:, self.fill, None, None]
        chosen = levels_of(self.noise, self.cover.shape(len(fills), self.height, self.width))
        return fills[np.arange(len(fills))[:, None, None], self.fill + chosen]

    def numbers(self, channels: int) -> torch.Tensor:
        """One sample's noise: float32, `Cover.shape`."""
        if isinstance(self.noise, torch.Tensor):
            return self.noise
        return levels()[torch.from_numpy(levels_of(self.noise, self.cover.shape(channels, self.height, self.width)))]


class Erasures(NamedTuple):
    """Rectangles of n samples.

    Attributes:
        rectangles: (k,) `RECTANGLE`: the first sample's, in order, then the second one's, ...
        at: (n + 1,) int64: where each sample's begin, and the last one's end.
    """

    rectangles: NDArray[np.void]
    at: NDArray[np.int64]

    @classmethod
    def of(cls, count: int, added: Sequence[tuple[NDArray[np.void], Mask]] = ()) -> "Erasures":
        """Of those that were added one after the other: (n,), and for which of ``count`` samples."""
        at = np.zeros(count + 1, np.int64)
        for _, where in added:
            at[1:] += where
        np.cumsum(at, out=at)
        rectangles, free = np.zeros(int(at[-1]), RECTANGLE), at[:-1].copy()
        for given, where in added:
            rectangles[free[where]] = given[where]
            free += where
        return cls(rectangles, at)

    @classmethod
    def joined(cls, parts: Sequence["Erasures"]) -> "Erasures":
        """Of all samples of several, at least one, with no rectangles of others."""
        packed = [part.packed() for part in parts]
        counts = np.concatenate([np.diff(part.at) for part in packed])
        return cls(np.concatenate([part.rectangles for part in packed]), np.concatenate([[0], counts.cumsum()]))

    def sliced(self, part: slice) -> "Erasures":
        """Some of the samples', as views."""
        start, stop, _ = part.indices(len(self.at) - 1)
        return Erasures(self.rectangles, self.at[start : stop + 1])

    def packed(self) -> "Erasures":
        """The same, with no rectangles of other samples."""
        first, last = int(self.at[0]), int(self.at[-1])
        return Erasures(self.rectangles[first:last], self.at - first)

    def of_sample(self, i: int) -> list[Erase]:
        """Those of one sample, in order."""
        return [
            Erase(Cover(cover), fill, top, left, height, width, key)
            for key, top, left, height, width, fill, cover in self.rectangles[self.at[i] : self.at[i + 1]].tolist()
        ]
