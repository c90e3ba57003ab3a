"""Each kernel alone: bytes it must move, time, and the rate reached; on CUDA, and the CPU engine on one thread.

    python -m benchmarks.kernels [--quick] [--json FILE]

Bytes moved are the least that the task allows: every input byte read once, every output byte written once.
Times on CUDA are the median of CUDA-event timings of 20 launches after 5 to warm up. On a machine without a
GPU only the CPU engine is measured. ``--quick`` runs each kernel once on small input, for compute-sanitizer.
"""

import argparse
import ctypes
import json
import random
import statistics
import time
from collections.abc import Callable
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.loaders import MEAN, STD, machine
from gpuload import RandomSampler, WeightedRandomSampler, transforms as T
from gpuload.compilers import host_library
from gpuload.draws import keyed_draws
from gpuload.engines.cuda import CudaEngine
from gpuload.gather import gather_rows
from gpuload.geometry import SAMPLE, Geometry, fold
from gpuload.plan import Plan

Row = dict[str, Any]
HEIGHT, WIDTH = 375, 500  # of the photos
PLAN = Plan(
    [T.RandomResizedCrop(224), T.RandomHorizontalFlip(), T.ToDtype(torch.float32, scale=True), T.Normalize(MEAN, STD)]
)


class Noise:
    """A decoded image of noise: every batch of the benchmark has the same pixels."""

    height, width = HEIGHT, WIDTH

    def __init__(self) -> None:
        self.pixels = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)

    def read(self, top: int, left: int, out: Any) -> None:
        out[:] = self.pixels[top : top + out.shape[0], left : left + out.shape[1]]

    def image(self) -> Any:
        raise NotImplementedError("every recipe here folds")


def geometries(count: int) -> list[Geometry]:
    folded = [fold(PLAN.recipe(HEIGHT, WIDTH, draws), HEIGHT, WIDTH) for draws in keyed_draws(0, 0, range(count))]
    return [geometry for geometry in folded if geometry is not None]


def cuda_time(call: Callable[[], Any], repeats: int) -> float:
    """Median seconds of one call."""
    times = []
    for turn in range(repeats + min(repeats, 5)):
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        torch.cuda._sleep(2_000_000)  # the device is busy until all is queued: no launch is part of the time
        start.record()
        call()
        end.record()
        end.synchronize()
        if turn >= min(repeats, 5) or repeats == 1:
            times.append(start.elapsed_time(end) / 1e3)
    return float(statistics.median(times))


def row(kernel: str, what: str, moved: float, seconds: float) -> Row:
    return {"kernel": kernel, "task": what, "bytes": int(moved), "seconds": seconds, "GB/s": moved / seconds / 1e9}


def order_rows(quick: bool) -> list[Row]:
    n, repeats = (5_000, 1) if quick else (1_281_167, 20)
    samplers = {
        "order_permuted": RandomSampler(range(n), seed=0),
        "order_replaced": RandomSampler(range(n), replacement=True, seed=0),
        "order_weighted": WeightedRandomSampler(np.arange(1, n + 1), n, seed=0),
    }
    rows = []
    for name, sampler in samplers.items():
        seconds = cuda_time(lambda sampler=sampler: sampler.indices(0, n, 0, "cuda"), repeats)  # type: ignore[misc]
        rows.append(row(name, f"{n:,} indices", n * 8, seconds))
    return rows


def gather_rows_of(quick: bool) -> list[Row]:
    shapes = [(50_000, (3, 32, 32), torch.uint8), (50_000, (3, 32, 32), torch.float32), (50_000, (27,), torch.uint8)]
    rows = []
    for n, shape, dtype in shapes:
        n = 500 if quick else n
        source = torch.zeros((n, *shape), dtype=dtype, device="cuda")
        # other rows each time, or they would come from the cache
        orders = cycle([torch.randint(0, n, (min(8192, n),), device="cuda") for _ in range(32)])
        indices = next(orders)
        moved = 2 * len(indices) * source[0].numel() * source.element_size() + 8 * len(indices)
        repeats = 1 if quick else 20
        ours = cuda_time(lambda s=source, o=orders: gather_rows(s, next(o)), repeats)  # type: ignore[misc]
        theirs = cuda_time(lambda s=source, o=orders: s.index_select(0, next(o)), repeats)  # type: ignore[misc]
        task = f"{len(indices):,} rows of {tuple(shape)} {str(dtype)[6:]}"
        rows += [row("gather", task, moved, ours), row("(torch index_select)", task, moved, theirs)]
    return rows


def render_rows(quick: bool) -> list[Row]:
    count, repeats = (8, 1) if quick else (256, 20)
    rows = []
    for dtype in (torch.float32, torch.float16, torch.uint8):
        engine = CudaEngine(PLAN, dtype, torch.contiguous_format, torch.device("cuda"))
        batch, photo, rng = engine.batch(count), Noise(), random.Random(0)
        order = rng.sample(range(count), count)
        for slot, draws in zip(order, keyed_draws(0, 0, range(count)), strict=True):
            batch.fill(slot, photo, PLAN.recipe(HEIGHT, WIDTH, draws))
        batch.finish()
        pixels = sum(3 * g.region.height * g.region.width for g in geometries(count))
        moved = pixels + count * 3 * 224 * 224 * dtype.itemsize
        task = f"{count} RandomResizedCrop(224) of {HEIGHT} x {WIDTH}, {str(dtype)[6:]}"
        rows.append(row(f"render_{dtype.itemsize}", task, moved, cuda_time(batch.images, repeats)))
    return rows


def cpu_rows(quick: bool) -> list[Row]:
    library = host_library()
    if library is None:
        return []
    photo, table = Noise(), PLAN.table()
    out = torch.empty(3, 224, 224)
    jobs = []
    for geometry in geometries(8 if quick else 256):
        region = geometry.region
        pixels = np.empty((region.height, region.width, 3), np.uint8)
        photo.read(region.top, region.left, pixels)
        record = (ctypes.c_char * SAMPLE.itemsize)()
        geometry.pack(record)
        jobs.append((record, pixels))
    best = float("inf")
    for _ in range(1 if quick else 7):
        start = time.perf_counter()
        for record, pixels in jobs:
            address = ctypes.addressof(record)
            library.gpuload_render(address, pixels.ctypes.data, table.data_ptr(), 4, 3, 0, out.data_ptr())
        best = min(best, time.perf_counter() - start)
    moved = sum(pixels.size for _, pixels in jobs) + len(jobs) * out.numel() * 4
    return [row("gpuload_render (CPU, 1 thread)", f"{len(jobs)} RandomResizedCrop(224), float32", moved, best)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", type=Path, help="also write the figures here")
    options = parser.parse_args()
    rows = cpu_rows(options.quick)
    if torch.cuda.is_available():
        rows += order_rows(options.quick) + gather_rows_of(options.quick) + render_rows(options.quick)
    for r in rows:
        print(f"{r['kernel']:32} {r['task']:56} {r['seconds'] * 1e6:10.1f} us {r['GB/s']:8.2f} GB/s")
    if options.json is not None:
        options.json.write_text(json.dumps({"machine": machine(), "kernels": rows}, indent=2) + "\n")


if __name__ == "__main__":
    main()
