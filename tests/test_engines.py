"""Every engine gives the oracle's bits: random pictures, recipes, dtypes and layouts, ragged batches."""

import random
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from numpy.typing import NDArray
from PIL import Image

from gpuload import transforms as T
from gpuload.compilers import host_library
from gpuload.engines import Batch, Images
from gpuload.engines.cpu import CpuEngine
from gpuload.engines.cuda import CudaEngine, Layout, SlabBatch
from gpuload.engines.pillow import PillowEngine
from gpuload.plan import Plan
from gpuload.staging import BufferPool, Slab, SlabPool
from gpuload.steps import Crop, Filter, Grey, Pad, PadMode, Recipe, Resize
from tests.recipes import random_picture, random_recipe

MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
VALUES = {
    torch.uint8: [],
    torch.float32: [T.ToDtype(torch.float32, scale=True), T.Normalize(MEAN, STD)],
    torch.float16: [T.ToDtype(torch.float16, scale=True), T.Normalize(MEAN, STD)],
    torch.bfloat16: [T.ToDtype(torch.bfloat16, scale=True)],
}


class Picture:
    """An encoded image that is already decoded."""

    def __init__(self, pixels: NDArray[np.uint8]) -> None:
        self.pixels = pixels
        self.height, self.width = pixels.shape[:2]

    def read(self, top: int, left: int, out: NDArray[np.uint8]) -> None:
        out[:] = self.pixels[top : top + out.shape[0], left : left + out.shape[1]]

    def image(self) -> Image.Image:
        return Image.fromarray(self.pixels)


class KernelOnCpu:
    """The CUDA engine's slab and the CUDA kernel's source, compiled by the C++ compiler."""

    name = "cuda kernel on the CPU"

    def __init__(self, plan: Plan, dtype: torch.dtype, memory_format: torch.memory_format) -> None:
        self.layout = Layout(dtype, plan.channels, memory_format == torch.channels_last)
        self.slabs, self.table = SlabPool(Slab), plan.table(dtype)

    def batch(self, size: int) -> "_KernelBatch":
        return _KernelBatch(size, self)


class _KernelBatch(SlabBatch[Slab]):
    def __init__(self, size: int, engine: KernelOnCpu) -> None:
        super().__init__(size, engine.slabs, engine.layout)
        self.engine = engine

    def finish(self) -> None:
        self.elements, self.descriptors = self.place()

    def images(self) -> Images:
        library, layout, host = host_library(), self.layout, self.slab.seal()
        assert library is not None
        out = torch.zeros(self.elements, dtype=layout.dtype)
        base, table, width = host.data_ptr(), self.engine.table.data_ptr(), layout.dtype.itemsize
        tiles = max(self.tiles() // 2, 1)  # fewer blocks than tiles: each walks over several
        arguments = (table, width, layout.channels, layout.channels_last, tiles, out.data_ptr())
        library.cuda_render(base + self.descriptors, len(self.sizes), base, *arguments)
        return self.split(out)


def make(name: str, plan: Plan, dtype: torch.dtype, memory_format: torch.memory_format) -> Any:
    if name == "pillow":
        return PillowEngine(plan, dtype, memory_format, BufferPool(2).take)
    if name == "cuda":
        return CudaEngine(plan, dtype, memory_format, torch.device("cuda"))
    if host_library() is None:
        pytest.skip("no C++ compiler")
    if name == "cpu":
        return CpuEngine(plan, dtype, memory_format, BufferPool(2).take)
    return KernelOnCpu(plan, dtype, memory_format)


ENGINES = ["pillow", "cpu", "kernel", pytest.param("cuda", marks=pytest.mark.cuda)]


def rendered(engine: Any, pictures: list[NDArray[np.uint8]], recipes: list[Recipe]) -> list[torch.Tensor]:
    batch: Batch = engine.batch(len(pictures))
    for slot in reversed(range(len(pictures))):  # any order
        batch.fill(slot, Picture(pictures[slot]), recipes[slot])
    batch.finish()
    return [image.cpu() for image in batch.images()]


def check(engine: Any, plan: Plan, pictures: list[NDArray[np.uint8]], recipes: list[Recipe]) -> None:
    images = rendered(engine, pictures, recipes)
    assert len(images) == len(pictures)
    for image, picture, recipe in zip(images, pictures, recipes, strict=True):
        wanted = plan.render(Image.fromarray(picture), recipe)
        assert image.shape == wanted.shape
        assert image.dtype == wanted.dtype
        assert torch.equal(image, wanted), (picture.shape, recipe)


@pytest.mark.parametrize("name", ENGINES)
@pytest.mark.parametrize("seed", range(3))
def test_ragged_batches_of_random_recipes(name: str, seed: int) -> None:
    rng = random.Random(seed)
    for _ in range(20):
        dtype = rng.choice(list(VALUES))
        layout = rng.choice((torch.contiguous_format, torch.channels_last))
        plan = Plan(VALUES[dtype])
        engine = make(name, plan, dtype, layout)
        pictures = [random_picture(rng) for _ in range(16)]
        check(engine, plan, pictures, [random_recipe(rng, *p.shape[:2]) for p in pictures])


@pytest.mark.parametrize("name", ENGINES)
def test_one_channel(name: str) -> None:
    rng = random.Random(1)
    plan = Plan([T.Grayscale(1), T.ToDtype(torch.float32, scale=True), T.Normalize([0.5], [0.25])])
    pictures = [random_picture(rng) for _ in range(8)]
    recipes: list[Recipe] = [(Resize(31, 17, Filter.BICUBIC), Grey()) for _ in pictures]
    check(make(name, plan, torch.float32, torch.contiguous_format), plan, pictures, recipes)


@pytest.mark.parametrize("name", ENGINES)
@pytest.mark.parametrize("kernel_filter", list(Filter))
def test_extreme_sizes(name: str, kernel_filter: Filter) -> None:
    """Far shrinking takes several rounds of the kernel's shared memory; far growing has one source pixel."""
    rng = np.random.default_rng(0)
    plan = Plan([])
    shapes = [(3000, 40), (40, 3000), (1, 1), (1, 700), (700, 1), (999, 998)]
    targets = [(2, 3), (3, 2), (65, 70), (1, 1), (33, 9), (1, 998)]
    pictures = [rng.integers(0, 256, (*shape, 3), np.uint8) for shape in shapes]
    recipes: list[Recipe] = [(Resize(*target, kernel_filter),) for target in targets]
    check(make(name, plan, torch.uint8, torch.contiguous_format), plan, pictures, recipes)


@pytest.mark.parametrize("name", ENGINES)
def test_padding_alone(name: str) -> None:
    """Crops that show nothing but padding."""
    picture = np.full((5, 5, 3), 200, np.uint8)
    plan = Plan([])
    for mode in PadMode:
        pad = Pad(12, 12, 12, 12, (1, 2, 3), mode)
        recipes: list[Recipe] = [(pad, Crop(0, 0, 4, 4)), (pad, Crop(20, 3, 6, 6)), (pad, Crop(0, 12, 4, 4), Grey())]
        check(make(name, plan, torch.uint8, torch.contiguous_format), plan, [picture] * 3, recipes)


@pytest.mark.parametrize("name", ENGINES)
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_equal_sizes_make_one_tensor(name: str, layout: torch.memory_format) -> None:
    rng = random.Random(2)
    engine = make(name, Plan([]), torch.uint8, layout)
    batch: Batch = engine.batch(4)
    for slot in range(4):
        batch.fill(slot, Picture(random_picture(rng)), (Resize(10, 12, Filter.BOX),))
    batch.finish()
    images = batch.images()
    assert isinstance(images, torch.Tensor)
    assert images.shape == (4, 3, 10, 12)
    assert images.is_contiguous(memory_format=layout)


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
    plan = Plan([])
    engine = make(name, plan, torch.uint8, torch.contiguous_format)
    check(engine, plan, [picture], [(Resize(*target, kernel_filter),)])


@pytest.mark.parametrize("name", ENGINES)
def test_every_colour_turns_grey_as_pillow_does(name: str) -> None:
    """All 2^24 colours, 1024 x 512 at a time."""
    plan = Plan([])
    engine = make(name, plan, torch.uint8, torch.contiguous_format)
    values = np.arange(0, 256, 2 if name != "cpu" else 1, dtype=np.uint8)
    red, green, blue = np.meshgrid(values, values, values, indexing="ij")
    colours = np.stack([red, green, blue], -1).reshape(-1, 1024, 3)
    for part in np.array_split(colours, max(len(colours) // 512, 1)):
        check(engine, plan, [np.ascontiguousarray(part)], [(Grey(),)])
