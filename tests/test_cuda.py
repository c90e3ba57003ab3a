"""What only a GPU can show: nothing waits for the host, memory is reused, streams are ordered."""

import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

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
from tests.conftest import encode
from tests.native_batch import needs_decoder

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


# ---- what the GPU decodes ----

SAMPLINGS = {"4:4:4": 0, "4:2:2": 1, "4:2:0": 2, "gray": 0}
# levels that a pixel of these pictures may differ from the CPU's at most, and on average. libjpeg-turbo itself comes to
# 9 and 1.5 with its other transform, and to 22 and 2.6 without interpolation of chroma, which nvJPEG's engine may lack
BOUNDS = {"4:4:4": (10, 1.5), "4:2:2": (32, 3.0), "4:2:0": (32, 3.0), "gray": (10, 1.5)}


def smooth(height: int, width: int, seed: int) -> Image.Image:
    """A picture without noise: colors change slowly, as in most photos."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    waves = [np.sin(x / (9 + 20 * rng.random()) + y / (9 + 20 * rng.random())) for _ in range(3)]
    return Image.fromarray((128 + 110 * np.stack(waves, axis=-1)).astype(np.uint8))


@pytest.fixture(scope="module", params=SAMPLINGS)
def smooth_photos(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Many JPEGs, of sizes that are no multiples of a block's."""
    folder = tmp_path_factory.mktemp("smooth")
    (folder / "a").mkdir()
    for number in range(96):
        picture = smooth(150 + number % 37, 203 + number % 31, number)
        data = encode(
            picture.convert("L") if request.param == "gray" else picture,
            quality=(75, 95)[number % 2],
            subsampling=SAMPLINGS[request.param],
            progressive=number % 5 == 0,
        )
        (folder / "a" / f"{number:03}.jpg").write_bytes(data)
    return folder, request.param


def all_pixels(folder: Path, transform: T.Transform, decoder: str, rounds: int = 4) -> list[torch.Tensor]:
    """The same epoch several times: the images, in batches on the host."""
    loader = DataLoader(ImageFolder(folder, transform=transform), 32, seed=3, num_workers=8, decoder=decoder)
    batches = []
    for _ in range(rounds):
        loader.set_epoch(0)
        batches += [images for images, _ in loader]  # nothing waits in between
    return [images.cpu() for images in batches]


@needs_decoder
@pytest.mark.parametrize("decoder", ["gpu", "hybrid"])
@pytest.mark.parametrize("transform", [T.CenterCrop(200), T.RandomCrop(101)], ids=["whole", "regions"])
def test_pixels_that_the_gpu_decodes_are_within_the_bound(
    smooth_photos: tuple[Path, str], transform: T.Transform, decoder: str
) -> None:
    """Of many images, decoded at once while others are rendered: one that was read too early would differ by far."""
    folder, sampling = smooth_photos
    most, mean = BOUNDS[sampling]
    wanted = all_pixels(folder, transform, "cpu")
    for ours, theirs in zip(all_pixels(folder, transform, decoder), wanted, strict=True):
        difference = (ours.int() - theirs.int()).abs()
        assert int(difference.amax()) <= most
        assert float(difference.float().mean(dim=(1, 2, 3)).amax()) <= mean


@needs_decoder
def test_the_gpu_decodes_alike_whatever_runs_beside_it(smooth_photos: tuple[Path, str]) -> None:
    """Batches of one, and many at once, in two loaders: the same bits. Its JPEG engine has had a fault of order."""
    folder, _ = smooth_photos
    dataset = ImageFolder(folder, transform=T.RandomCrop(101))
    alone = DataLoader(dataset, 1, seed=3, decoder="gpu")
    wanted = torch.cat([images.cpu() for images, _ in alone])
    loaders = [DataLoader(dataset, 48, seed=3, num_workers=8, decoder="gpu") for _ in range(2)]
    for _ in range(4):
        for loader in loaders:
            loader.set_epoch(0)
        kept = [images for pair in zip(*loaders, strict=True) for images, _ in pair]
        for number in range(2):
            assert torch.equal(torch.cat([images.cpu() for images in kept[number::2]]), wanted)
