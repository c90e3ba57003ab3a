"""Photos in class folders, to train on and to validate with; and the two loaders over them.

Every transform is written once, for gpuload and for torchvision alike: `augmented` and `plain` take the module
that they are to be made of.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from gpuload import transforms
from gpuload.datasets import ImageFolder
from gpuload.errors import ArgumentError
from gpuload.loader import DataLoader
from gpuload.presets import Preset
from gpuload.tools.common import cores, need

__all__ = ["Part", "augmented", "make_photos", "parts", "plain", "to_floats", "workers"]

BATCH = 32
SIZE = 96  # pixels, height and width, of what the network sees
MEAN, STD = [0.5, 0.5, 0.5], [0.25, 0.25, 0.25]
MOST_WORKERS = 8  # more would share too few batches
HELD_OUT = 5  # in folders without a validation part, one photo in so many validates
ROWS = {"train": slice(177, 427), "val": slice(0, 177)}  # of both photos: no pixel serves both parts
COUNTS = {"train": 240, "val": 80}  # crops of each photo
HEIGHTS, WIDTHS = (96, 176), (128, 400)  # least and most pixels of a crop


def make_photos(folder: Path, seed: int) -> Path:
    """Cut scikit-learn's two photos into JPEGs of many sizes: ``folder/{train,val}/{china,flower}/000.jpg``."""
    photos = need("sklearn.datasets").load_sample_images()
    rng = np.random.default_rng(seed)
    for part, rows in ROWS.items():
        for path, pixels in zip(photos.filenames, photos.images, strict=True):
            target = folder / part / Path(path).stem
            target.mkdir(parents=True, exist_ok=True)
            region = Image.fromarray(pixels[rows])
            for number in range(COUNTS[part]):
                _random_crop(region, rng).save(target / f"{number:03}.jpg", quality=90)
    return folder


def _random_crop(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    height, width = (int(rng.integers(*sizes, endpoint=True)) for sizes in (HEIGHTS, WIDTHS))
    top = int(rng.integers(image.height - height, endpoint=True))
    left = int(rng.integers(image.width - width, endpoint=True))
    return image.crop((left, top, left + width, top + height))


@dataclass(frozen=True)
class Part:
    """The photos to train on, or those to validate with: some files of a folder of class folders.

    Attributes:
        preset: the recipe to train with; None: the demo's own, or they validate.
    """

    folder: Path
    classes: list[str]
    files: frozenset[str]
    trains: bool
    preset: Preset | None = None

    def gpuload_loader(self, seed: int, device: str | None, engine: str | None = None) -> DataLoader[Any]:
        """Batches by gpuload, on the device."""
        own = None if self.preset is None else self.preset.transform
        dataset = self._dataset(ImageFolder, transforms, own)
        batch_transform = None if self.preset is None else self.preset.batch_transform
        options: dict[str, Any] = {"seed": seed, "device": device, "engine": engine}
        return DataLoader(dataset, **self._arguments(), **options, batch_transform=batch_transform)

    def torch_loader(self, device: torch.device) -> Any:
        """The same by torch's loader and torchvision on PIL images; workers live on from epoch to epoch."""
        dataset = self._dataset(need("torchvision.datasets").ImageFolder, need("torchvision.transforms.v2"))
        arguments = self._arguments() | {"persistent_workers": True, "pin_memory": device.type == "cuda"}
        return torch.utils.data.DataLoader(dataset, **arguments)

    def _dataset(self, image_folder: Any, t: Any, transform: Any = None) -> Any:
        transform = transform or (augmented(t) if self.trains else plain(t))
        return image_folder(str(self.folder), transform=transform, is_valid_file=self.files.__contains__)

    def _arguments(self) -> dict[str, Any]:
        batch_size = min(BATCH, len(self.files))
        train = self.trains
        return {"batch_size": batch_size, "shuffle": train, "drop_last": train, "num_workers": workers()}


def workers() -> int:
    """Of each loader: one per core, up to a few."""
    return min(cores(), MOST_WORKERS)


def parts(data: Path) -> tuple[Part, Part]:
    """(training, validation): ``data/train`` and ``data/val`` or ``valid``, else every fifth photo validates.

    Raises:
        DatasetError: a folder is missing, or a class is empty.
        ArgumentError: fewer than two classes, too few photos to split, or other classes to validate.
    """
    held_out = next((data / name for name in ("val", "valid") if (data / name).is_dir()), None)
    if held_out is not None and (data / "train").is_dir():
        train, val = _whole(data / "train", trains=True), _whole(held_out, trains=False)
    else:
        train, val = _split(data)
    if train.classes != val.classes:
        raise ArgumentError(
            f"data must have the same classes to train on and to validate, got {train.classes} in "
            f"{str(train.folder)!r} and {val.classes} in {str(val.folder)!r}"
        )
    if len(train.classes) < 2:
        raise ArgumentError(
            f"data must have folders of at least two classes, got only {train.classes[0]!r} in {str(train.folder)!r}"
        )
    return train, val


def _whole(folder: Path, trains: bool) -> Part:
    dataset = ImageFolder(folder)
    return Part(folder, dataset.classes, frozenset(path for path, _ in dataset.samples), trains)


def _split(folder: Path) -> tuple[Part, Part]:
    dataset = ImageFolder(folder)
    files = [path for path, _ in dataset.samples]
    held_out: list[str] = []
    for index, name in enumerate(dataset.classes):
        members = np.flatnonzero(dataset.targets == index)
        if len(members) < 2:
            raise ArgumentError(
                f"data must have at least 2 photos of each class, to train on and to validate; "
                f"got {len(members)} of {name!r} in {str(folder)!r}"
            )
        held_out += (files[member] for member in members[::HELD_OUT])
    val = frozenset(held_out)
    train = Part(folder, dataset.classes, frozenset(files) - val, trains=True)
    return train, Part(folder, dataset.classes, val, trains=False)


# ---- transforms: ``t`` is gpuload.transforms or torchvision.transforms.v2 ----


def augmented(t: Any) -> Any:
    """What the network trains on: a random part of the photo, sometimes mirrored, sometimes in grayscale."""
    random = [t.RandomResizedCrop(SIZE, scale=(0.3, 1.0)), t.RandomHorizontalFlip(), t.RandomGrayscale(0.2)]
    return t.Compose([*random, *to_floats(t)])


def plain(t: Any) -> Any:
    """What it is validated with: the middle of the photo."""
    return t.Compose([t.Resize(SIZE * 7 // 6), t.CenterCrop(SIZE), *to_floats(t)])


def to_floats(t: Any) -> list[Any]:
    """From bytes to the values that the network gets."""
    return [t.ToImage(), t.ToDtype(torch.float32, scale=True), t.Normalize(MEAN, STD)]
