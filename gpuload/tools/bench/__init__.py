"""gpuload beside torch's DataLoader with torchvision, on a folder of the user's own: ``gpuload bench DIR``."""

from collections.abc import Sequence
from contextlib import closing
from itertools import islice
from typing import Any

import numpy as np
import PIL
import torch
from torch.utils.data import Subset

import gpuload
from gpuload.arguments import at_least, is_number, seed_or_new
from gpuload.decoders import find_decoder, pillow
from gpuload.device import resolve
from gpuload.errors import ArgumentError
from gpuload.samplers.permutation import permute
from gpuload.tools.bench.clock import Clock
from gpuload.tools.bench.decoding import shares_of
from gpuload.tools.bench.entrants import Task, check_shared_memory, folder_of, images_of, to_values, torchvision
from gpuload.tools.bench.page import check_path, page
from gpuload.tools.bench.racing import raced
from gpuload.tools.bench.results import Results
from gpuload.tools.bench.text import report
from gpuload.tools.bench.training import DEFAULTS, check_model, measured
from gpuload.tools.bench.warming import warmed
from gpuload.tools.common import cores
from gpuload.tools.comparison import comparisons
from gpuload.tools.machine import machine

__all__ = ["SECONDS", "Results", "check_path", "page", "report", "run"]

CHECKED = 16, 64  # least and most images that are compared with torchvision's
TRANSFORM = "RandomResizedCrop({}), RandomHorizontalFlip, ToImage, ToDtype(float32, scale=True), Normalize"
SECONDS = 60.0
PARTS = {"warming": 0.12, "checking": 0.05, "training": 0.2}  # of the time; the race has the rest


def run(
    folder: str,
    size: int = 224,
    batch_size: int = 64,
    workers: Sequence[int] | None = None,
    model: str | None = None,
    seconds: float = SECONDS,
    seed: int = 0,
    device: str | None = None,
    progress: bool = True,
) -> Results:
    """Load a folder with the usual training recipe by torch's loader and by gpuload's, and train a model.

    Args:
        folder: images in class folders.
        size: height and width in pixels of what the model gets.
        batch_size: images of a batch.
        workers: numbers of them to try; None: 1, 2, 4, ... up to one per core.
        model: the name of a model of torchvision's that classifies, or the images/s that the user's own takes; None: a
            small one on the CPU, resnet50 on a GPU.
        seconds: that the whole run may take. Each part is done at least once, however little that is.
        seed: of the choice of images, the order and the random transforms.
        device: where batches arrive; None: CUDA if there is a GPU, else the CPU.
        progress: show on standard error whose turn it is, if that is a terminal.

    Raises:
        ArgumentError, ArgumentTypeError, DatasetError: bad arguments, no images, too little shared memory.
        SampleError: a file that is no image.
        MissingError: torchvision is not installed, or there is no such device.
    """
    place, counts = resolve(device).torch_device, _checked(size, batch_size, workers, seconds, seed)
    model = DEFAULTS.get(place.type, DEFAULTS["cpu"]) if model is None else model
    check_shared_memory(batch_size * 3 * size * size * 4, max(counts))
    training = 0.0 if check_model(model) is not None else PARTS["training"]
    with closing(Clock(seconds, progress)) as clock:
        files, chosen = _read(folder, size, batch_size, seed, clock)
        task = Task(Subset(files, chosen), batch_size, place, seed)
        settings, equal = _settings_and_equal(task, clock)
        shares = shares_of(images_of(task.dataset), seed)
        rows = raced(counts, task, shares, clock, (1 - training) * seconds)
        classes = len(files.classes)
        height, width = np.median(np.concatenate([share.sizes for share in shares]), axis=0).astype(int).tolist()
        return Results(
            folder=folder,
            images=len(files),
            raced=len(chosen),
            classes=classes,
            pixels=(height, width),
            batch_size=batch_size,
            transform=TRANSFORM.format(size),
            settings=settings,
            machine=_machine(place),
            checked=len(equal),
            equal=sum(equal),
            rows=rows,
            model=measured(model, (batch_size, 3, size, size), classes, place, clock),
            seconds=clock.passed,
        )


def _checked(size: int, batch_size: int, workers: Sequence[int] | None, seconds: float, seed: int) -> list[int]:
    """The numbers of workers to try; what makes no sense is refused."""
    at_least("size", size, 1, " pixel")
    at_least("batch_size", batch_size, 1)
    seed_or_new(seed)
    if not is_number(seconds) or seconds <= 0:
        raise ArgumentError(f"seconds must be more than 0, got {seconds}")
    if workers is None:
        return sorted({*(1 << power for power in range(cores().bit_length())), cores()})
    if not workers:
        raise ArgumentError("workers must be one number or more, got none")
    return sorted({at_least("workers", count, 0) for count in workers})


def _read(folder: str, size: int, batch_size: int, seed: int, clock: Clock) -> tuple[Any, list[int]]:
    """The folder's images, and which of them are raced: they have been read."""
    clock.show("listing the files")
    files = folder_of(folder, size)
    if len(files) < batch_size:
        raise ArgumentError(
            f"batch_size must be at most {len(files)}, the number of images in {folder!r}, got {batch_size}"
        )
    order = permute(np.arange(len(files)), len(files), seed)
    return files, warmed(images_of(files), order, batch_size, clock, clock.share(PARTS["warming"]))


def _settings_and_equal(task: Task, clock: Clock) -> tuple[dict[str, str], list[bool]]:
    """What the loaders are, in words; and of each image that was compared with torchvision's: is it equal?"""
    clock.show("comparing pixels")
    end = clock.share(PARTS["checking"])
    loader = task.gpuload_loader(shuffle=True, num_workers=cores())
    equal = []
    for is_equal in islice(comparisons(loader, to_values()), CHECKED[1]):
        equal.append(is_equal)
        if len(equal) >= CHECKED[0] and clock.passed >= end:
            break
    decoder = find_decoder()
    decoded = pillow.describe() if decoder is None else decoder.describe()
    moved = "; pinned memory, moved with non_blocking=True" if task.device.type == "cuda" else ""
    common = "torchvision's ImageFolder and transforms.v2"
    return {
        "torch": f"torch.utils.data.DataLoader, {common} on PIL images; persistent worker processes{moved}",
        "gpuload": f"gpuload.DataLoader, {common} as they are, same arguments; persistent worker threads; engine "
        f"{loader.engine}, decoded by {decoded}",
    }, equal


def _machine(device: torch.device) -> dict[str, str]:
    versions = {
        "gpuload": gpuload.__version__,
        "torchvision": torchvision().__version__,
        "Pillow": PIL.__version__,
    }
    return {"device": str(device), **machine(), **versions}
