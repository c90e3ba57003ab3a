"""What every engine keeps, whatever renders: the same samples with the same draws, errors, early breaks, memory."""

import copy
import logging
import os
import pickle
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import Subset, random_split
from torchvision.datasets import CIFAR10

from gpuload import ArgumentError, DataLoader, ImageFolder, SampleError, TimedOutError, transforms as T
from gpuload.engines import ENGINES
from tests.conftest import EVERY_ENGINE, Engine, encode, make_photo
from tests.jobs import alive

pytestmark = pytest.mark.usefixtures("none_left")


TRANSFORMS = {
    "crops": [T.RandomResizedCrop(24), T.RandomHorizontalFlip()],
    "window": [T.Resize(40), T.CenterCrop(32), T.RandomVerticalFlip()],
    "gray": [T.Resize((30, 20)), T.RandomGrayscale(0.5), T.RandomHorizontalFlip()],
    "one channel": [T.RandomResizedCrop((20, 30)), T.Grayscale(1)],
    "padding": [T.Resize((24, 24)), T.RandomCrop(24, padding=5, fill=(10, 90, 200)), T.RandomHorizontalFlip()],
    "nearest": [T.Resize((17, 23), interpolation=T.InterpolationMode.NEAREST)],
    "bicubic": [T.RandomResizedCrop(24, interpolation=T.InterpolationMode.BICUBIC)],
    "stages": [T.ColorJitter(0.4), T.RandomResizedCrop(24), T.RandomRotation(20, expand=True), T.CenterCrop(20)],
    "two resizes": [T.Resize((40, 50)), T.RandomCrop(30), T.Resize(20)],
    "colors": [
        T.RandomResizedCrop(24),
        T.RandomHorizontalFlip(),
        T.ColorJitter(0.4, 0.4, 0.4, 0.1),
        T.RandomGrayscale(0.3),
    ],
    "distortion": [
        T.RandomResizedCrop(24),
        T.GaussianBlur((9, 5)),
        T.RandomHorizontalFlip(),
        T.RandomPhotometricDistort(p=0.8),
        T.RandomChannelPermutation(),
    ],
    "augmentation": [T.RandomResizedCrop(24), T.RandomHorizontalFlip(), T.TrivialAugmentWide(), T.RandomEqualize(0.3)],
    "erasing": [
        T.RandomResizedCrop(24),
        T.ToDtype(torch.float32, scale=True),
        T.RandomErasing(0.7, value=(1.0, 2.0, 3.0)),
        T.Normalize((0.5, 0.4, 0.3), (0.2,) * 3),
        T.RandomErasing(0.7, value="random"),
        T.RandomErasing(0.5),
    ],
    "values": [T.RandomResizedCrop(24), T.ToDtype(torch.float32, scale=True), T.Normalize((0.5, 0.4, 0.3), (0.2,) * 3)],
}
CROPS = T.Compose(TRANSFORMS["crops"])


@pytest.fixture
def folder(tmp_path: Path, photos: Path) -> Path:
    """Twelve files of all kinds, to be written to: ordinary JPEGs, and what goes another way."""
    (tmp_path / "only").mkdir()
    kinds: list[Callable[[Image.Image], bytes]] = [
        lambda image: encode(image, "PNG"),
        lambda image: encode(image.convert("CMYK")),
        lambda image: encode(image.convert("L")),
        lambda image: encode(image, progressive=True),
    ]
    for number, path in enumerate(sorted(photos.rglob("*.jpg"))[:8]):
        (tmp_path / "only" / f"{number:02}.jpg").write_bytes(path.read_bytes())
    for number, kind in enumerate(kinds):
        (tmp_path / "only" / f"{number + 8:02}.jpg").write_bytes(kind(make_photo(50 + 9 * number, 70, seed=number)))
    return tmp_path


def loader_of(engine: Engine, folder: Path | Any, transform: Any = CROPS, **options: Any) -> DataLoader:
    dataset = ImageFolder(folder, transform=transform) if isinstance(folder, Path) else folder
    defaults = {"batch_size": 5, "shuffle": True, "seed": 4, "num_workers": 2}
    return DataLoader(dataset, engine=engine.name, device=engine.device, **{**defaults, **options})


def check(engine: Engine, loader: DataLoader, epoch: int) -> None:
    """An epoch is what was drawn for it, applied with Pillow to the files as they are now."""
    loader.set_epoch(epoch)
    batches = list(loader)
    images = [image.cpu() for images, _ in batches for image in images]
    labels = [label for _, labels in batches for label in labels.tolist()]
    scale = (loader.values(images[0].dtype).double().diff().abs().max().item()) if images else 1
    differences = []
    for image, label, (index, recipe) in zip(images, labels, loader.recipes(epoch), strict=True):
        wanted = loader.dataset.apply(index, recipe)
        assert (image.shape, image.dtype, label) == (wanted.shape, wanted.dtype, loader.dataset.targets[index])
        differences.append((image.double() - wanted.double()).abs().flatten() / scale)
    every = torch.cat(differences)
    assert every.max() <= engine.most + 1e-3
    assert every.mean() <= engine.mean + 1e-3


# ---- what is delivered ----


@pytest.mark.parametrize("name", TRANSFORMS)
def test_samples_draws_and_labels_are_the_same(engine: Engine, folder: Path, name: str) -> None:
    if name == "nearest" and engine.most:  # here and there DALI takes the neighbor of Pillow's nearest pixel
        engine = engine._replace(most=255, mean=3)
    loader = loader_of(engine, folder, T.Compose(TRANSFORMS[name]))
    for epoch in (0, 3):
        check(engine, loader, epoch)


@pytest.mark.parametrize("workers", [0, 3])
def test_others_stand_in_for_what_cannot_be_read(engine: Engine, folder: Path, workers: int) -> None:
    """One whose header is whole, one that has none, one that is gone."""
    files = sorted(folder.rglob("*.jpg"))
    files[1].write_bytes(files[1].read_bytes()[:900])
    files[5].write_text("no image")
    loader = loader_of(engine, folder, num_workers=workers, on_error="replace", max_bad_samples=3)
    files[9].unlink()
    for epoch in (0, 1):
        check(engine, loader, epoch)
    assert [bad.index for bad in loader.quarantine] == [1, 5, 9]


@pytest.mark.parametrize("options", [{"num_workers": 0}, {"num_workers": 7}, {"batch_size": 12}, {"batch_size": 1}])
def test_it_does_not_depend_on_workers_or_batches(engine: Engine, folder: Path, options: dict[str, Any]) -> None:
    check(engine, loader_of(engine, folder, **options), 1)


def test_more_workers_than_anyone_has(engine: Engine, folder: Path) -> None:
    loader = loader_of(engine, folder, num_workers=64, persistent_workers=True, batch_size=3)
    loader.dataset.samples = list(loader.dataset.samples) * 12
    for epoch in (0, 1):
        check(engine, loader, epoch)


PICKED: dict[str, Callable[[ImageFolder], Any]] = {
    "Subset": lambda dataset: Subset(dataset, [7, 3, 3, 11, 0, 9]),
    "random_split": lambda dataset: random_split(dataset, [7, 5])[0],
}


@pytest.mark.parametrize("kind", PICKED)
def test_a_part_of_a_dataset(engine: Engine, folder: Path, kind: str) -> None:
    dataset = ImageFolder(folder, transform=T.Resize((20, 24)))
    dataset.samples = [(path, 10 * number) for number, (path, _) in enumerate(dataset.samples)]
    part = PICKED[kind](dataset)
    loader = loader_of(engine, part, shuffle=False)
    assert loader.engine == engine.name
    batches = list(loader)
    assert torch.cat([labels.cpu() for _, labels in batches]).tolist() == [10 * index for index in part.indices]
    wanted = torch.stack([dataset[index][0] for index in part.indices])
    differences = (torch.cat([images.cpu() for images, _ in batches]).double() - wanted.double()).abs()
    assert differences.max() <= engine.most
    assert differences.mean() <= engine.mean


@pytest.mark.parametrize("way", [copy.deepcopy, lambda loader: pickle.loads(pickle.dumps(loader))])
def test_copies(engine: Engine, folder: Path, way: Callable[[DataLoader], DataLoader]) -> None:
    """Made in mid-epoch; neither disturbs the other."""
    loader = loader_of(engine, folder)
    batches = iter(loader)
    next(batches)
    other = way(loader)
    assert (other.engine, other.dataset is loader.dataset) == (engine.name, False)
    check(engine, other, 2)
    assert len(list(batches)) == 2
    check(engine, loader, 2)


def _set_size(loader: DataLoader) -> None:
    loader.dataset.transform.transforms[0].size = (30, 20)


def _set_fill(loader: DataLoader) -> None:
    loader.dataset.transform.transforms[1].fill = (9, 0, 250)


def _set_transform(loader: DataLoader) -> None:
    loader.dataset.transform = T.CenterCrop(20)


@pytest.mark.parametrize(("change", "size"), [(_set_size, (34, 24)), (_set_fill, (28, 28)), (_set_transform, (20, 20))])
def test_a_transform_that_changes_in_mid_epoch_counts_from_the_next(
    engine: Engine, folder: Path, change: Callable[[DataLoader], None], size: tuple[int, int]
) -> None:
    loader = loader_of(engine, folder, T.Compose([T.RandomResizedCrop(24), T.Pad(2)]))
    batches = iter(loader)
    made = [next(batches)[0]]
    change(loader)
    made += [images for images, _ in batches]
    assert [images.shape for images in made] == [(5, 3, 28, 28), (5, 3, 28, 28), (2, 3, 28, 28)]
    assert all((images[..., :2] == 0).all() for images in made)
    check(engine, loader, 1)
    assert next(iter(loader))[0].shape[2:] == size


def test_images_that_have_their_size_come_after_others(engine: Engine, folder: Path) -> None:
    """The second needs no resize, and is of another size than the first."""
    for number, size in enumerate([(40, 40), (20, 30), (60, 40)]):
        (folder / "only" / f"{number:02}.jpg").write_bytes(encode(make_photo(*size)))
    check(engine, loader_of(engine, folder, T.Resize(20), batch_size=1, shuffle=False, num_workers=0), 0)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float16, torch.float32])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_any_layout(engine: Engine, folder: Path, dtype: torch.dtype, memory_format: torch.memory_format) -> None:
    transform = CROPS if dtype is torch.uint8 else T.Compose([*TRANSFORMS["values"]])
    made = []
    for each in (engine, EVERY_ENGINE["pillow"]):
        loader = loader_of(each, folder, transform, dtype=dtype, memory_format=memory_format)
        batches = [images for images, _ in loader]
        assert all(images.is_contiguous(memory_format=memory_format) for images in batches)
        made.append(torch.cat([images.cpu() for images in batches]).double())
        assert batches[0].dtype == dtype
    bound = engine.most if dtype is torch.uint8 else engine.most / 255 / 0.2 + 0.005
    assert (made[0] - made[1]).abs().max() <= bound


def test_images_of_several_sizes(engine: Engine, folder: Path) -> None:
    """Whole images: every engine has their very pixels."""
    loader = loader_of(engine, folder, T.Compose([T.RandomHorizontalFlip()]), collate_fn=list)
    images = [image.cpu() for batch in loader for image, _ in batch]
    for image, (index, recipe) in zip(images, loader.recipes(0), strict=True):
        assert torch.equal(image, loader.dataset.apply(index, recipe)), index


def test_images_in_memory(engine: Engine) -> None:
    dataset = CIFAR10.__new__(CIFAR10)
    rng = np.random.default_rng(0)
    dataset.data, dataset.targets = rng.integers(0, 256, (23, 32, 32, 3), np.uint8), list(range(23))
    dataset.train, dataset.target_transform, dataset.transforms, dataset.root = True, None, None, ""
    dataset.transform = T.Compose([T.RandomCrop(32, padding=4), T.RandomHorizontalFlip()])
    made = [
        torch.cat([images.cpu() for images, _ in loader_of(each, dataset)]) for each in (engine, EVERY_ENGINE["pillow"])
    ]
    assert torch.equal(*made)  # nothing is resized


def test_batches_that_are_kept_keep_their_pixels(engine: Engine, folder: Path) -> None:
    loader = loader_of(engine, folder)
    kept = [images for images, _ in loader]
    copies = [images.clone() for images in kept]
    for _ in range(4):
        list(loader)
    assert all(map(torch.equal, kept, copies))


# ---- what goes wrong ----


def damaged(data: bytes) -> dict[str, bytes]:
    """A photo's file that ends early, that is nothing, and that has the end of a file in the middle of one."""
    return {"cut": data[: len(data) // 2], "empty": b"", "closed early": data[: len(data) // 3] + b"\xff\xd9"}


@pytest.mark.parametrize("kind", ["missing", "cut", "empty", "closed early"])
def test_a_damaged_file_ends_alike(engine: Engine, folder: Path, kind: str) -> None:
    """As on the reference: an error that names it, or what Pillow makes of it; the other batches come."""
    path = folder / "only" / "06.jpg"
    data = path.read_bytes()

    def outcomes(each: Engine) -> list[Any]:
        path.write_bytes(data)
        loader = loader_of(each, folder, shuffle=False, batch_size=3)
        list(loader)  # sizes are known from here on
        path.unlink() if kind == "missing" else path.write_bytes(damaged(data)[kind])
        made, batches = list[Any](), iter(loader)
        while True:
            try:
                made.append(next(batches)[0].float().cpu())
            except StopIteration:
                return made
            except SampleError as error:
                made.append(str(error))

    mine, reference = outcomes(engine), outcomes(EVERY_ENGINE["pillow"])
    assert [type(outcome) for outcome in mine] == [type(outcome) for outcome in reference]
    assert len(mine) == 4
    for outcome, wanted in zip(mine, reference, strict=True):
        if isinstance(wanted, str):
            assert outcome == wanted
            assert "sample 6 (" in wanted
        else:
            assert (outcome - wanted).abs().max() <= engine.most


def test_a_file_that_was_replaced_is_planned_again(engine: Engine, folder: Path) -> None:
    loader = loader_of(engine, folder)
    check(engine, loader, 0)
    (folder / "only" / "03.jpg").write_bytes(encode(make_photo(31, 70)))
    (folder / "only" / "04.jpg").write_bytes(encode(make_photo(90, 40), "PNG"))
    check(engine, loader, 1)


@pytest.mark.usefixtures("no_collector")
@pytest.mark.parametrize("taken", [0, 1, 2])
def test_early_breaks_and_dropped_loaders(engine: Engine, folder: Path, taken: int) -> None:
    """The next epoch is whole; nothing is left, with batches under way, without the garbage collector."""
    loader = loader_of(engine, folder, num_workers=3)
    for _ in range(5):
        batches = iter(loader)
        for _ in range(taken):
            next(batches)
    check(engine, loader, 7)
    batches = iter(loader)
    for _ in range(taken):
        next(batches)
    state = weakref.ref(loader.path._engines[0][1])
    del loader, batches
    assert state() is None
    assert alive() == []


@pytest.fixture
def stall(folder: Path) -> Iterator[Callable[[], None]]:
    """Have number 6 of the folder stall whoever reads it, until the end of the test."""
    path, writers = folder / "only" / "06.jpg", list[int]()

    def put() -> None:
        path.unlink()
        os.mkfifo(path)
        writers.append(os.open(path, os.O_RDWR))

    yield put
    path.unlink(missing_ok=True)  # else it would be opened again, by Pillow
    for writer in writers:
        os.close(writer)


@pytest.mark.usefixtures("short_grace")
@pytest.mark.parametrize("is_known", [False, True])
def test_a_file_that_stalls_times_out(
    engine: Engine, folder: Path, stall: Callable[[], None], caplog: pytest.LogCaptureFixture, is_known: bool
) -> None:
    """While it is planned, or while it is loaded; once it is whole again, so is the next epoch."""
    path = folder / "only" / "06.jpg"
    data = path.read_bytes()
    loader = loader_of(engine, folder, shuffle=False, batch_size=3, timeout=0.5)
    if is_known:
        list(loader)
    stall()
    batches = iter(loader)
    assert [len(next(batches)[0]) for _ in range(2)] == [3, 3]
    with pytest.raises(
        TimedOutError, match=r"batch 2 is .* 3 images: \d (is|are) not done, the first is sample 6 \(.*06\.jpg\); "
    ):
        next(batches)
    assert list(batches) == []
    assert "left 1 of the loader's threads behind" in caplog.text
    path.unlink()
    path.write_bytes(data)
    check(engine, loader, 2)


class Own(ImageFolder):
    def __getitem__(self, index: int) -> Any:
        return super().__getitem__(index)


def test_what_is_not_rendered_is_refused_or_goes_torchs_way(
    engine: Engine, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    dataset = Own(folder, transform=CROPS)
    with pytest.raises(ArgumentError, match=r"^engine is for images that gpuload renders, got Own: Own overrides __ge"):
        loader_of(engine, dataset)
    with caplog.at_level(logging.INFO, "gpuload"):
        loader = DataLoader(dataset, 5, device=engine.device)
    assert caplog.messages == ["torch's own workers read Own: Own overrides __getitem__"]
    assert sum(len(images) for images, _ in loader) == 12


def test_two_iterators_of_a_loader(engine: Engine, folder: Path) -> None:
    loader, alone = loader_of(engine, folder), loader_of(engine, folder)
    epochs = [torch.cat([images for images, _ in alone]) for _ in range(2)]
    together = [(a[0], b[0]) for a, b in zip(iter(loader), iter(loader), strict=True)]
    for epoch, images in zip(epochs, zip(*together, strict=True), strict=True):
        assert torch.equal(torch.cat(images), epoch)


def test_each_engine_is_tried() -> None:
    assert {engine.name for engine in EVERY_ENGINE.values()} == set(ENGINES)
