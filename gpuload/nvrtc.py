"""CUDA's compiler: NVRTC, through CuPy, makes ``kernels/*.cu`` for the GPU that is there, on first use.

This is the only module that imports CuPy.
"""

import hashlib
import importlib
import os
from functools import lru_cache
from typing import Any

import torch

from gpuload.compilers import NO_ROOM, cache_folder, kernel_folder, once
from gpuload.errors import MissingError

__all__ = ["cuda_kernel", "cupy", "launch", "nvrtc_options"]

INSTALL_CUDA = 'pip install "gpuload[cuda13]"'


@once
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


def _cupy_folder() -> str:
    return os.environ.get("CUPY_CACHE_DIR", os.path.expanduser("~/.cupy/kernel_cache"))


def _cupy_cache_serves() -> bool:
    """Can CuPy write to the folder that it would keep compiled kernels in?"""
    folder = _cupy_folder()
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
    headers = hashlib.sha256(b"".join(path.read_bytes() for path in sorted(kernel_folder().glob("*.*h"))))
    return ("-std=c++17", "--fmad=false", f"-I{kernel_folder()}", f"-DGPULOAD_HEADERS={headers.hexdigest()[:16]}")


@lru_cache(maxsize=64)
def cuda_kernel(name: str, device: int) -> Any:
    """A kernel for the current GPU, compiled on first use: ``cuda_kernel("render_4", 0)`` is in ``render.cu``.

    Args:
        name: the kernel.
        device: the number of the current GPU. Another one is not entered: CuPy would make a context on this one then.

    Raises:
        MissingError: CuPy does not compile it; the message holds what it said, and the command that installs all that
            it compiles with, or where room is wanted.
    """
    source = (kernel_folder() / f"{name.split('_')[0]}.cu").read_text()
    cuda = cupy().cuda
    try:
        return cupy().RawModule(code=source, options=nvrtc_options()).get_function(name)
    except (cuda.runtime.CUDARuntimeError, cuda.driver.CUDADriverError):
        raise  # of the GPU or its driver, which no package brings
    except (RuntimeError, OSError, cuda.compiler.CompileException) as error:
        if isinstance(error, OSError) and error.errno in NO_ROOM:
            raise MissingError(
                f"CuPy cannot keep gpuload's kernels in {_cupy_folder()} ({error}): make room there, or set "
                "CUPY_CACHE_DIR to a folder that has some"
            ) from error
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
