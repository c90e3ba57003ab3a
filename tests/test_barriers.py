"""The native code with real threads, under sanitizers: no race, no barrier that only some reach, nothing outside.

`tests/native/threads.cuh` makes a block of 16 threads. What the sanitizers are to find is planted, too: each barrier is
left out in turn. In `make test` the code as it ships; with GPULOAD_CASES, as `make sanitize` sets it, all of it.
"""

import ctypes
import itertools
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch

import gpuload
from gpuload import transforms as T
from gpuload.compilers import compiler, kernel_folder
from gpuload.decoders.files import Files
from gpuload.device import HostDevice
from gpuload.engines.base import Layout
from gpuload.engines.cuda import CudaEngine
from gpuload.engines.cuda.adjusting import ADJUSTED, COLORS
from gpuload.philox import bounded
from gpuload.recipes.adjust import ADJUSTMENT, Adjust, Adjustment
from gpuload.recipes.erase import LEVELS, Cover, Erase
from gpuload.recipes.fuse import fuse
from gpuload.recipes.ops import Crop, Filter, Flip, Grayscale, Pad, PadMode, Recipe, Resize
from gpuload.recipes.recipes import Recipes
from gpuload.recipes.record import RECORD
from gpuload.recipes.warp import WARP_FILTERS, Warp
from gpuload.samplers.permutation import permutation_key, permute
from gpuload.transforms.plan import Plan
from tests.cases import THOROUGH
from tests.conftest import encode, make_photo
from tests.cuda_on_cpu import cuda_on_cpu
from tests.recipes import Pixels, batched

pytestmark = pytest.mark.skipif(compiler() is None, reason="no C++ compiler")
planted = pytest.mark.skipif(not THOROUGH, reason="make sanitize runs it")

HERE = Path(__file__).parent / "native"
RACES = ("-O1", "-fsanitize=thread")  # at -O0, GCC does not see what a call stores
RACES_OF_BLOCKS = (*RACES, "-DBLOCKS_AT_ONCE")
ADDRESSES = ("-fsanitize=address",)
MEMORY = ("-fsanitize=address,undefined,float-cast-overflow", "-fno-sanitize-recover=all")
DIVERGED, RACED, REACHED = 3, 66, 67  # exit statuses: of tests/native/threads.cuh, and of the sanitizers
OPTIONS = {"TSAN_OPTIONS": f"halt_on_error=1 exitcode={RACED}", "ASAN_OPTIONS": f"exitcode={REACHED}"}
BARRIER = "barrier();"
BARRIERS = 12  # in all kernels
Build = Callable[..., Path]


def named(value: Any) -> str | None:
    return f"{value.file} {value.at} {value.text}" if isinstance(value, Change) else None


class Change(NamedTuple):
    """What is planted: in a file, instead of the text that a pattern finds for the ``at``-th time."""

    file: str
    pattern: str
    text: str
    at: int = 0

    def apply(self, folder: Path) -> None:
        path = folder / self.file
        whole = path.read_text()
        found = list(re.finditer(self.pattern, whole))[self.at]
        path.write_text(whole[: found.start()] + self.text + whole[found.end() :])


def barriers() -> list[Change]:
    """Each barrier of the kernels, left out."""
    found = [(path.name, path.read_text().count(BARRIER)) for path in sorted(kernel_folder().glob("*.cu"))]
    return [Change(name, re.escape(BARRIER), "", at) for name, count in found for at in range(count)]


LEFT_OUT = barriers()
REACHED_BY_SOME = [barrier._replace(text=f"if (lane() > 0) {BARRIER}") for barrier in LEFT_OUT]
SAME_TILES = Change("render.cu", r"tile = block_y\(\)", "tile = 0")
SHARED_MEMORY = Change("host.cpp", "thread_local Thread mine", "Thread mine")
OUTSIDE = [
    (Change("render.cu", r"middle\[MIDDLE_PIXELS\]", "middle[MIDDLE_PIXELS - 1]"), "global-buffer-overflow"),
    (Change("render.cu", r"sums\[TILE_W \* TILE_H\]", "sums[TILE_W * TILE_H - 1]"), "global-buffer-overflow"),
    (Change("render.cu", r"j < row\[1\]", "j <= row[1]"), "buffer-overflow|use-after-poison"),
    (Change("adjust.cu", r"i < pixels;", "i <= pixels;"), "heap-buffer-overflow"),
    (Change("adjust.cu", r"width \* 3 \+ 3", "width * 3 + 7"), "heap-buffer-overflow"),
    (Change("erase.cuh", r"x == of.width", "x > of.width"), "heap-buffer-overflow"),
    (Change("gather.cu", r"i < words", "i <= words"), "heap-buffer-overflow"),
    (Change("pad.cu", r"i < count", "i <= count"), "heap-buffer-overflow"),
    (Change("order.cu", r"i < count", "i <= count"), "heap-buffer-overflow"),
]
COUNTED = ("--coverage",)
PROGRAMS: list[Any] = [  # the file, the compiler's flags, what is changed
    *(("launches", flags) for flags in (RACES, RACES_OF_BLOCKS, MEMORY, COUNTED)),
    ("host_threads", RACES),
    *(("launches", RACES, change) for change in LEFT_OUT),
    *(("launches", (), change) for change in REACHED_BY_SOME),
    ("launches", RACES_OF_BLOCKS, SAME_TILES),
    *(("launches", ADDRESSES, change) for change, _ in OUTSIDE),
    ("host_threads", RACES, SHARED_MEMORY),
]


def compile_program(source: Path, made: Path, flags: Sequence[str]) -> "subprocess.CompletedProcess[str]":
    found = compiler()
    assert found is not None
    language = ("-std=c++20", "-g", "-ffp-contract=off", "-pthread", "-Wno-unknown-pragmas")
    command = [*found, *language, *flags, "-o", str(made), str(source)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300)


@pytest.fixture(scope="module", autouse=True)
def sanitizers(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Skip where there are none, or where they do not start: GCC 12's do not under kernels that scatter memory more."""
    folder = tmp_path_factory.mktemp("sanitizers")
    (folder / "nothing.cpp").write_text("int main() {}")
    for flags in (RACES, MEMORY):
        done = compile_program(folder / "nothing.cpp", folder / "nothing", flags)
        done = done if done.returncode else run(folder / "nothing")
        if done.returncode:
            (pytest.fail if THOROUGH else pytest.skip)(f"{flags} does not work here: {done.stderr[-1000:]}")


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Build]:
    """Compile a program of ``tests/native``; in its copy of the sources a block has threads, and changes are made."""

    def make(folder: Path, main: str, flags: tuple[str, ...], *changes: Change) -> Path:
        for path in (*kernel_folder().glob("*.*"), *HERE.glob("*.cpp"), *HERE.glob("*.h")):
            shutil.copy(path, folder)
        if main == "launches":
            shutil.copy(HERE / "threads.cuh", folder / "portable.cuh")
        for change in changes:
            change.apply(folder)
        compiled = compile_program(folder / f"{main}.cpp", folder / main, flags)
        assert compiled.returncode == 0, compiled.stderr
        return folder / main

    with ThreadPoolExecutor(2) as pool:
        start = lru_cache(maxsize=None)(
            lambda *program: pool.submit(make, tmp_path_factory.mktemp("sources"), *program)
        )
        for program in PROGRAMS if THOROUGH else ():  # ahead of the tests
            start(*program)
        yield lambda *program: start(*program).result()
        pool.shutdown(cancel_futures=True)


def run(program: Path, *arguments: object) -> "subprocess.CompletedProcess[str]":
    command = [str(program), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, env={**os.environ, **OPTIONS})


def check_silent(done: "subprocess.CompletedProcess[str]", says: str) -> None:
    assert (done.returncode, done.stderr) == (0, ""), done.stderr[:4000]
    assert says in done.stdout


# ---- launches ----


class Launch(NamedTuple):
    """One launch: a letter for the kernel, its numbers, its arrays and what must come out."""

    kind: str
    numbers: Sequence[int]
    arrays: Sequence[bytes]
    expected: bytes

    def parts(self) -> Iterator[bytes]:
        yield np.array([ord(self.kind), *self.numbers], np.uint64).tobytes()
        yield self.expected
        yield from self.arrays


def parts_of(launches: Iterable[Launch]) -> list[bytes]:
    return [part for launch in launches for part in launch.parts()]


def written(path: Path, parts: Iterable[bytes]) -> Path:
    path.write_bytes(b"".join(np.int64(len(part)).tobytes() + part for part in parts))
    return path


class Capture(HostDevice):
    """Keeps what the CUDA engine launches, and what the kernels as C++ make of it.

    Args:
        blocks: most blocks along the grid's y; fewer than there are tiles make each walk over several.
    """

    launches = True

    def __init__(self, blocks: int = 65_535) -> None:
        self.blocks = blocks
        self.captured: list[Launch] = []

    def empty(self, shape: Sequence[int], dtype: torch.dtype) -> torch.Tensor:
        return torch.zeros(tuple(shape), dtype=dtype)  # an index that is read too early leads nowhere else

    def prepare(self, name: str) -> None:
        pass

    def launch(self, name: str, grid: tuple[int, int], threads: int, arguments: tuple[Any, ...]) -> None:
        given = map(int, arguments)
        is_render = name.startswith("render_")
        self.captured.append(
            self._render(grid, int(name.removeprefix("render_")), *given) if is_render else self._adjust(grid, *given)
        )

    def _render(
        self,
        grid: tuple[int, int],
        width: int,
        records: int,
        staging: int,
        table: int,
        channels: int,
        last: int,
        out: int,
    ) -> Launch:
        tiles = min(grid[1], self.blocks)
        cuda_on_cpu().cuda_render(records, grid[0], staging, table, width, channels, last, tiles, out)
        given = ctypes.string_at(records, grid[0] * RECORD.itemsize)
        extents = np.frombuffer(given, RECORD)["axes"]["extent"].astype(np.int64)
        arrays = given, ctypes.string_at(staging, records - staging), ctypes.string_at(table, channels * 256 * width)
        made = ctypes.string_at(out, int(extents.prod(1).sum()) * channels * width)
        return Launch("i", (grid[0], width, channels, last, tiles), arrays, made)

    def _adjust(
        self, grid: tuple[int, int], pictures: int, steps: int, warps: int, scratch: int, table: int, width: int,
        channels: int, last: int, out: int,
    ) -> Launch:  # fmt: skip
        given = ctypes.string_at(pictures, grid[0] * ADJUSTED.itemsize)
        described = np.frombuffer(given, ADJUSTED)
        size, used = described["size"].astype(np.int64), described["steps"].sum(axis=1).max()
        pixels = size.prod(1)
        room = described["beside"] + (pixels * 3 + 3) // 4 * 4 + size.sum(1) * 4  # of those that have it; the last does
        arrays = [
            given,
            ctypes.string_at(steps, int(used) * ADJUSTMENT.itemsize),
            ctypes.string_at(warps, pictures - warps),
        ]
        arrays += [ctypes.string_at(scratch, int(room.max())), ctypes.string_at(table, channels * 256 * width)]
        cuda_on_cpu().cuda_adjust(pictures, grid[0], steps, warps, scratch, table, width, channels, last, out)
        made = ctypes.string_at(out, int(pixels.sum()) * channels * width)
        return Launch("a", (grid[0], width, channels, last), arrays, made)


def rendered(
    values: list[Any], sizes: list[tuple[int, int]], recipes: list[Recipe], last: bool = False, blocks: int = 65_535
) -> Launch:
    """The CUDA engine's last launch for pictures of noise."""
    rng, device, plan = np.random.default_rng(len(sizes)), Capture(blocks), Plan(values)
    layout = Layout.of(plan, None, torch.channels_last if last else torch.contiguous_format)
    engine = CudaEngine(layout, device)
    pictures: list[Pixels] = [rng.integers(0, 256, (*size, 3), np.uint8) for size in sizes]
    fused, files = engine.fuse(batched(pictures, recipes)), Files([b""] * len(sizes), upright=False, decoder=None)
    assert not fused.by_pillow.any()
    batch = engine.batch(fused, files)
    for slot, (top, left, height, width) in enumerate(fused.regions.tolist()):
        batch.put(slot, pictures[slot][top : top + height, left : left + width])
    batch.finish()
    batch.images()
    return device.captured[-1]


def renders() -> Iterator[Launch]:
    """Every way through render.cu."""
    flip, gray, pad = Flip(True), Grayscale(), Pad(9, 5, 3, 12, (1, 2, 3), PadMode.CONSTANT)
    several_tiles = [
        (Resize(33, 70, Filter.BILINEAR), flip, pad),
        (flip, Crop(2, 3, 9, 40), Resize(9, 33, Filter.BICUBIC)),
    ]
    yield rendered([], [(60, 50), (20, 50)], several_tiles, blocks=2)
    # more source lines than fit: across first, down first, weights of the kernel and of the host
    far = [(240, 512), (320, 560), (130, 900), (400, 800)]
    sizes = [(8, 32), (8, 32), (3, 2), (8, 32)]
    filters = [Filter.BOX, Filter.BOX, Filter.NEAREST, Filter.HAMMING]
    shrunk: list[Recipe] = [(Resize(*size, filter),) for size, filter in zip(sizes, filters, strict=True)]
    yield rendered([T.ToDtype(torch.float32, scale=True)], far, shrunk, last=True)
    modes: list[Recipe] = [(Pad(12, 12, 12, 12, (1, 2, 3), mode), Crop(0, 12, 40, 9), gray) for mode in PadMode]
    alone: Recipe = (pad, Crop(0, 0, 4, 4))
    yield rendered([T.ToDtype(torch.float16, scale=True)], [(30, 5)] * 5, [*modes, alone])
    one = [(gray, Resize(31, 17, Filter.LANCZOS)), (Resize(40, 90, Filter.BILINEAR), gray)]
    yield rendered([T.Grayscale(1), T.ToDtype(torch.float32, scale=True)], [(45, 60), (1, 1)], one)


def adjustings() -> Iterator[Launch]:
    """Every way through adjust.cu."""
    by_kind = {kind: Adjust(kind, 3.0) for kind in COLORS}
    look = {"filter": Filter.NEAREST, "fill": (1, 2, 3)}
    turned, by_axes = Warp([0.9, 0.3, 2.0, -0.3, 0.9, 4.0], **look), Warp([1.2, 0.0, -3.0, 0.0, 0.7, 2.0], **look)
    too_large, tilted = Warp([40000.0, 0.3, -2.0, 0.1, 1.0, 4.0], **look), [0.9, 0.3, 2.0, -0.3, 0.9, 4.0, 0.01, 0.02]
    one_by_one = [(by_kind[Adjustment.ADJUST_HUE], kind) for kind in by_kind.values()]
    noticed = by_kind[Adjustment.ADJUST_BRIGHTNESS], by_kind[Adjustment.ADJUST_SHARPNESS]
    warped = [(*noticed, warp, *noticed) for warp in (turned, too_large, by_axes)]
    between = [(Warp(tilted, filter, (9, 8, 7)),) for filter in WARP_FILTERS]
    recipes: list[Recipe] = [*one_by_one, *warped, *between, (turned,), (by_axes,)]
    sizes = [(20 + i, 31 - i) for i in range(len(recipes))]
    yield rendered([T.ToDtype(torch.float32, scale=True)], sizes, recipes, last=True)
    yield rendered([], sizes[-2:], recipes[-2:])
    yield rendered([T.Grayscale(1), T.ToDtype(torch.float16)], [(9, 9)], [(*noticed, Grayscale())])


def erasings() -> Iterator[Launch]:
    """Rectangles over each other, with a sample between that has none; on what the file of launches begins with."""
    rng, sizes = np.random.default_rng(0), [(40, 60), (3, 3), (30, 50)]
    for width, last, channels in ((1, 0, 3), (2, 1, 3), (4, 0, 1)):
        covers = [(Erase(cover, 1 + cover, 1 + cover, 2, 25, 30 + cover, cover + 7),) for cover in Cover]
        recipes: list[Recipe] = [sum(covers, ()), (), (*sum(reversed(covers), ()), Erase(Cover.COLOR, 0, 29, 49, 1, 1))]
        fused = fuse(Recipes.of(recipes, *zip(*sizes, strict=True)))
        ends = fused.extents.prod(1).cumsum() * channels
        fused.records["output"] = ends - fused.extents.prod(1) * channels
        bits = np.dtype(f"<u{width}")
        fills = rng.integers(0, 99, (channels, 4 + LEVELS)).astype(bits)
        out = np.frombuffer(b"\xab" * int(ends[-1] * width), bits).copy()
        for image, one, end in zip(fused.extents.tolist(), recipes, ends.tolist(), strict=True):
            flat = out[end - channels * image[0] * image[1] : end]
            pixels = flat.reshape(*image, channels).transpose(2, 0, 1) if last else flat.reshape(channels, *image)
            for erase in one:
                pixels[erase.place] = erase.values(fills)
        rectangles, begins = fused.erasures
        arrays = [array.tobytes() for array in (fused.records, rectangles, begins, fills)]
        yield Launch("e", (3, fills.shape[1], width, channels, last, 2), arrays, out.tobytes())


def gathers() -> Iterator[Launch]:
    rng = np.random.default_rng(0)
    for word, words in ((1, 27), (4, 5), (16, 3)):
        source, indices = rng.integers(0, 256, (11, word * words), np.uint8), rng.integers(0, 11, 20)
        yield Launch("g", (20, words, word), (source.tobytes(), indices.tobytes()), source[indices].tobytes())


def fillings() -> Iterator[Launch]:
    """Rows that begin anywhere in 16 bytes, lines that are longer and shorter than that, padding on either side."""
    rng, value = np.random.default_rng(0), 7
    shapes = [[(3, 5, 40), (3, 2, 7), (3, 0, 9)], [(3, 2), (2, 3)], [(64,), (1,), (32,)]]
    for element, sizes, side in itertools.product((1, 2, 4, 8, 16), shapes, ("left", "right")):
        dtype = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64, 16: torch.complex128}[element]
        rows = [torch.from_numpy(rng.integers(0, 99, size)).to(dtype) for size in sizes]
        collate, device = gpuload.collate.Pad(value=value, padding_side=side), CaptureFilling()
        elements, filling = collate.pack(rows)
        collate._launched(elements, filling, device)
        arrays = elements.numpy().tobytes(), filling.places.numpy().tobytes(), device.record.tobytes()
        yield Launch("f", (element,), arrays, collate(rows).numpy().tobytes())


class CaptureFilling(HostDevice):
    """Keeps the record of what would be launched."""

    def launch(self, name: str, grid: tuple[int, int], threads: int, arguments: tuple[Any, ...]) -> None:
        self.record = arguments[2]


def orders() -> Iterator[Launch]:
    start, count, seed, epoch, n = 5, 700, (1 << 64) - 3, 7, 1003
    positions, ends = np.arange(start, start + count), np.arange(1, n + 1).cumsum()
    key = permutation_key(n, seed, epoch)
    yield Launch("p", (start, count), (key.tobytes(),), permute(positions, n, seed, epoch).tobytes())
    drawn = bounded(seed, positions, epoch, n)
    yield Launch("r", (seed, epoch, n, start, count), (b"",), drawn.astype(np.int64).tobytes())
    found = np.searchsorted(ends, bounded(seed, positions, epoch, int(ends[-1])), side="right")
    yield Launch("w", (seed, epoch, n, start, count), (ends.tobytes(),), found.tobytes())


@pytest.fixture(scope="module")
def launches() -> list[Launch]:
    return [*renders(), *adjustings(), *erasings(), *gathers(), *fillings(), *orders()]


@pytest.fixture(scope="module")
def file(launches: list[Launch], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(tmp_path_factory.mktemp("launches") / "all", parts_of(launches))


# ---- files ----

SAMPLES = 24


@pytest.fixture(scope="module")
def batch_of_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """JPEGs of all sizes, and what becomes of them."""
    folder = tmp_path_factory.mktemp("files")
    sizes = [(20 + 13 * i % 40, 30 + 7 * i % 50) for i in range(SAMPLES)]
    paths = [bytes(folder / f"{i}.jpg") for i in range(SAMPLES)]
    for i, size in enumerate(sizes):
        Path(os.fsdecode(paths[i])).write_bytes(encode(make_photo(*size, seed=i)))
    device, plan = Capture(), Plan([T.ToDtype(torch.float16, scale=True)])
    engine = CudaEngine(Layout.of(plan, None, torch.contiguous_format), device)
    filters, files = list(Filter), Files(paths, upright=False, decoder=None)
    files.sizes[:] = sizes
    height, width = files.sizes.T.tolist()
    recipes = [
        (Crop(3, 4, 15, 20), Resize(9 + i % 40, 12, filters[i % len(filters)]), Grayscale()) for i in range(SAMPLES)
    ]
    fused = engine.fuse(Recipes.of(recipes, height, width))
    assert not fused.by_pillow.any()
    staging = engine.batch(fused, files)  # gives the records their places
    numbers = SAMPLES, int(fused.extents.prod(1).sum()) * 3, 2, 3, files.work.staging_bytes
    names = b"".join(path + b"\0" for path in paths)
    starts = np.cumsum([0, *(len(path) + 1 for path in paths[:-1])], dtype=np.int64)
    arrays = np.array(numbers, np.int64), names, starts, fused.regions, fused.records, engine.layout.table.numpy()
    del staging
    return written(folder / "batch", [array if isinstance(array, bytes) else array.tobytes() for array in arrays])


# ---- as they ship ----


@pytest.mark.parametrize(
    "flags",
    [RACES, pytest.param(RACES_OF_BLOCKS, marks=planted), pytest.param(MEMORY, marks=planted)],
    ids=["threads of a block", "blocks at once", "memory"],
)
def test_the_kernels_are_clean(flags: tuple[str, ...], build: Build, file: Path, launches: list[Launch]) -> None:
    check_silent(run(build("launches", flags), file), f"{len(launches)} launches")


@planted
@pytest.mark.skipif(shutil.which("gcov") is None or "g++" not in (compiler() or [""])[0], reason="GCC's gcov counts")
def test_the_launches_go_every_way_through_the_kernels(build: Build, file: Path) -> None:
    program = build("launches", COUNTED)
    check_silent(run(program, file), "launches")
    subprocess.run(["gcov", f"{program.name}.gcda"], cwd=program.parent, check=True, capture_output=True, timeout=60)
    for kernel in kernel_folder().glob("*.cu"):
        runs = re.findall(
            r"^ *([^:]+): *([1-9]\d*):", (program.parent / f"{kernel.name}.gcov").read_text(), re.MULTILINE
        )
        reached = {line for count, line in runs if count[0].isdigit()}  # in any of a template's instances
        assert reached and {line for count, line in runs if count == "#####"} <= reached, kernel.name


def test_the_hosts_threads_race_nowhere(build: Build, batch_of_files: Path) -> None:
    check_silent(run(build("host_threads", RACES), batch_of_files), f"{SAMPLES} samples")


# ---- what is planted is found ----


def test_every_barrier_is_known() -> None:
    """Written in another way, one would not be left out below."""
    headers = [path.read_text() for path in kernel_folder().glob("*.cu*") if path.name != "portable.cuh"]
    assert sum(len(re.findall(r"\bbarrier\s*\(", text)) for text in headers) == len(LEFT_OUT) == BARRIERS


@planted
@pytest.mark.parametrize("left_out", LEFT_OUT, ids=named)
def test_a_barrier_that_is_missing_is_a_race(left_out: Change, build: Build, file: Path) -> None:
    done = run(build("launches", RACES, left_out), file)
    assert done.returncode == RACED and "ThreadSanitizer: data race" in done.stderr, done.stderr[:2000]


@planted
@pytest.mark.parametrize("barrier", REACHED_BY_SOME, ids=named)
def test_a_barrier_that_only_some_reach_is_found(barrier: Change, build: Build, file: Path) -> None:
    """On CUDA that is undefined, and may go well for years."""
    done = run(build("launches", (), barrier), file)
    assert done.returncode == DIVERGED and "threads of a block wait at lines" in done.stderr


@planted
def test_blocks_that_write_the_same_pixels_race(build: Build, file: Path) -> None:
    done = run(build("launches", RACES_OF_BLOCKS, SAME_TILES), file)
    assert done.returncode == RACED and "ThreadSanitizer: data race" in done.stderr, done.stderr[:2000]


@planted
@pytest.mark.parametrize(("change", "kind"), OUTSIDE, ids=named)
def test_what_lies_outside_is_found(change: Change, kind: str, build: Build, file: Path) -> None:
    done = run(build("launches", ADDRESSES, change), file)
    assert done.returncode == REACHED and re.search(f"AddressSanitizer: ({kind})", done.stderr), done.stderr[:2000]


@planted
def test_rows_of_weights_at_odd_places_are_found(build: Build, launches: list[Launch], tmp_path: Path) -> None:
    """A GPU ends the kernel where an int does not lie at a multiple of four."""
    odd = []
    for launch in (launch for launch in launches if launch.kind == "i"):
        records, staging, table = launch.arrays
        moved = np.frombuffer(records, RECORD).copy()
        moved["weights"] += np.where(moved["weights"] >= 0, 2, 0)
        moved["pixels"] += 2
        odd.append(launch._replace(arrays=(moved.tobytes(), bytes(2) + staging, table)))
    done = run(build("launches", MEMORY), written(tmp_path / "odd", parts_of(odd)))
    assert done.returncode != 0 and "misaligned address" in done.stderr, done.stderr[:2000]


@planted
def test_memory_that_threads_share_is_found(build: Build, batch_of_files: Path) -> None:
    done = run(build("host_threads", RACES, SHARED_MEMORY), batch_of_files)
    assert done.returncode == RACED and "ThreadSanitizer: data race" in done.stderr, done.stderr[:2000]


@planted
def test_other_bytes_are_found(build: Build, launches: list[Launch], tmp_path: Path) -> None:
    for number, launch in enumerate(launches):
        wrong = launch._replace(expected=launch.expected[:-1] + bytes([launch.expected[-1] ^ 1]))
        done = run(build("launches", MEMORY), written(tmp_path / str(number), parts_of([wrong])))
        assert done.returncode == 1 and done.stderr.startswith("launch 0 "), done.stderr[:2000]
