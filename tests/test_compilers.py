"""The C++ compiler makes libraries, which are kept."""

import ctypes
import stat
from pathlib import Path

import pytest

from gpuload import compilers
from tests.fresh import Pythons

QUICKLY = "from gpuload import compilers, libraries; compilers.FLAGS = ('-O0', *compilers.FLAGS[1:])"
LOAD = "from gpuload import libraries; print(libraries.host_library())"


needs_compiler = pytest.mark.skipif(compilers.compiler() is None, reason="no C++ compiler")


@needs_compiler
def test_libraries_are_built_once_and_kept_where_nothing_can_be_written(fresh: Pythons, tmp_path: Path) -> None:
    code = f"{QUICKLY}; print(libraries.host_library(), libraries.jpeg_library())"
    first = fresh.run(code, GPULOAD_CACHE=str(tmp_path))
    assert first.returncode == 0, first.stderr
    built = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*.so")}
    assert len(built) == first.stdout.count("CDLL") > 0
    tmp_path.chmod(0o555)
    again = fresh.run(code, GPULOAD_CACHE=str(tmp_path))
    assert again.returncode == 0, again.stderr
    assert again.stdout.count(str(tmp_path)) == len(built)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.glob("*.so")} == built


@needs_compiler
@pytest.mark.parametrize("environment", [{}, {"NOEXEC": "1"}])
def test_a_cache_that_does_not_serve_is_no_obstacle(
    fresh: Pythons, tmp_path: Path, environment: dict[str, str]
) -> None:
    """One that cannot be written, and one on a disk mounted noexec: a temporary folder, gone afterwards."""
    file = tmp_path / "file"
    file.touch()
    folder = tmp_path / "noexec" if environment else file / "below"
    run = fresh.run(NOEXEC + SOURCE, GPULOAD_CACHE=str(folder), TMPDIR=str(tmp_path), SERVES="1", **environment)
    assert run.returncode == 0, run.stderr
    library = Path(run.stdout.strip())
    assert library.parent.parent == tmp_path
    assert not library.parent.exists()


@needs_compiler
def test_no_folder_at_all_says_what_to_set(fresh: Pythons, tmp_path: Path) -> None:
    folder = str(tmp_path / "noexec")
    run = fresh.run(NOEXEC + SOURCE, GPULOAD_CACHE=folder, TMPDIR=str(tmp_path), NOEXEC="1")
    assert run.returncode == 1
    assert "MissingError: compiled code cannot be kept in" in run.stderr
    assert "set GPULOAD_CACHE" in run.stderr


NOEXEC = """
import os
from types import SimpleNamespace
if os.environ.get("NOEXEC"):
    noexec = lambda folder: "noexec" in str(folder) or not os.environ.get("SERVES")
    os.statvfs = lambda folder: SimpleNamespace(f_flag=os.ST_NOEXEC if noexec(folder) else 0)
"""
SOURCE = """
import ctypes, pathlib, tempfile
from gpuload import compilers
with tempfile.TemporaryDirectory() as folder:
    source = pathlib.Path(folder) / "one.cpp"
    visible = 'extern "C" __attribute__((visibility("default")))'
    source.write_text(f'#include "weights.cuh"\\n{visible} int one() {{ return ONE; }}')
    built = compilers.build(source)
assert ctypes.CDLL(str(built)).one() == 1 << 22
print(built)
"""


@needs_compiler
def test_a_changed_source_is_another_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GPULOAD_CACHE", str(tmp_path / "cache"))
    headers = tmp_path / "headers"
    headers.mkdir()
    source = tmp_path / "n.cpp"
    source.write_text('#include "n.h"\nextern "C" __attribute__((visibility("default"))) int n() { return N; }')
    for n in (1, 2, 1):
        (headers / "n.h").write_text(f"#define N {n}")
        assert ctypes.CDLL(str(compilers.build(source, f"-I{headers}"))).n() == n
    assert len(list((tmp_path / "cache").glob("n-*.so"))) == 2


def test_a_compiler_that_fails_says_what_it_said(fresh: Pythons, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    broken.write_text("#!/bin/sh\necho the disk is full of bees >&2\nexit 1\n")
    broken.chmod(broken.stat().st_mode | stat.S_IXUSR)
    run = fresh.run(LOAD, CXX=str(broken), GPULOAD_CACHE=str(tmp_path / "cache"))
    assert run.returncode == 1
    assert "MissingError: the C++ compiler failed on gpuload's kernels" in run.stderr
    assert "the disk is full of bees" in run.stderr
