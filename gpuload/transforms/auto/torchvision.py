"""torchvision's automatic augmentation as gpuload's, v1 and v2: where its tables are as it ships them.

v1 and v2 have the same effects, but draw otherwise, and round two magnitudes otherwise.
"""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from gpuload.recipes.draws import Draws, Rows
from gpuload.recipes.mix import EFFECTS
from gpuload.recipes.ops import Mask
from gpuload.shipped import is_shipped
from gpuload.transforms.auto.augment import (
    ORDINARY,
    PAIR,
    POLICY_BINS,
    WIDE,
    AutoAugment,
    RandAugment,
    TrivialAugmentWide,
)
from gpuload.transforms.auto.mix import BINS, SCALED as MIX_SCALED, SIGNED as MIX_SIGNED, AugMix, magnitudes
from gpuload.transforms.auto.policies import policy_of, policy_pairs
from gpuload.transforms.auto.space import NAMES, SCALED, SIGNED, Space, amounts
from gpuload.transforms.hand import Form, Hand, Maker, Native
from gpuload.transforms.torchvision.common import fill_of

__all__ = ["MAKERS"]

V1, V2 = "torchvision.transforms.autoaugment.", "torchvision.transforms.v2._auto_augment."
SIZES = (61, 331), (480, 97)  # height, width: what a magnitude makes of them is compared


# ---- the first version's draws ----


class _First:
    first_version = True

    def _negative(self, rows: Rows, draws: Draws) -> Mask:
        return np.asarray(draws.integer(2, rows) == 1)


class FirstRandAugment(_First, RandAugment):
    """``torchvision.transforms.RandAugment``."""


class FirstTrivialAugmentWide(_First, TrivialAugmentWide):
    """``torchvision.transforms.TrivialAugmentWide``."""


class FirstAutoAugment(_First, AutoAugment):
    """``torchvision.transforms.AutoAugment``."""

    def _events(self, pair: NDArray[np.int64], draws: Draws) -> Iterator[tuple[Mask, Mask]]:
        every = np.arange(len(pair))
        shares = [draws.uniform(0.0, 1.0, every) for _ in range(PAIR)]
        signs = [draws.integer(2, every) for _ in range(PAIR)]
        return ((shares[turn] <= self._p[pair, turn], signs[turn] == 0) for turn in range(PAIR))


class FirstAugMix(_First, AugMix):
    """``torchvision.transforms.AugMix``."""

    version = 1


# ---- is what v2 chooses from its own? ----


def _space_is(transform: Any, names: tuple[str, ...], space: Space, bins: int) -> bool:
    """Are these the operations, in this order, and are their magnitudes the space's?"""
    given, own = transform._AUGMENTATION_SPACE, f"{type(transform).__name__}.<lambda>"
    return list(given) == list(names) and all(
        signed is bool(SIGNED[NAMES.index(name)])
        and is_shipped(function, "torchvision", own)
        and all(_magnitudes_are(function, name, space, bins, *size) for size in SIZES)
        for name, (function, signed) in given.items()
    )


def _magnitudes_are(function: Callable[..., Any], name: str, space: Space, bins: int, height: int, width: int) -> bool:
    number, theirs = NAMES.index(name), function(bins, height, width)
    if theirs is None or not SCALED[number]:
        return theirs is None and not SCALED[number]
    every = np.full(bins, number), np.arange(bins), np.full(bins, height), np.full(bins, width)
    ours = amounts(space, bins).of(*every)
    scale = np.ceil(255.0 * theirs.double().numpy()) if name == "Solarize" else theirs.double().numpy()
    return np.array_equal(ours, scale)


def _mixes_from(given: dict[str, Any], names: tuple[str, ...]) -> bool:
    """The same of AugMix: shifts are compared by a size."""
    return list(given) == list(names) and all(
        signed is bool(MIX_SIGNED[number])
        and is_shipped(function, "torchvision", "AugMix.<lambda>")
        and _mixes_alike(function(BINS, 61, 331), number)
        for number, (function, signed) in enumerate(given.values())
    )


def _mixes_alike(theirs: torch.Tensor | None, number: int) -> bool:
    if theirs is None or not MIX_SCALED[number]:
        return theirs is None and not MIX_SCALED[number]
    name = EFFECTS[number]
    if name.startswith("Translate"):
        return torch.equal(theirs, torch.linspace(0.0, (331 if name == "TranslateX" else 61) / 3.0, BINS))
    scale = (theirs.double() * 255.0).float().ceil() if name == "Solarize" else theirs
    return np.array_equal(scale.double().numpy(), magnitudes(2)[number])


# ---- makers ----

CHOSEN = NAMES[: NAMES.index("Invert")]


def _look(transform: Any, hand: Hand) -> dict[str, Any]:
    return {"interpolation": transform.interpolation, "fill": fill_of(transform, hand)}


def _rand_augment(transform: Any, hand: Hand) -> Native | None:
    if not _space_is(transform, CHOSEN, ORDINARY, transform.num_magnitude_bins):
        return None
    given = transform.num_ops, transform.magnitude, transform.num_magnitude_bins
    return [RandAugment(*given, **_look(transform, hand))]


def _trivial_augment(transform: Any, hand: Hand) -> Native | None:
    bins = transform.num_magnitude_bins
    return [TrivialAugmentWide(bins, **_look(transform, hand))] if _space_is(transform, CHOSEN, WIDE, bins) else None


def _auto_augment(transform: Any, hand: Hand) -> Native | None:
    is_same = transform._policies == policy_pairs(policy_of(transform.policy))
    if not is_same or not _space_is(transform, NAMES[1:], ORDINARY, POLICY_BINS):
        return None
    return [AutoAugment(transform.policy, **_look(transform, hand))]


def _first_rand_augment(transform: Any, hand: Hand) -> Native:
    given = transform.num_ops, transform.magnitude, transform.num_magnitude_bins
    return [FirstRandAugment(*given, **_look(transform, hand))]


def _first_trivial_augment(transform: Any, hand: Hand) -> Native:
    return [FirstTrivialAugmentWide(transform.num_magnitude_bins, **_look(transform, hand))]


def _first_auto_augment(transform: Any, hand: Hand) -> Native | None:
    if transform.policies != policy_pairs(policy_of(transform.policy)):
        return None
    return [FirstAutoAugment(transform.policy, **_look(transform, hand))]


def _mixing(kind: type[AugMix], transform: Any, hand: Hand) -> Native | None:
    """torchvision has other arithmetic for one channel, and for other numbers of bins."""
    if hand.channels != 3 or transform._PARAMETER_MAX != BINS or not isinstance(transform.alpha, float):
        return None
    given = (getattr(transform, name) for name in ("severity", "mixture_width", "chain_depth", "alpha", "all_ops"))
    return [kind(*given, **_look(transform, hand))]


def _aug_mix(transform: Any, hand: Hand) -> Native | None:
    every, some = transform._AUGMENTATION_SPACE, transform._PARTIAL_AUGMENTATION_SPACE
    is_own = _mixes_from(every, EFFECTS) and _mixes_from(some, EFFECTS[: len(some)])
    return _mixing(AugMix, transform, hand) if is_own else None


def _first_aug_mix(transform: Any, hand: Hand) -> Native | None:
    return _mixing(FirstAugMix, transform, hand)


def _of_pil(make: Maker) -> Maker:
    """On bytes of tensors torchvision computes otherwise; its first version takes no names of filters."""

    def made(transform: Any, hand: Hand) -> Native | None:
        is_first = type(transform).__module__ == V1.removesuffix(".")
        if hand.form is not Form.PIL or (is_first and isinstance(transform.interpolation, str)):
            return None
        return make(transform, hand)

    return made


MAKERS: dict[str, Maker] = {
    f"{V1}RandAugment": _of_pil(_first_rand_augment),
    f"{V1}TrivialAugmentWide": _of_pil(_first_trivial_augment),
    f"{V1}AutoAugment": _of_pil(_first_auto_augment),
    f"{V1}AugMix": _of_pil(_first_aug_mix),
    f"{V2}RandAugment": _of_pil(_rand_augment),
    f"{V2}TrivialAugmentWide": _of_pil(_trivial_augment),
    f"{V2}AutoAugment": _of_pil(_auto_augment),
    f"{V2}AugMix": _of_pil(_aug_mix),
}
