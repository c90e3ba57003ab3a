"""Each kernel alone: bytes it must move, time, and the rate reached; on CUDA, and the CPU engine on one thread.

    python -m benchmarks.kernels [--quick] [--json FILE]

Bytes moved are the least that the task allows: every input byte read once, every output byte written once.
Times on CUDA are the median of CUDA-event timings of 20 launches after 5 to warm up. On a machine without a
GPU only the CPU engine is measured. ``--quick`` runs each kernel once on small input, for compute-sanitizer.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.peers.protocol import MEAN, STD
from gpuload import RandomSampler, WeightedRandomSampler, transforms as T
from gpuload.collate import pad
from gpuload.decoders.files import Files
from gpuload.device import device_of
from gpuload.engines.base import Batch, Engine, Layout
from gpuload.engines.cpu import CpuEngine
from gpuload.engines.cuda import CudaEngine
from gpuload.libraries import host_library
from gpuload.loading.tensors import gather_rows
from gpuload.loading.transfer import move
from gpuload.recipes.draws import CounterDraws
from gpuload.tools.machine import machine
from gpuload.transforms.plan import Plan

Row = dict[str, Any]
HEIGHT, WIDTH = 375, 500  # of the photos
GEOMETRY: list[T.Transform] = [T.RandomResizedCrop(224), T.RandomHorizontalFlip()]
VALUES: list[T.Transform] = [T.ToDtype(torch.float32, scale=True), T.Normalize(MEAN, STD)]
PLAN = Plan([*GEOMETRY, *VALUES])
ADJUSTING: dict[str, T.Transform] = {"ColorJitter": T.ColorJitter(0.4, 0.4, 0.4, 0.1), "RandAugment": T.RandAugment()}


def noise_batch(engine: Engine, count: int, plan: Plan = PLAN) -> tuple[Batch, list[NDArray[np.uint8]]]:
    """A batch of nothing yet, and the pixels to put into it: regions of one image of noise."""
    image = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
    draws = CounterDraws(0, 0, np.arange(count))
    fused = engine.fuse(plan.recipes(np.full(count, HEIGHT), np.full(count, WIDTH), draws))
    regions = [image[top : top + h, left : left + w].copy() for top, left, h, w in fused.regions.tolist()]
    return engine.batch(fused, Files([b""] * count, False, None)), regions


def moved_by(regions: list[NDArray[np.uint8]], dtype: torch.dtype) -> int:
    return sum(region.size for region in regions) + len(regions) * 3 * 224 * 224 * dtype.itemsize


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
        seconds = cuda_time(lambda sampler=sampler: sampler.order(0).indices(0, n, "cuda"), repeats)  # type: ignore[misc]
        rows.append(row(name, f"{n:,} indices", n * 8, seconds))
    return rows


def gather_rows_of(quick: bool) -> list[Row]:
    shapes = [(50_000, (3, 32, 32), torch.uint8), (50_000, (3, 32, 32), torch.float32), (50_000, (27,), torch.uint8)]
    rows, device = [], device_of("cuda")
    for n, shape, dtype in shapes:
        n = 500 if quick else n
        source = torch.zeros((n, *shape), dtype=dtype, device="cuda")
        # other rows each time, or they would come from the cache
        orders = cycle([torch.randint(0, n, (min(8192, n),), device="cuda") for _ in range(32)])
        indices = next(orders)
        moved = 2 * len(indices) * source[0].numel() * source.element_size() + 8 * len(indices)
        repeats = 1 if quick else 20
        ours = cuda_time(lambda s=source, o=orders: gather_rows(s, next(o), device), repeats)  # type: ignore[misc]
        theirs = cuda_time(lambda s=source, o=orders: s.index_select(0, next(o)), repeats)  # type: ignore[misc]
        task = f"{len(indices):,} rows of {tuple(shape)} {str(dtype)[6:]}"
        rows += [row("gather", task, moved, ours), row("(torch index_select)", task, moved, theirs)]
    return rows


def pad_rows(quick: bool) -> list[Row]:
    """Rows that are on the GPU already, packed: tokens of 1 to 512, images of 400 to 640 pixels on a side."""
    rng, device, repeats = np.random.default_rng(0), torch.device("cuda"), 1 if quick else 20
    tokens, sides = rng.integers(1, 513, 8 if quick else 256), rng.integers(400, 641, (4 if quick else 64, 2))
    cases = [(f"{len(tokens)} rows of 1 to 512 int64", [torch.zeros(n, dtype=torch.int64) for n in tokens.tolist()])]
    for dtype in (torch.uint8, torch.float32):
        images = [torch.zeros((3, *size), dtype=dtype) for size in sides.tolist()]
        cases.append((f"{len(images)} images of 400 to 640, {str(dtype)[6:]}", images))
    rows = []
    for task, samples in cases:
        packed = move(pad.pack(samples), device_of(device))
        moved = sum(sample.nbytes for sample in samples) + pad.finish(packed).nbytes
        seconds = cuda_time(lambda packed=packed: pad.finish(packed), repeats)  # type: ignore[misc]
        rows.append(row(f"pad_{samples[0].itemsize}", task, moved, seconds))
    return rows


def render_rows(quick: bool) -> list[Row]:
    count, repeats = (8, 1) if quick else (256, 20)
    rows = []
    for dtype in (torch.float32, torch.float16, torch.uint8):
        engine = CudaEngine(Layout.of(PLAN, dtype, torch.contiguous_format), device_of("cuda"))
        batch, regions = noise_batch(engine, count)
        for slot, region in enumerate(regions):
            batch.put(slot, region)
        batch.finish()
        task = f"{count} RandomResizedCrop(224) of {HEIGHT} x {WIDTH}, {str(dtype)[6:]}"
        rows.append(row(f"render_{dtype.itemsize}", task, moved_by(regions, dtype), cuda_time(batch.images, repeats)))
    return rows


def adjust_rows(quick: bool) -> list[Row]:
    """With the launch of render before it, which makes the pictures."""
    count, repeats = (8, 1) if quick else (256, 20)
    rows = []
    for name, transform in ADJUSTING.items():
        plan = Plan([*GEOMETRY, transform, *VALUES])
        engine = CudaEngine(Layout.of(plan, None, torch.contiguous_format), device_of("cuda"))
        batch, regions = noise_batch(engine, count, plan)
        for slot, region in enumerate(regions):
            batch.put(slot, region)
        batch.finish()
        moved = moved_by(regions, torch.float32) + 2 * count * 3 * 224 * 224  # and bytes in between
        task = f"{count} RandomResizedCrop(224), {name}, float32"
        rows.append(row("render_1, adjust_pictures", task, moved, cuda_time(batch.images, repeats)))
    return rows


def cpu_rows(quick: bool) -> list[Row]:
    """The CPU engine, given pixels; a call from Python for each sample is part of it."""
    if host_library() is None:
        return []
    dtype, count = torch.float32, 8 if quick else 256
    engine = CpuEngine(
        Layout.of(PLAN, dtype, torch.contiguous_format), lambda size: torch.empty(size, dtype=torch.uint8)
    )
    batch, regions = noise_batch(engine, count)
    best = float("inf")
    for _ in range(1 if quick else 7):
        start = time.perf_counter()
        for slot, region in enumerate(regions):
            batch.put(slot, region)
        best = min(best, time.perf_counter() - start)
    task = f"{count} RandomResizedCrop(224), {str(dtype)[6:]}"
    return [row("render (CPU, 1 thread)", task, moved_by(regions, dtype), best)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", type=Path, help="also write the figures here")
    options = parser.parse_args()
    rows = cpu_rows(options.quick)
    if torch.cuda.is_available():
        rows += (
            order_rows(options.quick)
            + gather_rows_of(options.quick)
            + pad_rows(options.quick)
            + render_rows(options.quick)
            + adjust_rows(options.quick)
        )
    for r in rows:
        print(f"{r['kernel']:32} {r['task']:56} {r['seconds'] * 1e6:10.1f} us {r['GB/s']:8.2f} GB/s")
    if options.json is not None:
        options.json.write_text(json.dumps({"machine": machine(), "kernels": rows}, indent=2) + "\n")


if __name__ == "__main__":
    main()
