"""Images in class folders."""

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from gpuload.datasets.base import ImageDataset
from gpuload.errors import DatasetError

__all__ = ["IMG_EXTENSIONS", "ImageFolder", "Samples"]

IMG_EXTENSIONS = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp", ".gif")


class Samples(Sequence[tuple[str, int]]):
    """(path, class index) of every sample, made when asked for.

    Names lie in one bytes object and folders in a short list, so that a sample costs its file name and eight
    bytes, not a Python object.

    Args:
        root: of all folders.
        folders: relative to the root.
        starts: first sample of each folder.
        classes: class index of each folder.
        names: file names, one after the other, as the file system has them.
        ends: where each ends: (N,) integers.
    """

    def __init__(
        self, root: str, folders: list[str], starts: list[int], classes: list[int], names: bytes, ends: NDArray[Any]
    ) -> None:
        self._root, self._folders = root, folders
        self._starts = np.array(starts, np.int64)
        self._classes = np.array(classes, np.int64)
        self._names = names
        self._bounds = np.concatenate([np.zeros(1, np.int64), ends.astype(np.int64)])
        self._prefixes = [os.fsencode(os.path.join(root, folder, "")) for folder in folders]

    def __len__(self) -> int:
        return len(self._bounds) - 1

    @property
    def nbytes(self) -> int:
        """Bytes of state: names, offsets, and what there is of each folder."""
        folders = sum(sys.getsizeof(text) + 16 for texts in (self._folders, self._prefixes) for text in texts)
        return len(self._names) + self._bounds.nbytes + self._starts.nbytes + self._classes.nbytes + folders

    @overload
    def __getitem__(self, index: int) -> tuple[str, int]: ...
    @overload
    def __getitem__(self, index: slice) -> list[tuple[str, int]]: ...
    def __getitem__(self, index: int | slice) -> tuple[str, int] | list[tuple[str, int]]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        position = index + len(self) if index < 0 else index
        if not 0 <= position < len(self):
            raise IndexError(f"sample {index} of {len(self)}")
        one = np.array([position])
        return os.fsdecode(self.paths(one)[0]), int(self.classes(one)[0])

    def _owners(self, indices: NDArray[np.int64]) -> NDArray[np.int64]:
        """The folder of each sample."""
        owners: NDArray[np.int64] = np.searchsorted(self._starts, indices, side="right") - 1
        return owners

    def paths(self, indices: NDArray[np.int64]) -> list[bytes]:
        """The files of n samples, as the file system has them."""
        names, prefixes = self._names, self._prefixes
        begins, ends = self._bounds[indices].tolist(), self._bounds[indices + 1].tolist()
        owners = self._owners(indices).tolist()
        return [prefixes[f] + names[b:e] for f, b, e in zip(owners, begins, ends, strict=True)]

    def classes(self, indices: NDArray[np.int64]) -> NDArray[np.int64]:
        """The class index of n samples."""
        return self._classes[self._owners(indices)]

    def counts(self, classes: int) -> list[int]:
        """How many samples each of ``classes`` classes has."""
        counts: list[int] = np.bincount(self._classes, self._folder_sizes(), classes).astype(np.int64).tolist()
        return counts

    def targets(self) -> NDArray[np.int64]:
        """The class index of every sample."""
        return np.repeat(self._classes, self._folder_sizes())

    def _folder_sizes(self) -> NDArray[np.int64]:
        return np.diff(self._starts, append=len(self))


def _file_names(folder: str, is_valid: Callable[[str], bool]) -> Iterator[tuple[str, list[str]]]:
    """(folder, sorted file names) below a folder, in the order in which torchvision lists them."""
    for where, _, names in sorted(os.walk(folder, followlinks=True)):
        valid = sorted(name for name in names if is_valid(os.path.join(where, name)))
        if valid:
            yield where, valid


def _has_image_extension(path: str) -> bool:
    return path.lower().endswith(IMG_EXTENSIONS)


def _find_classes(root: str) -> list[str]:
    if not os.path.isdir(root):
        what = "is a file" if os.path.exists(root) else "does not exist"
        raise DatasetError(f"root {root!r} {what}: pass a folder with one folder of images for each class")
    with os.scandir(root) as entries:
        classes = sorted(entry.name for entry in entries if entry.is_dir())
    if not classes:
        raise DatasetError(f"root {root!r} has no class folders: put each class's images into a folder of its own")
    return classes


def _scan(root: str, classes: list[str], is_valid: Callable[[str], bool]) -> Samples:
    folders: list[str] = []
    starts: list[int] = []
    owners: list[int] = []
    names, ends = bytearray(), [np.zeros(0, np.uint64)]
    count = 0
    with tqdm(desc=f"Scanning {root}", unit=" files", delay=1.0, leave=False) as progress:
        for index, name in enumerate(classes):
            for where, files in _file_names(os.path.join(root, name), is_valid):
                folders.append(os.path.relpath(where, root))
                starts.append(count)
                owners.append(index)
                encoded = [os.fsencode(file) for file in files]
                lengths = np.fromiter(map(len, encoded), np.uint64, len(encoded))
                ends.append(len(names) + np.cumsum(lengths, dtype=np.uint64))
                names += b"".join(encoded)
                count += len(files)
                progress.update(len(files))
    return Samples(root, folders, starts, owners, bytes(names), np.concatenate(ends))


class ImageFolder(ImageDataset):
    """Images in class folders: ``root/class/.../name.jpg``, as ``torchvision.datasets.ImageFolder``.

    ``dataset[i]`` is (image, class index); see `ImageDataset` for what the image is.

    Args:
        root: the folder.
        transform: a gpuload transform, which the loader compiles, or any callable.
        target_transform: callable on the class index.
        is_valid_file: callable on a path; None: by file extension (`IMG_EXTENSIONS`).
        allow_empty: accept class folders without images.
        exif_transpose: turn images as their EXIF orientation says. False, as torchvision, leaves them.

    Attributes:
        classes: class names, sorted.
        class_to_idx: class name to class index.
        samples: (path, class index) of every sample, lazily; also `imgs`.
        targets: class index of every sample, int64 array.

    Raises:
        DatasetError: root missing, without class folders, or a class without images.
    """

    def __init__(
        self,
        root: str | os.PathLike[str],
        transform: Callable[[Any], Any] | None = None,
        target_transform: Callable[[int], Any] | None = None,
        is_valid_file: Callable[[str], bool] | None = None,
        allow_empty: bool = False,
        *,
        exif_transpose: bool = False,
    ) -> None:
        super().__init__(transform, target_transform, exif_transpose=exif_transpose)
        self.root = os.path.expanduser(os.fspath(root))
        self.classes = _find_classes(self.root)
        self.class_to_idx = {name: index for index, name in enumerate(self.classes)}
        self.samples = _scan(self.root, self.classes, is_valid_file or _has_image_extension)
        self._targets: NDArray[np.int64] | None = None
        if not allow_empty:
            self._check_classes()

    def _check_classes(self) -> None:
        counts = self.samples.counts(len(self.classes))
        empty = [name for name, count in zip(self.classes, counts, strict=True) if not count]
        if empty:
            shown = ", ".join(repr(name) for name in empty[:5]) + (", ..." if len(empty) > 5 else "")
            raise DatasetError(
                f"no images for class {shown} in {self.root!r}: add some, remove the folder, or pass "
                f"allow_empty=True; image files end in {', '.join(IMG_EXTENSIONS)}"
            )

    @property
    def targets(self) -> NDArray[np.int64]:
        """Class index of every sample, int64; made on first use."""
        if self._targets is None:
            ours = isinstance(self.samples, Samples)  # a user may have put a list in its place
            self._targets = self.samples.targets() if ours else np.array([t for _, t in self.samples], np.int64)
        return self._targets

    @property
    def imgs(self) -> Samples:
        """torchvision's other name for `samples`."""
        return self.samples

    def __len__(self) -> int:
        return len(self.samples)

    def path(self, index: int) -> str:
        return self.samples[index][0]

    def target(self, index: int) -> int:
        return self.samples[index][1]

    def paths(self, indices: NDArray[np.int64]) -> list[bytes]:
        return self.samples.paths(indices) if self._is_plain("path") else super().paths(indices)

    def targets_of(self, indices: NDArray[np.int64]) -> Sequence[int] | NDArray[np.int64]:
        return self.samples.classes(indices) if self._is_plain("target") else super().targets_of(indices)

    def _is_plain(self, method: str) -> bool:
        """Is what a subclass or the user may have put in its place still ours?"""
        return isinstance(self.samples, Samples) and getattr(type(self), method) is getattr(ImageFolder, method)

    def describe(self) -> str:
        return f"{len(self)} files in {len(self.classes)} classes below {self.root}"
