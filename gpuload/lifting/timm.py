"""timm's ImageDataset of a folder, as ``timm.data.create_dataset("", root)`` makes it.

It passes over files that it cannot read, with a warning: the next one stands for them. timm is not imported: what is
not loaded has no datasets.
"""

import logging
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from gpuload.lifting.images import FileImages, Transforms, sizes_of
from gpuload.lifting.plain import READ, Refusal, attribute, check_methods, check_names

__all__ = ["is_of_timm", "lift"]

logger = logging.getLogger("timm.data.dataset")  # where timm itself warns

LIBRARY = "timm.data"
DATASET = "timm.data.dataset", "ImageDataset"
READER = "timm.data.readers.reader_image_folder", "ReaderImageFolder"
METHODS = {  # the names that each uses, in order: another version's may do something else
    DATASET: {
        "__getitem__": "range _max_retries reader load_bytes read Image open input_img_mode convert IOError OSError "
        "_logger warning len RuntimeError transform target_transform additional_features",
        "__len__": "len reader",
    },
    READER: {"__getitem__": "samples open", "__len__": "len samples"},
}
WANTED = {"load_bytes": False, "input_img_mode": "RGB", "additional_features": None}


def is_of_timm(dataset: Any) -> bool:
    """Is it timm's ImageDataset, or of a subclass?"""
    return any((base.__module__, base.__qualname__) == DATASET for base in type(dataset).__mro__)


def lift(dataset: Any) -> "_Images":
    """A dataset of timm's.

    Raises:
        Refusal: it reads samples in another way than one file after the other, as RGB.
    """
    check_methods(dataset, LIBRARY, READ)
    _check_version(DATASET)
    for name, wanted in WANTED.items():
        if (given := attribute(dataset, name)) != wanted:
            raise Refusal(f"its {name} is {given!r}")
    reader = attribute(dataset, "reader")
    if (type(reader).__module__, type(reader).__qualname__) != READER:
        raise Refusal(f"its reader is a {type(reader).__name__}, not one of a folder")
    check_methods(reader, LIBRARY, METHODS[READER])
    _check_version(READER)
    samples = attribute(reader, "samples")
    transforms = Transforms(attribute(dataset, "transform"), attribute(dataset, "target_transform"))
    sizes = sizes_of(dataset, samples, len(samples))
    return _Images(type(dataset).__name__, samples, sizes, transforms, attribute(dataset, "_max_retries"))


def _check_version(owner: tuple[str, str]) -> None:
    """A class of timm's is that of a timm that gpuload knows."""
    module, name = owner
    for method, names in METHODS[owner].items():
        check_names(getattr(sys.modules[module], name), method, names)


class _Images(FileImages):
    """Files, of which those that fail are passed over.

    Args:
        name: of the dataset's class.
        samples: path and target of each.
        sizes, transforms: as of `FileImages`.
        attempts: how many files in a row may be tried.
    """

    def __init__(
        self, name: str, samples: Sequence[Any], sizes: NDArray[np.int32], transforms: Transforms, attempts: int
    ) -> None:
        super().__init__(f"timm's {name}", samples.__getitem__, sizes, transforms)
        self._attempts, self._stand_ins = attempts, dict[int, int]()

    def path(self, index: int) -> str:
        return super().path(self._stand_ins.get(index, index))

    def target(self, index: int) -> Any:
        target = super().target(self._stand_ins.get(index, index))
        return -1 if target is None and self.target_transform is None else target

    def _label(self, index: int, target: Any) -> Any:
        return -1 if target is None else super()._label(index, target)

    def size(self, index: int) -> tuple[int, int]:
        try:
            return super().size(index)
        except OSError:
            self.passes_over(index)
            return super().size(index)

    def passes_over(self, index: int) -> bool:
        self._stand_ins[index] = self._readable(index)
        return True

    def _readable(self, index: int) -> int:
        """The first sample from here on whose file can be read, as timm finds it."""
        for _ in range(self._attempts):
            try:
                with open(super().path(index), "rb") as file, Image.open(file) as image:
                    image.convert("RGB")
                return index
            except OSError as error:
                logger.warning("Skipped sample (index %d). %s", index, error)
                index = (index + 1) % len(self)
        raise RuntimeError(f"Failed to load {self._attempts} consecutive samples")
