"""Warps are Pillow's, bit for bit, with the numbers that torchvision's functional gives it."""

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from torchvision.transforms.v2 import functional as F

from gpuload.compilers import compiler
from gpuload.native import Status
from gpuload.recipes.fuse import fuse
from gpuload.recipes.ops import Filter, Flip, Resize
from gpuload.recipes.recipes import Recipes, apply
from gpuload.recipes.warp import WARP_FILTERS, Motion, Warp, affine, rotation
from tests.cases import cases
from tests.native_batch import Batch
from tests.recipes import random_adjustment, random_picture, random_warp

pytestmark = pytest.mark.skipif(compiler() is None, reason="no C++ compiler")

SHARE = 4  # of the cases, each of the four kinds
RIGHT = (0.0, 90.0, 180.0, 270.0, -90.0, 360.0)
Pixels = NDArray[np.uint8]


def one(*values: float) -> list[NDArray[np.float64]]:
    """Each as of one sample."""
    return [np.array([float(value)]) for value in values]


def rendered(picture: Pixels, recipe: tuple[Any, ...]) -> Pixels:
    """A recipe, natively."""
    batch = Batch(fuse(Recipes.of([recipe], [picture.shape[0]], [picture.shape[1]])))
    assert not batch.fused.by_pillow.any()
    assert batch.put(0, picture) == Status.OK and batch.guards_hold()
    return batch.image(0)


# ---- against torchvision ----


def turned(rng: random.Random, image: Image.Image, look: dict[str, Any]) -> tuple[Image.Image, Any]:
    angle = rng.choice((rng.choice(RIGHT), rng.uniform(-400, 400), rng.uniform(-3, 3)))
    center = None if rng.random() < 0.5 else [rng.uniform(-9, image.width), rng.uniform(-9, image.height)]
    x, y = center or (image.width / 2, image.height / 2)
    return F.rotate(image, angle, center=center, **look), rotation(*one(angle, x, y))


def moved(rng: random.Random, image: Image.Image, look: dict[str, Any]) -> tuple[Image.Image, Any]:
    angle = rng.choice((0.0, 180.0, rng.uniform(-400, 400)))
    shift = [rng.choice((0, rng.randint(-40, 40), rng.uniform(-9, 9))) for _ in "xy"]
    scale = rng.choice((1.0, 0.5, rng.uniform(0.3, 3), 10 ** rng.uniform(-5, 4)))
    shear = [rng.choice((0.0, rng.uniform(-60, 60))) for _ in "xy"]
    center = rng.choice((None, [0, 0], [rng.uniform(-9, 99), rng.uniform(-9, 99)]))
    x, y = center or (image.width * 0.5, image.height * 0.5)
    made = F.affine(image, angle, shift, scale, shear, center=center, **look)
    return made, affine(Motion(*one(angle, *shift, scale, *shear)), *one(x, y))


def only_moved(rng: random.Random, image: Image.Image, look: dict[str, Any]) -> tuple[Image.Image, Any]:
    """What neither turns nor shears has a way of its own."""
    shift, scale = (
        [rng.uniform(-40, 40), rng.randint(-40, 40)],
        rng.choice((1.0, -1.0, 2.0, 1 / 3, rng.uniform(0.1, 5))),
    )
    angle = 0.0 if scale > 0 else 180.0
    made = F.affine(image, angle, shift, abs(scale), [0.0, 0.0], **look)
    numbers = affine(Motion(*one(angle, *shift, abs(scale), 0, 0)), *one(image.width * 0.5, image.height * 0.5))
    return made, numbers


def in_perspective(rng: random.Random, image: Image.Image, look: dict[str, Any]) -> tuple[Image.Image, Any]:
    same, spread = (1, 0, 0, 0, 1, 0, 0, 0), (0.4, 0.4, 20, 0.4, 0.4, 20, 0.01, 0.01)
    numbers = [number + rng.uniform(-by, by) for number, by in zip(same, spread, strict=True)]
    return F.perspective(image, None, None, coefficients=numbers, **look), [numbers]


Draw = Callable[[random.Random, Image.Image, dict[str, Any]], tuple[Image.Image, Any]]


@pytest.mark.parametrize("filter", WARP_FILTERS)
@pytest.mark.parametrize("draw", [turned, moved, only_moved, in_perspective])
def test_random_warps_are_torchvisions(draw: Draw, filter: Filter) -> None:
    rng = random.Random(f"{draw.__name__} {filter.name}")
    for _ in range(cases(240) // SHARE):
        picture = random_picture(rng, rng.choice((9, 90)))
        fill = rng.choice(((0, 0, 0), (7, 100, 250)))
        image = Image.fromarray(picture)
        expected, numbers = draw(rng, image, {"interpolation": filter.name.lower(), "fill": list(fill)})
        op = Warp(np.asarray(numbers)[0].tolist(), filter, fill)
        assert np.array_equal(op.apply(image), expected), op
        assert np.array_equal(rendered(picture, (op,)), expected), op


def test_numbers_too_large_for_fixed_point() -> None:
    picture = random_picture(random.Random(5), 60)
    for numbers in (
        [40000.0, 3.0, -9.0, 0.5, 1.0, 2.0],
        [1.0, 1e-3, 4e4, 1e-3, 1.0, 0.0],
        [1e300, 1.0, 0.0, 1.0, 1.0, 0.0],
    ):
        op = Warp(numbers, Filter.NEAREST, (9, 8, 7))
        assert np.array_equal(rendered(picture, (op,)), op.apply(Image.fromarray(picture))), op


# ---- among other operations ----


def test_the_order_of_warps_and_colors_is_kept() -> None:
    rng = random.Random(11)
    for _ in range(cases(40)):
        picture = random_picture(rng, 60)
        warps = [
            Warp(rotation(*one(rng.uniform(-90, 90), 20, 20))[0].tolist(), Filter.NEAREST, (99, 0, 7)) for _ in "ab"
        ]
        recipe = (Resize(30, 40, Filter.BILINEAR), *rng.sample([*warps, *(random_adjustment(rng) for _ in "abc")], 5))
        assert np.array_equal(rendered(picture, recipe), apply(Image.fromarray(picture), recipe)), recipe


def test_a_flip_after_a_warp_is_another_warp() -> None:
    rng = random.Random(3)
    for _ in range(cases(40)):
        picture = random_picture(rng, 40)
        recipe = (Flip(True), random_warp(rng), *rng.sample([Flip(True), Flip(False), random_adjustment(rng)], 3))
        assert np.array_equal(rendered(picture, recipe), apply(Image.fromarray(picture), recipe)), recipe


def test_a_batch_of_numbers() -> None:
    """(n, 6): each sample gets its own."""
    pictures = [random_picture(random.Random(seed), 40) for seed in range(5)]
    height, width = (np.array([picture.shape[axis] for picture in pictures]) for axis in (0, 1))
    numbers = rotation(np.linspace(-80.0, 80.0, 5), width / 2, height / 2)
    where = np.array([True, False, True, True, True])
    recipes = Recipes([(Warp(numbers, Filter.BILINEAR, (1, 2, 3)), where)], height, width, height, width)
    batch = Batch(fuse(recipes))
    for slot, picture in enumerate(pictures):
        assert batch.put(slot, picture) == Status.OK
        assert np.array_equal(batch.image(slot), apply(Image.fromarray(picture), recipes[slot]))


# ---- what native code refuses ----


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("numbers", np.nan),
        ("numbers", np.inf),
        ("kind", 2),
        ("kind", -1),
        ("height", 0),
        ("width", -1),
        ("width", 1 << 30),
        ("filter", Filter.BOX.value),
        ("filter", Filter.TORCH_NEAREST.value),
        ("filter", -1),
    ],
)
def test_warps_that_there_are_not(field: str, value: Any) -> None:
    batch = of_one_warp()
    assert batch.put(0, np.zeros((5, 5, 3), np.uint8)) == Status.OK
    batch.fused.adjustments.warps[field][0] = value
    assert batch.put(0, np.zeros((5, 5, 3), np.uint8)) == Status.INVALID


@pytest.mark.parametrize("index", [-1.0, 0.5, 1.0, 1e9, np.nan, np.inf])
def test_a_warp_that_is_not_there(index: float) -> None:
    batch = of_one_warp()
    batch.fused.adjustments.steps["value"] = index
    assert batch.put(0, np.zeros((5, 5, 3), np.uint8)) == Status.INVALID


def test_no_warps_at_all() -> None:
    batch = of_one_warp()
    batch.work.warps = None
    assert batch.put(0, np.zeros((5, 5, 3), np.uint8)) == Status.INVALID


def of_one_warp() -> Batch:
    warp = Warp([1.0, 0.1, 0.0, 0.1, 1.0, 0.0], Filter.NEAREST, (0, 0, 0))
    return Batch(fuse(Recipes.of([(warp,)], [5], [5])))
