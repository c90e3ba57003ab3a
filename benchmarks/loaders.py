"""Images a second of whole loaders, side by side in one run: decode, RandomResizedCrop(224), flip, normalise.

    python -m benchmarks.loaders [--workers 2] [--rounds 5] [--batch-size 64] [--data DIR | --photos 600] [--json FILE]

Every loader reads the same files and delivers normalised float32 batches. The first epoch of each is a
warm-up; then they take turns, one epoch a turn, and each figure is the median of its turns, with the lowest
and the highest. A ratio is the median of the ratios of one turn. Worker start-up is part of an epoch, as it
is for a user (torch's workers are kept between epochs: ``persistent_workers=True``).
"""

import argparse
import json
import platform
import statistics
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch

from benchmarks.photos import make_photos
from gpuload import DataLoader, ImageFolder, transforms as T

MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
Loader = Iterable[Any]


def gpuload_loader(data: Path, workers: int, batch_size: int, device: str, engine: str | None = None) -> Loader:
    to_float = [T.ToDtype(torch.float32, scale=True), T.Normalize(MEAN, STD)]
    transform = T.Compose([T.RandomResizedCrop(224), T.RandomHorizontalFlip(), *to_float])
    dataset = ImageFolder(data, transform=transform)
    return DataLoader(
        dataset, batch_size, shuffle=True, drop_last=True, num_workers=workers, seed=0, device=device, engine=engine
    )


def torch_loader(data: Path, workers: int, batch_size: int, device: str) -> Loader:
    from torchvision import datasets
    from torchvision.transforms import v2

    to_float = [v2.ToImage(), v2.ToDtype(torch.float32, scale=True), v2.Normalize(MEAN, STD)]
    transform = v2.Compose([v2.RandomResizedCrop(224), v2.RandomHorizontalFlip(), *to_float])
    dataset = datasets.ImageFolder(str(data), transform=transform)
    loader = torch.utils.data.DataLoader(
        dataset,
        batch_size,
        shuffle=True,
        drop_last=True,
        num_workers=workers,
        persistent_workers=workers > 0,
        pin_memory=device != "cpu",
    )
    return _Moved(loader, device) if device != "cpu" else loader


class _Moved:
    """What a training loop does with torch's batches."""

    def __init__(self, loader: Loader, device: str) -> None:
        self.loader, self.device = loader, device

    def __iter__(self) -> Any:
        for images, labels in self.loader:
            yield images.to(self.device, non_blocking=True), labels.to(self.device, non_blocking=True)


def epoch_rate(loader: Loader, device: str) -> float:
    """Images a second over one epoch."""
    start, count = time.perf_counter(), 0
    for images, _ in loader:
        count += len(images)
    if device != "cpu":
        torch.cuda.synchronize()
    return count / (time.perf_counter() - start)


def measure(loaders: dict[str, Loader], rounds: int, device: str) -> dict[str, list[float]]:
    """Rates of each loader, turn by turn."""
    for loader in loaders.values():
        epoch_rate(loader, device)
    rates: dict[str, list[float]] = {name: [] for name in loaders}
    for turn in range(rounds):
        names = list(loaders)
        for name in names if turn % 2 == 0 else reversed(names):
            rates[name].append(epoch_rate(loaders[name], device))
    return rates


def summarise(rates: dict[str, list[float]], base: str) -> dict[str, dict[str, float]]:
    return {
        name: {
            "images_per_second": round(statistics.median(values), 1),
            "lowest": round(min(values), 1),
            "highest": round(max(values), 1),
            f"ratio_to_{base}": round(statistics.median(v / b for v, b in zip(values, rates[base], strict=True)), 3),
        }
        for name, values in rates.items()
    }


def machine() -> dict[str, str]:
    """Where the figures were measured."""
    import os

    model = next(
        (line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line),
        platform.processor(),
    )
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "none"
    return {
        "cpu": f"{model}, {os.cpu_count()} cores",
        "gpu": gpu,
        "torch": torch.__version__,
        "python": platform.python_version(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="class folders; left out: photos are made")
    parser.add_argument("--photos", type=int, default=600, help="how many are made; default: %(default)s")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--json", type=Path, help="also write the figures here")
    options = parser.parse_args()
    data = options.data or make_photos(Path(tempfile.gettempdir()) / f"gpuload-{options.photos}-photos", options.photos)
    arguments = (data, options.workers, options.batch_size, options.device)
    loaders: dict[str, Loader] = {"gpuload": gpuload_loader(*arguments), "torch": torch_loader(*arguments)}
    figures = summarise(measure(loaders, options.rounds, options.device), base="torch")
    result = {"workers": options.workers, "batch_size": options.batch_size, "machine": machine(), "loaders": figures}
    print(json.dumps(result, indent=2))
    if options.json is not None:
        options.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
