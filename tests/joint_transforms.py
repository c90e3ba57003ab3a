"""Random transforms of image and target of torchvision's v2, and folders to call them on."""

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torchvision import tv_tensors
from torchvision.transforms import v2

COUNT = 12
FORMATS = "XYXY", "XYWH", "CXCYWH", "XYWHR", "CXCYWHR", "XYXYXYXY"
DTYPES = {tv_tensors.Image: torch.float32, tv_tensors.Mask: torch.int64, "others": None}


def make_folders(root: Path) -> None:
    """``images``, ``masks`` of their sizes and ``boxes.json``: some reach out of their image, some images have none."""
    rng = np.random.default_rng(0)
    (root / "images").mkdir(), (root / "masks").mkdir()
    images, boxes = [], []
    for number in range(COUNT):
        height, width = (int(side) for side in rng.integers(20, 90, 2))
        pixels = rng.integers(0, 256, (height, width, 3), np.uint8)
        Image.fromarray(pixels).save(root / "images" / f"{number:02}.jpg", quality=90)
        mask = Image.fromarray(rng.integers(0, 21, (height, width), np.uint8))
        if number % 3 == 1:
            mask = mask.convert("P")
        if number % 3 == 2:
            mask = mask.point(lambda value: 255 * (value > 10)).convert("1")
        mask.save(root / "masks" / f"{number:02}.png")
        images.append({"id": 900 - number, "file_name": f"{number:02}.jpg", "height": height, "width": width})
        for _ in range(rng.integers(0, 6)):
            x, y, w, h = (rng.uniform(-5, 70), rng.uniform(-5, 70), *rng.uniform(0, 40, 2))
            box = {"id": len(boxes), "image_id": 900 - number, "bbox": [x, y, w, h], "area": w * h}
            boxes.append({**box, "iscrowd": int(rng.integers(2)), "category_id": int(rng.integers(1, 91))})
    random.Random(0).shuffle(boxes)
    listed = {"images": images, "annotations": boxes, "categories": [{"id": 1, "name": "person"}]}
    (root / "boxes.json").write_text(json.dumps(listed))


def fill(rng: random.Random) -> Any:
    color = [rng.randint(0, 255) for _ in range(3)]
    of_both = {Image.Image: color, tv_tensors.Image: color, tv_tensors.Mask: rng.choice((0, 255))}
    return rng.choice((0, 7, None, of_both, {tv_tensors.Mask: 255, "others": 3}))


def moving(rng: random.Random) -> Any:
    """One transform of geometry or color."""
    side = rng.randint(8, 70)
    modes = [v2.InterpolationMode.NEAREST, "bilinear", v2.InterpolationMode.BICUBIC]
    makers = [
        lambda: v2.Resize(rng.choice((side, [side, 40])), interpolation=rng.choice(modes)),
        lambda: v2.Resize(side, max_size=side + 9),
        lambda: v2.RandomResizedCrop((side, rng.randint(8, 70)), scale=(0.1, 1)),
        lambda: v2.RandomCrop(side, rng.choice((None, 3, (1, 2, 3, 4))), pad_if_needed=True, fill=fill(rng)),
        lambda: v2.CenterCrop(side),
        lambda: v2.RandomHorizontalFlip(),
        lambda: v2.RandomVerticalFlip(),
        lambda: v2.Pad(rng.choice((2, (1, 4), (1, 2, 3, 4), (-1, 2, -3, 4))), fill=fill(rng)),
        lambda: v2.RandomRotation(rng.choice((30, (90, 90), 180)), center=rng.choice((None, (9, 7.5))), fill=fill(rng)),
        lambda: v2.RandomAffine(20, (0.2, 0.1), (0.7, 1.3), rng.choice((None, 10, (-3, 3, -5, 5))), fill=fill(rng)),
        lambda: v2.RandomPerspective(p=0.7, fill=fill(rng)),
        lambda: v2.RandomResize(20, 55),
        lambda: v2.RandomShortestSize([20, 33, 47], rng.choice((None, 70))),
        lambda: v2.ScaleJitter((60, 50), (0.5, 1.6)),
        lambda: v2.ColorJitter(0.3, 0.3, 0.3, 0.1),
        lambda: v2.RandomGrayscale(0.3),
    ]
    return rng.choice(makers)()


def of_segmentation(rng: random.Random) -> list[Any]:
    ends: list[list[Any]] = [
        [v2.ToImage()],
        [v2.ToImage(), v2.ToDtype(DTYPES, scale=True), v2.Normalize([0.5] * 3, [0.2] * 3)],
        [v2.PILToTensor(), v2.ToDtype(torch.float32, scale=True), v2.ToPureTensor()],
    ]
    return [*(moving(rng) for _ in range(rng.randint(1, 4))), *rng.choice(ends)]


def labels_of(sample: Any) -> Any:
    _, target = sample
    return target["labels"], target["area"], target["iscrowd"]


def of_detection(rng: random.Random) -> list[Any]:
    before = [v2.SetClampingMode(rng.choice(("soft", "hard", None))), v2.ConvertBoundingBoxFormat(rng.choice(FORMATS))]
    after = [
        v2.ClampBoundingBoxes(),
        v2.SanitizeBoundingBoxes(labels_getter=rng.choice(("default", None, labels_of))),
        v2.ConvertBoundingBoxFormat("CXCYWH"),
    ]
    *moves, last = of_segmentation(rng)
    some = [[one for one in few if rng.random() < 0.5] for few in (before, after)]
    return [*some[0], *moves, *some[1], last]
