"""Class folders of photos for the benchmarks: 500 x 375 JPEGs cut from the two that scikit-learn ships."""

import os
from pathlib import Path

import numpy as np
from PIL import Image

DIFFERENT = 600


def make_photos(root: Path, count: int = DIFFERENT, seed: int = 0) -> Path:
    """``count`` JPEGs of about 60 KB in two class folders below ``root``; made once.

    Six hundred of them differ; the others are further names of those.
    """
    if (root / "made").exists():
        return root / "photos"
    from sklearn.datasets import load_sample_images

    rng = np.random.default_rng(seed)
    for name, pixels in zip(("building", "flower"), load_sample_images().images, strict=True):
        folder = root / "photos" / name
        folder.mkdir(parents=True, exist_ok=True)
        for number in range(count // 2):
            if number >= DIFFERENT // 2:
                os.link(folder / f"{number % (DIFFERENT // 2):05}.jpg", folder / f"{number:05}.jpg")
                continue
            height, width = int(rng.integers(320, 427)), int(rng.integers(430, 640))
            top, left = int(rng.integers(0, 428 - height)), int(rng.integers(0, 641 - width))
            crop = Image.fromarray(pixels[top : top + height, left : left + width])
            crop.resize((500, 375), Image.Resampling.BICUBIC).save(folder / f"{number:05}.jpg", quality=90)
    (root / "made").touch()
    return root / "photos"
