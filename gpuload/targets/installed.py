"""torchvision, where it is installed: what it does with masks, boxes and keypoints is right, so it does it here, too.

This is the only module of the library that imports it.
"""

import importlib
from functools import cache
from importlib.util import find_spec
from typing import Any

from gpuload.errors import MissingError

__all__ = ["functional", "has_tv_tensors", "tv_tensors"]


def _imported(module: str, what: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingError(f"{what} torchvision, which does not import ({error}): pip install torchvision") from error


@cache
def functional() -> Any:
    """The module ``torchvision.transforms.v2.functional``.

    Raises:
        MissingError: torchvision is not installed.
    """
    return _imported("torchvision.transforms.v2.functional", "what moves boxes and keypoints, and turns masks, is in")


@cache
def tv_tensors() -> Any:
    """The module ``torchvision.tv_tensors``.

    Raises:
        MissingError: torchvision is not installed.
    """
    return _imported("torchvision.tv_tensors", "boxes and keypoints are tv_tensors of")


@cache
def has_tv_tensors() -> bool:
    """Is torchvision installed? Then a mask is its ``tv_tensors.Mask``; else a plain tensor."""
    return find_spec("torchvision") is not None
