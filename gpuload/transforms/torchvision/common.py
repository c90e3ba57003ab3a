"""What the makers of torchvision's transforms share."""

from collections.abc import Sequence
from typing import Any

from gpuload.errors import ArgumentError
from gpuload.transforms.hand import Form, Hand, Native, qualified_name

__all__ = ["V1", "V2", "fill_of", "is_v1", "nothing"]

V1, V2 = "torchvision.transforms.transforms.", "torchvision.transforms.v2."


def is_v1(transform: Any) -> bool:
    """Is it of torchvision's first version?"""
    return qualified_name(transform).startswith(V1)


def fill_of(transform: Any, hand: Hand) -> Any:
    """The color that it pads with: v2 asks a dict that it made of ``fill`` once.

    Raises:
        ArgumentError: torchvision has other colors for other types, or refuses this one here.
    """
    if not qualified_name(transform).startswith(V2):
        fill, lengths = transform.fill, (1, hand.channels) if hand.form is Form.PIL else ()
    else:
        if transform._fill.keys() != {"others"}:
            raise ArgumentError(f"fill={transform.fill!r} is of several types")
        fill, lengths = transform._fill["others"], (1, hand.channels)
    if isinstance(fill, Sequence) and len(fill) not in lengths:
        raise ArgumentError(f"torchvision takes no fill={fill!r} for {hand}")
    if not isinstance(fill, Sequence | int | float | None):
        raise ArgumentError(f"torchvision does something else with fill={fill!r}")
    return fill


def nothing(transform: Any, hand: Hand) -> Native:
    """What leaves the pixels as they are."""
    return []
