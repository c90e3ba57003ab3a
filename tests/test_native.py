"""The native share: statuses and pixels of files, against Pillow."""

import ctypes
import io
import os
import platform
import random
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from torchvision.transforms import v2

from gpuload.compilers import build, compiler, kernel_folder
from gpuload.native import Status, Work, declare
from gpuload.philox import philox
from gpuload.recipes.fuse import fuse
from gpuload.recipes.ops import Crop, Filter, Flip, Recipe, Resize
from gpuload.recipes.recipes import apply
from gpuload.recipes.record import RECORD
from tests.cases import cases
from tests.conftest import encode, make_photo
from tests.cuda_on_cpu import cuda_on_cpu
from tests.native_batch import IDENTITY, Batch, at_the_edge, in_memory, native, needs_decoder, of_files, staged
from tests.recipes import TORCHS, Pixels, batched, random_batch, random_picture

pytestmark = pytest.mark.skipif(compiler() is None, reason="no C++ compiler")


def test_both_sides_lay_out_the_structs_alike() -> None:
    assert native().gpuload_record_bytes() == RECORD.itemsize
    assert native().gpuload_work_bytes() == ctypes.sizeof(Work)


# ---- statuses ----


@needs_decoder
def test_each_kind_of_file_gets_its_status(tmp_path: Path) -> None:
    photo, good = make_photo(40, 50), tmp_path / "good.jpg"
    good.write_bytes(encode(photo))
    for name, data in {
        "image.png": encode(photo, "PNG"),
        "cut.jpg": encode(photo)[:-20],
        "empty.jpg": b"",
        "other.jpg": encode(make_photo(40, 51)),
    }.items():
        (tmp_path / name).write_bytes(data)
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "folder").mkdir()
    wanted = {
        "good.jpg": Status.OK,
        "missing.jpg": Status.UNREADABLE,
        "fifo": Status.UNREADABLE,
        "folder": Status.UNREADABLE,
        "image.png": Status.ODD,
        "cut.jpg": Status.ODD,
        "empty.jpg": Status.ODD,
        "other.jpg": Status.CHANGED,
    }
    batch = of_files([tmp_path / name for name in wanted], (40, 50))
    batch.share()
    assert [Status(status) for status in batch.status] == list(wanted.values())
    batch.status[:] = Status.TODO
    loaded = batch.load()
    assert [Status(status) for status in batch.status] == list(wanted.values())
    assert loaded == [good.read_bytes(), *[b""] * (len(wanted) - 1)]
    batch.status[:] = Status.TODO
    batch.measure()
    del wanted["other.jpg"]  # the header pass expects no size
    assert [Status(status) for status in batch.status] == [*wanted.values(), Status.OK]


@needs_decoder
def test_only_what_is_to_be_done_is_done(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(encode(make_photo(40, 50)))
    batch = of_files([path] * 6, (40, 50))
    batch.status[3] = Status.ODD
    batch.share(1, 3)
    assert batch.status.tolist() == [Status.TODO, Status.OK, Status.OK, Status.ODD, Status.TODO, Status.TODO]
    batch.share(-5, 3)
    batch.share(9, 3)
    assert batch.status[0] == Status.TODO
    batch.share(4, 1 << 62)
    assert batch.status[4:].tolist() == [Status.OK, Status.OK]
    batch.status[:] = Status.TODO
    assert [found != b"" for found in batch.load(1, 2)] == [False, True, True, False, False, False]


def test_without_a_decoder_every_file_is_odd(tmp_path: Path) -> None:
    batch = of_files([tmp_path / "missing.jpg"])
    batch.work.decode = None
    batch.share()
    assert batch.status.tolist() == [Status.ODD]


@needs_decoder
def test_a_corrupt_scan_decodes_somehow_or_fails(tmp_path: Path) -> None:
    rng, data = random.Random(0), encode(make_photo(64, 80))
    scan = data.index(b"\xff\xda") + 12
    paths = [tmp_path / str(i) for i in range(60)]
    for path in paths:
        broken = bytearray(data)
        for _ in range(rng.randint(1, 30)):
            broken[rng.randrange(scan, len(data) - 2)] = rng.randrange(256)
        path.write_bytes(broken)
    batch = of_files(paths, (64, 80), (Resize(20, 20, Filter.BILINEAR),))
    batch.share()
    assert set(batch.status.tolist()) <= {Status.OK, Status.FAILED, Status.ODD}
    assert batch.guards_hold()


# ---- pixels ----


@needs_decoder
def test_random_files_and_recipes_equal_pillow(tmp_path: Path) -> None:
    rng = random.Random(0)
    pictures, recipes = random_batch(rng, 150, 120)
    paths = [tmp_path / f"{i}.jpg" for i in range(len(pictures))]
    for path, picture in zip(paths, pictures, strict=True):
        image = Image.fromarray(picture).convert(rng.choice(("RGB", "RGB", "L")))
        path.write_bytes(encode(image, quality=rng.choice((60, 90))))
    batch = Batch(fuse(batched(pictures, recipes)), paths)
    batch.measure()
    assert not batch.status.any()
    batch.status[~batch.fused.by_pillow] = Status.TODO
    shares = [threading.Thread(target=batch.share, args=(first, 10)) for first in range(0, len(paths), 10)]
    for thread in shares:
        thread.start()
    for thread in shares:
        thread.join()
    assert not batch.status.any()
    for i in np.flatnonzero(~batch.fused.by_pillow):
        with Image.open(paths[i]) as image:
            wanted = np.asarray(apply(image.convert("RGB"), recipes[i]))
        assert np.array_equal(batch.image(int(i)), wanted), recipes[i]
    assert batch.guards_hold()


def check_pixels(library: ctypes.CDLL, seed: int, count: int) -> None:
    rng = random.Random(seed)
    for _ in range(count):
        pictures, recipes = random_batch(rng, 4, 90)
        dtype = rng.choice((np.uint8, np.uint16, np.uint32))
        channels = rng.choice((1, 3))
        table = np.random.default_rng(seed).integers(0, 251, (channels, 256)).astype(dtype)
        batch = Batch(fuse(batched(pictures, recipes)), table=table, channels_last=rng.randrange(2))
        for i, (picture, recipe) in enumerate(zip(pictures, recipes, strict=True)):
            if batch.fused.by_pillow[i]:
                continue
            assert batch.put(i, picture, library) == Status.OK
            wanted = np.asarray(apply(Image.fromarray(picture), recipe))[..., :channels]
            looked_up = np.stack([table[c][wanted[..., c]] for c in range(channels)], -1)
            assert np.array_equal(batch.image(i), looked_up), (picture.shape, recipe)
        assert batch.guards_hold()


@pytest.mark.parametrize("seed", range(3))
def test_random_recipes_equal_pillow(seed: int) -> None:
    check_pixels(native(), seed, 150)


@pytest.mark.skipif(platform.machine() != "x86_64", reason="levels of x86-64")
@pytest.mark.parametrize("level", ["x86-64", "x86-64-v2", "x86-64-v3"])
def test_every_level_of_x86_gives_the_same_bits(level: str) -> None:
    if level == "x86-64-v3" and "avx2" not in Path("/proc/cpuinfo").read_text():
        pytest.skip("this CPU has no AVX2")
    check_pixels(declare(ctypes.CDLL(str(build(kernel_folder() / "host.cpp", f"-march={level}")))), 7, 80)


@pytest.mark.parametrize("kernel_filter", list(Filter))
def test_every_filter_equals_the_reference_at_many_scales(kernel_filter: Filter) -> None:
    rng = np.random.default_rng(0)
    for height, width, *target in [(1, 1, 9, 8), (300, 7, 3, 90), (7, 300, 90, 3), (97, 101, 40, 41), (31, 33, 64, 1)]:
        picture = rng.integers(0, 256, (height, width, 3), np.uint8)
        recipe: Recipe = (Resize(*target, kernel_filter),)
        batch = Batch(fuse(batched([picture], [recipe])))
        assert batch.put(0, picture) == Status.OK
        assert np.array_equal(batch.image(0), np.asarray(apply(Image.fromarray(picture), recipe)))


# ---- images in memory ----


def grays(rng: random.Random, pictures: list[Pixels]) -> list[NDArray[np.uint8]]:
    """The pictures, half of them one channel of theirs."""
    return [np.ascontiguousarray(picture[..., 1]) if rng.random() < 0.5 else picture for picture in pictures]


def wanted(image: NDArray[np.uint8], recipe: Recipe) -> Pixels:
    return np.asarray(apply(Image.fromarray(image).convert("RGB"), recipe))


@contextmanager
def remembered_at_edges(batch: Batch, images: list[NDArray[np.uint8]]) -> Iterator[None]:
    """The batch is of these images in memory; behind each is memory that nobody may read."""
    batch.sizes[:] = [image.shape[:2] for image in images]
    batch.status[batch.fused.by_pillow] = Status.ODD
    memory = in_memory(images)
    with ExitStack() as edges:
        for i, image in enumerate(images):
            memory.addresses[i] = edges.enter_context(at_the_edge(image.tobytes()))
        batch.remember(memory)
        yield


@pytest.mark.parametrize("seed", range(3))
def test_images_in_memory_equal_pillow(seed: int) -> None:
    """Gray and RGB, read where they lie: behind each is memory that nobody may read."""
    rng = random.Random(seed)
    pictures, recipes = random_batch(rng, 100, 90)
    images = grays(rng, pictures)
    batch = Batch(fuse(batched(pictures, recipes)), channels_last=rng.randrange(2), decode=0)
    with remembered_at_edges(batch, images):
        batch.share()
    assert np.array_equal(batch.status == Status.OK, ~batch.fused.by_pillow)
    for i in np.flatnonzero(~batch.fused.by_pillow).tolist():
        assert np.array_equal(batch.image(i), wanted(images[i], recipes[i])), (images[i].shape, recipes[i])
    assert batch.guards_hold()


def test_images_in_memory_are_staged() -> None:
    """Their regions, as RGB, and the rows of weights."""
    rng = random.Random(3)
    pictures, recipes = random_batch(rng, 60, 90)
    for image, picture, recipe in zip(grays(rng, pictures), pictures, recipes, strict=True):
        put, shared = staged(picture, recipe), staged(picture, recipe)
        rgb = np.asarray(Image.fromarray(image).convert("RGB"))
        if put.fused.by_pillow[0]:
            continue
        shared.sizes[:] = image.shape[:2]
        shared.remember(in_memory([image]))
        shared.share()
        assert (put.put(0, rgb), shared.status.tolist()) == (Status.OK, [Status.OK])
        assert np.array_equal(shared.memory, put.memory), (image.shape, recipe)


@pytest.mark.parametrize("seed", range(3))
def test_images_in_memory_are_loaded_as_a_file_of_their_region(seed: int) -> None:
    """Behind each is memory that nobody may read."""
    rng = random.Random(seed)
    pictures, recipes = random_batch(rng, 60, 90)
    images = grays(rng, pictures)
    batch = Batch(fuse(batched(pictures, recipes)), decode=0)
    with remembered_at_edges(batch, images):
        loaded = batch.load()
    for i, file in enumerate(loaded):
        if not file:
            assert batch.fused.by_pillow[i]
            continue
        top, left, height, width = batch.fused.regions[i].tolist()
        with Image.open(io.BytesIO(file)) as opened:
            region = Image.fromarray(images[i]).convert("RGB").crop((left, top, left + width, top + height))
            assert opened.format == "PPM" and np.array_equal(opened, region)


def test_images_in_memory_are_not_measured() -> None:
    """Files beside them are."""
    batch = of_files(["missing.jpg"] * 3, (4, 5))
    batch.remember(in_memory([np.zeros((4, 5), np.uint8), None, np.zeros((4, 5, 3), np.uint8)]))
    batch.measure()
    assert [batch.status[i] for i in (0, 2)] == [Status.OK] * 2 and batch.status[1] not in (Status.OK, Status.TODO)
    assert batch.sizes.tolist() == [[4, 5]] * 3


def torchvisions(picture: Pixels, recipe: Recipe) -> Pixels:
    """A crop and a resize by torchvision's v2, of what `ToImage` makes of a picture."""
    crop, resize = recipe
    mode = v2.InterpolationMode(resize.filter.torch_mode)
    tensor = v2.functional.to_image(Image.fromarray(picture))
    resized = v2.functional.resized_crop(tensor, *crop, [resize.height, resize.width], mode, antialias=True)
    return np.asarray(resized.permute(1, 2, 0))


@pytest.mark.parametrize("kernel_filter", TORCHS)
def test_torchs_filters_equal_torchvision_at_random_sizes(kernel_filter: Filter) -> None:
    """A crop that is resized, then a flip and a window; sides small, alike, and a hundred times the other."""
    rng = random.Random(kernel_filter.value)
    for _ in range(cases(300)):
        picture = random_picture(rng, rng.choice((3, 40, 300)))
        height, width = (rng.randint(1, size) for size in picture.shape[:2])
        top, left = rng.randint(0, len(picture) - height), rng.randint(0, picture.shape[1] - width)
        target = [rng.choice((size, rng.randint(1, rng.choice((3, 40, 300))))) for size in (height, width)]
        if target == [1, 1]:  # torch's own assertion fails
            continue
        recipe = (Crop(top, left, height, width), Resize(*target, kernel_filter))
        low, high = zip(*(sorted(rng.choices(range(size), k=2)) for size in target), strict=True)
        window = Crop(*low, high[0] - low[0] + 1, high[1] - low[1] + 1)
        batch = Batch(fuse(batched([picture] * 2, [recipe, (*recipe, Flip(True), window)])))
        assert batch.put(0, picture) == Status.OK and batch.put(1, picture) == Status.OK
        wanted = torchvisions(picture, recipe)
        shown = apply(Image.fromarray(wanted), (Flip(True), window))
        assert np.array_equal(batch.image(0), wanted), recipe
        assert np.array_equal(batch.image(1), np.asarray(shown)), (recipe, window)


# ---- staging ----


@pytest.mark.parametrize("seed", range(3))
def test_the_cuda_kernel_renders_what_was_staged(seed: int) -> None:
    rng = random.Random(seed)
    for _ in range(40):
        (picture,), (recipe,) = random_batch(rng, 1, 90)
        if fuse(batched([picture], [recipe])).by_pillow[0]:
            continue
        batch = staged(picture, recipe)
        assert batch.put(0, picture) == Status.OK
        assert batch.guards_hold()
        out = np.zeros_like(np.asarray(apply(Image.fromarray(picture), recipe)))
        records, table = batch.fused.records_left(batch.rendered), IDENTITY.ctypes.data
        cuda_on_cpu().cuda_render(records.ctypes.data, 1, batch.staging.ctypes.data, table, 1, 3, 1, 2, out.ctypes.data)
        assert np.array_equal(out, np.asarray(apply(Image.fromarray(picture), recipe))), recipe


# ---- processes ----

FORK = """
import os, sys
sys.path.insert(0, {tests!r})
from tests.native_batch import Status, of_files
batch = of_files([{path!r}] * 20, (40, 50))
batch.share()
assert not batch.status.any()
child = os.fork()
batch.status[:] = Status.TODO
batch.share()
assert not batch.status.any()
if child:
    assert os.waitpid(child, 0)[1] == 0
"""


@needs_decoder
def test_a_forked_child_makes_a_decoder_of_its_own(tmp_path: Path, run_python: Callable[..., Any]) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(encode(make_photo(40, 50)))
    run_python(FORK.format(tests=str(Path(__file__).parents[1]), path=str(path)))


# ---- random numbers ----


@pytest.mark.parametrize("seed", [0, 7, (1 << 64) - 1])
def test_philox_words_equal_numpys(seed: int) -> None:
    positions = np.array([0, 1, 5, 1 << 32, (1 << 64) - 1], np.uint64)
    words = np.zeros((len(positions), 3, 4), np.uint32)
    native().gpuload_philox(seed, 3, positions.ctypes.data, len(positions), 2, 3, words.ctypes.data)
    wanted = np.stack(philox(seed, np.arange(2, 5)[None, :], positions[:, None], 3), axis=-1)
    assert np.array_equal(words, wanted)
