"""Every wait, record and guard of the CUDA side is needed: without it, the simulated GPU finds something wrong.

`MUTATIONS` lists them; each is taken out of the shipped source, and epochs are played until something is found: with
one seed, or with ten where ``GPULOAD_CASES`` is 1000.
"""

import importlib
import inspect
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import pytest

from gpuload.compilers import compiler
from tests.cases import cases
from tests.simulation.epochs import calls, play, write_photos

pytestmark = pytest.mark.skipif(compiler() is None, reason="no C++ compiler")
PLAYS = 100  # at most, of a seed; most are found in the first few
SEEDS = cases(100) // 100


class Mutation(NamedTuple):
    """A change of a function's text.

    Attributes:
        kind: of the epochs that show it.
        where: module and function.
        old, new: text that is in it once, and what is there instead.
    """

    kind: str
    where: str
    old: str
    new: str = "pass"


STAGING = "gpuload.staging:StagingBuffer"
MOVING = "gpuload.loading.transfer:Moving"
ORDER = "gpuload.loading.order:Order"
RESIDENT = "gpuload.loading.tensors:Resident"
DEVICE = "gpuload.device:CudaDevice"

MUTATIONS = [
    # staging: host, copy and kernel wait for each other
    Mutation("images", f"{STAGING}.room", "self._copied.synchronize()"),
    Mutation("images", f"{STAGING}.stage", "self._rendered.wait(self._stream)"),
    Mutation("images", f"{STAGING}.stage", "self._copied.record(self._stream)"),
    Mutation("images", f"{STAGING}.stage", "with self._device.on(self._stream):", "if True:"),
    Mutation("images", f"{STAGING}.staged", "self._copied.wait(stream)"),
    Mutation("images", f"{STAGING}.staged", "self._rendered.record(stream)"),
    Mutation("images", f"{STAGING}.staged", "self._device.keep(self._copy, stream)"),
    # what the device decodes: its memory is free, is this buffer's, and is whole before it is read or written again
    Mutation("decoded", f"{STAGING}.decoded_on", "self._rendered.wait(stream)"),
    Mutation("decoded", f"{STAGING}.decoded_on", "self._copied.record(self._stream)"),
    Mutation("decoded", f"{STAGING}.decoded_on", "self._copied.wait(stream)"),
    Mutation("decoded", f"{STAGING}.decoded_on", "with self._device.on(self._stream):", "if True:"),
    Mutation("decoded", f"{STAGING}.decoded_on", "self._decoded.record(stream)"),
    Mutation("decoded", f"{STAGING}.decoded_on", "self._device.keep(self._copy, stream)"),
    Mutation("decoded", f"{STAGING}.stage", "self._decoded.wait(self._stream)"),
    # the CUDA engine
    Mutation("images", "gpuload.engines.cuda.launches:Launches.launch", "device.keep(tables, device.current_stream())"),
    Mutation("images", "gpuload.engines.cuda.launches:Launches._erase", "device.keep(fills, device.current_stream())"),
    # the order on the host
    Mutation("images", "gpuload.loading.order:_arrived", "copied.synchronize()"),
    Mutation("images", f"{ORDER}._start_fetch", "copied.record(self._side)"),
    Mutation("images", f"{ORDER}._start_fetch", "with self._device.on(self._side):", "if True:"),
    # the order on the device, and rows
    Mutation("tensors", f"{ORDER}.device_batches", "made.record(stream)"),
    Mutation("tensors", f"{ORDER}.device_batches", "made.wait(current)"),
    Mutation("tensors", f"{ORDER}.device_batches", "self._device.keep(chunk, current)"),
    Mutation("tensors", f"{RESIDENT}.__init__", "self._ready.record(device.current_stream())"),
    Mutation("tensors", f"{RESIDENT}.__init__", "before._ready.wait(device.current_stream())"),
    Mutation("tensors", f"{RESIDENT}.gather", "self._ready.wait(self._device.current_stream())"),
    Mutation("tensors", "gpuload.loading.tensors:gather_rows", "device.keep(source, device.current_stream())"),
    Mutation("tensors", f"{DEVICE}.resident", "self.keep(here, self.current_stream())"),
    # batches of ordinary datasets
    Mutation("ordinary", f"{MOVING}._sent", "copied.record(stream)"),
    Mutation("ordinary", f"{MOVING}._sent", "copied.wait(self._side)"),
    Mutation("ordinary", f"{MOVING}._sent", "copied.record(self._side)"),
    Mutation("ordinary", f"{MOVING}._sent", "with device.on(self._side):", "if True:"),
    Mutation("ordinary", f"{MOVING}._delivered", "sent.copied.wait(stream)"),
    Mutation("ordinary", f"{MOVING}._delivered", "self._device.keep(tensor, stream)", "None"),
    Mutation("ordinary", "gpuload.loading.transfer:_settle", "copied.wait(stream)"),
    # a worker's calls leave captures of other threads alone
    Mutation("images", f"{DEVICE}.enter", "driver.cuThreadExchangeStreamCaptureMode(mode)"),
    # nothing is done on another GPU
    Mutation("workers", f"{DEVICE}.on", "self._current(), ", ""),
    Mutation("calls", f"{DEVICE}.pinned", "with self._current():", "if True:"),
    Mutation("calls", f"{DEVICE}.prepare", "with self._current():", "if True:"),
    Mutation("calls", f"{DEVICE}.launch", "with self._current():", "if True:"),
    Mutation("calls", "gpuload.device:_CudaEvent.wait", "with torch.cuda.device(self._device):", "if True:"),
    Mutation("calls", "gpuload.device:_CudaEvent.synchronize", "with torch.cuda.device(self._device):", "if True:"),
    Mutation("workers", "gpuload.loading.workers:WorkerPath.batches", "with self._device.on(None), _as", "with _as"),
]


@contextmanager
def mutated(mutation: Mutation) -> Iterator[None]:
    """The function without what is taken out."""
    name, _, path = mutation.where.partition(":")
    module = importlib.import_module(name)
    *owners, function = path.split(".")
    owner: Any = module
    for part in owners:
        owner = getattr(owner, part)
    source = textwrap.dedent(inspect.getsource(getattr(owner, function)))
    assert source.count(mutation.old) == 1, f"{mutation.where} has not one {mutation.old!r}"
    made: dict[str, Any] = {}
    exec(compile(source.replace(mutation.old, mutation.new), mutation.where, "exec"), module.__dict__, made)
    with mock.patch.object(owner, function, made[function]):
        yield


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    write_photos(folder)
    return folder


def is_found(mutation: Mutation, root: Path, seed: int) -> bool:
    """Within the epochs that a seed stands for: some need a sampler, a stream and an end that are rare together."""
    for number in range(PLAYS):
        played = calls(1) if mutation.kind == "calls" else play(mutation.kind, root, PLAYS * seed + number, device=1)
        if played.problems or played.contexts != {1} or played.used or played.running:
            return True
    return False


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: f"{mutation.where}: {mutation.old}")
def test_a_mutation_is_found(mutation: Mutation, root: Path) -> None:
    with mutated(mutation):
        assert [seed for seed in range(SEEDS) if not is_found(mutation, root, seed)] == []
