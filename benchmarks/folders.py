"""ImageFolder at scale: bytes of state per sample, scan and look-up times, for files that are only names.

    python -m benchmarks.folders [--files 200000] [--classes 1000]

Files are empty and named as ImageNet's are (``n01440764_10026.JPEG``). State is everything that the dataset
keeps, gpuload's with the size of every image as it remembers them after an epoch, measured as the growth of the
process's allocations; torchvision's ImageFolder is measured beside it.
"""

import argparse
import gc
import json
import tempfile
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gpuload import ImageFolder


def make_files(root: Path, files: int, classes: int) -> None:
    for c in range(classes):
        folder = root / f"n{c:08}"
        folder.mkdir(parents=True)
        for i in range(files // classes):
            (folder / f"n{c:08}_{i}.JPEG").touch()


def remember_sizes(dataset: ImageFolder) -> None:
    dataset.sizes[:] = 375, 500


def measure(make: Callable[[], Any], use: Callable[[Any], None]) -> dict[str, float]:
    """A dataset's figures.

    Args:
        make: it.
        use: what an epoch leaves behind in it.
    """
    gc.collect()
    tracemalloc.start()
    start = time.perf_counter()
    dataset = make()
    seconds = time.perf_counter() - start
    use(dataset)
    gc.collect()
    state, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    looked_up = range(0, len(dataset), max(len(dataset) // 10_000, 1))
    start = time.perf_counter()
    for i in looked_up:
        dataset.samples[i]
    return {
        "samples": len(dataset),
        "state_bytes_per_sample": round(state / len(dataset), 1),
        "peak_bytes_per_sample": round(peak / len(dataset), 1),
        "scan_seconds": round(seconds, 2),
        "look_up_microseconds": round((time.perf_counter() - start) / len(looked_up) * 1e6, 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=200_000)
    parser.add_argument("--classes", type=int, default=1000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        make_files(Path(folder), options.files, options.classes)
        result = {"gpuload": measure(lambda: ImageFolder(folder), remember_sizes)}
        from torchvision import datasets

        result["torchvision"] = measure(lambda: datasets.ImageFolder(folder), lambda dataset: None)
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
