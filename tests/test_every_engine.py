"""What every engine keeps, whatever renders: the same samples with the same draws, errors, early breaks, memory."""

import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.datasets import CIFAR10

from gpuload import DataLoader, ImageFolder, SampleError, transforms as T
from gpuload.engines import ENGINES
from gpuload.libraries import host_library
from tests.conftest import encode, make_photo
from tests.cuda_on_cpu import cuda_on_cpu
from tests.jobs import alive
from tests.simulation.runtime import simulated

pytestmark = pytest.mark.usefixtures("none_left")


class Engine(NamedTuple):
    """One of the engines where it can run: the bound is of its pixels' differences, on a scale of 255.

    DALI's filters see the edge of an image in another way than Pillow's, so that a few pixels differ more.
    """

    name: str
    device: str
    most: float = 0
    mean: float = 0


EVERY = {
    "pillow": Engine("pillow", "cpu"),
    "cpu": Engine("cpu", "cpu"),
    "cuda": Engine("cuda", "cuda"),
    "dali": Engine("dali", "cpu", most=24, mean=0.5),
    "dali on a GPU": Engine("dali", "cuda", most=32, mean=0.7),
}
TRANSFORMS = {
    "crops": [T.RandomResizedCrop(24), T.RandomHorizontalFlip()],
    "window": [T.Resize(40), T.CenterCrop(32), T.RandomVerticalFlip()],
    "gray": [T.Resize((30, 20)), T.RandomGrayscale(0.5), T.RandomHorizontalFlip()],
    "one channel": [T.RandomResizedCrop((20, 30)), T.Grayscale(1)],
    "padding": [T.Resize((24, 24)), T.RandomCrop(24, padding=5, fill=(10, 90, 200)), T.RandomHorizontalFlip()],
    "nearest": [T.Resize((17, 23), interpolation=T.InterpolationMode.NEAREST)],
    "bicubic": [T.RandomResizedCrop(24, interpolation=T.InterpolationMode.BICUBIC)],
    "two resizes": [T.Resize((40, 50)), T.RandomCrop(30), T.Resize(20)],
    "values": [T.RandomResizedCrop(24), T.ToDtype(torch.float32, scale=True), T.Normalize((0.5, 0.4, 0.3), (0.2,) * 3)],
}
CROPS = T.Compose(TRANSFORMS["crops"])


@pytest.fixture(
    params=[
        *("pillow", "cpu", "dali"),
        "simulated",
        *(pytest.param(n, marks=pytest.mark.cuda) for n in ("cuda", "dali on a GPU")),
    ]
)
def engine(request: pytest.FixtureRequest) -> Iterator[Engine]:
    """Each in turn; the CUDA engine on the simulated GPU, too."""
    if request.param in ("cpu", "simulated") and host_library() is None:
        pytest.skip("no native code")
    if "dali" in request.param:
        pytest.importorskip("nvidia.dali")
    if request.param != "simulated":
        yield EVERY[request.param]
        return
    cuda_on_cpu()  # skips where there are no kernels, before a loader has threads that a skipped test would keep
    with simulated() as runtime:
        yield EVERY["cuda"]
        runtime.gpu.finish()
        assert runtime.gpu.problems == []


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


@pytest.mark.parametrize("options", [{"num_workers": 0}, {"num_workers": 7}, {"batch_size": 12}, {"batch_size": 1}])
def test_it_does_not_depend_on_workers_or_batches(engine: Engine, folder: Path, options: dict[str, Any]) -> None:
    check(engine, loader_of(engine, folder, **options), 1)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float16, torch.float32])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_any_layout(engine: Engine, folder: Path, dtype: torch.dtype, memory_format: torch.memory_format) -> None:
    transform = CROPS if dtype is torch.uint8 else T.Compose([*TRANSFORMS["values"]])
    made = []
    for each in (engine, EVERY["pillow"]):
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
    made = [torch.cat([images.cpu() for images, _ in loader_of(each, dataset)]) for each in (engine, EVERY["pillow"])]
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

    mine, reference = outcomes(engine), outcomes(EVERY["pillow"])
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


def test_two_iterators_of_a_loader(engine: Engine, folder: Path) -> None:
    loader, alone = loader_of(engine, folder), loader_of(engine, folder)
    epochs = [torch.cat([images for images, _ in alone]) for _ in range(2)]
    together = [(a[0], b[0]) for a, b in zip(iter(loader), iter(loader), strict=True)]
    for epoch, images in zip(epochs, zip(*together, strict=True), strict=True):
        assert torch.equal(torch.cat(images), epoch)


PROGRAM = """
import sys
from gpuload import DataLoader, ImageFolder, transforms as T
dataset = ImageFolder(sys.argv[1], transform=T.RandomResizedCrop(64))
loader = DataLoader(dataset, 2, num_workers=2, engine=sys.argv[2], device="cpu")
print(len(next(iter(loader))[0]))
batches = iter(loader)
next(batches)
"""


@pytest.mark.parametrize("name", ["pillow", "cpu", "dali"])
def test_a_program_may_end_in_mid_epoch(name: str, folder: Path, run_python: Callable[..., Any]) -> None:
    assert run_python(PROGRAM, folder, name).stdout == "2\n"


def test_each_engine_is_tried() -> None:
    assert {engine.name for engine in EVERY.values()} == set(ENGINES)
