"""Batches as structures: lists, tuples and mappings of leaves."""

from collections.abc import Callable, Mapping, MutableMapping
from copy import copy
from typing import Any

__all__ = ["mapped", "same_mapping"]


def mapped(batch: Any, is_leaf: Callable[[Any], bool], change: Callable[[Any], Any]) -> Any:
    """The same structure, its leaves changed; what is neither leaf nor container stays as it is."""
    if is_leaf(batch):
        return change(batch)
    if isinstance(batch, Mapping):
        return same_mapping(batch, {key: mapped(value, is_leaf, change) for key, value in batch.items()})
    if isinstance(batch, list | tuple):
        values = (mapped(value, is_leaf, change) for value in batch)
        return type(batch)(*values) if hasattr(batch, "_fields") else type(batch)(values)
    return batch


def same_mapping(batch: Mapping[Any, Any], changed: dict[Any, Any]) -> Any:
    """A mapping of the same type, with other values."""
    if isinstance(batch, MutableMapping):
        same = copy(batch)  # with whatever else the mapping knows
        same.update(changed)
        return same
    try:
        return type(batch)(changed)  # type: ignore[call-arg]
    except TypeError:  # a mapping that is not made of a dict
        return changed
