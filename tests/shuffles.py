"""Shuffles: gpuload's, torch's, and bad ones, each of which some statistic is made to find.

Orders have the shape (seeds, epochs, n), or (m, n) where one shuffle has no epochs.
"""

from functools import cache

import numpy as np
import torch

from gpuload import RandomSampler
from tests.shuffle_statistics import Orders, sign

__all__ = [
    "BAD",
    "SHUFFLES",
    "buffered",
    "from_epoch_to_epoch",
    "from_seed_to_seed",
    "gpuload",
    "ranks",
    "torch_randperm",
]


@cache
def gpuload(n: int, seeds: int, epochs: int) -> Orders:
    samplers = [RandomSampler(range(n), seed=seed) for seed in range(seeds)]
    return np.array([[s.order(epoch).indices(0, n).numpy() for epoch in range(epochs)] for s in samplers])


@cache
def torch_randperm(n: int, seeds: int, epochs: int) -> Orders:
    generators = [torch.Generator().manual_seed(seed) for seed in range(seeds)]
    return np.array(
        [[torch.randperm(n, generator=generator).numpy() for _ in range(epochs)] for generator in generators]
    )


SHUFFLES = {"gpuload": gpuload, "torch.randperm": torch_randperm}


# ---- orders made of orders: uniformly random, too, where those are uniformly random and independent ----


def relative(one: Orders, other: Orders) -> Orders:
    """Where in the other order the sample at each position of the one is."""
    n = one.shape[-1]
    return np.take_along_axis(np.argsort(other.reshape(-1, n), axis=1), one.reshape(-1, n), axis=1)


def from_epoch_to_epoch(orders: Orders) -> Orders:
    return relative(orders[:, :-1], orders[:, 1:])


def from_seed_to_seed(orders: Orders) -> Orders:
    return relative(orders[:-1], orders[1:])


def ranks(indices: Orders, n: int) -> Orders:
    """Which index is the smallest, the next one, ... in each stretch of ``n`` positions."""
    stretches = indices[: len(indices) // n * n].reshape(-1, n)
    return np.argsort(np.argsort(stretches, axis=1), axis=1)


# ---- bad ones ----


def _random() -> np.random.RandomState:
    return np.random.RandomState(0)  # its numbers are the same in every version of NumPy


def _uniform(m: int, n: int) -> Orders:
    return np.argsort(_random().random_sample((m, n)), axis=1)


def buffered(m: int, n: int, size: int = 100) -> Orders:
    """tf.data's, WebDataset's: any of ``size`` samples is the next, and the sample after these takes its place."""
    random, rows = _random(), np.arange(m)
    buffer, orders = np.tile(np.arange(size), (m, 1)), np.empty((m, n), np.int64)
    for position in range(n - size):
        taken = random.randint(size, size=m)
        orders[:, position] = buffer[rows, taken]
        buffer[rows, taken] = position + size
    orders[:, n - size :] = np.take_along_axis(buffer, _uniform(m, size), axis=1)
    return orders


def in_shards(m: int, n: int, size: int = 10) -> Orders:
    """Shards of ``size`` samples in random order, each as it is."""
    return (_uniform(m, n // size)[:, :, None] * size + np.arange(size)).reshape(m, n)


def affine(m: int, n: int) -> Orders:
    """Index a * i + b modulo n at position i."""
    random, coprime = _random(), np.flatnonzero(np.gcd(np.arange(n), n) == 1)
    a, b = random.choice(coprime, (m, 1)), random.randint(n, size=(m, 1))
    return (a * np.arange(n) + b) % n


def swapped(m: int, n: int) -> Orders:
    """Each position swapped with any, instead of with one from there on."""
    random, rows = _random(), np.arange(m)
    orders = np.tile(np.arange(n), (m, 1))
    for position in range(n):
        other = random.randint(n, size=m)
        orders[rows, position], orders[rows, other] = orders[rows, other], orders[rows, position].copy()
    return orders


def in_one_cycle(m: int, n: int) -> Orders:
    """Sattolo's: each position swapped with a later one, never itself."""
    way = _uniform(m, n)
    orders = np.empty_like(way)
    np.put_along_axis(orders, way, np.roll(way, -1, axis=1), axis=1)
    return orders


def even(m: int, n: int) -> Orders:
    """Half of all orders: what a Feistel network gives whose sides are powers of 2, above 2."""
    orders = _uniform(m, n)
    odd = sign(orders) < 0
    orders[odd, 0], orders[odd, 1] = orders[odd, 1], orders[odd, 0]
    return orders


def rotated(m: int, n: int) -> Orders:
    """From epoch to epoch, where each has the same order, begun one further on."""
    return np.tile(np.roll(np.arange(n), 1), (m, 1))


BAD = {
    "shuffle buffer": buffered,
    "shards": in_shards,
    "affine": affine,
    "swapped with any": swapped,
    "one cycle": in_one_cycle,
    "even": even,
    "rotated": rotated,
}
