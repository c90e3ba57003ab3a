"""Legal but extreme arguments and sizes against torchvision v2 on PIL images: the same bits, or both refuse.

`make test` tries some hundred cases; ``GPULOAD_CASES=5000 python -m pytest tests/test_extremes.py`` tries 5,000 of
each kind, half on each engine.
"""

import ctypes
import itertools
import mmap
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torchvision.transforms import v2
from torchvision.transforms.v2 import InterpolationMode

from gpuload import ArgumentError, DataLoader, ImageFolder, SampleError, transforms as T
from gpuload.compilers import compiler
from gpuload.decoders.files import Files
from gpuload.device import Device, HostDevice, device_of
from gpuload.engines import Wanted, make_engine
from gpuload.engines.base import Layout
from gpuload.engines.cuda import launches
from gpuload.native import Status
from gpuload.recipes.draws import CounterDraws, TorchDraws
from gpuload.recipes.fuse import fuse
from gpuload.recipes.ops import Crop, Filter, Flip, Pad, PadMode, Recipe, Resize
from gpuload.recipes.recipes import MOST_PIXELS, Recipes, apply
from gpuload.staging import BufferPool
from gpuload.transforms.plan import Plan
from tests.cases import cases
from tests.conftest import encode
from tests.native_batch import Batch, native
from tests.recipes import Pixels, batched, functional
from tests.simulation.runtime import simulated

pytestmark = pytest.mark.skipif(compiler() is None, reason="no C++ compiler")

ENGINES = ["cpu", "cuda"]
TOGETHER = 25  # cases in one ragged batch
LONGEST = 65_535  # that a JPEG's header can say
LONGEST_DECODED = 65_500  # libjpeg's limit
MOST_AREA = 1 << 20  # pixels that a case may make on its way
PRIMES = [2, 3, 5, 7, 31, 97, 251, 509]
FILTERS = list(InterpolationMode)
MODES = ["constant", "edge", "reflect", "symmetric"]
SCALES = [(0.08, 1.0), (0.0, 1e-6), (1e-9, 1e-8), (1.0, 1.0), (0.9, 1.9), (5.0, 1e6), (1e-6, 1.0)]
RATIOS = [(0.75, 4 / 3), (0.2, 0.4), (3.0, 7.0), (1e-3, 1e-3), (1e3, 1e3), (1e-6, 1e6), (1.0, 1.0), (1e-6, 1e-6)]


@contextmanager
def device_for(name: str) -> Iterator[Device]:
    """The host, or for "cuda" a simulated GPU, of a grid with fewer blocks than tiles: each walks over several."""
    if name != "cuda":
        yield HostDevice()
        return
    with simulated() as runtime, mock.patch.object(launches, "MAX_BLOCKS", 3):
        yield device_of("cuda")
        runtime.gpu.finish()
        assert runtime.gpu.problems == []


def engine_of(name: str, device: Device) -> Any:
    """An engine that leaves the bytes as they are."""
    plan = Plan([])
    layout = Layout.of(plan, None, torch.contiguous_format)
    return make_engine(name, Wanted(plan, layout, device, BufferPool(2).take, threads=1))


def rendered(name: str, pictures: list[Pixels], recipes: list[Recipe]) -> list[NDArray[np.uint8]]:
    """What an engine makes of pictures that are decoded already: (H, W, 3) of each."""
    together, files = batched(pictures, recipes), Files([b""] * len(pictures), upright=False, decoder=None)
    with device_for(name) as device:
        engine = engine_of(name, device)
        fused = engine.fuse(together)
        batch = engine.batch(fused, files)
        for slot, (picture, recipe) in enumerate(zip(pictures, recipes, strict=True)):
            left = np.asarray(apply(Image.fromarray(picture), recipe)) if fused.by_pillow[slot] else picture
            top, first, height, width = fused.regions[slot].tolist()
            batch.put(slot, left[top : top + height, first : first + width])
        batch.finish()
        return [image.permute(1, 2, 0).cpu().numpy() for image in batch.images()]


# ---- cases ----


def size_of_image(rng: random.Random) -> tuple[int, int]:
    """(height, width): next to nothing, primes, tall, wide, or as long as a JPEG may be."""
    kind = rng.random()
    if kind < 0.15:
        return rng.choice([(1, 1), (1, 2), (2, 1), (1, 5), (5, 1), (3, 2)])
    if kind < 0.6:
        return rng.choice(PRIMES), rng.choice(PRIMES)
    long = rng.choice([997, 4_093, LONGEST]), rng.randint(1, 3)
    return long if kind < 0.8 else (long[1], long[0])


def picture_of(size: tuple[int, int], seed: int) -> Pixels:
    """uint8 (H, W, 3): noise, or black and white, where rounding and clipping show most."""
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)
    return (pixels // 128 * 255).astype(np.uint8) if seed % 3 == 0 else pixels


def side(rng: random.Random) -> int:
    return rng.choice([1, 1, 2, 3, 4, 5, 7, 8, 15, 16, 17, 31, 32, 33, 64, 97, 224, 300, 997, 4_099, 16_411, LONGEST])


def sizes(rng: random.Random) -> Any:
    return rng.choice([side(rng), [side(rng)], (side(rng), side(rng)), (side(rng), side(rng))])


def margins(rng: random.Random) -> Any:
    one = [rng.choice([0, 0, 1, 2, 3, 7, 32, 64, 300, 1_000]) for _ in range(4)]
    return rng.choice([one[0], one[:2], one])


def padding(rng: random.Random) -> dict[str, Any]:
    return {"fill": rng.choice([0, 255, (9, 8, 7)]), "padding_mode": rng.choice(MODES)}


def resize(rng: random.Random) -> dict[str, Any]:
    edge = side(rng)
    size = rng.choice(
        [{"size": sizes(rng)}, {"size": edge, "max_size": edge + side(rng)}, {"size": None, "max_size": edge}]
    )
    return {**size, "interpolation": rng.choice(FILTERS)}


def random_crop(rng: random.Random) -> dict[str, Any]:
    added = rng.choice([None, margins(rng)])
    if isinstance(added, list) and len(added) == 2:
        added = tuple(added)
    return {"size": sizes(rng), "padding": added, "pad_if_needed": rng.random() < 0.8, **padding(rng)}


def random_resized_crop(rng: random.Random) -> dict[str, Any]:
    shape = {"scale": rng.choice(SCALES), "ratio": rng.choice(RATIOS)}
    return {"size": sizes(rng), "interpolation": rng.choice(FILTERS), **shape}


TRANSFORMS: dict[str, Callable[[random.Random], dict[str, Any]]] = {
    "Resize": resize,
    "CenterCrop": lambda rng: {"size": sizes(rng)},
    "RandomCrop": random_crop,
    "RandomResizedCrop": random_resized_crop,
    "Pad": lambda rng: {"padding": margins(rng), **padding(rng)},
    "RandomHorizontalFlip": lambda rng: {"p": rng.choice([0.0, 0.5, 1.0])},
    "RandomVerticalFlip": lambda rng: {"p": rng.choice([0.0, 0.5, 1.0])},
    "Grayscale": lambda rng: {"num_output_channels": 3},
    "RandomGrayscale": lambda rng: {"p": rng.choice([0.0, 0.5, 1.0])},
    "RGB": lambda rng: {},
}


def transforms_of(rng: random.Random) -> list[tuple[str, dict[str, Any]]]:
    """One transform, or a few; each of them also comes first."""
    names = [rng.choice(list(TRANSFORMS)) for _ in range(rng.choice([1, 1, 2, 3]))]
    return [(name, TRANSFORMS[name](rng)) for name in names]


def made(library: Any, chosen: list[tuple[str, dict[str, Any]]]) -> list[Any]:
    return [getattr(library, name)(**arguments) for name, arguments in chosen]


def is_small(recipe: Recipe, height: int, width: int) -> bool:
    """Does no step make more pixels than a test may?"""
    for op in recipe:
        height, width = op.size_after(height, width)
        if height * width > MOST_AREA:
            return False
    return True


def try_both(chosen: Any, picture: Pixels, seed: int) -> tuple[Recipe, Any] | None:
    """What gpuload draws, and what torchvision makes with the same draws; None: too large, or both refuse."""
    torch.manual_seed(seed)
    try:
        recipe = Plan(made(T, chosen)).recipes([len(picture)], [picture.shape[1]], TorchDraws())[0]
    except ArgumentError as error:
        if f"larger than {MOST_PIXELS} on a side" in str(error):
            return None  # torchvision would take all memory that there is
        if len(chosen) > 1:
            return None  # what comes before may be as large
        recipe = None
    if recipe is not None and not is_small(recipe, *picture.shape[:2]):
        return None
    state = torch.get_rng_state()
    torch.manual_seed(seed)
    try:
        wanted = v2.Compose([*made(v2, chosen), v2.Identity()])(Image.fromarray(picture))
    except ValueError:
        assert recipe is None, ("only torchvision refuses", picture.shape, chosen)
        return None
    assert recipe is not None, ("only gpuload refuses", picture.shape, chosen)
    assert torch.equal(state, torch.get_rng_state()), (picture.shape, chosen)
    return recipe, np.asarray(wanted)


# what is rare among random cases: several rounds of the kernel's shared memory; passes whose order only just changes;
# a crop without pixels
RARE: list[tuple[Any, tuple[int, int]]] = [
    ([("Resize", {"size": (3, 40), "interpolation": InterpolationMode.BICUBIC})], (251, 509)),
    ([("Resize", {"size": (51, 7)})], (251, 97)),
    ([("Resize", {"size": (51, 7)})], (251, 107)),
    *(([("RandomResizedCrop", {"size": 8, "ratio": (0.2, 0.4), "interpolation": mode})], (1, 5)) for mode in FILTERS),
]


def all_cases(seed: int) -> Iterator[tuple[Any, Pixels, Recipe, Any]]:
    rng = random.Random(seed)
    for number in itertools.count():
        chosen, size = RARE[number] if number < len(RARE) else (transforms_of(rng), size_of_image(rng))
        picture = picture_of(size, number)
        both = try_both(chosen, picture, number)
        if both is not None:
            yield chosen, picture, *both


@pytest.mark.parametrize("name", ENGINES)
def test_whatever_is_legal_equals_torchvision(name: str) -> None:
    found = all_cases(ENGINES.index(name))
    for _ in range(max(cases(300) // len(ENGINES) // TOGETHER, 1)):
        chosen, pictures, recipes, wanted = zip(*itertools.islice(found, TOGETHER), strict=True)
        for k, image in enumerate(rendered(name, list(pictures), list(recipes))):
            assert np.array_equal(image, wanted[k]), (pictures[k].shape, chosen[k], recipes[k])


# ---- files, through whole loaders ----

LONG_FILES = [
    (1, LONGEST_DECODED),
    (LONGEST_DECODED, 1),
    (2, 4_093),
    (4_093, 3),
    (1, 1),
    (1, 5),
    (5, 1),
    (97, 31),
    (251, 509),
]
FILE_TRANSFORMS: dict[str, list[Any]] = {
    "crops without pixels": [T.RandomResizedCrop(8, ratio=(0.2, 0.4), interpolation="lanczos")],
    "tiny crops, grown": [T.RandomResizedCrop((65, 33), scale=(0.0, 1e-6), interpolation="bicubic")],
    "whole images, shrunk": [T.Resize((3, 2), "lanczos"), T.RandomVerticalFlip(), T.CenterCrop(9)],
    "most is padding": [T.Pad((40, 3, 70, 5), padding_mode="reflect"), T.CenterCrop(50), T.RandomHorizontalFlip()],
    "stripes": [T.Resize((1, 4_099), "hamming"), T.RandomCrop((1, 33)), T.RandomGrayscale(0.5)],
    "nearest, far": [T.Resize((16_411, 1), "nearest"), T.CenterCrop((1_000, 2))],
    "short edges": [T.CenterCrop((1, 997)), T.Resize(2, "box", max_size=1_000)],
}


@pytest.fixture(scope="module")
def long_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("long")
    (folder / "class").mkdir()
    for number, size in enumerate(LONG_FILES):
        picture = Image.fromarray(picture_of(size, number + 1))
        picture.save(folder / "class" / f"{number}.jpg", quality=90, subsampling=number % 3)
        picture.save(folder / "class" / f"{number}.png")
    for number, size in enumerate([(1, LONGEST), (LONGEST, 1)]):
        Image.fromarray(picture_of(size, number)).save(folder / "class" / f"long{number}.png")
    return folder


@pytest.mark.parametrize("name", ENGINES)
@pytest.mark.parametrize("kind", FILE_TRANSFORMS)
def test_files_as_long_as_a_jpeg_may_be(name: str, kind: str, long_files: Path) -> None:
    transform = T.Compose(FILE_TRANSFORMS[kind])
    dataset = ImageFolder(long_files, transform=transform)
    with device_for(name) as device:
        loader: Any = DataLoader(dataset, 6, num_workers=2, seed=9, device=device.torch_device)
        assert loader.engine == name
        images = [image.cpu() for batch, _ in loader for image in batch]
        del loader
    sources = [dataset.image(i) for i in range(len(dataset))]
    draws = CounterDraws(9, 0, range(len(sources)))
    recipes = transform.plan.recipes([i.height for i in sources], [i.width for i in sources], draws)
    for image, source, recipe in zip(images, sources, recipes, strict=True):
        wanted = np.asarray(functional(source, recipe))
        assert np.array_equal(image.permute(1, 2, 0).numpy(), wanted), (source.size, recipe)


@pytest.mark.parametrize("side", [0, 1])
def test_a_jpeg_longer_than_libjpeg_decodes_is_named(side: int, tmp_path: Path) -> None:
    data = bytearray(encode(Image.fromarray(picture_of((8, 8), 1))))
    frame = data.index(b"\xff\xc0") + 5 + 2 * side
    data[frame : frame + 2] = LONGEST.to_bytes(2, "big")
    (tmp_path / "class").mkdir()
    (tmp_path / "class" / "a.jpg").write_bytes(data)
    dataset = ImageFolder(tmp_path, transform=T.RandomResizedCrop(8))
    for engine in ("cpu", "pillow"):
        with pytest.raises(SampleError, match="Maximum supported image dimension|broken data stream"):
            next(iter(DataLoader(dataset, 1, device="cpu", engine=engine)))


# ---- more than 32 bits hold ----


LONG = MOST_PIXELS - 8  # pixels of a row or column: 3 GB, of which only the pages that are read exist
ENDS: dict[str, Callable[[int], Recipe]] = {
    "a crop": lambda axis: (_pad(axis), _part(axis, LONG + 1 - 8)),
    "a crop, flipped": lambda axis: (_pad(axis), _part(axis, LONG + 1 - 8), Flip(axis == 1)),
    "resized": lambda axis: (Resize(*_along(axis, LONG // 2), Filter.LANCZOS), _part(axis, LONG // 2 - 8)),
}


def _along(axis: int, value: int, other: int = 1) -> tuple[int, int]:
    """(y, x)."""
    return (value, other) if axis == 0 else (other, value)


def _pad(axis: int) -> Pad:
    top, left = _along(axis, 1, 0)
    return Pad(left, top, 0, 0, (0, 0, 0), PadMode.CONSTANT)


def _part(axis: int, at: int) -> Crop:
    return Crop(*_along(axis, at, 0), *_along(axis, 8))


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("kind", ENDS)
def test_pixels_behind_the_first_two_gigabytes(axis: int, kind: str) -> None:
    """All of a row, or of a column, given instead of the few pixels that its end needs: the same output."""
    few, all_of_it = (Batch(fuse(Recipes.of([ENDS[kind](axis)], *([n] for n in _along(axis, LONG))))) for _ in range(2))
    span = int(few.fused.regions[0, 2 + axis])
    assert 8 <= span < 40
    pixels = np.random.default_rng(axis).integers(0, 256, (span, 3), np.uint8)
    axes, region = all_of_it.fused.records["axes"][0], all_of_it.fused.regions[0]
    assert axes["decoded"][axis] + span == LONG
    axes["decoded"][axis], axes["span"][axis], region[axis], region[2 + axis] = 0, LONG, 0, LONG
    assert native().gpuload_put(ctypes.byref(few.work), 0, pixels.ctypes.data) == Status.OK
    with mmap.mmap(-1, LONG * 3, mmap.MAP_PRIVATE) as memory:
        memory[-pixels.size :] = pixels.tobytes()
        first = ctypes.c_char.from_buffer(memory)
        assert native().gpuload_put(ctypes.byref(all_of_it.work), 0, ctypes.addressof(first)) == Status.OK
        del first
    assert np.array_equal(few.out, all_of_it.out) and few.out.any()
    assert few.guards_hold() and all_of_it.guards_hold()


@pytest.mark.parametrize("name", ENGINES)
def test_a_part_of_the_largest_image(name: str) -> None:
    """Of 2^60 pixels: their number times three is more than 64 bits hold."""
    pixels = picture_of((8, 8), 1)
    recipe: Recipe = (Crop(MOST_PIXELS - 8, MOST_PIXELS - 8, 8, 8), Resize(5, 11, Filter.BICUBIC))
    recipes = Recipes.of([recipe], [MOST_PIXELS], [MOST_PIXELS])
    files, wanted = Files([b""], upright=False, decoder=None), apply(Image.fromarray(pixels), recipe[1:])
    with device_for(name) as device:
        engine = engine_of(name, device)
        fused = engine.fuse(recipes)
        assert fused.regions.tolist() == [[MOST_PIXELS - 8, MOST_PIXELS - 8, 8, 8]]
        batch = engine.batch(fused, files)
        batch.put(0, pixels)
        batch.finish()
        assert np.array_equal(batch.images()[0].permute(1, 2, 0).cpu().numpy(), np.asarray(wanted))


def test_an_image_that_grows_beyond_its_limit_is_refused() -> None:
    """Also where it would shrink again, or where 64 bits would not hold its size."""
    steps = [T.Resize(1 << 20), T.Resize(1 << 20), T.CenterCrop(8)]
    expected = f"an image of {1 << 20} x {(1 << 20) * 32_767} pixels is larger than {MOST_PIXELS} on a side"
    with pytest.raises(ArgumentError, match=expected):
        Plan(steps).recipes([2, 2], [2, 65_534], TorchDraws())
    with pytest.raises(ArgumentError, match=f"an image of 9 x {1 << 40} pixels is larger than"):
        Plan([T.CenterCrop(8)]).recipes([9], [1 << 40], TorchDraws())


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda: T.Resize(1 << 30), "size must be at most 1073741823 pixels, got 1073741824"),
        (lambda: T.Resize(None, max_size=1 << 70), f"max_size must be at most 1073741823 pixels, got {1 << 70}"),
        (lambda: T.CenterCrop((5, 1 << 62)), f"size must be at most 1073741823 pixels, got {1 << 62}"),
        (lambda: T.RandomCrop(1 << 30), "size must be at most 1073741823 pixels"),
        (lambda: T.RandomCrop(5, padding=1 << 63), "padding must be at most 1073741823 pixels"),
        (lambda: T.RandomResizedCrop((1 << 31, 5)), "size must be at most 1073741823 pixels"),
        (lambda: T.Pad((0, 1 << 30)), "padding must be at most 1073741823 pixels"),
    ],
)
def test_arguments_that_no_image_could_follow_are_refused(make: Callable[[], Any], expected: str) -> None:
    with pytest.raises(ArgumentError, match=expected):
        make()


def test_what_a_record_does_not_hold_is_left_to_pillow() -> None:
    """Offsets that add up, padding after padding, and rows of more weights than there are numbers."""
    far = MOST_PIXELS - 8
    black, shown = Pad(far, 0, 0, 0, (0, 0, 0), PadMode.CONSTANT), Crop(0, 0, 8, 8)
    assert fuse(Recipes.of([(black, shown)], [8], [8])).by_pillow.tolist() == [False]
    assert fuse(Recipes.of([(black, shown) * 6], [8], [8])).by_pillow.tolist() == [True]
    shrunk = [(Resize(1, 8, kernel_filter),) for kernel_filter in (Filter.BOX, Filter.LANCZOS)]
    assert fuse(Recipes.of(shrunk, [MOST_PIXELS] * 2, [8] * 2)).by_pillow.tolist() == [True, True]


@pytest.mark.parametrize("padded", [-1, 1, 0])
def test_padding_without_the_image_is_padded_again(padded: int) -> None:
    """What is left of the image before, after, or beside it, is nothing: its window must still lie inside."""
    picture, pad = picture_of((5, 4), 1), Pad(9, 9, 9, 9, (1, 2, 3), PadMode.CONSTANT)
    corner = {-1: Crop(0, 0, 3, 3), 1: Crop(20, 19, 3, 3), 0: Crop(0, 10, 9, 2)}[padded]
    recipe: Recipe = (pad, corner, pad, Flip(True), pad)
    for name in ENGINES:
        (image,) = rendered(name, [picture], [recipe])
        assert np.array_equal(image, np.asarray(apply(Image.fromarray(picture), recipe)))


@pytest.mark.parametrize("mode", ["constant", "edge", "reflect", "symmetric"])
@pytest.mark.parametrize("padding", [-1, (-8, 0, 0, 3), (2, -4, 2, -4), -5])
def test_negative_padding_cuts_as_torchvisions(padding: Any, mode: str) -> None:
    image = Image.fromarray(picture_of((9, 9), 1))
    if padding == -5:  # in words of Pillow's own
        with pytest.raises(ValueError, match="is less than|must be >= 0"):
            v2.Pad(padding, padding_mode=mode)(image)
        with pytest.raises(ArgumentError, match=r"leaves no pixels of an image of 9 x 9"):
            T.Pad(padding, padding_mode=mode)(image)
        return
    wanted = v2.functional.pil_to_tensor(v2.Pad(padding, padding_mode=mode)(image))
    assert torch.equal(T.Pad(padding, padding_mode=mode)(image), wanted)
