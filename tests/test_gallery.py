"""A gallery shows images as they are beside what a recipe makes of them, each draw a batch."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gpuload import ArgumentError, ImageFolder, presets
from gpuload.tools.gallery import DRAWS, ROWS, Row, drawn, gallery, preset_of
from gpuload.tools.preview import CAPTION, GAP, MARGIN


def test_rows_have_the_original_and_the_draws(photos: Path) -> None:
    dataset = ImageFolder(photos)
    rows = drawn(photos, "torchvision-2021", None, 3, "cpu")
    assert len(rows) == ROWS and {len(row.made) for row in rows} == {DRAWS}
    assert {picture.size for row in rows for picture in row.made} == {(176, 176)}
    originals = [np.asarray(image) for image, _ in dataset]
    assert all(any(np.array_equal(row.original, image) for image in originals) for row in rows)
    again, others = (drawn(photos, "torchvision-2021", None, seed, "cpu") for seed in (3, 4))
    assert all(map(np.array_equal, rows[0].made, again[0].made))
    assert not any(map(np.array_equal, rows[0].made, others[0].made))
    assert not np.array_equal(rows[0].made[0], rows[0].made[1])


def test_what_does_not_draw_shows_the_image_itself(photos: Path) -> None:
    """The middle of it, in the colors that it had before they were normalized."""
    for row in drawn(photos, "imagenet-eval", 56, 0, "cpu"):
        shown = presets.imagenet_eval(size=56).transform
        assert all(np.array_equal(row.made[0], made) for made in row.made)
        middle = Row(row.original, [row.made[0]]).original
        assert shown(middle).shape == (3, 56, 56) and row.made[0].size == (56, 56)


def test_views_are_side_by_side(photos: Path) -> None:
    rows = drawn(photos, "dino", 56, 0, "cpu")
    assert [picture.size for picture in rows[0].made] == [(56, 56)] * 2 + [(24, 24)] * 8


def test_few_images_make_few_rows(tmp_path: Path) -> None:
    for name, color in (("a", "red"), ("b", "blue")):
        (tmp_path / name).mkdir()
        Image.new("RGB", (60, 50), color).save(tmp_path / name / "1.png")
    rows = drawn(tmp_path, "imagenet-eval", 32, 0, "cpu")
    assert [row.original.getpixel((0, 0)) for row in rows] == [(255, 0, 0), (0, 0, 255)]
    assert [row.made[0].getpixel((5, 5)) for row in rows] == [(255, 0, 0), (0, 0, 255)]


def test_the_file_has_them_in_a_grid(tmp_path: Path) -> None:
    rows = [Row(Image.new("RGB", (200, 100), "red"), [Image.new("RGB", (50, 50), c) for c in ("lime", "blue")])] * 2
    with Image.open(gallery(rows, tmp_path / "new" / "gallery.png")) as made:
        assert made.format == "PNG" and made.size == (2 * MARGIN + 3 * 144 + 2 * GAP, 2 * MARGIN + CAPTION + 288 + GAP)
        for row in range(2):
            middle = MARGIN + CAPTION + row * (144 + GAP) + 72
            colors = [made.getpixel((MARGIN + column * (144 + GAP) + 72, middle)) for column in range(3)]
            assert colors == [(255, 0, 0), (0, 255, 0), (0, 0, 255)]


def test_bad_names_are_said(tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match="recipe must be one of imagenet, .*, got 'resnet'"):
        preset_of("resnet", 10, None)
    with pytest.raises(ArgumentError, match=r"path must end in .png, got 'gallery.jpg'"):
        gallery([Row(Image.new("RGB", (9, 9)), [Image.new("RGB", (9, 9))])], "gallery.jpg")
