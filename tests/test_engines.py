"""Every engine gives the reference's bits: random pictures, recipes, dtypes and layouts, ragged batches, real files.

"kernel" is the CUDA engine on a simulated GPU: its staging, records and grid, and the CUDA kernel as C++.
"""

import random
import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from numpy.typing import NDArray
from PIL import Image

from gpuload import DataLoader, ImageFolder, transforms as T
from gpuload.compilers import compiler, kernel_folder
from gpuload.decoders.files import Files
from gpuload.decoders.jpeg import jpeg_decoder
from gpuload.decoders.pillow import decode
from gpuload.device import CudaDevice, Device, HostDevice, device_of
from gpuload.engines import Wanted, make_engine
from gpuload.engines.base import Layout
from gpuload.engines.cuda import CudaEngine, engine as cuda_engine, launches
from gpuload.engines.cuda.adjusting import rendered_by_workers
from gpuload.engines.cuda.weights import MAX_WEIGHTS, needs_host_weights
from gpuload.errors import ArgumentError
from gpuload.libraries import host_library
from gpuload.native import Status
from gpuload.recipes.draws import CounterDraws
from gpuload.recipes.fuse import fuse
from gpuload.recipes.ops import Crop, Filter, Grayscale, Pad, PadMode, Recipe, Resize
from gpuload.recipes.recipes import Recipes, apply
from gpuload.recipes.record import NO_WEIGHTS
from gpuload.staging import ALIGNMENT, BufferPool
from gpuload.transforms.plan import Plan
from tests.native_batch import in_memory
from tests.recipes import Pixels, batched, functional, random_batch, random_picture, random_recipe
from tests.simulation.runtime import Runtime, simulated

MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
VALUES: dict[torch.dtype, list[Any]] = {
    torch.uint8: [],
    torch.float32: [T.ToDtype(torch.float32, scale=True), T.Normalize(MEAN, STD)],
    torch.float16: [T.ToDtype(torch.float16, scale=True), T.Normalize(MEAN, STD)],
    torch.bfloat16: [T.ToDtype(torch.bfloat16, scale=True)],
}
PILLOWS = [kernel_filter for kernel_filter in Filter if kernel_filter.torch_mode is None]
BY_KERNEL = [Filter.BOX, Filter.BILINEAR, Filter.BICUBIC]  # whose rows of weights the CUDA kernel makes
BY_HOST = [kernel_filter for kernel_filter in Filter if kernel_filter not in BY_KERNEL]
ENGINES = ["pillow", "cpu", "kernel", pytest.param("cuda", marks=pytest.mark.cuda)]
CONTIGUOUS = torch.contiguous_format


@pytest.fixture
def runtime(monkeypatch: pytest.MonkeyPatch) -> Iterator[Runtime]:
    """A simulated GPU, of a grid with fewer blocks than there are tiles: each walks over several."""
    if compiler() is None:
        pytest.skip("no C++ compiler")
    monkeypatch.setattr(launches, "MAX_BLOCKS", 3)
    with simulated() as made:
        yield made
        made.gpu.finish()
        assert made.gpu.problems == []


@pytest.fixture(autouse=True)
def kernels_run(request: pytest.FixtureRequest) -> None:
    """The engine that is named "kernel" has a simulated GPU."""
    if getattr(request.node, "callspec", None) and request.node.callspec.params.get("name") == "kernel":
        request.getfixturevalue("runtime")


def make(
    name: str, plan: Plan, dtype: torch.dtype | None = None, memory_format: torch.memory_format = CONTIGUOUS
) -> Any:
    layout = Layout.of(plan, dtype, memory_format)
    if name == "kernel":
        return CudaEngine(layout, CudaDevice(0))
    if name == "cpu" and compiler() is None:
        pytest.skip("no C++ compiler")
    device = device_of("cuda") if name == "cuda" else HostDevice()
    return make_engine(name, Wanted(plan, layout, device, BufferPool(2).take, threads=1))


def rendered(engine: Any, pictures: list[Pixels], recipes: Recipes) -> Any:
    """The images of pictures that are decoded already, put in any order."""
    files = Files([b""] * len(pictures), upright=False, decoder=None)
    files.sizes[:] = np.stack([recipes.height, recipes.width], axis=1)
    fused = engine.fuse(recipes)
    batch = engine.batch(fused, files)
    batch.share(0, len(pictures))
    assert len(files.undone(0, len(pictures))) == len(pictures)
    for slot in reversed(range(len(pictures))):
        image = Image.fromarray(pictures[slot])
        if fused.by_pillow[slot]:
            image = apply(image, recipes[slot])
        top, left, height, width = fused.regions[slot].tolist()
        batch.put(slot, np.asarray(image.crop((left, top, left + width, top + height))))
    batch.finish()
    return batch.images()


def check(engine: Any, plan: Plan, pictures: list[Pixels], recipes: list[Recipe]) -> None:
    images = rendered(engine, pictures, batched(pictures, recipes))
    assert len(images) == len(pictures)
    for image, picture, recipe in zip(images, pictures, recipes, strict=True):
        wanted = plan.apply(Image.fromarray(picture), recipe)
        assert image.shape == wanted.shape and image.dtype == wanted.dtype
        assert torch.equal(image.cpu(), wanted), (picture.shape, recipe)


# ---- pixels that are decoded already ----


@pytest.mark.parametrize("name", ENGINES)
@pytest.mark.parametrize("seed", range(3))
def test_ragged_batches_of_random_recipes(name: str, seed: int) -> None:
    rng = random.Random(seed)
    for _ in range(20):
        dtype = rng.choice(list(VALUES))
        plan = Plan(VALUES[dtype])
        engine = make(name, plan, dtype, rng.choice((CONTIGUOUS, torch.channels_last)))
        check(engine, plan, *random_batch(rng, 16))


@pytest.mark.parametrize("name", ENGINES)
def test_one_channel(name: str) -> None:
    rng = random.Random(1)
    plan = Plan([T.Grayscale(1), T.ToDtype(torch.float32, scale=True), T.Normalize([0.5], [0.25])])
    pictures = [random_picture(rng) for _ in range(8)]
    check(make(name, plan), plan, pictures, [(Resize(31, 17, Filter.BICUBIC), Grayscale()) for _ in pictures])


@pytest.mark.parametrize("name", ENGINES)
def test_a_dtype_instead_of_the_plans_own(name: str) -> None:
    rng = random.Random(3)
    plan = Plan(VALUES[torch.float32])
    pictures, recipes = random_batch(rng, 4)
    for dtype in (torch.float16, torch.bfloat16, torch.uint8):
        images = rendered(make(name, plan, dtype), pictures, batched(pictures, recipes))
        for image, picture, recipe in zip(images, pictures, recipes, strict=True):
            assert torch.equal(image.cpu(), plan.apply(Image.fromarray(picture), recipe).to(dtype))


@pytest.mark.parametrize("name", ENGINES)
@pytest.mark.parametrize("kernel_filter", list(Filter))
def test_extreme_sizes(name: str, kernel_filter: Filter) -> None:
    """Far shrinking takes several rounds of the kernel's shared memory; far growing has one source pixel."""
    rng = np.random.default_rng(0)
    shapes = [(3000, 40), (40, 3000), (1, 1), (1, 700), (700, 1), (999, 998)]
    targets = [(2, 3), (3, 2), (65, 70), (1, 1), (33, 9), (1, 998)]
    pictures = [rng.integers(0, 256, (*shape, 3), np.uint8) for shape in shapes]
    check(make(name, Plan([])), Plan([]), pictures, [(Resize(*target, kernel_filter),) for target in targets])


@pytest.mark.parametrize("name", ENGINES)
def test_padding_alone(name: str) -> None:
    """Crops that show nothing but padding."""
    picture = np.full((5, 5, 3), 200, np.uint8)
    for mode in PadMode:
        pad = Pad(12, 12, 12, 12, (1, 2, 3), mode)
        recipes = [(pad, Crop(0, 0, 4, 4)), (pad, Crop(20, 3, 6, 6)), (pad, Crop(0, 12, 4, 4), Grayscale())]
        check(make(name, Plan([])), Plan([]), [picture] * 3, recipes)


@pytest.mark.parametrize("name", ENGINES)
def test_a_crop_without_pixels_is_black(name: str) -> None:
    """As torchvision has it, beside samples that have some; torch itself refuses."""
    picture = np.full((1, 5, 3), 200, np.uint8)
    for kernel_filter in PILLOWS:
        resize = Resize(8, 8, kernel_filter)
        recipes: list[Recipe] = [(Crop(0, 2, 1, 0), resize), (resize,), (Crop(1, 0, 0, 5), resize, Grayscale())]
        check(make(name, Plan([])), Plan([]), [picture] * 3, recipes)
        images = rendered(make(name, Plan([])), [picture] * 3, batched([picture] * 3, recipes))
        assert not images[0].any() and bool((images[1] == 200).all()) and not images[2].any()


@pytest.mark.parametrize("kernel_filter", [Filter.TORCH_BILINEAR, Filter.TORCH_NEAREST])
def test_a_crop_without_pixels_is_an_error_of_torchs(kernel_filter: Filter) -> None:
    picture, recipe = Image.fromarray(np.zeros((1, 5, 3), np.uint8)), (Crop(0, 2, 1, 0), Resize(8, 8, kernel_filter))
    assert fuse(Recipes.of([recipe], [1], [5])).by_pillow.tolist() == [True]
    for by in (apply, functional):
        with pytest.raises(RuntimeError, match="size"):
            by(picture, recipe)


@pytest.mark.parametrize("name", ENGINES)
@pytest.mark.parametrize("layout", [CONTIGUOUS, torch.channels_last])
def test_equal_sizes_make_one_tensor(name: str, layout: torch.memory_format) -> None:
    rng = random.Random(2)
    pictures = [random_picture(rng) for _ in range(4)]
    recipes = batched(pictures, [(Resize(10, 12, Filter.BOX),)] * 4)
    images = rendered(make(name, Plan([]), None, layout), pictures, recipes)
    assert isinstance(images, torch.Tensor)
    assert images.shape == (4, 3, 10, 12)
    assert images.is_contiguous(memory_format=layout)
    recipes = batched(pictures, [(Resize(10, 12 + i, Filter.BOX),) for i in range(4)])
    images = rendered(make(name, Plan([]), None, layout), pictures, recipes)
    assert isinstance(images, list) and [image.shape for image in images] == [(3, 10, 12 + i) for i in range(4)]


@settings(max_examples=150, deadline=None)
@given(
    height=st.integers(1, 120),
    width=st.integers(1, 120),
    target=st.tuples(st.integers(1, 70), st.integers(1, 70)),
    kernel_filter=st.sampled_from(list(Filter)),
    seed=st.integers(0, 1 << 32),
)
@pytest.mark.parametrize("name", ["cpu", "kernel"])
def test_any_resize(
    name: str, height: int, width: int, target: tuple[int, int], kernel_filter: Filter, seed: int
) -> None:
    picture = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    check(make(name, Plan([])), Plan([]), [picture], [(Resize(*target, kernel_filter),)])


@pytest.mark.parametrize("name", ENGINES)
def test_every_color_is_grayscale_as_pillow_has_it(name: str) -> None:
    """All 2^24 colors, 1024 x 512 at a time."""
    values = np.arange(0, 256, 2 if name != "cpu" else 1, dtype=np.uint8)
    red, green, blue = np.meshgrid(values, values, values, indexing="ij")
    colors = np.stack([red, green, blue], -1).reshape(-1, 1024, 3)
    engine = make(name, Plan([]))
    for part in np.array_split(colors, max(len(colors) // 512, 1)):
        check(engine, Plan([]), [np.ascontiguousarray(part)], [(Grayscale(),)])


@pytest.mark.parametrize("name", ["cpu", "kernel"])
def test_pixels_that_do_not_lie_packed(name: str) -> None:
    """A crop of a larger array, say: `put` packs it."""
    rng = np.random.default_rng(0)
    whole = rng.integers(0, 256, (40, 50, 3), np.uint8)
    part = whole[3:23, 7:37]
    recipes = Recipes.of([()], [20], [30])
    engine, files = make(name, Plan([])), Files([b""], False, None)
    batch = engine.batch(engine.fuse(recipes), files)
    batch.put(0, part)
    batch.finish()
    assert np.array_equal(batch.images()[0].permute(1, 2, 0).cpu().numpy(), part)


@pytest.mark.parametrize("name", ["cpu", "kernel"])
def test_a_record_that_leads_outside_is_refused(name: str) -> None:
    recipes = Recipes.of([(Resize(4, 4, Filter.BOX),)], [20], [30])
    engine, files = make(name, Plan([])), Files([b""], False, None)
    fused = engine.fuse(recipes)
    batch = engine.batch(fused, files)
    pixels = np.zeros((20, 30, 3), np.uint8)
    fused.records["axes"]["decoded"][0, 0] = 1
    with pytest.raises(RuntimeError, match="refused a sample's record: INVALID"):
        batch.put(0, pixels)
    fused.records["axes"]["decoded"][0, 0] = 0
    batch.put(0, pixels)


# ---- files ----

TRAIN = [T.RandomResizedCrop(24), T.RandomHorizontalFlip()]
FILES = {
    "a.jpg": {},
    "b.jpg": {"progressive": True, "subsampling": 0},
    "c.jpg": {"form": "PNG"},  # whatever its name says
    "d.jpg": {"restart_marker_rows": 1},
    "e.jpg": {"cmyk": True},
}


@pytest.fixture(scope="module")
def paths(
    tmp_path_factory: pytest.TempPathFactory, make_photo: Callable[..., Image.Image], encode: Callable[..., bytes]
) -> list[Path]:
    folder = tmp_path_factory.mktemp("files")
    for number, (name, options) in enumerate(FILES.items()):
        photo = make_photo(60 + 7 * number, 90 - 5 * number, seed=number)
        plain = {key: value for key, value in options.items() if key != "cmyk"}
        (folder / name).write_bytes(encode(photo.convert("CMYK") if "cmyk" in options else photo, **plain))
    return sorted(folder.iterdir())


def from_files(engine: Any, plan: Plan, paths: list[Path], workers: int) -> tuple[Any, list[Any], list[int]]:
    """As the loader does it: images, what each should be, and the samples that Pillow decoded."""
    files = Files([bytes(path) for path in paths], False, jpeg_decoder())
    n = len(paths)
    files.measure(0, n)
    for slot in files.undone(0, n):
        with Image.open(paths[slot]) as image:
            files.sizes[slot] = image.height, image.width
    recipes = plan.recipes(*files.sizes.T, CounterDraws(3, 0, range(n)))
    fused = engine.fuse(recipes)
    files.status[:] = np.where(fused.by_pillow, Status.ODD, Status.TODO)
    batch = engine.batch(fused, files)
    by_pillow = []

    def share(first: int) -> None:
        batch.share(first, 4)
        for slot in files.undone(first, min(4, n - first)):
            image = decode(paths[slot].read_bytes())
            image = apply(image, recipes[slot]) if fused.by_pillow[slot] else image
            top, left, height, width = fused.regions[slot].tolist()
            batch.put(slot, np.asarray(image.crop((left, top, left + width, top + height))))
            by_pillow.append(slot)

    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(share, range(0, n, 4)))
    batch.finish()
    wanted = [plan.apply(decode(path.read_bytes()), recipe) for path, recipe in zip(paths, recipes, strict=True)]
    return batch.images(), wanted, sorted(by_pillow)


@pytest.mark.parametrize("name", ENGINES)
@pytest.mark.parametrize("memory_format", [CONTIGUOUS, torch.channels_last])
def test_files(name: str, memory_format: torch.memory_format, paths: list[Path]) -> None:
    """Many files on several threads, batch after batch in the same buffers."""
    plan = Plan([*TRAIN, *VALUES[torch.float32]])
    engine = make(name, plan, None, memory_format)
    for length in (50, 3, 77):
        many = (paths * 16)[:length]
        images, wanted, by_pillow = from_files(engine, plan, many, workers=3)
        assert torch.equal(images.cpu(), torch.stack(wanted))
        odd = [slot for slot, path in enumerate(many) if path.name in ("c.jpg", "e.jpg")]
        native = name != "pillow" and jpeg_decoder() is not None
        assert by_pillow == (odd if native else list(range(length)))


@pytest.mark.parametrize("name", ENGINES)
@pytest.mark.parametrize("kernel_filter", ["nearest", "lanczos", "bicubic"])
def test_files_of_all_sizes(name: str, kernel_filter: str, paths: list[Path]) -> None:
    """Ragged, with rows of weights from the host, and some of two stages."""
    shrunk = [T.Resize(30, kernel_filter), T.RandomVerticalFlip(), T.Pad(3)]
    for transforms in (shrunk, [*shrunk, T.Resize(20, kernel_filter)]):
        plan = Plan(transforms)
        images, wanted, _ = from_files(make(name, plan), plan, paths * 4, workers=2)
        for image, reference in zip(images, wanted, strict=True):
            assert torch.equal(image.cpu(), reference)


@pytest.mark.parametrize("name", ENGINES)
@pytest.mark.parametrize("decoder", ["with a decoder", "without"])
def test_files_beside_images_in_memory(name: str, decoder: str, paths: list[Path]) -> None:
    """Arrays of one channel and of three; the whole batch, and slices of it. What is not done natively is put."""
    rng, plan = random.Random(4), Plan(VALUES[torch.float32])
    found = jpeg_decoder() if decoder == "with a decoder" else None
    engine, ordinary = make(name, plan), [path for path in paths if path.name not in ("c.jpg", "e.jpg")]
    for _ in range(8):
        lying = [rng.choice((picture, picture[..., 0].copy(), None)) for picture in random_batch(rng, 12)[0]]
        named = [rng.choice(ordinary) if array is None else Path() for array in lying]
        images = [
            decode(path.read_bytes()) if array is None else Image.fromarray(array).convert("RGB")
            for array, path in zip(lying, named, strict=True)
        ]
        names = [bytes(path) if array is None else b"" for array, path in zip(lying, named, strict=True)]
        files = Files(names, False, found, in_memory(lying))
        files.sizes[:] = [(image.height, image.width) for image in images]
        recipes = [random_recipe(rng, image.height, image.width) for image in images]
        for part in (slice(None), slice(5, 11), slice(3, 4)):
            check_natively(engine, plan, files[part], images[part], recipes[part], lying[part])


def check_natively(
    engine: Any, plan: Plan, files: Files, images: list[Image.Image], recipes: list[Recipe], lying: list[Any]
) -> None:
    height, width = files.sizes.T.tolist()
    together = Recipes.of(recipes, height, width)
    fused = engine.fuse(together)
    files.status[:] = np.where(fused.by_pillow, Status.ODD, Status.TODO)
    batch = engine.batch(fused, files)
    batch.share(0, len(files))
    taken = [array is not None or files.work.decode is not None for array in lying]
    done = np.array(taken) & ~fused.by_pillow & (engine.name != "pillow")
    assert files.undone(0, len(files)) == np.flatnonzero(~done).tolist()
    for slot in files.undone(0, len(files)):
        image = apply(images[slot], recipes[slot]) if fused.by_pillow[slot] else images[slot]
        top, left, height, width = fused.regions[slot].tolist()
        batch.put(slot, np.asarray(image.crop((left, top, left + width, top + height))))
    batch.finish()
    for made, image, recipe in zip(batch.images(), images, recipes, strict=True):
        assert torch.equal(made.cpu(), plan.apply(image, recipe)), recipe


@pytest.mark.parametrize("name", ["cpu", "kernel"])
def test_what_native_code_says_of_files(name: str, paths: list[Path], tmp_path: Path) -> None:
    if jpeg_decoder() is None:
        pytest.skip("nvImageCodec or a C++ compiler is missing")
    ordinary, other = bytes(paths[0]), bytes(paths[2])
    (tmp_path / "cut.jpg").write_bytes(paths[0].read_bytes()[:-2])
    with Image.open(paths[0]) as image:
        size = image.height, image.width
    names = [ordinary, other, bytes(tmp_path / "none.jpg"), bytes(tmp_path), bytes(tmp_path / "cut.jpg"), ordinary]
    measured = [Status.OK, Status.ODD, Status.UNREADABLE, Status.UNREADABLE, Status.ODD, Status.OK]
    files = Files(names, False, jpeg_decoder())
    files.measure(0, 3)
    assert files.status.tolist() == [*measured[:3], *[Status.TODO] * 3]  # no more than it was asked for
    files.measure(0, 99)
    assert files.status.tolist() == measured and files.undone(0, 6) == [1, 2, 3, 4] and files.undone(4, 2) == [4]
    assert files.sizes.tolist() == [list(size), [0, 0], [0, 0], [0, 0], [0, 0], list(size)]
    files.sizes[:] = size
    files.sizes[5] = size[0] + 1, size[1]
    engine = make(name, Plan([]))
    recipes = Recipes.of([()] * 6, files.sizes[:, 0].tolist(), files.sizes[:, 1].tolist())
    batch = engine.batch(engine.fuse(recipes), files)
    files.status[:] = Status.TODO
    batch.share(0, 6)
    assert files.status.tolist() == [*measured[:5], Status.CHANGED]
    none = Files(names, False, None)
    none.measure(0, 6)
    assert none.status.tolist() == [Status.ODD] * 6


@pytest.mark.parametrize("workers", [0, 3])
def test_a_loader_on_a_device_that_launches(workers: int, photos: Path, runtime: Runtime) -> None:
    """All of the CUDA path, batch after batch: the same images, and one launch for each batch."""
    dataset = ImageFolder(photos, transform=T.Compose([*TRAIN, *VALUES[torch.float32]]))
    wanted = list(DataLoader(dataset, 5, shuffle=True, seed=6, device="cpu"))
    loader = DataLoader(dataset, 5, shuffle=True, seed=6, num_workers=workers, memory_format=torch.channels_last)
    assert loader.engine == "cuda"
    for (images, labels), (expected, expected_labels) in zip(loader, wanted, strict=True):
        assert torch.equal(images, expected) and torch.equal(labels, expected_labels)
        assert images.is_contiguous(memory_format=torch.channels_last)
    renders = [grid for name, grid, _ in runtime.launched if name == "render_4"]
    assert renders == [(5, 3)] * 4 + [(4, 3)]
    del loader, images, labels


# ---- what the host makes for the CUDA kernel ----


def needs(size: int, kernel_filter: Filter, source: int = 1000) -> list[bool]:
    fused = fuse(Recipes.of([(Resize(size, source, kernel_filter),)], [source], [source]))
    return needs_host_weights(fused.records)[0].tolist()


@pytest.mark.parametrize("kernel_filter", BY_KERNEL)
def test_the_kernel_makes_short_rows_itself(kernel_filter: Filter) -> None:
    assert needs(900, kernel_filter) == [False, False]
    assert needs(10, kernel_filter) == [True, False]


@pytest.mark.parametrize("kernel_filter", BY_HOST)
def test_sines_running_sums_and_torchs_precision_stay_on_the_host(kernel_filter: Filter) -> None:
    assert needs(900, kernel_filter) == [True, False]
    assert needs(1000, kernel_filter) == [False, False]  # an axis that keeps its size needs no weights


def test_without_a_compiler_pillow_makes_what_the_kernel_cannot(
    monkeypatch: pytest.MonkeyPatch, runtime: Runtime
) -> None:
    monkeypatch.setattr(cuda_engine, "host_library", lambda: None)
    engine = make("kernel", Plan([]))
    rng = random.Random(5)
    pictures = [random_picture(rng) for _ in Filter]
    recipes: list[Recipe] = [(Resize(30, 40, kernel_filter),) for kernel_filter in Filter]
    fused = engine.fuse(batched(pictures, recipes))
    by_host = [kernel_filter in BY_HOST for kernel_filter in Filter]
    assert [bool(left) for left in fused.by_pillow] == by_host
    check(engine, Plan([]), pictures, recipes)


def constants(name: str) -> dict[str, int]:
    source = (kernel_folder() / name).read_text()
    return {key: int(value) for key, value in re.findall(r"constexpr int (\w+) = (\d+);", source)}


def test_the_engine_and_the_kernel_agree() -> None:
    kernel = constants("render.cu")
    assert (kernel["TILE_H"], kernel["TILE_W"]) == launches.TILE
    assert constants("weights.cuh")["KERNEL_WEIGHTS"] == MAX_WEIGHTS


def test_one_launch_covers_the_largest_image(runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launches, "MAX_BLOCKS", 65_535)
    engine = CudaEngine(Layout.of(Plan([T.ToDtype(torch.float16)]), None, CONTIGUOUS), CudaDevice(0))
    pictures = [np.zeros((40, 100, 3), np.uint8), np.zeros((9, 33, 3), np.uint8), np.zeros((1, 300, 3), np.uint8)]
    rendered(engine, pictures, batched(pictures, [(), (), ()]))
    assert runtime.launched == [("render_2", (3, 20), launches.THREADS)]  # 5 x 4 tiles


@pytest.mark.usefixtures("runtime")
def test_what_is_staged_does_not_overlap() -> None:
    """Each sample's pixels and rows of weights begin at a sector of their own."""
    pictures, recipes = random_batch(random.Random(8), 200)
    engine, files = make("kernel", Plan([])), Files([b""] * 200, False, None)
    fused = engine.fuse(batched(pictures, recipes))
    engine.batch(fused, files)
    axes, records = fused.records["axes"], fused.records
    rows = axes["extent"].astype(np.int64) * (2 + axes["ksize"]) * 4
    begins = np.concatenate([records["pixels"][:, None], records["weights"]], axis=1).ravel()
    pixels = np.where(rendered_by_workers(fused), fused.extents.prod(axis=1) * 3, fused.pixel_bytes)
    sizes = np.concatenate([pixels[:, None], rows], axis=1).ravel()
    used = begins != NO_WEIGHTS
    assert 200 < used.sum() < 600
    begins, sizes = begins[used], sizes[used]
    ends = np.append(begins[1:], files.work.staging_bytes)
    assert begins[0] == 0 and (begins + sizes <= ends).all() and not (begins % ALIGNMENT).any()


def weights(axis: NDArray[np.void], kernel_filter: int) -> bytes:
    library = host_library()
    assert library is not None
    rows = np.zeros((int(axis["extent"]), 2 + int(axis["ksize"])), np.int32)
    library.gpuload_weights(axis.ctypes.data, kernel_filter, rows.ctypes.data)
    return rows.tobytes()


@pytest.mark.skipif(compiler() is None, reason="no C++ compiler")
def test_many_threads_make_weights_at_once() -> None:
    """The compiled code runs without Python's lock, on memory that must stay."""
    sizes = range(40, 80)
    fused = fuse(Recipes.of([(Resize(size, size, Filter.LANCZOS),) for size in sizes], [300] * 40, [300] * 40))
    axes = [np.array(axis) for axis in fused.records["axes"][:, 0]] * 25
    wanted = [weights(axis, Filter.LANCZOS.value) for axis in axes[:40]] * 25
    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(lambda axis: weights(axis, Filter.LANCZOS.value), axes)) == wanted


# ---- by name ----


@pytest.mark.usefixtures("runtime")
def test_engines_by_name() -> None:
    plan = Plan([])

    def made(name: str | None, device: Device) -> Any:
        return make_engine(name, Wanted(plan, Layout.of(plan, None, CONTIGUOUS), device, BufferPool(1).take, threads=1))

    expected = "cpu" if compiler() is not None else "pillow"
    assert made(None, HostDevice()).name == expected
    assert made(None, CudaDevice(0)).name == "cuda"
    assert made("pillow", CudaDevice(0)).name == "pillow"
    with pytest.raises(ArgumentError, match="engine='cuda' renders on a GPU, got device='cpu'"):
        made("cuda", HostDevice())


@pytest.mark.parametrize("name", ENGINES)
def test_engines_describe_themselves(name: str) -> None:
    stages = list(make(name, Plan([])).stages("threads", "target", ["all fuse"], ["to uint8"]))
    assert [stage.name for stage in stages] == (["stage", "render"] if name in ("kernel", "cuda") else ["render"])
    shown = "cuda" if name == "kernel" else name
    assert f"engine {shown}" in stages[-1].facts[0] and stages[-1].facts[-1] == "to uint8"
    assert ("all fuse" in stages[-1].facts) is (name != "pillow")
