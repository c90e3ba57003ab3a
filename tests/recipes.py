"""Random recipes and pictures, and torchvision's functional of each operation: shared by the tests of exactness."""

import random
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from timm.data import auto_augment
from torchvision.transforms import _functional_pil as functional_pil
from torchvision.transforms.v2 import InterpolationMode, functional as F

from gpuload.recipes.adjust import ORDERS, Adjust, Adjustment
from gpuload.recipes.ops import Crop, Filter, Flip, Grayscale, Pad, PadMode, Recipe, Resize
from gpuload.recipes.recipes import Recipes
from gpuload.recipes.warp import WARP_FILTERS, Turn, Warp
from gpuload.transforms.base import torch_filter_of

TORCHS = [
    f for f in Filter if f.torch_mode is not None and torch_filter_of(f.torch_mode) is f
]  # as torchvision has them
FILTERS = [f for f in Filter if f.torch_mode is None or f in TORCHS]
Pixels = NDArray[np.uint8]  # (H, W, 3)


def random_picture(rng: random.Random, largest: int = 200) -> Pixels:
    """uint8 (H, W, 3): noise, or black and white, where rounding and clipping show most."""
    height, width = rng.randint(1, largest), rng.randint(1, largest)
    pixels = np.random.default_rng(rng.getrandbits(32)).integers(0, 256, (height, width, 3), np.uint8)
    return np.where(pixels > 127, 255, 0).astype(np.uint8) if rng.random() < 0.3 else pixels


def random_op(rng: random.Random, height: int, width: int, largest: int) -> Any:
    kind = rng.choice(("crop", "resize", "flip", "pad", "grayscale", "adjust", "warp", "turn"))
    if kind == "crop":
        h, w = rng.randint(1, height), rng.randint(1, width)
        return Crop(rng.randint(0, height - h), rng.randint(0, width - w), h, w)
    if kind == "resize":
        h, w = (rng.choice((size, rng.randint(1, largest))) for size in (height, width))
        return Resize(h, w, rng.choice(FILTERS))
    if kind == "flip":
        return Flip(rng.random() < 0.5)
    if kind == "pad":
        fill = rng.choice(((0, 0, 0), (7, 100, 250)))
        return Pad(*(rng.randint(0, 9) for _ in range(4)), fill, rng.choice(list(PadMode)))
    if kind == "warp":
        return random_warp(rng)
    if kind == "turn":
        numbers, filter, fill, _ = random_warp(rng)
        return Turn(numbers[:6], rng.randint(1, largest), rng.randint(1, largest), filter, fill)
    return random_adjustment(rng) if kind == "adjust" else Grayscale()


def random_warp(rng: random.Random) -> Warp:
    """An affine map or a perspective, not far from what leaves an image as it is."""
    same, spread = (1, 0, 0, 0, 1, 0, 0, 0), (0.4, 0.4, 20, 0.4, 0.4, 20, 0.01, 0.01)
    numbers = [number + rng.uniform(-by, by) for number, by in zip(same, spread, strict=True)]
    fill = rng.choice(((0, 0, 0), (7, 100, 250)))
    return Warp(numbers[: rng.choice((6, 8))], rng.choice(WARP_FILTERS), fill)


def random_adjustment(rng: random.Random) -> Adjust:
    adjustment = rng.choice(list(Adjustment))
    match adjustment:
        case Adjustment.ADJUST_HUE:
            return Adjust(adjustment, float(rng.randint(-127, 127)))
        case Adjustment.POSTERIZE:
            return Adjust(adjustment, float(rng.randint(0, 8)))
        case Adjustment.SOLARIZE:
            return Adjust(adjustment, float(rng.randint(0, 256)))
        case Adjustment.SOLARIZE_ADD:
            return Adjust(adjustment, float(rng.randint(0, 128)))
        case Adjustment.PERMUTE_CHANNELS:
            return Adjust(adjustment, float(rng.randrange(len(ORDERS))))
        case Adjustment.BLUR:
            return Adjust(adjustment, float(np.float32(rng.choice((0.0, 1.0, rng.uniform(0, 3), rng.uniform(0, 99))))))
        case Adjustment.AUTOCONTRAST | Adjustment.EQUALIZE | Adjustment.GRAYSCALE:
            return Adjust(adjustment)
    return Adjust(adjustment, rng.choice((0.0, 1.0, rng.uniform(0, 1), rng.uniform(0.9, 1.1), rng.uniform(0, 3))))


def random_recipe(rng: random.Random, height: int, width: int, largest: int = 80) -> Recipe:
    ops: list[Any] = []
    for _ in range(rng.randint(0, 6)):
        ops.append(random_op(rng, height, width, largest))
        height, width = ops[-1].size_after(height, width)
    return tuple(ops)


def random_batch(rng: random.Random, count: int, largest: int = 200) -> tuple[list[Pixels], list[Recipe]]:
    """Pictures and a recipe for each."""
    pictures = [random_picture(rng, largest) for _ in range(count)]
    return pictures, [random_recipe(rng, *picture.shape[:2]) for picture in pictures]


def batched(pictures: list[Pixels], recipes: list[Recipe]) -> Recipes:
    """Single recipes as one batch."""
    return Recipes.of(recipes, [len(picture) for picture in pictures], [picture.shape[1] for picture in pictures])


def functional(image: Image.Image, recipe: Recipe) -> Image.Image:
    """The recipe with torchvision's functional, as a user would apply it."""
    for op in recipe:
        match op:
            case Crop(top, left, height, width):
                image = F.crop(image, top, left, height, width)
            case Resize(height, width, kernel_filter):
                mode = InterpolationMode(kernel_filter.torch_mode or kernel_filter.name.lower())
                resized = F.pil_to_tensor(image) if kernel_filter.torch_mode else image
                resized = F.resize(resized, [height, width], interpolation=mode, antialias=True)
                image = F.to_pil_image(resized) if kernel_filter.torch_mode else resized
            case Flip(horizontal):
                image = F.horizontal_flip(image) if horizontal else F.vertical_flip(image)
            case Pad(left, top, right, bottom, fill, pad_mode):
                margins = [left, top, right, bottom]
                image = F.pad(image, margins, fill=list(fill), padding_mode=pad_mode.name.lower())
            case Adjust(adjustment, value):
                image = adjusted(image, adjustment, value)
            case Warp(numbers, kernel_filter, fill):
                image = warped(image, numbers, kernel_filter.name.lower(), list(fill))
            case Turn(numbers, height, width, kernel_filter, fill):
                size, mode = (width, height), Image.Resampling[kernel_filter.name]
                image = image.transform(size, Image.Transform.AFFINE, numbers, mode, fillcolor=fill)
            case Grayscale():
                image = F.rgb_to_grayscale(image, num_output_channels=3)
            case _:
                raise TypeError(f"no functional of torchvision's for {op!r}")
    return image


def warped(image: Image.Image, numbers: list[float], interpolation: str, fill: list[int]) -> Image.Image:
    """A warp with torchvision's functional, where that makes the numbers itself, with what it gives them to."""
    if len(numbers) == 8:
        return F.perspective(image, None, None, interpolation, fill, numbers)
    return functional_pil.affine(image, numbers, Image.Resampling[interpolation.upper()], fill)


def adjusted(image: Image.Image, adjustment: Adjustment, value: float) -> Image.Image:
    """One adjustment with torchvision's functional, or timm's."""
    match adjustment:
        case Adjustment.ADJUST_HUE:  # of 255, truncated
            return F.adjust_hue(image, (value + (0.5 if value > 0 else -0.5)) / 255 if value else 0.0)
        case Adjustment.POSTERIZE:
            return F.posterize(image, int(value)) if value else Image.new("RGB", image.size)
        case Adjustment.SOLARIZE:
            return F.solarize(image, value)
        case Adjustment.SOLARIZE_ADD:
            return auto_augment.solarize_add(image, int(value))
        case Adjustment.BLUR:
            return adjustment(image, value)  # Pillow's own boxes; those of a Gaussian: tests/test_pillow_blur.py
        case Adjustment.PERMUTE_CHANNELS:
            return F.permute_channels(image, ORDERS[int(value)])
        case Adjustment.GRAYSCALE:
            return F.rgb_to_grayscale(image, num_output_channels=3)
        case Adjustment.AUTOCONTRAST | Adjustment.EQUALIZE:
            return getattr(F, adjustment.name.lower())(image)
    return getattr(F, adjustment.name.lower())(image, value)
