"""Recipes fused into records: what fuses, what is decoded, how it is written down.

That what is made of a record is right, the tests of the engines show.
"""

import random
import re
from typing import Any

import numpy as np
import pytest

from gpuload import transforms as T
from gpuload.compilers import kernel_folder
from gpuload.errors import ArgumentError
from gpuload.libraries import host_library
from gpuload.recipes.adjust import Adjust, Adjustment
from gpuload.recipes.adjustments import Adjustments
from gpuload.recipes.draws import CounterDraws
from gpuload.recipes.fuse import MOST_PIXELS, Fused, fuse, left_to_pillow, unfused
from gpuload.recipes.ops import Crop, Filter, Flip, Grayscale, Pad, PadMode, Recipe, Resize
from gpuload.recipes.recipes import Recipes
from gpuload.recipes.record import (
    AXIS,
    FRAMED,
    GRAYSCALE_AFTER_RESIZE,
    GRAYSCALE_BEFORE_RESIZE,
    NO_WEIGHTS,
    RECORD,
    X,
    Y,
)
from gpuload.recipes.warp import WARPED, Turn, Warp
from tests.recipes import batched, random_batch

BLACK, RED = (0, 0, 0), (255, 0, 0)


def fuse_one(recipe: Recipe, height: int, width: int) -> Fused:
    return fuse(Recipes.of([recipe], [height], [width]))


def region_of(recipe: Recipe, height: int, width: int) -> tuple[int, ...]:
    fused = fuse_one(recipe, height, width)
    assert not fused.by_pillow[0]
    return tuple(fused.regions[0].tolist())


def axis_of(fused: Fused, axis: int) -> dict[str, int]:
    return dict(zip(AXIS.names or (), fused.records["axes"][0, axis].tolist(), strict=True))


# ---- the record ----


def test_numpy_and_c_agree_on_how_many_bytes_a_record_has() -> None:
    library = host_library()
    if library is None:
        pytest.skip("no C++ compiler")
    assert library.gpuload_record_bytes() == RECORD.itemsize


def struct_fields(name: str) -> list[tuple[str, str]]:
    """(name, C type) of each field, as kernels/record.cuh declares them."""
    source = (kernel_folder() / "record.cuh").read_text()
    found = re.search(rf"struct {name} {{(.*?)\n}};", source, re.DOTALL)
    assert found is not None
    lines = [line.split("//")[0].strip() for line in found[1].splitlines()]
    declarations = [line.removesuffix(";").split(maxsplit=1) for line in lines if line]
    return [(names, kind) for kind, names in declarations]


def test_numpy_and_c_agree_on_the_fields() -> None:
    types = {"int32_t": "<i4", "int64_t": "<i8"}
    axis = [(name, types[kind]) for name, kind in struct_fields("Axis")]
    assert np.dtype(axis) == AXIS
    record = struct_fields("Record")
    assert record[2:6] == [("weights_y", "int64_t"), ("weights_x", "int64_t"), ("y", "Axis"), ("x", "Axis")]
    assert (Y, X) == (0, 1)
    scalars = [(name, types[kind]) for name, kind in (*record[:2], *record[6:-1])]
    assert record[-1] == ("fill[4]", "uint8_t")
    middle: list[Any] = [("weights", "<i8", 2), ("axes", AXIS, 2)]
    assert np.dtype([*scalars[:2], *middle, *scalars[2:], ("fill", "u1", 4)]) == RECORD


def test_what_a_record_says() -> None:
    recipe = (Crop(3, 4, 50, 60), Flip(False), Resize(20, 30, Filter.BICUBIC), Flip(True), Grayscale())
    fused = fuse_one(recipe, 100, 100)
    y = {
        "length": 50, "resized": 20, "mirrored": 1, "window": 0, "kept": 20, "begin": 0, "step": 1, "extent": 20,
        "padding": 0, "decoded": 0, "span": 50, "ksize": 11,
    }  # fmt: skip
    assert axis_of(fused, Y) == y
    turned = {"length": 60, "resized": 30, "mirrored": 0, "kept": 30, "begin": 29, "step": -1, "extent": 30}
    assert axis_of(fused, X) == {**y, **turned, "span": 60, "ksize": 9}
    record = fused.records[0]
    assert (record["filter"], record["vertical_first"]) == (Filter.BICUBIC.value, 0)
    assert record["grayscale"] == GRAYSCALE_AFTER_RESIZE
    assert record["weights"].tolist() == [NO_WEIGHTS, NO_WEIGHTS]
    assert fused.regions.tolist() == [[3, 4, 50, 60]]
    assert fused.pixel_bytes.tolist() == [50 * 60 * 3] and fused.extents.tolist() == [[20, 30]]


def test_an_empty_recipe_keeps_everything() -> None:
    fused = fuse_one((), 7, 9)
    assert fused.regions.tolist() == [[0, 0, 7, 9]]
    assert fused.extents.tolist() == [[7, 9]]


def test_grayscale_before_and_after_the_resize() -> None:
    resize = Resize(5, 5, Filter.BOX)
    both = GRAYSCALE_BEFORE_RESIZE | GRAYSCALE_AFTER_RESIZE
    for recipe, bits in (
        ((Grayscale(), resize), GRAYSCALE_BEFORE_RESIZE),
        ((resize, Grayscale()), GRAYSCALE_AFTER_RESIZE),
        ((Grayscale(), resize, Grayscale()), both),
        ((resize,), 0),
    ):
        assert fuse_one(recipe, 30, 30).records["grayscale"][0] == bits


# ---- what is decoded ----


def test_crop_then_resize_decodes_just_the_crop() -> None:
    assert region_of((Crop(10, 20, 100, 200), Resize(50, 50, Filter.BILINEAR)), 300, 400) == (10, 20, 100, 200)


def test_resize_then_center_crop_decodes_a_window() -> None:
    # outputs 16..239 at scale 2 read 2 pixels on either side of their centers
    recipe = (Resize(256, 256, Filter.BILINEAR), Crop(16, 16, 224, 224))
    assert region_of(recipe, 512, 512) == (31, 31, 450, 450)


def test_a_flip_decodes_the_other_side() -> None:
    crop = Crop(0, 0, 10, 20)
    assert region_of((Flip(True), crop), 100, 100) == (0, 80, 10, 20)
    assert region_of((Flip(False), crop), 100, 100) == (90, 0, 10, 20)
    assert region_of((crop, Flip(True), Flip(False)), 100, 100) == (0, 0, 10, 20)


@pytest.mark.parametrize("seed", range(4))
def test_regions_lie_inside_the_image(seed: int) -> None:
    pictures, recipes = random_batch(random.Random(seed), 500)
    together = batched(pictures, recipes)
    fused = fuse(together)
    top, left, height, width = fused.regions.T
    assert not fused.by_pillow.any()
    assert (top >= 0).all() and (left >= 0).all() and (height > 0).all() and (width > 0).all()
    assert (top + height <= together.height).all() and (left + width <= together.width).all()
    assert np.array_equal(fused.extents, np.stack([together.final_height, together.final_width], axis=1))


@pytest.mark.parametrize(
    ("size", "target", "vertical"),
    [
        ((300, 100), (50, 100), True),  # only the rows shrink
        ((300, 300), (100, 100), False),
        ((401, 200), (200, 100), True),  # 201 > 2 * 100
        ((400, 200), (200, 100), False),  # 200 is not more
        ((100, 50), (90, 80), True),  # columns grow
        ((50, 50), (90, 90), False),
    ],
)
def test_order_of_passes_is_pillow_13s(size: tuple[int, int], target: tuple[int, int], vertical: bool) -> None:
    fused = fuse_one((Resize(*target, Filter.BILINEAR),), *size)
    assert bool(fused.records["vertical_first"][0]) is vertical


# ---- what fuses ----

RESIZE, OTHER = Resize(10, 10, Filter.BILINEAR), Resize(20, 20, Filter.BILINEAR)
COLOR = Adjust(Adjustment.EQUALIZE)
WARP = Warp([1.0, 0.1, 0.0, 0.1, 1.0, 0.0], Filter.NEAREST, BLACK)
TURN = Turn(WARP.numbers, 40, 20, Filter.NEAREST, BLACK)


def pad(fill: tuple[int, int, int] = BLACK, mode: PadMode = PadMode.CONSTANT) -> Pad:
    return Pad(1, 1, 1, 1, fill, mode)


@pytest.mark.parametrize(
    ("recipe", "stages"),
    [
        ((), 1),
        ((Flip(True), RESIZE), 1),
        ((Crop(0, 0, 5, 5), RESIZE, Crop(1, 1, 3, 3), Flip(False)), 1),
        ((RESIZE, RESIZE), 1),  # the second changes nothing
        ((RESIZE, OTHER), 2),
        ((RESIZE, OTHER, Crop(1, 1, 3, 3), RESIZE), 3),
        ((pad(), RESIZE), 2),
        ((pad(), pad()), 1),
        ((pad(), pad(RED)), 2),
        ((pad(RED), Grayscale(), pad(RED)), 2),
        ((pad(mode=PadMode.EDGE), pad(mode=PadMode.EDGE)), 2),
        ((RESIZE, pad(mode=PadMode.REFLECT), Crop(0, 0, 4, 4), Grayscale()), 1),
        ((COLOR, Flip(True), COLOR, Grayscale()), 1),
        ((COLOR, Crop(1, 1, 9, 9), RESIZE), 2),
        ((COLOR, RESIZE, COLOR, Crop(1, 1, 9, 9), Flip(True), COLOR, pad()), 4),
        ((WARP, Flip(True), COLOR), 1),
        ((WARP, Crop(0, 0, 9, 9)), 2),
        ((TURN, COLOR), 2),
        ((TURN, Flip(True), Crop(0, 0, 9, 9), COLOR), 2),
    ],
)
def test_what_is_one_stage(recipe: Recipe, stages: int) -> None:
    fused = fuse_one(recipe, 30, 30)
    assert not fused.by_pillow[0]
    assert len(fused.adjustments.frames) == (fused.adjustments.steps["kind"] == FRAMED).sum() == stages - 1


@pytest.mark.parametrize(
    "recipe", [(Crop(0, 0, 5, 0), RESIZE), (RESIZE, OTHER, Crop(0, 0, 0, 3)), (COLOR, Crop(0, 0, 0, 0))]
)
def test_what_has_no_pixels_is_left_to_pillow(recipe: Recipe) -> None:
    fused = fuse_one(recipe, 30, 30)
    assert fused.by_pillow.tolist() == [True] and not fused.adjustments.any[0]


def test_what_a_later_stage_reads() -> None:
    fused = fuse_one((Crop(5, 5, 20, 25), COLOR, Crop(1, 2, 10, 12), RESIZE), 30, 30)
    assert fused.regions.tolist() == [[5, 5, 20, 25]]
    assert fused.adjustments.frames["region"].tolist() == [[1, 2, 10, 12]]
    assert fused.extents.tolist() == [[10, 10]] and fused.pixel_bytes.tolist() == [1500]
    assert fused.records_left(fused.adjustments.any)["axes"]["length"].tolist() == [[10, 10]]
    assert fused.records_left(~fused.adjustments.any)["axes"]["length"].tolist() == [[20, 25]]


def test_the_padding_color_goes_through_later_grayscale() -> None:
    before, after = fuse_one((Grayscale(), pad(RED)), 9, 9), fuse_one((pad(RED), Grayscale()), 9, 9)
    assert before.records["fill"][0].tolist() == [*RED, 0]
    assert after.records["fill"][0].tolist() == [76, 76, 76, 0]  # Pillow's luma of pure red


def test_a_side_that_32_bits_do_not_hold() -> None:
    wide = Pad(0, 0, MOST_PIXELS, 0, BLACK, PadMode.CONSTANT)
    with pytest.raises(ArgumentError, match=f"an image of 5 x {MOST_PIXELS + 7} pixels is larger than {MOST_PIXELS}"):
        fuse(Recipes.of([(), (wide,)], [3, 5], [3, 7]))


# ---- batches ----


def taken(adjustments: Adjustments) -> list[tuple[int, Any]]:
    """The kind of each step, and what it is told, wherever that lies."""
    steps, at, *_ = adjustments
    tables = {WARPED: adjustments.warps, FRAMED: adjustments.frames}
    told = ((kind, tables[kind][int(value)] if kind in tables else value) for kind, value in steps[at[0] : at[-1]])
    return [(int(kind), [value[name].tobytes() for name in value.dtype.names or ()] or value) for kind, value in told]


def same(one: Fused, other: Fused) -> bool:
    return (
        np.array_equal(one.extents, other.extents)
        and np.array_equal(one.regions, other.regions)
        and one.records.tobytes() == other.records.tobytes()
        and np.array_equal(one.by_pillow, other.by_pillow)
        and taken(one.adjustments) == taken(other.adjustments)
    )


def sample_of(fused: Fused, i: int) -> Fused:
    return fused[i : i + 1]


@pytest.mark.parametrize("seed", range(3))
def test_a_batch_is_many_times_one(seed: int) -> None:
    pictures, recipes = random_batch(random.Random(seed), 100)
    fused = fuse(batched(pictures, recipes))
    assert fused.regions.dtype == np.int32 and fused.records.dtype == RECORD
    assert fused.regions.flags.c_contiguous and fused.records.flags.c_contiguous
    for i, (picture, recipe) in enumerate(zip(pictures, recipes, strict=True)):
        assert same(sample_of(fused, i), fuse_one(recipe, *picture.shape[:2])), recipe


def test_adjustments_of_parts_are_joined_and_left_out() -> None:
    """Also of parts whose steps lie in the arrays of a larger batch."""
    pictures, recipes = random_batch(random.Random(3), 60)
    fused = fuse(batched(pictures, recipes))
    left = np.random.default_rng(0).random(60) < 0.5
    parts = [slice(20, 60), slice(10, 40)]
    every = Adjustments.joined([fused[part].adjustments for part in parts])
    some = Adjustments.joined([fused[part].adjustments.without(left[part]) for part in parts])
    for i, sample in enumerate([*range(20, 60), *range(10, 40)]):
        own = taken(fused.adjustments.sliced(slice(sample, sample + 1)))
        assert taken(every.sliced(slice(i, i + 1))) == own
        assert taken(some.sliced(slice(i, i + 1))) == ([] if left[sample] else own)
    assert len(some.warps) == (some.steps["kind"] == WARPED).sum() > 0
    assert len(some.frames) == (some.steps["kind"] == FRAMED).sum() > 0


TRANSFORMS = [
    T.Compose([T.RandomResizedCrop((30, 50), scale=(0.5, 1.5), ratio=(0.2, 0.4), interpolation="nearest")]),
    T.Compose([T.Resize(60, max_size=80, interpolation="bicubic"), T.CenterCrop((90, 31)), T.RandomVerticalFlip()]),
    T.Compose([T.RandomCrop(32, (4, 3), True, 0, "reflect"), T.RandomHorizontalFlip(), T.RandomGrayscale(0.5)]),
    T.Compose([T.Pad((1, 2, 3, 4), (9, 100, 30)), T.RandomGrayscale(0.5), T.CenterCrop(40), T.Pad(2, (9, 100, 30))]),
    T.Compose([T.RandomHorizontalFlip(), T.CenterCrop(33), T.Pad(20, 0, "symmetric"), T.RandomHorizontalFlip()]),
    T.Compose([T.Resize((40, 60)), T.RandomCrop(20), T.Resize((20, 20))]),
]


@pytest.mark.parametrize("transform", TRANSFORMS, ids=repr)
def test_operations_of_arrays_fuse_as_those_of_ints(transform: T.Compose) -> None:
    """A batch's operations hold arrays; a single recipe's hold ints."""
    rng = random.Random(0)
    sizes = [(rng.randint(20, 300), rng.randint(20, 300)) for _ in range(150)]
    if not isinstance(transform.transforms[0], T.Resize):  # which would leave no pixels of them
        sizes += [(1, 65_535), (65_535, 1), (1, 1), (1, 5), (5, 1)]
    heights, widths = zip(*sizes, strict=True)
    recipes = transform.plan.recipes(heights, widths, CounterDraws(5, 0, range(len(sizes))))
    fused = fuse(recipes)
    assert same(fused, fuse(Recipes.of(list(recipes), heights, widths)))
    for i in range(0, len(sizes), 10):
        assert same(sample_of(fused, i), fuse_one(recipes[i], *sizes[i]))


def test_left_to_pillow() -> None:
    recipes = Recipes.of([(Crop(1, 2, 4, 5), Resize(8, 9, Filter.BOX)), (Flip(True),)], [20, 30], [20, 40])
    plain = unfused(recipes)
    assert plain.by_pillow.all()
    assert plain.regions.tolist() == [[0, 0, 8, 9], [0, 0, 30, 40]] and plain.extents.tolist() == [[8, 9], [30, 40]]
    fused = fuse(recipes)
    assert not fused.by_pillow.any()
    some = left_to_pillow(fused, recipes, np.array([True, False]))
    assert some.by_pillow.tolist() == [True, False]
    assert same(sample_of(some, 0), sample_of(plain, 0)) and same(sample_of(some, 1), sample_of(fused, 1))
    assert same(left_to_pillow(some, recipes, np.array([False, True])), plain)  # those that were stay


def test_a_batch_of_none() -> None:
    fused = fuse(Recipes.of([], [], []))
    assert fused.regions.shape == (0, 4) and fused.records.shape == (0,) and fused.extents.shape == (0, 2)
