"""Both compilers take every kernel: NVRTC for each architecture, with no GPU; C++ into a cached library."""

import ctypes
import os
import re
import stat
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from gpuload import compilers
from gpuload.errors import MissingError
from tests.fresh import Pythons

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


QUICKLY = "from gpuload import compilers; compilers.FLAGS = ('-O0', *compilers.FLAGS[1:])"
LOAD = "from gpuload import compilers; print(compilers.host_library())"


needs_compiler = pytest.mark.skipif(compilers.compiler() is None, reason="no C++ compiler")


@needs_compiler
def test_libraries_are_built_once_and_kept_where_nothing_can_be_written(fresh: Pythons, tmp_path: Path) -> None:
    code = f"{QUICKLY}; print(compilers.host_library(), compilers.jpeg_library())"
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


@needs_compiler
def test_without_nvimagecodec_there_is_no_jpeg_library(fresh: Pythons) -> None:
    hide = "import sys; sys.modules['nvidia'] = None; from gpuload import compilers; print(compilers.jpeg_library())"
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
from gpuload import compilers
compilers._image_codec = lambda: pathlib.Path({str(folder)!r})
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    print(compilers.jpeg_library(), compilers.host_library() is not None, caught[0].message)
"""
    run = fresh.run(code)
    assert run.returncode == 0, run.stderr
    assert run.stdout.startswith("None True JPEGs are decoded by Pillow, for nvImageCodec cannot be used")
    assert "too new" in run.stdout


@needs_compiler
def test_many_threads_get_the_same_library() -> None:
    with ThreadPoolExecutor(8) as pool:
        assert len({id(library) for library in pool.map(lambda _: compilers.host_library(), range(64))}) == 1


def test_no_compiler_is_none(fresh: Pythons) -> None:
    run = fresh.run(LOAD, CXX="no-such-compiler")
    assert run.returncode == 0, run.stderr
    assert run.stdout.strip() == "None"


def test_a_compiler_that_fails_says_what_it_said(fresh: Pythons, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    broken.write_text("#!/bin/sh\necho the disk is full of bees >&2\nexit 1\n")
    broken.chmod(broken.stat().st_mode | stat.S_IXUSR)
    run = fresh.run(LOAD, CXX=str(broken), GPULOAD_CACHE=str(tmp_path / "cache"))
    assert run.returncode == 1
    assert "MissingError: the C++ compiler failed on gpuload's kernels" in run.stderr
    assert "the disk is full of bees" in run.stderr


def test_without_cupy_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cupy", None)
    with pytest.raises(MissingError, match=r'needs CuPy.*: pip install "gpuload\[cuda13\]"'):
        compilers.cupy.__wrapped__()  # type: ignore[attr-defined]


COMPILE = """
import os, pathlib
from gpuload import compilers
cupy = compilers.cupy()
from cupy_backends.cuda.libs import nvrtc
source = (compilers.kernel_folder() / "order.cu").read_text()
program = nvrtc.createProgram(source, "order.cu", [], [])
nvrtc.compileProgram(program, [*compilers.nvrtc_options(), "--gpu-architecture=sm_90"])
kept = cupy.cuda.compiler._kernel_cache_backend
kept.save("order.cubin", nvrtc.getCUBIN(program), source)
assert len(kept.load("order.cubin")) > 1000
print(os.environ.get("CUPY_CACHE_DIR"))
"""


def test_cupy_needs_no_home(fresh: Pythons, tmp_path: Path) -> None:
    """Its import fails where it cannot make its cache folder: it gets another; kernels compile and are kept there."""
    pytest.importorskip("cupy_backends.cuda.libs.nvrtc", exc_type=ImportError)
    (tmp_path / "home").touch()  # no folder can be made in it, not even by root
    environment = {"HOME": str(tmp_path / "home"), "GPULOAD_CACHE": str(tmp_path / "cache")}
    code = f"import os; os.environ.pop('CUPY_CACHE_DIR', None){COMPILE}"
    run = fresh.run(code, **environment)
    assert run.returncode == 0, run.stderr
    kept = tmp_path / "cache" / "cupy"
    assert run.stdout.strip() == str(kept)
    assert (kept / "order.cubin").exists()


def test_a_cupy_cache_that_cannot_be_written_is_replaced(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """CuPy would import, and fail when it has compiled the first kernel."""
    cupy = ModuleType("cupy")
    monkeypatch.setenv("GPULOAD_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("CUPY_CACHE_DIR", str(tmp_path / "read-only"))
    monkeypatch.setattr(compilers.os, "access", lambda path, mode: "read-only" not in str(path))
    monkeypatch.setattr(compilers.importlib, "import_module", lambda name: cupy)
    assert compilers.cupy.__wrapped__() is cupy  # type: ignore[attr-defined]
    assert os.environ["CUPY_CACHE_DIR"] == str(tmp_path / "cache" / "cupy")


# ---- kernels that CuPy cannot compile ----


class CUDARuntimeError(RuntimeError):
    pass


class CUDADriverError(RuntimeError):
    pass


class CompileException(Exception):  # of Exception alone, as CuPy's
    pass


@pytest.fixture
def failing_cupy(monkeypatch: pytest.MonkeyPatch) -> Callable[[Exception], None]:
    """Let CuPy raise an error where it compiles."""

    def fail(error: Exception) -> None:
        def compiled(**options: object) -> None:
            raise error

        cuda = SimpleNamespace(
            runtime=SimpleNamespace(CUDARuntimeError=CUDARuntimeError, getDevice=lambda: 0),
            driver=SimpleNamespace(CUDADriverError=CUDADriverError),
            compiler=SimpleNamespace(CompileException=CompileException),
        )
        monkeypatch.setattr(compilers, "cupy", lambda: SimpleNamespace(cuda=cuda, RawModule=compiled))
        compilers.cuda_kernel.cache_clear()

    return fail


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("Failed to find CUDA headers. Please install CUDA toolkit headers (cupy-cuda12x[ctk])"),
        RuntimeError("Failure finding libnvrtc.so: no such file"),
        OSError("libnvrtc-builtins.so.13.0: cannot open shared object file"),
        CompileException("nvrtc: error: invalid value for --gpu-architecture (-arch)"),
    ],
    ids=["headers", "NVRTC", "its parts", "an old one"],
)
def test_what_is_missing_to_compile_comes_with_the_command(
    error: Exception, failing_cupy: Callable[[Exception], None]
) -> None:
    failing_cupy(error)
    with pytest.raises(MissingError) as caught:
        compilers.cuda_kernel("render_4", 0)
    said = f"CuPy cannot compile gpuload's kernels ({error}): {compilers.INSTALL_CUDA}"
    assert str(caught.value) == said and caught.value.__cause__ is error


@pytest.mark.parametrize("kind", [CUDARuntimeError, CUDADriverError])
def test_what_the_gpu_says_is_no_missing_package(
    kind: type[Exception], failing_cupy: Callable[[Exception], None]
) -> None:
    failing_cupy(kind("out of memory"))
    with pytest.raises(kind, match="out of memory"):
        compilers.cuda_kernel("render_4", 0)


def test_cupy_has_the_errors_that_are_told_apart() -> None:
    pytest.importorskip("cupy_backends.cuda.libs.nvrtc", exc_type=ImportError)
    cuda = compilers.cupy().cuda
    assert issubclass(cuda.runtime.CUDARuntimeError, RuntimeError)
    assert issubclass(cuda.driver.CUDADriverError, RuntimeError)
    assert issubclass(cuda.compiler.CompileException, Exception)


NO_HEADERS = """
import cuda.pathfinder
cuda.pathfinder.find_nvidia_header_directory = lambda name: None
from gpuload import compilers
try:
    compilers.cupy()._core.core.assemble_cupy_compiler_options(())
except RuntimeError as error:
    print(error)
"""


def test_cupy_raises_a_runtime_error_where_headers_are_missing(fresh: Pythons) -> None:
    pytest.importorskip("cupy_backends.cuda.libs.nvrtc", exc_type=ImportError)
    run = fresh.run(f"import os; os.environ.pop('CUDA_PATH', None){NO_HEADERS}")
    assert run.returncode == 0, run.stderr
    assert run.stdout.startswith("Failed to find CUDA headers")
