"""torchvision's datasets whose samples are a file, decoded as RGB, and a label."""

import os
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

from gpuload.datasets.base import ImageDataset
from gpuload.lifting.images import FileImages, Transforms, sizes_of
from gpuload.lifting.own import DATASETS, check_lengths, joint, separate
from gpuload.lifting.plain import Refusal, attribute
from gpuload.shipped import is_shipped

__all__ = ["FILES", "Files"]

Sample = Callable[[int], tuple[Any, Any]]  # path and target


# ---- where its files are ----


def _listed(name: str) -> Callable[[Any], tuple[Any, Sample]]:
    """One list of (path, target)."""

    def read(dataset: Any) -> tuple[Any, Sample]:
        samples = attribute(dataset, name)
        return samples, samples.__getitem__

    return read


def _in_two(files_name: str, labels_name: str) -> Any:
    """A list of files and one of labels."""

    def read(dataset: Any) -> tuple[Any, Sample]:
        files, labels = attribute(dataset, files_name), attribute(dataset, labels_name)
        check_lengths({files_name: files, labels_name: labels})
        return files, lambda index: (files[index], labels[index])

    return read


def _sbu(dataset: Any) -> tuple[Any, Sample]:
    root, photos, captions = (attribute(dataset, name) for name in ("root", "photos", "captions"))
    check_lengths({"photos": photos, "captions": captions})
    return photos, lambda index: (os.path.join(root, "dataset", photos[index]), captions[index])


def _flickr8k(dataset: Any) -> tuple[Any, Sample]:
    ids, annotations = attribute(dataset, "ids"), attribute(dataset, "annotations")
    return ids, lambda index: (ids[index], annotations[ids[index]])


def _flickr30k(dataset: Any) -> tuple[Any, Sample]:
    ids, annotations, root = (attribute(dataset, name) for name in ("ids", "annotations", "root"))
    return ids, lambda index: (os.path.join(root, ids[index]), annotations[ids[index]])


def _inaturalist(dataset: Any) -> tuple[Any, Sample]:
    names = ("index", "root", "all_categories", "categories_map", "target_type")
    listed, root, folders, categories, kinds = (attribute(dataset, name) for name in names)

    def sample(index: int) -> tuple[Any, Any]:
        category, name = listed[index]
        targets = [category if kind == "full" else categories[category][kind] for kind in kinds]
        return os.path.join(root, folders[category], name), _one_or_tuple(targets)

    return listed, sample


def _pets(dataset: Any) -> tuple[Any, Sample]:
    names = ("_images", "_labels", "_bin_labels", "_target_types")
    images, labels, binary, kinds = (attribute(dataset, name) for name in names)
    if not {*kinds} <= {"category", "binary-category"}:
        raise Refusal("its targets are segmentation masks, which are read from files")
    check_lengths({"_images": images, "_labels": labels, "_bin_labels": binary})

    def sample(index: int) -> tuple[Any, Any]:
        targets = [labels[index] if kind == "category" else binary[index] for kind in kinds]
        return images[index], _one_or_tuple(targets) if targets else None

    return images, sample


def _one_or_tuple(targets: list[Any]) -> Any:
    return tuple(targets) if len(targets) > 1 else targets[0]


# ---- what decodes and transforms them ----


def _check_loader(loader: Any) -> None:
    """It is ``Image.open(...).convert("RGB")``."""
    module = f"{DATASETS}.folder"
    folder = vars(sys.modules[module])
    own = {name: folder[name] for name in ("default_loader", "pil_loader") if is_shipped(folder[name], module, name)}
    if len(own) < 2 or not any(loader is function for function in own.values()):
        raise Refusal(f"its loader is {getattr(loader, '__qualname__', loader)!s}, not torchvision's default")
    backend = sys.modules["torchvision"].get_image_backend()
    if loader is own["default_loader"] and backend != "PIL":
        raise Refusal(f"torchvision's image backend is {backend}")


def _where_true(dataset: Any) -> Transforms:
    """Each called where it is true: an empty ``nn.Sequential`` is not."""
    return Transforms(*(function or None for function in separate(dataset)))


class Files(NamedTuple):
    """A kind of ``__getitem__`` that reads a file.

    Attributes:
        names: that it uses, in order.
        read: what lists the files, and path and target of a sample.
        loader: the attribute that decodes; None: it decodes by itself, as the default loader.
        transforms: what it calls.
    """

    names: str
    read: Callable[[Any], tuple[Any, Sample]]
    loader: str | None = "loader"
    transforms: Callable[[Any], Transforms] = separate

    def lift(self, dataset: Any) -> ImageDataset:
        """The dataset's files and targets, as they are now."""
        if self.loader is not None:
            _check_loader(attribute(dataset, self.loader))
        files, sample = self.read(dataset)
        sizes = sizes_of(dataset, files, len(files))
        return FileImages(f"torchvision's {type(dataset).__name__}", sample, sizes, self.transforms(dataset))


_PAIRED = Files("_image_files _labels loader transform target_transform", _in_two("_image_files", "_labels"),
                transforms=_where_true)  # fmt: skip
_SAMPLES = "_samples loader transform target_transform"

FILES = {  # by the class that defines __getitem__
    "DatasetFolder": Files("samples loader transform target_transform", _listed("samples")),
    "StanfordCars": Files(_SAMPLES, _listed("_samples")),
    "Imagenette": Files(_SAMPLES, _listed("_samples")),
    "RenderedSST2": Files(_SAMPLES, _listed("_samples"), transforms=_where_true),
    **dict.fromkeys(["SUN397", "Flowers102", "Food101", "DTD", "CLEVRClassification", "FGVCAircraft"], _PAIRED),
    "GTSRB": Files("_samples PIL Image open convert transform target_transform", _listed("_samples"), None),
    "LFWPeople": Files("_loader data targets transform target_transform", _in_two("data", "targets"), "_loader"),
    "Places365": Files("imgs loader transforms", _listed("imgs"), transforms=joint),
    "SBU": Files("os path join root photos loader transform captions target_transform", _sbu),
    "Flickr8k": Files("ids loader transform annotations target_transform", _flickr8k),
    "Flickr30k": Files("ids os path join root loader transform annotations target_transform", _flickr30k),
    "INaturalist": Files(
        "index os path join root all_categories loader Image open target_type append categories_map len tuple "
        "transform target_transform", _inaturalist,
    ),
    "OxfordIIITPet": Files(
        "Image open _images convert _target_types append _labels _bin_labels _segs len tuple transforms",
        _pets, None, joint,
    ),
}  # fmt: skip
