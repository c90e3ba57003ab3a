"""The images' path: sizes are remembered, replaced files are noticed, shares hold no one up, nothing is left behind."""

import os
import random
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader as TorchDataLoader, TensorDataset as TorchTensorDataset

from gpuload import DataLoader, ImageFolder, SampleError, transforms as T
from gpuload.libraries import host_library
from gpuload.loading.images import share_size
from gpuload.loading.stretch import Errors

TRAIN = T.Compose([T.RandomResizedCrop(24), T.RandomHorizontalFlip(), T.ToDtype(torch.float32, scale=True)])


@pytest.fixture
def engines() -> list[str]:
    return ["pillow"] if host_library() is None else ["cpu", "pillow"]


@pytest.fixture
def copies(tmp_path: Path, photos: Path) -> Path:
    """A class folder of ten photos, to be written to."""
    (tmp_path / "only").mkdir()
    for number, path in enumerate(sorted(photos.rglob("*.jpg"))[:10]):
        (tmp_path / "only" / f"{number}.jpg").write_bytes(path.read_bytes())
    return tmp_path


def check(loader: DataLoader, epoch: int) -> None:
    """An epoch is what was drawn for it, applied with Pillow to the files as they are now."""
    loader.set_epoch(epoch)
    images = torch.cat([images for images, _ in loader])
    for image, (index, recipe) in zip(images, loader.recipes(epoch), strict=True):
        assert torch.equal(image, loader.dataset.apply(index, recipe)), index


# ---- sizes ----


def test_sizes_are_remembered(copies: Path) -> None:
    dataset = ImageFolder(copies, transform=TRAIN)
    assert not dataset.sizes.any()
    list(DataLoader(dataset, 3, sampler=[4, 1], num_workers=2, device="cpu"))
    known = np.flatnonzero(dataset.sizes.all(axis=1)).tolist()
    assert known == [1, 4]
    with Image.open(dataset.path(4)) as image:
        assert tuple(dataset.sizes[4]) == (image.height, image.width)


@pytest.mark.parametrize("form", ["JPEG", "PNG"])
@pytest.mark.parametrize("workers", [0, 2])
def test_a_file_that_was_replaced_is_planned_again(
    copies: Path, form: str, workers: int, engines: list[str], make_photo: Callable[..., Image.Image]
) -> None:
    for engine in engines:
        dataset = ImageFolder(copies, transform=TRAIN)
        loader = DataLoader(dataset, 4, shuffle=True, seed=1, num_workers=workers, engine=engine, device="cpu")
        check(loader, 0)
        for number, size in ((3, (31, 70)), (4, (200, 40)), (9, (16, 16))):
            make_photo(*size, seed=number).save(dataset.path(number), form)
        check(loader, 1)
        assert tuple(dataset.sizes[4]) == (200, 40)


def test_a_file_that_does_not_keep_still_fails(
    copies: Path, monkeypatch: pytest.MonkeyPatch, make_photo: Callable[..., Image.Image]
) -> None:
    dataset = ImageFolder(copies, transform=TRAIN)
    make_photo(40, 40).save(dataset.path(0), "PNG")
    monkeypatch.setattr(ImageFolder, "size", lambda self, index: (50, 50))
    loader = DataLoader(dataset, 5, engine="pillow", device="cpu")
    with pytest.raises(SampleError, match=r"sample 0 .*0\.jpg\): the file is being replaced again and again"):
        list(loader)


def test_a_file_that_vanishes_is_named(copies: Path) -> None:
    dataset = ImageFolder(copies, transform=TRAIN)
    loader = DataLoader(dataset, 5, num_workers=2, device="cpu")
    list(loader)
    Path(dataset.path(7)).unlink()
    with pytest.raises(SampleError, match=r"sample 7 \(.*7\.jpg\): .*No such file"):
        list(loader)


def test_a_file_that_stalls_holds_up_no_batch_before_it(copies: Path) -> None:
    data = Path(copies / "only" / "0.jpg").read_bytes()
    (copies / "only" / "6.jpg").unlink()
    os.mkfifo(copies / "only" / "6.jpg")
    iterator = iter(DataLoader(ImageFolder(copies, transform=TRAIN), 2, num_workers=2, device="cpu"))
    assert [len(next(iterator)[0]) for _ in range(3)] == [2, 2, 2]
    writer = threading.Thread(target=feed, args=(copies / "only" / "6.jpg", data), daemon=True)
    writer.start()
    assert [len(images) for images, _ in iterator] == [2, 2]
    writer.join()


def feed(fifo: Path, data: bytes) -> None:
    """Write it for whoever opens it: once for its size, once for its pixels."""
    for _ in range(2):
        fifo.write_bytes(data)
        time.sleep(0.2)  # its reader has come to the end, so that the next one reads anew


# ---- errors ----


def test_the_first_sample_that_fails_is_named_whatever_the_timing(copies: Path) -> None:
    dataset = ImageFolder(copies, transform=TRAIN)
    for number in (8, 2, 5):
        Path(dataset.path(number)).write_bytes(b"no image")
    for workers in (0, 1, 4):
        with pytest.raises(SampleError, match="sample 2 "):
            list(DataLoader(dataset, 10, num_workers=workers, device="cpu"))


def test_a_target_transform_that_fails_names_its_sample(copies: Path) -> None:
    def target_transform(target: int) -> int:
        raise ValueError("no such class")

    dataset = ImageFolder(copies, transform=TRAIN, target_transform=target_transform)
    with pytest.raises(SampleError, match=r"sample 0 \(.*\): no such class"):
        list(DataLoader(dataset, 3, num_workers=1, device="cpu"))


# ---- what users change ----


def test_an_own_getitem_is_honored(copies: Path) -> None:
    class WithPath(ImageFolder):
        def __getitem__(self, index: int) -> Any:
            return (*super().__getitem__(index), self.path(index))

    loader = DataLoader(WithPath(copies, transform=TRAIN), 4, device="cpu")
    assert loader.engine is None
    images, labels, paths = next(iter(loader))
    assert images.shape == (4, 3, 24, 24)
    assert labels.tolist() == [0] * 4
    assert [Path(path).name for path in paths] == ["0.jpg", "1.jpg", "2.jpg", "3.jpg"]


def test_negative_indices_count_from_the_end(copies: Path) -> None:
    dataset = ImageFolder(copies, transform=T.Compose([T.CenterCrop(8)]))
    ((images, _),) = DataLoader(dataset, 2, sampler=[-1, 9], device="cpu")
    assert torch.equal(images[0], images[1])
    with pytest.raises(IndexError, match="sample 10 of 10"):
        list(DataLoader(dataset, 2, sampler=[10], device="cpu"))


@pytest.mark.parametrize("workers", [0, 2])
def test_an_empty_batch_is_for_the_collate_function(copies: Path, workers: int) -> None:
    dataset = ImageFolder(copies, transform=TRAIN)
    batches = [[0], [], [1, 2]]
    ours = DataLoader(dataset, batch_sampler=batches, collate_fn=len, num_workers=workers, device="cpu")
    assert list(ours) == list(TorchDataLoader(dataset, batch_sampler=batches, collate_fn=len)) == [1, 0, 2]


def test_target_transform_runs_for_no_more_samples_than_are_in_flight(copies: Path) -> None:
    seen: list[int] = []
    dataset = ImageFolder(copies, transform=TRAIN, target_transform=seen.append)
    loader = DataLoader(dataset, 1, collate_fn=len, device="cpu")  # one batch at a time
    iterator = iter(loader)
    for number in range(1, 5):
        next(iterator)
        assert len(seen) == number


# ---- shares ----


@pytest.mark.parametrize(
    ("batch", "workers", "share"), [(256, 2, 16), (256, 64, 8), (64, 64, 2), (8, 8, 1), (3, 8, 1), (1, 0, 1)]
)
def test_shares_leave_work_for_every_worker(batch: int, workers: int, share: int) -> None:
    assert share_size(batch, workers) == share


@pytest.mark.parametrize("batch_size", [1, 5, 16, 17, 33])
def test_shares_cover_the_batch(photos: Path, batch_size: int) -> None:
    loader = DataLoader(ImageFolder(photos, transform=TRAIN), batch_size, seed=2, num_workers=3, device="cpu")
    check(loader, 0)
    check(loader, 5)


@pytest.mark.parametrize("make", [DataLoader, TorchDataLoader])
def test_what_worker_init_fn_seeds_is_the_workers_own(make: Any, copies: Path) -> None:
    """As in torch's processes: no number of the training loop's own is drawn again."""

    def start(number: int) -> None:
        (copies / f"{number}.seed").write_text(str(torch.initial_seed()))
        for module in (torch.manual_seed, np.random.seed, random.seed):
            module(0)

    options = {"device": "cpu", "seed": 7} if make is DataLoader else {"generator": torch.Generator()}
    loader = make(ImageFolder(copies, transform=TRAIN), 4, num_workers=2, worker_init_fn=start, **options)
    before = torch.get_rng_state(), np.random.get_state(), random.getstate()
    list(loader)
    assert torch.equal(torch.get_rng_state(), before[0]) and random.getstate() == before[2]
    assert np.array_equal(np.random.get_state()[1], before[1][1])  # type: ignore[index]
    assert len({(copies / f"{number}.seed").read_text() for number in range(2)}) == 2


# ---- nothing is left behind ----


@pytest.mark.usefixtures("no_collector")
@pytest.mark.parametrize("kind", ["images", "tensors", "workers"])
def test_a_dropped_loader_is_freed_at_once(copies: Path, kind: str) -> None:
    datasets: dict[str, Any] = {
        "images": ImageFolder(copies, transform=TRAIN),
        "tensors": TorchTensorDataset(torch.arange(10)),
        "workers": [torch.tensor(i) for i in range(10)],
    }
    loader = DataLoader(datasets[kind], 2, num_workers=0 if kind == "workers" else 2, device="cpu")
    for _ in range(2):
        for _ in loader:
            break
    before = threading.active_count()
    loader_gone, path_gone = weakref.ref(loader), weakref.ref(loader.path)
    del loader
    assert loader_gone() is None
    assert path_gone() is None
    assert threading.active_count() == before


@pytest.mark.usefixtures("no_collector")
@pytest.mark.parametrize("is_late", [False, True], ids=["before", "after"])
def test_a_batch_that_is_given_up_half_way_keeps_no_error(photos: Path, is_late: bool) -> None:
    """A sample of it has failed, before or after; the error's traceback holds what holds the error."""

    class Half:
        def __init__(self) -> None:
            self.errors = Errors(ImageFolder(photos), 0, np.arange(4), np.arange(4))

        def stages(self) -> Iterator[None]:
            with self.errors.raised():
                yield

        def fail(self) -> None:
            with self.errors.of(2):
                raise OSError("trouble")

    job = Half()
    stages, gone = job.stages(), weakref.ref(job)
    next(stages)
    if is_late:
        stages.close()
    job.fail()
    del stages, job
    assert gone() is None
