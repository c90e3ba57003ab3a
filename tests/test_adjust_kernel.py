"""The CUDA kernel adjusts colors and warps pictures as Pillow does, bit for bit: its source as C++, on a simulated GPU.

``GPULOAD_CASES=2000 python -m pytest tests/test_adjust_kernel.py`` tries so many pictures of each kind.
"""

import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from gpuload import DataLoader, ImageFolder, transforms as T
from gpuload.compilers import compiler
from gpuload.decoders.files import Files
from gpuload.device import CudaDevice
from gpuload.engines.base import Layout, View
from gpuload.engines.cuda import CudaEngine, adjusting, engine as cuda_engine
from gpuload.engines.cuda.adjusting import ADJUSTED, COLORS, rendered_by_workers
from gpuload.recipes.adjust import Adjust, Adjustment
from gpuload.recipes.erase import Erase
from gpuload.recipes.fuse import fuse
from gpuload.recipes.ops import Crop, Filter, Recipe, Resize
from gpuload.recipes.recipes import Recipes, apply
from gpuload.recipes.warp import WARP_FILTERS, Turn, Warp
from gpuload.transforms.plan import Plan
from tests.cases import cases
from tests.conftest import encode, make_photo
from tests.cuda_on_cpu import cuda_on_cpu
from tests.fake_codec import needs_codec
from tests.recipes import Pixels, batched, random_picture, random_warp
from tests.simulation.runtime import Runtime, simulated
from tests.test_adjust import some_picture, value_of
from tests.test_warp import in_perspective, moved, only_moved, turned

pytestmark = pytest.mark.skipif(compiler() is None, reason="no C++ compiler")

TOGETHER = 100  # pictures of a batch
SCALED = [T.ToDtype(torch.float32, scale=True), T.Normalize([0.5, 0.4, 0.3], [0.25, 0.2, 0.1])]
BLURRED = Adjust(Adjustment.BLUR, 1.5)
BRIGHTER, GRAY = Adjust(Adjustment.ADJUST_BRIGHTNESS, 1.5), Adjust(Adjustment.GRAYSCALE)
TURNED = Warp([0.9, 0.3, -2.0, -0.3, 0.9, 4.0], Filter.NEAREST, (9, 8, 7))


@pytest.fixture
def runtime() -> Iterator[Runtime]:
    with simulated() as made:
        yield made
        made.gpu.finish()
        assert made.gpu.problems == []


@pytest.fixture(params=["simulated", pytest.param("cuda", marks=pytest.mark.cuda)])
def gpu(request: pytest.FixtureRequest) -> None:
    """A simulated one, or one that is there."""
    if request.param == "simulated":
        request.getfixturevalue("runtime")


def engine_of(plan: Plan, last: bool = False) -> CudaEngine:
    layout = Layout.of(plan, None, torch.channels_last if last else torch.contiguous_format)
    return CudaEngine(layout, CudaDevice(0))


def check(pictures: list[Pixels], recipes: list[Recipe], plan: Plan | None = None, last: bool = False) -> None:
    """Batches of them are as Pillow makes them; the kernel does all of it."""
    plan = plan or Plan([])
    engine = engine_of(plan, last)
    for start in range(0, len(pictures), TOGETHER):
        some, theirs = pictures[start : start + TOGETHER], recipes[start : start + TOGETHER]
        images = images_of(engine, some, theirs)
        for image, picture, recipe in zip(images, some, theirs, strict=True):
            assert torch.equal(image.cpu(), plan.apply(Image.fromarray(picture), recipe)), (picture.shape, recipe)


def images_of(engine: CudaEngine, pictures: list[Pixels], recipes: list[Recipe]) -> Any:
    files = Files([b""] * len(pictures), upright=False, decoder=None)
    fused = engine.fuse(batched(pictures, recipes))
    assert not fused.by_pillow.any() and not rendered_by_workers(fused).any()
    batch = engine.batch(fused, files)
    for slot, (top, left, height, width) in enumerate(fused.regions.tolist()):
        batch.put(slot, pictures[slot][top : top + height, left : left + width])
    batch.finish()
    return batch.images()


# ---- each kind ----


@pytest.mark.usefixtures("gpu")
@pytest.mark.parametrize("adjustment", COLORS, ids=lambda one: one.name.lower())
def test_any_picture(adjustment: Adjustment) -> None:
    rng = random.Random(adjustment.value)
    pictures = [some_picture(rng) for _ in range(cases(60))]
    check(pictures, [(Adjust(adjustment, value_of(adjustment, rng)),) for _ in pictures])


@pytest.mark.usefixtures("gpu")
@pytest.mark.parametrize("filter", WARP_FILTERS)
@pytest.mark.parametrize("draw", [turned, moved, only_moved, in_perspective])
def test_any_warp(draw: Callable[..., Any], filter: Filter) -> None:
    rng = random.Random(f"{draw.__name__} {filter.name}")
    pictures = [random_picture(rng, rng.choice((9, 90))) for _ in range(cases(40))]
    look = {"interpolation": filter.name.lower(), "fill": [7, 100, 250]}
    numbers = [np.asarray(draw(rng, Image.fromarray(picture), look)[1])[0].tolist() for picture in pictures]
    check(pictures, [(Warp(each, filter, (7, 100, 250)),) for each in numbers])


@pytest.mark.usefixtures("gpu")
def test_numbers_too_large_for_fixed_point() -> None:
    """Running sums down the rows, and along each."""
    rng = random.Random(5)
    pictures = [random_picture(rng, 60) for _ in range(cases(40))]
    large = [rng.choice((40000.0, 1e300, 33000.5)) * rng.choice((1, -1)) for _ in pictures]
    shears = [[1.0, rng.uniform(-2, 2), 0.0, rng.uniform(-2, 2), 1.0, rng.uniform(-9, 9)] for _ in pictures]
    for numbers, number in zip(shears, large, strict=True):
        numbers[rng.choice((0, 2, 4, 5))] = number
    check(pictures, [(Warp(numbers, Filter.NEAREST, (9, 8, 7)),) for numbers in shears])


@pytest.mark.usefixtures("gpu")
def test_any_steps_after_each_other() -> None:
    rng = random.Random(7)
    pictures = [some_picture(rng) for _ in range(cases(100))]
    check(pictures, [some_steps(rng, 6) for _ in pictures])


def random_color(rng: random.Random) -> Adjust:
    adjustment = rng.choice(COLORS)
    return Adjust(adjustment, value_of(adjustment, rng))


def some_steps(rng: random.Random, most: int) -> Recipe:
    return tuple(random_warp(rng) if rng.random() < 0.3 else random_color(rng) for _ in range(rng.randint(1, most)))


# ---- in a batch ----


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("values", [[], [T.ToDtype(torch.float16, scale=True)], SCALED], ids=["uint8", "half", "float"])
@pytest.mark.usefixtures("gpu")
def test_any_layout_and_geometry_beside_plain_samples(values: list[Any], last: bool) -> None:
    rng, plan = random.Random(3), Plan(values)
    pictures = [random_picture(rng, 80) for _ in range(30)]
    crops = [Resize(rng.randint(1, 50), rng.randint(1, 50), Filter.BICUBIC) for _ in pictures]
    steps = [some_steps(rng, 4) if rng.random() < 0.6 else () for _ in pictures]
    check(pictures, [(crop, *some) for crop, some in zip(crops, steps, strict=True)], plan, last)


def test_samples_with_steps_are_two_launches_more(runtime: Runtime) -> None:
    picture = random_picture(random.Random(0))
    check([picture] * 5, [(), (BRIGHTER,), (), (GRAY, TURNED), (BRIGHTER,)], Plan(SCALED))
    launched = [(name, grid[0], threads) for name, grid, threads in runtime.launched]
    assert launched == [("render_4", 2, 256), ("render_1", 3, 256), ("adjust_pictures", 3, 512)]


@pytest.mark.usefixtures("gpu")
def test_one_channel() -> None:
    plan = Plan([T.Grayscale(1), T.ToDtype(torch.float32, scale=True)])
    picture = random_picture(random.Random(1))
    check([picture] * 2, [(BRIGHTER, GRAY), (GRAY, TURNED)], plan)


def test_nothing_more_is_launched_for_samples_without_steps(runtime: Runtime) -> None:
    picture = random_picture(random.Random(0))
    check([picture] * 3, [()] * 3)
    assert [name for name, _, _ in runtime.launched] == ["render_1"]


def test_of_a_batch_in_which_all_are_adjusted_none_is_rendered_plainly(runtime: Runtime) -> None:
    picture = random_picture(random.Random(0))
    check([picture] * 3, [(BRIGHTER,)] * 3, Plan(SCALED))
    assert [name for name, _, _ in runtime.launched] == ["render_1", "adjust_pictures"]


@pytest.fixture
def augmented(tmp_path: Path) -> ImageFolder:
    (tmp_path / "only").mkdir()
    for i in range(23):
        (tmp_path / "only" / f"{i:02}.jpg").write_bytes(encode(make_photo(40 + i, 70 - i, seed=i)))
    steps = T.RandAugment(), T.ColorJitter(0.4, hue=0.1)
    return ImageFolder(tmp_path, transform=T.Compose([T.RandomResizedCrop(24), T.RandomHorizontalFlip(), *steps]))


@pytest.mark.parametrize("workers", [0, 3])
def test_batches_of_a_stretch_have_their_own_steps(workers: int, runtime: Runtime, augmented: ImageFolder) -> None:
    """A loader plans many batches together, whose steps and warps lie in the same arrays."""
    wanted = list(DataLoader(augmented, 4, shuffle=True, seed=6, device="cpu"))
    loader = DataLoader(augmented, 4, shuffle=True, seed=6, num_workers=workers)
    for epoch in range(2):  # from the second on, sizes are known
        loader.set_epoch(0)
        for (images, _), (expected, _) in zip(loader, wanted, strict=True):
            assert torch.equal(images.cpu(), expected), epoch
    assert {"render_1", "adjust_pictures"} < {name for name, _, _ in runtime.launched}
    del loader, images


@needs_codec
def test_what_the_gpu_decodes_it_adjusts(runtime: Runtime, augmented: ImageFolder) -> None:
    runtime.refuses = lambda: False
    wanted = list(DataLoader(augmented, 4, seed=6, device="cpu"))
    loader = DataLoader(augmented, 4, seed=6, num_workers=2, decoder="gpu")
    for (images, _), (expected, _) in zip(loader, wanted, strict=True):
        assert torch.equal(images.cpu(), expected)
    assert runtime.decoded == len(augmented)
    del loader, images


# ---- with all that others do ----


def any_of_all(size: int) -> T.Transform:
    grown = [T.RandomRotation(40, expand=True), T.Resize((size, size))]
    colors, blur = T.ColorJitter(0.4, hue=0.1), T.PillowGaussianBlur(p=1.0)
    every = T.RandomChoice([T.RandomHorizontalFlip(), colors, T.RandomRotation(40), grown, blur])
    return T.Compose([T.RandomResizedCrop(size), every])


LARGE = T.Compose([any_of_all(24), *SCALED, T.RandomErasing(0.5, value="random")])
SMALL = T.Compose([any_of_all(9), *SCALED, T.RandomErasing(0.5, value=(1, 2, 3))])
BYTES = any_of_all(17)


def launches(recipes: list[Recipe]) -> list[tuple[str, int]]:
    """Of a batch of floats: how many samples each is of."""
    by_workers = rendered_by_workers(fused_of(recipes, 200))
    adjusted = fused_of(recipes, 200).adjustments.any & ~by_workers
    erased = sum(any(isinstance(op, Erase) for op in recipe) for recipe in recipes)
    assert by_workers.any() and erased
    counts = len(recipes) - adjusted.sum(), adjusted.sum(), adjusted.sum(), erased
    return list(zip(("render_4", "render_1", "adjust_pictures", "erase_4"), map(int, counts), strict=True))


DECODERS = ["cpu", pytest.param("hybrid", marks=needs_codec)]


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize(
    "transform", [LARGE, T.MultiView([(LARGE, 2), (SMALL, 3)]), T.MultiView([SMALL, BYTES, LARGE, BYTES])]
)
def test_a_batch_has_plain_adjusted_warped_expanded_blurred_and_erased_samples(
    transform: T.Transform, decoder: str, runtime: Runtime, augmented: ImageFolder
) -> None:
    """In one view and in several, of one layout and of two."""
    dataset = ImageFolder(augmented.root, transform=transform)
    wanted = list(DataLoader(dataset, 12, seed=6, device="cpu"))
    loader = DataLoader(dataset, 12, seed=6, num_workers=2, decoder=decoder)
    for (images, _), (expected, _) in zip(loader, wanted, strict=True):
        pairs = [(images, expected)] if isinstance(images, torch.Tensor) else zip(images, expected, strict=True)
        for number, (view, other) in enumerate(pairs):
            assert torch.equal(view.cpu(), other), number
    if transform is LARGE:
        recipes = [recipe for _, recipe in loader.recipes(0)]
        assert [(name, grid[0]) for name, grid, _ in runtime.launched] == [
            launch for begin in (0, 12) for launch in launches(recipes[begin : begin + 12])
        ]
    del loader, images


@pytest.mark.usefixtures("gpu")
def test_views_that_the_kernel_adjusts_share_their_pixels() -> None:
    picture, engine = random_picture(random.Random(0), 60), engine_of(Plan([]))
    recipes: list[Recipe] = [(Crop(0, 1, 4, 5), BRIGHTER), (Crop(2, 0, 5, 3), TURNED), (Crop(0, 0, 5, 5), BLURRED)]
    every = [engine.fuse(batched([picture], [recipe])) for recipe in recipes]
    files = Files([b""], upright=False, decoder=None).views(3)
    batch = engine.views([View(engine, fused, each) for fused, each in zip(every, files, strict=True)])
    assert every[0].records["pixels"] == every[1].records["pixels"] != every[2].records["pixels"]
    assert every[0].regions.tolist() == every[1].regions.tolist() == [[0, 0, 7, 6]]
    for number, fused in enumerate(every):
        top, left, height, width = fused.regions[0].tolist()
        batch.put(0, picture[top : top + height, left : left + width], number)
    batch.finish()
    for number, recipe in enumerate(recipes):
        wanted = apply(Image.fromarray(picture), recipe)
        assert np.array_equal(batch.images(number)[0].permute(1, 2, 0).cpu(), wanted), recipe


# ---- what stays with the workers ----


def fused_of(recipes: list[Recipe], side: int = 20) -> Any:
    return fuse(Recipes.of(recipes, [side] * len(recipes), [side] * len(recipes)))


def test_the_kernel_gets_what_it_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    fused = fused_of([(), (BRIGHTER,), (TURNED, GRAY), (GRAY, BRIGHTER)])
    assert not rendered_by_workers(fused).any()
    monkeypatch.setattr(adjusting, "KERNEL_KINDS", [Adjustment.ADJUST_BRIGHTNESS.value])
    assert rendered_by_workers(fused).tolist() == [False, False, True, True]
    assert rendered_by_workers(fused[2:]).tolist() == [True, True]
    monkeypatch.setattr(adjusting, "MOST_PIXELS", 399)
    assert rendered_by_workers(fused).tolist() == [False, True, True, True]


def test_pictures_that_get_another_size_stay_with_the_workers() -> None:
    larger = Turn(TURNED.numbers, 20, 21, Filter.NEAREST, (9, 8, 7))
    fused = fused_of([(), (TURNED,), (larger,), (BRIGHTER, larger), (GRAY, Crop(1, 1, 9, 9))])
    wanted = [False, False, True, True, True]
    assert rendered_by_workers(fused).tolist() == wanted
    for start in range(5):
        assert rendered_by_workers(fused[start : start + 2]).tolist() == wanted[start : start + 2]


@pytest.mark.parametrize("limit", ["KERNEL_KINDS", "MOST_PIXELS"])
def test_the_workers_render_the_others(limit: str, runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adjusting, limit, [Adjustment.ADJUST_BRIGHTNESS.value] if limit == "KERNEL_KINDS" else 99)
    picture = random_picture(random.Random(0), 50)
    recipes: list[Recipe] = [
        (), (Resize(9, 11, Filter.BOX), BRIGHTER), (Resize(12, 30, Filter.LANCZOS), TURNED, BRIGHTER), (GRAY, TURNED)
    ]  # fmt: skip
    engine, files = engine_of(Plan([])), Files([b""] * 4, upright=False, decoder=None)
    fused = engine.fuse(batched([picture] * 4, recipes))
    batch = engine.batch(fused, files)
    for slot, (top, left, height, width) in enumerate(fused.regions.tolist()):
        batch.put(slot, picture[top : top + height, left : left + width])
    batch.finish()
    for image, recipe in zip(batch.images(), recipes, strict=True):
        assert np.array_equal(image.permute(1, 2, 0).cpu(), apply(Image.fromarray(picture), recipe)), recipe
    assert [(name, grid[0]) for name, grid, _ in runtime.launched] == [
        ("render_1", 3),
        ("render_1", 1),
        ("adjust_pictures", 1),
    ]


@pytest.mark.usefixtures("runtime")
def test_without_native_code_pillow_makes_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda_engine, "host_library", lambda: None)
    monkeypatch.setattr(adjusting, "KERNEL_KINDS", [Adjustment.ADJUST_BRIGHTNESS.value])
    fused = engine_of(Plan([])).fuse(
        Recipes.of([(), (BRIGHTER,), (GRAY, TURNED), (Crop(0, 0, 3, 4), TURNED)], [9] * 4, [9] * 4)
    )
    assert fused.by_pillow.tolist() == [False, False, True, True]


# ---- with the kernel ----


def test_the_engine_and_the_kernel_agree_on_a_picture() -> None:
    assert cuda_on_cpu().cuda_adjusted_bytes() == ADJUSTED.itemsize
