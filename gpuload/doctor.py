"""What gpuload finds on this machine, what is missing, and the command that installs it."""

import importlib.metadata
import io
import os
import platform
import re
import subprocess
import sys
import textwrap
import warnings
from collections.abc import Callable, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import PIL
import torch
from PIL import Image

import gpuload
from gpuload import compilers
from gpuload.decode import jpeg_decoder
from gpuload.errors import MissingError

__all__ = ["Finding", "Status", "examine", "text"]

WIDTH = 110  # characters of a line
INSTALL_DEMO = 'pip install "gpuload[demo]"'
INSTALL_DRIVER = "apt-get install nvidia-driver-580"  # the first that runs CUDA 13
INSTALL_TORCH = 'pip install --force-reinstall "torch>=2.11" --index-url https://download.pytorch.org/whl/cu130'


class Status(StrEnum):
    """How a finding is; only `MISSING` keeps gpuload from working as it should."""

    OK = "ok"
    MISSING = "missing"
    OPTIONAL = "optional-missing"


class _Verdict(NamedTuple):
    status: Status
    detail: str
    fix: str | None = None


class Finding(NamedTuple):
    """One thing that was looked for.

    Attributes:
        name: of the thing.
        status: whether it is there.
        detail: its version and what else there is to know; or what is wrong.
        fix: the command that installs it; None where nothing is missing, or no command would help.
    """

    name: str
    status: Status
    detail: str
    fix: str | None


def examine() -> list[Finding]:
    """Look at everything that gpuload stands on. Raises nothing."""
    return [Finding(name, *_carefully(check)) for name, check in CHECKS.items()]


def text(findings: Sequence[Finding]) -> str:
    """The findings as an aligned text, and a last line that sums them up."""
    statuses = max(len(finding.status) for finding in findings) + 2
    names = max(len(finding.name) for finding in findings) + 2
    margin = " " * (statuses + names)
    lines: list[str] = []
    for name, status, detail, fix in findings:
        head = f"{status:{statuses}}{name:{names}}"
        lines += textwrap.wrap(detail, WIDTH, initial_indent=head, subsequent_indent=margin, break_on_hyphens=False)
        lines += [f"{margin}-> {fix}"] if fix is not None else []
    missing = ", ".join(finding.name for finding in findings if finding.status is Status.MISSING)
    return "\n".join([*lines, "", f"Missing: {missing}" if missing else "All that gpuload needs is here."])


def _carefully(check: Callable[[], _Verdict]) -> _Verdict:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a verdict says what a warning would
        try:
            return check()
        except Exception as error:  # whatever a broken installation raises is what the user must see
            return _Verdict(Status.MISSING, f"{type(error).__name__}: {error}")


# ---- the checks ----


def _version(found: str, least: str, fix: str, otherwise: str) -> _Verdict:
    """Is the version recent enough?"""
    if _numbers(found) >= _numbers(least):
        return _Verdict(Status.OK, found)
    return _Verdict(Status.MISSING, f"{found}, but gpuload needs at least {least}: {otherwise}", fix)


def _numbers(version: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", version)[:2]]


def _gpuload() -> _Verdict:
    return _Verdict(Status.OK, f"{gpuload.__version__} in {Path(gpuload.__file__).parent}")


def _python() -> _Verdict:
    verdict = _version(
        platform.python_version(), "3.11", "apt-get install python3.11", "it is not tested on older ones"
    )
    return verdict._replace(detail=f"{verdict.detail} in {sys.executable}")


def _torch() -> _Verdict:
    verdict = _version(torch.__version__, "2.11", INSTALL_TORCH, "it is not tested on older ones")
    return verdict._replace(detail=f"{verdict.detail}, CUDA {torch.version.cuda or 'not in this build'}")


def _numpy() -> _Verdict:
    return _version(np.__version__, "2.0", 'pip install --upgrade "numpy>=2.0"', "it is not tested on older ones")


def _pillow() -> _Verdict:
    other = "the pixels of this Pillow follow another rule, and the loader's would differ from dataset[i]'s"
    return _version(PIL.__version__, "13", 'pip install --upgrade "Pillow>=13"', other)


def _gpu() -> _Verdict:
    if torch.cuda.is_available():
        shown = [_described(index) for index in range(torch.cuda.device_count())]
        return _Verdict(Status.OK, "; ".join([*shown, f"driver {_driver()}"]))
    why, fix = _why_no_gpu()
    return _Verdict(Status.OPTIONAL, f"none, batches stay on the CPU: {why}", fix)


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
        return f"torch {torch.__version__} is built without CUDA", INSTALL_TORCH
    try:
        torch.cuda.init()
        why = "torch finds none"
    except Exception as error:  # torch raises several kinds
        why = str(error).split(". ")[0]
    if "driver" in why:
        return why, INSTALL_DRIVER
    return why, "unset CUDA_VISIBLE_DEVICES" if "CUDA_VISIBLE_DEVICES" in os.environ else None


def _cupy() -> _Verdict:
    on_gpu = torch.cuda.is_available()
    try:
        module = compilers.cupy()
    except MissingError as error:
        status = Status.MISSING if on_gpu else Status.OPTIONAL
        return _Verdict(
            status, f"does not import, the engine cuda needs it ({error.__cause__})", compilers.INSTALL_CUDA
        )
    if not on_gpu:
        return _Verdict(Status.OK, f"{module.__version__}, waits for a GPU")
    compilers.cuda_kernel("render_4", torch.cuda.current_device())
    return _Verdict(Status.OK, f"{module.__version__}, compiles the kernels")


def _nvimagecodec() -> _Verdict:
    decoder = jpeg_decoder()
    if decoder is None:
        return _Verdict(Status.OPTIONAL, "not installed, Pillow decodes JPEGs instead, slower", compilers.INSTALL_CUDA)
    jpeg, pixels = _example()
    decoded = np.empty_like(pixels)
    if not decoder.read(jpeg, 0, 0, decoded):
        return _Verdict(
            Status.OPTIONAL, f"{decoder.version} cannot decode, Pillow does instead", compilers.INSTALL_CUDA
        )
    if not np.array_equal(decoded, pixels):
        return _Verdict(
            Status.MISSING, f"{decoder.version} decodes a JPEG otherwise than Pillow", compilers.INSTALL_CUDA
        )
    return _Verdict(Status.OK, f"{decoder.version}, decodes a JPEG as Pillow does")


def _example() -> tuple[bytes, Any]:
    """A small JPEG, and its pixels as Pillow decodes them."""
    ramp = np.arange(32 * 48 * 3, dtype=np.uint32).reshape(32, 48, 3)
    file = io.BytesIO()
    Image.fromarray((ramp * 2654435761 >> 24).astype(np.uint8)).resize((96, 64)).save(file, "JPEG")
    with Image.open(file) as image:
        return file.getvalue(), np.asarray(image.convert("RGB"))


def _compiler() -> _Verdict:
    found = compilers.compiler()
    if found is None:
        wanted = os.environ.get("CXX")
        what = f"CXX={wanted!r} is not there" if wanted else "no g++, c++ or clang++"
        detail = f"{what}; on the CPU, Pillow renders instead, slower"
        return _Verdict(Status.OPTIONAL, detail, "unset CXX" if wanted else "apt-get install g++")
    try:
        compilers.host_library()
    except MissingError as error:
        return _Verdict(Status.MISSING, str(error), "apt-get install g++")
    said = subprocess.run([*found, "--version"], capture_output=True, text=True, stdin=subprocess.DEVNULL).stdout
    return _Verdict(Status.OK, f"{said.splitlines()[0]}, compiles the kernels")


def _torchvision() -> _Verdict:
    try:
        return _Verdict(Status.OK, importlib.metadata.version("torchvision"))
    except importlib.metadata.PackageNotFoundError:
        return _Verdict(Status.OPTIONAL, "not installed, only the demo needs it", INSTALL_DEMO)


CHECKS = {
    "gpuload": _gpuload,
    "Python": _python,
    "torch": _torch,
    "numpy": _numpy,
    "Pillow": _pillow,
    "GPU": _gpu,
    "CuPy": _cupy,
    "nvImageCodec": _nvimagecodec,
    "C++ compiler": _compiler,
    "torchvision": _torchvision,
}
