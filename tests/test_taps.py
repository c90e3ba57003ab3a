"""Taps made in numpy, in C++ and by Pillow are the same."""

import random
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from gpuload import taps
from gpuload.compilers import host_library
from gpuload.geometry import fold
from gpuload.steps import Filter, Resize
from tests.recipes import random_picture, random_recipe

needs_compiler = pytest.mark.skipif(host_library() is None, reason="no C++ compiler")


@needs_compiler
@pytest.mark.parametrize("seed", range(4))
def test_numpy_equals_the_kernels(seed: int) -> None:
    rng = random.Random(seed)
    for _ in range(60):
        height, width = random_picture(rng).shape[:2]
        geometry = fold(random_recipe(rng, height, width), height, width)
        if geometry is None:
            continue
        for axis in (geometry.x, geometry.y):
            in_numpy, in_cpp = taps.rows_numpy(axis, geometry.filter), taps.rows(axis, geometry.filter)
            for one, other in zip(in_numpy, in_cpp, strict=True):
                assert np.array_equal(one[: 2 + one[1]], other[: 2 + other[1]]), (axis, geometry.filter)


@pytest.mark.parametrize("kernel_filter", [Filter.BOX, Filter.BILINEAR, Filter.BICUBIC])
def test_the_kernel_makes_short_rows_itself(kernel_filter: Filter) -> None:
    near, far = (fold((_resize(size, kernel_filter),), 1000, 1000) for size in (900, 10))
    assert near is not None
    assert far is not None
    assert not taps.needs_host(near.x, near.filter, 32)
    assert taps.needs_host(far.x, far.filter, 32)


@pytest.mark.parametrize("host_filter", [Filter.NEAREST, Filter.HAMMING, Filter.LANCZOS])
def test_sines_and_running_sums_stay_on_the_host(host_filter: Filter) -> None:
    geometry = fold((_resize(90, host_filter),), 100, 100)
    assert geometry is not None
    assert taps.needs_host(geometry.x, geometry.filter, 32)


def test_an_axis_that_keeps_its_size_needs_no_taps() -> None:
    geometry = fold((_resize(100, Filter.LANCZOS),), 100, 100)
    assert geometry is not None
    assert not taps.needs_host(geometry.x, geometry.filter, 32)


@needs_compiler
def test_many_threads_make_taps_at_once() -> None:
    """The compiled code runs without Python's lock, on memory that must stay."""
    axes = [fold((_resize(size, Filter.LANCZOS),), 300, 300) for size in range(40, 80)]
    jobs = [(geometry.x, geometry.filter) for geometry in axes if geometry is not None] * 25
    wanted = {axis: taps.rows(axis, kernel_filter) for axis, kernel_filter in jobs}
    with ThreadPoolExecutor(8) as threads:
        made = list(threads.map(lambda job: taps.rows(*job), jobs))
    for (axis, _), rows in zip(jobs, made, strict=True):
        assert np.array_equal(rows, wanted[axis])


def _resize(size: int, kernel_filter: Filter) -> Resize:
    return Resize(size, size, kernel_filter)
