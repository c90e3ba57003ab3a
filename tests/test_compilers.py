"""Both compilers take every kernel: NVRTC for each architecture, with no GPU; C++ into a cached library."""

import os
import re
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from gpuload import compilers
from gpuload.errors import MissingError

KERNELS = sorted(path.name for path in compilers.kernel_folder().glob("*.cu"))
ARCHITECTURES = ["sm_75", "sm_80", "sm_86", "sm_89", "sm_90", "sm_100", "sm_120"]
MOST_REGISTERS = 64  # 256 threads a block: four blocks an SM
MOST_SHARED = 32 * 1024  # bytes a block


def nvrtc_log(name: str, architecture: str) -> str:
    """Compile a kernel to machine code and return the assembler's report."""
    nvrtc = pytest.importorskip("cupy_backends.cuda.libs.nvrtc", exc_type=ImportError)
    source = (compilers.kernel_folder() / name).read_text()
    program = nvrtc.createProgram(source, name, [], [])
    options = [*compilers.nvrtc_options(), f"--gpu-architecture={architecture}", "--ptxas-options=-v"]
    try:
        nvrtc.compileProgram(program, options)
    except Exception:
        pytest.fail(nvrtc.getProgramLog(program))
    assert nvrtc.getCUBIN(program)
    return str(nvrtc.getProgramLog(program))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("name", KERNELS)
def test_nvrtc_compiles_within_budget(name: str, architecture: str) -> None:
    log = nvrtc_log(name, architecture)
    registers = [int(n) for n in re.findall(r"Used (\d+) registers", log)]
    spills = [int(n) for n in re.findall(r"(\d+) bytes spill", log)]
    shared = [int(n) for n in re.findall(r"(\d+) bytes smem", log)]
    assert registers, log
    assert max(registers) <= MOST_REGISTERS, log
    assert not any(spills), log
    assert all(size <= MOST_SHARED for size in shared), log


def test_every_kernel_is_entered_by_its_file_name() -> None:
    """`cuda_kernel("gather_16", ...)` looks in gather.cu."""
    for name in KERNELS:
        source = (compilers.kernel_folder() / name).read_text()
        entries = re.findall(r"GPULOAD_KERNEL (\w+)\(", source)
        assert entries
        assert all(entry.startswith(Path(name).stem + "_") for entry in entries)


def in_fresh_process(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    variables = {**os.environ, **environment}
    command = [sys.executable, "-W", "error", "-c", code]
    return subprocess.run(command, capture_output=True, text=True, env=variables, timeout=120)


LOAD = "from gpuload import compilers; print(compilers.host_library())"


@pytest.mark.skipif(compilers.compiler() is None, reason="no C++ compiler")
def test_the_library_is_built_once(tmp_path: Path) -> None:
    first = in_fresh_process(LOAD, GPULOAD_CACHE=str(tmp_path))
    assert first.returncode == 0, first.stderr
    (built,) = tmp_path.glob("*.so")
    stamp = built.stat().st_mtime_ns
    assert in_fresh_process(LOAD, GPULOAD_CACHE=str(tmp_path)).returncode == 0
    assert built.stat().st_mtime_ns == stamp


@pytest.mark.skipif(compilers.compiler() is None, reason="no C++ compiler")
def test_a_cache_that_cannot_be_written_is_no_obstacle(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    run = in_fresh_process(LOAD, GPULOAD_CACHE=str(file / "below"))
    assert run.returncode == 0, run.stderr
    assert "CDLL" in run.stdout


def test_no_compiler_is_none() -> None:
    run = in_fresh_process(LOAD, CXX="no-such-compiler")
    assert run.returncode == 0, run.stderr
    assert run.stdout.strip() == "None"


def test_a_compiler_that_fails_says_what_it_said(tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    broken.write_text("#!/bin/sh\necho the disk is full of bees >&2\nexit 1\n")
    broken.chmod(broken.stat().st_mode | stat.S_IXUSR)
    run = in_fresh_process(LOAD, CXX=str(broken), GPULOAD_CACHE=str(tmp_path / "cache"))
    assert run.returncode == 1
    assert "MissingError: the C++ compiler failed on gpuload's kernels" in run.stderr
    assert "the disk is full of bees" in run.stderr


def test_without_cupy_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cupy", None)
    with pytest.raises(MissingError, match=r'needs CuPy.*: pip install "gpuload\[cuda13\]"'):
        compilers.cupy()
