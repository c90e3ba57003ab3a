"""Colors are adjusted as torchvision adjusts those of PIL images, bit for bit: by native code, and by Pillow.

``GPULOAD_CASES=2000 python -m pytest tests/test_adjust.py`` tries so many pictures of each adjustment.
"""

import random
from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
from PIL import Image

from gpuload.compilers import compiler
from gpuload.native import Status
from gpuload.recipes.adjust import Adjust, Adjustment
from gpuload.recipes.fuse import fuse
from gpuload.recipes.ops import Crop, Filter, Flip, Grayscale, Op, Pad, PadMode, Recipe, Resize
from gpuload.recipes.recipes import apply
from tests.cases import THOROUGH, cases
from tests.native_batch import Batch
from tests.recipes import Pixels, adjusted, batched, functional, random_adjustment

pytestmark = pytest.mark.skipif(compiler() is None, reason="no C++ compiler")

every_adjustment = pytest.mark.parametrize("adjustment", Adjustment, ids=lambda one: one.name.lower())
FACTORS = [0.0, 1.0, 0.5, 1e-7, 1 - 2**-24, 1 + 2**-23, 2.0, 255.0, 1e6, 1e30, float(np.finfo(np.float32).max)]


def noise(rng: random.Random, shape: tuple[int, ...], low: int = 0, high: int = 256) -> Pixels:
    return np.random.default_rng(rng.getrandbits(32)).integers(low, high, shape, np.uint8)


def gray(rng: random.Random, shape: tuple[int, ...]) -> Pixels:
    return np.repeat(noise(rng, (*shape[:2], 1)), 3, axis=2)


KINDS: list[Callable[[random.Random, tuple[int, ...]], Pixels]] = [
    noise,
    gray,
    lambda rng, shape: np.broadcast_to(noise(rng, (1, 1, 3)), shape),  # flat
    lambda rng, shape: noise(rng, shape, 0, 2) * np.uint8(rng.randint(1, 255)),  # of two values
    lambda rng, shape: noise(rng, shape, 100, 132),  # of little contrast
    lambda rng, shape: noise(rng, (*shape[:2], 1)) // np.array([1, 2, 3], np.uint8),  # of one hue
]


def some_picture(rng: random.Random) -> Pixels:
    """uint8 (H, W, 3), of any kind and shape: next to nothing, too, and very wide."""
    some = rng.randint(1, 70)
    sizes = [(some, rng.randint(1, 70))] * 4 + [(1, 1), (2, some), (some, 2), (3, 3), (1, 5000), (3, 1500)]
    return np.ascontiguousarray(rng.choice(KINDS)(rng, (*rng.choice(sizes), 3)))


def value_of(adjustment: Adjustment, rng: random.Random) -> float:
    while True:
        found = random_adjustment(rng)
        if found.adjustment is adjustment:
            is_factor = adjustment.name.startswith("ADJUST") and adjustment is not Adjustment.ADJUST_HUE
            return rng.choice(FACTORS) if is_factor and rng.random() < 0.3 else float(found.value)


def rendered(picture: Pixels, recipe: Recipe) -> Pixels:
    """What native code makes of it."""
    batch = Batch(fuse(batched([picture], [recipe])))
    assert not batch.fused.by_pillow[0]
    assert batch.put(0, picture) == Status.OK and batch.guards_hold()
    return batch.image(0)


@every_adjustment
def test_any_picture_is_as_torchvisions(adjustment: Adjustment) -> None:
    rng = random.Random(adjustment.value)
    for case in range(cases(100)):
        picture, value = some_picture(rng), value_of(adjustment, rng)
        image, op = Image.fromarray(picture), Adjust(adjustment, value)
        wanted = np.asarray(adjusted(image, adjustment, value))
        assert np.array_equal(rendered(picture, (op,)), wanted), (case, value, picture.shape)
        assert np.array_equal(np.asarray(apply(image, (op,))), wanted), (case, value, picture.shape)


def colors(step: int) -> Pixels:
    """Each color of a grid, from 0 to 255."""
    levels = np.unique([*range(0, 256, step), 255]).astype(np.uint8)
    grid = np.stack(np.meshgrid(levels, levels, levels, indexing="ij"), axis=-1)
    return np.ascontiguousarray(grid.reshape(len(levels), -1, 3))


def test_every_hue_of_a_grid_of_colors() -> None:
    picture = colors(4 if THOROUGH else 15)
    for shift in range(-127, 128):
        wanted = functional(Image.fromarray(picture), (Adjust(Adjustment.ADJUST_HUE, float(shift)),))
        assert np.array_equal(rendered(picture, (Adjust(Adjustment.ADJUST_HUE, float(shift)),)), np.asarray(wanted))


@pytest.mark.parametrize("shift", [0, 1, -40, 127] if THOROUGH else [0])
def test_every_color_goes_to_hsv_and_back(shift: int) -> None:
    """All 2^24 of them; every third level of each color where tests must be short."""
    picture, op = colors(1 if THOROUGH else 3), Adjust(Adjustment.ADJUST_HUE, float(shift))
    assert np.array_equal(rendered(picture, (op,)), np.asarray(op.apply(Image.fromarray(picture))))


@pytest.mark.parametrize("factor", FACTORS)
def test_every_pair_of_values_is_blended(factor: float) -> None:
    """A color's saturation: each luma with each value."""
    picture, op = colors(5), Adjust(Adjustment.ADJUST_SATURATION, factor)
    wanted = functional(Image.fromarray(picture), (op,))
    assert np.array_equal(rendered(picture, (op,)), np.asarray(wanted))


# ---- with geometry ----

MOVES: list[Op] = [Crop(1, 2, 12, 15), Resize(9, 11, Filter.BILINEAR), Pad(1, 2, 3, 4, (9, 8, 7), PadMode.CONSTANT)]


@every_adjustment
@pytest.mark.parametrize("move", MOVES, ids=lambda op: type(op).__name__)
def test_what_moves_pixels_comes_before_or_after_it(adjustment: Adjustment, move: Op) -> None:
    rng = random.Random(0)
    picture, op = noise(rng, (20, 30, 3)), Adjust(adjustment, value_of(adjustment, rng))
    for recipe in ((move, op, Grayscale(), op), (op, move), (Grayscale(), op, move, op)):
        assert np.array_equal(rendered(picture, recipe), np.asarray(functional(Image.fromarray(picture), recipe)))
    fused = fuse(batched([picture] * 2, [(move, op), (op, move)]))
    assert np.diff(fused.adjustments.at).tolist() == [1, 2]


@every_adjustment
@pytest.mark.parametrize("horizontal", [True, False])
def test_a_flip_may_come_later(adjustment: Adjustment, horizontal: bool) -> None:
    rng = random.Random(2)
    for _ in range(cases(20)):
        picture, first = some_picture(rng), Adjust(adjustment, value_of(adjustment, rng))
        height, width = picture.shape[:2]
        recipe = (Crop(0, 0, height, width), first, Flip(horizontal), random_adjustment(rng), Flip(True))
        assert np.array_equal(rendered(picture, recipe), np.asarray(functional(Image.fromarray(picture), recipe)))


def test_gray_before_a_resize_stays_there() -> None:
    picture = noise(random.Random(0), (20, 30, 3))
    recipe = (Grayscale(), Resize(9, 11, Filter.BICUBIC), Adjust(Adjustment.ADJUST_BRIGHTNESS, 1.2))
    assert np.array_equal(rendered(picture, recipe), np.asarray(functional(Image.fromarray(picture), recipe)))


# ---- many samples ----


def test_each_sample_has_its_own() -> None:
    rng = random.Random(1)
    pictures = [some_picture(rng) for _ in range(40)]
    recipes = [tuple(random_adjustment(rng) for _ in range(rng.randint(0, 3))) for _ in pictures]
    fused = fuse(batched(pictures, list(recipes)))
    kinds = [[op.adjustment.value for op in recipe] for recipe in recipes]
    for part in (slice(0, 40), slice(7, 21), slice(39, 40), slice(5, 5)):
        steps, at, *_ = fused[part].adjustments
        assert [steps["kind"][a:b].tolist() for a, b in pairwise(at.tolist())] == kinds[part]
    some = np.arange(40) % 3 == 0
    steps, at, *_ = fused.adjustments.without(some)
    left = [[] if gone else kind for gone, kind in zip(some, kinds, strict=True)]
    assert [steps["kind"][a:b].tolist() for a, b in pairwise(at.tolist())] == left
    assert fused.adjustments.any.tolist() == [bool(recipe) for recipe in recipes]
    batch = Batch(fused)
    for i, (picture, recipe) in enumerate(zip(pictures, recipes, strict=True)):
        assert batch.put(i, picture) == Status.OK
        assert np.array_equal(batch.image(i), np.asarray(functional(Image.fromarray(picture), recipe))), recipe
