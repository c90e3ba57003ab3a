"""Datasets: how many samples, the bytes of sample i, its label. Both are torch map-style datasets."""

import os
import sys
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from typing import Any, overload

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset, TensorDataset as TorchTensorDataset
from tqdm import tqdm

from gpuload.decode import Encoded, open_image
from gpuload.draws import Draws, TorchDraws
from gpuload.errors import ArgumentError, ArgumentTypeError, DatasetError, SampleError
from gpuload.plan import Plan
from gpuload.steps import Recipe
from gpuload.transforms import Compose, Transform

__all__ = ["IMG_EXTENSIONS", "ImageFolder", "Samples", "TensorDataset"]

IMG_EXTENSIONS = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp", ".gif")


class TensorDataset(TorchTensorDataset):
    """Tensors that live on the device; sample i is row i of each.

    Args:
        tensors: features, labels, ...: all of the same length, any dtype.
        device: where they are put; None: on CUDA if there is a GPU, else on the CPU.

    Raises:
        ArgumentTypeError: something that is no tensor.
        ArgumentError: no tensors, a scalar, or different lengths.
    """

    def __init__(self, *tensors: torch.Tensor, device: torch.device | str | None = None) -> None:
        if not tensors:
            raise ArgumentError("TensorDataset needs at least one tensor")
        for tensor in tensors:
            if not isinstance(tensor, torch.Tensor):
                raise ArgumentTypeError(
                    f"TensorDataset takes tensors, got {type(tensor).__name__}: torch.as_tensor(...)"
                )
        if any(t.ndim == 0 or len(t) != len(tensors[0]) for t in tensors):
            raise ArgumentError(f"tensors must have one length, got shapes {[tuple(t.shape) for t in tensors]}")
        target = device if device is not None else "cuda" if torch.cuda.is_available() else "cpu"
        super().__init__(*(tensor.to(target).contiguous() for tensor in tensors))

    @property
    def device(self) -> torch.device:
        """Where the tensors live."""
        return self.tensors[0].device


class Samples(Sequence[tuple[str, int]]):
    """(path, class index) of every sample, made when asked for.

    Names lie in one bytes object and folders in a short list, so that a sample costs its file name and eight
    bytes, not a Python object.
    """

    def __init__(self, root: str, folders: list[str], starts: list[int], classes: list[int]) -> None:
        self._root = root
        self._folders = folders  # relative to the root
        self._starts = starts  # first sample of each folder
        self._classes = classes  # class of each folder
        self._names = b""
        self._ends = np.zeros(0, np.uint64)  # of each name in _names

    def hold(self, names: bytes, ends: NDArray[np.uint64]) -> None:
        """Take the file names: one after the other, and where each ends."""
        self._names, self._ends = names, ends

    def __len__(self) -> int:
        return len(self._ends)

    @property
    def nbytes(self) -> int:
        """Bytes of state: names, offsets, and three list entries a folder."""
        return len(self._names) + self._ends.nbytes + sum(24 + sys.getsizeof(folder) for folder in self._folders)

    @overload
    def __getitem__(self, index: int) -> tuple[str, int]: ...
    @overload
    def __getitem__(self, index: slice) -> list[tuple[str, int]]: ...
    def __getitem__(self, index: int | slice) -> tuple[str, int] | list[tuple[str, int]]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        i = self.position(index)
        folder = bisect_right(self._starts, i) - 1
        begin = int(self._ends[i - 1]) if i else 0
        name = os.fsdecode(self._names[begin : int(self._ends[i])])
        return os.path.join(self._root, self._folders[folder], name), self._classes[folder]

    def position(self, index: int) -> int:
        """The index counted from the start; negative ones count from the end."""
        position = index + len(self) if index < 0 else index
        if not 0 <= position < len(self):
            raise IndexError(f"sample {index} of {len(self)}")
        return position

    def target(self, index: int) -> int:
        """The class index of sample ``index``."""
        return self._classes[bisect_right(self._starts, self.position(index)) - 1]

    def counts(self, classes: int) -> list[int]:
        """How many samples each of ``classes`` classes has."""
        counts = [0] * classes
        for owner, start, stop in zip(self._classes, self._starts, [*self._starts, len(self)][1:], strict=True):
            counts[owner] += stop - start
        return counts

    def targets(self) -> NDArray[np.int64]:
        """The class index of every sample."""
        return np.repeat(np.asarray(self._classes, np.int64), np.diff([*self._starts, len(self)]))


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
    samples = Samples(root, folders, starts, owners)
    samples.hold(bytes(names), np.concatenate(ends))
    return samples


class ImageFolder(Dataset[Any]):
    """Images in class folders: ``root/class/.../name.jpg``, as ``torchvision.datasets.ImageFolder``.

    ``dataset[i]`` is (image, class index). With a gpuload transform the image is a (C, H, W) tensor, made step
    by step with Pillow, random numbers drawn as torchvision draws them; with any other callable it is what that
    makes of the RGB PIL image; without a transform it is that PIL image.

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
        if transform is not None and not callable(transform):
            raise ArgumentTypeError(f"transform must be a transform, a callable or None, got {transform!r}")
        self.root = os.path.expanduser(os.fspath(root))
        self.transform, self.target_transform = transform, target_transform
        self.exif_transpose = exif_transpose
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
            self._targets = self.samples.targets()
        return self._targets

    @property
    def imgs(self) -> Samples:
        """torchvision's other name for `samples`."""
        return self.samples

    @property
    def plan(self) -> Plan | None:
        """What the transform compiles to; None: it is not one of gpuload's."""
        if isinstance(self.transform, Compose):
            return self.transform.plan
        return Plan([self.transform]) if isinstance(self.transform, Transform) else None

    def __len__(self) -> int:
        return len(self.samples)

    def open(self, index: int) -> Encoded:
        """Read the file of sample ``index`` and its header.

        Raises:
            SampleError: the file cannot be read or is no image.
        """
        index = self.samples.position(index)
        path, _ = self.samples[index]
        try:
            with open(path, "rb", buffering=0) as file:
                return open_image(file.readall(), self.exif_transpose)
        except Exception as error:
            raise SampleError(index, path, error) from error

    def label(self, index: int) -> Any:
        """The class index of sample ``index``, or what ``target_transform`` makes of it."""
        target = self.samples.target(index)
        return target if self.target_transform is None else self.target_transform(target)

    def recipe(self, index: int, draws: Draws | None = None) -> Recipe:
        """What is drawn for sample ``index``: the steps that its transform becomes.

        Args:
            index: of the sample.
            draws: random numbers; None: torch's default generator.
        """
        plan = self._need_plan()
        encoded = self.open(index)
        return plan.recipe(encoded.height, encoded.width, draws or TorchDraws())

    def apply(self, index: int, recipe: Recipe) -> Any:
        """Sample ``index`` with these steps, on the CPU with Pillow: (C, H, W) tensor."""
        return self._need_plan().apply(self.open(index).image(), recipe)

    def _need_plan(self) -> Plan:
        plan = self.plan
        if plan is None:
            raise ArgumentError(f"the transform {self.transform!r} is not one of gpuload.transforms: it has no recipe")
        return plan

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        index = self.samples.position(index)
        encoded = self.open(index)
        try:
            image = encoded.image()
            return (image if self.transform is None else self.transform(image)), self.label(index)
        except Exception as error:
            raise SampleError(index, self.samples[index][0], error) from error
