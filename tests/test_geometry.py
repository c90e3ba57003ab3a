"""Recipes folded into one geometry: what folds, what is decoded, how it is written down."""

import random

import pytest

from gpuload.compilers import host_library
from gpuload.geometry import SAMPLE, Region, fold, identity
from gpuload.steps import Crop, Filter, Flip, Grey, Pad, PadMode, Resize
from tests.recipes import random_picture, random_recipe

BLACK, RED = (0, 0, 0), (255, 0, 0)


def test_python_and_c_agree_on_the_record() -> None:
    library = host_library()
    if library is None:
        pytest.skip("no C++ compiler")
    assert library.gpuload_sample_bytes() == SAMPLE.itemsize


def test_packed_record_reads_back() -> None:
    geometry = fold((Crop(3, 4, 50, 60), Resize(20, 30, Filter.BICUBIC), Flip(True), Grey()), 100, 100)
    assert geometry is not None
    record = bytearray(SAMPLE.itemsize)
    geometry.pack(record, pixels=1 << 40, output=7, taps=(11, -1))
    import numpy as np

    row = np.frombuffer(record, SAMPLE)[0]
    assert (row["pixels"], row["output"], row["taps_x"], row["taps_y"]) == (1 << 40, 7, 11, -1)
    assert tuple(row["x"]) == geometry.x
    assert tuple(row["y"]) == geometry.y
    assert (row["filter"], row["vertical_first"], row["grey"]) == (Filter.BICUBIC.value, 0, 2)


def test_crop_then_resize_decodes_just_the_crop() -> None:
    geometry = fold((Crop(10, 20, 100, 200), Resize(50, 50, Filter.BILINEAR)), 300, 400)
    assert geometry is not None
    assert geometry.region == Region(10, 20, 100, 200)


def test_resize_then_centre_crop_decodes_a_window() -> None:
    geometry = fold((Resize(256, 256, Filter.BILINEAR), Crop(16, 16, 224, 224)), 512, 512)
    assert geometry is not None
    # outputs 16..239 at scale 2 read 2 pixels on either side of their centres
    assert geometry.region == Region(31, 31, 450, 450)


@pytest.mark.parametrize("seed", range(4))
def test_region_lies_inside_the_image(seed: int) -> None:
    rng = random.Random(seed)
    for _ in range(500):
        height, width = random_picture(rng).shape[:2]
        geometry = fold(random_recipe(rng, height, width), height, width)
        if geometry is not None:
            top, left, rows, columns = geometry.region
            assert 0 <= top < top + rows <= height
            assert 0 <= left < left + columns <= width


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
    geometry = fold((Resize(*target, Filter.BILINEAR),), *size)
    assert geometry is not None
    assert geometry.vertical_first is vertical


RESIZE, OTHER = Resize(10, 10, Filter.BILINEAR), Resize(20, 20, Filter.BILINEAR)


def pad(fill: tuple[int, int, int] = BLACK, mode: PadMode = PadMode.CONSTANT) -> Pad:
    return Pad(1, 1, 1, 1, fill, mode)


@pytest.mark.parametrize(
    ("recipe", "folds"),
    [
        ((), True),
        ((Flip(True), RESIZE), True),
        ((Crop(0, 0, 5, 5), RESIZE, Crop(1, 1, 3, 3), Flip(False)), True),
        ((RESIZE, RESIZE), True),  # the second changes nothing
        ((RESIZE, OTHER), False),
        ((pad(), RESIZE), False),
        ((pad(), pad()), True),
        ((pad(), pad(RED)), False),
        ((pad(RED), Grey(), pad(RED)), False),
        ((pad(mode=PadMode.EDGE), pad(mode=PadMode.EDGE)), False),
        ((RESIZE, pad(mode=PadMode.REFLECT), Crop(0, 0, 4, 4), Grey()), True),
    ],
)
def test_what_folds(recipe: tuple[object, ...], folds: bool) -> None:
    assert (fold(recipe, 30, 30) is not None) is folds  # type: ignore[arg-type]


def test_padding_colour_goes_through_later_grey() -> None:
    before, after = fold((Grey(), pad(RED)), 9, 9), fold((pad(RED), Grey()), 9, 9)
    assert before is not None
    assert after is not None
    assert before.fill == RED
    assert after.fill == (76, 76, 76)  # Pillow's luma of pure red


def test_identity_keeps_everything() -> None:
    geometry = identity(7, 9)
    assert geometry.region == Region(0, 0, 7, 9)
    assert (geometry.y.extent, geometry.x.extent) == (7, 9)
