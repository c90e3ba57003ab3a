"""What a recipe makes of some images: a row for each, with the image as it is, and several draws or its views."""

import os
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any, NamedTuple

import torch
from PIL import Image, ImageDraw, ImageFont, ImageOps

from gpuload.datasets import ImageFolder
from gpuload.errors import ArgumentError
from gpuload.loader import DataLoader
from gpuload.presets import PRESETS, Preset
from gpuload.tools.preview import CAPTION, FONT_SIZE, FRAME, GAP, INK, MARGIN, PAPER, check_path, pictures

__all__ = ["Row", "drawn", "gallery", "preset_of"]

CELL = 144  # pixels of an image's longer edge
ROWS, DRAWS = 6, 5


class Row(NamedTuple):
    """An image, and what was made of it."""

    original: Image.Image
    made: list[Image.Image]


def preset_of(name: str, num_classes: int, size: int | None) -> Preset:
    """The recipe of a name.

    Args:
        name: one of `PRESETS`.
        num_classes: that labels count.
        size: height and width in pixels; None: the recipe's own.

    Raises:
        ArgumentError: there is none of that name.
    """
    if name not in PRESETS:
        raise ArgumentError(f"recipe must be one of {', '.join(PRESETS)}, got {name!r}")
    sized = {} if size is None else {"size": size}
    return PRESETS[name](num_classes=num_classes, **sized)


def drawn(folder: str | os.PathLike[str], name: str, size: int | None, seed: int, device: str | None) -> list[Row]:
    """Rows of a gallery: images from all of a folder of class folders, with `DRAWS` draws of a recipe, or its views.

    Each draw is a batch of all these images, which some recipes mix with each other.

    Args:
        folder: of the images.
        name, size: as of `preset_of`.
        seed: of what is drawn.
        device: None: a GPU where there is one.
    """
    plain = ImageFolder(folder)
    preset = preset_of(name, len(plain.classes), size)
    count = min(ROWS, len(plain))
    indices = [number * len(plain) // count for number in range(count)]
    dataset = ImageFolder(folder, transform=preset.transform)
    loader: DataLoader[Any] = DataLoader(
        dataset,
        count,
        sampler=indices * DRAWS,
        batch_transform=preset.batch_transform,
        seed=seed,
        device=device,
    )
    draws: list[Any] = [images for images, _ in loader]
    columns = draws if isinstance(draws[0], torch.Tensor) else draws[0]
    shown = [pictures(column, loader.values(column.dtype)) for column in columns]
    return [Row(plain.image(index), [column[row] for column in shown]) for row, index in enumerate(indices)]


def gallery(rows: Sequence[Row], path: str | os.PathLike[str]) -> Path:
    """Write rows to a PNG file; what was made stays on one scale in a row.

    Args:
        rows: at least one, all of one length.
        path: of the file, ending in .png; missing folders are made.

    Returns:
        The path.

    Raises:
        ArgumentError: a path that does not end in .png.
    """
    target, columns = check_path(path), list(zip(*map(_to_scale, rows), strict=True))
    widths = [max(picture.width for picture in column) for column in columns]
    lefts = list(accumulate((width + GAP for width in widths), initial=MARGIN))
    height = 2 * MARGIN + CAPTION + len(rows) * (CELL + GAP) - GAP
    paper = Image.new("RGB", (lefts[-1] - GAP + MARGIN, height), PAPER)
    draw, font = ImageDraw.Draw(paper), ImageFont.load_default(size=FONT_SIZE)
    for number, (column, width, left) in enumerate(zip(columns, widths, lefts, strict=False)):
        middle = left + width / 2, MARGIN + CAPTION / 2 - GAP / 2
        draw.text(middle, str(number) if number else "original", INK, font, anchor="mm")
        for row, picture in enumerate(column):
            x = left + (width - picture.width) // 2
            y = MARGIN + CAPTION + row * (CELL + GAP) + (CELL - picture.height) // 2
            paper.paste(picture, (x, y))
            draw.rectangle((x - 1, y - 1, x + picture.width, y + picture.height), outline=FRAME)
    target.parent.mkdir(parents=True, exist_ok=True)
    paper.save(target)
    return target


def _to_scale(row: Row) -> list[Image.Image]:
    """The original as large as it fits, and the others so that the largest of them does."""
    longest = max(max(picture.size) for picture in row.made)
    made = [ImageOps.scale(picture, CELL / longest) for picture in row.made]
    return [ImageOps.contain(row.original, (CELL, CELL)), *made]
