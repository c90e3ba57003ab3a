"""Images per second of whole loaders, side by side in one run.

    python -m benchmarks.race photos thumbnails large [--baseline FOLDER] [--avx2] [--rounds 5] [--json FILE]

Races:
    photos      500 x 375 JPEGs, RandomResizedCrop(224), flip, normalized float32, batches of 64:
                gpuload against torch, DALI and FFCV (which does not normalize)
    thumbnails  32 x 32 JPEGs, RandomCrop(32, padding=4), flip, normalized float32, batches of 256:
                gpuload against torch; and what a second thread gains, as a share of what it gains in hashing
    large       12-megapixel JPEGs, as photos, batches of 8: gpuload against torch, and --baseline if it is given
    dali        photos again: gpuload with engine="dali" against a pipeline written with DALI's own reader

Each contestant is a process of its own, with ``--workers`` threads or processes, all on as many cores. After an epoch
to warm up they take turns, in a round one after the other, each playing whole epochs for ``--seconds``; the others
idle meanwhile. Figures are medians of the rounds, and a ratio is the median of the ratios within one round, so that
what slows the machine for a while slows both. Beginning an epoch is part of it.

DALI and FFCV need an environment of their own: ``make peers``. ``--baseline`` adds gpuload from another checkout, and
``--avx2`` gpuload with its C++ compiled for AVX2 alone.
"""

import argparse
import json
import os
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks import photos
from benchmarks.contestant import PEERS_PYTHON, ROOT, Contestant, ContestantError, Entry
from gpuload.tools.machine import machine
from gpuload.tools.rounds import Spread, interleaved, ratios

AVX2 = "gpuload avx2"
Rates = dict[str, list[float]]  # of each contestant, round by round


@dataclass(frozen=True)
class Race:
    data: Callable[[int], Path]
    files: int
    transform: str
    batch_size: int
    peers: tuple[str, ...]
    threads: bool = False  # also with one thread, and hashing
    engine: str = ""  # of gpuload's


RACES = {
    "photos": Race(photos.photos, 2560, "crop224", 64, ("torch", "dali", "ffcv")),
    "thumbnails": Race(photos.thumbnails, 10_240, "crop32", 256, ("torch",), threads=True),
    "large": Race(photos.large_photos, 64, "crop224", 8, ("torch",)),
    "dali": Race(photos.photos, 2560, "crop224", 64, ("dali",), engine="dali"),
}


def entries(race: Race, options: argparse.Namespace) -> list[Entry]:
    workers: int = options.workers
    own = ("--engine", race.engine) if race.engine else ()
    wanted = [Entry("gpuload", "gpuload", workers, options=own)]
    if options.baseline is not None:
        wanted.append(Entry("baseline", "gpuload", workers, checkout=options.baseline))
    if options.avx2:
        compiler = {"CXX": f"'{ROOT / 'benchmarks' / 'haswell-c++'}'"}
        wanted.append(Entry(AVX2, "gpuload", workers, environment=compiler))
    if race.threads:
        wanted.append(Entry("gpuload 1 thread", "gpuload", 1))
        wanted += [Entry("hash", "hash", workers), Entry("hash 1 thread", "hash", 1)]
    for peer in race.peers:
        is_here = peer == "torch" or peer == race.engine  # an engine is compared with the same version of it
        python = {} if is_here else {"python": options.peers_python}
        wanted.append(Entry(peer, peer, workers, **python))
    return [entry for entry in wanted if options.only is None or entry.name in options.only]


def run(contestants: dict[str, Contestant], rounds: int, seconds: float) -> Rates:
    """Interleaved rounds, every other one in reverse order."""
    for contestant in contestants.values():
        contestant.ask(seconds=0)

    def play(contestant: Contestant) -> float:
        played = contestant.ask(seconds=seconds)
        return float(played["images"] / played["seconds"])

    return interleaved({name: partial(play, contestant) for name, contestant in contestants.items()}, range(rounds))


def thread_gain(rates: Rates) -> float | None:
    """What ``--workers`` threads of gpuload give over one, as a share of what as many that hash give over one."""
    names = ("gpuload", "gpuload 1 thread", "hash", "hash 1 thread")
    if any(name not in rates for name in names):
        return None
    many, one, hash_many, hash_one = (rates[name] for name in names)
    return Spread.of(ratios(ratios(many, one), ratios(hash_many, hash_one))).median


def summarize(rates: Rates) -> dict[str, dict[str, Any]]:
    """Medians, and how many times each contestant gpuload is, as it is and with its C++ for AVX2."""
    ours = [name for name in ("gpuload", AVX2) if name in rates]
    figures: dict[str, dict[str, Any]] = {}
    for name, values in rates.items():
        median, lowest, highest = (round(figure, 1) for figure in Spread.of(values))
        times = {our: round(Spread.of(ratios(rates[our], values)).median, 3) for our in ours}
        figures[name] = {"images_per_second": median, "lowest": lowest, "highest": highest}
        figures[name]["times"] = {} if name.startswith("hash") else times
    return figures


def show(figures: dict[str, dict[str, Any]], versions: dict[str, str]) -> None:
    ours = [name for name in ("gpuload", AVX2) if name in figures]
    print(f"{'':18}{'images/s':>10}{'lowest':>10}{'highest':>10}" + "".join(f"{our + ' is':>17}" for our in ours))
    for name, row in figures.items():
        rate = "".join(f"{row[part]:10,.0f}" for part in ("images_per_second", "lowest", "highest"))
        times = "".join(f"{row['times'][our]:15.2f} x" if our in row["times"] else " " * 17 for our in ours)
        print(f"{name:18}{rate}{times}  {versions[name]}")


def hold(name: str, race: Race, options: argparse.Namespace) -> dict[str, Any]:
    """One race, with its table printed."""
    print(f"\n{name}: {options.workers} workers, {options.rounds} rounds", flush=True)
    data = options.data or race.data(options.files or race.files)
    task = ["--data", str(data), "--transform", race.transform, "--device", options.device]
    task += ["--batch-size", str(options.batch_size or race.batch_size)]
    absent: dict[str, str] = {}
    with ExitStack() as stack:
        running: dict[str, Contestant] = {}
        for entry in entries(race, options):
            try:
                running[entry.name] = stack.enter_context(Contestant(entry, task))
            except ContestantError as error:
                absent[entry.name] = str(error)
        versions = {key: contestant.version for key, contestant in running.items()}
        rates = run(running, options.rounds, options.seconds)
    figures, gain = summarize(rates), thread_gain(rates)
    show(figures, versions)
    for key, reason in absent.items():
        print(f"{key:18}{reason}")
    result: dict[str, Any] = {"loaders": figures, "versions": versions, "absent": absent}
    if gain is not None:
        print(f"gain of {options.workers} threads over one, as a share of the gain in hashing: {gain:.2f}")
        result["thread_gain_of_hashing"] = round(gain, 3)
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("races", nargs="+", choices=RACES)
    parser.add_argument("--data", type=Path, help="class folders; left out: photos are made")
    parser.add_argument("--files", type=int, help="how many are made; default: the race's")
    parser.add_argument("--workers", type=int, default=2, help="threads or processes, and cores; default: %(default)s")
    parser.add_argument("--batch-size", type=int, help="default: the race's")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2, help="least time of a contestant in a round")
    parser.add_argument("--device", default="cpu", help="of gpuload's and torch's batches; default: %(default)s")
    parser.add_argument("--baseline", type=Path, help="another checkout of gpuload")
    parser.add_argument("--avx2", action="store_true")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="these contestants alone")
    parser.add_argument("--peers-python", type=Path, default=PEERS_PYTHON, help="DALI's and FFCV's interpreter")
    parser.add_argument("--json", type=Path, help="also write the figures here")
    options = parser.parse_args()
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: options.workers])
    held = {name: hold(name, RACES[name], options) for name in options.races}
    if options.json is not None:
        result = {"machine": machine(), "workers": options.workers, "device": options.device, "races": held}
        options.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
