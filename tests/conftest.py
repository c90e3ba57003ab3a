"""Fixtures that several test files share."""

import gc
import io
import os
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from hypothesis import settings
from PIL import Image
from torch.utils.data import _utils

from gpuload.compilers import compiler
from gpuload.libraries import host_library
from gpuload.loading import threads
from tests.cuda_on_cpu import cuda_on_cpu
from tests.fresh import Pythons
from tests.jobs import Fifo, alive, in_time
from tests.simulation.runtime import simulated

settings.register_profile("gpuload", deadline=None)
settings.load_profile("gpuload")
torch.set_num_threads(1)  # images are small here: more threads would spin, and wait for each other

SIZES = {"cats": ((60, 80), (75, 50), (64, 64)), "dogs": ((48, 90), (101, 67), (33, 40))}  # (height, width)
PHOTOS_A_CLASS = 12


def pytest_configure(config: pytest.Config) -> None:
    """Compile before pytest-xdist starts its processes: each of them would."""
    if getattr(config.option, "numprocesses", None) and compiler() is not None:
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(lambda make: make(), (host_library, cuda_on_cpu)))


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("cuda") is not None and not torch.cuda.is_available():
        if os.environ.get("GPULOAD_REQUIRE_CUDA") == "1":
            pytest.fail("GPULOAD_REQUIRE_CUDA=1, but torch sees no CUDA GPU", pytrace=False)
        pytest.skip("needs a CUDA GPU")


@pytest.fixture(params=["cpu", "simulated", pytest.param("cuda", marks=pytest.mark.cuda)])
def device(request: pytest.FixtureRequest) -> Iterator[torch.device]:
    """Each device in turn; on the simulated GPU nothing may be in no order."""
    if request.param != "simulated":
        yield torch.device(request.param)
        return
    if compiler() is None:
        pytest.skip("no C++ compiler")
    with simulated() as runtime:
        yield torch.device("cuda", 0)
        runtime.gpu.finish()
        assert runtime.gpu.problems == []


# ---- engines ----


class Engine(NamedTuple):
    """One of the engines where it can run: the bound is of its pixels' differences, on a scale of 255.

    DALI's filters see the edge of an image in another way than Pillow's, so that a few pixels differ more.
    """

    name: str
    device: str
    most: float = 0
    mean: float = 0


EVERY_ENGINE = {
    "pillow": Engine("pillow", "cpu"),
    "cpu": Engine("cpu", "cpu"),
    "cuda": Engine("cuda", "cuda"),
    "dali": Engine("dali", "cpu", most=24, mean=0.5),
    "dali on a GPU": Engine("dali", "cuda", most=32, mean=0.7),
}


@pytest.fixture(
    params=[
        *("pillow", "cpu", "dali"),
        "simulated",
        *(pytest.param(n, marks=pytest.mark.cuda) for n in ("cuda", "dali on a GPU")),
    ]
)
def engine(request: pytest.FixtureRequest) -> Iterator[Engine]:
    """Each in turn; the CUDA engine on the simulated GPU, too."""
    if request.param in ("cpu", "simulated") and host_library() is None:
        pytest.skip("no native code")
    if "dali" in request.param:
        pytest.importorskip("nvidia.dali")
    if request.param != "simulated":
        yield EVERY_ENGINE[request.param]
        return
    cuda_on_cpu()  # skips where there are no kernels, before a loader has threads that a skipped test would keep
    with simulated() as runtime:
        yield EVERY_ENGINE["cuda"]
        runtime.gpu.finish()
        assert runtime.gpu.problems == []


# ---- photos ----


def make_photo(height: int, width: int, seed: int = 0) -> Image.Image:
    """A picture with edges, gradients and noise in every channel: RGB, of height x width pixels."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    waves = [np.sin(x / (3 + 4 * rng.random()) + y / (5 + 9 * rng.random())) for _ in range(2)]
    planes = [128 + 110 * waves[0], 128 + 110 * waves[1], (3 * x + 2 * y + 40 * seed) % 256]
    pixels = np.stack(planes, axis=-1) + rng.normal(0, 12, (height, width, 3))
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def encode(image: Image.Image, form: str = "JPEG", **options: Any) -> bytes:
    """The image as a file's bytes; options as of ``Image.save``."""
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


@pytest.fixture(scope="session", name="make_photo")
def make_photo_fixture() -> Callable[..., Image.Image]:
    return make_photo


@pytest.fixture(scope="session", name="encode")
def encode_fixture() -> Callable[..., bytes]:
    return encode


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of two classes, cats and dogs, of 12 JPEGs each, in six sizes. Not to be written to."""
    root = tmp_path_factory.mktemp("photos")
    for number, (name, sizes) in enumerate(SIZES.items()):
        (root / name).mkdir()
        for i in range(PHOTOS_A_CLASS):
            data = encode(make_photo(*sizes[i % len(sizes)], seed=100 * number + i), quality=90)
            (root / name / f"{i:02}.jpg").write_bytes(data)
    return root


@pytest.fixture(scope="session")
def fresh() -> Iterator[Pythons]:
    """Runs programs, each in a Python of its own."""
    pythons = Pythons()
    yield pythons
    assert pythons.close() == 0


@pytest.fixture(scope="session")
def run_python(fresh: Pythons) -> Callable[..., "subprocess.CompletedProcess[str]"]:
    """Run a program in a Python of its own, warnings as errors; it fails the test if it fails or hangs."""

    def run(program: str, *arguments: object, timeout: float = 60) -> "subprocess.CompletedProcess[str]":
        ended = fresh.run(program, *arguments, timeout=timeout)
        assert ended.returncode == 0, ended.stderr[-4000:]
        return ended

    return run


# ---- threads, and what they leave behind ----


@pytest.fixture
def no_collector() -> Iterator[None]:
    """What nothing refers to is freed at once, or not at all."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.fixture
def none_left() -> Iterator[None]:
    """The test's workers end with it."""
    if alive():  # of a test before, in a circle that was not collected yet
        gc.collect()
    yield
    assert in_time(lambda: alive() == [])


@pytest.fixture
def short_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    """Threads that do not end are left soon; torch's, too."""
    monkeypatch.setattr(threads, "GRACE", 0.1)
    monkeypatch.setattr(threads, "UNWINDING", 0.1)
    monkeypatch.setattr(_utils, "MP_STATUS_CHECK_INTERVAL", 0.1)


@pytest.fixture
def fifo(tmp_path: Path, none_left: None) -> Iterator[Fifo]:
    """A file whose reading stalls until the end of the test."""
    made = Fifo(tmp_path / "fifo")
    yield made
    made.let_go()
    assert in_time(lambda: alive() == [])
    made.close()
