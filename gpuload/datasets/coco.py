"""Images and their boxes, as COCO's annotations list them."""

import json
import os
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from gpuload.collate import listed
from gpuload.datasets.joint import JointDataset
from gpuload.datasets.names import Names
from gpuload.errors import DatasetError
from gpuload.recipes.recipes import Recipes
from gpuload.targets import functional, moved, tv_tensors

__all__ = ["CocoDetection"]


class CocoDetection(JointDataset):
    """``torchvision.datasets.CocoDetection``, wrapped for transforms v2; without pycocotools.

    ``dataset[i]`` is (image, target), a dict of

    - ``boxes``: ``tv_tensors.BoundingBoxes``, (n, 4) float32, XYXY in pixels,
    - ``labels``: (n,) int64, COCO's category ids,
    - ``image_id``: int,
    - ``area``: (n,) float32, in square pixels, and ``iscrowd``: (n,) int64, as they are annotated.

    An image without annotations has all of these, too, with n = 0. The loader's batches are a list of images and a list
    of targets, unless a ``collate_fn`` makes something else of them.

    Args:
        root: the folder of the images.
        annFile: the file of the annotations, JSON.
        transforms: of image and target together: a gpuload or torchvision v2 transform, which the loader compiles, or
            any callable on (PIL image, target).

    Attributes:
        ids: of the images, sorted, as torchvision has them.
        categories: id to name.

    Raises:
        DatasetError: the file is none of COCO's annotations; the message names what is wrong with it.
        MissingError: by ``dataset[i]``: torchvision, whose boxes they are, is not installed.
    """

    usual_collate = staticmethod(listed)

    def __init__(
        self,
        root: str | os.PathLike[str],
        annFile: str | os.PathLike[str],  # noqa: N803  # torchvision's name
        transforms: Callable[..., Any] | None = None,
    ) -> None:
        super().__init__(transforms)
        self.root, self.annotations = os.path.expanduser(os.fspath(root)), os.path.expanduser(os.fspath(annFile))
        try:
            with open(self.annotations, "rb") as file:
                found = json.load(file)
            names = {image["id"]: os.fsencode(image["file_name"]) for image in found["images"]}
            self.ids: list[int] = sorted(names)
            self._names = Names(names[number] for number in self.ids)
            self.categories = {one["id"]: one["name"] for one in found.get("categories", ())}
            self._boxes = _Boxes(self.ids, found["annotations"])
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            what = f"it has no {error}" if isinstance(error, KeyError) else str(error)
            raise DatasetError(f"annFile {self.annotations!r} holds no annotations as COCO's: {what}") from error

    def __len__(self) -> int:
        return len(self.ids)

    def path(self, index: int) -> str:
        return os.fsdecode(self.paths(np.array([index]))[0])

    def paths(self, indices: NDArray[np.int64]) -> list[bytes]:
        root = os.fsencode(self.root)
        return [os.path.join(root, name) for name in self._names.of(indices)]

    def loaded(self, index: int, height: int, width: int) -> dict[str, Any]:
        kinds = tv_tensors()
        part = self._boxes.of(index)
        boxes = kinds.BoundingBoxes(
            torch.from_numpy(self._boxes.xywh[part].copy()), format="XYWH", canvas_size=(height, width)
        )
        return {
            "boxes": functional().convert_bounding_box_format(boxes, new_format=kinds.BoundingBoxFormat.XYXY),
            "labels": torch.from_numpy(self._boxes.labels[part].copy()),
            "image_id": self.ids[index],
            "area": torch.from_numpy(self._boxes.area[part].copy()),
            "iscrowd": torch.from_numpy(self._boxes.crowd[part].copy()),
        }

    def followed(self, loaded: Any, recipes: Recipes) -> Any:
        return moved(loaded, recipes[0])

    def extra_repr(self) -> str:
        return f"Annotations: {self.annotations}"

    def describe(self) -> str:
        return f"{len(self)} images in {self.root}, with {len(self._boxes.labels)} boxes of {self.annotations}"


class _Boxes:
    """All annotations, those of one image one behind the other, in the order in which the file has them."""

    def __init__(self, ids: list[int], annotations: list[dict[str, Any]]) -> None:
        places = {number: place for place, number in enumerate(ids)}
        owners = np.array([places[one["image_id"]] for one in annotations], np.int64)
        order = np.argsort(owners, kind="stable")
        odd = next((one["bbox"] for one in annotations if len(one["bbox"]) != 4), None)
        if odd is not None:
            raise ValueError(f"a bbox must be four numbers, got {odd}")
        boxes = np.array([one["bbox"] for one in annotations], np.float32).reshape(-1, 4)
        self.xywh = boxes[order]
        self.labels = np.array([one["category_id"] for one in annotations], np.int64)[order]
        self.area = np.array([one.get("area", one["bbox"][2] * one["bbox"][3]) for one in annotations], np.float32)[
            order
        ]
        self.crowd = np.array([one.get("iscrowd", 0) for one in annotations], np.int64)[order]
        self._starts = np.searchsorted(owners[order], np.arange(len(ids) + 1))

    def of(self, index: int) -> slice:
        """Those of an image."""
        return slice(int(self._starts[index]), int(self._starts[index + 1]))
