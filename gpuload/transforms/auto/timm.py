"""timm's automatic augmentation of PIL images: its RandAugment and AutoAugment, and what they choose from.

timm draws with Python's ``random``, and what RandAugment chooses with numpy's; of the same numbers, the same pixels are
made here.

Source: ``timm/data/auto_augment.py`` of timm 1.0.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gpuload.arguments import color
from gpuload.recipes.adjust import Adjust, Adjustment, box_radius
from gpuload.recipes.draws import Draws, PythonDraws, Rows
from gpuload.recipes.ops import Filter, Mask
from gpuload.recipes.warp import WARP_FILTERS, Warp, rotation
from gpuload.transforms.base import Transform, filter_of
from gpuload.transforms.hand import Form, Hand, Maker, Native
from gpuload.transforms.plan import Sizes, Steps

__all__ = ["INCREASING", "MAKERS", "Op", "TimmAutoAugment", "TimmRandAugment"]

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
MOST = 10.0  # a magnitude, unless told otherwise


class Kind(NamedTuple):
    """An operation of timm's.

    Attributes:
        function, level: the names of timm's functions for it.
        amount: what a share of the greatest magnitude, from 0.0, makes of it; other shares give more.
        adjustment: of colors; None: it moves pixels.
        signed: one in two times that counts the other way.
    """

    function: str
    level: str | None
    amount: Callable[[Floats], Floats]
    adjustment: Adjustment | None = None
    signed: bool = False


def _scaled(factor: float) -> Callable[[Floats], Floats]:
    return lambda share: share * factor


def _whole(factor: float, most: float = math.inf) -> Callable[[Floats], Floats]:
    return lambda share: np.minimum(most, np.trunc(share * factor))


def _enhanced(name: str, adjustment: Adjustment) -> dict[str, Kind]:
    """The two ways in which timm takes a factor from a magnitude."""
    function, increasing = name.lower(), "_enhance_increasing_level_to_arg"
    return {
        name: Kind(function, "_enhance_level_to_arg", lambda share: share * 1.8 + 0.1, adjustment),
        f"{name}Increasing": Kind(function, increasing, _scaled(0.9), adjustment, signed=True),
    }


MINMAX = "_minmax_level_to_arg"
SHEAR, TURN, BITS, SOLARIZED = _scaled(0.3), _scaled(30.0), _whole(4), _whole(256, most=256)
KINDS: dict[str, Kind] = {
    "AutoContrast": Kind("auto_contrast", None, np.zeros_like, Adjustment.AUTOCONTRAST),
    "Equalize": Kind("equalize", None, np.zeros_like, Adjustment.EQUALIZE),
    "Invert": Kind("invert", None, np.zeros_like, Adjustment.SOLARIZE),  # from 0 on
    "Rotate": Kind("rotate", "_rotate_level_to_arg", TURN, signed=True),
    "Posterize": Kind("posterize", "_posterize_level_to_arg", BITS, Adjustment.POSTERIZE),
    "PosterizeIncreasing": Kind(
        "posterize", "_posterize_increasing_level_to_arg", lambda share: 4 - BITS(share), Adjustment.POSTERIZE
    ),
    "PosterizeOriginal": Kind(
        "posterize", "_posterize_original_level_to_arg", lambda share: 4 + BITS(share), Adjustment.POSTERIZE
    ),
    "Solarize": Kind("solarize", "_solarize_level_to_arg", SOLARIZED, Adjustment.SOLARIZE),
    "SolarizeIncreasing": Kind(
        "solarize", "_solarize_increasing_level_to_arg", lambda share: 256 - SOLARIZED(share), Adjustment.SOLARIZE
    ),
    "SolarizeAdd": Kind("solarize_add", "_solarize_add_level_to_arg", _whole(110, most=128), Adjustment.SOLARIZE_ADD),
    **_enhanced("Color", Adjustment.ADJUST_SATURATION),
    **_enhanced("Contrast", Adjustment.ADJUST_CONTRAST),
    **_enhanced("Brightness", Adjustment.ADJUST_BRIGHTNESS),
    **_enhanced("Sharpness", Adjustment.ADJUST_SHARPNESS),
    "Desaturate": Kind(
        "desaturate",
        f"{MINMAX}(0.5, 1.0)",
        lambda share: 1.0 - np.minimum(1.0, 0.5 + 0.5 * share),
        Adjustment.ADJUST_SATURATION,
    ),
    "GaussianBlur": Kind(
        "gaussian_blur", f"{MINMAX}(0.1, 2.0)", lambda share: np.minimum(2.0, 0.1 + 1.9 * share), Adjustment.BLUR
    ),
    "GaussianBlurRand": Kind("gaussian_blur_rand", MINMAX, lambda share: np.minimum(1.0, share), Adjustment.BLUR),
    "ShearX": Kind("shear_x", "_shear_level_to_arg", SHEAR, signed=True),
    "ShearY": Kind("shear_y", "_shear_level_to_arg", SHEAR, signed=True),
    "TranslateX": Kind("translate_x_abs", "_translate_abs_level_to_arg", _scaled(1.0), signed=True),
    "TranslateY": Kind("translate_y_abs", "_translate_abs_level_to_arg", _scaled(1.0), signed=True),
    "TranslateXRel": Kind("translate_x_rel", "_translate_rel_level_to_arg", _scaled(1.0), signed=True),
    "TranslateYRel": Kind("translate_y_rel", "_translate_rel_level_to_arg", _scaled(1.0), signed=True),
}


INCREASING = (  # what timm's RandAugment chooses from, with "inc1"
    "AutoContrast", "Equalize", "Invert", "Rotate", "PosterizeIncreasing", "SolarizeIncreasing", "SolarizeAdd",
    "ColorIncreasing", "ContrastIncreasing", "BrightnessIncreasing", "SharpnessIncreasing", "ShearX", "ShearY",
    "TranslateXRel", "TranslateYRel",
)  # fmt: skip


class Op(NamedTuple):
    """One of timm's ``AugmentOp``.

    Attributes:
        name: of `KINDS`.
        p: its probability.
        magnitude: from 0.
        std: of a normal distribution around that; inf: from 0 to that, any is as likely; 0: always that.
        most: no magnitude is greater.
        reach: how far the greatest ordinary magnitude shifts: pixels, or a share of the edge.
        filters: of what moves pixels, to be chosen from.
        fill: the color beside it.
    """

    name: str
    p: float
    magnitude: float
    std: float
    most: float
    reach: float
    filters: tuple[Filter, ...]
    fill: tuple[int, int, int]

    def steps(self, rows: Rows, height: Sizes, width: Sizes, draws: Draws) -> Steps:
        """What it does to these samples of a batch: with its probability, and as much as is drawn."""
        if self.p < 1.0:
            rows = rows[draws.uniform(0.0, 1.0, rows) <= self.p]
        kind, amount = KINDS[self.name], self._amount(rows, draws)
        if kind.adjustment is not None:
            kept = rows if kind.adjustment is not Adjustment.POSTERIZE else rows[amount < 8]
            if kind.adjustment is Adjustment.BLUR:
                amount = box_radius(self._radius(amount, rows, draws))
            yield Adjust(kind.adjustment, _spread(amount, rows, len(height))), _mask(kept, len(height))
            return
        number = draws.integer(len(self.filters), rows) if len(self.filters) > 1 else np.zeros_like(rows)
        numbers = np.zeros((len(height), 6))
        numbers[rows] = self._numbers(amount, height[rows], width[rows])
        for place, filter in enumerate(self.filters):
            yield Warp(numbers, filter, self.fill), _mask(rows[number == place], len(height))

    def _amount(self, rows: Rows, draws: Draws) -> Floats:
        """How much: (len(rows),)."""
        kind, magnitude = KINDS[self.name], np.full(len(rows), float(self.magnitude))
        if self.std == math.inf:
            magnitude *= draws.uniform(0.0, 1.0, rows)
        elif self.std > 0:
            magnitude += draws.normal(rows) * self.std
        share = np.clip(magnitude, 0.0, self.most) / MOST
        amount = kind.amount(share * self.reach if self.name.startswith("Translate") else share)
        if kind.signed:
            amount = np.where(draws.uniform(0.0, 1.0, rows) > 0.5, -amount, amount)
        return np.maximum(0.1, 1.0 + amount) if self.name.endswith("Increasing") and kind.signed else amount

    def _radius(self, amount: Floats, rows: Rows, draws: Draws) -> Floats:
        if self.name == "GaussianBlur":
            return amount
        return 0.1 + (2.0 * amount - 0.1) * draws.uniform(0.0, 1.0, rows)

    def _numbers(self, amount: Floats, height: Sizes, width: Sizes) -> Floats:
        if self.name == "Rotate":
            return rotation(amount, width / 2, height / 2)
        numbers = np.tile([1.0, 0.0, 0.0, 0.0, 1.0, 0.0], (len(amount), 1))
        if self.name.endswith("Rel"):
            amount = amount * (width if self.name == "TranslateXRel" else height)
        numbers[:, PLACES[self.name.removesuffix("Rel")]] = amount
        return numbers


PLACES = {"ShearX": 1, "TranslateX": 2, "ShearY": 3, "TranslateY": 5}  # among the numbers of an affine map


def _mask(rows: Rows, count: int) -> Mask:
    mask = np.zeros(count, bool)
    mask[rows] = True
    return mask


def _spread(amount: Floats, rows: Rows, count: int) -> Floats:
    spread = np.zeros(count)
    spread[rows] = amount
    return spread


class _Augmenting(Transform):
    """Operations, of which some are chosen for each sample."""

    def _one(self, ops: Sequence[Op], number: Integers, height: Sizes, width: Sizes, draws: Draws) -> Steps:
        """Of these operations one for each sample; a negative number is none."""
        for place, op in enumerate(ops):
            rows = np.flatnonzero(number == place)
            if len(rows):
                yield from op.steps(rows, height, width, draws)


class TimmRandAugment(_Augmenting):
    """timm's ``RandAugment``: so many operations, one after the other, each with its probability.

    Args:
        ops: to choose from, at least one.
        num_layers: how many are chosen.
        weights: how likely each is, of those that were not chosen yet; None: all alike, each time.
    """

    ops: Sequence[Op]
    num_layers: int
    weights: Sequence[float] | None

    def __init__(self, ops: Sequence[Op], num_layers: int = 2, weights: Sequence[float] | None = None) -> None:
        super().__init__(ops=ops, num_layers=num_layers, weights=weights)

    def steps(self, height: Sizes, width: Sizes, draws: Draws) -> Steps:
        draws = draws.of_python()
        for number in self._chosen(len(height), draws):
            yield from self._one(self.ops, number, height, width, draws)

    def _chosen(self, count: int, draws: Draws) -> list[Integers]:
        if isinstance(draws, PythonDraws):  # of one sample, and timm asks numpy
            chosen = np.random.choice(len(self.ops), self.num_layers, self.weights is None, self.weights)
            return [np.array([number]) for number in chosen]
        every = np.arange(count)
        if self.weights is None:
            return [draws.integer(len(self.ops), every) for _ in range(self.num_layers)]
        left, numbers = np.tile(np.array(self.weights, float), (count, 1)), []
        for _ in range(self.num_layers):
            ends = left.cumsum(axis=1)
            drawn = draws.uniform(0.0, 1.0, every) * ends[:, -1]
            numbers.append(np.minimum((ends <= drawn[:, None]).sum(axis=1), len(self.ops) - 1))
            left[every, numbers[-1]] = 0.0
        return numbers


class TimmAutoAugment(_Augmenting):
    """timm's ``AutoAugment``: one of several rows of operations.

    Args:
        policy: the rows, at least one.
    """

    policy: Sequence[Sequence[Op]]

    def __init__(self, policy: Sequence[Sequence[Op]]) -> None:
        super().__init__(policy=policy)

    def steps(self, height: Sizes, width: Sizes, draws: Draws) -> Steps:
        draws = draws.of_python()
        chosen = draws.integer(len(self.policy), np.arange(len(height)))
        for turn in range(max(map(len, self.policy))):
            ops = [row[turn] for row in self.policy if turn < len(row)]
            ends = np.cumsum([turn < len(row) for row in self.policy])
            has = np.array([turn < len(row) for row in self.policy])
            yield from self._one(ops, np.where(has[chosen], ends[chosen] - 1, -1), height, width, draws)


# ---- timm's classes as these, for `lifted` ----


def _ops(given: Sequence[Any]) -> list[Op] | None:
    ops = [_op(one) for one in given]
    return None if None in ops or not ops else [op for op in ops if op is not None]


def _op(given: Any) -> Op | None:
    """One ``AugmentOp``; None: it does something else than it was made for, or something that gpuload cannot."""
    kind = KINDS.get(given.name)
    if kind is None or type(given).__module__ != HOME or type(given).__name__ != "AugmentOp":
        return None
    if _name(given.aug_fn) != kind.function or _name(given.level_fn) != kind.level:
        return None
    filters = given.kwargs["resample"]
    filters = tuple(map(filter_of, filters if isinstance(filters, list | tuple) else (filters,)))
    if not all(filter in WARP_FILTERS for filter in filters):
        return None
    reach = given.hparams.get("translate_pct", 0.45) if given.name.endswith("Rel") else given.hparams["translate_const"]
    most = given.magnitude_max or MOST
    fill = color(given.kwargs["fillcolor"])
    return Op(given.name, given.prob, given.magnitude, given.magnitude_std, most, reach, filters, fill)


def _name(function: Any) -> str | None:
    """The name of a function of timm's, and what is filled in."""
    if isinstance(function, partial):
        return f"{_name(function.func)}({', '.join(map(str, function.keywords.values()))})"
    return function.__name__ if getattr(function, "__module__", None) == HOME else None


def _rand_augment(transform: Any, hand: Hand) -> Native | None:
    ops, weights = _ops(transform.ops), transform.choice_weights
    if hand.form is not Form.PIL or ops is None:
        return None
    return [TimmRandAugment(ops, transform.num_layers, None if weights is None else tuple(weights))]


def _auto_augment(transform: Any, hand: Hand) -> Native | None:
    policy = [_ops(row) for row in transform.policy]
    if hand.form is not Form.PIL or not policy or None in policy:
        return None
    return [TimmAutoAugment([row for row in policy if row is not None])]


HOME = "timm.data.auto_augment"
MAKERS: dict[str, Maker] = {f"{HOME}.RandAugment": _rand_augment, f"{HOME}.AutoAugment": _auto_augment}
