"""Masks, boxes and keypoints are drawn where they are, in the colors of their classes, over pictures of any size."""

from itertools import combinations
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import tv_tensors

from gpuload.tools.overlay import color_of, is_drawn, overlaid, said

GROUND = (40, 60, 80)


def ground(width: int = 40, height: int = 30) -> Image.Image:
    return Image.new("RGB", (width, height), GROUND)


def changed(made: Image.Image) -> np.ndarray[Any, Any]:
    """(H, W): where something was drawn."""
    return (np.asarray(made) != GROUND).any(axis=-1)


def colored(made: Image.Image, label: int) -> np.ndarray[Any, Any]:
    return (np.asarray(made) == color_of(label)).all(axis=-1)


def boxes(*numbers: list[float], format: str = "XYXY") -> tv_tensors.BoundingBoxes:
    return tv_tensors.BoundingBoxes(torch.tensor(numbers, dtype=torch.float32), format=format, canvas_size=(30, 40))  # type: ignore[call-overload,no-any-return]


def outline(left: int, top: int, right: int, bottom: int) -> np.ndarray[Any, Any]:
    """(30, 40): the pixels of a box's edges, two thick."""
    drawn = np.zeros((30, 40), bool)
    drawn[top:bottom, left:right] = True
    drawn[top + 2 : bottom - 2, left + 2 : right - 2] = False
    return drawn


def test_the_picture_itself_is_left_as_it_is() -> None:
    picture = ground()
    overlaid(picture, {"boxes": boxes([2, 3, 20, 20])}, {})
    overlaid(picture, torch.ones(30, 40, dtype=torch.uint8), {})
    assert not changed(picture).any()


def test_twenty_classes_have_colors_that_lie_apart() -> None:
    pairs = combinations([color_of(label) for label in range(1, 21)], 2)
    assert min(np.abs(np.subtract(one, other)).max() for one, other in pairs) > 25


# ---- masks ----


@pytest.mark.parametrize("shape", [(30, 40), (1, 30, 40)], ids=str)
@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64], ids=str)
def test_a_class_is_blended_over_the_image_with_an_edge(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    mask = torch.zeros(30, 40, dtype=dtype)
    mask[10:20, 5:15] = 7
    made = overlaid(ground(), tv_tensors.Mask(mask.view(shape)), {})
    assert (changed(made) == (mask == 7).numpy()).all(), "class 0 is clear"
    assert made.getpixel((10, 15)) == tuple(np.rint(np.add(GROUND, color_of(7)) / 2).astype(int))
    edge = np.zeros((30, 40), bool)
    edge[10:20, 5:15] = True
    edge[11:19, 6:14] = False
    assert (colored(made, 7) == edge).all()


def test_no_class_is_striped() -> None:
    made = overlaid(ground(), torch.full((30, 40), 255, dtype=torch.uint8), {})
    shown = changed(made)
    assert shown.mean() == 0.5 and (shown[1:, :-1] == shown[:-1, 1:]).all()
    assert len(np.unique(np.asarray(made).reshape(-1, 3), axis=0)) == 2


def test_a_mask_is_stretched_with_its_picture() -> None:
    mask = torch.zeros(30, 40, dtype=torch.uint8)
    mask[10:20, 5:15] = 3
    small, large = mask[1::2, 1::2], torch.repeat_interleave(torch.repeat_interleave(mask, 3, 0), 3, 1)
    assert (changed(overlaid(ground(20, 15), mask, {})) == (small == 3).numpy()).all()
    assert (changed(overlaid(ground(120, 90), mask, {}, factor=3)) == (large == 3).numpy()).all()


def test_instances_have_the_colors_of_their_labels() -> None:
    masks = torch.zeros(2, 30, 40, dtype=torch.bool)
    masks[0, :5, :5], masks[1, 20:, 30:] = True, True
    made = overlaid(ground(), {"masks": masks, "labels": torch.tensor([4, 9])}, {})
    assert colored(made, 4)[4, :5].all() and colored(made, 9)[20, 30:].all()
    assert (changed(made) == masks.any(0).numpy()).all()


# ---- boxes ----


def test_a_box_is_an_outline() -> None:
    made = overlaid(ground(), {"boxes": boxes([5, 6, 25, 26])}, {})
    assert (changed(made) == outline(5, 6, 25, 26)).all()


@pytest.mark.parametrize(
    ("format", "numbers"), [("XYWH", [5, 6, 20, 20]), ("CXCYWH", [15, 16, 20, 20]), ("XYXY", [5, 6, 25, 26])]
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.int64], ids=str)
def test_any_format_of_boxes(format: str, numbers: list[float], dtype: torch.dtype) -> None:
    given = tv_tensors.wrap(boxes(numbers, format=format).to(dtype), like=boxes(numbers, format=format))
    assert (changed(overlaid(ground(), {"boxes": given}, {})) == outline(5, 6, 25, 26)).all()


def test_plain_boxes_are_by_their_corners() -> None:
    made = overlaid(ground(), {"boxes": torch.tensor([[5.0, 6.0, 25.0, 26.0]])}, {})
    assert (changed(made) == outline(5, 6, 25, 26)).all()


def test_a_turned_box_is_a_polygon() -> None:
    shown = changed(overlaid(ground(), {"boxes": boxes([20, 15, 20, 10, 90], format="CXCYWHR")}, {}))
    rows, columns = np.nonzero(shown)
    assert abs(int(rows.max() - rows.min()) - 20) <= 2 and abs(int(columns.max() - columns.min()) - 10) <= 2
    assert not shown[15, 20]


def test_boxes_are_scaled_with_their_picture() -> None:
    made = overlaid(ground(), {"boxes": boxes([2.5, 3, 12.5, 13])}, {}, factor=2)
    assert (changed(made) == outline(5, 6, 25, 26)).all()


def test_a_box_is_clipped_to_the_picture() -> None:
    made = overlaid(ground(), {"boxes": boxes([-50, 6, 25, 900])}, {})
    assert (changed(made) == outline(0, 6, 25, 30)).all()


@pytest.mark.parametrize(
    "numbers",
    [
        [[-30, 2, -5, 9]], [[45, 2, 60, 9]], [[2, 40, 9, 50]], [[9, 9, 2, 2]], [[float("nan")] * 4],
        [[float("inf"), 0, 3, 3]],
    ],
    ids=str,
)  # fmt: skip
def test_what_lies_outside_or_nowhere_is_not_drawn(numbers: list[list[float]]) -> None:
    target = {"boxes": boxes(*numbers), "labels": torch.tensor([1])}
    assert not changed(overlaid(ground(), target, {1: "dog"})).any()


def test_no_boxes() -> None:
    target = {"boxes": boxes([0, 0, 1, 1])[:0], "labels": torch.zeros(0, dtype=torch.int64)}
    assert not changed(overlaid(ground(), target, {})).any()
    assert said(target, {}) == ""


def test_a_name_stands_above_its_box_or_within_it() -> None:
    low, high = (
        overlaid(ground(), {"boxes": boxes([3, top, 38, 28]), "labels": torch.tensor([5])}, {5: "cat"})
        for top in (18, 2)
    )
    assert colored(low, 5)[5:17, 3:38].sum() > 100, "above"
    assert not colored(high, 5)[:2].any() and colored(high, 5)[4:14, 5:36].sum() > 100, "within"


def test_a_long_name_begins_in_the_picture() -> None:
    made = overlaid(ground(), {"boxes": boxes([30, 18, 39, 28]), "labels": torch.tensor([5])}, {5: "hippopotamus"})
    assert colored(made, 5)[6:16, 0].all()


# ---- points ----


@pytest.mark.parametrize("is_tensor_of_torchvisions", [False, True])
def test_keypoints_are_dots(is_tensor_of_torchvisions: bool) -> None:
    points = torch.tensor([[[5.0, 6.0], [30.0, 20.0]]])
    target = {"keypoints": points}
    if is_tensor_of_torchvisions:
        target = {"joints": tv_tensors.KeyPoints(points, canvas_size=(30, 40))}
    made = overlaid(ground(), target, {})
    assert colored(made, 0)[6, 5] and colored(made, 1)[20, 30]
    assert changed(made).sum() < 2 * 64


def test_keypoints_that_are_not_visible_are_left_out() -> None:
    points = torch.tensor([[[5.0, 6.0, 2.0], [30.0, 20.0, 0.0], [float("nan"), 1.0, 1.0]]])
    made = overlaid(ground(), {"keypoints": points}, {})
    assert changed(made)[:12, :12].any() and not changed(made)[12:].any()


# ---- in words ----


def test_what_a_target_has_in_words() -> None:
    mask = torch.tensor([[0, 255, 5], [5, 1, 0]])
    assert said(mask, {}) == "classes 1, 5" and said(mask, {1: "cat"}) == "cat, 5"
    assert said(mask[:1], {}) == "class 5" and said(mask[:1, :2], {}) == "no class" == said(mask[:1, :2], {1: "cat"})
    assert said({"labels": torch.tensor([3, 1, 3])}, {3: "dog"}) == "2 dog, 1 1"
    assert said({"boxes": boxes([0, 0, 1, 1])}, {}) == ""


@pytest.mark.parametrize(
    ("targets", "drawn"),
    [
        (torch.zeros(4), False), (torch.zeros(4, 10), False), (torch.zeros(4, 3, 3), True), ([], False),
        ([{"boxes": 1}], True), (({},), True), ([torch.zeros(3, 3)], True), ([torch.tensor(3)], False), ([1, 2], False),
    ],
)  # fmt: skip
def test_labels_are_not_drawn(targets: Any, drawn: bool) -> None:
    assert is_drawn(targets) == drawn
