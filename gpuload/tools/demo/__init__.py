"""The demo: a small network learns to tell photos apart, and the loader that feeds it is checked and timed.

What gpuload delivers is compared with what torchvision makes of the same files, bit for bit; then both loaders load
the same epoch, interleaved.
"""

import statistics
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from gpuload.errors import ArgumentError
from gpuload.loader import DataLoader
from gpuload.tools import preview
from gpuload.tools.common import need
from gpuload.tools.demo.comparison import CHECKED, equal_augmented, equal_batches, equal_rendered, rates
from gpuload.tools.demo.learning import Pass, network, spare_cores, train_epochs
from gpuload.tools.demo.photos import SIZE, Part, make_photos, parts
from gpuload.tools.demo.report import HEADER, plot, report, row
from gpuload.tools.gallery import preset_of

__all__ = ["report", "run"]

EPOCHS = 6


def run(
    data: Path | None = None,
    output: Path = Path("demo-output"),
    epochs: int | None = None,
    seed: int = 0,
    device: str | None = None,
    progress: bool = True,
    recipe: str | None = None,
) -> dict[str, Any]:
    """Train a small network on photos in class folders, compare the loader with torchvision, and time both.

    Args:
        data: class folders, or a folder that has them in train/ and in val/ or valid/; without these every fifth
            photo of a class validates. None: crops of scikit-learn's two photos, made in output/photos.
        output: folder for contact-sheet.png, training.png and the photos that were made.
        epochs: at least 1; None: 6.
        seed: of the photos that are made, the network, the order and the random transforms.
        device: None: CUDA if there is a GPU, else the CPU.
        progress: show bars, and a line for each epoch, on standard error.
        recipe: one of `gpuload.presets.PRESETS`, to train with; its images are compared with Pillow's, operation by
            operation, and gpuload's speed is not compared. None: a crop, a flip, sometimes in grayscale.

    Returns:
        ``device``, ``recipe``, ``engine``, ``workers`` (of each loader), ``classes``, ``counts`` (photos of each part),
        ``epochs`` (a dict each: losses, accuracies from 0 to 1, images/s and share of waiting while training),
        ``checked`` (images that were compared), ``rates`` (images/s of loading alone, by loader and round) and
        ``files``; then what they come to: ``val_accuracy`` (0 to 1, after the last epoch), ``pixels_equal`` (all
        compared images are equal to torchvision's, bit for bit), ``images_per_second`` (gpuload, loading alone,
        median), ``speed_ratio`` (that over the same of torch's loader; None of a recipe) and ``wait_share`` (0 to 1: of
        the time spent training, the part that waited for images).

    Raises:
        ArgumentError, DatasetError: bad arguments or data.
        MissingError: torchvision, scikit-learn or matplotlib is not installed.
    """
    epochs = _check(epochs, output)
    if data is None:
        _say(progress, f"Cutting photos into {output / 'photos'}")
        data = make_photos(output / "photos", seed)
    train, val = parts(data)
    if recipe is not None:
        train = replace(train, preset=preset_of(recipe, len(train.classes), SIZE))
    torch.manual_seed(seed)
    loader, val_loader = train.gpuload_loader(seed, device), val.gpuload_loader(seed, device)
    passes, history = _learn(loader, val_loader, len(train.classes), epochs, progress)
    sheet, drawing = output / "contact-sheet.png", output / "training.png"
    preview.contact_sheet(loader, next(iter(loader)), sheet)
    equal = equal_batches(val_loader, val.torch_loader(loader.device)) and _equal(train, loader)
    compared = {"gpuload": loader} | ({"torch": train.torch_loader(loader.device)} if recipe is None else {})
    rounds = rates(compared, loader.device, progress)
    medians = {name: statistics.median(values) for name, values in rounds.items()}
    results = {
        "device": str(loader.device),
        "recipe": recipe,
        "engine": loader.engine,
        "workers": loader.num_workers,
        "classes": train.classes,
        "counts": {"train": len(train.files), "val": len(val.files)},
        "epochs": history,
        "checked": {"validation": len(val.files), "augmented": min(CHECKED, passes[0].images)},
        "rates": rounds,
        "files": [str(sheet), str(drawing)],
        "val_accuracy": history[-1]["val_accuracy"],
        "pixels_equal": equal,
        "images_per_second": medians["gpuload"],
        "speed_ratio": medians["gpuload"] / medians["torch"] if recipe is None else None,
        "wait_share": sum(one.waited for one in passes) / sum(one.seconds for one in passes),
    }
    plot(results, drawing)
    return results


def _equal(train: Part, loader: DataLoader[Any]) -> bool:
    """Are the images that it trains with as they must be?"""
    if train.preset is None:
        return equal_augmented(loader)
    seed, device = loader.seed, str(loader.device)
    return equal_rendered(train.gpuload_loader(seed, device), train.gpuload_loader(seed, device, "pillow"))


def _say(progress: bool, text: str) -> None:
    if progress:
        tqdm.write(text, file=sys.stderr)


def _check(epochs: int | None, output: Path) -> int:
    """The number of epochs; what would fail after training, fails here."""
    for module in ("torchvision", "matplotlib"):
        need(module)
    if epochs is not None and epochs < 1:
        raise ArgumentError(f"epochs must be at least 1, got {epochs}")
    if output.exists() and not output.is_dir():
        raise ArgumentError(f"output must be a folder, got the file {str(output)!r}")
    return EPOCHS if epochs is None else epochs


def _learn(
    train: DataLoader[Any], val: DataLoader[Any], classes: int, epochs: int, progress: bool
) -> tuple[list[Pass], list[dict[str, Any]]]:
    """Train a new network; the passes over the training photos, and what there is to say of each epoch."""
    model = network(classes).to(train.device)
    _say(progress, f"Training a small network on {train.device}\n\n{HEADER}")
    passes: list[Pass] = []
    history: list[dict[str, Any]] = []
    with spare_cores():
        for learned, validated in train_epochs(model, train, val, epochs, progress):
            passes.append(learned)
            history.append(_record(len(passes), learned, validated))
            _say(progress, row(history[-1]))
    _say(progress, "")
    return passes, history


def _record(number: int, learned: Pass, validated: Pass) -> dict[str, Any]:
    return {
        "epoch": number,
        "train_loss": learned.loss / learned.images,
        "train_accuracy": learned.correct / learned.images,
        "val_loss": validated.loss / validated.images,
        "val_accuracy": validated.correct / validated.images,
        "images_per_second": learned.images / learned.seconds,
        "wait_share": learned.waited / learned.seconds,
    }
