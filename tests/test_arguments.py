"""Checked arguments: what comes back is plain, and what is refused is named."""

from typing import Any

import numpy as np
import pytest
import torch

from gpuload import arguments
from gpuload.errors import ArgumentError, ArgumentTypeError


@pytest.mark.parametrize(
    ("padding", "sides"), [(3, (3, 3, 3, 3)), ([4], (4, 4, 4, 4)), ((1, 2), (1, 2, 1, 2)), ((1, 2, 3, 4), (1, 2, 3, 4))]
)
def test_margins_are_torchvisions(padding: Any, sides: tuple[int, ...]) -> None:
    from torchvision.transforms.v2.functional._geometry import _parse_pad_padding

    left, right, top, bottom = _parse_pad_padding(padding)
    assert arguments.margins(padding) == sides == (left, top, right, bottom)


@pytest.mark.parametrize(
    ("fill", "color"), [(None, (0, 0, 0)), (7, (7, 7, 7)), ([9.0], (9, 9, 9)), ((1, 2, 3), (1, 2, 3))]
)
def test_colors(fill: Any, color: tuple[int, int, int]) -> None:
    assert arguments.color(fill) == color


@pytest.mark.parametrize(("size", "plain"), [(5, (5, 5)), ([5], (5, 5)), ((4, 6), (4, 6)), (np.int32(3), (3, 3))])
def test_pairs(size: Any, plain: tuple[int, int]) -> None:
    checked = arguments.pair("size", size)
    assert checked == plain
    assert all(type(one) is int for one in checked)


def test_a_probability_is_compared_as_float32() -> None:
    assert arguments.probability(0.5) == 0.5
    assert arguments.probability(0.7) == float(np.float32(0.7)) != 0.7


def test_a_seed_is_kept_or_drawn() -> None:
    assert arguments.seed_or_new(2**64 - 1) == 2**64 - 1
    generator = torch.Generator().manual_seed(1)
    first = arguments.seed_or_new(None, generator)
    assert first != arguments.seed_or_new(None, generator)
    assert first == arguments.seed_or_new(None, generator.manual_seed(1))


@pytest.mark.parametrize(
    ("call", "kind", "text"),
    [
        (lambda: arguments.at_least("batch_size", 0, 1), ArgumentError, "batch_size must be at least 1, got 0"),
        (lambda: arguments.at_least("n", True, 1), ArgumentTypeError, r"n must be an int, got True \(bool\)"),
        (lambda: arguments.pair("size", "ab"), ArgumentError, r"size must be an int or \(height, width\), got 'ab'"),
        (lambda: arguments.probability(float("nan")), ArgumentTypeError, "p must be a number, got nan"),
        (lambda: arguments.range_of("scale", (0.0, 0.0), 0.0), ArgumentError, r"scale must be \(min, max\)"),
        (lambda: arguments.margins("1"), ArgumentError, "padding must be an int, or 1, 2 or 4 of them, got '1'"),
        (lambda: arguments.margins((1, 2.5)), ArgumentTypeError, r"padding must be an int, got 2\.5 \(float\)"),
        (lambda: arguments.color(1.5), ArgumentError, "fill must be integers from 0 to 255, got 1.5"),
        (lambda: arguments.seed_or_new(-1), ArgumentError, r"seed must be from 0 to 2\^64 - 1, got -1"),
        (lambda: arguments.epoch_number(1 << 32), ArgumentError, r"epoch must be from 0 to 2\^32 - 1, got 4294967296"),
        (lambda: arguments.epoch_number("1"), ArgumentTypeError, "epoch must be an int, got '1'"),
    ],
)
def test_what_is_refused_is_named(call: Any, kind: type[Exception], text: str) -> None:
    with pytest.raises(kind, match=text):
        call()
