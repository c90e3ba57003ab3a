"""What an import costs, seconds to the first batch, and what a batch that is ready costs the loop's own thread.

    python -m benchmarks.startup [--baseline FOLDER] [--rounds 7] [--batches 40] [--json FILE]

500 x 375 JPEGs, RandomResizedCrop(224), batches of 64, two workers; gpuload, torch, and gpuload of another checkout.

- Import: CPU time beyond ``import torch``, of ``import gpuload`` and of ``from gpuload import DataLoader`` after it, in
  a new process for each of three times as many rounds; medians. Bytecode is kept, as it is wherever pip has installed.
- Startup: from before ``import gpuload`` (torch is imported already) to the first batch: the folder scanned, the
  loader made, its workers started. A new process for each round, the contestants one after the other; medians. A
  round before the first is not counted: it compiles what is not compiled yet.
- Ready: the consumer pauses before each ``next()`` for three times what a batch takes to make, so that only taking it
  is left; the batch before is freed by then. Wall and CPU time of the calling thread, the median and the mean of
  ``--batches``; the mean holds what happens once in many batches, such as drawing more of the order.
"""

import argparse
import json
import os
import statistics
import subprocess
from pathlib import Path
from typing import Any

from benchmarks import photos
from benchmarks.contestant import ROOT, Contestant, Entry
from gpuload.tools.machine import machine

Figures = dict[str, dict[str, float]]

IMPORTS = """
import time, torch, torch.utils.data
times = [time.process_time()]
import gpuload
times.append(time.process_time())
from gpuload import DataLoader
times.append(time.process_time())
print(times[1] - times[0], times[2] - times[0])
"""


def imports(entries: list[Entry], rounds: int) -> Figures:
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    seconds: dict[str, list[list[float]]] = {entry.name: [] for entry in entries}
    for turn in range(rounds + 1):
        for entry in entries[:: -1 if turn % 2 else 1]:
            command, folder = [str(entry.python), "-c", IMPORTS], entry.checkout or ROOT
            said = subprocess.check_output(command, cwd=folder, env=kept, text=True)
            if turn > 0:
                seconds[entry.name].append(list(map(float, said.split())))
    names = ("import_seconds", "import_of_loader_seconds")
    return {
        name: dict(zip(names, map(statistics.median, zip(*rows, strict=True)), strict=True))
        for name, rows in seconds.items()
    }


def startups(entries: list[Entry], task: list[str], rounds: int) -> Figures:
    seconds: dict[str, list[float]] = {entry.name: [] for entry in entries}
    for turn in range(rounds + 1):
        for entry in entries[:: -1 if turn % 2 else 1]:
            with Contestant(entry, task) as contestant:
                if turn > 0:
                    seconds[entry.name].append(contestant.startup)
    ours = seconds["gpuload"]
    return {
        name: {
            "startup_seconds": statistics.median(values),
            "of_gpuload": statistics.median(value / our for value, our in zip(values, ours, strict=True)),
        }
        for name, values in seconds.items()
    }


def ready(entry: Entry, task: list[str], batch_size: int, batches: int) -> dict[str, float]:
    with Contestant(entry, task) as contestant:
        contestant.ask(seconds=0)
        played = contestant.ask(seconds=0)
        pause = 3 * batch_size * played["seconds"] / played["images"]
        times = contestant.ask(batches=batches, pause=pause)
    figures = {}
    for clock in ("wall", "cpu"):
        figures[clock] = 1e6 * statistics.median(times[clock])
        figures[f"{clock}_mean"] = 1e6 * statistics.mean(times[clock])
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--batches", type=int, default=40)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--baseline", type=Path, help="another checkout of gpuload")
    parser.add_argument("--json", type=Path, help="also write the figures here")
    options = parser.parse_args()
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: options.workers])
    task = ["--data", str(photos.photos(2560)), "--transform", "crop224", "--device", options.device]
    task += ["--batch-size", str(options.batch_size)]
    entries = [Entry("gpuload", "gpuload", options.workers), Entry("torch", "torch", options.workers)]
    if options.baseline is not None:
        entries.insert(1, Entry("baseline", "gpuload", options.workers, checkout=options.baseline))
    imported = imports([entry for entry in entries if entry.peer == "gpuload"], 3 * options.rounds)
    for name, row in imported.items():
        whole, loader = (1e3 * seconds for seconds in row.values())
        print(f"{name:10} imported in {whole:.1f} ms, with its DataLoader in {loader:.1f} ms", flush=True)
    figures = startups(entries, task, options.rounds)
    for name, row in figures.items():
        print(
            f"{name:10} first batch after {row['startup_seconds']:.2f} s, {row['of_gpuload']:.2f} x gpuload", flush=True
        )
    print("microseconds of a batch that is ready:")
    for entry in entries:
        taken = ready(entry, task, options.batch_size, options.batches)
        print(f"{entry.name:10}", ", ".join(f"{key} {value:,.0f}" for key, value in taken.items()), flush=True)
        figures[entry.name] |= {f"{key}_microseconds": value for key, value in taken.items()}
        figures[entry.name] |= imported.get(entry.name, {})
    if options.json is not None:
        result: dict[str, Any] = {"machine": machine(), "workers": options.workers, "loaders": figures}
        options.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
