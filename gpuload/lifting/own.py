"""Is it torchvision's own? What a user or another library has put in the place of a function is not."""

import sys
from types import FunctionType
from typing import Any

from gpuload.lifting.images import Transforms
from gpuload.lifting.plain import Refusal, attribute, check_methods, of_class, written_in

__all__ = ["DATASETS", "check_lengths", "is_own", "joint", "own_method", "separate"]

DATASETS = "torchvision.datasets."


def own_method(cls: type, name: str) -> FunctionType | None:
    """A class's method, where it is one of torchvision's datasets', as torchvision wrote it."""
    owner = next((base for base in cls.__mro__ if name in vars(base)), object)
    return vars(owner)[name] if is_own(vars(owner).get(name), owner.__module__) else None


def is_own(function: Any, module: str) -> bool:
    """Was the function written in this module of torchvision's? One that was put in its place was not."""
    return module.startswith(DATASETS) and written_in(function, module)


# ---- what it calls ----


def separate(dataset: Any) -> Transforms:
    """``transform`` and ``target_transform``, each called where it is not None."""
    return Transforms(attribute(dataset, "transform"), attribute(dataset, "target_transform"))


def joint(dataset: Any) -> Transforms:
    """``transforms``, which holds the two; `transform` itself is not asked."""
    both, standard = attribute(dataset, "transforms"), sys.modules[DATASETS + "vision"].StandardTransform
    if both is None:
        return Transforms(None, None)
    if type(both) is not standard or own_method(standard, "__call__") is None:
        raise Refusal("its transforms take image and target together")
    check_methods(both, {"__call__": of_class(standard, "__call__")})
    return separate(both)


def check_lengths(lists: dict[str, Any]) -> None:
    """They have one length.

    Raises:
        Refusal: else a negative index would mean different samples.
    """
    if len({len(listed) for listed in lists.values()}) > 1:
        shown = " and ".join(f"{len(listed)} {name}" for name, listed in lists.items())
        raise Refusal(f"it has {shown}")
