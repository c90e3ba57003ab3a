"""The preview of masks and boxes: an image as it is, and what the loader makes of it and its target, beside it."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gpuload import ArgumentError, DatasetError, SampleError
from gpuload.tools import moving
from gpuload.tools.overlay import color_of
from gpuload.tools.preview import CAPTION, GAP, MARGIN

SIZE = 100
SKY, GROUND = (120, 160, 250), (90, 80, 40)
CLASS = 3


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Images of a sky and a ground, of many sizes; masks of the sky; boxes around the ground."""
    images, boxes = [], []
    for name in ("images", "masks"):
        (tmp_path / name).mkdir()
    for number, (width, height) in enumerate([(80, 60), (60, 90), (200, 120), (50, 50), (90, 40), (70, 70), (40, 80)]):
        half = height // 2
        pixels = np.full((height, width, 3), SKY, np.uint8)
        pixels[half:] = GROUND
        Image.fromarray(pixels).save(tmp_path / "images" / f"{number}.png")
        mask = np.zeros((height, width), np.uint8)
        mask[:half] = CLASS
        Image.fromarray(mask).save(tmp_path / "masks" / f"{number}.png")
        images.append({"id": number, "file_name": f"{number}.png"})
        box = {"id": number + 1, "image_id": number, "bbox": [0, half, width, height - half], "category_id": 2}
        boxes.append(box)
    listed = {"images": images, "annotations": boxes, "categories": [{"id": 2, "name": "ground"}]}
    (tmp_path / "boxes.json").write_text(json.dumps(listed))
    return tmp_path


def cells(path: Path, edge: int = SIZE) -> list[list[np.ndarray]]:  # type: ignore[type-arg]
    """What lies in the rows and columns of the sheet."""
    with Image.open(path) as sheet:
        pixels = np.asarray(sheet.convert("RGB"))
    rows, columns = (
        (extent - 2 * MARGIN + GAP) // step
        for extent, step in ((len(pixels), edge + CAPTION + GAP), (pixels.shape[1], edge + GAP))
    )
    tops = [MARGIN + row * (edge + CAPTION + GAP) for row in range(rows)]
    lefts = [MARGIN + column * (edge + GAP) for column in range(columns)]
    return [[pixels[top : top + edge, left : left + edge] for left in lefts] for top in tops]


def test_masks_lie_over_what_they_are_masks_of(root: Path) -> None:
    dataset = moving.masked(str(root / "images"), str(root / "masks"), SIZE)
    path = moving.draws(dataset, root / "new" / "sheet.png", seed=1, workers=2, device="cpu")
    rows = cells(path)
    assert path == root / "new" / "sheet.png"
    assert [len(row) for row in rows] == [1 + moving.DRAWS] * moving.ROWS
    tinted = np.rint(np.add(SKY, color_of(CLASS)) / 2).astype(int)
    for original, *made in rows:
        assert (original == tinted).all(-1).any() and (original == GROUND).all(-1).any()
        for picture in made:
            is_sky, is_ground = ((np.abs(picture - color).max(-1) <= 4) for color in (tinted, np.array(GROUND)))
            assert is_sky.mean() + is_ground.mean() > 0.85, "the rest is the edge"
    assert len({picture.tobytes() for row in rows for picture in row}) > moving.ROWS, "draws differ"


def test_boxes_lie_around_what_they_are_boxes_of(root: Path) -> None:
    dataset = moving.boxed(str(root / "images"), str(root / "boxes.json"), SIZE)
    path = moving.draws(dataset, root / "sheet.png", seed=1, workers=0, device="cpu")
    with Image.open(path) as sheet:
        pixels = np.asarray(sheet)
    edge = (pixels.shape[1] - 2 * MARGIN + GAP) // (1 + moving.DRAWS) - GAP
    for row in cells(path, edge):
        for picture in row:
            outlined = np.nonzero((picture == color_of(2)).all(-1).any(1))[0]
            ground = np.nonzero((np.abs(picture.astype(int) - GROUND).max(-1) <= 4).any(1))[0]
            assert outlined[-1] - 2 <= ground[-1] <= outlined[-1], "the box ends where the ground does"


def test_the_seed_says_what_is_drawn(root: Path) -> None:
    def sheet(seed: int, workers: int) -> bytes:
        dataset = moving.masked(str(root / "images"), str(root / "masks"), SIZE)
        return moving.draws(dataset, root / "sheet.png", seed, workers, "cpu").read_bytes()

    assert sheet(1, 0) == sheet(1, 2) != sheet(2, 0)


def test_fewer_images_have_fewer_rows(root: Path) -> None:
    for file in (root / "images").iterdir():
        if file.stem > "1":
            file.unlink()
    dataset = moving.masked(str(root / "images"), str(root / "masks"), SIZE)
    assert len(cells(moving.draws(dataset, root / "sheet.png", 0, 0, "cpu"))) == 2


# ---- what is wrong ----


def _spoil_mask(root: Path) -> None:
    Image.new("L", (3, 3)).save(root / "masks" / "0.png")


def test_a_mask_of_another_size(root: Path) -> None:
    _spoil_mask(root)
    dataset = moving.masked(str(root / "images"), str(root / "masks"), SIZE)
    with pytest.raises(SampleError, match=r"masks/0.png has 3 x 3 pixels, but its image .*images/0.png has 60 x 80"):
        moving.draws(dataset, root / "sheet.png", 0, 0, "cpu")


def _lose_image(root: Path) -> None:
    (root / "images" / "4.png").unlink()


def _lose_all(root: Path) -> None:
    os.rename(root / "images", root / "elsewhere")


def _list_none(root: Path) -> None:
    (root / "boxes.json").write_text('{"images": [], "annotations": []}')


def _list_wrongly(root: Path) -> None:
    (root / "boxes.json").write_text('{"images": []}')


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (
            _lose_image,
            r"^1 of the 7 images that '.*boxes.json' lists are not in '.*images', such as '4.png': pass the ",
        ),
        (_lose_all, r"^images '.*images' is no folder$"),
        (_list_none, r"^annotations '.*boxes.json' list no images$"),
        (_list_wrongly, r"holds no annotations as COCO's: it has no 'annotations'$"),
        (lambda root: (root / "boxes.json").unlink(), r"^annotations '.*boxes.json' is no file$"),
    ],
)
def test_annotations_that_do_not_match(root: Path, spoil: Callable[[Path], None], message: str) -> None:
    spoil(root)
    with pytest.raises(DatasetError, match=message):
        moving.boxed(str(root / "images"), str(root / "boxes.json"), SIZE)


def test_the_file_is_a_png(root: Path) -> None:
    dataset = moving.masked(str(root / "images"), str(root / "masks"), SIZE)
    with pytest.raises(ArgumentError, match=r"path must end in \.png"):
        moving.draws(dataset, "sheet.jpg", 0, 0, "cpu")
