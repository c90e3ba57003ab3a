"""Images of datasets that are not gpuload's, as its loading path reads them."""

import os
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from gpuload.datasets.base import ImageDataset
from gpuload.decoders.files import Memory
from gpuload.lifting.remembered import Remembered

__all__ = ["ArrayImages", "FileImages", "Transforms", "gathered", "sizes_of"]


class Transforms(NamedTuple):
    """What a dataset calls on image and target now."""

    transform: Callable[[Any], Any] | None
    target_transform: Callable[[Any], Any] | None


# ---- files ----

_sizes = Remembered[tuple[int, NDArray[np.int32]]]()


def sizes_of(dataset: object, files: object, count: int) -> NDArray[np.int32]:
    """The sizes that are remembered of a dataset's images: (count, 2) int32, written to in place.

    Args:
        dataset: the user's.
        files: what lists its files; another object, or another length, starts anew.
        count: of its images.
    """
    key, sizes = _sizes.get(dataset) or (0, None)
    if sizes is None or key != id(files) or len(sizes) != count:
        sizes = np.zeros((count, 2), np.int32)
        _sizes.put(dataset, (id(files), sizes))
    return sizes


class FileImages(ImageDataset):
    """Samples that are a file and a target.

    Args:
        name: whose dataset it is, and of what class.
        sample: path and target of a sample, from 0 on.
        sizes: of the images, as far as they are known: (N, 2) int32; kept up to date.
        transforms: called on image and target.
    """

    def __init__(
        self, name: str, sample: Callable[[int], tuple[Any, Any]], sizes: NDArray[np.int32], transforms: Transforms
    ) -> None:
        super().__init__(*transforms)
        self._name, self._sample, self._sizes = name, sample, sizes

    def __len__(self) -> int:
        return len(self._sizes)

    def path(self, index: int) -> str:
        path, _ = self._sample(index)
        return os.fsdecode(path)

    def target(self, index: int) -> Any:
        _, target = self._sample(index)
        return target

    def describe(self) -> str:
        return f"{len(self)} files of {self._name}"


# ---- arrays ----


def gathered(pixels: NDArray[np.uint8], indices: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Images of an array (N, height, width[, 3]) of any strides, with packed pixels: what is there now."""
    chosen = pixels[indices]
    if chosen.flags.c_contiguous or chosen.ndim == 3:
        return np.ascontiguousarray(chosen)
    packed = np.empty(chosen.shape, np.uint8)
    for channel in range(chosen.shape[3]):  # planes, as CIFAR has them: pixel by pixel would take 15 times as long
        packed[..., channel] = chosen[..., channel]
    return packed


class ArrayImages(ImageDataset):
    """Samples that lie in memory.

    Args:
        name: of the dataset's class.
        shape: (count, height, width) or (count, height, width, 3).
        pixels: of n images, given their indices: (n, height, width[, 3]) uint8, packed, gray or RGB.
        targets: of n images, given their indices.
        transforms: called on image and target.
    """

    def __init__(
        self,
        name: str,
        shape: tuple[int, ...],
        pixels: Callable[[NDArray[np.int64]], NDArray[np.uint8]],
        targets: Callable[[NDArray[np.int64]], Sequence[Any] | NDArray[np.int64]],
        transforms: Transforms,
    ) -> None:
        super().__init__(*transforms)
        self._name, self._shape, self._pixels, self._targets = name, shape, pixels, targets
        self.channels = 3 if len(shape) == 4 else 1

    def __len__(self) -> int:
        return self._shape[0]

    def path(self, index: int) -> str:
        return f"{self._name}, in memory"

    def paths(self, indices: NDArray[np.int64]) -> list[bytes]:
        return [b""] * len(indices)

    def target(self, index: int) -> Any:
        targets = self._targets(np.array([index]))
        return targets.tolist()[0] if isinstance(targets, np.ndarray) else targets[0]

    def targets_of(self, indices: NDArray[np.int64]) -> Sequence[Any] | NDArray[np.int64]:
        return self._targets(indices)

    def memory(self, indices: NDArray[np.int64]) -> Memory:
        pixels = self._pixels(indices)
        starts = pixels.ctypes.data + np.arange(len(indices), dtype=np.uint64) * np.uint64(pixels.strides[0])
        return Memory(starts, np.full(len(indices), self.channels, np.uint8), pixels)

    def known_sizes(self, indices: NDArray[np.int64]) -> NDArray[np.int32]:
        return np.tile(np.array(self._shape[1:3], np.int32), (len(indices), 1))

    def remember(self, indices: NDArray[np.int64], sizes: NDArray[np.int32]) -> None:
        pass

    @property
    def sizes(self) -> NDArray[np.int32]:
        return self.known_sizes(np.arange(len(self)))

    def size(self, index: int) -> tuple[int, int]:
        return self._shape[1], self._shape[2]

    def image(self, index: int) -> Image.Image:
        return Image.fromarray(self._pixels(np.array([index]))[0])

    def describe(self) -> str:
        return f"{len(self)} images of torchvision's {self._name}, in memory"
