"""torchvision's datasets whose samples are an array in memory and a label."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from gpuload.datasets.base import ImageDataset
from gpuload.lifting.images import ArrayImages, gathered
from gpuload.lifting.own import check_lengths, separate
from gpuload.lifting.plain import Refusal, attribute

__all__ = ["ARRAYS", "Arrays"]

Indices = NDArray[np.int64]
Targets = Callable[[Indices], Sequence[Any] | NDArray[np.int64]]
Pixels = Callable[[Indices], NDArray[np.uint8]]


# ---- pixels ----


def _tensor(data: Any) -> Any:
    """A tensor's own memory."""
    if type(data) is not torch.Tensor or data.device.type != "cpu" or data.layout is not torch.strided:
        raise Refusal(f"its data is a {type(data).__name__}, not a tensor in the host's memory")
    return data.numpy() if data.dtype is torch.uint8 else np.empty(data.shape, np.float32)  # which is refused


def _planes(data: Any) -> Any:
    """Pixels of (N, 3, height, width)."""
    return data.transpose(0, 2, 3, 1) if getattr(data, "ndim", 0) == 4 else data


def _checked(data: Any, gray: bool) -> NDArray[np.uint8]:
    if not isinstance(data, np.ndarray) or type(data) not in (np.ndarray, np.memmap):
        raise Refusal(f"its data is a {type(data).__name__}, not an array")
    fits = data.ndim == 3 if gray else data.ndim == 4 and data.shape[3] == 3
    if data.dtype != np.uint8 or not fits or 0 in data.shape[1:]:
        what = "gray" if gray else "RGB"
        raise Refusal(f"its data is {data.dtype} {data.shape}, which are no {what} images of 8 bits")
    return data


# ---- targets ----


def _as_they_are(targets: Any) -> Targets:
    return lambda indices: [targets[index] for index in indices.tolist()]


def _ints(targets: Any) -> Targets:
    """As ``int(targets[i])``."""
    array = targets.numpy() if type(targets) is torch.Tensor and targets.device.type == "cpu" else targets
    if type(array) is np.ndarray and array.ndim == 1 and array.dtype.kind in "iu" and array.dtype != np.uint64:
        return lambda indices: array[indices].astype(np.int64)
    return lambda indices: [int(targets[index]) for index in indices.tolist()]


def _ints_or_none(targets: Any) -> Targets:
    return (lambda indices: [None] * len(indices)) if targets is None else _ints(targets)


def _first_ints(targets: Any) -> Targets:
    """As ``int(targets[i][0])``."""
    return lambda indices: [int(targets[index][0]) for index in indices.tolist()]


# ---- datasets ----


class Arrays(NamedTuple):
    """A kind of ``__getitem__`` that makes an image of an array.

    Attributes:
        names: that it uses, in order.
        array: pixels of its ``data``: (N, height, width), or (N, height, width, 3).
        gray: the images are "L".
        labels: the attribute that holds the targets.
        targets: makes targets of that.
    """

    names: str
    array: Callable[[Any], Any]
    gray: bool
    labels: str
    targets: Callable[[Any], Targets]

    def lift(self, dataset: Any) -> ImageDataset:
        """The dataset's pixels and targets, as they are now."""
        pixels = _checked(self.array(attribute(dataset, "data")), self.gray)
        labels = attribute(dataset, self.labels)
        if labels is not None:
            check_lengths({"data": pixels, self.labels: labels})
        name, transforms = type(dataset).__name__, separate(dataset)
        return ArrayImages(name, pixels.shape, partial(gathered, pixels), self.targets(labels), transforms)


class Qmnist(NamedTuple):
    """QMNIST: its targets are rows of eight numbers, or the first of them."""

    names: str

    def lift(self, dataset: Any) -> ImageDataset:
        """The dataset's pixels and targets, as they are now."""
        targets = _first_ints if attribute(dataset, "compat") else _as_they_are
        return Arrays(self.names, _tensor, True, "targets", targets).lift(dataset)


class Fer2013(NamedTuple):
    """FER2013: one tensor for each image."""

    names: str

    def lift(self, dataset: Any) -> ImageDataset:
        """The dataset's pixels and targets, as they are now."""
        samples = attribute(dataset, "_samples")
        shapes = {_checked(_tensor(pixels)[None], gray=True).shape for pixels, _ in samples}
        if len(shapes) > 1:
            raise Refusal("its images have several sizes")

        def block(indices: Indices) -> NDArray[np.uint8]:
            images = [samples[index][0].numpy() for index in indices.tolist()]
            return np.stack(images) if images else np.empty((0, *size), np.uint8)

        (_, *size), name = shapes.pop() if shapes else (1, 48, 48), type(dataset).__name__
        targets = lambda indices: [samples[index][1] for index in indices.tolist()]  # noqa: E731
        return ArrayImages(name, (len(samples), *size), block, targets, separate(dataset))


_AFTER = "transform target_transform"

ARRAYS: dict[str, Arrays | Qmnist | Fer2013] = {  # by the class that defines __getitem__
    "CIFAR10": Arrays(f"data targets Image fromarray {_AFTER}", lambda data: data, False, "targets", _as_they_are),
    "MNIST": Arrays(f"data int targets _Image_fromarray numpy {_AFTER}", _tensor, True, "targets", _ints),
    "QMNIST": Qmnist("data targets _Image_fromarray numpy transform compat int target_transform"),
    "SVHN": Arrays(f"data int labels Image fromarray np transpose {_AFTER}", _planes, False, "labels", _ints),
    "STL10": Arrays(f"labels data int Image fromarray np transpose {_AFTER}", _planes, False, "labels", _ints_or_none),
    "USPS": Arrays(f"data int targets _Image_fromarray {_AFTER}", lambda data: data, True, "targets", _ints),
    "SEMEION": Arrays(f"data int labels _Image_fromarray {_AFTER}", lambda data: data, True, "labels", _ints),
    "FER2013": Fer2013(f"_samples Image fromarray numpy {_AFTER}"),
}
