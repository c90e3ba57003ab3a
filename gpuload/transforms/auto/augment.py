"""Automatic augmentation: TrivialAugmentWide, RandAugment and AutoAugment."""

from collections.abc import Iterator
from enum import Enum

import numpy as np
from numpy.typing import NDArray

from gpuload.arguments import at_least
from gpuload.errors import ArgumentError
from gpuload.recipes.draws import Draws, Rows
from gpuload.recipes.ops import Mask
from gpuload.transforms.auto.policies import AutoAugmentPolicy, policy_of, policy_pairs
from gpuload.transforms.auto.space import NAMES, SCALED, SIGNED, Amounts, Choice, Space, amounts, steps_of
from gpuload.transforms.base import Fill, Interpolation, InterpolationMode, Transform, look_of
from gpuload.transforms.plan import Sizes, Steps

__all__ = ["ORDINARY", "PAIR", "POLICY_BINS", "WIDE", "AutoAugment", "RandAugment", "TrivialAugmentWide"]

ORDINARY = Space(shear=0.3, shift=150.0 / 331.0, of_edge=True, turn=30.0, factor=0.9, bits=4)
WIDE = Space(shear=0.99, shift=32.0, of_edge=False, turn=135.0, factor=0.99, bits=6)
IDENTITY, PAIR = NAMES.index("Identity"), 2
ANY = NAMES.index("Invert")  # operations that are chosen from: all before it
POLICY_BINS = 10


class _Augmenting(Transform):
    """What the three share."""

    interpolation: Interpolation
    fill: Fill
    first_version = False  # True: two magnitudes are rounded as in torchvision's v1

    def resolve(self) -> None:
        self._look = look_of(self.interpolation, self.fill)

    def _negative(self, rows: Rows, draws: Draws) -> Mask:
        """Which of ``rows`` get a negative magnitude: one in two."""
        return draws.uniform(0.0, 1.0, rows) <= 0.5

    def _sign(self, choice: Choice, draws: Draws) -> Choice:
        """Some magnitudes negative, in place, where they may be."""
        rows = np.flatnonzero(SIGNED[choice.operation])
        choice.amount[rows[self._negative(rows, draws)]] *= -1
        return choice


def _bins(given: int) -> int:
    return at_least("num_magnitude_bins", given, 2)


class RandAugment(_Augmenting):
    """``torchvision.transforms.v2.RandAugment``: so many operations of 14, each with the same magnitude.

    Args:
        num_ops: how many, one after the other.
        magnitude: which of the magnitudes, from 0 to num_magnitude_bins - 1.
        num_magnitude_bins: how many there are from none to the greatest, at least 2.
        interpolation: of rotations, shears and shifts: nearest, bilinear or bicubic.
        fill: the color beside what they move: a number, or three, from 0 to 255; None is black.
    """

    num_ops: int
    magnitude: int
    num_magnitude_bins: int

    def __init__(
        self,
        num_ops: int = 2,
        magnitude: int = 9,
        num_magnitude_bins: int = 31,
        interpolation: Interpolation = InterpolationMode.NEAREST,
        fill: Fill = None,
    ) -> None:
        super().__init__(
            num_ops=num_ops,
            magnitude=magnitude,
            num_magnitude_bins=num_magnitude_bins,
            interpolation=interpolation,
            fill=fill,
        )

    def resolve(self) -> None:
        super().resolve()
        self._rounds, bins = at_least("num_ops", self.num_ops, 0), _bins(self.num_magnitude_bins)
        self._at = at_least("magnitude", self.magnitude, 0)
        if self._at >= bins:
            raise ArgumentError(f"magnitude must be below num_magnitude_bins={bins}, got {self.magnitude}")
        self._amounts = amounts(ORDINARY, bins, self.first_version)

    def steps(self, height: Sizes, width: Sizes, draws: Draws) -> Steps:
        every = np.arange(len(height))
        for _ in range(self._rounds):
            operation = draws.integer(ANY, every)
            amount = self._amounts.of(operation, np.full(len(height), self._at), height, width)
            yield from steps_of(self._sign(Choice(operation, amount), draws), height, width, self._look)


class TrivialAugmentWide(_Augmenting):
    """``torchvision.transforms.v2.TrivialAugmentWide``: one operation of 14, with any magnitude.

    Args:
        num_magnitude_bins: how many magnitudes there are from none to the greatest, at least 2.
        interpolation, fill: as of `RandAugment`.
    """

    num_magnitude_bins: int

    def __init__(
        self,
        num_magnitude_bins: int = 31,
        interpolation: Interpolation = InterpolationMode.NEAREST,
        fill: Fill = None,
    ) -> None:
        super().__init__(num_magnitude_bins=num_magnitude_bins, interpolation=interpolation, fill=fill)

    def resolve(self) -> None:
        super().resolve()
        self._number = _bins(self.num_magnitude_bins)
        self._amounts = amounts(WIDE, self._number, self.first_version)

    def steps(self, height: Sizes, width: Sizes, draws: Draws) -> Steps:
        operation = draws.integer(ANY, np.arange(len(height)))
        at, scaled = np.zeros(len(height), np.int64), np.flatnonzero(SCALED[operation])
        at[scaled] = draws.integer(self._number, scaled)
        amount = self._amounts.of(operation, at, height, width)
        return steps_of(self._sign(Choice(operation, amount), draws), height, width, self._look)


class AutoAugment(_Augmenting):
    """``torchvision.transforms.v2.AutoAugment``: a pair of operations of a policy, each with its probability.

    Args:
        policy: ``AutoAugmentPolicy.IMAGENET``, ``CIFAR10`` or ``SVHN``.
        interpolation, fill: as of `RandAugment`.
    """

    policy: AutoAugmentPolicy | Enum | str

    def __init__(
        self,
        policy: AutoAugmentPolicy | Enum | str = AutoAugmentPolicy.IMAGENET,
        interpolation: Interpolation = InterpolationMode.NEAREST,
        fill: Fill = None,
    ) -> None:
        super().__init__(policy=policy, interpolation=interpolation, fill=fill)

    def resolve(self) -> None:
        super().resolve()
        pairs = policy_pairs(policy_of(self.policy))
        self._operation = np.array([[NAMES.index(name) for name, _, _ in pair] for pair in pairs])
        self._p = np.array([[float(np.float32(p)) for _, p, _ in pair] for pair in pairs])  # as torch compares them
        self._at = np.array([[at or 0 for _, _, at in pair] for pair in pairs])
        self._amounts: Amounts = amounts(ORDINARY, POLICY_BINS, self.first_version)

    def steps(self, height: Sizes, width: Sizes, draws: Draws) -> Steps:
        pair = draws.integer(len(self._p), np.arange(len(height)))
        for turn, (happens, negative) in enumerate(self._events(pair, draws)):
            operation = np.where(happens, self._operation[pair, turn], IDENTITY)
            amount = self._amounts.of(operation, self._at[pair, turn], height, width)
            amount[negative & SIGNED[operation]] *= -1
            yield from steps_of(Choice(operation, amount), height, width, self._look)

    def _events(self, pair: NDArray[np.int64], draws: Draws) -> Iterator[tuple[Mask, Mask]]:
        """Of both operations, one after the other: for whom it happens, and for whom with a negative magnitude."""
        for turn in range(PAIR):
            happens = draws.uniform(0.0, 1.0, np.arange(len(pair))) <= self._p[pair, turn]
            negative, rows = np.zeros(len(pair), bool), np.flatnonzero(happens & SIGNED[self._operation[pair, turn]])
            negative[rows] = self._negative(rows, draws)
            yield happens, negative
