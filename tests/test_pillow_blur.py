"""Pillow's blur, bit for bit: of any radius, in native code and as a transform."""

import random

import numpy as np
import pytest
import torch
from PIL import Image, ImageFilter

from gpuload import ArgumentError, ArgumentTypeError
from gpuload.compilers import compiler
from gpuload.recipes.adjust import Adjust, Adjustment, box_radius
from gpuload.transforms import PillowGaussianBlur
from tests.cases import cases
from tests.recipes import random_picture
from tests.test_adjust import rendered

RADII = [0.0, 1e-6, 1e-3, 0.1, 0.5, 1.0, 2.0, 2.5, 30.0, 999.0, 10_000.0]


def radius_of(case: int, rng: random.Random) -> float:
    return RADII[case] if case < len(RADII) else rng.uniform(0, rng.choice((0.3, 3, 30)))


@pytest.mark.skipif(compiler() is None, reason="no C++ compiler")
def test_any_radius_is_pillows() -> None:
    rng = random.Random(1)
    for case in range(cases(150)):
        picture, radius = random_picture(rng, 60), radius_of(case, rng)
        wanted = Image.fromarray(picture).filter(ImageFilter.GaussianBlur(radius))
        op = Adjust(Adjustment.BLUR, float(box_radius(np.array([radius]))[0]))
        assert np.array_equal(rendered(picture, (op,)), np.asarray(wanted)), (radius, picture.shape)
        assert np.array_equal(np.asarray(op.apply(Image.fromarray(picture))), np.asarray(wanted)), radius


def test_the_radius_is_drawn_for_those_that_are_blurred() -> None:
    image = Image.fromarray(random_picture(random.Random(2), 90))
    blurred = 0
    for seed in range(60):
        torch.manual_seed(seed)
        ours = PillowGaussianBlur((0.1, 2.0), 0.4)(image)
        torch.manual_seed(seed)
        happens = torch.empty(1).uniform_(0.0, 1.0).item() < 0.4
        blurred += happens
        if happens:
            radius = torch.empty(1).uniform_(0.1, 2.0).item()
            wanted = image.filter(ImageFilter.GaussianBlur(radius))
        else:
            wanted = image
        assert np.array_equal(ours.permute(1, 2, 0).numpy(), np.asarray(wanted))
    assert 10 < blurred < 40


def test_what_is_no_radius_is_refused() -> None:
    with pytest.raises(ArgumentError, match=r"radius must be \(min, max\) with 0 <= min <= max <= 10000, got \(2, 1\)"):
        PillowGaussianBlur((2, 1))
    with pytest.raises(ArgumentError, match="got -1"):
        PillowGaussianBlur(-1)
    for wrong in ("2", (1, 2, 3), (1, None)):
        with pytest.raises(ArgumentTypeError, match="radius must be a number or two numbers"):
            PillowGaussianBlur(wrong)  # type: ignore[arg-type]
