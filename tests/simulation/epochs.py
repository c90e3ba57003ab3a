"""Epochs as a user plays them, on a simulated GPU: other streams, batches that are kept or dropped, early ends."""

import gc
import random
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import ConcatDataset, Dataset, Subset

from gpuload import ClassBalancedSampler, DataLoader, ImageFolder, SubsetRandomSampler, TensorDataset, transforms as T
from gpuload.collate import Pad
from gpuload.device import CudaDevice
from gpuload.errors import SampleError
from gpuload.loading.workers import WorkerPath
from tests.conftest import encode, make_photo
from tests.simulation.gpu import Gpu
from tests.simulation.runtime import Runtime
from tests.simulation.tensors import plain
from tests.simulation.threads import Threads

__all__ = ["KINDS", "Epochs", "Played", "calls", "play"]

Make = Callable[..., DataLoader]
Batch = list[torch.Tensor]  # empty, where a sample failed
Epoch = list[Batch | None]  # its batches; None: its end
EPOCHS = 2
LOADERS = 64  # different ones of each kind


class Ordinary(Dataset[Any]):
    """Samples of which gpuload knows nothing."""

    def __init__(self, fails_at: int | None = None) -> None:
        self._fails_at = fails_at

    def __len__(self) -> int:
        return 19

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        if index == self._fails_at:
            raise ValueError("no such row")
        return torch.arange(7) + 10 * index, index


class Uneven(Ordinary):
    """Rows of different size."""

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        row, number = super().__getitem__(index)
        return row[: index % 6 + 1], number


def write_photos(root: Path) -> None:
    """Three folders of two classes of small pictures; in the second some are damaged, in the third many lack an end."""
    for folder in ("whole", "damaged", "torn"):
        for name in "ab":
            (root / folder / name).mkdir(parents=True)
            for i in range(8):
                (root / folder / name / f"{i}.jpg").write_bytes(encode(make_photo(16 + i, 20, i)))
            (root / folder / name / "8.png").write_bytes(encode(make_photo(12, 30, 9), "PNG"))
    (root / "damaged" / "a" / "3.jpg").write_bytes(b"no picture")
    for file in root.glob("torn/?/[037].jpg"):
        file.write_bytes(file.read_bytes()[:-60])
    (root / "damaged" / "b" / "8.png").write_bytes(encode(make_photo(12, 30, 9), "PNG")[:200])


def images(root: Path, rng: random.Random, **options: Any) -> DataLoader:
    crop = T.RandomResizedCrop(rng.choice((8, 33)), interpolation=rng.choice(FILTERS))
    erasing = [T.RandomErasing(0.5, value=3)] if rng.random() < 0.5 else []
    transform = T.Compose([crop, T.RandomHorizontalFlip(), T.ToDtype(rng.choice(DTYPES), scale=True), *erasing])
    dataset = ImageFolder(root / rng.choice(("whole", "whole", "damaged")), transform=transform)
    given: dict[str, Any] = {"shuffle": True} if rng.random() < 0.7 else {"sampler": rng.sample(range(18), 11)}
    given |= {"num_workers": rng.choice((0, 1, 3)), "engine": rng.choice((None, None, None, "cpu", "pillow"))}
    return DataLoader(dataset, rng.choice((3, 4)), **given, **options)


def adjusted(root: Path, rng: random.Random, **options: Any) -> DataLoader:
    """Images of which the device adjusts some."""
    colors = rng.choice((T.ColorJitter(0.4, 0.4, 0.4, 0.1), T.RandomInvert(), T.RandAugment(), T.RandomRotation(40)))
    transform = T.Compose([T.RandomResizedCrop(rng.choice((8, 33))), colors, T.ToDtype(rng.choice(DTYPES), scale=True)])
    dataset = ImageFolder(root / "whole", transform=transform)
    return DataLoader(dataset, rng.choice((3, 4)), shuffle=True, num_workers=rng.choice((0, 3)), **options)


def decoded(root: Path, rng: random.Random, **options: Any) -> DataLoader:
    """Images that the device decodes, too."""
    crop = T.RandomResizedCrop(rng.choice((8, 33)), interpolation=rng.choice(FILTERS))
    dataset = ImageFolder(root / rng.choice(("whole", "damaged", "torn")), transform=crop)
    given = {"num_workers": rng.choice((0, 3, 3, 3)), "decoder": rng.choice(("gpu", "hybrid"))}
    if options["device"] == "cpu":
        del given["decoder"]
    return DataLoader(dataset, rng.choice((3, 4)), shuffle=True, **given, **options)


def tensors(root: Path, rng: random.Random, **options: Any) -> DataLoader:
    width = rng.choice((3, 4, 16))
    rows = torch.arange(23 * width).view(23, width), torch.arange(23)
    if rng.random() < 0.8:
        rows = tuple(tensor.to(options["device"]) + 0 for tensor in rows)  # there already, by work of the user's
    dataset = TensorDataset(*rows, device=rows[0].device)
    samplers = [SubsetRandomSampler(range(2, 20), seed=1), ClassBalancedSampler([0, 1, 1] * 7, seed=1),
                rng.sample(range(23), 11), None]  # fmt: skip
    sampler = rng.choice(samplers)
    given = {"shuffle": True} if sampler is None else {"sampler": sampler}
    return DataLoader(viewed(dataset, rng), rng.choice((3, 4)), **given, **options)


def viewed(dataset: TensorDataset, rng: random.Random) -> Dataset[Any]:
    """The dataset, or views of it, with as many samples."""
    order = rng.sample(range(len(dataset)), len(dataset))
    other = TensorDataset(*(tensor + 100 for tensor in dataset.tensors), device=dataset.device)
    both = ConcatDataset([Subset(dataset, order[:9]), Subset(other, order[9:])])
    return rng.choice((dataset, Subset(dataset, order), both))


def change(dataset: Any) -> None:
    """What a user may do between epochs."""
    if isinstance(dataset, ConcatDataset):
        change(dataset.datasets[0])
    elif isinstance(dataset, Subset):
        dataset.indices = dataset.indices[::-1]
    elif isinstance(dataset, TensorDataset):
        first, *others = dataset.tensors
        dataset.tensors = torch.arange(first.numel()).view(first.shape) + 50, *others


def ordinary(root: Path, rng: random.Random, **options: Any) -> DataLoader:
    return DataLoader(Ordinary(rng.choice((None, None, 9))), rng.choice((3, 4)), shuffle=True, **options)


def workers(root: Path, rng: random.Random, **options: Any) -> DataLoader:
    """With a process of torch's, and its thread that pins."""
    return DataLoader(Ordinary(), 4, num_workers=1, **options)


def uneven(root: Path, rng: random.Random, **options: Any) -> DataLoader:
    """Rows that are filled up: packed by a worker, or images that are on the device already."""
    photos = ImageFolder(root / "whole", transform=T.ToDtype(torch.uint8))
    dataset = rng.choice((Uneven(rng.choice((None, 9))), photos))
    return DataLoader(dataset, rng.choice((3, 4)), shuffle=True, collate_fn=Pad(padding_side="left"), **options)


FILTERS = (T.InterpolationMode.BILINEAR, T.InterpolationMode.LANCZOS)  # weights of the kernel's, or not
DTYPES = (torch.float32, torch.float16, torch.uint8)
KINDS: dict[str, Make] = {
    "images": images,
    "adjusted": adjusted,
    "decoded": decoded,
    "tensors": tensors,
    "ordinary": ordinary,
    "uneven": uneven,
    "workers": workers,
}


@dataclass
class Played:
    """What became of some epochs.

    Attributes:
        problems: of the simulation, and batches with wrong elements.
        used: blocks of memory that are still handed out.
        running: threads that still run.
        contexts: the devices that have one.
    """

    problems: list[str]
    used: int
    running: int
    contexts: set[int]


class Epochs:
    """A user's loop over a loader.

    Args:
        runtime: the simulated devices.
        threads: the host's.
        rng: decides what the user does.
        loader: gives the batches.
    """

    def __init__(self, runtime: Runtime, threads: Threads, rng: random.Random, loader: DataLoader) -> None:
        self._runtime, self._threads, self._rng, self._loader = runtime, threads, rng, loader
        index = loader.device.index
        self._streams = [runtime.gpu.default_stream(index), runtime.new_stream(f"cuda:{index}")]
        self._torch_pins = isinstance(loader.path, WorkerPath) and loader.num_workers > 0  # on a thread of its own
        self._kept: list[Any] = []
        self.copies: list[Epoch] = []

    def play(self) -> None:
        """All epochs; each may end early."""
        for number in range(EPOCHS):
            self.copies.append([])
            stop = self._rng.choice((None, None, None, 1, 3))
            if number:
                change(self._loader.dataset)
                self._rng.shuffle(self._streams)
            batches = iter(self._loader)
            while stop is None or len(self.copies[-1]) < stop:
                if not self._one(batches):
                    break
            del batches
            self._runtime.reuse()

    def _one(self, batches: Iterator[Any]) -> bool:
        if self._runtime.gpu.problems:  # what follows may be anything
            return False
        rng, stream = self._rng, self._streams[0]
        if rng.random() < 0.4:
            self._streams.reverse()
        is_default = stream is self._runtime.gpu.default_stream(stream.device)
        with ExitStack() as stack:  # nothing entered: another device is current
            if not is_default:
                stack.enter_context(torch.cuda.device(self._loader.device))
                stack.enter_context(torch.cuda.stream(stream))
            batch = outcome(batches)
            if batch is None:
                self.copies[-1].append(None)
                return False
            self.copies[-1].append([part.clone() for part in batch])  # the user's work
            if rng.random() < 0.3:
                self._kept.append(batch)
            elif rng.random() < 0.3:
                self._kept.clear()
            del batch
        if rng.random() < 0.3:
            self._runtime.reuse()
        if rng.random() < 0.2 and not self._torch_pins:
            self._capture()
        return True

    def _capture(self) -> None:
        """A graph is captured here while other threads go on, in the mode that forbids them what could disturb it."""
        self._runtime.gpu.capturing = threading.get_ident()
        for _ in range(9):
            self._threads.pause()
        self._runtime.gpu.capturing = None

    def drop(self) -> None:
        """Let go of the loader and of all batches, their work not done."""
        del self._loader
        self._kept.clear()
        self._runtime.reuse()


def outcome(batches: Iterator[Any]) -> list[torch.Tensor] | None:
    """The next batch; nothing of it, where a sample of it failed; None: there is none."""
    try:
        return next(batches, None)
    except (SampleError, ValueError):
        return []


def play(kind: str, root: Path, seed: int, device: int = 0) -> Played:
    """Play epochs of a kind of dataset, on simulated devices whose schedule and user the seed decides.

    Nothing waits for the garbage collector.

    Args:
        kind: one of `KINDS`.
        root: a folder that `write_photos` filled.
        seed: of everything.
        device: the number of the device.
    """
    runtime = Runtime(Gpu(seed), devices=2)
    gc.disable()
    with runtime.installed(), (threads := Threads(runtime.gpu)).installed():
        problems, got = _played(kind, root, seed, runtime, threads, f"cuda:{device}")
        runtime.gpu.finish()
    used = runtime.used
    gc.enable()
    problems += runtime.gpu.problems
    if not problems:
        pairs = zip(got, _wanted(kind, root, seed % LOADERS), strict=True)
        problems += [f"epoch {number}: wrong batches" for number, pair in enumerate(pairs) if _differ(*pair)]
    return Played(problems, used, threads.running, runtime.gpu.contexts)


def _played(
    kind: str, root: Path, seed: int, runtime: Runtime, threads: Threads, device: str
) -> tuple[list[str], list[Epoch]]:
    """What went wrong, and copies of the batches of each epoch."""
    loader = KINDS[kind](root, random.Random(seed % LOADERS), seed=5, device=device)
    epochs, failures = Epochs(runtime, threads, random.Random(seed), loader), list[str]()
    del loader
    try:
        epochs.play()
    except Exception as error:
        failures.append(f"{type(error).__name__}: {error}")
    epochs.drop()
    runtime.gpu.finish()
    return failures, [[batch and [plain(part).clone() for part in batch] for batch in epoch] for epoch in epochs.copies]


def calls(device: int) -> Played:
    """Each call of the seam, as the first of a process, by a thread whose current device is another one."""
    played = Played([], 0, 0, set())
    for call in (_launches, _synchronizes, _pins, _copies):
        runtime = Runtime(Gpu(), devices=2)
        with runtime.installed():
            call(CudaDevice(device))
            runtime.gpu.finish()
        played.problems.extend(runtime.gpu.problems)
        played.contexts |= runtime.gpu.contexts
        played.used += runtime.used
    return played


def _launches(place: CudaDevice) -> None:
    place.prepare("order_replaced")
    out = place.empty((4,), torch.int64)
    arguments = np.uint64(0), np.uint32(0), np.uint64(1), np.int64(0), np.int64(4), np.uintp(out.data_ptr())
    place.launch("order_replaced", (1, 1), 32, arguments)


def _synchronizes(place: CudaDevice) -> None:
    event = place.event(blocking=True)
    event.record(place.current_stream())
    event.wait(place.current_stream())
    event.synchronize()


def _pins(place: CudaDevice) -> None:
    place.pinned(8)


def _copies(place: CudaDevice) -> None:
    with place.on(place.stream()):
        place.copy(place.empty((8,), torch.uint8), place.pinned(8))
    place.resident(torch.arange(3))


@lru_cache(maxsize=4 * LOADERS)
def _wanted(kind: str, root: Path, number: int) -> list[Epoch]:
    """The batches of all epochs, of the same loader on the CPU."""
    loader = KINDS[kind](root, random.Random(number), seed=5, device="cpu")
    epochs = []
    for number in range(EPOCHS):
        if number:
            change(loader.dataset)
        batches = iter(loader)
        epochs.append([*iter(partial(outcome, batches), None), None])
    return epochs


def _differ(epoch: Epoch, wanted: Epoch) -> bool:
    """Is the epoch anything but the first of the batches that are wanted?"""
    return len(epoch) > len(wanted) or not all(map(_equal, epoch, wanted))


def _equal(ours: Batch | None, theirs: Batch | None) -> bool:
    if ours is None or theirs is None:
        return ours is theirs
    return len(ours) == len(theirs) and all(map(torch.equal, ours, theirs))
