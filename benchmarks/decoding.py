"""Images per second of each way to decode on a GPU, side by side, and what they must reach there.

    python -m benchmarks.decoding [--workers 16] [--rounds 3] [--json FILE]

The race's photos (``benchmarks.race``): 500 x 375 JPEGs, RandomResizedCrop(224), flip, normalized float32, by gpuload
with each ``decoder``, and by DALI's "mixed" decoder with several shares for the GPU's JPEG engine, where DALI is
installed.

Bars, on 16 cores: "hybrid" is at least 1.2 times the better of "cpu" and "gpu", and at least DALI at its best. It ends
with status 1 where one is missed.
"""

import argparse
import json
import os
import statistics
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from benchmarks import photos
from benchmarks.contestant import Contestant, ContestantError, Entry
from benchmarks.preflight import CORES, RACE_FILES
from benchmarks.race import Rates, run
from gpuload.tools.machine import machine
from gpuload.tools.rounds import Spread, ratios

LOADS = (0.0, 0.35, 0.65, 1.0)
DECODERS = ("cpu", "gpu", "hybrid")


class Bar(NamedTuple):
    """What "hybrid" must reach.

    Attributes:
        over: the best of these contestants.
        times: at least so many times as many images a second.
    """

    over: tuple[str, ...]
    times: float


BARS = {
    "the better of cpu and gpu": Bar(("cpu", "gpu"), 1.2),
    "DALI mixed at its best": Bar(tuple(f"dali {load}" for load in LOADS), 1.0),
}


def entries(workers: int) -> list[Entry]:
    """The contestants."""
    ours = [Entry(name, "gpuload", workers, options=("--decoder", name)) for name in DECODERS]
    return ours + [Entry(f"dali {load}", "dali", workers, options=("--load", str(load))) for load in LOADS]


def judged(rates: Rates) -> dict[str, dict[str, float | bool]]:
    """Of each bar that there is something to compare with: how many times that "hybrid" is, and whether it suffices."""
    results: dict[str, dict[str, float | bool]] = {}
    for name, bar in BARS.items():
        there = [contestant for contestant in bar.over if contestant in rates]
        if "hybrid" in rates and there:
            best = max(there, key=lambda contestant: statistics.median(rates[contestant]))
            times = Spread.of(ratios(rates["hybrid"], rates[best])).median
            results[name] = {"times": round(times, 3), "wanted": bar.times, "reached": times >= bar.times}
    return results


def failures(results: dict[str, dict[str, float | bool]], absent: Sequence[str], cores: int) -> list[str]:
    """What makes it fail: bars that were missed on as many cores as they are for, and a decoder that did not run."""
    missed = [name for name, result in results.items() if cores >= CORES and not result["reached"]]
    return missed + [f"decoder={name!r}" for name in DECODERS if name in absent]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, default=CORES, help="threads, and cores; default: %(default)s")
    parser.add_argument("--files", type=int, default=RACE_FILES)
    parser.add_argument("--batch-size", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=1, help="least time of a contestant in a round")
    parser.add_argument("--json", type=Path, help="also write the figures here")
    options = parser.parse_args(arguments)
    cores = sorted(os.sched_getaffinity(0))[: options.workers]
    os.sched_setaffinity(0, cores)
    task = ["--data", str(photos.photos(options.files)), "--transform", "crop224", "--device", "cuda"]
    task += ["--batch-size", str(options.batch_size)]
    absent: dict[str, str] = {}
    with ExitStack() as stack:
        running: dict[str, Contestant] = {}
        for entry in entries(options.workers):
            try:
                running[entry.name] = stack.enter_context(Contestant(entry, task))
            except ContestantError as error:
                absent[entry.name] = str(error)
        rates = run(running, options.rounds, options.seconds)
    for name, values in rates.items():
        print(f"{name:12}{statistics.median(values):10,.0f} images/s  ({min(values):,.0f} to {max(values):,.0f})")
    for name, reason in absent.items():
        print(f"{name:12}{reason}")
    results = judged(rates)
    for name, result in results.items():
        print(f"hybrid is {result['times']:.2f} x {name}; wanted on {CORES} cores: {result['wanted']} x")
    if options.json is not None:
        figures = {name: [round(value, 1) for value in values] for name, values in rates.items()}
        written = {"machine": machine(), "workers": options.workers, "images_per_second": figures, "bars": results}
        options.json.write_text(json.dumps({**written, "absent": absent}, indent=2) + "\n")
    failed = failures(results, list(absent), len(cores))
    print(f"failed: {', '.join(failed) or 'nothing'}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
