"""Random recipes and pictures, and torchvision's functional of each step: shared by the tests of exactness."""

import random

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torchvision.transforms.v2 import InterpolationMode, functional as F

from gpuload.steps import Crop, Filter, Flip, Grey, Pad, PadMode, Recipe, Resize, Step


def random_picture(rng: random.Random, largest: int = 200) -> NDArray[np.uint8]:
    """uint8 (H, W, 3): noise, or black and white, where rounding and clipping show most."""
    height, width = rng.randint(1, largest), rng.randint(1, largest)
    pixels = np.random.default_rng(rng.getrandbits(32)).integers(0, 256, (height, width, 3), np.uint8)
    return np.where(pixels > 127, 255, 0).astype(np.uint8) if rng.random() < 0.3 else pixels


def random_step(rng: random.Random, height: int, width: int, largest: int) -> Step:
    kind = rng.choice(("crop", "resize", "flip", "pad", "grey"))
    if kind == "crop":
        h, w = rng.randint(1, height), rng.randint(1, width)
        return Crop(rng.randint(0, height - h), rng.randint(0, width - w), h, w)
    if kind == "resize":
        h, w = (rng.choice((size, rng.randint(1, largest))) for size in (height, width))
        return Resize(h, w, rng.choice(list(Filter)))
    if kind == "flip":
        return Flip(rng.random() < 0.5)
    if kind == "pad":
        fill = rng.choice(((0, 0, 0), (7, 100, 250)))
        return Pad(*(rng.randint(0, 9) for _ in range(4)), fill, rng.choice(list(PadMode)))
    return Grey()


def size_after(step: Step, height: int, width: int) -> tuple[int, int]:
    if isinstance(step, Crop | Resize):
        return step.height, step.width
    if isinstance(step, Pad):
        return height + step.top + step.bottom, width + step.left + step.right
    return height, width


def random_recipe(rng: random.Random, height: int, width: int, largest: int = 80) -> Recipe:
    steps: list[Step] = []
    for _ in range(rng.randint(0, 6)):
        step = random_step(rng, height, width, largest)
        steps.append(step)
        height, width = size_after(step, height, width)
    return tuple(steps)


def functional(image: Image.Image, recipe: Recipe) -> Image.Image:
    """The recipe with torchvision's functional, as a user would apply it."""
    for step in recipe:
        if isinstance(step, Crop):
            image = F.crop(image, *step)
        elif isinstance(step, Resize):
            mode = InterpolationMode(step.filter.name.lower())
            image = F.resize(image, [step.height, step.width], interpolation=mode, antialias=True)
        elif isinstance(step, Flip):
            image = F.horizontal_flip(image) if step.horizontal else F.vertical_flip(image)
        elif isinstance(step, Pad):
            margins, mode_name = [step.left, step.top, step.right, step.bottom], step.mode.name.lower()
            image = F.pad(image, margins, fill=list(step.fill), padding_mode=mode_name)
        else:
            image = F.rgb_to_grayscale(image, num_output_channels=3)
    return image
