"""FFCV from its own file, in which it keeps JPEGs; it flips, and leaves the pixels uint8: nothing is normalized."""

import importlib.metadata
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.peers.protocol import Peer, Task, serve


class Files:
    """(path, label) of the files in class folders."""

    def __init__(self, root: Path) -> None:
        classes = sorted(folder for folder in root.iterdir() if folder.is_dir())
        self.samples = [(path, label) for label, folder in enumerate(classes) for path in sorted(folder.iterdir())]

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> tuple[Path, int]:
        return self.samples[index]


def keep_file(record: Any, path: Path, allocate: Any) -> None:
    """Takes the file's own bytes, where FFCV would decode and encode anew: every peer decodes the same JPEGs."""
    import numpy as np
    from PIL import Image

    with Image.open(path) as image:
        record["width"], record["height"] = image.size
    content = np.fromfile(path, np.uint8)
    record["mode"] = 0  # ffcv.fields.rgb_image.IMAGE_MODES["jpg"]
    record["data_ptr"], storage = allocate(len(content))
    storage[:] = content


def written(data: Path, workers: int) -> Path:
    """FFCV's file of these folders, beside them."""
    from ffcv.fields import IntField, RGBImageField
    from ffcv.writer import DatasetWriter

    target = data.with_suffix(".beton")
    if not target.exists():
        part = data.with_suffix(".part")
        images = RGBImageField(write_mode="jpg")
        images.encode = keep_file
        fields = {"image": images, "label": IntField()}
        DatasetWriter(str(part), fields, num_workers=workers).from_indexed_dataset(Files(data))
        part.rename(target)
    return target


def make(task: Task) -> Peer:
    from ffcv.fields.decoders import IntDecoder, RandomResizedCropRGBImageDecoder
    from ffcv.loader import Loader, OrderOption
    from ffcv.transforms import RandomHorizontalFlip, ToTensor, ToTorchImage

    if task.transform != "crop224":
        raise ValueError("FFCV is compared on RandomResizedCrop(224) alone")
    loader = Loader(
        str(written(task.data, task.workers)),
        batch_size=task.batch_size,
        num_workers=task.workers,
        order=OrderOption.RANDOM,
        os_cache=True,
        drop_last=True,
        seed=0,
        pipelines={
            "image": [RandomResizedCropRGBImageDecoder((224, 224)), RandomHorizontalFlip(), ToTensor(), ToTorchImage()],
            "label": [IntDecoder(), ToTensor()],
        },
    )

    def epoch() -> Iterator[int]:
        for images, _ in loader:
            yield len(images)

    return Peer(f"FFCV {importlib.metadata.version('ffcv')}", epoch)


if __name__ == "__main__":
    serve(make)
