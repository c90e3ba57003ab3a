"""Plans: tables of values, channels, and what folds."""

import pytest
import torch
from PIL import Image

from gpuload import transforms as T
from gpuload.draws import TorchDraws
from gpuload.plan import Plan
from gpuload.steps import Crop, Resize


def test_table_holds_the_value_of_every_byte() -> None:
    plan = Plan([T.ToDtype(torch.float32, scale=True), T.Normalize([0.5, 0.4, 0.3], [0.2, 0.3, 0.4])])
    image = torch.arange(256, dtype=torch.uint8).view(1, 16, 16).repeat(3, 1, 1)
    wanted = T.Normalize([0.5, 0.4, 0.3], [0.2, 0.3, 0.4]).values(T.ToDtype(torch.float32, scale=True).values(image))
    assert torch.equal(plan.table(), wanted.reshape(3, 256))
    assert torch.equal(plan.table(torch.bfloat16), plan.table().to(torch.bfloat16))


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


def test_recipe_follows_the_size() -> None:
    plan = Plan([T.Resize(20), T.CenterCrop(16)])
    resize, crop = plan.recipe(40, 80, TorchDraws())
    assert isinstance(resize, Resize)
    assert (resize.height, resize.width) == (20, 40)
    assert crop == Crop(2, 12, 16, 16)


def test_apply_is_call_with_the_recipe_given() -> None:
    plan = Plan([T.RandomResizedCrop(9), T.RandomHorizontalFlip()])
    image = Image.linear_gradient("L").convert("RGB")
    torch.manual_seed(3)
    recipe = plan.recipe(image.height, image.width, TorchDraws())
    torch.manual_seed(3)
    assert torch.equal(plan(image, TorchDraws()), plan.apply(image, recipe))


def test_folds() -> None:
    assert Plan([T.RandomResizedCrop(9), T.RandomVerticalFlip()]).folds(30, 30, TorchDraws())
    assert not Plan([T.Resize(20), T.Resize(10)]).folds(30, 30, TorchDraws())
