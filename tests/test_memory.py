"""Memory stays where it is: over epochs, over broken off epochs, over errors. Nothing is left behind."""

import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from gpuload import DataLoader, ImageFolder, transforms as T

TRAIN = T.Compose([T.RandomResizedCrop(32), T.RandomHorizontalFlip(), T.ToDtype(torch.float32, scale=True)])
GROWTH = 5 << 20  # bytes of resident memory that count as flat

PROGRAM = """
import gc, json, os, sys, threading, warnings
import torch
from gpuload import DataLoader, ImageFolder, SampleError, transforms as T

root, damaged, device = sys.argv[1:]
transform = T.Compose([T.RandomResizedCrop(128), T.RandomHorizontalFlip(), T.ToDtype(torch.float32, scale=True)])
loader = DataLoader(ImageFolder(root, transform=transform), batch_size=8, shuffle=True, num_workers=2, device=device)
broken = DataLoader(ImageFolder(damaged, transform=transform), batch_size=2, num_workers=2, device=device)

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

def epochs(count):
    for _ in range(count):
        for images, labels in loader:
            pass

def early_breaks(count):
    for turn in range(count):
        for number, batch in enumerate(loader):
            if number == turn % 3:
                break

def errors(count):
    for _ in range(count):
        try:
            for batch in broken:
                pass
        except SampleError:
            pass

def workers():
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("gpuload")]

report = {}
for work, warm, count in ((epochs, 10, 20), (early_breaks, 40, 100), (errors, 40, 100)):
    work(warm)
    before = resident()
    work(count)
    report[work.__name__] = resident() - before
    gc.collect()
    report[work.__name__ + " threads"] = workers()
print(json.dumps(report))
"""


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.cuda)], indirect=True)
def test_resident_memory_is_flat(
    photos: Path, tmp_path: Path, device: torch.device, run_python: Callable[..., Any]
) -> None:
    """After a warm-up: 20 epochs, 100 epochs that are broken off, and 100 that end with an error."""
    (tmp_path / "class").mkdir()
    for number, path in enumerate(sorted((photos / "cats").iterdir())):
        data = path.read_bytes()
        (tmp_path / "class" / path.name).write_bytes(data[: len(data) // 2] if number == 5 else data)
    report = json.loads(run_python(PROGRAM, photos, tmp_path, device, timeout=120).stdout)
    for work in ("epochs", "early_breaks", "errors"):
        assert report[f"{work} threads"] == []
        assert report[work] < GROWTH, report


@pytest.fixture
def allocations(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Bytes of every tensor of a thousand bytes or more that ``torch.empty`` makes while the test runs."""
    sizes: list[int] = []
    empty = torch.empty

    def counted(*arguments: Any, **options: Any) -> torch.Tensor:
        tensor = empty(*arguments, **options)
        if tensor.nbytes >= 1000:
            sizes.append(tensor.nbytes)
        return tensor

    monkeypatch.setattr(torch, "empty", counted)
    return sizes


@pytest.mark.parametrize("engine", ["cpu", "pillow"])
@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("drop_last", [True, False])
def test_the_same_few_buffers_serve_all_epochs(
    photos: Path, engine: str, workers: int, drop_last: bool, allocations: list[int]
) -> None:
    """As many as batches can be alive: three under way, one with the consumer, one that a worker lets go.

    The last batch of an epoch may be smaller, and a buffer made for it is replaced once.
    """
    dataset = ImageFolder(photos, transform=TRAIN)
    loader = DataLoader(dataset, 5, num_workers=workers, drop_last=drop_last, engine=engine, device="cpu")
    for _ in range(25):
        for images, _ in loader:
            assert images.shape[1:] == (3, 32, 32)
    alive = 5 if workers else 2
    assert len(allocations) <= (alive if drop_last else 2 * alive)


@pytest.mark.parametrize("workers", [0, 2])
def test_buffers_that_are_kept_are_not_used_again(photos: Path, workers: int) -> None:
    loader = DataLoader(ImageFolder(photos, transform=TRAIN), 5, num_workers=workers, seed=3, device="cpu")
    kept = [images for images, _ in loader]
    copies = [images.clone() for images in kept]
    for _ in range(3):
        list(loader)
    assert all(torch.equal(image, copy) for image, copy in zip(kept, copies, strict=True))
    assert len({image.data_ptr() for image in kept}) == len(kept)


def test_no_threads_between_epochs(photos: Path) -> None:
    loader = DataLoader(ImageFolder(photos, transform=TRAIN), 5, num_workers=3, device="cpu")
    before = threading.enumerate()
    for _ in range(3):
        list(loader)
        assert threading.enumerate() == before
    for _ in loader:
        break
    assert threading.enumerate() == before
    batches = iter(loader)
    next(batches)
    assert len(threading.enumerate()) == len(before) + 3
    del batches
    assert threading.enumerate() == before
