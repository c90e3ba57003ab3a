"""torchvision's datasets of masks and boxes, wrapped for transforms.v2.

Their targets are made by torchvision's own code, the dataset's and the wrapper's; the loader reads the images, and
moves both as was drawn.
"""

import os
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from gpuload.datasets.base import file_bytes
from gpuload.datasets.joint import JointDataset
from gpuload.decoders.pillow import decode_as_is
from gpuload.errors import DecodeError
from gpuload.lifting.images import sizes_of
from gpuload.lifting.own import DATASETS, check_lengths
from gpuload.lifting.plain import READ, Refusal, attribute, check_methods, check_names, of_class
from gpuload.recipes.recipes import Recipes
from gpuload.shipped import is_shipped
from gpuload.targets import moved

__all__ = ["WRAPPED", "is_wrapped", "lift"]

MODULE, WRAPPER = "torchvision.tv_tensors._dataset_wrapper", "VisionDatasetTVTensorWrapper"
METHODS = {  # of the wrapper, and the names that each uses, in order
    "__getitem__": "_dataset _wrapper transforms",
    "__len__": "len _dataset",
    "__getattr__": "contextlib suppress AttributeError object __getattribute__ getattr _dataset",
}


class Listed(NamedTuple):
    """The samples of a dataset.

    Attributes:
        files: what lists them.
        path: of the image of each.
        target: of each, as the dataset itself has it.
    """

    files: Any
    path: Callable[[int], str]
    target: Callable[[int], Any]


class Wrapped(NamedTuple):
    """A kind of ``__getitem__``, and what wraps its samples.

    Attributes:
        methods: that a sample is made by, and the names that each uses, in order.
        wrapper: the function that wraps, and the names that it uses.
        read: the samples.
    """

    methods: dict[str, str]
    wrapper: tuple[str, str]
    read: Callable[[Any], Listed]

    def check(self, dataset: Any, wrapper: Any) -> None:
        """Both are as torchvision wrote them.

        Raises:
            Refusal: one is not.
        """
        check_methods(dataset, DATASETS, (*READ, *self.methods))
        for name, names in self.methods.items():
            owner = next(base for base in type(dataset).__mro__ if name in vars(base))
            check_names(owner, name, names)
        name, names = self.wrapper
        if not is_shipped(wrapper, MODULE, name) or " ".join(wrapper.__code__.co_names) != names:
            raise Refusal(f"what wraps samples of {type(dataset).__name__} is not that of a torchvision gpuload knows")


def is_wrapped(dataset: Any) -> bool:
    """Is it what ``wrap_dataset_for_transforms_v2`` makes?"""
    return any((base.__module__, base.__qualname__) == (MODULE, WRAPPER) for base in type(dataset).__mro__)


def lift(dataset: Any) -> "WrappedImages":
    """A dataset that `is_wrapped`.

    Raises:
        Refusal: it wraps none of `WRAPPED`, or something is not as torchvision made it.
    """
    _check_wrapper(dataset)
    inner, wrapper = attribute(dataset, "_dataset"), attribute(dataset, "_wrapper")
    owner = next(base for base in type(inner).__mro__ if "__getitem__" in vars(base))
    kind = WRAPPED.get(owner.__qualname__) if owner.__module__.startswith(f"{DATASETS}.") else None
    if kind is None:
        raise Refusal(f"gpuload does not know {owner.__name__}, wrapped for transforms.v2")
    kind.check(inner, wrapper)
    if attribute(inner, "transforms") is not None:
        raise Refusal(f"the {type(inner).__name__} that it wraps has transforms")
    listed = kind.read(inner)
    sizes = sizes_of(dataset, listed.files, len(listed.files))
    return WrappedImages(type(inner).__name__, listed, wrapper, sizes, attribute(dataset, "transforms"))


def _check_wrapper(dataset: Any) -> None:
    cls, base = type(dataset), getattr(sys.modules[MODULE], WRAPPER)
    for name in METHODS:
        method = of_class(cls, name)
        if method is not vars(base).get(name) or name in vars(dataset):
            raise Refusal(f"{cls.__name__} overrides {name}")
        if not is_shipped(method, MODULE, f"{WRAPPER}.{name}"):
            raise Refusal(f"{WRAPPER}.{name} was replaced")
        check_names(base, name, METHODS[name])
    if of_class(cls, "__getitems__") is not None or "__getitems__" in vars(dataset):
        raise Refusal(f"{cls.__name__} has __getitems__")
    if of_class(cls, "__getattribute__") is not object.__getattribute__:
        raise Refusal(f"{cls.__name__} overrides __getattribute__")


class WrappedImages(JointDataset):
    """Samples of a wrapped dataset.

    Args:
        name: of the dataset's class.
        listed: its samples.
        wrapper: called on (index, (image, target)), which returns the image as it is and looks at its size alone.
        sizes: of the images, as far as they are known: (N, 2) int32; kept up to date.
        transforms: called on image and target.
    """

    def __init__(
        self, name: str, listed: Listed, wrapper: Callable[..., Any], sizes: NDArray[np.int32], transforms: Any
    ) -> None:
        super().__init__(transforms)
        self._name, self._listed, self._wrapper, self._sizes = name, listed, wrapper, sizes

    def __len__(self) -> int:
        return len(self._sizes)

    def path(self, index: int) -> str:
        return self._listed.path(index)

    def loaded(self, index: int, height: int, width: int) -> Any:
        target = self._listed.target(index)
        if isinstance(target, Image.Image) and target.size != (width, height):
            raise DecodeError(
                f"its mask has {target.height} x {target.width} pixels, but the image {height} x {width}: both "
                "must have one size"
            )
        _, wrapped = self._wrapper(index, (Image.new("1", (width, height)), target))
        return wrapped

    def followed(self, loaded: Any, recipes: Recipes) -> Any:
        return moved(loaded, recipes[0])

    def describe(self) -> str:
        return f"{len(self)} files of torchvision's {self._name}, wrapped for transforms.v2"


# ---- the samples of each ----


def _voc(target: Callable[[Any, str], Any]) -> Callable[[Any], Listed]:
    """Lists of the paths of images and targets; the target: of dataset and path."""

    def read(dataset: Any) -> Listed:
        images, targets = attribute(dataset, "images"), attribute(dataset, "targets")
        check_lengths({"images": images, "targets": targets})
        return Listed(images, images.__getitem__, lambda index: target(dataset, targets[index]))

    return read


def _mask(dataset: Any, path: str) -> Image.Image:
    return decode_as_is(file_bytes(path))


def _annotation(dataset: Any, path: str) -> Any:
    return dataset.parse_voc_xml(sys.modules[f"{DATASETS}.voc"].ET_parse(path).getroot())


def _coco(dataset: Any) -> Listed:
    root, coco, ids = (attribute(dataset, name) for name in ("root", "coco", "ids"))
    if (type(coco).__module__, type(coco).__qualname__) != ("pycocotools.coco", "COCO"):
        raise Refusal(f"its coco is a {type(coco).__name__}, not one of pycocotools")

    def path(index: int) -> str:
        (image,) = coco.loadImgs(ids[index])
        return os.fsdecode(os.path.join(root, image["file_name"]))

    return Listed(ids, path, lambda index: dataset._load_target(ids[index]))


_COUNT = {"__len__": "len images"}

WRAPPED = {  # by the class that defines __getitem__
    "VOCSegmentation": Wrapped(
        {"__getitem__": "Image open images convert masks transforms", "masks": "targets", **_COUNT},
        ("segmentation_wrapper_factory.<locals>.wrapper", "pil_image_to_mask"),
        _voc(_mask),
    ),
    "VOCDetection": Wrapped(
        {
            "__getitem__": "Image open images convert parse_voc_xml ET_parse annotations getroot transforms",
            "annotations": "targets",
            "parse_voc_xml": "list collections defaultdict map VOCDetection parse_voc_xml items append tag text strip",
            **_COUNT,
        },
        (
            "voc_detection_wrapper_factory.<locals>.wrapper",
            "list_of_dicts_to_dict_of_lists tv_tensors BoundingBoxes BoundingBoxFormat XYXY height width torch tensor",
        ),
        _voc(_annotation),
    ),
    "CocoDetection": Wrapped(
        {
            "__getitem__": "isinstance int ValueError type ids _load_image _load_target transforms",
            "_load_image": "coco loadImgs Image open os path join root convert",
            "_load_target": "coco loadAnns getAnnIds",
            "__len__": "len ids",
        },
        (
            "coco_dectection_wrapper_factory.<locals>.wrapper",
            "ids dict tuple F get_size list_of_dicts_to_dict_of_lists convert_bounding_box_format tv_tensors "
            "BoundingBoxes BoundingBoxFormat XYWH XYXY Mask torch stack tensor",
        ),
        _coco,
    ),
}
