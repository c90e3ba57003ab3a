"""Class folders of JPEGs for the benchmarks, cut from the two photos that scikit-learn ships; made once."""

import os
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Pixels = NDArray[np.uint8]
FOLDER = Path(tempfile.gettempdir()) / "gpuload-benchmarks"
QUALITY = 91  # at which photos of 500 x 375 have about 55 KB
BICUBIC = Image.Resampling.BICUBIC


def cut(source: Pixels, rng: np.random.Generator, size: tuple[int, int]) -> Image.Image:
    """A random region of a photo, three quarters of each side or more, at ``size`` (width, height)."""
    height, width = (int(rng.integers(side * 3 // 4, side + 1)) for side in source.shape[:2])
    top, left = int(rng.integers(0, source.shape[0] - height + 1)), int(rng.integers(0, source.shape[1] - width + 1))
    return Image.fromarray(source[top : top + height, left : left + width]).resize(size, BICUBIC)


def photo(source: Pixels, rng: np.random.Generator) -> Image.Image:
    """500 x 375, about 55 KB."""
    return cut(source, rng, (500, 375))


def thumbnail(source: Pixels, rng: np.random.Generator) -> Image.Image:
    """32 x 32, about 1 KB."""
    return cut(source, rng, (128, 96)).resize((32, 32), BICUBIC)


def large(source: Pixels, rng: np.random.Generator) -> Image.Image:
    """12 megapixels, with a sensor's noise, or a tenth of the bytes of a camera's file would be left to decode."""
    pixels = np.asarray(cut(source, rng, (4000, 3000)), np.float32)
    pixels += rng.normal(0, 5, (3000, 4000, 1)).astype(np.float32)
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def make(name: str, picture: Callable[[Pixels, np.random.Generator], Image.Image], count: int, different: int) -> Path:
    """``count`` JPEGs in two class folders; ``different`` of them differ, the others are links to those."""
    root = FOLDER / f"{name}-{count}"
    if (root / "made").exists():
        return root / "files"
    from sklearn.datasets import load_sample_images

    different = min(count, different)
    folders = [root / "files" / kind for kind in ("building", "flower")]
    sources = load_sample_images().images
    for folder in folders:
        folder.mkdir(parents=True, exist_ok=True)

    def file(number: int) -> Path:
        return folders[number % 2] / f"{number:06}.jpg"

    def write(number: int) -> None:
        picture(sources[number % 2], np.random.default_rng(number)).save(file(number), quality=QUALITY)

    with ThreadPoolExecutor() as threads:
        list(threads.map(write, range(different)))
    for number in range(different, count):
        file(number).unlink(missing_ok=True)
        os.link(file(number % different), file(number))
    (root / "made").touch()
    return root / "files"


def photos(count: int) -> Path:
    return make("photos", photo, count, different=2560)


def thumbnails(count: int) -> Path:
    return make("thumbnails", thumbnail, count, different=5120)


def large_photos(count: int) -> Path:
    return make("large", large, count, different=16)
