"""What is remembered of the user's objects from one epoch to the next."""

import weakref
from typing import Any, Generic, TypeVar

__all__ = ["Remembered"]

T = TypeVar("T")


class Remembered(Generic[T]):
    """A value for each of some objects.

    By identity, so that objects need no hash; an object is not kept alive, and its value goes when it goes.
    """

    def __init__(self) -> None:
        self._values: dict[int, tuple[weakref.ref[Any], T]] = {}

    def get(self, thing: object) -> T | None:
        """The value of ``thing``; None: there is none."""
        reference, value = self._values.get(id(thing), (None, None))
        return value if reference is not None and reference() is thing else None

    def put(self, thing: object, value: T) -> None:
        """Remember a value in place of the one before."""
        key, values = id(thing), self._values

        def forget(reference: "weakref.ref[Any]") -> None:
            if key in values and values[key][0] is reference:
                del values[key]

        values[key] = weakref.ref(thing, forget), value

    def __len__(self) -> int:
        return len(self._values)
