"""Statistics of orders, with what theory says of them where all n! orders are equally likely.

Orders are an array of shape (m, n): m permutations of range(n), independent of each other. Where a statistic speaks of
classes, the samples are sorted by class: each class, and each batch, is `part(n)` samples.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

__all__ = [
    "STATISTICS",
    "Finding",
    "Mean",
    "Orders",
    "all_orders",
    "chi_square",
    "equal_pairs",
    "fixed_points",
    "part",
    "positions",
    "sign",
]

Orders = NDArray[np.int64]


class Finding(NamedTuple):
    """What was found of some orders, what theory expects, with which standard deviation, and how likely it is
    that uniformly random orders lie as far off, to either side."""

    found: float
    theory: float
    deviation: float
    chance: float

    @property
    def off(self) -> float:
        """How far from the theory, in standard deviations."""
        return (self.found - self.theory) / self.deviation


@dataclass(frozen=True)
class Mean:
    """A number of each order, averaged over the orders, which makes it normally distributed.

    Args:
        of: orders (m, n) to numbers (m,).
        moments: n to their mean and variance over all n! orders.
    """

    of: Callable[[Orders], NDArray[Any]]
    moments: Callable[[int], tuple[float, float]]

    def __call__(self, orders: Orders) -> Finding:
        mean, variance = self.moments(orders.shape[1])
        found, deviation = float(self.of(orders).mean()), math.sqrt(variance / len(orders))
        return Finding(found, mean, deviation, math.erfc(abs(found - mean) / deviation / math.sqrt(2)))


def chi_square(counts: Any, expected: Any, freedom: int, scale: float = 1.0) -> Finding:
    found = float(scale * ((np.asarray(counts) - expected) ** 2 / expected).sum())
    half = torch.tensor([freedom / 2, found / 2], dtype=torch.float64)
    tails = torch.special.gammainc(*half), torch.special.gammaincc(*half)
    return Finding(found, freedom, math.sqrt(2 * freedom), 2 * float(min(tails)))


# ---- one order ----


def part(n: int) -> int:
    """Samples of a class, and of a batch."""
    return max(size for size in range(1, math.isqrt(n) + 1) if n % size == 0)


def centered(n: int) -> NDArray[np.float64]:
    return np.arange(n) - (n - 1) / 2


def correlation(orders: Orders) -> NDArray[Any]:
    """Of position and index."""
    x = centered(orders.shape[1])
    return x[orders] @ x / (x @ x)


def serial_correlation(orders: Orders) -> NDArray[Any]:
    """Of an index and the next one; the first one comes after the last."""
    x = centered(orders.shape[1])
    return (x[orders] * x[np.roll(orders, -1, axis=1)]).sum(1) / (x @ x)


def serial_correlation_moments(n: int) -> tuple[float, float]:
    """Wald and Wolfowitz, 1943."""
    x = centered(n)
    fourth = (x**4).sum() / (x @ x) ** 2
    mean = -1 / (n - 1)
    return mean, (1 - fourth) / (n - 1) + (1 - 2 * fourth) / ((n - 1) * (n - 2)) - mean**2


def distance(orders: Orders) -> NDArray[Any]:
    """Of an index from the next one."""
    return np.abs(np.diff(orders, axis=1)).mean(1)


def followers(orders: Orders) -> NDArray[Any]:
    """How often i + 1 comes right after i."""
    return (np.diff(orders, axis=1) == 1).sum(1)


def followers_moments(n: int) -> tuple[float, float]:
    mean = (n - 1) / n
    return mean, (n - 2) / n + mean - mean**2


def fixed_points(orders: Orders) -> NDArray[Any]:
    """Indices at their own position."""
    return (orders == np.arange(orders.shape[1])).sum(1)


def cycles(orders: Orders) -> NDArray[Any]:
    m, n = orders.shape
    start = np.arange(m * n)
    step = (orders + n * np.arange(m)[:, None]).ravel()  # m permutations are one, of m * n
    least = start  # of the start and the next 2^k - 1 steps
    for _ in range(n.bit_length()):
        least, step = np.minimum(least, least[step]), step[step]
    return (least == start).reshape(m, n).sum(1)


def cycles_moments(n: int) -> tuple[float, float]:
    mean = sum(1 / k for k in range(1, n + 1))
    return mean, mean - sum(1 / k**2 for k in range(1, n + 1))


def sign(orders: Orders) -> NDArray[Any]:
    """1 of an even permutation, -1 of an odd one."""
    return 1 - 2 * ((orders.shape[1] - cycles(orders)) % 2)


def same_class(orders: Orders) -> NDArray[Any]:
    classes = orders // part(orders.shape[1])
    return classes[:, 1:] == classes[:, :-1]


def class_runs(orders: Orders) -> NDArray[Any]:
    """Stretches of one class, as long as they go."""
    return orders.shape[1] - same_class(orders).sum(1)


def class_runs_moments(n: int) -> tuple[float, float]:
    """Mood, 1940: of k = n / s classes with s samples each."""
    s = part(n)
    second, third = n * s, n * s * s
    variance = (second * (second + n * (n + 1)) - 2 * n * third - n**3) / (n**2 * (n - 1))
    return n - (s - 1), variance


def longest_run(orders: Orders) -> NDArray[Any]:
    """Of the first class."""
    first = orders < part(orders.shape[1])
    longest, here = np.zeros(len(orders), int), first
    while here.any():  # where a run of so many begins
        longest += here.any(1)
        here = here[:, :-1] & first[:, -here.shape[1] + 1 :]
    return longest


def longest_run_moments(n: int) -> tuple[float, float]:
    """From how many ways there are to put s samples into the n - s + 1 gaps of the others, below k into each."""
    s = part(n)
    gaps = n - s + 1

    def at_least(k: int) -> float:
        signed = ((-1) ** j * math.comb(gaps, j) * math.comb(n - j * k, gaps - 1) for j in range(s // k + 1))
        return 1 - sum(signed) / math.comb(n, s)

    chances = [at_least(k) for k in range(1, s + 1)]
    mean = sum(chances)
    return mean, sum((2 * k + 1) * chance for k, chance in enumerate(chances)) - mean**2


def shares(orders: Orders, size: int) -> NDArray[np.int64]:
    """How many of each class are in each batch, both of ``size``: (m, batches, classes)."""
    m, n = orders.shape
    k = n // size
    cells = orders // size + k * (np.arange(m * n) // size).reshape(m, n)
    return np.bincount(cells.ravel(), minlength=m * k * k).reshape(m, k, k)


def class_variance(orders: Orders) -> NDArray[Any]:
    """Of the count of a class in a batch."""
    n = orders.shape[1]
    return ((shares(orders, part(n)) - part(n) ** 2 / n) ** 2).mean((1, 2))


def class_variance_moments(n: int) -> tuple[float, float]:
    """Haldane, 1940, and Dawson, 1954, of chi-square, in a table with fixed margins."""
    k, scale = n // part(n), part(n) ** 4 / n**3
    return scale * n * (k - 1) ** 2 / (n - 1), scale**2 * 2 * n / (n - 3) * ((k - 1) * (n - k) / (n - 1)) ** 2


# ---- many orders ----


def positions(orders: Orders, size: int = 1) -> Finding:
    """Where ``size`` neighboring indices come to be, in all orders together: as many positions are a cell.

    That an order has just ``size`` in each row and each column makes chi-square larger by n / (n - 1).
    """
    m, n = orders.shape
    return chi_square(shares(orders, size).sum(0), m * size**2 / n, (n // size - 1) ** 2, (n - 1) / n)


def fixed_points_counted(orders: Orders) -> Finding:
    """How many orders have 0, 1, 2, 3 and more fixed points: Poisson(1), but for 1 / n!."""
    chances = [math.exp(-1) / math.factorial(k) for k in range(4)]
    chances.append(1 - sum(chances))
    counts = np.bincount(np.minimum(fixed_points(orders), 4), minlength=5)
    return chi_square(counts, len(orders) * np.array(chances), 4)


def _counts(orders: Orders) -> NDArray[np.int64]:
    return np.unique(orders, axis=0, return_counts=True)[1]


def all_orders(orders: Orders) -> Finding:
    """How often each of the n! orders is there."""
    cells = math.factorial(orders.shape[1])
    counts = np.zeros(cells)
    seen = _counts(orders)
    counts[: len(seen)] = seen
    return chi_square(counts, len(orders) / cells, cells - 1)


def equal_pairs(orders: Orders) -> Finding:
    """Pairs of orders that are equal: about Poisson, where n! is not much less than the number of pairs."""
    counts, (m, n) = _counts(orders), orders.shape
    found, theory = int((counts * (counts - 1) // 2).sum()), m * (m - 1) / 2 / math.factorial(n)
    below, at, mean = torch.tensor([found, found + 1, theory], dtype=torch.float64)
    tails = torch.special.gammainc(below, mean), torch.special.gammaincc(at, mean)  # at least so many, at most
    return Finding(found, theory, math.sqrt(theory), min(1.0, 2 * float(min(tails))))


STATISTICS: dict[str, Callable[[Orders], Finding]] = {
    "correlation of position and index": Mean(correlation, lambda n: (0.0, 1 / (n - 1))),
    "correlation of neighbors": Mean(serial_correlation, serial_correlation_moments),
    "distance of neighbors": Mean(
        distance, lambda n: ((n + 1) / 3, (n - 2) * (n + 1) * (4 * n - 7) / (90 * (n - 1) ** 2))
    ),
    "i + 1 right after i": Mean(followers, followers_moments),
    "fixed points": Mean(fixed_points, lambda n: (1.0, 1.0)),
    "fixed points, counted": fixed_points_counted,
    "cycles": Mean(cycles, cycles_moments),
    "parity: even minus odd": Mean(sign, lambda n: (0.0, 1.0)),
    "runs of a class": Mean(class_runs, class_runs_moments),
    "longest run of a class": Mean(longest_run, longest_run_moments),
    "variance of a class's count in a batch": Mean(class_variance, class_variance_moments),
    "classes by position": lambda orders: positions(orders, part(orders.shape[1])),
}
