"""The two compilers of ``kernels/``: the system's C++ compiler for the CPU, CuPy's NVRTC for CUDA.

Both compile on first use. The C++ library is kept in the user's cache folder under a name made of its
source, its flags, its compiler and the processor, so that neither a new version nor a shared home folder
can bring a wrong one. This is the only module that imports CuPy.
"""

import ctypes
import hashlib
import importlib
import os
import platform
import shlex
import shutil
import subprocess
import tempfile
import threading
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from gpuload.errors import MissingError

__all__ = ["compiler", "cuda_kernel", "cupy", "host_library", "kernel_folder", "launch", "nvrtc_options"]

INSTALL_CUDA = 'pip install "gpuload[cuda13]"'
HOST_FLAGS = ("-O3", "-march=native", "-std=c++17", "-ffp-contract=off", "-fvisibility=hidden", "-shared", "-fPIC")


def kernel_folder() -> Path:
    """The folder of the kernel sources: inside the installed package, or beside it in a checkout."""
    here = Path(__file__).resolve().parent
    inside = here / "kernels"
    return inside if inside.is_dir() else here.parent / "kernels"


def compiler() -> list[str] | None:
    """The C++ compiler and its own arguments: ``$CXX``, else g++, c++ or clang++; None where there is none."""
    wanted = shlex.split(os.environ.get("CXX", ""))
    if wanted:
        return wanted if shutil.which(wanted[0]) else None
    return next(([found] for name in ("g++", "c++", "clang++") if (found := shutil.which(name))), None)


def cache_folder() -> Path:
    """``$GPULOAD_CACHE``, else gpuload's folder in the user's cache folder."""
    chosen = os.environ.get("GPULOAD_CACHE")
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return Path(chosen) if chosen else Path(base) / "gpuload"


def _processor() -> str:
    """What -march=native depends on."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line for line in lines if line.startswith(("flags", "Features"))), platform.processor())


def _build(command: list[str], target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        made = Path(folder) / target.name
        run = subprocess.run([*command, "-o", str(made)], capture_output=True, text=True, stdin=subprocess.DEVNULL)
        if run.returncode:
            raise MissingError(
                f"the C++ compiler failed on gpuload's kernels ({shlex.join(command)}):\n{run.stderr[-2000:]}"
            )
        os.replace(made, target)  # atomic: another process sees the whole library or none


_host_lock = threading.Lock()


def host_library() -> ctypes.CDLL | None:
    """The kernels compiled for this CPU, or None where there is no C++ compiler.

    Raises:
        MissingError: the compiler failed; the message holds what it said.
    """
    with _host_lock:
        return _host_library()


@lru_cache(maxsize=1)
def _host_library() -> ctypes.CDLL | None:
    found = compiler()
    if found is None:
        return None
    sources = sorted(kernel_folder().glob("*.c*"))
    version = subprocess.run([*found, "--version"], capture_output=True, text=True, stdin=subprocess.DEVNULL).stdout
    key = hashlib.sha256()
    for part in (*HOST_FLAGS, *found, version, _processor(), platform.machine()):
        key.update(part.encode() + b"\0")
    for source in sources:
        key.update(source.read_bytes())
    target = cache_folder() / f"gpuload-{key.hexdigest()[:20]}.so"
    if not target.exists():
        try:
            _build([*found, *HOST_FLAGS, str(kernel_folder() / "host.cpp")], target)
        except OSError:  # a cache folder that cannot be written
            target = Path(tempfile.mkdtemp(prefix="gpuload-")) / target.name
            _build([*found, *HOST_FLAGS, str(kernel_folder() / "host.cpp")], target)
    library = ctypes.CDLL(str(target))
    pointer, integer, wide = ctypes.c_void_p, ctypes.c_int, ctypes.c_int64
    library.gpuload_render.argtypes = [pointer, pointer, pointer, integer, integer, integer, pointer]
    library.gpuload_render.restype = None
    library.gpuload_taps.argtypes = [pointer, integer, pointer]
    library.gpuload_taps.restype = None
    library.cuda_render.argtypes = [pointer, integer, pointer, pointer, integer, integer, integer, integer, pointer]
    library.cuda_order_permuted.argtypes = [pointer, wide, wide, pointer]
    library.cuda_order_replaced.argtypes = [ctypes.c_uint64, ctypes.c_uint32, ctypes.c_uint64, wide, wide, pointer]
    library.cuda_order_weighted.argtypes = [ctypes.c_uint64, ctypes.c_uint32, pointer, wide, wide, wide, pointer]
    library.cuda_gather.argtypes = [pointer, pointer, wide, wide, integer, pointer]
    return library


def cupy() -> Any:
    """The module CuPy.

    Raises:
        MissingError: it is not installed; the message holds the command that installs it.
    """
    try:
        return importlib.import_module("cupy")
    except ImportError as error:
        raise MissingError(f"the CUDA engine needs CuPy, which does not import ({error}): {INSTALL_CUDA}") from error


@lru_cache(maxsize=1)
def nvrtc_options() -> tuple[str, ...]:
    """Options for NVRTC. Without --fmad=false the taps of the resize would differ from Pillow's.

    CuPy keeps compiled kernels under their options and their own text, not that of the headers they include:
    a macro makes the headers part of the options.
    """
    headers = hashlib.sha256(b"".join(path.read_bytes() for path in sorted(kernel_folder().glob("*.cuh"))))
    return ("-std=c++17", "--fmad=false", f"-I{kernel_folder()}", f"-DGPULOAD_HEADERS={headers.hexdigest()[:16]}")


@lru_cache(maxsize=64)
def cuda_kernel(name: str, device: int) -> Any:
    """A kernel for one device, compiled on first use: ``cuda_kernel("render_4", 0)`` is in ``render.cu``."""
    module = cupy()
    source = (kernel_folder() / f"{name.split('_')[0]}.cu").read_text()
    with module.cuda.Device(device):
        return module.RawModule(code=source, options=nvrtc_options()).get_function(name)


def launch(name: str, device: torch.device, grid: tuple[int, int], threads: int, arguments: tuple[Any, ...]) -> None:
    """Start a kernel on torch's current stream of a device; nothing waits for it.

    Args:
        name: the kernel.
        grid: blocks along x and y.
        threads: of a block.
        arguments: numpy scalars, numpy records (by value) and addresses as np.uintp.
    """
    index = torch.cuda.current_device() if device.index is None else device.index
    kernel, module = cuda_kernel(name, index), cupy()
    with module.cuda.Device(index), module.cuda.Stream.from_external(torch.cuda.current_stream(index)):
        kernel(grid, (threads,), arguments)
