"""Nothing on the host waits where it need not: on a simulated clock, the slowest stage alone decides the throughput.

Threads that decode, the copy to the device and the work there take simulated time; Python takes none. With
``GPULOAD_CASES`` more ratios of these times are tried.
"""

import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import torch
from torch.utils.data import Dataset

from gpuload import DataLoader, ImageFolder, TensorDataset, transforms as T
from gpuload.compilers import compiler
from gpuload.engines import cpu, cuda
from tests.cases import THOROUGH
from tests.simulation.epochs import write_photos
from tests.simulation.gpu import Gpu
from tests.simulation.runtime import Runtime
from tests.simulation.threads import Threads

pytestmark = pytest.mark.skipif(compiler() is None, reason="no C++ compiler")

BATCH, BATCHES, WARM = 8, 26, 8  # samples of a batch; batches; how many of them before time is taken
RATIOS = (1.0, 3.2, 10.0)
STAGES = [times for times in itertools.product(RATIOS, repeat=3) if min(times) == 1.0]  # the others differ by a factor
if not THOROUGH:
    STAGES = STAGES[::4]
LEAST = 0.95  # of what the slowest stage would reach alone


@dataclass
class Times:
    """Simulated seconds that a batch takes in each stage."""

    decode: float  # on one thread
    copy: float
    work: float  # the kernel, and the user's own

    def slowest(self, workers: int) -> float:
        return max(self.decode / max(workers, 1), self.copy, self.work)


class Clocked:
    """Devices and threads on a simulated clock.

    Args:
        times: of the stages.
        batch: samples of one.
        sample_bytes: of a sample, as it is copied.
    """

    def __init__(self, times: Times, batch: int, sample_bytes: int) -> None:
        self.times, self.batch, self._bytes = times, batch, batch * sample_bytes
        self.gpu = Gpu(costs=self._cost)
        self.runtime, self.threads = Runtime(self.gpu, devices=1), Threads(self.gpu)

    def _cost(self, what: str, size: int) -> float:
        if what == "copy":
            return self.times.copy if 2 * size > self._bytes else 0.0  # labels are small
        return self.times.work / 2 if what.startswith(("render", "gather", "mul")) else 0.0

    @contextmanager
    def installed(self) -> Iterator[None]:
        with self.runtime.installed(), self.threads.installed(), self._slow(cuda.CudaBatch), self._slow(cpu._CpuBatch):
            yield

    def decode(self, samples: int) -> None:
        self.threads.sleep(self.times.decode / self.batch * samples)

    def _slow(self, batch: Any) -> Any:
        share = batch.share

        def slow(this: Any, first: int, count: int) -> None:
            self.decode(count)
            share(this, first, count)

        return mock.patch.object(batch, "share", slow)

    def throughput(self, loader: DataLoader, waits: bool) -> float:
        """Batches per simulated second, once warm; the user multiplies, and may wait for that."""
        ends: list[float] = []
        stream = torch.cuda.current_stream()
        for batch in loader:
            batch[0].mul_(1)
            stream.add("note", lambda: ends.append(self.gpu.now))
            if waits:
                stream.synchronize()
        stream.synchronize()
        return (len(ends) - WARM) / (ends[-1] - ends[WARM - 1])


class Slow(Dataset[torch.Tensor]):
    """Samples that take time to make."""

    def __init__(self, clocked: Clocked) -> None:
        self._clocked = clocked

    def __len__(self) -> int:
        return self._clocked.batch * BATCHES

    def __getitem__(self, index: int) -> torch.Tensor:
        self._clocked.decode(1)
        return torch.full((64,), index)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("photos")
    write_photos(made)
    return made


def photos(folder: Path, batch: int) -> ImageFolder:
    """As many samples as all batches have, of few files."""
    dataset = ImageFolder(
        folder / "whole", transform=T.Compose([T.RandomCrop(8), T.ToDtype(torch.float32, scale=True)])
    )
    dataset.samples = [dataset.samples[k % 8] for k in range(batch * BATCHES)]
    return dataset


def check(clocked: Clocked, workers: int, make: Callable[[Clocked], DataLoader], waits: bool) -> None:
    times = clocked.times
    with clocked.installed():
        loader = make(clocked)
        for epoch in range(2):
            share = clocked.throughput(loader, waits) * times.slowest(workers)
            assert share >= LEAST, f"epoch {epoch}: {share:.3f} of what the slowest stage would reach alone"
    assert clocked.gpu.problems == []


@pytest.mark.parametrize(("workers", "waits"), [(0, False), (4, False), (4, True)])
@pytest.mark.parametrize(("decode", "copy", "work"), STAGES)
def test_images(folder: Path, decode: float, copy: float, work: float, workers: int, waits: bool) -> None:
    dataset = photos(folder, BATCH)

    def loader(clocked: Clocked) -> DataLoader:
        return DataLoader(dataset, BATCH, shuffle=True, num_workers=workers, device="cuda", seed=0)

    check(Clocked(Times(decode * max(workers, 1), copy, work), BATCH, 8 * 8 * 3), workers, loader, waits)


@pytest.mark.parametrize("workers", [8, 16, 64] if THOROUGH else [16])
def test_as_fast_as_a_gpu_would_be(folder: Path, workers: int) -> None:
    """256 x RandomResizedCrop(224) of 500 x 375, in ms: 0.51 a sample to decode, 60 MB at 50 GB/s, a kernel of 0.55."""
    dataset = photos(folder, 256)

    def loader(clocked: Clocked) -> DataLoader:
        return DataLoader(dataset, 256, shuffle=True, num_workers=workers, device="cuda", seed=0)

    check(Clocked(Times(256 * 0.51, 1.2, 0.55), 256, 8 * 8 * 3), workers, loader, waits=True)


@pytest.mark.parametrize("waits", [False, True])
@pytest.mark.parametrize(("copy", "work"), [(1.0, 1.0), (1.0, 3.2), (1.0, 10.0), (3.2, 1.0), (10.0, 1.0)])
def test_images_rendered_on_the_host(folder: Path, copy: float, work: float, waits: bool) -> None:
    dataset = photos(folder, BATCH)

    def loader(clocked: Clocked) -> DataLoader:
        return DataLoader(dataset, BATCH, shuffle=True, num_workers=4, device="cuda", seed=0, engine="cpu")

    check(Clocked(Times(4.0, copy, work), BATCH, 8 * 8 * 3 * 4), 4, loader, waits)


@pytest.mark.parametrize(("decode", "copy", "work"), STAGES)
def test_ordinary_samples(decode: float, copy: float, work: float) -> None:
    """On the user's thread, which makes them while the device is busy."""

    def loader(clocked: Clocked) -> DataLoader:
        return DataLoader(Slow(clocked), BATCH, shuffle=True, device="cuda", seed=0)

    check(Clocked(Times(decode, copy, work), BATCH, 64 * 8), 0, loader, waits=False)


@pytest.mark.parametrize("waits", [False, True])
def test_tensors(waits: bool) -> None:
    """The host is never waited for."""
    dataset = TensorDataset(torch.zeros(BATCH * BATCHES, 64), device="cpu")
    clocked = Clocked(Times(0.0, 0.0, 1.0), BATCH, 64 * 4)
    check(clocked, 0, lambda clocked: DataLoader(dataset, BATCH, shuffle=True, device="cuda"), waits)
