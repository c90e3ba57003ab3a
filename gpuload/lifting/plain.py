"""Is an object what its class says? What a user has put in a method's or an attribute's place is never passed over."""

import sys
from collections.abc import Mapping
from types import FunctionType
from typing import Any, NamedTuple

from torch.utils.data import Dataset

__all__ = ["Refusal", "Unknown", "attribute", "check_methods", "of_class", "written_in"]

LOOKED_UP = {  # how Python finds an attribute: a dataset with ways of its own may have anything
    "__getattribute__": object.__getattribute__,
    "__getattr__": vars(Dataset).get("__getattr__"),
}


class Unknown(NamedTuple):
    """A dataset that torch's own workers read.

    Attributes:
        reason: why, in words: "Photos overrides __getitem__".
    """

    reason: str


class Refusal(Exception):  # noqa: N818  # no error: whoever catches it goes another way
    """A dataset that is not lifted; the message is the reason."""


def of_class(cls: type, name: str) -> Any:
    """What a class or the bases it inherits from have under a name, as it stands there; None: nothing."""
    return next((vars(base)[name] for base in cls.__mro__ if name in vars(base)), None)


def written_in(function: Any, module: str) -> bool:
    """Was the function written in this module? One that was put in its place was not."""
    home = sys.modules.get(module)
    return home is not None and isinstance(function, FunctionType) and function.__globals__ is vars(home)


def check_methods(thing: object, methods: Mapping[str, Any]) -> None:
    """Each method is the one that is known.

    Args:
        thing: whose methods.
        methods: the known ones by name; None: there is none.

    Raises:
        Refusal: another one, of a subclass, of a patched class, or put into the object itself.
    """
    cls = type(thing)
    for name, known in {**methods, **LOOKED_UP}.items():
        if of_class(cls, name) is not known or name in vars(thing):
            raise Refusal(f"{cls.__name__} {'overrides' if known is not None else 'has'} {name}")


def attribute(thing: object, name: str) -> Any:
    """An attribute that the object itself has.

    Raises:
        Refusal: it has none, or it is computed whenever it is asked for.
    """
    cls = type(thing)
    if hasattr(of_class(cls, name), "__get__") and hasattr(of_class(cls, name), "__set__"):
        raise Refusal(f"{name} of {cls.__name__} is a property")
    if name not in vars(thing):
        raise Refusal(f"this {cls.__name__} has no {name}")
    return vars(thing)[name]
