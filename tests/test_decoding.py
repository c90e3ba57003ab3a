"""The device decodes beside the workers: the same batches whoever decodes what, and neither side waits for the other.

On a simulated GPU, whose decoder is a function of the test's behind nvImageCodec's own interface: as exact as Pillow,
as fast as the test wants it, and it refuses what the test says.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from gpuload import ArgumentError, DataLoader, ImageFolder, MissingError, SampleError, transforms as T
from gpuload.datasets import ImageDataset
from gpuload.decoders import gpu
from gpuload.decoders.balance import Balancer
from gpuload.decoders.files import Memory
from gpuload.engines import cuda
from gpuload.loading import job
from gpuload.native import Status
from tests.cases import THOROUGH
from tests.conftest import encode, make_photo
from tests.fake_codec import FakeCodec, needs_codec
from tests.native_batch import in_memory
from tests.simulation.epochs import write_photos
from tests.simulation.gpu import Gpu
from tests.simulation.runtime import Runtime, simulated
from tests.simulation.threads import Threads

pytestmark = needs_codec
SPEEDS = (1 / 8, 1 / 4, 1 / 2, 1.0, 2.0, 4.0, 8.0)  # of the device, where all workers together have 1
LEAST = 0.95  # of the best split's throughput
BATCH, WORKERS, WARM, SETTLED = 32, 4, 16, 8  # batches until the speeds are known, and until a change is
CROP = T.Compose([T.RandomCrop(8), T.RandomHorizontalFlip()])


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    write_photos(folder)
    return folder


def repeated(root: Path, count: int) -> ImageFolder:
    """So many samples of few files."""
    dataset = ImageFolder(root / "whole", transform=CROP)
    dataset.samples = [dataset.samples[k % 8] for k in range(count)]
    return dataset


# ---- neither side waits ----


class Timed:
    """Workers and a device that decode at given speeds, on a simulated clock.

    Args:
        device: its speed, beside that of all workers together; it may be changed.
        blocks: the call that decodes returns when all is done; else at once, and the device does it.
    """

    def __init__(self, device: float, blocks: bool = False) -> None:
        self.device, self._blocks = device, blocks
        self.gpu = Gpu(costs=self._cost)
        self.runtime, self._threads = Runtime(self.gpu, devices=1), Threads(self.gpu)
        self.runtime.refuses = self._refuses

    def _cost(self, what: str, size: int) -> float:
        if what == "decode" and not self._blocks:
            return 1 / (BATCH * self.device)
        return 0.001  # copies and kernels

    def _now(self) -> float:
        return self.gpu.now

    def _refuses(self) -> bool:
        if self._blocks:
            self._threads.sleep(1 / (BATCH * self.device))
        return False

    @contextmanager
    def installed(self) -> Iterator[None]:
        share, threads = cuda.CudaBatch.share, self._threads

        def slow(batch: Any, first: int, count: int) -> None:
            status = batch._files.status[first : first + count]
            threads.sleep(WORKERS / BATCH * int((status != Status.AWAY).sum()))
            share(batch, first, count)

        with (
            self.runtime.installed(),
            self._threads.installed(),
            mock.patch.object(cuda.CudaBatch, "share", slow),
            mock.patch.object(job, "perf_counter", self._now),
        ):
            yield

    def ends(self, root: Path, decoder: str, batches: int, change: float | None = None) -> list[float]:
        """When each batch was there; from the middle on the device may have another speed."""
        ends: list[float] = []
        with self.installed():
            dataset, stream = repeated(root, BATCH * batches), torch.cuda.current_stream()
            loader = DataLoader(
                dataset, BATCH, shuffle=True, num_workers=WORKERS, device="cuda", seed=0, decoder=decoder
            )
            for number, _ in enumerate(loader):
                stream.add("note", lambda: ends.append(self.gpu.now))
                if number == batches // 2 and change is not None:
                    self.device = change
            stream.synchronize()
            del loader
        assert self.gpu.problems == []
        return ends


def rate(ends: list[float], first: int) -> float:
    """Batches a second after the first ones."""
    return (len(ends) - 1 - first) / (ends[-1] - ends[first])


@pytest.mark.parametrize("blocks", [False, True])
@pytest.mark.parametrize("device", SPEEDS)
def test_as_fast_as_the_best_split(root: Path, device: float, blocks: bool) -> None:
    """Which is as fast as both together."""
    ends = Timed(device, blocks).ends(root, "hybrid", 60)
    assert rate(ends, WARM) >= LEAST * (1 + device)


CHANGES = [(before, after) for before in SPEEDS for after in SPEEDS if before != after]


@pytest.mark.parametrize(("before", "after"), CHANGES if THOROUGH else [CHANGES[5], CHANGES[-6], *CHANGES[::8]])
def test_as_fast_after_the_speed_has_changed(root: Path, before: float, after: float) -> None:
    ends = Timed(before).ends(root, "hybrid", 100, after)
    assert rate(ends, 50 + SETTLED) >= LEAST * (1 + after)


@pytest.mark.parametrize("device", [1 / 2, 4.0])
def test_alone_the_device_alone_decides(root: Path, device: float) -> None:
    ends = Timed(device).ends(root, "gpu", 40)
    assert rate(ends, WARM) >= LEAST * device


def test_a_split_that_does_not_follow_the_speeds_would_be_noticed(root: Path) -> None:
    with mock.patch.object(Balancer, "share", 1 / 4):
        ends = Timed(8.0).ends(root, "hybrid", 60)
    assert rate(ends, WARM) < 0.5 * (1 + 8.0)


# ---- whoever decodes what, the batches are the same ----


@pytest.fixture
def runtime() -> Iterator[Runtime]:
    with simulated(1) as made:
        yield made
        made.gpu.finish()
        assert made.gpu.problems == []


def batches(loader: DataLoader) -> list[tuple[Any, Any]]:
    return [(images.cpu(), labels.cpu()) for images, labels in loader]


def assert_equal(ours: list[tuple[Any, Any]], theirs: list[tuple[Any, Any]]) -> None:
    assert len(ours) == len(theirs)
    for mine, other in zip(ours, theirs, strict=True):
        assert all(map(torch.equal, mine, other))


@pytest.mark.parametrize("workers", [0, 3])
@pytest.mark.parametrize("decoder", ["gpu", "hybrid"])
def test_images_labels_and_order_are_the_same(root: Path, runtime: Runtime, decoder: str, workers: int) -> None:
    dataset = ImageFolder(root / "whole", transform=T.RandomResizedCrop(9))
    options: dict[str, Any] = {"shuffle": True, "seed": 3, "device": "cuda"}
    theirs = batches(DataLoader(dataset, 5, **options))
    assert runtime.decoded == 0
    loader = DataLoader(dataset, 5, num_workers=workers, decoder=decoder, **options)
    assert_equal(batches(loader), theirs)
    assert runtime.decoded > 0  # JPEGs; the PNGs are the workers'
    assert loader.decoder == decoder and loader.engine == "cuda"


@pytest.mark.parametrize("refused", [0.0, 0.5, 1.0])
def test_what_is_refused_the_workers_decode(root: Path, runtime: Runtime, refused: float) -> None:
    """With filters whose weights the host makes, too."""
    crop = T.RandomResizedCrop(9, interpolation=T.InterpolationMode.LANCZOS)
    dataset = ImageFolder(root / "whole", transform=crop)
    theirs = batches(DataLoader(dataset, 5, seed=3, device="cuda"))
    runtime.refuses = lambda: runtime.gpu.random.random() < refused
    assert_equal(batches(DataLoader(dataset, 5, seed=3, device="cuda", decoder="gpu", num_workers=2)), theirs)
    assert (runtime.decoded == 0) == (refused == 1.0)


@pytest.mark.parametrize("decoder", ["cpu", "gpu", "hybrid"])
def test_a_damaged_file_is_the_same_error(root: Path, runtime: Runtime, decoder: str) -> None:
    """That the GPU refuses it changes nothing."""
    dataset = ImageFolder(root / "torn", transform=CROP)
    with pytest.raises(SampleError, match=r"sample 0 \(.*0.jpg\): Pillow cannot decode it: .*truncated"):
        batches(DataLoader(dataset, 4, device="cuda", decoder=decoder, num_workers=2))


def test_a_file_that_is_replaced_is_planned_again(tmp_path: Path, runtime: Runtime) -> None:
    (tmp_path / "a").mkdir()
    for number in range(6):
        (tmp_path / "a" / f"{number}.jpg").write_bytes(encode(make_photo(20, 30, number)))
    dataset = ImageFolder(tmp_path, transform=CROP)
    loader = DataLoader(dataset, 3, device="cuda", decoder="gpu", seed=1)
    batches(loader)  # sizes are known now
    (tmp_path / "a" / "1.jpg").write_bytes(encode(make_photo(50, 40, 9)))
    loader.set_epoch(0)
    assert_equal(batches(loader), batches(DataLoader(dataset, 3, device="cuda", seed=1)))


COLORS = T.Compose([T.RandomResizedCrop(7), T.ColorJitter(0.4)])
BLURRED = T.Compose([T.RandomResizedCrop(7), T.PillowGaussianBlur(p=1.0)])  # the workers decode and render these


@pytest.mark.parametrize(
    ("views", "away"), [([(T.RandomResizedCrop(9), 3)], True), ([CROP, COLORS], True), ([COLORS, BLURRED], False)]
)
@pytest.mark.parametrize("refused", [False, True])
def test_several_views_of_an_image(root: Path, runtime: Runtime, views: Any, away: bool, refused: bool) -> None:
    """The device decodes what they share; what it refuses is all theirs."""
    dataset = ImageFolder(root / "whole", transform=T.MultiView(views))
    options: dict[str, Any] = {"shuffle": True, "seed": 3, "device": "cuda", "num_workers": 2}
    made = []
    runtime.refuses = lambda: refused
    for decoder in ("cpu", "gpu"):
        loader = DataLoader(dataset, 5, decoder=decoder, **options)
        made.append([(*(view.cpu() for view in views), labels.cpu()) for views, labels in loader])
    assert_equal(*made)
    assert (runtime.decoded > 0) == (away and not refused)


class PartlyInMemory(ImageDataset):
    """Every other image lies in memory."""

    def __init__(self, root: Path) -> None:
        super().__init__(CROP)
        self._root = root
        self._pixels = [np.asarray(make_photo(20, 30, number)) for number in range(8)]

    def __len__(self) -> int:
        return len(self._pixels)

    def path(self, index: int) -> str:
        return str(self._root / "whole" / "a" / f"{index}.jpg") if index % 2 else ""

    def target(self, index: int) -> int:
        return index

    def memory(self, indices: NDArray[np.int64]) -> Memory:
        return in_memory([None if index % 2 else self._pixels[index] for index in indices.tolist()])

    def known_sizes(self, indices: NDArray[np.int64]) -> NDArray[np.int32]:
        return np.where((indices % 2)[:, None], super().known_sizes(indices), np.array([20, 30], np.int32))


def test_images_in_memory_need_no_decoder(root: Path, runtime: Runtime) -> None:
    runtime.refuses = lambda: False
    theirs = batches(DataLoader(PartlyInMemory(root), 3, device="cuda", seed=1))
    assert_equal(batches(DataLoader(PartlyInMemory(root), 3, device="cuda", decoder="gpu", seed=1)), theirs)
    assert runtime.decoded == 4


def test_nothing_is_allocated_once_warm(root: Path, runtime: Runtime) -> None:
    """Whatever is refused, of images whose sizes are the same."""
    runtime.gpu.pace = (9,)
    dataset = ImageFolder(root / "whole", transform=T.Compose([T.CenterCrop(8)]))
    loader = DataLoader(dataset, 4, device="cuda", decoder="gpu", drop_last=True)
    made = []
    for _ in range(8):
        batches(loader)
        made.append([memory.made for memory in (runtime.pinned, *runtime.memories)])
    assert made[3:] == made[2:3] * 5


@pytest.mark.parametrize(
    ("decoder", "workers", "device"),
    [
        ("gpu", ["all but ordinary JPEGs by Pillow"], "ordinary JPEGs by nvImageCodec"),
        (
            "hybrid",
            ["ordinary JPEGs by nvImageCodec", "all others by Pillow"],
            "a part of the ordinary JPEGs, by the speeds that are measured of both, by nvImageCodec",
        ),
    ],
)
def test_explain_says_who_decodes_what(
    root: Path, runtime: Runtime, decoder: str, workers: list[str], device: str
) -> None:
    loader = DataLoader(ImageFolder(root / "whole", transform=CROP), 4, device="cuda", decoder=decoder)
    mine, theirs = (stage.facts for stage in loader.stages() if stage.name == "decode")
    assert [re.split(r" \d", fact)[0] for fact in mine] == workers
    assert re.split(r" \d", theirs[0])[0] == device


# ---- what is missing ----


def test_a_decoder_that_does_not_start(root: Path, runtime: Runtime) -> None:
    with FakeCodec(runtime.decodes, starts=False).installed():
        with pytest.raises(MissingError, match=r"nvImageCodec's decoder does not start on GPU cuda:0 .*pip install"):
            DataLoader(ImageFolder(root / "whole", transform=CROP), device="cuda", decoder="hybrid")
        DataLoader(ImageFolder(root / "whole", transform=CROP), device="cuda")


def test_without_nvimagecodec(root: Path, runtime: Runtime) -> None:
    with (
        mock.patch.object(gpu, "codec_files", return_value=None),
        pytest.raises(MissingError, match=r'decoding on a GPU needs nvImageCodec .*pip install "gpuload\[cuda13\]"'),
    ):
        DataLoader(ImageFolder(root / "whole", transform=CROP), device="cuda", decoder="gpu")


def test_ordinary_code_in_the_transform(root: Path, runtime: Runtime) -> None:
    dataset = ImageFolder(root / "whole", transform=T.Compose([CROP, inverted]))
    with pytest.raises(
        ArgumentError, match=r"decoder='gpu' decodes into the GPU's memory, .* calls inverted, ordinary"
    ):
        DataLoader(dataset, device="cuda", decoder="gpu")


def inverted(image: torch.Tensor) -> torch.Tensor:
    return 255 - image
