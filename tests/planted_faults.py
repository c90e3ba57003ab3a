"""Are the sanitizers' builds such that they find something? Faults planted into copies of the native code.

``python -m tests.sanitize`` runs them in the environment that they need; `make test` does not, for each is a build.
Planted are: a read and a write one byte beyond a buffer of the caller's, reads beyond images in memory and a write
beyond staging, accesses behind the code's own, uses of freed memory, an index behind an array's end and one
behind a vector's, a signed overflow, a shift by too much, a float that no integer holds, and a misaligned store.
"""

import ctypes
import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from gpuload.compilers import build, kernel_folder
from gpuload.native import Status, declare
from gpuload.recipes.adjust import Adjust, Adjustment
from gpuload.recipes.fuse import fuse
from gpuload.recipes.ops import Crop, Filter, Flip, Recipe, Resize
from gpuload.recipes.warp import Turn, Warp
from tests.conftest import encode, make_photo
from tests.native_batch import Batch, in_memory, of_files, staged
from tests.recipes import batched

FOLDER = Path(__file__).resolve().parents[1] / "build" / "sanitize" / "planted"
WELL, OTHERWISE, NOT_AT_ALL = 0, 70, 71  # exit statuses of a scenario that nothing stopped


def picture(height: int, width: int) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)


def put(library: ctypes.CDLL, recipe: Recipe, height: int, width: int) -> bool:
    pixels = picture(height, width)
    batch = Batch(fuse(batched([pixels], [recipe])))
    out = np.zeros(len(batch.out), np.uint8)  # its own memory, with nothing around it
    batch.work.out = out.ctypes.data
    return bool(library.gpuload_put(ctypes.byref(batch.work), 0, pixels.ctypes.data) == Status.OK)


def whole(library: ctypes.CDLL) -> bool:
    return put(library, (), 4, 9)


def flipped(library: ctypes.CDLL) -> bool:
    return put(library, (Flip(True),), 9, 21)


def narrow(library: ctypes.CDLL) -> bool:
    return put(library, (Resize(5, 4, Filter.BICUBIC),), 9, 4)


def grown(library: ctypes.CDLL) -> bool:
    return put(library, (Resize(9, 61, Filter.BOX),), 9, 21)


def vertical_first(library: ctypes.CDLL) -> bool:
    return put(library, (Resize(9, 31, Filter.LANCZOS),), 97, 35)


def adjusted(library: ctypes.CDLL) -> bool:
    value = {Adjustment.ADJUST_HUE: -99.0}
    return put(library, tuple(Adjust(each, value.get(each, 2.0)) for each in Adjustment), 9, 21)


def warped(library: ctypes.CDLL) -> bool:
    return put(library, (Warp([1.0, 0.1, 0.0, 0.1, 1.0, 0.0], Filter.NEAREST, (9, 9, 9)),), 9, 21)


def in_stages(library: ctypes.CDLL) -> bool:
    recipe = (Adjust(Adjustment.EQUALIZE), Crop(1, 2, 5, 9), Resize(12, 12, Filter.BOX))
    turn = Turn([1.0, 0.1, 0.0, 0.1, 1.0, 0.0], 15, 9, Filter.BILINEAR, (9, 9, 9))
    return put(library, (*recipe, turn, Crop(3, 1, 12, 8), Flip(True)), 9, 21)


def with_host_weights(library: ctypes.CDLL) -> bool:
    batch = staged(picture(9, 9), (Resize(20, 9, Filter.NEAREST),))
    return batch.put(0, picture(9, 9), library) == Status.OK


def measured(library: ctypes.CDLL) -> bool:
    with tempfile.NamedTemporaryFile() as file:
        file.write(encode(make_photo(9, 9)))
        file.flush()
        batch = of_files([file.name], decode=1)  # which is not called
        library.gpuload_measure(ctypes.byref(batch.work), 0, 1)
    return batch.sizes.tolist() == [[9, 9]]


def lying(library: ctypes.CDLL, image: NDArray[np.uint8], recipe: Recipe) -> bool:
    """An image in memory goes to staging."""
    batch = Batch(fuse(batched([picture(9, 21)], [recipe])))
    staging = np.zeros(batch.fused.pixel_bytes[0], np.uint8)  # its own memory, with nothing around it
    batch.work.staging, batch.work.staging_bytes = staging.ctypes.data, staging.size
    batch.sizes[:] = image.shape[:2]
    batch.remember(in_memory([image]))
    library.gpuload_share(ctypes.byref(batch.work), 0, 1)
    return bool(batch.status[0] == Status.OK)


def in_colors(library: ctypes.CDLL) -> bool:
    return lying(library, picture(9, 21), (Crop(4, 9, 5, 12),))


def in_gray(library: ctypes.CDLL) -> bool:
    return lying(library, picture(9, 21)[..., 0].copy(), (Crop(4, 9, 5, 12),))


def several(library: ctypes.CDLL) -> bool:
    """Two views of an image in memory, far apart, are rendered."""
    image = picture(40, 60)[..., 0].copy()
    recipes: list[Recipe] = [(Crop(0, 0, 5, 5),), (Crop(30, 40, 8, 9),)]
    first, second = (Batch(fuse(batched([picture(40, 60)], [recipe]))) for recipe in recipes)
    first.work.next = ctypes.addressof(second.work)
    first.sizes[:] = image.shape
    first.remember(in_memory([image]))
    library.gpuload_share(ctypes.byref(first.work), 0, 1)
    return bool(first.status[0] == Status.OK)


def away(library: ctypes.CDLL) -> bool:
    """A file is read for a decoder elsewhere."""
    with tempfile.NamedTemporaryFile() as file:
        file.write(encode(make_photo(9, 9)))
        file.flush()
        batch = of_files([file.name], (9, 9))
        batch.stage(9 * 9 * 3)
        encoded = np.zeros((1, 3), np.int64)
        batch.work.encoded, batch.status[:] = encoded.ctypes.data, Status.AWAY
        library.gpuload_read(ctypes.byref(batch.work), 0, 1)
        library.gpuload_release(encoded.ctypes.data, 1)
    return bool(batch.status[0] == Status.AWAY)


SCENARIOS: list[Callable[[ctypes.CDLL], bool]] = [
    whole, flipped, narrow, grown, vertical_first, adjusted, warped, in_stages, with_host_weights, measured,
    in_colors, in_gray, several, away,
]  # fmt: skip


@dataclass(frozen=True)
class Fault:
    """A text of the native code, what is planted in its place, what shows it, and what the sanitizer says."""

    file: str
    text: str
    planted: str
    scenario: Callable[[ctypes.CDLL], bool]
    said: tuple[str, ...]


FAULTS = {
    "a read beyond the caller's pixels": Fault(
        "passes.h",
        "move(std::integral_constant<int, 3>());",
        "move(std::integral_constant<int, 4>());",
        flipped,
        ("heap-buffer-overflow", "READ of size", "0 bytes to the right of"),
    ),
    "a write beyond the caller's output": Fault(
        "passes.h",
        "for (; out < end; ++out, bytes += 3)",
        "for (; out <= end; ++out, bytes += 3)",
        flipped,
        ("heap-buffer-overflow", "WRITE of size 1", "0 bytes to the right of"),
    ),
    "a read beyond an image in memory": Fault(
        "passes.h",
        "std::memcpy(out + y * bytes, source.row(y), size_t(bytes));",
        "std::memcpy(out + y * bytes, source.row(y + 1), size_t(bytes));",
        in_colors,
        ("heap-buffer-overflow", "READ of size 36"),
    ),
    "a read beyond a gray image in memory": Fault(
        "passes.h",
        "std::memset(out + x * 3, gray[x], 3);",
        "std::memset(out + x * 3, gray[x + 1], 3);",
        in_gray,
        ("heap-buffer-overflow", "READ of size 1", "0 bytes to the right of"),
    ),
    "a write beyond staging": Fault(
        "passes.h",
        "std::memset(out + x * 3, gray[x], 3);",
        "std::memset(out + x * 3, gray[x], 4);",
        in_gray,
        ("heap-buffer-overflow", "WRITE of size 4", "0 bytes to the right of"),
    ),
    "a write beyond the code's own strip": Fault(
        "passes.h",
        "memory.room((columns + rows.most + simd::TOGETHER) * LANES)",
        "memory.room(columns * LANES - 1)",
        grown,
        ("heap-buffer-overflow", "WRITE of size"),
    ),
    "a read beyond what views share": Fault(
        "host.cpp",
        "const int32_t last = std::max(at[k] + at[k + 2], end);",
        "const int32_t last = at[k] + at[k + 2];",
        several,
        ("heap-buffer-overflow", "READ of size"),
    ),
    "a write beyond a file's memory": Fault(
        "host.cpp",
        "std::max<int64_t>(more, 1)",
        "std::max<int64_t>(more - 1, 1)",
        away,
        ("heap-buffer-overflow", "WRITE of size"),
    ),
    "a write beyond the rows that sharpening keeps": Fault(
        "adjust.h",
        "memory.room(2 * pitch)",
        "memory.room(2 * pitch - 1)",
        adjusted,
        ("heap-buffer-overflow", "WRITE of size"),
    ),
    "an access behind an image that is warped": Fault(
        "engine.h",
        "{buffer.room(height * width * 3 + SLACK), height, width};",
        "{buffer.room(height * width * 3), height, width};",
        warped,
        ("heap-buffer-overflow", "of size 4"),
    ),
    "a picture that is made where it is read": Fault(
        "engine.h",
        "current_ ^= 1;",
        "current_ ^= 0;",
        in_stages,
        ("heap-use-after-free",),
    ),
    "an index behind some pixels' colors": Fault(
        "adjust.h",
        "part(at, count, colors);",
        "part(at, count + 1, colors);",
        adjusted,
        ("index 64 out of bounds for type",),
    ),
    "a use of freed memory": Fault(
        "engine.h",
        "scratch_.columns.room(STRIP * pitch)",
        "scratch_.lines.room(STRIP * pitch)",
        vertical_first,
        ("heap-use-after-free",),
    ),
    "an index behind an array's end": Fault(
        "engine.h",
        "for (int r = 0; r < used; ++r) take(",
        "for (int r = 0; r <= used; ++r) take(",
        whole,
        ("index 4 out of bounds for type",),
    ),
    "an index behind a vector's end": Fault(
        "rows.h",
        "straight && i < shown_end; ++i) straight = first(i) == begin + i - shown_begin;",
        "straight && i <= shown_end; ++i) straight = first(i) == begin + i - shown_begin;",
        whole,
        ("Assertion '__n < this->size()' failed",),
    ),
    "a signed overflow": Fault(
        "passes.h", "int sum = HALF;", "int sum = INT_MAX - 99;", narrow, ("signed integer overflow",)
    ),
    "a shift by too much": Fault(
        "jpeg_header.h", "return p[0] << 8 | p[1];", "return p[0] << 32 | p[1];", measured, ("shift exponent 32",)
    ),
    "a float that no integer holds": Fault(
        "weights.cuh", "weight * double(one);", "weight * double(one) * one;", narrow, ("is outside the range of",)
    ),
    "a misaligned store": Fault(
        "host.cpp",
        "(int*)(work.staging + record.weights_y)",
        "(int*)(work.staging + record.weights_y + 1)",
        with_host_weights,
        ("store to misaligned address",),
    ),
}


def ended(library: Path, scenario: Callable[[ctypes.CDLL], bool]) -> tuple[int, str]:
    """The exit status of a forked child that plays the scenario, and what it said on the way."""
    with tempfile.TemporaryFile() as said:
        child = os.fork()
        if child == 0:
            status = NOT_AT_ALL
            try:
                os.dup2(said.fileno(), 2)
                status = WELL if scenario(declare(ctypes.CDLL(str(library)))) else OTHERWISE
            finally:
                os._exit(status)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        said.seek(0)
        return status, said.read().decode()


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_without_a_fault_nothing_is_reported(scenario: Callable[[ctypes.CDLL], bool]) -> None:
    assert ended(build(kernel_folder() / "host.cpp"), scenario) == (WELL, "")


@pytest.mark.parametrize("name", FAULTS)
def test_a_planted_fault_is_reported(name: str) -> None:
    fault, folder = FAULTS[name], FOLDER / name.replace(" ", "-").replace("'", "")
    shutil.copytree(kernel_folder(), folder, dirs_exist_ok=True)
    text = (folder / fault.file).read_text()
    assert text.count(fault.text) == 1
    (folder / fault.file).write_text(text.replace(fault.text, fault.planted))
    status, said = ended(build(folder / "host.cpp", f"-I{folder}", "-O0"), fault.scenario)
    assert status not in (WELL, OTHERWISE, NOT_AT_ALL), said
    for part in fault.said:
        assert part in said
