"""NVRTC takes every kernel, for each architecture, with no GPU; and what CuPy says where it cannot."""

import errno
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from gpuload import nvrtc
from gpuload.compilers import kernel_folder
from gpuload.errors import MissingError
from tests.fresh import Pythons

KERNELS = sorted(path.name for path in kernel_folder().glob("*.cu"))
ARCHITECTURES = ["sm_75", "sm_80", "sm_86", "sm_89", "sm_90", "sm_100", "sm_120"]
MOST_REGISTERS = 64  # 256 threads a block: four blocks an SM
MOST_SHARED = 32 * 1024  # bytes a block


def nvrtc_log(name: str, architecture: str) -> str:
    """Compile a kernel to machine code and return the assembler's report."""
    backend = pytest.importorskip("cupy_backends.cuda.libs.nvrtc", exc_type=ImportError)
    source = (kernel_folder() / name).read_text()
    program = backend.createProgram(source, name, [], [])
    options = [*nvrtc.nvrtc_options(), f"--gpu-architecture={architecture}", "--ptxas-options=-v"]
    try:
        backend.compileProgram(program, options)
    except Exception:
        pytest.fail(backend.getProgramLog(program))
    assert backend.getCUBIN(program)
    return str(backend.getProgramLog(program))


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
        source = (kernel_folder() / name).read_text()
        entries = re.findall(r"GPULOAD_KERNEL (\w+)\(", source)
        assert entries
        assert all(entry.startswith(Path(name).stem + "_") for entry in entries)


def test_without_cupy_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cupy", None)
    with pytest.raises(MissingError, match=r'needs CuPy.*: pip install "gpuload\[cuda13\]"'):
        nvrtc.cupy.__wrapped__()  # type: ignore[attr-defined]


COMPILE = """
from gpuload import nvrtc
from gpuload.compilers import kernel_folder
import os
cupy = nvrtc.cupy()
from cupy_backends.cuda.libs import nvrtc as backend
source = (kernel_folder() / "order.cu").read_text()
program = backend.createProgram(source, "order.cu", [], [])
backend.compileProgram(program, [*nvrtc.nvrtc_options(), "--gpu-architecture=sm_90"])
kept = cupy.cuda.compiler._kernel_cache_backend
kept.save("order.cubin", backend.getCUBIN(program), source)
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


READ_ONLY = """
import os
from types import SimpleNamespace
os.statvfs = lambda folder: SimpleNamespace(f_flag=os.ST_NOEXEC)
"""


def test_cupy_needs_no_folder_that_runs_code(fresh: Pythons, tmp_path: Path) -> None:
    """As in a container with a read-only root and a noexec /tmp: what NVRTC makes is no library."""
    pytest.importorskip("cupy_backends.cuda.libs.nvrtc", exc_type=ImportError)
    (tmp_path / "home").touch()
    home = str(tmp_path / "home")
    code = f"import os; os.environ.pop('CUPY_CACHE_DIR', None){READ_ONLY}{COMPILE}"
    run = fresh.run(code, HOME=home, XDG_CACHE_HOME=home, GPULOAD_CACHE="", TMPDIR=str(tmp_path))
    assert run.returncode == 0, run.stderr
    kept = Path(run.stdout.strip())
    assert kept.name == "cupy" and kept.parent.parent == tmp_path
    assert not kept.exists()  # it was this process's


def test_a_cupy_cache_that_cannot_be_written_is_replaced(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """CuPy would import, and fail when it has compiled the first kernel."""
    cupy = ModuleType("cupy")
    monkeypatch.setenv("GPULOAD_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("CUPY_CACHE_DIR", str(tmp_path / "read-only"))
    monkeypatch.setattr(nvrtc.os, "access", lambda path, mode: "read-only" not in str(path))
    monkeypatch.setattr(nvrtc.importlib, "import_module", lambda name: cupy)
    assert nvrtc.cupy.__wrapped__() is cupy  # type: ignore[attr-defined]
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
        monkeypatch.setattr(nvrtc, "cupy", lambda: SimpleNamespace(cuda=cuda, RawModule=compiled))
        nvrtc.cuda_kernel.cache_clear()

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
        nvrtc.cuda_kernel("render_4", 0)
    said = f"CuPy cannot compile gpuload's kernels ({error}): {nvrtc.INSTALL_CUDA}"
    assert str(caught.value) == said and caught.value.__cause__ is error


def test_a_full_disk_is_no_missing_package(
    failing_cupy: Callable[[Exception], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUPY_CACHE_DIR", "/full")
    failing_cupy(OSError(errno.ENOSPC, "No space left on device"))
    text = (
        r"CuPy cannot keep gpuload's kernels in /full \(.*No space left on device\): make room there, or set CUPY_CACHE"
    )
    with pytest.raises(MissingError, match=text):
        nvrtc.cuda_kernel("render_4", 0)


@pytest.mark.parametrize("kind", [CUDARuntimeError, CUDADriverError])
def test_what_the_gpu_says_is_no_missing_package(
    kind: type[Exception], failing_cupy: Callable[[Exception], None]
) -> None:
    failing_cupy(kind("out of memory"))
    with pytest.raises(kind, match="out of memory"):
        nvrtc.cuda_kernel("render_4", 0)


def test_cupy_has_the_errors_that_are_told_apart() -> None:
    pytest.importorskip("cupy_backends.cuda.libs.nvrtc", exc_type=ImportError)
    cuda = nvrtc.cupy().cuda
    assert issubclass(cuda.runtime.CUDARuntimeError, RuntimeError)
    assert issubclass(cuda.driver.CUDADriverError, RuntimeError)
    assert issubclass(cuda.compiler.CompileException, Exception)


NO_HEADERS = """
import cuda.pathfinder
cuda.pathfinder.find_nvidia_header_directory = lambda name: None
from gpuload import nvrtc
try:
    nvrtc.cupy()._core.core.assemble_cupy_compiler_options(())
except RuntimeError as error:
    print(error)
"""


def test_cupy_raises_a_runtime_error_where_headers_are_missing(fresh: Pythons) -> None:
    pytest.importorskip("cupy_backends.cuda.libs.nvrtc", exc_type=ImportError)
    run = fresh.run(f"import os; os.environ.pop('CUDA_PATH', None){NO_HEADERS}")
    assert run.returncode == 0, run.stderr
    assert run.stdout.startswith("Failed to find CUDA headers")
