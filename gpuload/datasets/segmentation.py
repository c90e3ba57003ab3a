"""Images and their masks, in two folders."""

import os
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from gpuload.datasets.base import file_bytes
from gpuload.datasets.joint import JointDataset
from gpuload.datasets.names import Names
from gpuload.decoders.pillow import decode_as_is
from gpuload.errors import DatasetError, DecodeError, MissingError
from gpuload.recipes.recipes import Recipes
from gpuload.targets import Call, called, mask_of, moved_mask, tensor_of
from gpuload.transforms.program import Program

__all__ = ["MaskedImages", "SegmentationFolder"]


class MaskedImages(JointDataset):
    """Images, each with a file that holds its mask.

    ``dataset[i]`` is (image, mask). The mask is (H, W) uint8, the values of its file: a ``tv_tensors.Mask`` where
    torchvision is installed, else a tensor.

    Args:
        images, masks: paths, of one number.
        transforms: as of `JointDataset`.
    """

    has_masks = True

    def __init__(self, images: Iterable[str], masks: Iterable[str], transforms: Callable[..., Any] | None) -> None:
        super().__init__(transforms)
        self._images, self._masks = (Names(map(os.fsencode, paths)) for paths in (images, masks))

    def __len__(self) -> int:
        return len(self._images)

    def path(self, index: int) -> str:
        return os.fsdecode(self._images.of(np.array([index]))[0])

    def paths(self, indices: NDArray[np.int64]) -> list[bytes]:
        return self._images.of(indices)

    def mask_path(self, index: int) -> str:
        """The file of a sample's mask."""
        return os.fsdecode(self._masks.of(np.array([index]))[0])

    def mask(self, index: int, height: int, width: int) -> NDArray[np.uint8]:
        """The mask of sample ``index``: (H, W) uint8.

        Args:
            index: from 0 on.
            height, width: of its image, in pixels.

        Raises:
            DecodeError: its file is no mask, or one of another size than the image.
        """
        path = self.mask_path(index)
        try:
            mask = mask_of(decode_as_is(file_bytes(path)))
        except DecodeError as error:
            raise DecodeError(f"its mask {path}: {error}") from error
        if mask.shape != (height, width):
            raise DecodeError(
                f"the mask {path} has {mask.shape[0]} x {mask.shape[1]} pixels, but its image {self.path(index)} has "
                f"{height} x {width}"
            )
        return mask

    def loaded(self, index: int, height: int, width: int) -> Any:
        return tensor_of(self.mask(index, height, width))

    def followed(self, loaded: Any, recipes: Recipes) -> Any:
        mask = tensor_of(moved_mask(loaded.numpy(), recipes))
        for op in recipes[0]:
            mask = op.of(mask) if isinstance(op, Call) else mask
        return mask

    @property
    def program(self) -> Program | str:
        program = super().program
        if isinstance(program, Program):
            try:
                self.form(program)
            except MissingError:
                raise
            except Exception as error:  # it is said by whoever calls it
                return f"its transforms fail on masks: {error}"
        return program

    def form(self, program: Program) -> torch.Tensor:
        form: torch.Tensor = called(program, tensor_of(np.zeros((1, 1), np.uint8)))
        return form

    def describe(self) -> str:
        return f"{len(self)} images with masks"


class SegmentationFolder(MaskedImages):
    """Images in one folder, and masks in another, matched by their names without the ending.

    ``dataset[i]`` is (image, mask): see `MaskedImages`. The pixels of a mask are numbers of classes: files of mode L, P
    or 1, as PNG holds them. Folders in the folders are matched likewise.

    Args:
        images, masks: folders.
        transforms: of image and mask together: a gpuload or torchvision v2 transform, which the loader compiles, or any
            callable on (PIL image, mask).

    Raises:
        DatasetError: a folder is missing or has no images; an image without a mask; two files of one name.
    """

    def __init__(
        self,
        images: str | os.PathLike[str],
        masks: str | os.PathLike[str],
        transforms: Callable[..., Any] | None = None,
    ) -> None:
        self.images, self.masks = (os.path.expanduser(os.fspath(folder)) for folder in (images, masks))
        files, others = _stems("images", self.images), _stems("masks", self.masks)
        missing = [file for stem, file in files.items() if stem not in others]
        if missing:
            raise DatasetError(
                f"{len(missing)} of {len(files)} images have no mask of their name in {self.masks!r}, such as "
                f"{missing[0]!r}"
            )
        super().__init__(files.values(), (others[stem] for stem in files), transforms)

    def extra_repr(self) -> str:
        return f"Images: {self.images}\nMasks: {self.masks}"

    def describe(self) -> str:
        return f"{len(self)} images in {self.images}, with masks in {self.masks}"


def _stems(name: str, folder: str) -> dict[str, str]:
    """The path of each image file in a folder and below it, by its name without the ending, in order."""
    if not os.path.isdir(folder):
        raise DatasetError(f"{name} {folder!r} is no folder")
    found: dict[str, str] = {}
    for path in _files(folder):
        stem = os.path.splitext(os.path.relpath(path, folder))[0]
        if stem in found:
            raise DatasetError(f"{name} has two files of one name: {found[stem]!r} and {path!r}")
        found[stem] = path
    if not found:
        raise DatasetError(f"{name} {folder!r} has no image files")
    return found


def _files(folder: str) -> Iterator[str]:
    endings = Image.registered_extensions()
    for where, folders, names in os.walk(folder, followlinks=True):
        folders.sort()
        for name in sorted(names):
            if os.path.splitext(name)[1].lower() in endings:
                yield os.path.join(where, name)
