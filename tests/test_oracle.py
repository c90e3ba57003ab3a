"""The oracle is torchvision on PIL images."""

import random

import numpy as np
import pytest
from PIL import Image

from gpuload import oracle
from tests.recipes import functional, random_picture, random_recipe


@pytest.mark.parametrize("seed", range(8))
def test_equals_torchvision_functional(seed: int) -> None:
    rng = random.Random(seed)
    for _ in range(100):
        pixels = random_picture(rng)
        recipe = random_recipe(rng, *pixels.shape[:2])
        image = Image.fromarray(pixels)
        ours, theirs = oracle.apply(image, recipe), functional(image, recipe)
        assert np.array_equal(np.asarray(ours), np.asarray(theirs)), recipe
