"""How masks and boxes move with their images: a row for each, with the image as it is, and several draws beside it."""

import os
from pathlib import Path
from typing import Any

from PIL import Image

from gpuload import transforms as T
from gpuload.datasets import CocoDetection, JointDataset, SegmentationFolder
from gpuload.errors import DatasetError
from gpuload.loader import DataLoader
from gpuload.tools.overlay import said
from gpuload.tools.preview import batch_pictures, check_path, names_of, sheet, with_targets

__all__ = ["boxed", "draws", "masked"]

ROWS, DRAWS = 5, 4
SCALES = 0.5, 1.5  # of detection: between half and half as much again of the square


def masked(images: str, masks: str, size: int) -> SegmentationFolder:
    """Images and their masks, to be cropped and flipped.

    Args:
        images, masks: folders.
        size: of the crops, in pixels.

    Raises:
        DatasetError: as of `SegmentationFolder`.
    """
    moves = [T.RandomResizedCrop(size, interpolation=T.InterpolationMode.BICUBIC), T.RandomHorizontalFlip()]
    return SegmentationFolder(images, masks, T.Compose(moves))


def boxed(images: str, annotations: str, size: int) -> CocoDetection:
    """Images and their boxes, to be scaled and flipped.

    Args:
        images: a folder.
        annotations: a file of COCO's.
        size: of the square that images fit in before they are scaled, in pixels.

    Raises:
        DatasetError: there is no such folder or file, or they do not belong together.
    """
    if not os.path.isdir(images):
        raise DatasetError(f"images {images!r} is no folder")
    if not os.path.isfile(annotations):
        raise DatasetError(f"annotations {annotations!r} is no file")
    moves = [T.ScaleJitter((size, size), SCALES), T.RandomHorizontalFlip()]
    dataset = CocoDetection(images, annotations, T.Compose(moves))
    if not len(dataset):
        raise DatasetError(f"annotations {annotations!r} list no images")
    missing = [path for path in map(dataset.path, range(len(dataset))) if not os.path.exists(path)]
    if missing:
        raise DatasetError(
            f"{len(missing)} of the {len(dataset)} images that {annotations!r} lists are not in {images!r}, such as "
            f"{os.path.relpath(missing[0], images)!r}: pass the folder of these images"
        )
    return dataset


def draws(dataset: JointDataset, path: str | os.PathLike[str], seed: int, workers: int, device: str | None) -> Path:
    """Write a PNG file of images from all of a dataset, each beside `DRAWS` draws of its transforms.

    Args:
        dataset: of images and masks or boxes.
        path: of the file, ending in .png; missing folders are made.
        seed: of what is drawn.
        workers: threads.
        device: None: a GPU where there is one.

    Returns:
        The path.

    Raises:
        SampleError: an image or its mask cannot be read, or they differ in size.
        ArgumentError: a path that does not end in .png.
    """
    file = check_path(path)
    count = min(ROWS, len(dataset))
    indices = [number * len(dataset) // count for number in range(count)]
    loader: DataLoader[Any] = DataLoader(
        dataset, count * DRAWS, sampler=indices * DRAWS, num_workers=workers, seed=seed, device=device
    )
    images, targets = next(iter(loader))
    names, captions = names_of(dataset), [said(target, names_of(dataset)) for target in targets]
    made = with_targets(batch_pictures(loader, images), targets, names)
    edge = max(max(picture.size) for picture in made)
    shown, below = list[Image.Image](), list[str]()
    for row, index in enumerate(indices):
        image = dataset.image(index)
        target = dataset.loaded(index, image.height, image.width)
        shown += with_targets([image], [target], names, edge) + made[row::count]
        below += [os.path.basename(dataset.path(index)), *captions[row::count]]
    finished = sheet(shown, below, 1 + DRAWS)
    file.parent.mkdir(parents=True, exist_ok=True)
    finished.save(file)
    return file
