"""What a run has found, as plain data."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from gpuload.tools.bench.verdict import Verdict, judged
from gpuload.tools.rounds import Spread, ratios

__all__ = ["DECODER", "LOADERS", "Model", "Results", "Row"]

LOADERS = {"torch": "torch + torchvision", "gpuload": "gpuload"}
DECODER = "decoder"


@dataclass(frozen=True)
class Row:
    """What was measured with one number of workers.

    Attributes:
        workers: threads or processes; 0: the training loop's own thread.
        rates: images/s, round by round, of each of `LOADERS` and of the `DECODER` alone.
        first_batch: seconds from making a loader to its first batch, of each of `LOADERS`.
    """

    workers: int
    rates: dict[str, list[float]]
    first_batch: dict[str, float]

    def spread(self, name: str) -> Spread:
        """Images/s of a contestant."""
        return Spread.of(self.rates[name])

    def times(self, over: str, under: str) -> Spread:
        """How many times as fast one contestant is as another, round by round."""
        return Spread.of(ratios(self.rates[over], self.rates[under]))


@dataclass(frozen=True)
class Model:
    """What takes the images.

    Attributes:
        name: of it.
        settings: how it was trained, in words.
        rates: images/s, round by round.
    """

    name: str
    settings: str
    rates: list[float]


@dataclass(frozen=True)
class Results:
    """What a run has found.

    Attributes:
        folder: of class folders.
        images: files in it.
        raced: those of them that were loaded, again and again.
        classes: their number.
        pixels: (height, width) of the images that were raced, medians.
        batch_size: images of a batch.
        transform: in words.
        settings: of each contestant, in words.
        machine: what it was measured on.
        checked: images that were compared with torchvision's.
        equal: those of them that are bit-exact.
        rows: of each number of workers.
        model: what takes the images.
        seconds: that the run took.
    """

    folder: str
    images: int
    raced: int
    classes: int
    pixels: tuple[int, int]
    batch_size: int
    transform: str
    settings: dict[str, str]
    machine: dict[str, str]
    checked: int
    equal: int
    rows: Sequence[Row]
    model: Model
    seconds: float

    @property
    def rounds(self) -> tuple[int, int]:
        """Fewest and most rounds of a row."""
        counts = [len(row.rates[DECODER]) for row in self.rows]
        return min(counts), max(counts)

    @property
    def verdicts(self) -> dict[str, Verdict]:
        """Of each of `LOADERS`."""
        model = Spread.of(self.model.rates)
        return {name: judged({row.workers: row.spread(name) for row in self.rows}, model) for name in LOADERS}

    def as_json(self) -> dict[str, Any]:
        """The figures, their spreads and the verdicts: dicts, lists, strings and numbers."""
        return {
            "folder": self.folder,
            "images": {"in_folder": self.images, "raced": self.raced, "classes": self.classes},
            "median_pixels": {"height": self.pixels[0], "width": self.pixels[1]},
            "batch_size": self.batch_size,
            "transform": self.transform,
            "settings": self.settings,
            "machine": self.machine,
            "pixels": {"checked": self.checked, "equal": self.equal},
            "workers": [_row(row) for row in self.rows],
            "model": {"name": self.model.name, "settings": self.model.settings, **_figures(self.model.rates)},
            "verdicts": {
                name: {
                    "bottleneck": str(verdict.bottleneck),
                    "workers": verdict.workers,
                    "workers_that_would_do": verdict.enough,
                    "images_per_second": round(verdict.loader.median, 1),
                    "model_takes": round(verdict.model.median, 1),
                }
                for name, verdict in self.verdicts.items()
            },
            "seconds": round(self.seconds, 1),
        }


def _row(row: Row) -> dict[str, Any]:
    return {
        "workers": row.workers,
        "images_per_second": {name: _figures(rounds) for name, rounds in row.rates.items()},
        "times_as_fast_as_torch": _rounded(row.times("gpuload", "torch"), 3),
        "share_of_decoder": {name: round(row.times(name, DECODER).median, 3) for name in LOADERS},
        "seconds_to_first_batch": {name: round(seconds, 3) for name, seconds in row.first_batch.items()},
    }


def _figures(rounds: list[float]) -> dict[str, Any]:
    return {**_rounded(Spread.of(rounds), 1), "rounds": [round(figure, 1) for figure in rounds]}


def _rounded(spread: Spread, digits: int) -> dict[str, float]:
    return {name: round(figure, digits) for name, figure in spread._asdict().items()}
