"""Is an object what its class says? What a user has put in a method's or an attribute's place is never passed over."""

from collections.abc import Iterable
from typing import Any, NamedTuple

from gpuload.shipped import function_of, is_shipped

__all__ = ["READ", "TORCH", "Refusal", "Unknown", "attribute", "check_methods", "check_names", "of_class"]

READ = "__getitem__", "__getitems__", "__len__"  # what a loader calls of a dataset
TORCH = "torch.utils.data"


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


def check_methods(thing: object, library: str, names: Iterable[str]) -> None:
    """Each method is as the library wrote it, or there is none.

    Args:
        thing: whose methods.
        library: a package or a module.
        names: of the methods.

    Raises:
        Refusal: another one, of a subclass, of a patched class, or put into the object itself; or attributes are looked
            up in a way of the class's own: then it may have anything.
    """
    cls = type(thing)
    for name in names:
        if not _is_as_written(thing, library, name):
            raise Refusal(_overridden(cls, library, name))
    if of_class(cls, "__getattribute__") is not object.__getattribute__:
        raise Refusal(_overridden(cls, library, "__getattribute__"))
    if not _is_as_written(thing, "torch", "__getattr__"):
        raise Refusal(_overridden(cls, library, "__getattr__"))


def check_names(owner: type, method: str, names: str) -> None:
    """A method uses these names, in this order: that of another version of its library may do something else.

    Args:
        owner: the library's class that has the method.
        method: its name.
        names: as of ``__code__.co_names``, between spaces.

    Raises:
        Refusal: it uses others.
    """
    if " ".join(function_of(vars(owner)[method]).__code__.co_names) != names:
        library = owner.__module__.partition(".")[0]
        raise Refusal(f"{owner.__name__}.{method} is not that of a {library} that gpuload knows")


def _is_as_written(thing: object, library: str, name: str) -> bool:
    owner = next((base for base in type(thing).__mro__ if name in vars(base)), None)
    is_own = owner is None or is_shipped(vars(owner)[name], library, f"{owner.__qualname__}.{name}")
    return is_own and name not in vars(thing)


def _overridden(cls: type, library: str, name: str) -> str:
    theirs = cls.__mro__ if f"{cls.__module__}.".startswith(f"{library}.") else cls.__mro__[1:]
    known = any(name in vars(base) for base in theirs)
    return f"{cls.__name__} {'overrides' if known else 'has'} {name}"


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
