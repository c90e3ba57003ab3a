"""`doctor` finds what is there, says what is missing and how to get it, and never raises."""

import ctypes
import re
import sys
import warnings
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import PIL
import pytest
import torch

import gpuload
from gpuload import compilers, libraries, nvrtc
from gpuload.decoders.jpeg import jpeg_decoder
from gpuload.device import resolve
from gpuload.engines import ENGINES, Wanted
from gpuload.engines.base import Engine
from gpuload.engines.dali import graph
from gpuload.engines.dali.graph import encoded
from gpuload.errors import MissingError
from gpuload.libraries import codec_version
from gpuload.tools import doctor
from gpuload.tools.finding import Finding, Status, look_for
from tests.conftest import encode, make_photo
from tests.fake_codec import FakeCodec, has_codec
from tests.simulation.runtime import simulated

NAMES = [
    "gpuload",
    "Python",
    "torch",
    "numpy",
    "Pillow",
    "GPU",
    "CUDA headers",
    "CuPy",
    "native code",
    "nvImageCodec",
    "GPU decoder",
    "DALI",
    "engines",
    "for the demo",
]


needs_compiler = pytest.mark.skipif(compilers.compiler() is None, reason="needs a C++ compiler")


def finding(name: str) -> Finding:
    return look_for(next(part for part in doctor.PARTS if part.name == name))


# ---- what is there ----


def test_everything_is_looked_at_once() -> None:
    assert [found.name for found in doctor.examine()] == NAMES


def test_versions_are_those_in_use() -> None:
    found = {found.name: found for found in doctor.examine()}
    assert found["gpuload"].detail == f"{gpuload.__version__} in {Path(gpuload.__file__).parent}"
    assert found["Python"].detail == f"{sys.version.split()[0]} in {sys.executable}"
    assert found["torch"].detail.startswith(f"{torch.__version__}, CUDA ")
    assert found["numpy"].detail == np.__version__
    assert found["Pillow"].detail == PIL.__version__
    assert all(found[name].status is Status.OK for name in ("gpuload", "Python", "torch", "numpy", "Pillow"))


def test_what_is_not_there_comes_with_a_command() -> None:
    for found in doctor.examine():
        assert found.detail
        assert found.name in ("GPU", "GPU decoder") or (found.status is Status.OK) == (found.fix is None), found


@needs_compiler
def test_the_compiler_compiles() -> None:
    found = finding("native code")
    assert found.status is Status.OK
    assert found.detail.endswith("compiles the kernels")


def test_nvimagecodec_decodes() -> None:
    if jpeg_decoder() is None:
        pytest.skip("needs nvImageCodec")
    assert finding("nvImageCodec").detail.endswith(f"decodes a JPEG as Pillow {PIL.__version__} does")


@pytest.mark.cuda
def test_the_gpu_is_named() -> None:
    found = finding("GPU")
    assert found.status is Status.OK
    assert torch.cuda.get_device_name(0) in found.detail
    assert " GiB; " in found.detail
    assert "driver " in found.detail
    assert finding("CuPy").detail.endswith("compiles the kernels")


# ---- what is missing ----


@pytest.mark.parametrize(
    ("module", "name", "version", "fix"),
    [
        (PIL, "Pillow", "12.1.0", 'pip install --upgrade "Pillow>=13"'),
        (np, "numpy", "1.26.4", 'pip install --upgrade "numpy>=2.0"'),
        (torch, "torch", "2.9.1+cu130", doctor.INSTALL_TORCH),
    ],
)
def test_old_versions(monkeypatch: pytest.MonkeyPatch, module: Any, name: str, version: str, fix: str) -> None:
    monkeypatch.setattr(module, "__version__", version)
    found = finding(name)
    assert found.status is Status.MISSING
    assert f"{version}, but gpuload needs at least " in found.detail
    assert found.fix == fix


def test_an_old_pillow_makes_other_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PIL, "__version__", "12.1.0")
    assert "the pixels of this Pillow follow another rule" in finding("Pillow").detail


def without_cupy() -> Any:
    raise MissingError("no CuPy") from ImportError("No module named 'cupy'")


@pytest.mark.parametrize(("on_gpu", "status"), [(False, Status.OPTIONAL), (True, Status.MISSING)])
def test_cupy_is_required_where_there_is_a_gpu(monkeypatch: pytest.MonkeyPatch, on_gpu: bool, status: Status) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: on_gpu)
    monkeypatch.setattr(nvrtc, "cupy", without_cupy)
    detail = "does not import (No module named 'cupy'): nothing renders on a GPU"
    assert finding("CuPy") == ("CuPy", status, detail, 'pip install "gpuload[cuda13]"')


@pytest.mark.parametrize(("on_gpu", "status"), [(False, Status.OPTIONAL), (True, Status.MISSING)])
@pytest.mark.parametrize("pathfinder", [None, SimpleNamespace(find_nvidia_header_directory=lambda name: None)])
def test_headers_are_required_where_there_is_a_gpu(
    monkeypatch: pytest.MonkeyPatch, on_gpu: bool, status: Status, pathfinder: Any
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: on_gpu)
    monkeypatch.setitem(sys.modules, "cuda.pathfinder", pathfinder)
    detail = "not found: CuPy cannot compile the kernels for a GPU"
    assert finding("CUDA headers") == ("CUDA headers", status, detail, doctor.INSTALL_HEADERS)


# ---- the decoder ----


@pytest.fixture
def codec(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let nvImageCodec 9.9 be installed, and a C++ compiler."""
    monkeypatch.setattr(metadata, "version", lambda name: "9.9")
    monkeypatch.setattr(compilers, "compiler", lambda: ["c++"])
    monkeypatch.setattr(libraries, "host_library", lambda: None)


def nvimagecodec(status: Status, detail: str, fix: str = 'pip install "gpuload[cuda13]"') -> Finding:
    return Finding("nvImageCodec", status, detail, fix)


def test_no_nvimagecodec(monkeypatch: pytest.MonkeyPatch) -> None:
    def version(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", version)
    wanted = nvimagecodec(Status.OPTIONAL, "not installed: Pillow decodes JPEGs instead, slower")
    assert finding("nvImageCodec") == wanted


@pytest.mark.usefixtures("codec")
def test_nvimagecodec_without_a_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compilers, "compiler", lambda: None)
    what = "9.9 is here, but no C++ compiler to build the way to it: Pillow decodes JPEGs instead, slower"
    assert finding("nvImageCodec") == nvimagecodec(Status.OPTIONAL, what, "apt-get install g++")


@pytest.mark.usefixtures("codec")
def test_nvimagecodec_that_cannot_be_used(monkeypatch: pytest.MonkeyPatch) -> None:
    def jpeg_decoder() -> None:
        warnings.warn("loading it failed", RuntimeWarning, stacklevel=1)

    monkeypatch.setattr(doctor, "jpeg_decoder", jpeg_decoder)
    what = "9.9 cannot be used; loading it failed: Pillow decodes JPEGs instead, slower"
    assert finding("nvImageCodec") == nvimagecodec(Status.OPTIONAL, what)


class GrayDecoder:
    """Fills with gray, or cannot."""

    def __init__(self, able: bool) -> None:
        def decode(data: int, size: int, height_width: int, region: int, out: int) -> bool:
            ctypes.memset(out, 128, 64 * 96 * 3)
            return able

        pointer = ctypes.c_void_p
        self._function = ctypes.CFUNCTYPE(ctypes.c_bool, pointer, ctypes.c_int64, pointer, pointer, pointer)(decode)
        self.address = ctypes.cast(self._function, pointer).value

    def describe(self) -> str:
        return "Gray 1.0"


@pytest.mark.usefixtures("codec")
@pytest.mark.parametrize(
    ("able", "status", "detail"),
    [
        (True, Status.MISSING, f"Gray 1.0 does not decode a JPEG as Pillow {PIL.__version__} does"),
        (False, Status.OPTIONAL, "Gray 1.0 cannot decode: Pillow decodes JPEGs instead, slower"),
    ],
)
def test_a_decoder_that_fails(monkeypatch: pytest.MonkeyPatch, able: bool, status: Status, detail: str) -> None:
    decoder = GrayDecoder(able)
    monkeypatch.setattr(doctor, "jpeg_decoder", lambda: decoder)
    assert finding("nvImageCodec") == nvimagecodec(status, detail)


# ---- the compiler ----


def test_no_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setenv("PATH", "")
    found = finding("native code")
    assert found.status is Status.OPTIONAL
    assert (
        found.detail
        == "to be compiled, but there is no g++, c++ or clang++: Pillow decodes and, on the CPU, renders, both slower"
    )
    assert found.fix == "apt-get install g++"


def test_a_compiler_that_is_named_but_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    found = finding("native code")
    assert found.detail.startswith("to be compiled, but CXX='no-such-compiler' is not there")
    assert found.fix == "unset CXX"


def test_a_compiler_that_fails_is_required(run_python: Callable[..., Any], tmp_path: Path) -> None:
    program = """if True:
        import os, sys
        os.environ.update(CXX="false", GPULOAD_CACHE=sys.argv[1])
        from gpuload.tools import doctor
        for finding in doctor.examine():
            print(*finding)
        """
    lines = run_python(program, tmp_path).stdout.splitlines()
    # the loader would choose the engine cpu, which could not be built
    assert any(line.startswith("native code missing the C++ compiler failed on gpuload's kernels") for line in lines)
    if codec_version() is not None:
        said = "the way to it cannot be compiled: Pillow decodes JPEGs instead, slower unset CXX"
        assert any(re.fullmatch(f"nvImageCodec optional-missing .* is here, but {said}", line) for line in lines)
    assert torch.cuda.is_available() or any(line.startswith("engines missing the C++ compiler") for line in lines)


NOEXEC = """
import os, sys
from types import SimpleNamespace
os.statvfs = lambda folder: SimpleNamespace(f_flag=os.ST_NOEXEC if str(folder).startswith(sys.argv[1]) else 0)
os.environ["GPULOAD_CACHE"], os.environ["TMPDIR"] = sys.argv[2:]
from gpuload import compilers, libraries
from gpuload.tools import doctor
from gpuload.tools.finding import look_for
compilers.FLAGS = ("-O0", *compilers.FLAGS[1:])
(part,) = (part for part in doctor.PARTS if part.name == "native code")
print(*look_for(part))
"""


@needs_compiler
def test_no_folder_for_what_is_compiled(run_python: Callable[..., Any], tmp_path: Path) -> None:
    """The compiler is not what is missing."""
    said = run_python(NOEXEC, tmp_path, tmp_path / "cache", tmp_path).stdout
    assert said.startswith(f"native code missing compiled code cannot be kept in {tmp_path / 'cache'}, which cannot ")
    assert said.endswith(" export GPULOAD_CACHE=FOLDER\n")


@needs_compiler
def test_a_cache_that_cannot_be_used(run_python: Callable[..., Any], tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    said = run_python(NOEXEC, cache, cache, tmp_path).stdout
    assert re.fullmatch(
        rf"native code ok .*, compiles the kernels, anew in each process: {cache} cannot be written or is mounted "
        r"noexec \(export GPULOAD_CACHE=FOLDER names another one\) None\n",
        said,
    )


def _no_cuda(error: Exception) -> Callable[[], None]:
    def init() -> None:
        raise error

    return init


@pytest.mark.parametrize(
    ("said", "hidden", "why", "fix"),
    [
        ("Found no NVIDIA driver on your system. Please", None, "Found no NVIDIA driver", doctor.INSTALL_DRIVER),
        ("No CUDA GPUs are available", "", "No CUDA GPUs are available", "unset CUDA_VISIBLE_DEVICES"),
        ("No CUDA GPUs are available", None, "No CUDA GPUs are available", None),
    ],
)
def test_why_there_is_no_gpu(
    monkeypatch: pytest.MonkeyPatch, said: str, hidden: str | None, why: str, fix: str | None
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch.cuda, "init", _no_cuda(RuntimeError(said)))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if hidden is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", hidden)
    found = finding("GPU")
    assert found.status is Status.OPTIONAL
    assert found.detail.startswith(f"none, {why}")
    assert found.detail.endswith(": batches stay on the CPU")
    assert found.fix == fix


def test_torch_without_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.version, "cuda", None)
    assert finding("torch").detail == f"{torch.__version__}, CUDA not in this build"
    found = finding("GPU")
    assert f"torch {torch.__version__} is built without CUDA" in found.detail
    assert found.fix == doctor.INSTALL_TORCH


def test_no_packages_for_the_demo(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [])
    detail = "not installed: torchvision, scikit-learn, matplotlib: the demo does not run"
    assert finding("for the demo") == (
        "for the demo",
        Status.OPTIONAL,
        detail,
        'pip install "gpuload[demo]"',
    )


def test_the_decoder_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    follows = "decoder='gpu' and decoder='hybrid' cannot be chosen"
    if not torch.cuda.is_available():
        wanted = Finding("GPU decoder", Status.OPTIONAL, f"waits for a GPU: {follows}", finding("GPU").fix)
        assert finding("GPU decoder") == wanted
    if not has_codec():
        pytest.skip("needs nvImageCodec")
    with simulated():
        found = finding("GPU decoder")
        assert found.status is Status.OK
        assert re.fullmatch(r"nvImageCodec \S+ on GPU cuda:0, starts", found.detail)
        with FakeCodec(lambda *call: 0, starts=False).installed():
            found = finding("GPU decoder")
        assert found.status is Status.OPTIONAL and found.fix == nvrtc.INSTALL_CUDA
        assert found.detail.startswith("nvImageCodec's decoder does not start") and found.detail.endswith(follows)


# ---- DALI ----


def dali(detail: str) -> Finding:
    return Finding(
        "DALI", Status.OPTIONAL, f"{detail}: engine='dali' cannot be chosen", 'pip install "gpuload[cuda13]"'
    )


def test_dali_decodes() -> None:
    pytest.importorskip("nvidia.dali")
    where = resolve(None).describe()
    assert finding("DALI") == ("DALI", Status.OK, f"{graph.dali_version()}, decodes a JPEG on {where}", None)


def test_no_dali(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> Any:
        raise MissingError("no DALI") from ImportError("No module named 'nvidia.dali'")

    monkeypatch.setattr(graph, "_dali", missing)
    assert finding("DALI") == dali("does not import (No module named 'nvidia.dali')")


def test_a_dali_that_does_not_import(monkeypatch: pytest.MonkeyPatch) -> None:
    def version() -> str:
        raise OSError("libnvjpeg.so.13: cannot open shared object file")

    monkeypatch.setattr(graph, "dali_version", version)
    assert finding("DALI") == dali("does not import (libnvjpeg.so.13: cannot open shared object file)")


def test_a_dali_that_does_not_run(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*arguments: Any, threads: int) -> Any:
        raise RuntimeError("nvml error: 9\nStacktrace (99 entries):")

    monkeypatch.setattr(graph, "dali_version", lambda: "9.9")
    monkeypatch.setattr(graph, "Graph", broken)
    assert finding("DALI") == dali(f"9.9 does not run on {resolve(None).describe()} (nvml error: 9)")


def test_a_dali_with_pixels_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("nvidia.dali")
    monkeypatch.setattr(graph, "dali_version", lambda: "9.9")
    monkeypatch.setattr(graph, "encoded", lambda file: encoded(np.frombuffer(encode(make_photo(64, 96)), np.uint8)))
    what = f"9.9 on {resolve(None).describe()} does not decode a JPEG as Pillow {PIL.__version__} does"
    assert finding("DALI") == dali(what)


# ---- engines ----


def test_engines_speak_for_themselves(monkeypatch: pytest.MonkeyPatch) -> None:
    def make(wanted: Wanted) -> Engine:
        raise MissingError("the third engine needs a third hand")

    monkeypatch.setitem(ENGINES, "third", make)
    found = finding("engines")
    assert found.status is Status.OK
    assert "can be chosen: " in found.detail and "pillow" in found.detail
    assert found.detail.endswith("; third cannot: the third engine needs a third hand")


def test_a_look_that_raises_becomes_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> Any:
        raise OSError("libcudart.so.13: cannot open shared object file")

    monkeypatch.setattr(nvrtc, "cupy", broken)
    detail = "OSError: libcudart.so.13: cannot open shared object file"
    assert doctor.examine()[NAMES.index("CuPy")] == ("CuPy", Status.MISSING, detail, None)
