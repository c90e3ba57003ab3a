"""Recipes: what operations do to an image is torchvision's on PIL images, and many are a sequence of single ones."""

import random

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms.v2 import InterpolationMode, functional as F

from gpuload.recipes.ops import Crop, Filter, Flip, Grayscale, Pad, PadMode, Resize
from gpuload.recipes.recipes import Recipes, RecipesBuilder, apply
from tests.cases import cases
from tests.recipes import TORCHS, batched, functional, random_batch, random_picture, random_recipe


@pytest.mark.parametrize("seed", range(8))
def test_the_reference_equals_torchvisions_functional(seed: int) -> None:
    rng = random.Random(seed)
    for _ in range(100):
        pixels = random_picture(rng)
        recipe = random_recipe(rng, *pixels.shape[:2])
        image = Image.fromarray(pixels)
        ours, theirs = apply(image, recipe), functional(image, recipe)
        assert np.array_equal(np.asarray(ours), np.asarray(theirs)), recipe


@pytest.mark.parametrize("kernel_filter", TORCHS)
@pytest.mark.parametrize("threads", [1, 2])
def test_torchs_filters_are_torchvisions_on_tensors_of_any_layout(kernel_filter: Filter, threads: int) -> None:
    """One channel or three, packed by pixel or by channel, on one thread or more: the same pixels."""
    rng, mode = random.Random(7), InterpolationMode(kernel_filter.torch_mode)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        for _ in range(cases(150)):
            picture, size = random_picture(rng), [rng.randint(1, 80), rng.randint(2, 80)]
            wanted = np.asarray(apply(Image.fromarray(picture), (Resize(*size, kernel_filter),)))
            by_pixel = torch.from_numpy(picture).permute(2, 0, 1)
            for tensor in (by_pixel, by_pixel.contiguous(), by_pixel[1:2], by_pixel[1:2].contiguous()):
                resized = F.resize(tensor, size, interpolation=mode, antialias=True)
                part = wanted if len(tensor) == 3 else wanted[:, :, 1:2]
                assert np.array_equal(resized.permute(1, 2, 0).numpy(), part), (tensor.shape, tensor.stride(), size)
    finally:
        torch.set_num_threads(before)


def test_torchs_filters_are_not_pillows_of_the_same_name() -> None:
    image = Image.fromarray(random_picture(random.Random(4)))
    for kernel_filter in TORCHS:
        pillows = Filter[kernel_filter.name.removeprefix("TORCH_")]
        ours, others = (np.asarray(apply(image, (Resize(50, 31, f),))) for f in (kernel_filter, pillows))
        assert not np.array_equal(ours, others)


def test_sizes_are_known_before_there_are_pixels() -> None:
    pictures, recipes = random_batch(random.Random(1), 60, largest=60)
    together = batched(pictures, recipes)
    finished = [apply(Image.fromarray(p), recipe) for p, recipe in zip(pictures, recipes, strict=True)]
    assert together.height.tolist() == [len(picture) for picture in pictures]
    assert together.width.tolist() == [picture.shape[1] for picture in pictures]
    assert together.final_height.tolist() == [image.height for image in finished]
    assert together.final_width.tolist() == [image.width for image in finished]


# ---- many ----


@pytest.mark.parametrize("seed", range(3))
def test_many_are_a_sequence_of_single_ones(seed: int) -> None:
    pictures, recipes = random_batch(random.Random(seed), 30)
    together = batched(pictures, recipes)
    assert len(together) == 30 and list(together) == recipes
    assert [together[i] for i in range(30)] == recipes and together[3:20:4] == recipes[3:20:4]
    with pytest.raises(IndexError, match="recipe 30 of 30"):
        together[30]


def test_operations_of_arrays() -> None:
    """What differs between samples is an array; a single recipe holds plain ints."""
    builder = RecipesBuilder(np.array([10, 20, 30]), np.array([40, 50, 60]))
    builder.add(Crop(np.array([1, 2, 3]), 0, np.array([4, 5, 6]), 7), np.array([True, False, True]))
    builder.add(Grayscale(), np.zeros(3, bool))  # nobody's: as if it were not there
    assert builder.height.tolist() == [4, 20, 6] and builder.width.tolist() == [7, 50, 7]
    builder.add(Pad(0, builder.height, 0, 0, (1, 2, 3), PadMode.EDGE), np.array([True, True, False]))
    recipes = builder.done()
    assert recipes[0] == (Crop(1, 0, 4, 7), Pad(0, 4, 0, 0, (1, 2, 3), PadMode.EDGE))
    assert recipes[1] == (Pad(0, 20, 0, 0, (1, 2, 3), PadMode.EDGE),)
    assert recipes[2] == (Crop(3, 0, 6, 7),)
    assert all(type(value) is int for value in recipes[0][0])
    assert recipes.final_height.tolist() == [8, 40, 6] and recipes.height.tolist() == [10, 20, 30]
    assert len(recipes.steps) == 2


def test_a_batch_of_none() -> None:
    none = Recipes.of([], [], [])
    assert len(none) == 0 and list(none) == []


def test_operations_print_as_they_are_written() -> None:
    ops = (Crop(1, 2, 3, 4), Resize(5, 6, Filter.BOX), Flip(horizontal=True), Grayscale())
    assert repr(ops[0]) == "Crop(top=1, left=2, height=3, width=4)" and repr(ops[2]) == "Flip(horizontal=True)"
    assert eval(repr(ops[0])) == ops[0] and hash(ops) == hash(tuple(ops))
