"""What only a GPU can show: nothing waits for the host, memory is reused, streams are ordered."""

import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from gpuload import (
    ClassBalancedSampler,
    DataLoader,
    ImageFolder,
    RandomSampler,
    SubsetRandomSampler,
    TensorDataset,
    WeightedRandomSampler,
    transforms as T,
)
from gpuload.collate import Pad, Ragged, pad, ragged
from gpuload.device import device_of
from gpuload.loading.tensors import gather_rows
from gpuload.samplers import CounterSampler

pytestmark = pytest.mark.cuda
N = 100_003

TRAIN = T.Compose([T.RandomResizedCrop(64), T.RandomHorizontalFlip(), T.ToDtype(torch.float32, scale=True)])


@pytest.fixture
def no_synchronization() -> Iterator[None]:
    """Every call of torch's that would wait for the device raises."""
    torch.cuda.synchronize()
    try:
        with warnings.catch_warnings():  # torch warns that the mode is a prototype
            warnings.simplefilter("ignore")
            torch.cuda.set_sync_debug_mode("error")
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


def samplers() -> list[CounterSampler]:
    return [
        RandomSampler(range(N), seed=1),
        RandomSampler(range(N), num_samples=3 * N, seed=1),
        RandomSampler(range(N), replacement=True, seed=1),
        WeightedRandomSampler(torch.arange(N).numpy() % 7, N, seed=1),
        ClassBalancedSampler(torch.arange(N).numpy() % 11, seed=1),
        SubsetRandomSampler(range(0, N, 3), seed=1),
    ]


@pytest.mark.parametrize("sampler", samplers(), ids=lambda sampler: type(sampler).__name__)
def test_indices_are_the_cpus(sampler: CounterSampler) -> None:
    for start, stop in ((0, len(sampler)), (17, 18), (len(sampler) - 5, len(sampler)), (3, 3)):
        on_gpu = sampler.order(4).indices(start, stop, "cuda")
        assert on_gpu.device.type == "cuda"
        assert torch.equal(on_gpu.cpu(), sampler.order(4).indices(start, stop, "cpu"))


@pytest.mark.parametrize("shape", [(), (1,), (3,), (27,), (4, 4), (3, 32, 32), (5, 7)])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float16, torch.float32, torch.int64, torch.bool])
def test_gather_is_index_select(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    source = torch.randint(0, 2, (1000, *shape), device="cuda").to(dtype)
    indices = torch.randint(0, 1000, (777,), device="cuda")
    place = device_of("cuda")
    assert torch.equal(gather_rows(source, indices, place), source.index_select(0, indices))
    assert torch.equal(gather_rows(source[1:], indices // 2, place), source[1:].index_select(0, indices // 2))


@pytest.mark.usefixtures("no_synchronization")
def test_filling_up_never_waits_for_the_host() -> None:
    images = [torch.ones(3, 20 + i, 40 - i, device="cuda") for i in range(9)]
    for collate in (pad, Pad(lengths=True, padding_side="left")):
        collate(images)
    for collate in (ragged, Ragged(nested=False)):
        collate([image.flatten() for image in images])


@pytest.fixture
def rows_on_gpu() -> TensorDataset:
    return TensorDataset(torch.zeros(1000, 8), torch.zeros(1000), device="cuda")


@pytest.mark.usefixtures("rows_on_gpu", "no_synchronization")
def test_tensors_never_wait_for_the_host(rows_on_gpu: TensorDataset) -> None:
    dataset = rows_on_gpu
    for _ in range(3):
        for features, _ in DataLoader(dataset, batch_size=16, shuffle=True, seed=0):
            features.add_(1)


def test_nothing_is_allocated_once_warm(photos: Path) -> None:
    loader = DataLoader(ImageFolder(photos, transform=TRAIN), 6, shuffle=True, drop_last=True, num_workers=4)
    for _ in range(4):
        for _ in loader:
            pass
    warm = torch.cuda.memory_stats()["num_device_alloc"], torch.cuda.memory_reserved()
    for _ in range(20):
        for _ in loader:
            pass
    assert (torch.cuda.memory_stats()["num_device_alloc"], torch.cuda.memory_reserved()) == warm


def test_a_slow_consumer_never_sees_a_later_batch(photos: Path) -> None:
    """Staging buffers are reused while the consumer's stream is far behind the host."""
    loader = DataLoader(ImageFolder(photos, transform=TRAIN), 2, shuffle=True, seed=3, num_workers=4)
    wanted = [images.cpu() for images, _ in DataLoader(loader.dataset, 2, shuffle=True, seed=3, device="cpu")]
    kept = []
    for images, _ in loader:
        torch.cuda._sleep(20_000_000)  # keeps the stream busy, not the host
        kept.append(images * 1)
    assert all(torch.equal(ours.cpu(), theirs) for ours, theirs in zip(kept, wanted, strict=True))


def test_batches_arrive_on_the_current_stream(photos: Path) -> None:
    loader = DataLoader(ImageFolder(photos, transform=TRAIN), 4, seed=3, num_workers=2)
    wanted = [images.cpu() for images, _ in DataLoader(loader.dataset, 4, seed=3, device="cpu")]
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        got = [(images + 0).cpu() for images, _ in loader]
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(got, wanted, strict=True))


def test_the_other_engines_deliver_to_the_gpu(photos: Path) -> None:
    dataset = ImageFolder(photos, transform=TRAIN)
    plain = [images.cpu() for images, _ in DataLoader(dataset, 4, seed=3)]
    for engine in ("cpu", "pillow"):
        got = list(DataLoader(dataset, 4, seed=3, engine=engine, num_workers=2))
        assert all(images.device.type == "cuda" for images, _ in got)
        assert all(torch.equal(images.cpu(), wanted) for (images, _), wanted in zip(got, plain, strict=True))
