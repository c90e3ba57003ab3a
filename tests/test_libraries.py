"""Native code from the wheel or from the compiler, or none."""

import ast
import re
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata
from pathlib import Path

import pytest

from gpuload import libraries
from gpuload.compilers import compiler, kernel_folder
from gpuload.libraries import host_library
from tests.fresh import Pythons

needs_compiler = pytest.mark.skipif(compiler() is None, reason="no C++ compiler")


@needs_compiler
def test_without_nvimagecodec_there_is_no_jpeg_library(fresh: Pythons) -> None:
    hide = "import sys; sys.modules['nvidia'] = None; from gpuload import libraries; print(libraries.jpeg_library())"
    run = fresh.run(hide)
    assert run.returncode == 0, run.stderr
    assert run.stdout.strip() == "None"


@pytest.mark.parametrize("package", libraries.CODECS)
def test_nvimagecodec_for_either_cuda_has_a_version(monkeypatch: pytest.MonkeyPatch, package: str) -> None:
    def version(name: str) -> str:
        if name != package:
            raise metadata.PackageNotFoundError(name)
        return "9.9"

    monkeypatch.setattr(metadata, "version", version)
    assert libraries.codec_version() == "9.9"


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


# ---- from the wheel ----

FLAGS = {
    "Nehalem": "flags : fpu cx16 lahf_lm popcnt sse4_1 sse4_2 ssse3",
    "Haswell": "flags : avx2 bmi1 bmi2 f16c fma abm movbe cx16 lahf_lm popcnt sse4_1 sse4_2 ssse3",
    "Core 2": "flags : fpu cx16 lahf_lm ssse3",
}


@pytest.fixture
def wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package with a library for each level; the files are empty."""
    built = tmp_path / "built"
    built.mkdir()
    for levels in libraries.LEVELS.values():
        for level in levels:
            (built / f"host-{level}.so").touch()
    monkeypatch.setattr(libraries, "kernel_folder", lambda: tmp_path)
    return built


@pytest.mark.parametrize(
    ("machine", "processor", "level"),
    [
        ("x86_64", "Haswell", "x86_64_v3"),
        ("x86_64", "Nehalem", "x86_64_v2"),
        ("x86_64", "Core 2", None),
        ("aarch64", "Nehalem", "generic"),
        ("riscv64", "Haswell", None),
    ],
)
def test_the_fastest_level_that_the_processor_has(
    wheel: Path, monkeypatch: pytest.MonkeyPatch, machine: str, processor: str, level: str | None
) -> None:
    monkeypatch.setattr(libraries.platform, "machine", lambda: machine)
    monkeypatch.setattr(libraries, "processor", lambda: FLAGS[processor])
    assert libraries.shipped("host") == (wheel / f"host-{level}.so" if level else None)
    assert libraries.shipped("jpeg") is None  # no such files


def test_a_level_that_is_not_in_the_wheel_is_another_ones(wheel: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(libraries.platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(libraries, "processor", lambda: FLAGS["Haswell"])
    (wheel / "host-x86_64_v3.so").unlink()
    assert libraries.shipped("host") == wheel / "host-x86_64_v2.so"


def test_the_build_makes_the_levels_that_are_looked_for() -> None:
    source = (kernel_folder().parent / "hatch_build.py").read_text()
    (made,) = re.findall(r"^LEVELS = (.*?)  #", source, re.MULTILINE)
    assert {machine: set(levels) for machine, levels in ast.literal_eval(made).items()} == {
        machine: set(levels) for machine, levels in libraries.LEVELS.items()
    }


@needs_compiler
def test_what_came_in_the_wheel_is_not_compiled(fresh: Pythons, tmp_path: Path) -> None:
    """A library of the user's cache serves here as one of the wheel's."""
    built = host_library()
    assert built is not None
    code = f"""
import pathlib
from gpuload import libraries
libraries.shipped = lambda stem: pathlib.Path({built._name!r}) if stem == "host" else None
print(libraries.host_library())
"""
    run = fresh.run(code, GPULOAD_CACHE=str(tmp_path / "cache"), CXX="no-compiler")
    assert run.returncode == 0, run.stderr
    assert built._name in run.stdout
    assert not (tmp_path / "cache").exists()
