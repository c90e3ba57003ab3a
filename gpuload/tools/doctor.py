"""What gpuload finds on this machine, what is missing, what follows from that, and the command that installs it."""

import ctypes
import importlib
import io
import os
import platform
import re
import subprocess
import sys
import warnings
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import PIL
import torch
from PIL import Image
from torch.utils.dlpack import from_dlpack

import gpuload
from gpuload import compilers, libraries, nvrtc
from gpuload.decoders import pillow
from gpuload.decoders.base import Decoder
from gpuload.decoders.gpu import GpuDecoder
from gpuload.decoders.jpeg import jpeg_decoder
from gpuload.device import Device, device_of, resolve
from gpuload.engines import ENGINES, Wanted, make_engine
from gpuload.engines.base import Layout
from gpuload.engines.dali import graph
from gpuload.engines.dali.arguments import arguments
from gpuload.errors import GpuloadError, MissingError
from gpuload.recipes.fuse import fuse
from gpuload.recipes.recipes import Recipes
from gpuload.tools.finding import BrokenError, Finding, LackingError, Part, look_for
from gpuload.transforms.plan import Plan

__all__ = ["examine"]

INSTALL_COMPILER = "apt-get install g++"
INSTALL_DEMO = 'pip install "gpuload[demo]"'
INSTALL_DRIVER = "apt-get install nvidia-driver-580"  # the first that runs CUDA 13
CLOSE = 8  # of 255: a GPU rounds in another way
USE_FOLDER = "export GPULOAD_CACHE=FOLDER"
INSTALL_HEADERS = 'pip install "cuda-toolkit[cudart,nvrtc]==13.*"'
INSTALL_TORCH = 'pip install --force-reinstall "torch>=2.11" --index-url https://download.pytorch.org/whl/cu130'
OLD = "it is not tested on older ones"
DEMO = ("torchvision", "scikit-learn", "matplotlib")


def examine() -> list[Finding]:
    """Look at everything that gpuload stands on. Raises nothing."""
    return [look_for(part) for part in PARTS]


def _never() -> bool:
    return False


def _on_gpu() -> bool:
    return torch.cuda.is_available()


def _at_least(least: str, found: str) -> str:
    """The version that was found, if it is recent enough."""
    if _numbers(found) < _numbers(least):
        raise LackingError(f"{found}, but gpuload needs at least {least}")
    return found


def _numbers(version: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", version)[:2]]


# ---- what everything stands on ----


def _gpuload() -> str:
    return f"{gpuload.__version__} in {Path(gpuload.__file__).parent}"


def _python() -> str:
    return f"{_at_least('3.11', platform.python_version())} in {sys.executable}"


def _torch() -> str:
    return f"{_at_least('2.11', torch.__version__)}, CUDA {torch.version.cuda or 'not in this build'}"


def _numpy() -> str:
    return _at_least("2.0", np.__version__)


def _pillow() -> str:
    return _at_least("13", PIL.__version__)


# ---- the GPU ----


def _gpu() -> str:
    if not torch.cuda.is_available():
        raise LackingError(*_why_no_gpu())
    shown = [_described(index) for index in range(torch.cuda.device_count())]
    return "; ".join([*shown, f"driver {_driver()}"])


def _described(index: int) -> str:
    properties = torch.cuda.get_device_properties(index)
    return f"cuda:{index} {properties.name}, {properties.total_memory / 2**30:.0f} GiB"


def _driver() -> str:
    try:
        found = re.search(r"\d+\.\d+(\.\d+)?", Path("/proc/driver/nvidia/version").read_text())
    except OSError:
        found = None
    return found.group() if found else "of unknown version"


def _why_no_gpu() -> tuple[str, str | None]:
    """The reason in torch's words, and what to do about it."""
    if torch.version.cuda is None:
        return f"none, torch {torch.__version__} is built without CUDA", INSTALL_TORCH
    try:
        torch.cuda.init()
        why = "torch finds none"
    except Exception as error:  # torch raises several kinds
        why = str(error).split(". ")[0]
    if "driver" in why:
        return f"none, {why}", INSTALL_DRIVER
    return f"none, {why}", "unset CUDA_VISIBLE_DEVICES" if "CUDA_VISIBLE_DEVICES" in os.environ else None


def _cupy() -> str:
    try:
        version = nvrtc.cupy().__version__
    except MissingError as error:
        raise LackingError(f"does not import ({error.__cause__ or error})") from error
    if not torch.cuda.is_available():
        return f"{version}, waits for a GPU"
    device_of("cuda").prepare("render_4")
    return f"{version}, compiles the kernels"


def _cuda_headers() -> str:
    try:  # where CuPy looks
        found = importlib.import_module("cuda.pathfinder").find_nvidia_header_directory("cudart")
    except ImportError:
        found = None
    if found is None:
        raise LackingError("not found")
    return f"in {found}"


# ---- the CPU ----


def _native_code() -> str:
    shipped = libraries.shipped("host")
    if shipped is not None:
        libraries.host_library()
        return f"came with gpuload, for {shipped.stem.removeprefix('host-')}"
    found = compilers.compiler()
    if found is None:
        wanted = os.environ.get("CXX")
        if wanted:
            raise LackingError(f"to be compiled, but CXX={wanted!r} is not there", "unset CXX")
        raise LackingError("to be compiled, but there is no g++, c++ or clang++")
    library = _compiled()
    said = subprocess.run([*found, "--version"], capture_output=True, text=True, stdin=subprocess.DEVNULL).stdout
    return f"{said.splitlines()[0]}, compiles the kernels{_where_not_kept(library)}"


def _compiled() -> ctypes.CDLL | None:
    try:
        return libraries.host_library()
    except MissingError as error:
        raise BrokenError(str(error), _mends_compiling()) from error


def _mends_compiling() -> str:
    try:
        compilers.library_folder()
    except MissingError:
        return USE_FOLDER
    return "unset CXX" if os.environ.get("CXX") else "apt-get install --reinstall g++"


def _where_not_kept(library: ctypes.CDLL | None) -> str:
    folder = compilers.wanted_folder()
    if library is None or Path(library._name).parent == folder:
        return ""
    return f", anew in each process: {folder} cannot be written or is mounted noexec ({USE_FOLDER} names another one)"


def _jpeg_decoder() -> str:
    version = libraries.codec_version()
    if version is None:
        raise LackingError("not installed")
    if libraries.shipped("jpeg") is None and compilers.compiler() is None:
        raise LackingError(f"{version} is here, but no C++ compiler to build the way to it", INSTALL_COMPILER)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        decoder = jpeg_decoder()
    if decoder is None:
        try:
            _compiled()
        except BrokenError as broken:
            raise LackingError(f"{version} is here, but the way to it cannot be compiled", broken.fix) from broken
        raise LackingError("; ".join([f"{version} cannot be used", *(str(warning.message) for warning in said)]))
    return _examined(decoder)


def _examined(decoder: Decoder) -> str:
    """What the decoder says of itself, once it has decoded a JPEG as Pillow does."""
    encoded, pixels = _example()
    size = np.array(pixels.shape[:2], np.int32)
    region, decoded = np.array([0, 0, *size], np.int32), np.empty_like(pixels)
    pointer = ctypes.c_void_p
    call = ctypes.CFUNCTYPE(ctypes.c_bool, pointer, ctypes.c_int64, pointer, pointer, pointer)(decoder.address)
    file = np.frombuffer(encoded, np.uint8)
    if not call(file.ctypes.data, len(file), size.ctypes.data, region.ctypes.data, decoded.ctypes.data):
        raise LackingError(f"{decoder.describe()} cannot decode")
    if not np.array_equal(decoded, pixels):
        raise MissingError(f"{decoder.describe()} does not decode a JPEG as {pillow.describe()} does")
    return f"{decoder.describe()}, decodes a JPEG as {pillow.describe()} does"


def _gpu_decoder() -> str:
    if not torch.cuda.is_available():
        raise LackingError("waits for a GPU", _why_no_gpu()[1])
    try:
        return f"{GpuDecoder(device_of('cuda')).describe()}, starts"
    except MissingError as error:
        raise LackingError(str(error), nvrtc.INSTALL_CUDA) from error


def _example() -> tuple[bytes, Any]:
    """A small JPEG, and its pixels as Pillow decodes them."""
    ramp = np.arange(32 * 48 * 3, dtype=np.uint32).reshape(32, 48, 3)
    file = io.BytesIO()
    Image.fromarray((ramp * 2654435761 >> 24).astype(np.uint8)).resize((96, 64)).save(file, "JPEG")
    return file.getvalue(), np.asarray(pillow.decode(file.getvalue()))


# ---- what stands on them ----


def _dali() -> str:
    """DALI's version, once it has decoded a JPEG where loaders would have it do so."""
    try:
        version = graph.dali_version()
    except Exception as error:  # of a broken installation
        raise LackingError(f"does not import ({error.__cause__ or error})") from error
    device = resolve(None)
    try:
        difference = _difference_of_dali(device)
    except Exception as error:  # DALI raises several kinds
        first = next(iter(str(error).splitlines()), type(error).__name__)
        raise LackingError(f"{version} does not run on {device.describe()} ({first})") from error
    if difference > CLOSE:
        raise LackingError(f"{version} on {device.describe()} does not decode a JPEG as {pillow.describe()} does")
    return f"{version}, decodes a JPEG on {device.describe()}"


def _difference_of_dali(device: Device) -> float:
    """Of its pixels from Pillow's: the mean, on a scale of 255."""
    file, pixels = _example()
    told, needs = arguments(fuse(Recipes.of([()], *([size] for size in pixels.shape[:2]))))
    pipeline = graph.Graph(Layout.of(Plan([]), None, torch.channels_last), needs, device, threads=1)
    pipeline.start(graph.listed([graph.encoded(np.frombuffer(file, np.uint8))]), told)
    made = from_dlpack(pipeline.outputs().as_tensor())[0].cpu()
    return float(np.abs(made.numpy().astype(np.int64) - pixels).mean())


def _engines() -> str:
    """The engine that a loader gets, and what the others say to this machine."""
    device, plan = resolve(None), Plan([])
    wanted = Wanted(plan, Layout.of(plan, None, torch.contiguous_format), device, device.pinned, threads=1)
    chosen = make_engine(None, wanted)
    works, fails = [], []
    for name in ENGINES:
        try:
            works.append(make_engine(name, wanted).name)
        except GpuloadError as error:
            fails.append(f"{name} cannot: {error}")
    return "; ".join(
        [f"loaders on {device.describe()} use {chosen.name}", f"can be chosen: {', '.join(works)}", *fails]
    )


def _demo() -> str:
    versions, missing = [], []
    for name in DEMO:
        try:
            versions.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            missing.append(name)
    if missing:
        raise LackingError(f"not installed: {', '.join(missing)}")
    return ", ".join(versions)


PARTS = (
    Part("gpuload", _gpuload),
    Part("Python", _python, without=OLD, fix="apt-get install python3.11"),
    Part("torch", _torch, without=OLD, fix=INSTALL_TORCH),
    Part("numpy", _numpy, without=OLD, fix='pip install --upgrade "numpy>=2.0"'),
    Part(
        "Pillow",
        _pillow,
        without="the pixels of this Pillow follow another rule, and the loader's would differ from dataset[i]'s",
        fix='pip install --upgrade "Pillow>=13"',
    ),
    Part("GPU", _gpu, _never, without="batches stay on the CPU"),
    Part(
        "CUDA headers",
        _cuda_headers,
        _on_gpu,
        without="CuPy cannot compile the kernels for a GPU",
        fix=INSTALL_HEADERS,
    ),
    Part(
        "CuPy",
        _cupy,
        _on_gpu,
        without="nothing renders on a GPU",
        fix=nvrtc.INSTALL_CUDA,
    ),
    Part(
        "native code",
        _native_code,
        _never,
        without="Pillow decodes and, on the CPU, renders, both slower",
        fix=INSTALL_COMPILER,
    ),
    Part(
        "nvImageCodec",
        _jpeg_decoder,
        _never,
        without="Pillow decodes JPEGs instead, slower",
        fix=nvrtc.INSTALL_CUDA,
    ),
    Part("GPU decoder", _gpu_decoder, _never, without="decoder='gpu' and decoder='hybrid' cannot be chosen"),
    Part("DALI", _dali, _never, without="engine='dali' cannot be chosen", fix=nvrtc.INSTALL_CUDA),
    Part("engines", _engines),
    Part("for the demo", _demo, _never, without="the demo does not run", fix=INSTALL_DEMO),
)
