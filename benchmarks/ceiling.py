"""What the loader allows where decoding is no limit: images per second on many threads, Python's time per sample.

    python -m benchmarks.ceiling [--files 51200] [--rounds 5] [--json FILE]

500 x 375 JPEGs, RandomResizedCrop(224), flip, batches of 256. Everything is the loader's own but two parts:

- In place of the JPEG decoder stands a C++ function that sleeps for 0.4 ms, as long as a core of a server decodes,
  so that two cores can play 64 (or one that returns at once). Files are really read, and their headers parsed: that
  alone keeps a core busy for some 15 us of a 57 KB file, and two cores have to do it for 64. So it is also measured
  with the whole native call asleep, 0.4 ms for each sample of the share: "away".
- The CUDA engine runs without a GPU: pixels have their places in staging memory and records are made, but copies to
  the device and launches do nothing. Two cores could not render for 64.

Images per second: whole epochs on 8 and on 64 threads, interleaved. The first one of each also reads all headers,
for no size is known; the others, of which the median is given, remember sizes. A sleep takes a little longer than it
was asked to: `possible` is the number of threads divided by what it takes a thread alone.

Time per sample in Python: the CPU time of the whole process (the worker, the consumer, all of torch and numpy) less
what is spent inside gpuload's native calls on files, which Python's lock is released for, divided by samples. With
"nothing", the native call of a share does nothing: on the caller's thread this is what the loader itself executes,
from the order to the batch; on a thread of its own, with the price of waking each other. With "returns", files are
read, and what Python needs has left the processor's caches in between. All are upper bounds of the time under the
lock, whose inverse is what any number of cores can reach.
"""

import argparse
import ctypes
import json
import math
import statistics
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from benchmarks.photos import photos
from gpuload import DataLoader, ImageFolder, transforms as T
from gpuload.compilers import build
from gpuload.device import HostDevice
from gpuload.engines.base import Layout
from gpuload.engines.cuda import CudaEngine
from gpuload.libraries import host_library
from gpuload.loading.course import Course
from gpuload.loading.images import ImagePath
from gpuload.tools.machine import machine

BATCH = 256
CLOCKED = ("measure", "share")  # the native calls on files
SHARES = ("away", "nothing")  # what stands for a whole call


@lru_cache(maxsize=1)
def stand_in() -> ctypes.CDLL:
    """``stand_in.cpp``, with gpuload's native calls inside its clocked ones."""
    library, host = ctypes.CDLL(str(build(Path(__file__).with_name("stand_in.cpp")))), host_library()
    assert host is not None
    library.inside.restype = ctypes.c_int64
    real = [getattr(host, f"gpuload_{name}") for name in CLOCKED]
    library.wrap(*(ctypes.cast(function, ctypes.c_void_p) for function in real))
    for name, function in zip(CLOCKED, real, strict=True):
        clocked = getattr(library, name)
        clocked.argtypes, clocked.restype = function.argtypes, None
        setattr(host, f"gpuload_{name}", clocked)
    for share in SHARES:
        getattr(library, share).argtypes, getattr(library, share).restype = library.share.argtypes, None
    return library


class StandIn:
    """A decoder of gpuload's that decodes nothing: ``sleeps`` or ``returns`` of ``stand_in.cpp``."""

    def __init__(self, name: str) -> None:
        address = ctypes.cast(getattr(stand_in(), name), ctypes.c_void_p).value
        assert address is not None
        self.name, self.address = name, address

    def describe(self) -> str:
        return self.name


class NoGpu(HostDevice):
    """A GPU whose copies and kernels take no time, and do nothing; its memory is there at once, as from a pool."""

    launches = True

    def __init__(self) -> None:
        self._memory = torch.empty(0, dtype=torch.uint8)

    def empty(self, shape: Sequence[int], dtype: torch.dtype) -> torch.Tensor:
        size, memory = math.prod(shape) * dtype.itemsize, self._memory
        if memory.numel() < size:
            memory = self._memory = torch.empty(size, dtype=torch.uint8)
        return memory[:size].view(dtype).view(tuple(shape))

    def copy(self, target: torch.Tensor, source: torch.Tensor) -> None:
        pass

    def prepare(self, name: str) -> None:
        pass

    def launch(self, name: str, grid: Sequence[int], threads: int, arguments: tuple[Any, ...]) -> None:
        pass


class Instead:
    """gpuload's native functions, with a stand-in for a share's."""

    def __init__(self, share: str) -> None:
        self.gpuload_share = getattr(stand_in(), share)


def make_loader(data: Path, threads: int, decoder: str) -> DataLoader[Any]:
    """A loader with the stand-in of that name for a decoder; of `SHARES`: for the whole native call of a share."""
    transform = T.Compose([T.RandomResizedCrop(224), T.RandomHorizontalFlip(), T.ToDtype(torch.float32, scale=True)])
    dataset = ImageFolder(data, transform=transform)
    loader = DataLoader(dataset, BATCH, shuffle=True, drop_last=True, num_workers=threads, seed=0, device="cpu")
    assert isinstance(loader.path, ImagePath)
    true_course = loader.path.course
    stand_ins: dict[str, Any] = {}

    def course(*arguments: Any) -> Course:
        made = true_course(*arguments)
        if not stand_ins:
            stand_ins.update(_stand_ins(decoder, made.engine.layout))
        return made._replace(planners=(replace(made.planners[0], **stand_ins),))

    loader.path.course = course  # type: ignore[method-assign, assignment]
    return loader


def _stand_ins(decoder: str, layout: Layout) -> dict[str, Any]:
    engine = CudaEngine(layout, NoGpu())
    if decoder in SHARES:
        engine.library = Instead(decoder)  # type: ignore[assignment]
        return {"engine": engine}
    return {"engine": engine, "decoder": StandIn(decoder)}


def play(loader: DataLoader[Any]) -> tuple[float, float]:
    """An epoch: images per second, and seconds of a sample in Python."""
    library, images = stand_in(), 0
    start, cpu, inside = time.perf_counter(), time.process_time(), library.inside()
    for batch, _ in loader:
        images += len(batch)
    python = time.process_time() - cpu - (library.inside() - inside) / 1e9
    return images / (time.perf_counter() - start), python / images


def sleep_seconds() -> float:
    """What a thread alone takes for one call of the decoder that sleeps."""
    start = time.perf_counter()
    for _ in range(200):
        stand_in().sleeps(None, 0, None, None, None)
    return (time.perf_counter() - start) / 200


def rates(data: Path, rounds: int) -> dict[str, dict[str, float]]:
    kinds = [(threads, decoder) for threads in (8, 64) for decoder in ("sleeps", "away")]
    loaders = {kind: make_loader(data, *kind) for kind in kinds}
    first = {kind: play(loader)[0] for kind, loader in loaders.items()}
    later: dict[tuple[int, str], list[float]] = {kind: [] for kind in kinds}
    for _ in range(rounds):
        for kind, loader in loaders.items():
            later[kind].append(play(loader)[0])
    return {
        f"{threads} threads, {decoder}": {
            "images_per_second": statistics.median(later[threads, decoder]),
            "lowest": min(later[threads, decoder]),
            "highest": max(later[threads, decoder]),
            "first_epoch": first[threads, decoder],
            "possible": threads / (sleep_seconds() if decoder == "sleeps" else 0.4e-3),
        }
        for threads, decoder in kinds
    }


def python_time(data: Path, rounds: int) -> dict[str, dict[str, float]]:
    figures = {}
    for threads, decoder in ((0, "nothing"), (1, "nothing"), (1, "returns")):
        loader = make_loader(data, threads, decoder)
        first = play(loader)[1]
        later = statistics.median(play(loader)[1] for _ in range(rounds))
        microseconds = {"microseconds_in_python": 1e6 * later, "in_first_epoch": 1e6 * first}
        figures[f"{threads} threads, {decoder}"] = microseconds
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=51_200, help="names; 2,560 of the photos differ")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path, help="also write the figures here")
    options = parser.parse_args()
    data = photos(options.files)
    result: dict[str, Any] = {**rates(data, options.rounds), **python_time(data, options.rounds)}
    for name, figures in result.items():
        print(f"{name:18}", ", ".join(f"{key} {value:,.1f}" for key, value in figures.items()))
    if options.json is not None:
        options.json.write_text(json.dumps({"machine": machine(), **result}, indent=2) + "\n")


if __name__ == "__main__":
    main()
