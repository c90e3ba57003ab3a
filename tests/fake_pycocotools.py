"""As much of pycocotools as torchvision's CocoDetection calls, under its name: it is a compiled package of its own."""

import json
import sys
from collections import defaultdict
from types import ModuleType
from typing import Any

import numpy as np
import pytest


class COCO:
    """``pycocotools.coco.COCO``."""

    def __init__(self, annotation_file: str) -> None:
        with open(annotation_file) as file:
            self.dataset = json.load(file)
        self.imgs = {one["id"]: one for one in self.dataset["images"]}
        self.anns = {one["id"]: one for one in self.dataset["annotations"]}
        self.imgToAnns: dict[Any, list[Any]] = defaultdict(list)
        for one in self.dataset["annotations"]:
            self.imgToAnns[one["image_id"]].append(one)

    def loadImgs(self, ids: int) -> list[Any]:
        return [self.imgs[ids]]

    def getAnnIds(self, imgIds: int) -> list[int]:
        return [one["id"] for one in self.imgToAnns.get(imgIds, [])]

    def loadAnns(self, ids: list[int]) -> list[Any]:
        return [self.anns[one] for one in ids]


def frPyObjects(polygons: Any, height: int, width: int) -> Any:
    return polygons, height, width


def merge(objects: Any) -> Any:
    return objects


def decode(objects: Any) -> np.ndarray[Any, Any]:
    """The rectangle around each polygon."""
    polygons, height, width = objects
    mask = np.zeros((height, width), np.uint8)
    for polygon in polygons:
        left, right, top, bottom = (
            int(max(bound, 0)) for one in (polygon[::2], polygon[1::2]) for bound in (min(one), max(one))
        )
        mask[top:bottom, left:right] = 1
    return mask


def install(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make it importable, for as long as a test runs."""
    package, coco, mask = (ModuleType(name) for name in ("pycocotools", "pycocotools.coco", "pycocotools.mask"))
    cls = type("COCO", (COCO,), {"__module__": "pycocotools.coco", "__qualname__": "COCO"})
    vars(coco).update(COCO=cls)
    vars(mask).update(frPyObjects=frPyObjects, merge=merge, decode=decode)
    vars(package).update(coco=coco, mask=mask)
    for module in (package, coco, mask):
        monkeypatch.setitem(sys.modules, module.__name__, module)
