"""Records, regions and offsets that would lead outside their memory are refused before anything is touched."""

import ctypes
import math
import random
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from gpuload.compilers import compiler
from gpuload.libraries import jpeg_library
from gpuload.native import Status
from gpuload.recipes.adjust import Adjust, Adjustment
from gpuload.recipes.fuse import fuse
from gpuload.recipes.ops import Crop, Filter, Flip, Pad, PadMode, Recipe, Resize
from gpuload.recipes.recipes import Recipes, apply
from gpuload.recipes.record import NO_WEIGHTS, RECORD
from gpuload.recipes.union import widened
from tests.conftest import encode, make_photo
from tests.native_batch import Batch, in_memory, native, needs_decoder, of_files, staged
from tests.recipes import batched, random_adjustment, random_warp

pytestmark = pytest.mark.skipif(compiler() is None, reason="no C++ compiler")

SPOILED = {
    "filter": [-1, len(Filter)], "grayscale": [-1, 4], "output": [-1, 1, 1 << 62, -(1 << 62)],
    "length": [0, -1, (1 << 31) - 1, 19], "resized": [0, -7, 11, 1 << 30], "mirrored": [-1, 2], "window": [-1, 1, 9999],
    "kept": [-1, 13, 1 << 30], "begin": [-(1 << 31), (1 << 31) - 1], "step": [0, 2, -2], "extent": [0, -1, 13, 1 << 30],
    "padding": [-1, 4], "decoded": [-1, 1, 5, 1 << 30], "span": [0, -1, 19, 21, 1 << 30],
    "ksize": [0, -1, 1, 4, 6, 1 << 30],
}  # fmt: skip


@pytest.mark.parametrize("name", SPOILED)
def test_a_spoiled_record_touches_nothing(name: str) -> None:
    """A picture of 20 x 20 that becomes 12 x 12; what is not as it must be is refused, whatever it would do."""
    picture = np.zeros((20, 20, 3), np.uint8)
    for value in SPOILED[name]:
        for k in range(2):
            batch = Batch(fuse(batched([picture], [(Resize(12, 12, Filter.BILINEAR),)])))
            record = batch.fused.records[0]
            target = record if name in RECORD.names else record["axes"][k]
            target[name] = value
            assert batch.put(0, picture) == Status.INVALID, value
            assert batch.untouched()


SPOILED_VALUES = {
    Adjustment.ADJUST_CONTRAST: [math.nan, math.inf, -math.inf], Adjustment.ADJUST_SHARPNESS: [math.nan, math.inf],
    Adjustment.ADJUST_HUE: [math.nan, 256.0, -256.0, 1e30], Adjustment.POSTERIZE: [math.nan, -1.0, 9.0, -1e30],
    Adjustment.SOLARIZE: [math.nan, -1.0, 257.0, math.inf], Adjustment.EQUALIZE: [math.nan],
    Adjustment.SOLARIZE_ADD: [math.nan, -1.0, 129.0],
}  # fmt: skip


def adjusting(adjustment: Adjustment, count: int = 1) -> tuple[Batch, NDArray[np.uint8]]:
    """Samples of 12 x 12, each with two adjustments, and a picture for them."""
    picture = np.full((12, 12, 3), 77, np.uint8)
    recipe = (Adjust(Adjustment.GRAYSCALE), Adjust(adjustment, 1.0))
    return Batch(fuse(batched([picture] * count, [recipe] * count))), picture


def check_adjusted(batch: Batch, picture: NDArray[np.uint8], accepted: bool) -> None:
    assert batch.put(0, picture) == (Status.OK if accepted else Status.INVALID)
    assert batch.untouched() != accepted


@pytest.mark.parametrize("adjustment", SPOILED_VALUES)
def test_a_spoiled_adjustment_touches_nothing(adjustment: Adjustment) -> None:
    check_adjusted(*adjusting(adjustment), accepted=True)
    for value in SPOILED_VALUES[adjustment]:
        batch, picture = adjusting(adjustment)
        batch.fused.adjustments.steps["value"][1] = value
        check_adjusted(batch, picture, accepted=False)
    for kind in (-1, len(Adjustment), 1 << 30):
        batch, picture = adjusting(adjustment)
        batch.fused.adjustments.steps["kind"][1] = kind
        check_adjusted(batch, picture, accepted=False)


@pytest.mark.parametrize("at", [(-1, 2), (2, 1), (0, 5), (1 << 62, 2), (-(1 << 62), 2), (0, 1 << 62), (5, 5)], ids=str)
def test_adjustments_that_are_not_there_touch_nothing(at: tuple[int, int]) -> None:
    batch, picture = adjusting(Adjustment.ADJUST_HUE, 2)  # four in all
    batch.fused.adjustments.at[:2] = at
    check_adjusted(batch, picture, accepted=False)


def test_random_adjustments_are_refused_or_done() -> None:
    """Overwritten at random: whatever is accepted reads and writes within its memory."""
    rng, picture, accepted = random.Random(0), np.random.default_rng(0).integers(0, 256, (7, 9, 3), np.uint8), 0
    values = [0.0, 1.0, -1.0, 8.0, 255.0, 256.0, -255.0, 1e9, -1e9, 3.4e38, -3.4e38, math.nan, math.inf, 1e-45]
    for _ in range(3000):
        height, width = rng.randint(1, 7), rng.randint(1, 9)
        part = np.ascontiguousarray(picture[:height, :width])
        recipe = (*(random_adjustment(rng) for _ in range(2)), random_warp(rng), Adjust(Adjustment.ADJUST_HUE, 1.0))
        batch = Batch(fuse(batched([part], [recipe])))
        steps, at, warps, *_ = batch.fused.adjustments
        for _ in range(rng.randint(1, 4)):
            steps["kind"][rng.randrange(4)] = rng.randint(-1, len(Adjustment))
            steps["value"][rng.randrange(4)] = rng.choice(values)
            at[rng.randrange(2)] = rng.randint(-1, 5)
            warps["numbers"][0, rng.randrange(8)] = rng.choice((*values, 1e300, -1e300))
            warps[rng.choice(("kind", "filter"))] = rng.randint(-1, 5)
        status = batch.put(0, part)
        assert status in (Status.OK, Status.INVALID) and batch.guards_hold()
        assert status == Status.OK or batch.untouched()
        accepted += status == Status.OK
    assert 100 < accepted < 2900


def test_random_records_never_reach_outside() -> None:
    """Fields overwritten at random: whatever is accepted reads and writes within its memory."""
    rng, picture = random.Random(0), np.zeros((20, 20, 3), np.uint8)
    values = [-2, -1, 0, 1, 2, 3, 5, 11, 12, 13, 19, 20, 21, 40, 1000, 1 << 30, (1 << 31) - 1]
    accepted = 0
    for _ in range(5000):
        recipe: Recipe = (
            Resize(12, 12, rng.choice(list(Filter))),
            Pad(2, 2, 2, 2, (1, 2, 3), rng.choice(list(PadMode))),
        )
        batch = Batch(fuse(batched([picture], [recipe])))
        axis = batch.fused.records["axes"][0, rng.randrange(2)]
        for _ in range(rng.randint(1, 3)):
            axis[rng.choice(axis.dtype.names)] = rng.choice(values)
        status = batch.put(0, picture)
        assert status in (Status.OK, Status.INVALID)
        assert batch.guards_hold()
        assert status == Status.OK or batch.untouched()
        accepted += status == Status.OK
    assert accepted > 25


@needs_decoder
@pytest.mark.parametrize("region", [(-1, 0), (0, -1), (1, 0), (0, 1), ((1 << 31) - 1, 0)])
def test_a_region_outside_its_image_is_invalid(tmp_path: Path, region: tuple[int, int]) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(encode(make_photo(40, 50)))
    batch = of_files([path], (40, 50))
    batch.fused.regions[0, :2] = region
    batch.share()
    assert batch.status.tolist() == [Status.INVALID]
    assert batch.untouched()


NOWHERE = 1  # an address that ends the process that reads there


def remembered(channels: int, stage: bool) -> Batch:
    """An image of 8 x 9 that lies where nobody can read."""
    picture = np.zeros((8, 9, 3), np.uint8)
    batch = staged(picture, ()) if stage else Batch(fuse(batched([picture], [()])))
    batch.sizes[:] = 8, 9
    batch.remember(in_memory([picture]))
    batch.images.addresses[:], batch.images.channels[:] = NOWHERE, channels
    return batch


def check_refused(batch: Batch) -> None:
    batch.share()
    assert batch.status.tolist() == [Status.INVALID]
    assert batch.untouched()


@pytest.mark.parametrize("stage", [False, True])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("corner", [(-1, 0), (0, -1), (0, 1), (1, 0), (0, (1 << 31) - 1), (-(1 << 31), 0)])
def test_a_region_outside_its_image_in_memory_is_invalid(corner: tuple[int, int], channels: int, stage: bool) -> None:
    batch = remembered(channels, stage)
    batch.fused.regions[0, :2] = corner
    check_refused(batch)


@pytest.mark.parametrize("stage", [False, True])
@pytest.mark.parametrize("size", [(7, 9), (8, 8), (0, 9), (8, -9), (1 << 30, 9), (8, (1 << 31) - 1)])
def test_an_image_in_memory_must_have_the_size_that_its_region_lies_in(size: tuple[int, int], stage: bool) -> None:
    for channels in (1, 3):
        batch = remembered(channels, stage)
        batch.sizes[:] = size
        check_refused(batch)


@pytest.mark.parametrize("stage", [False, True])
@pytest.mark.parametrize("channels", [0, 2, 4, 255])
def test_other_channels_than_one_or_three_are_invalid(channels: int, stage: bool) -> None:
    check_refused(remembered(channels, stage))


@pytest.mark.parametrize("stage", [False, True])
def test_a_spoiled_record_of_an_image_in_memory_touches_nothing(stage: bool) -> None:
    batch = remembered(3, stage)
    batch.fused.records["pixels" if stage else "output"] = 1
    check_refused(batch)


@needs_decoder
@pytest.mark.parametrize("start", [-1, 12, 1 << 40, -(1 << 63)])
def test_a_file_name_outside_the_names_is_invalid(start: int) -> None:
    batch = of_files(["0123456789"], (40, 50))
    assert batch.work.paths_bytes == 11
    batch.starts[0] = start
    for call in (batch.share, batch.measure):
        batch.status[:] = Status.TODO
        call()
        assert batch.status.tolist() == [Status.INVALID]


@needs_decoder
def test_file_names_without_an_end_are_invalid() -> None:
    for size in (0, 10):
        batch = of_files(["0123456789"], (40, 50))
        batch.work.paths_bytes = size
        batch.measure()
        assert batch.status.tolist() == [Status.INVALID]


def test_shares_outside_the_batch_are_none() -> None:
    least, most = -(1 << 63), (1 << 63) - 1
    batch = of_files(["a"] * 3)
    batch.work.decode = None
    for first, count in ((least, least), (least, most), (-1, 5), (0, 0), (0, -1), (2, least), (3, 1), (most, most)):
        batch.share(first, count)
        assert batch.status.tolist() == [Status.TODO] * 3, (first, count)
    batch.share(2, most)
    assert batch.status.tolist() == [Status.TODO, Status.TODO, Status.ODD]


@needs_decoder
@pytest.mark.parametrize(
    "region", [(-1, 0, 8, 8), (0, 33, 8, 8), (0, 0, 0, 8), (0, 0, 8, -8), (40, 0, (1 << 31) - 1, 8)]
)
def test_the_decoder_refuses_a_region_outside_its_image(region: tuple[int, int, int, int]) -> None:
    data, library, size = encode(make_photo(40, 40)), jpeg_library(), np.array([40, 40], np.int32)
    assert library is not None
    out = np.full(8 * 8 * 3, 0xAB, np.uint8)
    for wanted, decoded in (((32, 32, 8, 8), True), (region, False)):
        where = np.array(wanted, np.int32)
        out[:] = 0xAB
        addresses = size.ctypes.data, where.ctypes.data, out.ctypes.data
        assert library.gpuload_jpeg_decode(data, len(data), *addresses) is decoded
        assert (out == 0xAB).all() != decoded


def test_rows_of_weights_of_a_spoiled_axis_are_not_made() -> None:
    """Nor those of an unknown filter."""
    fused = fuse(Recipes.of([(Resize(12, 12, Filter.BILINEAR),)], [20], [20]))
    axis = np.array(fused.records["axes"][0, 0])
    rows = np.zeros((12, 2 + int(axis["ksize"])), np.int32)
    assert native().gpuload_weights(axis.ctypes.data, Filter.BILINEAR.value, rows.ctypes.data) == Status.OK
    assert rows.any(axis=1).all()
    rows[:] = 0
    for kernel_filter in (-1, len(Filter)):
        assert native().gpuload_weights(axis.ctypes.data, kernel_filter, rows.ctypes.data) == Status.INVALID
    for name in ("length", "resized", "window", "kept", "extent", "step", "ksize"):
        spoiled = axis.copy()
        spoiled[name] = (1 << 31) - 1
        assert native().gpuload_weights(spoiled.ctypes.data, 2, rows.ctypes.data) == Status.INVALID, name
    assert not rows.any()


@needs_decoder
def test_regions_without_pixels_are_invalid(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(encode(make_photo(40, 50)))
    batch = of_files([path], (40, 50))
    batch.fused.regions[0, 2] = batch.fused.records["axes"]["span"][0, 0] = 0
    batch.share()
    assert batch.status.tolist() == [Status.INVALID]


@pytest.mark.parametrize("offset", [-1, 1, 1 << 62])
@pytest.mark.parametrize("what", ["pixels", "weights"])
def test_offsets_outside_staging_are_invalid(what: str, offset: int) -> None:
    picture = np.zeros((50, 40, 3), np.uint8)
    batch = staged(picture, (Resize(20, 20, Filter.LANCZOS),))
    if what == "pixels":
        batch.fused.records["pixels"] = offset if offset != 1 else batch.staging.size - 50 * 40 * 3 + 1
    else:
        batch.fused.records["weights"][0, 1] = offset if offset != -1 else -2
    assert batch.put(0, picture) == Status.INVALID
    assert batch.untouched()


@pytest.mark.parametrize("is_rendered", [False, True])
def test_what_is_done_to_a_picture_is_checked_whoever_does_it(is_rendered: bool) -> None:
    """A kernel does, where native code leaves the pixels in staging."""
    picture, recipe = np.zeros((50, 40, 3), np.uint8), (Resize(8, 8, Filter.BOX), Adjust(Adjustment.POSTERIZE, 3.0))
    batch = staged(picture, recipe)
    assert batch.rendered.all() and batch.put(0, picture) == Status.OK
    batch.rendered[:] = is_rendered
    room = 8 * 8 * 3 if is_rendered else picture.nbytes
    batch.stage(room - 1)
    assert batch.put(0, picture) == Status.INVALID and batch.untouched()
    batch.stage(room)
    assert batch.put(0, picture) == Status.OK and not batch.untouched() and batch.guards_hold()
    batch.stage(room)
    batch.fused.adjustments.steps["value"] = 9
    assert batch.put(0, picture) == Status.INVALID and batch.untouched()


def test_what_has_no_adjustments_is_rendered_where_that_is_said() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (50, 40, 3), np.uint8)
    recipe = (Resize(8, 9, Filter.BOX),)
    batch = staged(picture, recipe)
    batch.rendered[:] = True
    batch.stage(8 * 9 * 3)
    assert batch.put(0, picture) == Status.OK and batch.guards_hold()
    assert np.array_equal(batch.staging.reshape(8, 9, 3), apply(Image.fromarray(picture), recipe))


@pytest.mark.parametrize(
    "field", [("channels", 0), ("channels", 4), ("element_bytes", 3), ("out_elements", 8 * 8 * 3 - 1)]
)
def test_a_work_that_does_not_fit_is_invalid(field: tuple[str, int]) -> None:
    picture = np.zeros((8, 8, 3), np.uint8)
    batch = Batch(fuse(batched([picture], [(Crop(0, 0, 8, 8),)])), **dict([field]))
    assert batch.put(0, picture) == Status.INVALID
    assert batch.untouched()


@pytest.mark.parametrize(
    "kernel_filter",
    [Filter.LANCZOS, Filter.HAMMING, Filter.NEAREST, Filter.BOX, Filter.TORCH_BILINEAR, Filter.TORCH_NEAREST],
)
def test_rows_that_only_the_host_makes_must_have_a_place(kernel_filter: Filter) -> None:
    picture = np.zeros((200, 3, 3), np.uint8)
    batch = staged(picture, (Resize(5, 3, kernel_filter),))
    assert batch.put(0, picture) == Status.OK
    batch.fused.records["weights"] = NO_WEIGHTS
    assert batch.put(0, picture) == Status.INVALID


# ---- several views ----

VIEWS: list[Recipe] = [(Crop(2, 3, 9, 20), Resize(5, 6, Filter.BICUBIC)), (Crop(8, 1, 10, 9), Flip(True)), ()]


def views_of(picture: NDArray[np.uint8], recipes: list[Recipe], stage: bool) -> list[Batch]:
    """Views of a picture that lies in memory, linked; in staging they share its pixels, as far as they may."""
    views = [Batch(fuse(batched([picture], [recipe]))) for recipe in recipes]
    if stage:
        widened([view.fused for view in views], [view.fused.adjustments.any for view in views])
    for view, after in pairwise(views):
        view.work.next = ctypes.addressof(after.work)
    for view in views:
        view.remember(in_memory([picture]))
        view.sizes[:] = picture.shape[:2]
    if stage:
        views[0].stage(int(views[0].fused.pixel_bytes[0]))
        for view in views[1:]:
            view.work.staging, view.work.staging_bytes = views[0].work.staging, views[0].work.staging_bytes
    return views


@pytest.mark.parametrize("channels", [1, 3])
def test_views_in_staging_share_the_smallest_region_of_all(channels: int) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (24, 31, 3)[: 3 if channels == 3 else 2], np.uint8)
    rgb = np.broadcast_to(picture.reshape(24, 31, channels), (24, 31, 3))
    views = views_of(picture, VIEWS[:2], stage=True)
    views[0].share()
    assert views[0].status.tolist() == [Status.OK] and views[0].guards_hold()
    (top, left, height, width), (same,) = views[0].fused.regions[0].tolist(), views[1].fused.regions.tolist()
    assert same == [top, left, height, width] and (height, width) != rgb.shape[:2]
    assert np.array_equal(views[0].staging.reshape(height, width, 3), rgb[top : top + height, left : left + width])


@pytest.mark.parametrize("channels", [1, 3])
def test_each_view_is_rendered_from_its_part(channels: int) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (24, 31, 3)[: 3 if channels == 3 else 2], np.uint8)
    views = views_of(picture, VIEWS, stage=False)
    views[0].share()
    assert views[0].status.tolist() == [Status.OK]
    for view, recipe in zip(views, VIEWS, strict=True):
        wanted = apply(Image.fromarray(picture).convert("RGB"), recipe)
        assert np.array_equal(view.image(0), np.asarray(wanted)) and view.guards_hold()


@pytest.mark.parametrize("stage", [False, True])
@pytest.mark.parametrize("number", [0, 1])
def test_nothing_is_touched_where_any_view_is_spoiled(number: int, stage: bool) -> None:
    picture = np.zeros((24, 31, 3), np.uint8)
    spoiled: list[tuple[str, Any]] = [("count", 0), ("region", (16, 0)), ("region", (0, -4)), ("staging_bytes", 9)]
    for name, value in spoiled if stage else [*spoiled[:3], ("out_elements", 9)]:
        views = views_of(picture, VIEWS[:2], stage)
        if name == "region":
            views[number].fused.regions[0, :2] = value
        else:
            setattr(views[number].work, name, value)
        views[0].share()
        assert views[0].status.tolist() == [Status.TODO if (name, number) == ("count", 0) else Status.INVALID], name
        assert all(view.untouched() for view in views)


def test_random_views_never_reach_outside() -> None:
    """Regions that begin or end elsewhere, with records that say so, or do not."""
    rng, picture, accepted = random.Random(0), np.zeros((24, 31, 3), np.uint8), 0
    values = [-(1 << 31), -31, -8, -2, -1, 0, 1, 2, 3, 5, 9, 16, 24, 31, 1 << 30, (1 << 31) - 1]
    for _ in range(2000):
        views = views_of(picture, rng.sample(VIEWS[:2], 2), stage=True)
        fused, axis, more = rng.choice(views).fused, rng.randrange(2), rng.choice((0, 1, 1, 2, *values))
        record, region = fused.records["axes"][0, axis], fused.regions[0].astype(np.int64)
        region[axis] -= more
        region[axis + 2] += more
        fused.regions[0] = region.astype(np.int32)
        record["decoded"], record["span"] = np.array([int(record["decoded"]) - more, region[axis + 2]]).astype(np.int32)
        if rng.random() < 0.5:
            record[rng.choice(("decoded", "span"))] = rng.choice(values)
        if rng.random() < 0.5:
            fused.records["pixels"] = rng.choice((0, 1, 3, *values))
        views[0].share()
        assert views[0].status[0] in (Status.OK, Status.INVALID) and views[0].guards_hold()
        assert views[0].status[0] == Status.OK or views[0].untouched()
        accepted += int(views[0].status[0] == Status.OK)
    assert 25 < accepted < 1900
