"""The CPU's native code: what came in the wheel for this processor, or what the C++ compiler makes of it here."""

import ctypes
import importlib.util
import os
import platform
import warnings
from concurrent.futures import Future, ThreadPoolExecutor
from importlib import metadata
from pathlib import Path

from gpuload.compilers import build, compiler, kernel_folder, once, processor
from gpuload.errors import MissingError
from gpuload.native import declare

__all__ = ["LEVELS", "codec_files", "codec_version", "host_library", "jpeg_library", "shipped"]

CODECS = "nvidia-nvimgcodec-cu13", "nvidia-nvimgcodec-cu12"  # packages of nvImageCodec
LEVELS: dict[str, dict[str, set[str]]] = {
    "x86_64": {
        "x86_64_v3": {"avx2", "bmi1", "bmi2", "f16c", "fma", "abm", "movbe"},
        "x86_64_v2": {"cx16", "lahf_lm", "popcnt", "sse4_1", "sse4_2", "ssse3"},
    },
    "aarch64": {"generic": set()},
}
"""What wheels bring, the fastest first: of each machine the levels, and what a processor must have for them, in
Linux's words (x86-64 psABI, "micro-architecture levels")."""


def shipped(stem: str) -> Path | None:
    """A library that came in the wheel, for this processor; None: it is compiled, as in a checkout.

    Args:
        stem: the name of its source in ``kernels/``.
    """
    has = set(processor().split())
    for level, wanted in LEVELS.get(platform.machine(), {}).items():
        library = kernel_folder() / "built" / f"{stem}-{level}.so"
        if wanted <= has and library.exists():
            return library
    return None


def _image_codec() -> Path | None:
    """The folder of nvImageCodec, found without importing it."""
    try:
        spec = importlib.util.find_spec("nvidia.nvimgcodec")
    except ImportError:
        return None
    places = spec.submodule_search_locations if spec is not None else None
    return Path(next(iter(places))) if places else None


@once
def _libraries() -> tuple[Future[Path | None], Future[Path | None] | None]:
    """Both libraries; those that did not come in the wheel are compiled side by side."""
    kernels, codec = kernel_folder(), _image_codec()
    with ThreadPoolExecutor(2) as pool:
        host = pool.submit(_library, "host")
        if codec is None:
            return host, None
        return host, pool.submit(_library, "jpeg", f"-I{kernels / 'stub'}", f"-I{codec / 'include'}")


def _library(stem: str, *flags: str) -> Path | None:
    """None: it is in no wheel, and no compiler is here."""
    found = shipped(stem)
    if found is None and compiler() is not None:
        return build(kernel_folder() / f"{stem}.cpp", *flags)
    return found


@once
def host_library() -> ctypes.CDLL | None:
    """``kernels/host.cpp`` for this CPU, its functions declared; None: it is in no wheel, and no compiler is here.

    Raises:
        MissingError: the compiler failed (the message holds what it said), or no folder can hold the library.
    """
    path = _libraries()[0].result()
    return None if path is None else declare(ctypes.CDLL(str(path)))


@once
def jpeg_library() -> ctypes.CDLL | None:
    """``kernels/jpeg.cpp``, open and ready; None: nvImageCodec is missing, or as of `host_library`.

    Where nvImageCodec is there but cannot be used, a RuntimeWarning says why, and it is None.
    """
    files, made = codec_files("libjpeg_turbo_ext"), _libraries()[1]
    if files is None or made is None:
        return None
    try:
        path = made.result()
        if path is None:
            return None
        library = ctypes.CDLL(str(path))
        _open(library, *files)
    except (MissingError, OSError) as error:
        warnings.warn(f"JPEGs are decoded by Pillow, for nvImageCodec cannot be used: {error}", RuntimeWarning, 2)
        return None
    return library


def codec_files(extension: str) -> tuple[Path, Path] | None:
    """nvImageCodec's library and one of its extensions, by the stem of its name; None: it is not installed."""
    codec = _image_codec()
    if codec is None:
        return None
    core, module = "libnvimgcodec.so", f"extensions/{extension}.so"
    return next(codec.glob(f"{core}*"), codec / core), next(codec.glob(f"{module}*"), codec / module)


def codec_version() -> str | None:
    """nvImageCodec's version, whichever CUDA its package is for; None: it is not installed."""
    for package in CODECS:
        try:
            return metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return None


def _open(library: ctypes.CDLL, core: Path, extension: Path) -> None:
    library.gpuload_jpeg_open.argtypes = [ctypes.c_char_p, ctypes.c_char_p]
    failed = library.gpuload_jpeg_open(os.fsencode(core), os.fsencode(extension))
    if failed:
        step = {1: "loading it", 2: "its functions", 3: "its libjpeg-turbo", 4: "its decoder"}
        raise OSError(f"{step[failed]} failed ({core})")
    pointer = ctypes.c_void_p
    library.gpuload_jpeg_decode.argtypes = [pointer, ctypes.c_int64, pointer, pointer, pointer]
    library.gpuload_jpeg_decode.restype = ctypes.c_bool
    library.gpuload_device_start.argtypes = [ctypes.c_char_p, ctypes.c_char_p, ctypes.c_int, ctypes.c_int]
    library.gpuload_device_start.restype = pointer
    library.gpuload_device_end.argtypes = [pointer]
    library.gpuload_device_decode.argtypes = [pointer, pointer, pointer, ctypes.c_int64, pointer, pointer, pointer]
