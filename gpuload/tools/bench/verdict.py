"""Is the loader or the model the bottleneck?"""

from collections.abc import Mapping
from enum import StrEnum
from typing import NamedTuple

from gpuload.tools.bench.words import plural, shown
from gpuload.tools.rounds import Spread

__all__ = ["Bottleneck", "Verdict", "judged"]


class Bottleneck(StrEnum):
    """What a training run waits for."""

    LOADER = "loader"
    MODEL = "model"
    NEITHER = "neither"


class Verdict(NamedTuple):
    """What a loader is beside a model.

    Attributes:
        bottleneck: neither, where the rounds of both overlap.
        workers: with which the loader is fastest.
        enough: the fewest with which it is not the bottleneck; None: it always is.
        loader: images/s that it gives then.
        model: images/s that the model takes.
    """

    bottleneck: Bottleneck
    workers: int
    enough: int | None
    loader: Spread
    model: Spread

    def sentence(self, model: str) -> str:
        """In words; ``model`` is its name."""
        given, taken = shown(self.loader.median), shown(self.model.median)
        using = f"with {plural(self.workers, 'worker')}"
        match self.bottleneck:
            case Bottleneck.LOADER:
                return f"the loader is the bottleneck: {given} images/s {using} of the {taken} that {model} takes"
            case Bottleneck.MODEL:
                said = f"the model is the bottleneck: {model} takes {taken} images/s of the {given} that come {using}"
                return said if self.enough == self.workers else f"{said}; {self.enough} would do"
            case Bottleneck.NEITHER:
                return f"neither is the bottleneck: {given} images/s come {using}, and {model} takes {taken}"


def judged(loader: Mapping[int, Spread], model: Spread) -> Verdict:
    """The verdict on a loader.

    Args:
        loader: images/s that it gives, by number of workers.
        model: images/s that the model takes.
    """
    bottlenecks = {workers: _bottleneck(given, model) for workers, given in loader.items()}
    enough = [workers for workers, found in bottlenecks.items() if found is not Bottleneck.LOADER]
    fastest = max(loader, key=lambda workers: loader[workers].median)
    return Verdict(bottlenecks[fastest], fastest, min(enough, default=None), loader[fastest], model)


def _bottleneck(loader: Spread, model: Spread) -> Bottleneck:
    if loader.highest < model.lowest:
        return Bottleneck.LOADER
    return Bottleneck.MODEL if loader.lowest > model.highest else Bottleneck.NEITHER
