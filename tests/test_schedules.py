"""Whole epochs on a simulated GPU, over many schedules: no race, no wrong batch, nothing left behind.

The seed decides when the work of each stream runs, which of the host's threads goes on, and what the user does: other
streams, batches kept or dropped, early ends, samples that fail, a CUDA graph that is captured meanwhile.
``GPULOAD_CASES`` is the number of schedules of each kind of dataset, 100 of them without it.
"""

import random
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from gpuload.compilers import compiler
from gpuload.errors import CaptureError
from tests.cases import THOROUGH, cases
from tests.fake_codec import has_codec
from tests.simulation.epochs import KINDS, Played, calls, outcome, play, write_photos
from tests.simulation.runtime import simulated
from tests.simulation.threads import Threads

pytestmark = pytest.mark.skipif(compiler() is None, reason="no C++ compiler")
SCHEDULES = cases(100)
PARTS = 10
NO_CODEC = pytest.mark.skipif(not has_codec(), reason="nvImageCodec is not installed")
ANY = ["images", "adjusted", pytest.param("decoded", marks=NO_CODEC), "tensors", "ordinary", "uneven"]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    write_photos(folder)
    return folder


@pytest.mark.parametrize("part", range(PARTS))
@pytest.mark.parametrize("kind", ANY)
def test_any_schedule_gives_the_same_batches(kind: str, part: int, root: Path) -> None:
    """On either device, of which the other one is not touched."""
    for seed in range(part, SCHEDULES, PARTS):
        assert play(kind, root, seed, seed % 2) == Played([], 0, 0, {seed % 2}), seed


def test_with_a_process_and_a_pinning_thread_of_torchs(root: Path) -> None:
    for seed in range(max(SCHEDULES // 100, 1)):
        assert play("workers", root, seed, seed % 2) == Played([], 0, 0, {seed % 2}), seed


@pytest.mark.parametrize("device", [0, 1])
def test_no_call_touches_another_device(device: int) -> None:
    assert calls(device) == Played([], 0, 0, {device})


@pytest.mark.parametrize("kind", ANY)
def test_a_batch_cannot_be_part_of_a_graph(kind: str, root: Path) -> None:
    with simulated() as runtime:
        loader = KINDS[kind](root, random.Random(1), seed=1, device="cuda")
        batches = iter(loader)
        next(batches)
        runtime.gpu.capturing = threading.get_ident()
        with pytest.raises(CaptureError, match=r"call next\(...\) before the capture, and copy each batch into"):
            next(batches)
        runtime.gpu.capturing = None
        del loader, batches


def test_a_dropped_iterator_does_not_mind_a_graph() -> None:
    """That is captured on another stream: its copies are waited for all the same."""
    with simulated() as runtime:
        loader = KINDS["ordinary"](Path(), random.Random(0), seed=1, device="cuda")
        batches = iter(loader)
        next(batches)
        with torch.cuda.stream(torch.cuda.Stream()):
            runtime.gpu.capturing = threading.get_ident()
            del batches
            runtime.gpu.capturing = None
        runtime.reuse()
        runtime.gpu.finish()
        assert runtime.gpu.problems == []


@pytest.mark.parametrize("kind", ["images", "adjusted", "tensors", "ordinary", "uneven"])
@pytest.mark.parametrize("seed", range(3))
def test_nothing_is_allocated_once_warm(kind: str, seed: int, root: Path) -> None:
    """Where the device keeps up with the host; else page-locked memory of labels waits for their copies."""
    with simulated() as runtime, Threads(runtime.gpu).installed():
        runtime.gpu.pace = (9,)
        loader = KINDS[kind](root, random.Random(seed), seed=1, device="cuda")
        made = []
        for _ in range(30):
            batches = iter(loader)
            while outcome(batches) is not None:
                pass
            made.append([memory.made for memory in (runtime.pinned, *runtime.memories)])
        assert made[20:] == made[19:20] * 10  # a schedule may want its last buffer late
        del loader, batches


@pytest.mark.parametrize("kind", KINDS if THOROUGH else ["images", "workers"])
def test_a_program_that_ends_in_mid_epoch(kind: str, root: Path, run_python: Callable[..., Any]) -> None:
    """Threads end, the work that was given to the device is whole, and what the program lets go of is free."""
    program = """
import random, sys, threading, weakref
from pathlib import Path
from tests.simulation.epochs import KINDS
from tests.simulation.runtime import Runtime
from tests.simulation.gpu import Gpu

def last():
    global batches, loader, batch
    running = [thread.name for thread in threading.enumerate() if thread.name.startswith("gpuload-worker")]
    del batches, loader, batch
    runtime.gpu.finish()
    print(runtime.gpu.problems, running, runtime.used, all(not stream.queue for stream in runtime.gpu.streams))

weakref.finalize(sys.modules["__main__"], last)  # at the exit, the first that is made is the last to be called
runtime = Runtime(Gpu(int(sys.argv[3])), devices=1)
installed = runtime.installed()
installed.__enter__()
loader = KINDS[sys.argv[1]](Path(sys.argv[2]), random.Random(0), seed=1, device="cuda")
batches = iter(loader)
batch = next(batches)
"""
    assert run_python(program, kind, root, 1).stdout == "[] [] 0 True\n"
