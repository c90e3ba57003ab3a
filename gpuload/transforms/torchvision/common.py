"""What the makers of torchvision's transforms share."""

from collections.abc import Sequence
from typing import Any

from gpuload.errors import ArgumentError
from gpuload.transforms.hand import Form, Hand, Native, qualified_name

__all__ = ["V1", "V2", "fill_of", "fills_of", "is_v1", "nothing"]

V1, V2 = "torchvision.transforms.transforms.", "torchvision.transforms.v2."


def is_v1(transform: Any) -> bool:
    """Is it of torchvision's first version?"""
    return qualified_name(transform).startswith(V1)


def fills_of(transform: Any, hand: Hand) -> Any:
    """The color that it pads with, and that of masks: v2 asks a dict that it made of ``fill`` once, by exact type.

    Raises:
        ArgumentError: torchvision refuses this one here.
    """
    if not qualified_name(transform).startswith(V2):
        return fill_of(transform, hand)
    masks = [fill for kind, fill in transform._fill.items() if getattr(kind, "__name__", "") == "Mask"]
    return {"image": fill_of(transform, hand), "mask": masks[0] if masks else transform._fill.get("others")}


def fill_of(transform: Any, hand: Hand) -> Any:
    """The color alone. Errors as of `fills_of`."""
    if not qualified_name(transform).startswith(V2):
        return _checked(transform.fill, hand, (1, hand.channels) if hand.form is Form.PIL else ())
    fill = transform._fill.get(hand.form.type, transform._fill.get("others"))
    return _checked(fill, hand, (1, hand.channels))


def _checked(fill: Any, hand: Hand, lengths: tuple[int, ...]) -> Any:
    if isinstance(fill, Sequence) and len(fill) not in lengths:
        raise ArgumentError(f"torchvision takes no fill={fill!r} for {hand}")
    if not isinstance(fill, Sequence | int | float | None):
        raise ArgumentError(f"torchvision does something else with fill={fill!r}")
    return fill


def nothing(transform: Any, hand: Hand) -> Native:
    """What leaves the pixels as they are."""
    return []
