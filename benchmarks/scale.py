"""What an order costs at any size: of samples, of ranks, and in the middle of an epoch.

    python -m benchmarks.scale [--rounds 30] [--json FILE]

For 10^6 to 10^9 samples and 1 to 4,096 ranks: microseconds until a loader in whose place another one stopped in
mid-epoch has its first batch, of a new loader and of ``load_state_dict`` alone; microseconds of a batch; and the memory
that it all took. The dataset gives numbers, and its batches are of 8: all that is measured is gpuload's. Medians.
"""

import argparse
import json
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

from gpuload import DataLoader, Shard
from gpuload.tools.machine import machine

SAMPLES = [10**6, 10**7, 10**8, 10**9]
RANKS = [1, 64, 4096]
BATCHES = 1000


class Numbers:
    """A dataset that takes no memory."""

    def __init__(self, count: int) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> int:
        return index


def loader_of(samples: int, ranks: int) -> DataLoader[Any]:
    shard = Shard(ranks // 2, ranks)
    return DataLoader(Numbers(samples), 8, shuffle=True, seed=0, device="cpu", shard=shard)  # type: ignore[arg-type]


def microseconds(call: Callable[[], Any]) -> float:
    start = time.perf_counter()
    call()
    return (time.perf_counter() - start) * 1e6


def measured(samples: int, ranks: int, rounds: int) -> dict[str, Any]:
    loader = loader_of(samples, ranks)
    middle = {**loader.state_dict(), "batch": len(loader) // 2}
    loading, first = list[float](), list[float]()
    for _ in range(rounds):
        loader = loader_of(samples, ranks)
        loading.append(microseconds(lambda: loader.load_state_dict(middle)))  # noqa: B023, it is called here
        batches = iter(loader)
        first.append(loading[-1] + microseconds(lambda: next(batches)))  # noqa: B023
    count = min(BATCHES, len(loader) - len(loader) // 2 - 1) // 2
    each = [microseconds(lambda: next(batches)) for _ in range(count)]
    tracemalloc.start()  # which slows it down
    for _ in range(count):
        next(batches)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return {
        "samples": samples,
        "ranks": ranks,
        "load_state_dict_us": round(median(loading)),
        "first_batch_us": round(median(first)),
        "batch_us": round(median(each), 1),
        "peak_kb": round(peak / 1e3),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    rows = [measured(samples, ranks, options.rounds) for samples in SAMPLES for ranks in RANKS]
    print("".join(f"{name:>20}" for name in rows[0]))
    for row in rows:
        print("".join(f"{value:>20,}" for value in row.values()))
    if options.json:
        options.json.write_text(json.dumps({"machine": machine(), "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
