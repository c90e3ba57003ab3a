"""Images and labels in two columns: lists, arrays, or those of a table."""

import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from gpuload.datasets.base import ImageDataset
from gpuload.datasets.names import Names
from gpuload.errors import ArgumentError, ArgumentTypeError

__all__ = ["ImageList"]


class ImageList(ImageDataset):
    """Image files and their labels, in two columns of one length.

    ``dataset[i]`` is (image, label); see `ImageDataset` for what the image is. A sample costs its path and sixteen
    bytes, not Python objects.

    Args:
        paths: of the files: a list, a numpy array, a column of pandas or pyarrow, any sequence.
        labels: ints, numbers of any kind, or texts, in a sequence, an array, a column or a tensor. Ints arrive as
            int64, other numbers in the dtype that they have, texts as texts. An array of more dimensions has a row
            for each sample.
        transform: a gpuload transform, which the loader compiles, or any callable.
        target_transform: callable on the label.
        root: the folder that paths start from, where they are not absolute.
        exif_transpose: turn images as their EXIF orientation says. False, as torchvision, leaves them.

    Attributes:
        root: as given.
        targets: every label, as an array.
        classes: the labels that there are, sorted.
        class_to_idx: label to its place among them: ``target_transform=dataset.class_to_idx.get`` makes ints of texts.

    Raises:
        ArgumentError: paths and labels of different number.
        ArgumentTypeError: a path or a label of a type that is not allowed.
    """

    def __init__(
        self,
        paths: Any,
        labels: Any,
        transform: Callable[[Any], Any] | None = None,
        target_transform: Callable[[Any], Any] | None = None,
        *,
        root: str | os.PathLike[str] = "",
        exif_transpose: bool = False,
    ) -> None:
        super().__init__(transform, target_transform, exif_transpose=exif_transpose)
        self.root = os.path.expanduser(os.fspath(root))
        self._names = Names(_file_names(paths))
        self._texts, self._labels = _encoded(_array(labels))
        if len(self._names) != len(self._labels):
            raise ArgumentError(
                f"paths and labels must be of one length, got {len(self._names)} paths and {len(self._labels)} labels"
            )

    @property
    def targets(self) -> NDArray[Any]:
        """Every label, before ``target_transform``: (N,) or (N, ...) array."""
        return self._labels if self._texts is None else self._texts[self._labels]

    @property
    def classes(self) -> list[Any]:
        """The labels that there are, sorted."""
        listed: list[Any] = (np.unique(self._labels) if self._texts is None else self._texts).tolist()
        return listed

    @property
    def class_to_idx(self) -> dict[Any, int]:
        """Label to its place in `classes`."""
        return {label: index for index, label in enumerate(self.classes)}

    def __len__(self) -> int:
        return len(self._labels)

    def path(self, index: int) -> str:
        return os.fsdecode(self.paths(np.array([index]))[0])

    def target(self, index: int) -> Any:
        label = self._labels[index]
        if self._texts is not None:
            return str(self._texts[label])
        return int(label) if label.dtype == np.int64 and label.ndim == 0 else label

    def paths(self, indices: NDArray[np.int64]) -> list[bytes]:
        root = os.fsencode(self.root)
        return [os.path.join(root, name) for name in self._names.of(indices)]

    def targets_of(self, indices: NDArray[np.int64]) -> Sequence[Any] | NDArray[Any]:
        if type(self).target is not ImageList.target:
            return super().targets_of(indices)
        labels = self._labels[indices]
        if self._texts is None:
            return labels
        texts: list[str] = self._texts[labels].tolist()
        return texts


def _file_names(paths: Any) -> list[bytes]:
    if isinstance(paths, str | bytes | os.PathLike):
        raise ArgumentTypeError(f"paths must be a sequence of file names, got one: {paths!r}")
    listed = paths.to_pylist() if hasattr(paths, "to_pylist") else list(paths)  # pyarrow's are scalars of its own
    for position, path in enumerate(listed):
        if not isinstance(path, str | bytes | os.PathLike):
            raise ArgumentTypeError(
                f"paths must be file names, got {path!r} ({type(path).__name__}) at position {position}"
            )
    return list(map(os.fsencode, listed))


def _array(labels: Any) -> NDArray[Any]:
    """Labels as an array: integers as int64, texts as objects."""
    if isinstance(labels, torch.Tensor):
        labels = labels.numpy(force=True)
    elif hasattr(labels, "to_pylist"):
        labels = labels.to_numpy(zero_copy_only=False)  # of pyarrow
    elif hasattr(labels, "to_numpy"):
        labels = labels.to_numpy()  # of pandas
    array = labels if isinstance(labels, np.ndarray) else _array_of(list(labels))
    if array.dtype.kind in "iu":
        return array.astype(np.int64)
    return np.array(array) if array.dtype.kind in "bf" else array.astype(object)


def _array_of(listed: list[Any]) -> NDArray[Any]:
    """numpy would make texts of numbers that stand among texts."""
    return np.array(listed, object) if any(isinstance(label, str) for label in listed) else np.array(listed)


def _encoded(labels: NDArray[Any]) -> tuple[NDArray[Any] | None, NDArray[Any]]:
    """The texts that there are, each once, and which of them each label is; None, and the labels: no texts."""
    if labels.dtype.kind != "O":
        return None, labels
    for position, label in enumerate(labels):
        if not isinstance(label, str):
            raise ArgumentTypeError(
                f"labels must be numbers or texts, got {label!r} ({type(label).__name__}) at position {position}"
            )
    texts, places = np.unique(labels, return_inverse=True)
    return texts, places.astype(np.int64)
