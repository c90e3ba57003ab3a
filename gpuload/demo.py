"""The demo: a small network learns to tell photos apart, and the loader that feeds it is checked and timed.

Every transform is written once, for gpuload and for torchvision alike: `augmented` and `plain` take the module
that they are to be made of. What gpuload delivers is compared with what torchvision makes of the same files,
bit for bit, and the two loaders then load the same epoch in turns.
"""

import importlib
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from tqdm import tqdm

from gpuload import preview, transforms
from gpuload.datasets import ImageFolder
from gpuload.errors import ArgumentError, MissingError
from gpuload.loader import DataLoader
from gpuload.steps import Crop, Flip, Recipe, Resize

__all__ = ["report", "run"]

EPOCHS = 6
BATCH = 32
SIZE = 96  # pixels, height and width, of what the network sees
MEAN, STD = [0.5, 0.5, 0.5], [0.25, 0.25, 0.25]
MOST_WORKERS = 8  # more would share too few batches
HELD_OUT = 5  # in folders without a validation part, one photo in so many validates
CHECKED = 64  # randomly augmented images that are compared with torchvision's
ROUNDS = 5  # of loading alone, by each loader


def _need(module: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingError(
            f'the demo needs {module.split(".")[0]}, which does not import ({error}): pip install "gpuload[demo]"'
        ) from error


# ---- photos, and the loaders over them ----

ROWS = {"train": slice(177, 427), "val": slice(0, 177)}  # of both photos: no pixel serves both parts
COUNTS = {"train": 240, "val": 80}  # crops of each photo
HEIGHTS, WIDTHS = (96, 176), (128, 400)  # least and most pixels of a crop


def make_photos(folder: Path, seed: int) -> Path:
    """Cut scikit-learn's two photos into JPEGs of many sizes: ``folder/{train,val}/{china,flower}/000.jpg``."""
    photos = _need("sklearn.datasets").load_sample_images()
    rng = np.random.default_rng(seed)
    for part, rows in ROWS.items():
        for path, pixels in zip(photos.filenames, photos.images, strict=True):
            target = folder / part / Path(path).stem
            target.mkdir(parents=True, exist_ok=True)
            region = Image.fromarray(pixels[rows])
            for number in range(COUNTS[part]):
                _random_crop(region, rng).save(target / f"{number:03}.jpg", quality=90)
    return folder


def _random_crop(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    height, width = (int(rng.integers(*sizes, endpoint=True)) for sizes in (HEIGHTS, WIDTHS))
    top = int(rng.integers(image.height - height, endpoint=True))
    left = int(rng.integers(image.width - width, endpoint=True))
    return image.crop((left, top, left + width, top + height))


@dataclass(frozen=True)
class Part:
    """The photos to train on, or those to validate with: some files of a folder of class folders."""

    folder: Path
    classes: list[str]
    files: frozenset[str]
    trains: bool

    def gpuload_loader(self, seed: int, device: str | None) -> DataLoader:
        """Batches by gpuload, on the device."""
        return DataLoader(self._dataset(ImageFolder, transforms), **self._arguments(), seed=seed, device=device)

    def torch_loader(self, device: torch.device) -> Any:
        """The same by torch's loader and torchvision on PIL images; workers live on from epoch to epoch."""
        dataset = self._dataset(_need("torchvision.datasets").ImageFolder, _need("torchvision.transforms.v2"))
        arguments = self._arguments() | {"persistent_workers": True, "pin_memory": device.type == "cuda"}
        return torch.utils.data.DataLoader(dataset, **arguments)

    def _dataset(self, image_folder: Any, t: Any) -> Any:
        transform = augmented(t) if self.trains else plain(t)
        return image_folder(str(self.folder), transform=transform, is_valid_file=self.files.__contains__)

    def _arguments(self) -> dict[str, Any]:
        batch_size = min(BATCH, len(self.files))
        train = self.trains
        return {"batch_size": batch_size, "shuffle": train, "drop_last": train, "num_workers": _workers()}


def _cores() -> int:
    """Those that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _workers() -> int:
    return min(_cores(), MOST_WORKERS)


def parts(data: Path) -> tuple[Part, Part]:
    """(training, validation): ``data/train`` and ``data/val`` or ``valid``, else every fifth photo validates.

    Raises:
        DatasetError: a folder is missing, or a class is empty.
        ArgumentError: fewer than two classes, too few photos to split, or other classes to validate.
    """
    held_out = next((data / name for name in ("val", "valid") if (data / name).is_dir()), None)
    if held_out is not None and (data / "train").is_dir():
        train, val = _whole(data / "train", trains=True), _whole(held_out, trains=False)
    else:
        train, val = _split(data)
    if train.classes != val.classes:
        raise ArgumentError(
            f"data must have the same classes to train on and to validate, got {train.classes} in "
            f"{str(train.folder)!r} and {val.classes} in {str(val.folder)!r}"
        )
    if len(train.classes) < 2:
        raise ArgumentError(
            f"data must have folders of at least two classes, got only {train.classes[0]!r} in {str(train.folder)!r}"
        )
    return train, val


def _whole(folder: Path, trains: bool) -> Part:
    dataset = ImageFolder(folder)
    return Part(folder, dataset.classes, frozenset(path for path, _ in dataset.samples), trains)


def _split(folder: Path) -> tuple[Part, Part]:
    dataset = ImageFolder(folder)
    files = [path for path, _ in dataset.samples]
    held_out: list[str] = []
    for index, name in enumerate(dataset.classes):
        members = np.flatnonzero(dataset.targets == index)
        if len(members) < 2:
            raise ArgumentError(
                f"data must have at least 2 photos of each class, to train on and to validate; "
                f"got {len(members)} of {name!r} in {str(folder)!r}"
            )
        held_out += (files[member] for member in members[::HELD_OUT])
    val = frozenset(held_out)
    train = Part(folder, dataset.classes, frozenset(files) - val, trains=True)
    return train, Part(folder, dataset.classes, val, trains=False)


# ---- transforms: ``t`` is gpuload.transforms or torchvision.transforms.v2 ----


def augmented(t: Any) -> Any:
    """What the network trains on: a random part of the photo, sometimes mirrored, sometimes grey."""
    random = [t.RandomResizedCrop(SIZE, scale=(0.3, 1.0)), t.RandomHorizontalFlip(), t.RandomGrayscale(0.2)]
    return t.Compose([*random, *_to_floats(t)])


def plain(t: Any) -> Any:
    """What it is validated with: the middle of the photo."""
    return t.Compose([t.Resize(SIZE * 7 // 6), t.CenterCrop(SIZE), *_to_floats(t)])


def _to_floats(t: Any) -> list[Any]:
    return [t.ToImage(), t.ToDtype(torch.float32, scale=True), t.Normalize(MEAN, STD)]


# ---- learning ----


@contextmanager
def _spare_cores() -> Iterator[None]:
    """Leave the workers' cores to the workers: torch's threads wait for each other, so one held up delays all."""
    threads = torch.get_num_threads()
    torch.set_num_threads(max(_cores() - _workers(), 1))
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def network(classes: int) -> nn.Module:
    """Three convolutions, each halving the image, then the average of what they found."""
    layers: list[nn.Module] = []
    for channels, wider in ((3, 16), (16, 32), (32, 64)):
        layers += [nn.Conv2d(channels, wider, 3, stride=2, padding=1), nn.GroupNorm(4, wider), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, classes))


class Pass(NamedTuple):
    """One pass over a loader: images, their summed loss, how many were right; seconds, and those spent waiting."""

    images: int
    loss: float
    correct: float
    seconds: float
    waited: float


def _pass(model: nn.Module, loader: DataLoader, after_batch: Callable[[Tensor], None]) -> Pass:
    """Run the model over an epoch; ``after_batch`` gets each batch's loss."""
    totals = torch.zeros(2, device=loader.device)  # kept there, so that no batch waits for the device
    count, waited = 0, 0.0
    start = asked = time.perf_counter()
    batches = iter(loader)
    while (batch := next(batches, None)) is not None:
        waited += time.perf_counter() - asked
        images, labels = batch
        scores = model(images)
        loss = nn.functional.cross_entropy(scores, labels)
        totals += torch.stack((loss.detach() * len(images), (scores.argmax(1) == labels).sum()))
        count += len(images)
        after_batch(loss)
        asked = time.perf_counter()
    summed_loss, correct = totals.tolist()
    return Pass(count, summed_loss, correct, time.perf_counter() - start, waited)


def _train(
    model: nn.Module, train: DataLoader, val: DataLoader, epochs: int, progress: bool
) -> Iterator[tuple[Pass, Pass]]:
    """Yields each epoch's passes over the training and the validation photos."""
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-3)
    with _bar(progress, "Training", total=epochs * (len(train) + len(val)), unit=" batches") as bar:

        def learn(loss: Tensor) -> None:
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            bar.update()

        def move_on(loss: Tensor) -> None:
            bar.update()

        for _ in range(epochs):
            learned = _pass(model.train(), train, learn)
            with torch.inference_mode():
                validated = _pass(model.eval(), val, move_on)
            yield learned, validated


def _bar(progress: bool, title: str, *batches: Any, **arguments: Any) -> Any:
    """A progress bar on standard error; none where that is no terminal."""
    return tqdm(*batches, desc=title, leave=False, disable=None if progress else True, **arguments)


def _epoch(number: int, learned: Pass, validated: Pass) -> dict[str, Any]:
    return {
        "epoch": number,
        "train_loss": learned.loss / learned.images,
        "train_accuracy": learned.correct / learned.images,
        "val_loss": validated.loss / validated.images,
        "val_accuracy": validated.correct / validated.images,
        "images_per_second": learned.images / learned.seconds,
        "wait_share": learned.waited / learned.seconds,
    }


# ---- comparison with torchvision ----


def equal_batches(ours: Iterable[Any], theirs: Iterable[Any]) -> bool:
    """Do both loaders deliver the same bits, images and labels, batch by batch?"""
    return all(
        torch.equal(mine.cpu(), yours)
        for batches in zip(theirs, ours, strict=True)  # torch forks its workers first, gpuload then starts threads
        for yours, mine in zip(*batches, strict=True)
    )


def equal_augmented(ours: DataLoader) -> bool:
    """Are the first randomly augmented images what torchvision makes of the photos with the same numbers drawn?"""
    v2, open_photo = _need("torchvision.transforms.v2"), _need("torchvision.datasets.folder").default_loader
    to_floats, dataset = v2.Compose(_to_floats(v2)), ours.dataset
    assert isinstance(dataset, ImageFolder)
    recipes = islice(ours.recipes(ours.epoch), CHECKED)
    delivered = (image for images, _ in ours for image in images.cpu())
    return all(
        torch.equal(image, to_floats(_applied(recipe, open_photo(dataset.samples[index][0]), v2)))
        for (index, recipe), image in zip(recipes, delivered, strict=False)
    )


def _applied(recipe: Recipe, photo: Image.Image, v2: Any) -> Any:
    """The steps that `augmented` draws, by torchvision's functions."""
    for step in recipe:
        if isinstance(step, Crop):
            photo = v2.functional.crop(photo, *step)
        elif isinstance(step, Resize):
            mode = v2.InterpolationMode(step.filter.name.lower())
            photo = v2.functional.resize(photo, [step.height, step.width], interpolation=mode)
        elif isinstance(step, Flip):
            photo = v2.functional.horizontal_flip(photo)
        else:
            photo = v2.functional.rgb_to_grayscale(photo, num_output_channels=3)
    return photo


def rates(loaders: dict[str, Any], device: torch.device, progress: bool) -> dict[str, list[float]]:
    """Images a second of loading alone, for each loader and round.

    What makes it fair: each loader delivers a whole epoch of the same files to the device, with as many workers.
    The first epoch of each is not counted: in it torch's processes start, which live on, and files are read for
    the first time. gpuload's threads start anew each epoch, and that is counted. Then the loaders take turns, in
    alternating order, so that whatever else the machine does hits both.
    """
    measured: dict[str, list[float]] = {name: [] for name in loaders}
    for number in _bar(progress, "Comparing speeds", range(ROUNDS + 1), unit=" rounds"):
        for name in list(loaders)[:: -1 if number % 2 else 1]:
            rate = _rate(loaders[name], device)
            if number:
                measured[name].append(rate)
    return measured


def _rate(loader: Iterable[Any], device: torch.device) -> float:
    start, count = time.perf_counter(), 0
    for images, labels in loader:
        for tensor in (images, labels):
            tensor.to(device, non_blocking=True)  # gpuload's are there already
        count += len(images)
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return count / (time.perf_counter() - start)


# ---- what is shown ----

HEADER = "epoch   accuracy: training   validation   images/s   waited for data"
GREY, GREEN = "#9a9a9a", "#5b9a00"


def _row(epoch: dict[str, Any]) -> str:
    return (
        f"{epoch['epoch']:>5}{epoch['train_accuracy']:>21.1%}{epoch['val_accuracy']:>13.1%}"
        f"{epoch['images_per_second']:>11,.0f}{epoch['wait_share']:>18.1%}"
    )


def _plot(results: dict[str, Any], path: Path) -> None:
    """Loss and accuracy by epoch, and the loaders' speeds, as a PNG file."""
    figure = _need("matplotlib.figure").Figure(figsize=(12, 4), dpi=120, layout="constrained")
    loss, accuracy, speed = figure.subplots(1, 3)
    _plot_curves(loss, results["epochs"], "loss", 1)
    loss.set(ylabel="Loss (cross-entropy)", ylim=(0, None))
    _plot_curves(accuracy, results["epochs"], "accuracy", 100)
    accuracy.set(ylabel="Accuracy (%)", ylim=(0, 102))
    _plot_speeds(speed, results)
    for axes in (loss, accuracy, speed):
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="y", color="#e6e6e6")
        axes.set_axisbelow(True)
    figure.savefig(path)


def _plot_curves(axes: Any, epochs: list[dict[str, Any]], name: str, scale: float) -> None:
    numbers = [epoch["epoch"] for epoch in epochs]
    for part, label, colour in (("train", "training", GREY), ("val", "validation", GREEN)):
        values = [scale * epoch[f"{part}_{name}"] for epoch in epochs]
        axes.plot(numbers, values, color=colour, marker="o", markersize=4, linewidth=2, label=label)
    axes.set(xlabel="Epoch")
    axes.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
    axes.legend(frameon=False, loc="upper right" if name == "loss" else "lower right")


def _plot_speeds(axes: Any, results: dict[str, Any]) -> None:
    names = {
        "torch": "torch's DataLoader\nwith torchvision",
        "gpuload": f"gpuload\n{results['speed_ratio']:.2f} times as fast",
    }
    for place, (name, colour) in enumerate(zip(names, (GREY, GREEN), strict=True)):
        rounds = results["rates"][name]
        bar = axes.bar(place, statistics.median(rounds), width=0.6, color=colour)
        axes.bar_label(bar, fmt="{:,.0f}", label_type="center", color="white", fontsize=12, fontweight="bold")
        dots = axes.plot([place + 0.25] * len(rounds), rounds, "o", color="#333333", markersize=3)
    axes.set(ylabel="Loading alone (images/s)", xlim=(-0.6, 1.6))
    axes.legend(dots, ["one round"], frameon=False, loc="upper left")
    axes.set_xticks((0, 1), tuple(names.values()))
    axes.yaxis.set_major_formatter("{x:,.0f}")


def report(results: dict[str, Any]) -> str:
    """What `run` found, in a few lines for people."""
    counts, checked = results["counts"], results["checked"]
    torch_rate, workers = statistics.median(results["rates"]["torch"]), results["workers"]
    verdict = "equal torchvision's bit for bit" if results["pixels_equal"] else "DIFFER from torchvision's"
    lines = {
        "photos": f"{counts['train']:,} to train on, {counts['val']:,} to validate; {_classes(results['classes'])}",
        "learned": f"{results['val_accuracy']:.1%} of the validation photos recognised after "
        f"{_plural(len(results['epochs']), 'epoch')}",
        "waited": f"{results['wait_share']:.1%} of the training time, for images",
        "pixels": f"{checked['validation']:,} validation and {checked['augmented']:,} augmented images {verdict}",
        "speed": f"{results['images_per_second']:,.0f} images/s loading alone; torch's DataLoader with torchvision "
        f"{torch_rate:,.0f}",
        "ratio": f"{results['speed_ratio']:.2f} times as fast: medians of {ROUNDS} rounds, taken in turns, "
        f"{_plural(workers, 'worker')} each, {results['engine']} engine",
        "written": ", ".join(results["files"]),
    }
    return "\n".join(f"{name:<10}{text}" for name, text in lines.items())


def _plural(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _classes(names: list[str]) -> str:
    shown = ", ".join(names[:4]) + (", ..." if len(names) > 4 else "")
    return f"{len(names)} classes: {shown}"


# ---- the whole ----


def run(
    data: Path | None = None,
    output: Path = Path("demo-output"),
    epochs: int | None = None,
    seed: int = 0,
    device: str | None = None,
    progress: bool = True,
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

    Returns:
        ``device``, ``engine``, ``workers`` (of each loader), ``classes``, ``counts`` (photos of each part),
        ``epochs`` (a dict each: losses, accuracies from 0 to 1, images/s and share of waiting while training),
        ``checked`` (images that were compared), ``rates`` (images/s of loading alone, by loader and round) and
        ``files``; then what they come to: ``val_accuracy`` (0 to 1, after the last epoch), ``pixels_equal`` (all
        compared images are equal to torchvision's, bit for bit), ``images_per_second`` (gpuload, loading alone,
        median), ``speed_ratio`` (that over the same of torch's loader) and ``wait_share`` (0 to 1: of the time
        spent training, the part that waited for images).

    Raises:
        ArgumentError, DatasetError: bad arguments or data.
        MissingError: torchvision, scikit-learn or matplotlib is not installed.
    """
    epochs = _check(epochs, output)

    def say(text: str) -> None:
        if progress:
            tqdm.write(text, file=sys.stderr)

    if data is None:
        say(f"Cutting photos into {output / 'photos'}")
    train, val = parts(data if data is not None else make_photos(output / "photos", seed))
    torch.manual_seed(seed)
    loader, val_loader = train.gpuload_loader(seed, device), val.gpuload_loader(seed, device)
    model = network(len(train.classes)).to(loader.device)

    say(f"Training a small network on {loader.device}\n\n{HEADER}")
    passes, history = [], []
    with _spare_cores():
        for learned, validated in _train(model, loader, val_loader, epochs, progress):
            passes.append(learned)
            history.append(_epoch(len(passes), learned, validated))
            say(_row(history[-1]))
    say("")

    sheet, plot = output / "contact-sheet.png", output / "training.png"
    preview.contact_sheet(loader, next(iter(loader)), sheet)
    equal = equal_batches(val_loader, val.torch_loader(loader.device)) and equal_augmented(loader)
    rounds = rates({"gpuload": loader, "torch": train.torch_loader(loader.device)}, loader.device, progress)
    medians = {name: statistics.median(values) for name, values in rounds.items()}
    results = {
        "device": str(loader.device),
        "engine": loader.engine,
        "workers": loader.num_workers,
        "classes": train.classes,
        "counts": {"train": len(train.files), "val": len(val.files)},
        "epochs": history,
        "checked": {"validation": len(val.files), "augmented": min(CHECKED, passes[0].images)},
        "rates": rounds,
        "files": [str(sheet), str(plot)],
        "val_accuracy": history[-1]["val_accuracy"],
        "pixels_equal": equal,
        "images_per_second": medians["gpuload"],
        "speed_ratio": medians["gpuload"] / medians["torch"],
        "wait_share": sum(one.waited for one in passes) / sum(one.seconds for one in passes),
    }
    _plot(results, plot)
    return results


def _check(epochs: int | None, output: Path) -> int:
    """The number of epochs; what would fail after training, fails here."""
    for module in ("torchvision", "matplotlib"):
        _need(module)
    if epochs is not None and epochs < 1:
        raise ArgumentError(f"epochs must be at least 1, got {epochs}")
    if output.exists() and not output.is_dir():
        raise ArgumentError(f"output must be a folder, got the file {str(output)!r}")
    return EPOCHS if epochs is None else epochs
