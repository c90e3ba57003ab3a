"""What torchvision's datasets have in common: which transforms they call, and lists of one length."""

import sys
from typing import Any

from gpuload.lifting.images import Transforms
from gpuload.lifting.plain import Refusal, attribute, check_methods

__all__ = ["DATASETS", "check_lengths", "joint", "separate"]

DATASETS = "torchvision.datasets"


def separate(dataset: Any) -> Transforms:
    """``transform`` and ``target_transform``, each called where it is not None."""
    return Transforms(attribute(dataset, "transform"), attribute(dataset, "target_transform"))


def joint(dataset: Any) -> Transforms:
    """``transforms``, which holds the two; `transform` itself is not asked."""
    both, standard = attribute(dataset, "transforms"), sys.modules[f"{DATASETS}.vision"].StandardTransform
    if both is None:
        return Transforms(None, None)
    if type(both) is not standard:
        raise Refusal("its transforms take image and target together")
    check_methods(both, DATASETS, ("__call__",))
    return separate(both)


def check_lengths(lists: dict[str, Any]) -> None:
    """They have one length.

    Raises:
        Refusal: else a negative index would mean different samples.
    """
    if len({len(listed) for listed in lists.values()}) > 1:
        shown = " and ".join(f"{len(listed)} {name}" for name, listed in lists.items())
        raise Refusal(f"it has {shown}")
