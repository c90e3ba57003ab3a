"""Samples that are of different size each: lists in place of one tensor."""

from collections.abc import Sequence
from typing import Any

__all__ = ["listed"]


def listed(samples: Sequence[tuple[Any, ...]]) -> list[list[Any]]:
    """A collate function: of (image, target) samples the list of images and that of targets, each as it is.

    torchvision's detection models take both so.
    """
    return [list(column) for column in zip(*samples, strict=True)]
