"""What belongs to an image, drawn over its picture: masks in colors, boxes with names, keypoints as dots."""

import colorsys
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from gpuload.targets import functional, tv_tensors

__all__ = ["color_of", "is_drawn", "overlaid", "said"]

Color = tuple[int, int, int]
Names = Mapping[int, str]

NO_CLASS, GRAY, STRIPE = 255, (150, 150, 150), 8  # what counts for nothing, and its stripes, a pixel pair each
OPACITY = 0.5  # of a mask; its edges are opaque
DOT, LINE, FONT_SIZE = 3, 2, 11  # pixels
TURN, START = 0.618034, 0.35  # golden: whatever classes there are, their hues lie far apart
KINDS = {"boxes": "BoundingBoxes", "keypoints": "KeyPoints", "masks": "Mask"}  # by name, where tensors are plain


def is_drawn(targets: Any) -> bool:
    """Are they of a kind that is drawn? That is masks, or a dict of each sample; labels are not."""
    if isinstance(targets, torch.Tensor):
        return targets.ndim >= 3
    first = targets[0] if isinstance(targets, list | tuple) and targets else None
    return isinstance(first, Mapping) or (isinstance(first, torch.Tensor) and first.ndim >= 2)


def overlaid(picture: Image.Image, target: Any, names: Names, factor: float = 1.0) -> Image.Image:
    """A picture, with the target of its image drawn over it.

    Args:
        picture: RGB.
        target: a mask of classes, (H, W) or (1, H, W) integers: 0 is clear, 255, no class, striped in gray; or a dict,
            such as detection's, of masks (n, H, W), boxes of any format, labels (n,) and keypoints (..., 2), or
            (..., 3) with what of them is visible. Plain boxes are XYXY.
        names: of the labels.
        factor: how many times as large as the image, of whose pixels the target speaks, the picture is.

    Returns:
        Another picture.
    """
    made = picture.copy()
    if isinstance(target, torch.Tensor):
        return _with_classes(made, _array(target))
    labels = target.get("labels")
    listed = [] if labels is None else labels.flatten().tolist()
    drawn = [(KINDS.get(str(key), type(value).__name__), value) for key, value in target.items()]
    for value in (value for kind, value in drawn if kind == "Mask"):
        made = _with_instances(made, _array(value), listed)
    for value in (value for kind, value in drawn if kind == "BoundingBoxes"):
        _draw_boxes(made, _corners(value) * factor, listed, names)
    for value in (value for kind, value in drawn if kind == "KeyPoints"):
        _draw_points(made, _array(value), factor)
    return made


def said(target: Any, names: Names) -> str:
    """A target in words: "2 dog, 1 person", or "classes 1, 15", without those that are not drawn."""
    if isinstance(target, torch.Tensor):
        classes = [value for value in target.unique().tolist() if value not in (0, NO_CLASS)]
        shown = ", ".join(_name(value, names) for value in classes)
        kind = "" if names else "class " if len(classes) == 1 else "classes "
        return f"{kind}{shown}" if classes else "no class"
    counts = Counter(target["labels"].flatten().tolist() if "labels" in target else ())
    return ", ".join(f"{count} {_name(label, names)}" for label, count in counts.most_common())


@cache
def color_of(label: int) -> Color:
    """The color of a class."""
    hue, value = (START + TURN * label) % 1.0, 1.0 - 0.2 * (label % 3 == 2)
    red, green, blue = (round(255 * part) for part in colorsys.hsv_to_rgb(hue, 0.85, value))
    return red, green, blue


# ---- masks ----


def _array(tensor: torch.Tensor) -> NDArray[Any]:
    return tensor.detach().cpu().as_subclass(torch.Tensor).numpy()


def _fitted(mask: NDArray[Any], picture: Image.Image) -> NDArray[Any]:
    """A mask (H, W) of the picture's size, by the nearest pixel."""
    rows, columns = (
        np.minimum((np.arange(shown) + 0.5) * len(given) / shown, len(given) - 1).astype(np.int64)
        for shown, given in ((picture.height, mask), (picture.width, mask.T))
    )
    fitted: NDArray[Any] = mask[rows[:, None], columns]
    return fitted


def _with_classes(picture: Image.Image, mask: NDArray[Any]) -> Image.Image:
    classes = _fitted(mask.reshape(mask.shape[-2:]), picture)
    pixels = np.array(picture)
    for label in np.unique(classes).tolist():
        if label == NO_CLASS:
            _stripe(pixels, classes == label)
        elif label != 0:
            _tint(pixels, classes == label, color_of(label))
    return Image.fromarray(pixels)


def _with_instances(picture: Image.Image, masks: NDArray[Any], labels: Sequence[int]) -> Image.Image:
    """Each of (n, H, W) masks in the color of its label; without labels, in one of its own."""
    pixels = np.array(picture)
    for number, mask in enumerate(masks):
        _tint(pixels, _fitted(mask, picture) != 0, color_of(labels[number] if number < len(labels) else number))
    return Image.fromarray(pixels)


def _tint(pixels: NDArray[np.uint8], where: NDArray[np.bool_], color: Color) -> None:
    pixels[where] = np.rint(pixels[where] * (1 - OPACITY) + np.multiply(color, OPACITY))
    pixels[where & ~_within(where)] = color


def _within(where: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Which pixels have all four neighbors in the mask; beyond the picture it goes on."""
    padded = np.pad(where, 1, mode="edge")
    inner: NDArray[np.bool_] = padded[2:, 1:-1] & padded[:-2, 1:-1] & padded[1:-1, 2:] & padded[1:-1, :-2]
    return inner


def _stripe(pixels: NDArray[np.uint8], where: NDArray[np.bool_]) -> None:
    rows, columns = np.ogrid[: where.shape[0], : where.shape[1]]
    on = where & ((rows + columns) % STRIPE < STRIPE // 2)
    pixels[on] = np.rint(pixels[on] * (1 - OPACITY) + np.multiply(GRAY, OPACITY))


# ---- boxes and points ----


def _corners(boxes: torch.Tensor) -> NDArray[Any]:
    """Boxes by their corners: (n, 4) XYXY, or (n, 8) of those that are turned."""
    given, plain = getattr(boxes, "format", None), boxes.detach().cpu().as_subclass(torch.Tensor).double()
    if given is not None:
        wanted = "XYXYXYXY" if tv_tensors().is_rotated_bounding_format(given) else "XYXY"
        plain = functional().convert_bounding_box_format(plain, given, wanted)
    return plain.numpy()


def _draw_boxes(picture: Image.Image, corners: NDArray[Any], labels: Sequence[int], names: Names) -> None:
    draw = ImageDraw.Draw(picture)
    tags: list[tuple[float, float, int]] = []
    for number, corner in enumerate(corners):
        label = labels[number] if number < len(labels) else None
        color = color_of(number if label is None else label)
        place = _draw_box(draw, corner, picture.size, color)
        if place is not None and label is not None:
            tags.append((*place, label))
    for left, top, label in tags:  # above all boxes
        _draw_tag(draw, left, top, picture.size, _name(label, names), color_of(label))


def _draw_box(
    draw: ImageDraw.ImageDraw, corner: NDArray[Any], size: tuple[int, int], color: Color
) -> tuple[float, float] | None:
    """The box, as far as the picture goes; where its name belongs; None: nothing of it is in the picture."""
    if not np.isfinite(corner).all():
        return None
    points = corner.reshape(-1, 2)
    last = np.subtract(size, 1)
    low, high = np.maximum(points.min(axis=0), 0), np.minimum(points.max(axis=0) - 1, last)
    if (points.max(axis=0) < 0).any() or (points.min(axis=0) > last).any() or (points[-1] < points[0]).all():
        return None
    if len(points) == 2:
        draw.rectangle((*np.rint(low), *np.rint(np.maximum(low, high))), outline=color, width=LINE)
    else:
        draw.line([*map(tuple, points), tuple(points[0])], fill=color, width=LINE, joint="curve")
    return float(low[0]), float(low[1])


def _draw_tag(
    draw: ImageDraw.ImageDraw, left: float, top: float, size: tuple[int, int], text: str, color: Color
) -> None:
    """A name on its color: above a box, or within, where the picture ends there."""
    font = ImageFont.load_default(size=FONT_SIZE)
    width, height = font.getlength(text) + 5, FONT_SIZE + 4
    x = round(max(min(left, size[0] - width), 0))
    y = round(top - height + 1 if top >= height else top)
    draw.rectangle((x, y, x + width, y + height - 1), fill=color)
    is_light = np.dot(color, (0.299, 0.587, 0.114)) > 130
    draw.text((x + 3, y + height / 2), text, "black" if is_light else "white", font, anchor="lm")


def _draw_points(picture: Image.Image, points: NDArray[Any], factor: float) -> None:
    draw = ImageDraw.Draw(picture)
    rows = points.reshape(-1, points.shape[-1]).astype(np.float64)
    for number, (x, y, *visible) in enumerate(rows.tolist()):
        if visible != [0.0] and np.isfinite((x, y)).all():
            draw.circle((x * factor, y * factor), DOT, color_of(number), "white")


def _name(label: int, names: Names) -> str:
    return names.get(label, str(label))
