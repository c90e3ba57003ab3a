"""Images in class folders."""

import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from gpuload.datasets.base import ImageDataset, load_image
from gpuload.datasets.names import Names
from gpuload.errors import ArgumentError, ArgumentTypeError, DatasetError
from gpuload.stage import name_of

__all__ = ["IMG_EXTENSIONS", "ImageFolder", "Samples"]

IMG_EXTENSIONS = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp", ".gif")


class Samples(Sequence[tuple[str, int]]):
    """(path, class index) of every sample, made when asked for.

    Names lie in one bytes object and folders in a short list, so that a sample costs its file name and eight
    bytes, not a Python object.

    Args:
        root: of all folders.
        folders: (relative to the root, class index, first sample) of each.
        names: of the files.
    """

    def __init__(self, root: str, folders: list[tuple[str, int, int]], names: Names) -> None:
        self._names, self._folders = names, [os.fsencode(os.path.join(root, folder, "")) for folder, _, _ in folders]
        self._classes = np.array([owner for _, owner, _ in folders], np.int64)
        self._starts = np.array([start for _, _, start in folders], np.int64)

    def __len__(self) -> int:
        return len(self._names)

    @property
    def nbytes(self) -> int:
        """Bytes of state: names, and what there is of each folder."""
        folders = sum(sys.getsizeof(folder) + 8 for folder in self._folders)
        return self._names.nbytes + self._starts.nbytes + self._classes.nbytes + folders

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
        owners = self._owners(indices).tolist()
        return [self._folders[owner] + name for owner, name in zip(owners, self._names.of(indices), strict=True)]

    def classes(self, indices: NDArray[np.int64]) -> NDArray[np.int64]:
        """The class index of n samples."""
        return self._classes[self._owners(indices)]

    def targets(self) -> NDArray[np.int64]:
        """The class index of every sample."""
        return np.repeat(self._classes, np.diff(self._starts, append=len(self)))


def _file_names(folder: str, is_valid: Callable[[str], bool]) -> Iterator[tuple[str, list[str]]]:
    """(folder, sorted file names) below a folder, in the order in which torchvision lists them."""
    for where, _, names in sorted(os.walk(folder, followlinks=True)):
        valid = sorted(name for name in names if is_valid(os.path.join(where, name)))
        if valid:
            yield where, valid


def _scan(root: str, class_to_idx: Mapping[str, int], is_valid: Callable[[str], bool], allow_empty: bool) -> Samples:
    folders: list[tuple[str, int, int]] = []
    names, count, empty = Names(), 0, []
    with tqdm(desc=f"Scanning {root}", unit=" files", delay=1.0, leave=False) as progress:
        for name in sorted(class_to_idx):
            before = count
            for where, files in _file_names(os.path.join(root, name), is_valid):
                folders.append((os.path.relpath(where, root), class_to_idx[name], count))
                names.extend(map(os.fsencode, files))
                count += len(files)
                progress.update(len(files))
            if count == before:
                empty.append(name)
    if empty and not allow_empty:
        raise _no_images(root, empty)
    return Samples(root, folders, names)


def _no_images(root: str, empty: list[str]) -> DatasetError:
    shown = ", ".join(repr(name) for name in empty[:5]) + (", ..." if len(empty) > 5 else "")
    return DatasetError(
        f"no images for class {shown} in {root!r}: add some, remove the folder, or pass "
        f"allow_empty=True; image files end in {', '.join(IMG_EXTENSIONS)}"
    )


class ImageFolder(ImageDataset):
    """Images in class folders: ``root/class/.../name.jpg``, as ``torchvision.datasets.ImageFolder``.

    ``dataset[i]`` is (image, class index); see `ImageDataset` for what the image is. A subclass may have its own
    `find_classes` or `make_dataset`.

    Args:
        root: the folder.
        transform: a gpuload transform, which the loader compiles, or any callable.
        target_transform: callable on the class index.
        loader: callable on a path that gives the image; with one of your own it is ordinary code that reads it.
        is_valid_file: callable on a path; None: by file extension (`IMG_EXTENSIONS`).
        allow_empty: accept class folders without images.
        exif_transpose: turn images as their EXIF orientation says. False, as torchvision, leaves them.

    Attributes:
        root: of all paths.
        loader: as given.
        extensions: of the files that are images; None where ``is_valid_file`` decides.
        classes: class names, sorted.
        class_to_idx: class name to class index.
        samples: (path, class index) of every sample, lazily; also `imgs`. May be replaced by any list of such pairs.
        targets: class index of every sample, int64 array.

    Raises:
        DatasetError: root missing, without class folders, or a class without images.
    """

    def __init__(
        self,
        root: str | os.PathLike[str],
        transform: Callable[[Any], Any] | None = None,
        target_transform: Callable[[int], Any] | None = None,
        loader: Callable[[str], Any] = load_image,
        is_valid_file: Callable[[str], bool] | None = None,
        allow_empty: bool = False,
        *,
        exif_transpose: bool = False,
    ) -> None:
        super().__init__(transform, target_transform, exif_transpose=exif_transpose)
        if not callable(loader):
            raise ArgumentTypeError(f"loader must be a callable on a path, got {loader!r}")
        self.root, self.loader = os.path.expanduser(os.fspath(root)), loader
        self.extensions = IMG_EXTENSIONS if is_valid_file is None else None
        self.classes, self.class_to_idx = self.find_classes(self.root)
        self.samples: Sequence[tuple[str, int]] = self.make_dataset(
            self.root, self.class_to_idx, self.extensions, is_valid_file, allow_empty
        )
        self._targets: tuple[Any, Any] = None, None

    def find_classes(self, directory: str) -> tuple[list[str], dict[str, int]]:
        """The names of the classes, and the index of each: the folders of a directory.

        Raises:
            DatasetError: it is missing, or has no folders.
        """
        if not os.path.isdir(directory):
            what = "is a file" if os.path.exists(directory) else "does not exist"
            raise DatasetError(f"root {directory!r} {what}: pass a folder with one folder of images for each class")
        with os.scandir(directory) as entries:
            classes = sorted(entry.name for entry in entries if entry.is_dir())
        if not classes:
            raise DatasetError(
                f"root {directory!r} has no class folders: put each class's images into a folder of its own"
            )
        return classes, {name: index for index, name in enumerate(classes)}

    @staticmethod
    def make_dataset(
        directory: str,
        class_to_idx: dict[str, int],
        extensions: tuple[str, ...] | None = None,
        is_valid_file: Callable[[str], bool] | None = None,
        allow_empty: bool = False,
    ) -> Sequence[tuple[str, int]]:
        """(path, class index) of every sample.

        Args:
            directory: of the class folders.
            class_to_idx: which folders, and the class index of each.
            extensions: of the files that are samples, in lower case; or
            is_valid_file: callable on a path.
            allow_empty: accept class folders without samples.

        Raises:
            DatasetError: a class without samples.
            ArgumentError: neither or both of ``extensions`` and ``is_valid_file``.
        """
        if (extensions is None) == (is_valid_file is None):
            raise ArgumentError("pass either extensions or is_valid_file")
        is_valid = is_valid_file or (lambda path: path.lower().endswith(extensions or ()))
        return _scan(os.fspath(directory), class_to_idx, is_valid, allow_empty)

    @property
    def targets(self) -> Any:
        """Class index of every sample, int64 array; a list, where `samples` was replaced by one with other targets."""
        if not isinstance(self.samples, Samples):  # a list of the user's, which may change
            targets = [sample[1] for sample in self.samples]
            return np.array(targets, np.int64) if all(isinstance(target, int) for target in targets) else targets
        if self._targets[0] is not self.samples:
            self._targets = self.samples, self.samples.targets()
        return self._targets[1]

    @property
    def imgs(self) -> Sequence[tuple[str, int]]:
        """torchvision's other name for `samples`."""
        return self.samples

    def __len__(self) -> int:
        return len(self.samples)

    def path(self, index: int) -> str:
        return os.fspath(self.samples[index][0])

    def target(self, index: int) -> int:
        return self.samples[index][1]

    def paths(self, indices: NDArray[np.int64]) -> list[bytes]:
        samples = self._own_samples("path")
        return super().paths(indices) if samples is None else samples.paths(indices)

    def targets_of(self, indices: NDArray[np.int64]) -> Sequence[int] | NDArray[np.int64]:
        samples = self._own_samples("target")
        return super().targets_of(indices) if samples is None else samples.classes(indices)

    def _own_samples(self, method: str) -> Samples | None:
        """The samples, if neither they nor what a subclass says of one were replaced."""
        is_ours = getattr(type(self), method) is getattr(ImageFolder, method)
        return self.samples if is_ours and isinstance(self.samples, Samples) else None

    def image(self, index: int) -> Any:
        if self.loader is load_image:
            return super().image(index)
        with self.naming(index):
            return self.loader(self.path(index))

    def why_not_plain(self) -> str | None:
        if self.loader is not load_image:
            return f"its images are read by {name_of(self.loader)}"
        return super().why_not_plain()

    def describe(self) -> str:
        return f"{len(self)} files in {len(self.classes)} classes below {self.root}"
