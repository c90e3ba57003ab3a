"""What moves pixels again, after colors, warps or a resize, is done natively, stage after stage, to Pillow's bits.

``GPULOAD_CASES=2000 python -m pytest tests/test_stages.py`` tries so many recipes.
"""

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torchvision import transforms as v1
from torchvision.transforms import v2

from gpuload import ImageFolder, transforms as T
from gpuload.compilers import compiler
from gpuload.native import Status
from gpuload.recipes.adjust import Adjust, Adjustment
from gpuload.recipes.fuse import fuse
from gpuload.recipes.ops import Crop, Filter, Resize
from gpuload.recipes.record import FRAME, FRAMED
from gpuload.recipes.warp import WARPED, Turn, Warp
from tests.cases import cases
from tests.epochs import check_recipes
from tests.native_batch import Batch, in_memory
from tests.recipes import batched, functional, random_batch, random_op

pytestmark = pytest.mark.skipif(compiler() is None, reason="no C++ compiler")

MODULES: list[Any] = [v1, v2]
EQUALIZE = Adjust(Adjustment.EQUALIZE)


def longer(rng: random.Random, picture: NDArray[np.uint8]) -> tuple[Any, ...]:
    """Up to twelve operations, of all kinds."""
    recipe: list[Any] = []
    height, width = picture.shape[:2]
    for _ in range(rng.randint(2, 12)):
        recipe.append(random_op(rng, height, width, 50))
        height, width = recipe[-1].size_after(height, width)
    return tuple(recipe)


@pytest.mark.parametrize("staged", [False, True])
def test_random_recipes_of_many_stages(staged: bool) -> None:
    """Rendered, or as bytes into staging memory; samples with and without stages in turn, on one thread's memory."""
    rng, found = random.Random(staged), 0
    for _ in range(cases(60) // 20):
        pictures, _ = random_batch(rng, 20, 60)
        recipes = [longer(rng, picture) for picture in pictures]
        wanted = [np.asarray(functional(Image.fromarray(p), r)) for p, r in zip(pictures, recipes, strict=True)]
        batch = Batch(fuse(batched(pictures, recipes)))
        if staged:
            recipes = [(*recipe, EQUALIZE) for recipe in recipes]  # so that each is rendered by the worker
            batch = Batch(fuse(batched(pictures, recipes)))
            batch.render()
            sizes = batch.fused.extents.prod(axis=1) * 3
            batch.fused.records["pixels"] = np.cumsum(sizes) - sizes
            batch.stage(int(sizes.sum()))
        assert not batch.fused.by_pillow.any()
        found += len(batch.fused.adjustments.frames)
        for i, (picture, recipe) in enumerate(zip(pictures, recipes, strict=True)):
            assert batch.put(i, picture) == Status.OK, recipe
            if staged:
                begin, size = int(batch.fused.records["pixels"][i]), int(sizes[i])
                made = batch.staging[begin : begin + size].reshape(*batch.fused.extents[i], 3)
                assert np.array_equal(made, np.asarray(functional(Image.fromarray(wanted[i]), (EQUALIZE,)))), recipe
            else:
                assert np.array_equal(batch.image(i), wanted[i]), recipe
        assert batch.guards_hold()
    assert found > 0


# ---- as transforms ----

PARTS: dict[str, Any] = {
    "crop after colors": lambda t: [t.ColorJitter(0.4, 0.4, 0.4, 0.1), t.RandomResizedCrop(24)],
    "resize after resize": lambda t: [t.Resize(40), t.RandomCrop(30), t.Resize((20, 33)), t.RandomHorizontalFlip()],
    "padding after padding": lambda t: [t.Pad(3, (9, 8, 7)), t.Pad(2, (1, 2, 3)), t.Resize((20, 30)), t.Pad(4)],
    "crop after a turn": lambda t: [t.RandomRotation(40, expand=True, fill=7), t.RandomCrop(24), t.RandomEqualize(0.5)],
    "turns": lambda t: [t.RandomRotation((90, 90), expand=True), t.RandomRotation(9, expand=True), t.CenterCrop(32)],
    "a policy before it all": lambda t: [t.TrivialAugmentWide(), t.RandomResizedCrop(24), t.RandomVerticalFlip()],
}
every_part = pytest.mark.parametrize("name", PARTS)


@every_part
@pytest.mark.parametrize("module", MODULES, ids=["v1", "v2"])
def test_a_sample_of_a_dataset_is_torchvisions(name: str, module: Any, photos: Path) -> None:
    theirs = module.Compose([*PARTS[name](module), module.PILToTensor()])
    ours = ImageFolder(photos, transform=theirs)
    for seed in range(cases(20)):
        torch.manual_seed(seed)
        (image, _), after = ours[seed % len(ours)], torch.rand(1)
        torch.manual_seed(seed)
        assert torch.equal(image, theirs(ours.image(seed % len(ours)))) and torch.equal(after, torch.rand(1))


@every_part
def test_a_loader_gives_what_its_recipes_say(name: str, photos: Path, device: str) -> None:
    """On the CPU, on a simulated GPU and, where there is one, on a GPU."""
    dataset = ImageFolder(photos, transform=T.Compose([*PARTS[name](T), T.ToImage()]))
    check_recipes(dataset, device)


def test_images_in_memory() -> None:
    """In colors, and gray."""
    picture = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)
    recipe = (Crop(2, 3, 15, 20), EQUALIZE, Resize(30, 9, Filter.BICUBIC), EQUALIZE, Crop(1, 1, 20, 5))
    for image in (picture, picture[..., 0].copy()):
        batch = Batch(fuse(batched([picture], [recipe])))
        batch.sizes[:] = image.shape[:2]
        batch.remember(in_memory([image]))
        batch.share()
        assert batch.status.tolist() == [Status.OK] and batch.guards_hold()
        assert np.array_equal(batch.image(0), functional(Image.fromarray(image).convert("RGB"), recipe))


# ---- what native code refuses ----

SPOILED: dict[str, list[Any]] = {
    "region": [(-1, 0, 9, 9), (0, 7, 9, 9), (7, 0, 9, 9), (0, 0, 9, 0), (0, 0, 8, 9), (1 << 30, 0, 9, 9)],
    "filter": [-1, len(Filter)], "grayscale": [-1, 4], "extent": [0, -1, 13, 1 << 30], "length": [0, 19],
    "span": [0, 10, 1 << 30], "ksize": [0, 1, 6], "decoded": [-1, 1], "begin": [-(1 << 31), (1 << 31) - 1],
}  # fmt: skip


def of_two_stages() -> tuple[Batch, NDArray[np.uint8]]:
    """A picture of 12 x 12, another of 15 x 15 where it is turned, of which 9 x 9 become 5 x 5."""
    picture = np.full((12, 12, 3), 77, np.uint8)
    turn = Turn([1.0, 0.1, 0.0, 0.1, 1.0, 0.0], 15, 15, Filter.NEAREST, (0, 0, 0))
    recipe = (turn, Crop(0, 0, 9, 9), Resize(5, 5, Filter.BILINEAR))
    return Batch(fuse(batched([picture], [recipe]))), picture


def check(batch: Batch, picture: NDArray[np.uint8], accepted: bool) -> None:
    assert batch.put(0, picture) == (Status.OK if accepted else Status.INVALID)
    assert batch.untouched() != accepted


@pytest.mark.parametrize("name", SPOILED)
def test_a_spoiled_stage_touches_nothing(name: str) -> None:
    check(*of_two_stages(), accepted=True)
    for value in SPOILED[name]:
        batch, picture = of_two_stages()
        frame = batch.fused.adjustments.frames[0]
        record = frame["record"]
        (frame if name in FRAME.names else record if name in record.dtype.names else record["axes"][1])[name] = value
        check(batch, picture, accepted=False)


@pytest.mark.parametrize("index", [-1.0, 0.5, 1.0, 1e9, np.nan, np.inf])
def test_a_stage_that_is_not_there(index: float) -> None:
    batch, picture = of_two_stages()
    assert batch.fused.adjustments.steps["kind"].tolist() == [WARPED, FRAMED]
    batch.fused.adjustments.steps["value"][1] = index
    check(batch, picture, accepted=False)


def test_no_stages_at_all() -> None:
    batch, picture = of_two_stages()
    batch.work.frames = None
    check(batch, picture, accepted=False)


def test_a_stage_reads_what_the_last_one_left() -> None:
    """Without the turn, its region would lie outside the picture; and what leaves must fit into the output."""
    batch, picture = of_two_stages()
    batch.fused.adjustments.frames["region"][0, :2] = 6, 6
    check(batch, picture, accepted=True)
    batch, picture = of_two_stages()
    batch.fused.adjustments.frames["region"][0, :2] = 6, 6
    batch.fused.adjustments.warps["width"] = 14
    check(batch, picture, accepted=False)
    warp = Warp([1.0, 0.1, 0.0, 0.1, 1.0, 0.0], Filter.NEAREST, (0, 0, 0))
    batch = Batch(fuse(batched([picture], [(warp,)])))
    batch.fused.adjustments.warps["height"] = 13
    check(batch, picture, accepted=False)
