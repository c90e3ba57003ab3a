"""Contestants side by side in one run: rounds that are interleaved, and what their figures come to."""

import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch.utils._pytree import tree_leaves

__all__ = ["Spread", "interleaved", "rate", "ratios"]


def interleaved(plays: Mapping[str, Callable[[], float]], rounds: Iterable[int]) -> dict[str, list[float]]:
    """What each contestant's play gave, round by round; every other round goes through them in reverse order.

    Whatever else the machine does hits all of them, and none comes after the same one each time.
    """
    figures: dict[str, list[float]] = {name: [] for name in plays}
    for number in rounds:
        for name in list(plays)[:: -1 if number % 2 else 1]:
            figures[name].append(plays[name]())
    return figures


def rate(loader: Iterable[Any], device: torch.device) -> float:
    """Images per second of an epoch that ends on the device."""
    start, count = time.perf_counter(), 0
    for batch in loader:
        *_, labels = leaves = tree_leaves(batch)
        for tensor in leaves:
            tensor.to(device, non_blocking=True)  # gpuload's are there already
        count += len(labels)
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return count / (time.perf_counter() - start)


def ratios(over: Sequence[float], under: Sequence[float]) -> list[float]:
    """Of two contestants, round by round: what slows the machine for a while slows both."""
    return [a / b for a, b in zip(over, under, strict=True)]


class Spread(NamedTuple):
    """Figures of several rounds."""

    median: float
    lowest: float
    highest: float

    @staticmethod
    def of(figures: Sequence[float]) -> "Spread":
        """Of one or more figures."""
        return Spread(statistics.median(figures), min(figures), max(figures))
