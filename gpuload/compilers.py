"""The two compilers of ``kernels/``: the system's C++ compiler for the CPU, CuPy's NVRTC for CUDA.

Both compile on first use. C++ libraries are kept in the user's cache folder under a name made of their
sources, their flags, the compiler and the processor, so that neither a new version nor a shared home folder
can bring a wrong one. This is the only module that imports CuPy.
"""

import atexit
import ctypes
import hashlib
import importlib
import importlib.util
import os
import platform
import shlex
import shutil
import subprocess
import tempfile
import threading
import warnings
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import lru_cache, wraps
from pathlib import Path
from typing import Any, TypeVar

import torch

from gpuload.errors import MissingError
from gpuload.native import declare

__all__ = [
    "build",
    "cache_folder",
    "compiler",
    "cuda_kernel",
    "cupy",
    "host_library",
    "jpeg_library",
    "kernel_folder",
    "launch",
    "nvrtc_options",
]

INSTALL_CUDA = 'pip install "gpuload[cuda13]"'
INSTALL_COMPILER = "apt-get install g++, or set CXX"
FLAGS = ("-O3", "-march=native", "-std=c++17", "-ffp-contract=off", "-fvisibility=hidden", "-shared", "-fPIC")
SOURCES = (".cpp", ".cu", ".cuh", ".h", ".hpp")

_folder_lock = threading.Lock()
Made = TypeVar("Made")


def _once(make: Callable[[], Made]) -> Callable[[], Made]:
    """Make it once, on the first thread that asks; others wait."""
    cached, lock = lru_cache(maxsize=1)(make), threading.Lock()

    @wraps(make)
    def get() -> Made:
        with lock:
            return cached()

    return get


def kernel_folder() -> Path:
    """The folder of the kernel sources: inside the installed package, or beside it in a checkout."""
    here = Path(__file__).resolve().parent
    inside = here / "kernels"
    return inside if inside.is_dir() else here.parent / "kernels"


# ---- C++ ----


def compiler() -> list[str] | None:
    """The C++ compiler and its own arguments: ``$CXX``, else g++, c++ or clang++; None where there is none."""
    wanted = shlex.split(os.environ.get("CXX", ""))
    if wanted:
        return wanted if shutil.which(wanted[0]) else None
    return next(([found] for name in ("g++", "c++", "clang++") if (found := shutil.which(name))), None)


def _wanted_folder() -> Path:
    chosen = os.environ.get("GPULOAD_CACHE")
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return Path(chosen) if chosen else Path(base) / "gpuload"


def cache_folder() -> Path:
    """Where compiled code is kept: ``$GPULOAD_CACHE``, else gpuload's folder in the user's cache folder.

    Where libraries cannot be written there and run from there, a temporary folder of this process.

    Raises:
        MissingError: neither serves.
    """
    folder = _wanted_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        serves = os.access(folder, os.W_OK | os.X_OK) and _runs_code(folder)
    except OSError:
        serves = False
    with _folder_lock:
        return folder if serves else _temporary_folder(folder)


def _runs_code(folder: Path) -> bool:
    """Is the disk not mounted noexec?"""
    return not os.statvfs(folder).f_flag & getattr(os, "ST_NOEXEC", 0)


@lru_cache(maxsize=8)
def _temporary_folder(instead_of: Path) -> Path:
    try:
        folder = Path(tempfile.mkdtemp(prefix="gpuload-"))
        atexit.register(_remove, folder, os.getpid())
        if _runs_code(folder):
            return folder
        problem = f"{folder.parent} is mounted noexec"
    except OSError as error:
        problem = str(error)
    raise MissingError(
        f"compiled code cannot be kept in {instead_of}, which cannot be written or is mounted noexec, nor in a "
        f"temporary folder ({problem}): set GPULOAD_CACHE to a folder that libraries can be written to and run from"
    )


def _remove(folder: Path, owner: int) -> None:
    if os.getpid() == owner:  # not in a forked child
        shutil.rmtree(folder, ignore_errors=True)


def build(source: Path, *flags: str) -> Path:
    """Compile a C++ file, which may include those of ``kernels/``, into a shared library.

    Args:
        source: the file.
        flags: further flags of the compiler; files in folders given by ``-I`` count as sources.

    Returns:
        The library in the `cache_folder`, where it is found again while no source, flag, compiler or processor
        has changed.

    Raises:
        MissingError: no compiler, it failed (the message holds what it said), or no folder for what it makes.
    """
    found = compiler()
    if found is None:
        raise MissingError(f"gpuload's kernels need a C++ compiler: {INSTALL_COMPILER}")
    command = [*found, *FLAGS, f"-I{kernel_folder()}", *flags, str(source)]
    name = f"{source.stem}-{_fingerprint(source, command, tuple(found))}.so"
    kept = _wanted_folder() / name
    if kept.exists() and _runs_code(kept.parent):  # the folder may well be one that only others can write to
        return kept
    target = cache_folder() / name
    if not target.exists():
        _compile(command, target)
    return target


def _fingerprint(source: Path, command: list[str], found: tuple[str, ...]) -> str:
    key = hashlib.sha256()
    for part in (*command, _version(found), _processor(), platform.machine()):
        key.update(part.encode() + b"\0")
    folders = [Path(flag[2:]) for flag in command if flag.startswith("-I")]
    headers = [path for folder in folders for path in sorted(folder.iterdir()) if path.suffix in SOURCES]
    for path in (source, *headers):
        key.update(path.read_bytes())
    return key.hexdigest()[:20]


@lru_cache(maxsize=8)
def _version(found: tuple[str, ...]) -> str:
    command = [*found, "--version"]
    return subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL).stdout


@lru_cache(maxsize=1)
def _processor() -> str:
    """What -march=native depends on."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line for line in lines if line.startswith(("flags", "Features"))), platform.processor())


def _compile(command: list[str], target: Path) -> None:
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        made = Path(folder) / target.name
        run = subprocess.run([*command, "-o", str(made)], capture_output=True, text=True, stdin=subprocess.DEVNULL)
        if run.returncode:
            raise MissingError(
                f"the C++ compiler failed on gpuload's kernels ({shlex.join(command)}):\n{run.stderr[:2000]}"
            )
        os.replace(made, target)  # atomic: another process sees the whole library or none


def _image_codec() -> Path | None:
    """The folder of nvImageCodec, found without importing it."""
    try:
        spec = importlib.util.find_spec("nvidia.nvimgcodec")
    except ImportError:
        return None
    places = spec.submodule_search_locations if spec is not None else None
    return Path(next(iter(places))) if places else None


@_once
def _builds() -> tuple[Future[Path], Future[Path] | None]:
    """Both libraries, compiled side by side."""
    kernels, codec = kernel_folder(), _image_codec()
    with ThreadPoolExecutor(2) as pool:
        host = pool.submit(build, kernels / "host.cpp")
        if codec is None:
            return host, None
        include = f"-I{kernels / 'stub'}", f"-I{codec / 'include'}"
        return host, pool.submit(build, kernels / "jpeg.cpp", *include)


@_once
def host_library() -> ctypes.CDLL | None:
    """``kernels/host.cpp`` compiled for this CPU, its functions declared; None where there is no C++ compiler.

    Raises:
        MissingError: the compiler failed (the message holds what it said), or no folder can hold the library.
    """
    return declare(ctypes.CDLL(str(_builds()[0].result()))) if compiler() is not None else None


@_once
def jpeg_library() -> ctypes.CDLL | None:
    """``kernels/jpeg.cpp``, open and ready; None where nvImageCodec or a C++ compiler is missing.

    Where nvImageCodec is there but cannot be used, a RuntimeWarning says why, and it is None.
    """
    codec = _image_codec()
    if compiler() is None or codec is None:
        return None
    built = _builds()[1]
    assert built is not None
    try:
        library = ctypes.CDLL(str(built.result()))
        _open(library, codec)
    except (MissingError, OSError) as error:
        warnings.warn(f"JPEGs are decoded by Pillow, for nvImageCodec cannot be used: {error}", RuntimeWarning, 2)
        return None
    return library


def _open(library: ctypes.CDLL, codec: Path) -> None:
    core = next(codec.glob("libnvimgcodec.so*"), codec / "libnvimgcodec.so")
    extension = next(codec.glob("extensions/libjpeg_turbo_ext.so*"), codec / "extensions/libjpeg_turbo_ext.so")
    library.gpuload_jpeg_open.argtypes = [ctypes.c_char_p, ctypes.c_char_p]
    failed = library.gpuload_jpeg_open(os.fsencode(core), os.fsencode(extension))
    if failed:
        step = {1: "loading it", 2: "its functions", 3: "its libjpeg-turbo", 4: "its decoder"}
        raise OSError(f"{step[failed]} failed ({core})")
    pointer = ctypes.c_void_p
    library.gpuload_jpeg_decode.argtypes = [pointer, ctypes.c_int64, pointer, pointer, pointer]
    library.gpuload_jpeg_decode.restype = ctypes.c_bool


# ---- CUDA ----


@_once
def cupy() -> Any:
    """The module CuPy.

    Raises:
        MissingError: it is not installed; the message holds the command that installs it.
    """
    if not _cupy_cache_serves():  # its import would fail, and fail in another way when tried again
        os.environ["CUPY_CACHE_DIR"] = str(cache_folder() / "cupy")
    try:
        return importlib.import_module("cupy")
    except (ImportError, OSError) as error:
        raise MissingError(f"the CUDA engine needs CuPy, which does not import ({error}): {INSTALL_CUDA}") from error


def _cupy_cache_serves() -> bool:
    """Can CuPy write to the folder that it would keep compiled kernels in?"""
    folder = os.environ.get("CUPY_CACHE_DIR", os.path.expanduser("~/.cupy/kernel_cache"))
    try:
        os.makedirs(folder, exist_ok=True)
    except OSError:
        return False
    return os.access(folder, os.W_OK | os.X_OK)


@lru_cache(maxsize=1)
def nvrtc_options() -> tuple[str, ...]:
    """Options for NVRTC. Without --fmad=false the weights of the resize would differ from Pillow's.

    CuPy keeps compiled kernels under their options and their own text, not that of the headers they include:
    a macro makes the headers part of the options.
    """
    headers = hashlib.sha256(b"".join(path.read_bytes() for path in sorted(kernel_folder().glob("*.cuh"))))
    return ("-std=c++17", "--fmad=false", f"-I{kernel_folder()}", f"-DGPULOAD_HEADERS={headers.hexdigest()[:16]}")


@lru_cache(maxsize=64)
def cuda_kernel(name: str, device: int) -> Any:
    """A kernel for the current GPU, compiled on first use: ``cuda_kernel("render_4", 0)`` is in ``render.cu``.

    Args:
        name: the kernel.
        device: the number of the current GPU. Another one is not entered: CuPy would make a context on this one then.

    Raises:
        MissingError: CuPy does not compile it; the message holds what it said, and the command that installs all that
            it compiles with.
    """
    source = (kernel_folder() / f"{name.split('_')[0]}.cu").read_text()
    cuda = cupy().cuda
    try:
        return cupy().RawModule(code=source, options=nvrtc_options()).get_function(name)
    except (cuda.runtime.CUDARuntimeError, cuda.driver.CUDADriverError):
        raise  # of the GPU or its driver, which no package brings
    except (RuntimeError, OSError, cuda.compiler.CompileException) as error:
        raise MissingError(f"CuPy cannot compile gpuload's kernels ({error}): {INSTALL_CUDA}") from error


def launch(name: str, device: int, grid: tuple[int, int], threads: int, arguments: tuple[Any, ...]) -> None:
    """Start a kernel on torch's current stream; nothing waits for it.

    Args:
        name: the kernel.
        device: the number of the current GPU.
        grid: blocks along x and y.
        threads: of a block.
        arguments: numpy scalars, numpy records (by value) and addresses as np.uintp.
    """
    with cupy().cuda.Stream.from_external(torch.cuda.current_stream()):
        cuda_kernel(name, device)(grid, (threads,), arguments)
