"""Do two transforms do the same?"""

from typing import Any

import numpy as np
import torch

__all__ = ["same_transform"]

KNOWN = (
    "gpuload.transforms.",
    "torchvision.transforms.",
    "timm.data.transforms",
    "timm.data.random_erasing",
)  # whose objects are what their attributes say
PLAIN = (bool, int, float, str, bytes, type(None))


def same_transform(a: Any, b: Any) -> bool:
    """One object; equal ones; or of one class of `KNOWN` transforms, with equal attributes.

    Functions of a user's, lambdas say, are the same only where they are one object.
    """
    if a is b:
        return True
    if type(a) is not type(b):
        return False
    match a:
        case torch.Tensor():
            return a.dtype == b.dtype and a.device == b.device and torch.equal(a, b)
        case list() | tuple():
            return len(a) == len(b) and all(map(same_transform, a, b))
        case set() | frozenset():
            return bool(a == b)
        case np.ndarray():
            return a.dtype == b.dtype and np.array_equal(a, b)
        case dict():
            return list(a) == list(b) and all(same_transform(a[key], b[key]) for key in a)
    if type(a).__module__.startswith(KNOWN):
        return same_transform(vars(a), vars(b))
    return isinstance(a, PLAIN) and bool(a == b)
