"""`doctor` finds what is there, says what is missing and how to get it, and never raises."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import PIL
import pytest
import torch
from numpy.typing import NDArray

import gpuload
from gpuload import compilers, doctor
from gpuload.decode import jpeg_decoder
from gpuload.doctor import Finding, Status

NAMES = ["gpuload", "Python", "torch", "numpy", "Pillow", "GPU", "CuPy", "nvImageCodec", "C++ compiler", "torchvision"]


@pytest.fixture
def forget(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Let what is looked up once be looked up again, before the test and after it."""
    lookups: list[Any] = [jpeg_decoder, compilers._host_library]
    monkeypatch.setenv("GPULOAD_CACHE", str(tmp_path))
    for lookup in lookups:
        lookup.cache_clear()
    yield
    for lookup in lookups:
        lookup.cache_clear()


def finding(name: str) -> Finding:
    return Finding(name, *doctor._carefully(doctor.CHECKS[name]))


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
        assert found.name == "GPU" or (found.status is Status.OK) == (found.fix is None), found


def test_the_compiler_compiles() -> None:
    if compilers.compiler() is None:
        pytest.skip("needs a C++ compiler")
    found = finding("C++ compiler")
    assert found.status is Status.OK
    assert found.detail.endswith("compiles the kernels")


def test_nvimagecodec_decodes() -> None:
    if jpeg_decoder() is None:
        pytest.skip("needs nvImageCodec")
    assert finding("nvImageCodec").detail.endswith("decodes a JPEG as Pillow does")


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


@pytest.mark.parametrize(("on_gpu", "status"), [(False, Status.OPTIONAL), (True, Status.MISSING)])
def test_cupy_is_required_where_there_is_a_gpu(monkeypatch: pytest.MonkeyPatch, on_gpu: bool, status: Status) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: on_gpu)
    monkeypatch.setitem(sys.modules, "cupy", None)
    found = finding("CuPy")
    assert found.status is status
    assert found.detail.startswith("does not import, the engine cuda needs it")
    assert found.fix == 'pip install "gpuload[cuda13]"'


def test_no_nvimagecodec(monkeypatch: pytest.MonkeyPatch, forget: None) -> None:
    monkeypatch.setitem(sys.modules, "nvidia.nvimgcodec", None)
    found = finding("nvImageCodec")
    assert found.status is Status.OPTIONAL
    assert found.detail == "not installed, Pillow decodes JPEGs instead, slower"
    assert found.fix == 'pip install "gpuload[cuda13]"'


class Decoder:
    """Fills with grey, or cannot."""

    version = "9.9"

    def __init__(self, able: bool) -> None:
        self.able = able

    def read(self, data: bytes, top: int, left: int, out: NDArray[np.uint8]) -> bool:
        out[:] = 128
        return self.able


@pytest.mark.parametrize(
    ("able", "status", "detail"),
    [
        (True, Status.MISSING, "9.9 decodes a JPEG otherwise than Pillow"),
        (False, Status.OPTIONAL, "9.9 cannot decode, Pillow does instead"),
    ],
)
def test_a_decoder_that_fails(monkeypatch: pytest.MonkeyPatch, able: bool, status: Status, detail: str) -> None:
    monkeypatch.setattr(doctor, "jpeg_decoder", lambda: Decoder(able))
    assert finding("nvImageCodec") == ("nvImageCodec", status, detail, 'pip install "gpuload[cuda13]"')


def test_no_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setenv("PATH", "")
    found = finding("C++ compiler")
    assert found.status is Status.OPTIONAL
    assert found.detail == "no g++, c++ or clang++; on the CPU, Pillow renders instead, slower"
    assert found.fix == "apt-get install g++"


def test_a_compiler_that_is_named_but_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    found = finding("C++ compiler")
    assert found.detail.startswith("CXX='no-such-compiler' is not there")
    assert found.fix == "unset CXX"


def test_a_compiler_that_fails_is_required(monkeypatch: pytest.MonkeyPatch, forget: None) -> None:
    monkeypatch.setenv("CXX", "false")
    found = finding("C++ compiler")
    assert found.status is Status.MISSING  # the loader would choose the engine cpu, which could not be built
    assert "the C++ compiler failed on gpuload's kernels" in found.detail


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
    assert found.detail.startswith(f"none, batches stay on the CPU: {why}")
    assert found.fix == fix


def test_torch_without_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.version, "cuda", None)
    assert finding("torch").detail == f"{torch.__version__}, CUDA not in this build"
    found = finding("GPU")
    assert f"torch {torch.__version__} is built without CUDA" in found.detail
    assert found.fix == doctor.INSTALL_TORCH


def test_no_torchvision(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [])
    found = finding("torchvision")
    assert found.status is Status.OPTIONAL
    assert found.detail == "not installed, only the demo needs it"
    assert found.fix == 'pip install "gpuload[demo]"'


def test_a_check_that_raises_becomes_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> Any:
        raise OSError("libcudart.so.13: cannot open shared object file")

    monkeypatch.setitem(doctor.CHECKS, "CuPy", broken)
    detail = "OSError: libcudart.so.13: cannot open shared object file"
    assert doctor.examine()[NAMES.index("CuPy")] == ("CuPy", Status.MISSING, detail, None)


# ---- text ----


def test_the_text_shows_findings_and_sums_up() -> None:
    found = [
        Finding("torch", Status.OK, "2.14.1", None),
        Finding("GPU", Status.OPTIONAL, "none, " + "really " * 30, "apt-get install gpu"),
    ]
    lines = doctor.text(found).splitlines()
    assert lines[0] == "ok                torch  2.14.1"
    assert lines[1].startswith("optional-missing  GPU    none, really")
    assert lines[2].startswith(" " * 25 + "really")
    assert lines[-3] == " " * 25 + "-> apt-get install gpu"
    assert lines[-1] == "All that gpuload needs is here."
    assert all(len(line) <= doctor.WIDTH for line in lines)
    found.append(Finding("Pillow", Status.MISSING, "12", "pip"))
    assert doctor.text(found).splitlines()[-1] == "Missing: Pillow"
