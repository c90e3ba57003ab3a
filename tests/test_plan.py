"""Plans: tables of values, channels, and recipes for a batch."""

import random
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from gpuload import transforms as T
from gpuload.recipes.draws import CounterDraws, TorchDraws
from gpuload.recipes.ops import Crop, Filter, Flip, Grayscale, Pad, PadMode, Resize
from gpuload.transforms.plan import Geometric, Plan, Pointwise


def test_table_holds_the_value_of_every_byte() -> None:
    plan = Plan([T.ToDtype(torch.float32, scale=True), T.Normalize([0.5, 0.4, 0.3], [0.2, 0.3, 0.4])])
    image = torch.arange(256, dtype=torch.uint8).view(1, 16, 16).repeat(3, 1, 1)
    wanted = T.Normalize([0.5, 0.4, 0.3], [0.2, 0.3, 0.4]).values(T.ToDtype(torch.float32, scale=True).values(image))
    assert torch.equal(plan.table(), wanted.reshape(3, 256))
    assert torch.equal(plan.table(torch.bfloat16), plan.table().to(torch.bfloat16))
    assert plan.dtype == torch.float32 and plan.table().is_contiguous()


@pytest.mark.parametrize(
    ("transforms", "channels"),
    [
        ([], 3),
        ([T.Grayscale()], 1),
        ([T.Grayscale(), T.RandomGrayscale()], 1),
        ([T.Grayscale(), T.RGB()], 3),
        ([T.Grayscale(3)], 3),
    ],
)
def test_channels(transforms: list[T.Transform], channels: int) -> None:
    plan = Plan(transforms)
    assert plan.channels == channels
    assert plan(Image.new("RGB", (5, 4)), TorchDraws()).shape == (channels, 4, 5)


def test_recipes_follow_the_sizes() -> None:
    plan = Plan([T.Resize(20), T.CenterCrop(16)])
    wide, tall, exact = plan.recipes([40, 60, 20], [80, 30, 20], TorchDraws())
    assert [(op.height, op.width) for op in (wide[0], tall[0])] == [(20, 40), (40, 20)]
    assert isinstance(wide[0], Resize)
    assert wide[1] == Crop(2, 12, 16, 16) and tall[1] == Crop(12, 2, 16, 16)
    assert exact == (Crop(2, 2, 16, 16),)  # a resize to the size that it has is none


def test_apply_is_call_with_the_recipe_given() -> None:
    plan = Plan([T.RandomResizedCrop(9), T.RandomHorizontalFlip()])
    image = Image.linear_gradient("L").convert("RGB")
    torch.manual_seed(3)
    recipe = plan.recipes([image.height], [image.width], TorchDraws())[0]
    torch.manual_seed(3)
    assert torch.equal(plan(image, TorchDraws()), plan.apply(image, recipe))


# ---- many samples at a time ----


def random_transforms(rng: random.Random) -> list[Any]:
    makers = (
        lambda: T.Resize(rng.randint(5, 60), rng.choice(("box", "lanczos", "nearest"))),
        lambda: T.Resize((rng.randint(5, 60), rng.randint(5, 60))),
        lambda: T.Resize(None, max_size=rng.randint(200, 300)),
        lambda: T.Resize(20, max_size=rng.randint(21, 40)),
        lambda: T.CenterCrop((rng.randint(1, 60), rng.randint(1, 60))),
        lambda: T.RandomCrop(rng.randint(1, 60), rng.choice((None, 2, (1, 2, 3, 4))), True, 0, "edge"),
        lambda: T.RandomResizedCrop(rng.randint(5, 60)),
        lambda: T.RandomResizedCrop(24, (0.5, 1.5), rng.choice(((0.2, 0.4), (0.75, 4 / 3), (8.0, 9.0)))),
        lambda: T.RandomHorizontalFlip(rng.random()),
        lambda: T.RandomVerticalFlip(rng.random()),
        lambda: T.RandomGrayscale(rng.random()),
        lambda: T.Pad(rng.randint(0, 9)),
    )
    return [rng.choice(makers)() for _ in range(rng.randint(1, 5))]


@pytest.mark.parametrize("seed", range(20))
def test_a_batch_is_many_times_one(seed: int) -> None:
    """What is drawn for a sample, and how often, does not depend on the others in its batch."""
    rng = random.Random(seed)
    for _ in range(5):
        plan, n = Plan(random_transforms(rng)), rng.randint(2, 20)
        heights, widths = ([rng.randint(20, 200) for _ in range(n)] for _ in range(2))
        positions = [rng.getrandbits(40) for _ in range(n)]
        together = plan.recipes(heights, widths, CounterDraws(seed, 1, positions))
        assert len(together) == n
        for i in range(n):
            alone = plan.recipes(heights[i : i + 1], widths[i : i + 1], CounterDraws(seed, 1, positions[i : i + 1]))
            assert alone[0] == together[i], plan.geometric
            sizes = alone.final_height[0], alone.final_width[0]
            assert sizes == (together.final_height[i], together.final_width[i])


def test_no_samples() -> None:
    rng = random.Random(0)
    for _ in range(50):
        assert len(Plan(random_transforms(rng)).recipes([], [], CounterDraws(0, 0, []))) == 0


RESIZE = (Resize(224, 224, Filter.BILINEAR), Flip(True))
REFLECT = (0, 0, 0), PadMode.REFLECT
SIZES = [375, 500, 1, 65_535], [500, 333, 5, 1]
GOLDEN = [  # as version 0.1.0 drew them, of seed 77 and epoch 3 at positions 5 to 8
    (
        [T.RandomResizedCrop(224), T.RandomHorizontalFlip()],
        [
            (Crop(82, 77, 155, 123), *RESIZE),
            (Crop(54, 52, 267, 268), *RESIZE),
            (Crop(0, 2, 1, 1), *RESIZE),
            (Crop(32_767, 0, 1, 1), *RESIZE),
        ],
    ),
    (
        [T.RandomCrop(32, padding=4, padding_mode="reflect", pad_if_needed=True), T.RandomGrayscale(0.5)],
        [
            (Pad(4, 4, 4, 4, *REFLECT), Crop(349, 88, 32, 32), Grayscale()),
            (Pad(4, 4, 4, 4, *REFLECT), Crop(181, 157, 32, 32), Grayscale()),
            (Pad(23, 27, 23, 27, *REFLECT), Crop(16, 11, 32, 32)),
            (Pad(27, 4, 27, 4, *REFLECT), Crop(46_773, 18, 32, 32)),
        ],
    ),
]


@pytest.mark.parametrize(("transforms", "recipes"), GOLDEN, ids=["training", "padded"])
def test_what_is_drawn_never_changes(transforms: list[Any], recipes: list[Any]) -> None:
    assert list(Plan(transforms).recipes(*SIZES, CounterDraws(77, 3, range(5, 9)))) == recipes


# ---- what a plan is made of ----


class Doubled:
    """A geometric transform of a user's own: no base class needed."""

    channels = None
    floats = True

    def steps(self, height: Any, width: Any, draws: Any) -> Any:
        return [(Resize(2 * height, 2 * width, Filter.NEAREST), np.ones(len(height), bool))]


class Negative:
    """A pointwise one."""

    def values(self, image: torch.Tensor) -> torch.Tensor:
        return 255 - image


def test_ones_own_transforms_compile() -> None:
    assert isinstance(Doubled(), Geometric) and isinstance(Negative(), Pointwise)
    plan = Plan([Doubled(), Negative(), T.ToDtype(torch.float32)])
    assert plan.table()[0].tolist() == list(range(255, -1, -1))
    image = Image.linear_gradient("L").resize((3, 4)).convert("RGB")
    wanted = 255 - np.asarray(image.resize((6, 8), Image.Resampling.NEAREST)).transpose(2, 0, 1).astype(np.float32)
    assert np.array_equal(plan(image, TorchDraws()).numpy(), wanted)
