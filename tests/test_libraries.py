"""Native code from the wheel or from the compiler, or none."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from gpuload import libraries
from gpuload.compilers import compiler
from tests.fresh import Pythons

needs_compiler = pytest.mark.skipif(compiler() is None, reason="no C++ compiler")


@needs_compiler
def test_without_nvimagecodec_there_is_no_jpeg_library(fresh: Pythons) -> None:
    hide = "import sys; sys.modules['nvidia'] = None; from gpuload import libraries; print(libraries.jpeg_library())"
    run = fresh.run(hide)
    assert run.returncode == 0, run.stderr
    assert run.stdout.strip() == "None"


@needs_compiler
def test_an_nvimagecodec_that_does_not_serve_is_warned_of(fresh: Pythons, tmp_path: Path) -> None:
    folder = tmp_path / "nvimgcodec"
    (folder / "include").mkdir(parents=True)
    (folder / "include" / "nvimgcodec.h").write_text("#error too new")
    code = f"""
import pathlib, warnings
from gpuload import libraries
libraries._image_codec = lambda: pathlib.Path({str(folder)!r})
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    print(libraries.jpeg_library(), libraries.host_library() is not None, caught[0].message)
"""
    run = fresh.run(code)
    assert run.returncode == 0, run.stderr
    assert run.stdout.startswith("None True JPEGs are decoded by Pillow, for nvImageCodec cannot be used")
    assert "too new" in run.stdout


@needs_compiler
def test_many_threads_get_the_same_library() -> None:
    with ThreadPoolExecutor(8) as pool:
        assert len({id(library) for library in pool.map(lambda _: libraries.host_library(), range(64))}) == 1


def test_no_compiler_is_none(fresh: Pythons) -> None:
    run = fresh.run("from gpuload import libraries; print(libraries.host_library())", CXX="no-such-compiler")
    assert run.returncode == 0, run.stderr
    assert run.stdout.strip() == "None"
