"""One file to add: what CONTRIBUTING.md says of each kind of thing, done from outside and put on the fast path."""

import ctypes
import io
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

from gpuload import DataLoader, ImageFolder, Shard, TensorDataset, transforms as T
from gpuload.batch_transforms import BatchTransform, Draws, Part
from gpuload.compilers import compiler
from gpuload.datasets import ImageDataset
from gpuload.decoders.base import Decoder
from gpuload.decoders.files import Files
from gpuload.engines import ENGINES
from gpuload.engines.base import Layout
from gpuload.recipes.fuse import Fused, unfused
from gpuload.recipes.ops import Crop, Fusing, Mask, Pixels
from gpuload.recipes.recipes import Recipes
from gpuload.samplers import CounterSampler, EpochOrder
from gpuload.stage import Stage
from gpuload.transforms.base import chosen, every

VALUES = [T.ToDtype(torch.float32, scale=True), T.Normalize([0.5] * 3, [0.25] * 3)]
needs_compiler = pytest.mark.skipif(compiler() is None, reason="needs a C++ compiler")
engines = pytest.mark.parametrize(
    "engine",
    ["pillow", pytest.param("cpu", marks=needs_compiler), pytest.param("cuda", marks=pytest.mark.cuda)],
)


def loader_of(dataset: Any, engine: str | None = None, **options: Any) -> DataLoader:
    settings = {"num_workers": 2, "seed": 5, "device": "cuda" if engine == "cuda" else "cpu", **options}
    return DataLoader(dataset, 4, engine=engine, **settings)


def check(loader: DataLoader, epoch: int = 0) -> torch.Tensor:
    """The images of an epoch, after a look at each: it is what Pillow makes of what was drawn."""
    loader.set_epoch(epoch)
    images = torch.cat([images.cpu() for images, _ in loader])
    for image, (index, recipe) in zip(images, loader.recipes(epoch), strict=True):
        assert torch.equal(image, loader.dataset.apply(index, recipe)), (index, recipe)
    return images


# ---- a dataset ----


class Listed(ImageDataset):
    """Files in a list; the target is the length of the file's name."""

    def __init__(self, files: list[Path], **options: Any) -> None:
        super().__init__(**options)
        self.files = files

    def __len__(self) -> int:
        return len(self.files)

    def path(self, index: int) -> str:
        return str(self.files[index])

    def target(self, index: int) -> int:
        return len(self.files[index].name) + 10 * index


@pytest.fixture
def files(photos: Path) -> list[Path]:
    return sorted(photos.rglob("*.jpg"))[5:16]


TRAIN = T.Compose([T.RandomResizedCrop(24), T.RandomHorizontalFlip(), *VALUES])


@engines
def test_a_dataset(files: list[Path], engine: str) -> None:
    dataset = Listed(files, transform=TRAIN, target_transform=lambda target: -target)
    loader = loader_of(dataset, engine, shuffle=True)
    assert loader.engine == engine
    check(loader)
    labels = torch.cat([labels.cpu() for _, labels in loader]).tolist()
    assert labels == [dataset[index][1] for index, _ in loader.recipes(1)]
    assert sorted(labels) == sorted(-6 - 10 * index for index in range(11))
    assert loader.stages()[1].facts == ("11 files of Listed",)


# ---- a transform ----


class RandomQuarter(T.Transform):
    """One of the image's quarters."""

    def __init__(self) -> None:
        super().__init__()
        self.floats = True  # it only moves pixels, so it may stand after ToDtype

    def steps(self, height: Any, width: Any, draws: Any) -> Any:
        everyone = np.arange(len(height))
        down, right = draws.integer(2, everyone), draws.integer(2, everyone)
        return [(Crop(down * (height // 2), right * (width // 2), height // 2, width // 2), every(height))]


class TopHalf:
    """The image's upper half; a transform need not be one by birth."""

    channels, floats = None, False

    def steps(self, height: Any, width: Any, draws: Any) -> Any:
        return [(Crop(0, 0, height // 2, width), every(height))]


@engines
def test_a_transform(files: list[Path], engine: str) -> None:
    dataset = Listed(files, transform=T.Compose([RandomQuarter(), *VALUES, T.CenterCrop(16)]))
    loader = loader_of(dataset, engine)
    check(loader)
    quarters = [recipe[0] for _, recipe in loader.recipes(0)]
    assert len({(quarter.top > 0, quarter.left > 0) for quarter in quarters}) > 2
    assert "RandomQuarter, CenterCrop" in loader.stages()[2].facts


@engines
def test_a_transform_of_another_family(files: list[Path], engine: str) -> None:
    loader = loader_of(Listed(files, transform=T.Compose([TopHalf(), T.Resize((20, 30))])), engine)
    images = check(loader)
    with Image.open(files[0]) as photo:
        half = photo.crop((0, 0, photo.width, photo.height // 2))
        wanted = np.asarray(half.resize((30, 20), Image.Resampling.BILINEAR))
    assert np.array_equal(images[0].permute(1, 2, 0), wanted)


# ---- an operation ----


class Invert(NamedTuple):
    """The negative, which the kernels do not know."""

    def size_after(self, height: Pixels, width: Pixels) -> tuple[Pixels, Pixels]:
        return height, width

    def apply(self, image: Image.Image) -> Image.Image:
        return ImageOps.invert(image)

    def fuse(self, fusing: Fusing, where: Mask) -> None:
        fusing.refuse(where)


class RandomInvert(T.Transform):
    def steps(self, height: Any, width: Any, draws: Any) -> Any:
        return [(Invert(), chosen(0.5, height, draws))]


@engines
def test_an_operation(files: list[Path], engine: str) -> None:
    transform = T.Compose([T.RandomCrop(24), RandomInvert(), T.Resize((12, 40)), *VALUES])
    loader = loader_of(Listed(files, transform=transform), engine)
    check(loader)
    inverted = [Invert() in recipe for _, recipe in loader.recipes(0)]
    assert True in inverted
    assert False in inverted
    facts = next(stage.facts for stage in loader.stages() if stage.name == "render")
    assert (engine == "pillow") != any(fact.endswith("do not fuse into it, at Invert:") for fact in facts)


# ---- an engine ----


class NumpyEngine:
    """Pillow's pixels through a table, in numpy."""

    name = "numpy"
    on_host = True

    def __init__(self, layout: Layout) -> None:
        self.layout = layout

    def fuse(self, recipes: Recipes) -> Fused:
        return unfused(recipes)

    def batch(self, fused: Fused, files: Files) -> "NumpyBatch":
        return NumpyBatch(self.layout.table.numpy(), len(files))

    def decoders(self, decoder: Decoder | None) -> Iterator[str]:
        yield "all by Pillow"

    def stages(self, threads: str, target: str, fusing: Sequence[str], facts: Sequence[str]) -> Iterator[Stage]:
        yield Stage("render", threads, ("engine numpy", *facts))


class NumpyBatch:
    def __init__(self, table: Any, count: int) -> None:
        self._table, self._images = table, [np.zeros(0)] * count

    def share(self, first: int, count: int) -> None:
        pass

    def put(self, slot: int, pixels: Any, view: int = 0) -> None:
        self._images[slot] = np.stack([row[pixels[..., c]] for c, row in enumerate(self._table)])

    def finish(self) -> None:
        self._batch = np.stack(self._images)

    def images(self, view: int = 0) -> torch.Tensor:
        return torch.from_numpy(self._batch)


def test_an_engine(files: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ENGINES, "numpy", lambda wanted: NumpyEngine(wanted.layout))
    loader = loader_of(Listed(files, transform=TRAIN), "numpy", shuffle=True)
    assert loader.engine == "numpy"
    others = loader_of(Listed(files, transform=TRAIN), "pillow", shuffle=True)
    assert torch.equal(check(loader, 2), check(others, 2))
    assert loader.stages()[4].facts[0] == "engine numpy"


# ---- a decoder ----


class PillowDecoder:
    """``Decode`` of kernels/share.h as a Python function: the region of a JPEG; large files are too much for it."""

    def __init__(self, most_bytes: int) -> None:
        self.decoded, self.refused = 0, 0
        pointer = ctypes.c_void_p

        @ctypes.CFUNCTYPE(ctypes.c_bool, pointer, ctypes.c_int64, pointer, pointer, pointer)
        def decode(data: int, count: int, size: int, region: int, out: int) -> bool:
            if count > most_bytes:
                self.refused += 1
                return False
            self.decoded += 1
            height, width = (ctypes.c_int32 * 2).from_address(size)
            top, left, rows, columns = (ctypes.c_int32 * 4).from_address(region)
            with Image.open(io.BytesIO(ctypes.string_at(data, count))) as image:
                assert (image.height, image.width) == (height, width)
                part = image.convert("RGB").crop((left, top, left + columns, top + rows))
            ctypes.memmove(out, part.tobytes(), rows * columns * 3)
            return True

        self._function = decode
        self.address = ctypes.cast(decode, pointer).value

    def describe(self) -> str:
        return "a decoder of one's own"


@needs_compiler
@pytest.mark.parametrize("engine", ["cpu", pytest.param("cuda", marks=pytest.mark.cuda)])
def test_a_decoder(files: list[Path], monkeypatch: pytest.MonkeyPatch, engine: str) -> None:
    sizes = sorted(path.stat().st_size for path in files)
    decoder = PillowDecoder(most_bytes=sizes[7])
    monkeypatch.setattr("gpuload.decoders.DECODERS", [lambda: decoder])
    loader = loader_of(Listed(files, transform=TRAIN), engine)
    check(loader)
    fits = sum(size <= sizes[7] for size in sizes)
    assert (decoder.decoded, decoder.refused) == (fits, 11 - fits)
    facts = next(stage.facts for stage in loader.stages() if stage.name == "decode")
    assert facts[0] == "ordinary JPEGs by a decoder of one's own, just the region that is needed"


# ---- a sampler ----


class EveryOther(CounterSampler):
    """Samples 0, 2, 4, ..., from the end in odd epochs."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.count = count

    def __len__(self) -> int:
        return -(-self.count // 2)

    def order(self, epoch: int) -> EpochOrder:
        return EveryOtherInOrder(self.count, backwards=bool(epoch % 2))


class EveryOtherInOrder(EpochOrder):
    def __init__(self, count: int, backwards: bool) -> None:
        self._count, self._backwards = count, backwards

    def __len__(self) -> int:
        return -(-self._count // 2)

    @property
    def bound(self) -> int:
        return self._count

    def indices(self, start: int, stop: int, device: Any = "cpu") -> torch.Tensor:
        places = torch.arange(start, stop, device=device)
        return 2 * (len(self) - 1 - places if self._backwards else places)


@pytest.mark.parametrize("make", [lambda: EveryOther(11), lambda: [0, 2, 4, 6, 8, 10]])
def test_a_sampler(files: list[Path], device: torch.device, make: Callable[[], Any]) -> None:
    images = loader_of(Listed(files, transform=TRAIN), sampler=make(), device=device)
    tensors = DataLoader(TensorDataset(torch.arange(11), device=device), 4, sampler=make())
    for loader in (images, tensors):
        for epoch in range(2):
            order = list(range(0, 11, 2))[:: -1 if epoch and isinstance(make(), EveryOther) else 1]
            wanted = [6 + 10 * index for index in order] if loader is images else order
            assert torch.cat([batch[-1] for batch in loader]).tolist() == wanted


# ---- a batch transform ----


class Halves(BatchTransform):
    """The mean with the sample before, and a number that is drawn for the batch."""

    reach = 1

    def of(self, part: Part, draws: Draws) -> Part:
        images, labels = part.batch
        first = images[-1:] if part.before is None else part.before[0][-1:]
        return Part([(images + torch.cat([first, images[:-1]])) / 2, labels + 100 * draws.below(9)])


@engines
def test_a_batch_transform(photos: Path, engine: str | None) -> None:
    """Its global batch is the same on any number of ranks."""
    dataset = ImageFolder(photos, transform=T.Compose([T.Resize((8, 8)), *VALUES]))
    options = {
        "seed": 5,
        "device": "cuda" if engine == "cuda" else "cpu",
        "engine": engine,
        "batch_transform": Halves(),
    }
    whole = [*DataLoader(dataset, 8, shard=Shard(0, 1), **options)]
    halves = [DataLoader(dataset, 4, shard=Shard(rank, 2), **options) for rank in range(2)]
    for batch, parts in zip(whole, zip(*halves, strict=True), strict=True):
        assert all(map(torch.equal, batch, map(torch.cat, zip(*parts, strict=True))))
    assert len({int(labels[0]) // 100 for _, labels in whole}) > 1


# ---- all of it at once ----


@needs_compiler
def test_together(photos: Path, files: list[Path]) -> None:
    """What is added to one kind of thing needs nothing of the others."""
    transform = T.Compose([RandomQuarter(), RandomInvert(), T.Resize((20, 20)), *VALUES])
    for dataset in (Listed(files, transform=transform), ImageFolder(photos, transform=transform)):
        check(loader_of(dataset, "cpu", sampler=EveryOther(len(dataset))), epoch=1)
