"""A contact sheet: the pictures of a batch as they were before their values were normalized."""

import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from gpuload.errors import ArgumentError, ArgumentTypeError
from gpuload.loader import DataLoader

__all__ = ["check_path", "contact_sheet", "pictures", "sheet"]

MARGIN, GAP, CAPTION = 32, 18, 28  # pixels: around the sheet, between the pictures, below each for its name
LEAST, MOST = 96, 256  # pixels of a picture's longer edge; others are shown larger or smaller
SHAPE = 1.5  # width / height that the sheet comes close to
FONT_SIZE = 15
PAPER, INK, FRAME = "white", "#333333", "#d9d9d9"


def contact_sheet(loader: DataLoader[Any], batch: Any, path: str | os.PathLike[str]) -> Path:
    """Write the pictures of a batch to a PNG file, each with the name of its class.

    Args:
        loader: that delivered the batch; it knows the classes, and the table that normalized the values, which is
            inverted so that the colors are true.
        batch: (images, labels): a (B, C, H, W) tensor, C = 1 or 3, of any dtype, or a list of one for each view, and B
            class indices. The views of an image follow each other.
        path: of the file, ending in .png; missing folders are made.

    Returns:
        The path.

    Raises:
        ArgumentError: a path that does not end in .png.
        ArgumentTypeError: a batch that is not as above.
    """
    target = check_path(path)
    if not isinstance(batch, Sequence) or len(batch) != 2:
        raise ArgumentTypeError(f"batch must be (images, labels), got {type(batch).__name__}")
    images, labels = batch
    views = images if isinstance(images, list) and images else [images]
    for view in views:
        _check(view)
    each = [pictures(view, loader.values(view.dtype)) for view in views]
    captions = [_caption(label, getattr(loader.dataset, "classes", ())) for label in labels for _ in views]
    finished = sheet(_alike([picture for sample in zip(*each, strict=True) for picture in sample]), captions)
    target.parent.mkdir(parents=True, exist_ok=True)
    finished.save(target)
    return target


def check_path(path: str | os.PathLike[str]) -> Path:
    """The path of a PNG file.

    Raises:
        ArgumentError: it does not end in .png.
    """
    target = Path(path)
    if target.suffix.lower() != ".png":
        raise ArgumentError(f"path must end in .png, got {str(path)!r}")
    return target


# ---- values back to colors ----


def pictures(images: torch.Tensor, table: torch.Tensor | None = None) -> list[Image.Image]:
    """The images of a batch as RGB pictures.

    Args:
        images: (B, C, H, W) tensor, C = 1 or 3. Without a table, uint8 is shown as it is, and so are floats from
            0 to 1; other floats are stretched, channel by channel, from the batch's least to its most.
        table: (C, 256), the value of each input byte; each pixel is shown as the byte whose value comes closest.

    Raises:
        ArgumentTypeError: not such a tensor.
    """
    _check(images)
    values = images.detach().to("cpu", torch.float32).permute(0, 2, 3, 1).numpy()
    channels = range(values.shape[3])
    if table is not None and len(table) == len(channels):
        rows = table.to("cpu", torch.float32).numpy()
        pixels = np.stack([_closest_byte(values[..., c], rows[c]) for c in channels], axis=-1)
    else:
        pixels = values.astype(np.uint8) if images.dtype == torch.uint8 else _stretched(values)
    return [Image.fromarray(np.broadcast_to(p, (*p.shape[:2], 3)).copy()) for p in pixels]


def _check(images: Any) -> None:
    if not isinstance(images, torch.Tensor) or images.ndim != 4 or images.shape[1] not in (1, 3):
        got = f"shape {tuple(images.shape)}" if isinstance(images, torch.Tensor) else type(images).__name__
        raise ArgumentTypeError(f"images must be a tensor of shape (B, 1 or 3, H, W), got {got}")


def _closest_byte(values: NDArray[np.float32], row: NDArray[np.float32]) -> NDArray[np.uint8]:
    order = np.argsort(row, kind="stable").astype(np.uint8)
    ascending = row[order]
    closest: NDArray[np.uint8] = order[np.searchsorted((ascending[1:] + ascending[:-1]) / 2, values)]
    return closest


def _stretched(values: NDArray[np.float32]) -> NDArray[np.uint8]:
    low, high = values.min(axis=(0, 1, 2)), values.max(axis=(0, 1, 2))
    if low.min() >= 0.0 and high.max() <= 1.0:
        low, high = np.zeros_like(low), np.ones_like(high)
    stretched = (values - low) / np.where(high > low, high - low, 1.0)
    pixels: NDArray[np.uint8] = np.rint(stretched * 255).astype(np.uint8)
    return pixels


# ---- pictures on paper ----


def _alike(pictures: list[Image.Image]) -> list[Image.Image]:
    """Pictures of one size: smaller ones in the middle of paper."""
    size = max(picture.width for picture in pictures), max(picture.height for picture in pictures)
    return [_on_paper(picture, size) for picture in pictures]


def _on_paper(picture: Image.Image, size: tuple[int, int]) -> Image.Image:
    if picture.size == size:
        return picture
    paper = Image.new("RGB", size, PAPER)
    paper.paste(picture, ((size[0] - picture.width) // 2, (size[1] - picture.height) // 2))
    return paper


def _caption(label: Any, classes: Sequence[str]) -> str:
    if isinstance(label, torch.Tensor) and label.ndim == 1:  # probabilities, of mixed images
        shares = [(share, number) for number, share in enumerate(label.tolist()) if share > 0]
        return ", ".join(f"{_name(number, classes)} {share:.2g}" for share, number in sorted(shares, reverse=True))
    return _name(label.item() if isinstance(label, torch.Tensor) and label.ndim == 0 else label, classes)


def _name(value: Any, classes: Sequence[str]) -> str:
    return classes[value] if isinstance(value, int) and 0 <= value < len(classes) else str(value)


def sheet(pictures: Sequence[Image.Image], captions: Sequence[str]) -> Image.Image:
    """The pictures in a grid on white, each with its caption below; pictures of one size, at least one."""
    shown = [_fitted(picture) for picture in pictures]
    width, height = shown[0].size
    columns = _columns(len(shown), width + GAP, height + CAPTION + GAP)
    rows = -(-len(shown) // columns)
    paper_width = 2 * MARGIN + columns * (width + GAP) - GAP
    paper_height = 2 * MARGIN + rows * (height + CAPTION + GAP) - GAP
    paper = Image.new("RGB", (paper_width, paper_height), PAPER)
    draw, font = ImageDraw.Draw(paper), ImageFont.load_default(size=FONT_SIZE)
    for number, (picture, caption) in enumerate(zip(shown, captions, strict=True)):
        row, column = divmod(number, columns)
        left, top = MARGIN + column * (width + GAP), MARGIN + row * (height + CAPTION + GAP)
        paper.paste(picture, (left, top))
        draw.rectangle((left - 1, top - 1, left + width, top + height), outline=FRAME)
        middle = left + width / 2, top + height + CAPTION / 2
        draw.text(middle, _shortened(caption, font, width), INK, font, anchor="mm")
    return paper


def _fitted(picture: Image.Image) -> Image.Image:
    """A picture of a size to look at: small ones in whole multiples, with their pixels to be seen."""
    longer = max(picture.size)
    if longer < LEAST:
        factor = -(-LEAST // longer)
        return picture.resize((picture.width * factor, picture.height * factor), Image.Resampling.NEAREST)
    if longer > MOST:
        width, height = (max(round(edge * MOST / longer), 1) for edge in picture.size)
        return picture.resize((width, height), Image.Resampling.LANCZOS)
    return picture


def _columns(count: int, width: int, height: int) -> int:
    """Columns of a grid of ``count`` cells that comes close to `SHAPE` and leaves few of them empty."""
    wanted = math.sqrt(count * SHAPE * height / width)
    most = min(math.ceil(wanted * 1.25), count)
    near = range(min(max(math.floor(wanted * 0.75), 1), most), most + 1)
    return min(near, key=lambda columns: (-count % columns, abs(columns - wanted)))


def _shortened(caption: str, font: Any, width: int) -> str:
    """As much of the caption as fits."""
    if font.getlength(caption) <= width:
        return caption
    kept = next((n for n in range(len(caption) - 1, 0, -1) if font.getlength(caption[:n] + "…") <= width), 0)
    return caption[:kept].rstrip() + "…"
