"""The C++ compiler makes libraries, which are kept."""

import ctypes
import shlex
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
@pytest.mark.parametrize("room", ["elsewhere", "nowhere"])
def test_a_full_disk(fresh: Pythons, tmp_path: Path, room: str) -> None:
    """Another folder serves; where there is none, the error says what to do. Nothing that is half written is left."""
    full, cache = tmp_path / "full", tmp_path / ("full" if room == "elsewhere" else "full too")
    compiler = tmp_path / "compiler"
    compiler.write_text(FULL_DISK.format(real=shlex.join(compilers.compiler() or []), full=full))
    compiler.chmod(compiler.stat().st_mode | stat.S_IXUSR)
    folder = tmp_path if room == "elsewhere" else full
    folder.mkdir(exist_ok=True)
    run = fresh.run(SOURCE, GPULOAD_CACHE=str(cache), TMPDIR=str(folder), CXX=str(compiler))
    if room == "elsewhere":
        assert run.returncode == 0, run.stderr
        assert Path(run.stdout.strip()).parent.parent == tmp_path
    else:
        assert run.returncode == 1
        assert f"MissingError: gpuload's kernels cannot be compiled into {cache} or {full}/gpuload-" in run.stderr
        assert "make room there, or set GPULOAD_CACHE to a folder that has some: [Errno 28]" in run.stderr
        assert "final link failed: No space left on device" in run.stderr
    assert [path for path in tmp_path.rglob("*") if path.suffix in (".so", ".o", ".s")] == []


FULL_DISK = """#!/bin/sh
case "$*" in
*" -o {full}"*) echo "/usr/bin/ld: final link failed: No space left on device" >&2; exit 1;;
*) exec {real} "$@";;
esac
"""


@needs_compiler
@pytest.mark.parametrize("left", [0, 10, 1000, -1])
def test_a_library_that_a_crash_left_half_written_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, left: int
) -> None:
    monkeypatch.setenv("GPULOAD_CACHE", str(tmp_path / "cache"))
    source = tmp_path / "n.cpp"
    source.write_text('extern "C" __attribute__((visibility("default"))) int n() { return 7; }')
    built = compilers.build(source)
    whole = built.read_bytes()
    built.write_bytes(whole[:left])
    assert compilers.build(source) == built
    assert ctypes.CDLL(str(built)).n() == 7
    assert compilers._is_whole(built)


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
