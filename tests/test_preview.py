"""Contact sheets show the colors that the images had, in a grid, with the names of their classes."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageFont

from gpuload import ArgumentError, ArgumentTypeError, DataLoader, ImageFolder, TensorDataset, transforms as T
from gpuload.tools import preview
from gpuload.tools.preview import CAPTION, FONT_SIZE, GAP, MARGIN, contact_sheet, pictures, sheet
from gpuload.transforms.plan import Plan

MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
COLORS = {"blue": (0, 10, 255), "red": (250, 3, 0)}


@pytest.fixture
def colors(tmp_path: Path) -> Path:
    """Class folders with one PNG each, all of the color of their name."""
    root = tmp_path / "colors"
    for name, color in COLORS.items():
        (root / name).mkdir(parents=True)
        Image.new("RGB", (140, 130), color).save(root / name / "0.png")
    return root


def every_byte(channels: int) -> torch.Tensor:
    """(1, channels, 16, 16) uint8: all bytes in each channel, in another order."""
    planes = [(torch.arange(256) * (2 * c + 1) % 256).to(torch.uint8).view(16, 16) for c in range(channels)]
    return torch.stack(planes)[None]


def pixels(picture: Image.Image) -> np.ndarray[Any, Any]:
    return np.asarray(picture)


# ---- colors ----


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("size", [100, 120])
def test_red_is_red_again_after_normalization(colors: Path, tmp_path: Path, dtype: torch.dtype, size: int) -> None:
    transform = T.Compose([T.CenterCrop(size), T.ToDtype(dtype, scale=True), T.Normalize(MEAN, STD)])
    loader = DataLoader(ImageFolder(colors, transform=transform), 2, device="cpu")
    batch = next(iter(loader))
    assert batch[0].min() < 0  # it is normalised
    with Image.open(contact_sheet(loader, batch, tmp_path / "sheet.png")) as made:
        assert made.format == "PNG"
        for column, color in enumerate(COLORS.values()):
            left = MARGIN + column * (size + GAP)
            shown = pixels(made)[MARGIN : MARGIN + size, left : left + size].astype(int)
            assert np.abs(shown - color).max() <= (2 if dtype == torch.bfloat16 else 0)


def test_views_of_an_image_follow_each_other(colors: Path, tmp_path: Path) -> None:
    """A smaller one lies in the middle."""
    multi = T.MultiView([T.CenterCrop(100), (T.CenterCrop(60), 2)])
    loader = DataLoader(ImageFolder(colors, transform=multi), 2, device="cpu")
    with Image.open(contact_sheet(loader, next(iter(loader)), tmp_path / "sheet.png")) as made:
        shown, columns = pixels(made), 3
        for number, color in enumerate(color for color in COLORS.values() for _ in range(3)):
            row, column = divmod(number, columns)
            top, left = MARGIN + row * (100 + CAPTION + GAP), MARGIN + column * (100 + GAP)
            edge = 0 if number % 3 == 0 else 20
            cell = shown[top : top + 100, left : left + 100]
            assert (cell[edge : 100 - edge, edge : 100 - edge] == color).all()
            assert edge == 0 or (cell[1:20, 1:99] == 255).all()


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float16, torch.float32])
def test_every_byte_comes_back(channels: int, dtype: torch.dtype) -> None:
    values = [T.ToDtype(torch.float32, scale=True), T.Normalize(MEAN[:channels], STD[:channels])]
    plan = Plan([T.Grayscale(channels), *(values if dtype != torch.uint8 else [])])
    table, source = plan.table(dtype), every_byte(channels)
    images = torch.stack([table[c][source[:, c].long()] for c in range(channels)], dim=1)
    wanted = source[0].expand(3, -1, -1).permute(1, 2, 0).numpy()
    assert np.array_equal(pixels(pictures(images, table)[0]), wanted)


def test_a_falling_table_is_inverted_too() -> None:
    table = torch.linspace(1, -1, 256).repeat(3, 1)
    source = every_byte(3)
    images = torch.stack([table[c][source[:, c].long()] for c in range(3)], dim=1)
    assert np.array_equal(pixels(pictures(images, table)[0]), source[0].permute(1, 2, 0).numpy())


def test_values_between_the_tables_show_as_the_closest() -> None:
    table = torch.arange(256, dtype=torch.float32)[None]
    images = torch.tensor([-3.0, 0.4, 0.6, 254.9, 300.0]).view(1, 1, 1, 5)
    assert pixels(pictures(images, table)[0])[0, :, 0].tolist() == [0, 0, 1, 255, 255]


def test_bytes_without_a_table_show_as_they_are() -> None:
    source = every_byte(3)
    assert np.array_equal(pixels(pictures(source)[0]), source[0].permute(1, 2, 0).numpy())


def test_floats_from_0_to_1_show_as_they_are() -> None:
    source = every_byte(3)
    narrow = source // 2  # without white, which a stretch would make
    shown = pixels(pictures(narrow.float() / 255)[0])
    assert np.array_equal(shown, narrow[0].permute(1, 2, 0).numpy())


def test_other_floats_are_stretched_channel_by_channel() -> None:
    images = torch.tensor([[-2.0, 2.0], [5.0, 6.0], [7.0, 7.0]]).view(1, 3, 1, 2)
    assert pixels(pictures(images)[0]).tolist() == [[[0, 0, 0], [255, 255, 0]]]


# ---- layout ----


def test_the_sheet_is_a_grid_on_white() -> None:
    made = sheet([Image.new("RGB", (100, 120), "green")] * 6, ["leaf"] * 6)
    assert made.size == (2 * MARGIN + 3 * 100 + 2 * GAP, 2 * MARGIN + 2 * (120 + CAPTION) + GAP)
    shown = pixels(made)
    green = (shown == (0, 128, 0)).all(axis=-1)
    assert green.sum() == 6 * 100 * 120
    for row in range(2):
        for column in range(3):
            top, left = MARGIN + row * (120 + CAPTION + GAP), MARGIN + column * (100 + GAP)
            assert green[top : top + 120, left : left + 100].all()
            below = shown[top + 121 : top + 120 + CAPTION, left : left + 100]
            assert below.min() < 100  # ink
    assert (shown[: MARGIN - 1] == 255).all()
    assert (shown[-MARGIN:] == 255).all()
    assert (shown[:, : MARGIN - 1] == 255).all()
    assert (shown[:, 1 - MARGIN :] == 255).all()


@pytest.mark.parametrize("count", [1, 2, 3, 5, 7, 12, 24, 60, 64, 256])
@pytest.mark.parametrize(("width", "height"), [(224, 224), (10, 250), (250, 10)])
def test_the_grid_holds_every_picture_in_few_rows(count: int, width: int, height: int) -> None:
    columns = preview._columns(count, width, height)
    rows = -(-count // columns)
    assert 1 <= columns <= count
    assert columns * (rows - 1) < count
    if width == height and count >= 12:
        assert 0.7 < columns / rows < 3.1


def test_small_pictures_are_enlarged_by_whole_pixels() -> None:
    source = Image.fromarray(np.random.default_rng(0).integers(0, 256, (30, 20, 3), np.uint8))
    made = sheet([source], ["x"])
    shown = made.crop((MARGIN, MARGIN, MARGIN + 80, MARGIN + 120))
    assert made.size == (80 + 2 * MARGIN, 120 + CAPTION + 2 * MARGIN)
    assert np.array_equal(pixels(shown), pixels(source).repeat(4, 0).repeat(4, 1))


def test_large_pictures_are_made_smaller() -> None:
    assert sheet([Image.new("RGB", (1000, 500))], ["x"]).width == 256 + 2 * MARGIN
    assert sheet([Image.new("RGB", (1, 5000))], ["x"]).width == 1 + 2 * MARGIN


def test_captions_are_shortened_to_the_picture() -> None:
    font = ImageFont.load_default(size=FONT_SIZE)
    assert preview._shortened("short", font, 100) == "short"
    shortened = preview._shortened("Norwegian elkhound, elkhound", font, 100)
    assert shortened.startswith("Norwegian")
    assert shortened.endswith("…")
    assert 60 < font.getlength(shortened) <= 100
    assert preview._shortened("any", font, 1) == "…"


@pytest.mark.parametrize(
    ("label", "caption"),
    [
        (1, "red"),
        (torch.tensor(0), "blue"),
        (2, "2"),
        (-1, "-1"),
        ("a", "a"),
        (torch.tensor([0.25, 0.75]), "red 0.75, blue 0.25"),
        (torch.tensor([0.0, 1.0]), "red 1"),
        (torch.tensor([[0.5]]), "tensor([[0.5000]])"),
    ],
)
def test_captions_are_class_names_where_there_is_one(label: Any, caption: str) -> None:
    assert preview._caption(label, ["blue", "red"]) == caption


# ---- loaders and files ----


def test_other_datasets_have_sheets_too(tmp_path: Path) -> None:
    data = TensorDataset(torch.randn(5, 3, 40, 40), torch.arange(5), device="cpu")
    loader = DataLoader(data, 5)
    path = contact_sheet(loader, next(iter(loader)), tmp_path / "new" / "folder" / "sheet.png")
    with Image.open(path) as made:
        assert made.width > 40 * 3
    assert path == tmp_path / "new" / "folder" / "sheet.png"


def test_a_batch_on_the_device_is_fetched(colors: Path, tmp_path: Path, device: torch.device) -> None:
    loader = DataLoader(ImageFolder(colors, transform=T.CenterCrop(100)), 2, device=device)
    batch = next(iter(loader))
    assert batch[0].device.type == device.type
    with Image.open(contact_sheet(loader, batch, tmp_path / "sheet.png")) as made:
        assert made.getpixel((MARGIN + 50, MARGIN + 50)) == COLORS["blue"]


def test_the_file_is_a_png(colors: Path, tmp_path: Path) -> None:
    loader = DataLoader(ImageFolder(colors, transform=T.CenterCrop(100)), 2, device="cpu")
    with pytest.raises(ArgumentError, match=r"^path must end in \.png, got '.*sheet\.jpg'$"):
        contact_sheet(loader, next(iter(loader)), tmp_path / "sheet.jpg")


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        (torch.zeros(2, 3, 4, 4), r"batch must be \(images, labels\), got Tensor"),
        ([torch.zeros(3, 4, 4), [0]], r"images must be a tensor of shape \(B, 1 or 3, H, W\), got shape \(3, 4, 4\)"),
        ([torch.zeros(1, 4, 4, 4), [0]], r"images must be .*, got shape \(1, 4, 4, 4\)"),
        ([[], [0]], r"images must be .*, got list"),
    ],
)
def test_batches_that_have_no_sheet(colors: Path, tmp_path: Path, batch: Any, message: str) -> None:
    loader = DataLoader(ImageFolder(colors, transform=T.CenterCrop(4)), 2, device="cpu")
    with pytest.raises(ArgumentTypeError, match=message):
        contact_sheet(loader, batch, tmp_path / "sheet.png")


def test_an_image_of_a_photo_is_shown_as_the_dataset_has_it(
    tmp_path: Path, make_photo: Callable[..., Image.Image]
) -> None:
    (tmp_path / "photos" / "a").mkdir(parents=True)
    make_photo(110, 150).save(tmp_path / "photos" / "a" / "0.png")
    values = [T.ToDtype(torch.float32, scale=True), T.Normalize(MEAN, STD)]
    loader = DataLoader(ImageFolder(tmp_path / "photos", transform=T.Compose([T.Resize(100), *values])), device="cpu")
    plain = ImageFolder(tmp_path / "photos", transform=T.Resize(100))[0][0]
    with Image.open(contact_sheet(loader, next(iter(loader)), tmp_path / "sheet.png")) as made:
        shown = made.crop((MARGIN, MARGIN, MARGIN + plain.shape[2], MARGIN + plain.shape[1]))
        assert np.array_equal(pixels(shown), plain.permute(1, 2, 0).numpy())
