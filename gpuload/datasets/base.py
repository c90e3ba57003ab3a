"""What gpuload's loader wants of a dataset of images: a length, the file of each sample, its target."""

import os
from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch.utils.data import Dataset

from gpuload.datasets.patience import patiently
from gpuload.decoders.files import Memory
from gpuload.decoders.pillow import decode, image_size
from gpuload.errors import ArgumentError, ArgumentTypeError, SampleError
from gpuload.recipes.draws import Draws, TorchDraws
from gpuload.recipes.ops import Recipe
from gpuload.stage import name_of
from gpuload.transforms.program import Program, Views, compiled

__all__ = ["ImageDataset", "file_bytes", "load_image"]


def load_image(path: str) -> Image.Image:
    """The image of a file, as an RGB PIL image."""
    with open(path, "rb") as file:
        return decode(file.read())


def file_bytes(path: str) -> bytes:
    """What a file holds. A read that fails for a moment is tried again."""
    return patiently(partial(_read, path))


class ImageDataset(Dataset[Any]):
    """Base of datasets whose samples are image files: give it `__len__`, `path` and `target`.

    ``dataset[i]`` is (image, target). With a gpuload transform the image is a (C, H, W) tensor, made operation by
    operation with Pillow, random numbers drawn as torchvision draws them; with any other callable it is what that
    makes of the RGB PIL image; without a transform it is that PIL image.

    Args:
        transform: gpuload's or torchvision's, which the loader compiles, or any callable.
        target_transform: callable on the target.
        exif_transpose: turn images as their EXIF orientation says. False, as torchvision, leaves them.

    Attributes:
        channels: of the images that the transform gets: 3, "RGB", or 1, "L".
        usual_collate: what the loader's ``collate_fn`` is where that is None; None: torch's.
    """

    channels: int = 3
    usual_collate: Callable[[list[Any]], Any] | None = None

    def __init__(
        self,
        transform: Callable[[Any], Any] | None = None,
        target_transform: Callable[[Any], Any] | None = None,
        *,
        exif_transpose: bool = False,
    ) -> None:
        if transform is not None and not callable(transform):
            raise ArgumentTypeError(f"transform must be a transform, a callable or None, got {transform!r}")
        self.transform, self.target_transform = transform, target_transform
        self.exif_transpose = exif_transpose
        self._sizes = np.zeros((0, 2), np.int32)

    @abstractmethod
    def __len__(self) -> int:
        """Number of samples."""

    @abstractmethod
    def path(self, index: int) -> str:
        """The file of sample ``index``, from 0 on."""

    @abstractmethod
    def target(self, index: int) -> Any:
        """The target of sample ``index``, before ``target_transform``."""

    # ---- many samples at a time; override where there is a faster way ----

    def paths(self, indices: NDArray[np.int64]) -> list[bytes]:
        """The files of n samples, as the file system has them."""
        return [os.fsencode(self.path(index)) for index in indices.tolist()]

    def targets_of(self, indices: NDArray[np.int64]) -> Sequence[Any] | NDArray[np.int64]:
        """The targets of n samples, before ``target_transform``."""
        return [self.target(index) for index in indices.tolist()]

    def memory(self, indices: NDArray[np.int64]) -> Memory | None:
        """The pixels of n samples, where some lie in memory; None: all are files."""
        return None

    def known_sizes(self, indices: NDArray[np.int64]) -> NDArray[np.int32]:
        """Height and width of n images, in pixels: (n, 2); 0: not known yet."""
        return self.sizes[indices]

    def remember(self, indices: NDArray[np.int64], sizes: NDArray[np.int32]) -> None:
        """Height and width of n images, in pixels, now known; 0: no longer."""
        self.sizes[indices] = sizes

    def describe(self) -> str:
        """What it holds, for explain."""
        return f"{len(self)} files of {type(self).__name__}"

    # ---- what follows from these ----

    def why_not_plain(self) -> str | None:
        """What makes a sample more than its file, transformed, and its target; None: nothing does.

        The loader prepares plain samples itself, by `paths`, `targets_of`, ``transform`` and ``target_transform``. That
        a method is overridden which reads an image or makes a sample (`image`, ``__getitem__``), it sees by itself.
        """
        return None

    @contextmanager
    def naming(self, index: int) -> Iterator[None]:
        """What fails inside the block is the error of sample ``index``.

        Raises:
            SampleError: something failed.
        """
        try:
            yield
        except SampleError:
            raise
        except Exception as error:
            raise SampleError(index, self.path(index), error) from error

    @property
    def sizes(self) -> NDArray[np.int32]:
        """Height and width of every image that was read, in pixels: (N, 2) int32; 0: not read yet.

        The loader remembers them here, so that later epochs plan before they read.
        """
        if len(self._sizes) != len(self):
            self._sizes = np.zeros((len(self), 2), np.int32)
        return self._sizes

    @property
    def program(self) -> Program | Views | str:
        """What the transform compiles to, as it is now; or why it does not, in words."""
        return compiled(self.transform, self.channels)

    def labels(self, indices: NDArray[np.int64]) -> Sequence[Any] | NDArray[np.int64]:
        """The targets of n samples, after ``target_transform``.

        Raises:
            SampleError: ``target_transform`` failed.
        """
        targets = self.targets_of(indices)
        if self.target_transform is None:
            return targets
        listed = targets.tolist() if isinstance(targets, np.ndarray) else targets
        return [self._label(index, target) for index, target in zip(indices.tolist(), listed, strict=True)]

    def _label(self, index: int, target: Any) -> Any:
        if self.target_transform is None:
            return target
        with self.naming(index):
            return self.target_transform(target)

    def read(self, index: int) -> bytes:
        """The encoded image of sample ``index``. A read that fails for a moment is tried again.

        Raises:
            SampleError: the file cannot be read.
        """
        with self.naming(index):
            return file_bytes(self.path(index))

    def size(self, index: int) -> tuple[int, int]:
        """(height, width) of sample ``index`` in pixels, read from its file.

        Raises:
            SampleError: the file cannot be read or is no image.
        """
        with self.naming(index):
            return patiently(partial(_size, self.path(index), self.exif_transpose))

    def image(self, index: int) -> Image.Image:
        """Sample ``index`` as an RGB PIL image.

        Raises:
            SampleError: the file cannot be read or is no image.
        """
        data = self.read(index)
        with self.naming(index):
            return decode(data, self.exif_transpose)

    def passes_over(self, index: int) -> bool:
        """Does another sample stand for this one, whose file has just failed, from now on? Else its error is raised."""
        return False

    def position(self, index: int) -> int:
        """The index counted from the start; negative ones count from the end."""
        position = index + len(self) if index < 0 else index
        if not 0 <= position < len(self):
            raise IndexError(f"sample {index} of {len(self)}")
        return position

    def recipe(self, index: int, draws: Draws | None = None) -> Recipe:
        """What is drawn for sample ``index``: the operations that its transform becomes.

        Args:
            index: of the sample.
            draws: one sample's random numbers; None: torch's default generator.

        Returns:
            The recipe; of a `MultiView` one for each view.
        """
        program, (height, width) = self.require_recipes(), self.size(self.position(index))
        drawn = [leg.plan.recipes([height], [width], draws or TorchDraws())[0] for leg in program.legs]
        return tuple(drawn) if isinstance(program, Views) else drawn[0]

    def apply(self, index: int, recipe: Recipe) -> Any:
        """Sample ``index`` with these operations, on the CPU with Pillow: (C, H, W) tensor, or one for each view."""
        program, image = self.require_recipes(), self.image(self.position(index))
        if isinstance(program, Views):
            return [leg.plan.apply(image, each) for leg, each in zip(program.legs, recipe, strict=True)]
        return program.legs[0].plan.apply(image, recipe)

    def require_recipes(self) -> Program | Views:
        """The program, whose plans make recipes, where these are the whole of the transform.

        Raises:
            ArgumentError: there is ordinary code in it, or nothing that gpuload knows.
        """
        program = self.program
        if isinstance(program, str):
            raise ArgumentError(f"{type(self).__name__} has no recipes: {program}")
        calls = [name_of(call) for leg in program.legs for call in leg.calls]
        if calls:
            raise ArgumentError(f"the transform has no recipe: {', '.join(calls)} is ordinary code")
        return program

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        index = self.position(index)
        image = self.image(index)
        if self.transform is not None:
            with self.naming(index):
                image = self.transform(image)
        return image, self._label(index, self.target(index))

    def __repr__(self) -> str:
        """As of torchvision's datasets."""
        body = [f"Number of datapoints: {len(self)}"]
        body += [f"Root location: {root}"] if (root := getattr(self, "root", None)) else []
        body += self.extra_repr().splitlines()
        given = {"Transform: ": self.transform, "Target transform: ": self.target_transform}
        transforms = [_indented(head, repr(given[head])) for head in given if given[head] is not None]
        body += ["\n".join(["StandardTransform", *transforms])] if transforms else []
        return "\n    ".join([f"Dataset {type(self).__name__}", *body])

    def extra_repr(self) -> str:
        """More lines of `repr`, of a subclass."""
        return ""


def _read(path: str) -> bytes:
    with open(path, "rb", buffering=0) as file:
        return file.readall()


def _size(path: str, upright: bool) -> tuple[int, int]:
    with open(path, "rb") as file:
        return image_size(file, upright)


def _indented(head: str, text: str) -> str:
    return head + text.replace("\n", "\n" + " " * len(head))
