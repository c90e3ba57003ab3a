"""Is code as its library wrote it? What a user has put in a function's place must not be passed over.

A function says where it was written, and under which name: nothing has to be remembered from before it was replaced.
"""

import sys
from collections.abc import Iterator
from functools import cache, cached_property
from types import BuiltinFunctionType, FunctionType, ModuleType
from typing import Any

from torch import nn

__all__ = ["function_of", "is_shipped", "overrides", "replaced_below", "replaced_in"]

ACTING = ("__call__", "__getattr__", "__getattribute__", "__iter__")  # of names with underscores; others act elsewhere
OF_MODULE = ("__call__", "_wrapped_call_impl", "_call_impl", "__getattr__")  # what leads from a call to `forward`
WRITTEN_AS: dict[tuple[type, str], str] = {(nn.Module, "__call__"): "_wrapped_call_impl"}
BELOW = sys.stdlib_module_names | {"torch", "torchvision", "numpy", "PIL"}  # what libraries import functions from


def is_shipped(value: Any, library: str, name: str | None = None) -> bool:
    """Is it a function, or a class's static method or property, that was written in this library?

    Args:
        value: as it stands in a class or a module.
        library: a package or a module.
        name: the full name that it must have been written under, within its module; None: any.
    """
    function = function_of(value)
    if not isinstance(function, FunctionType) or name not in (None, function.__code__.co_qualname):
        return False
    return _is_in(function.__globals__.get("__name__"), library)


def replaced_in(cls: type) -> str | None:
    """What is no longer a library's own, of all that a call of a class's object runs; None: nothing.

    That is the methods of the class and its bases, and the functions that these call by name, and these, and so on.

    Args:
        cls: a library's, such as torchvision's ``Resize``.
    """
    seen: set[Any] = set()
    for base in cls.__mro__[:-1]:
        library = base.__module__.partition(".")[0]
        for name, method in _methods(base):
            written_as = f"{base.__qualname__}.{WRITTEN_AS.get((base, name), name)}"
            if not is_shipped(method, library, written_as):
                return f"{base.__module__}.{base.__qualname__}.{name}"
            stranger = replaced_below(function_of(method), library, seen)
            if stranger is not None:
                return stranger
    return None


def overrides(cls: type, base: type) -> bool:
    """Has a subclass anything of its own in the place of what runs in a call of its base's objects?"""
    runs = {name for owner in base.__mro__[:-1] for name, _ in _methods(owner)} | {"__getattr__", "__getattribute__"}
    return any(name in vars(owner) for owner in cls.__mro__ if owner not in base.__mro__ for name in runs)


def replaced_below(function: FunctionType, library: str, seen: set[Any] | None = None) -> str | None:
    """What was put in the place of a function of the library's that ``function`` calls, itself or further down.

    Args:
        function: of the library's.
        library: a package.
        seen: functions that have been looked at; more are added.
    """
    seen = set() if seen is None else seen
    for space, name in _names(function, library):
        value = space.get(name)
        if not callable(value) or isinstance(value, type | BuiltinFunctionType) or type(value).__module__ == "typing":
            continue
        if not isinstance(value, FunctionType) or not _belongs(value, space, name, library):
            return f"{space['__name__']}.{name}"
        if value not in seen and is_shipped(value, library):
            seen.add(value)
            stranger = replaced_below(value, library, seen)
            if stranger is not None:
                return stranger
    return None


def function_of(value: Any) -> Any:
    """The function of what stands in a class: of a property, a static method, or of itself."""
    match value:
        case property():
            return value.fget
        case cached_property():
            return value.func
    return getattr(value, "__func__", value)


def _is_in(module: Any, library: str) -> bool:
    return f"{module}.".startswith(f"{library}.")


def _methods(base: type) -> Iterator[tuple[str, Any]]:
    for name, value in vars(base).items():
        acts = name in OF_MODULE if base is nn.Module else name in ACTING or not name.startswith("__")
        if acts and not isinstance(value, type) and (callable(value) or hasattr(value, "__get__")):
            yield name, value


def _belongs(function: FunctionType, space: dict[str, Any], name: str, library: str) -> bool:
    """May a module have the function under this name? One of its own has that name; others may be imported."""
    if function.__globals__ is space:
        return is_shipped(function, library, name)
    return is_shipped(function, library) or str(function.__globals__.get("__name__")).partition(".")[0] in BELOW


@cache
def _names(function: FunctionType, library: str) -> tuple[tuple[dict[str, Any], str], ...]:
    """Where a function looks for what it calls: in its module and others of its library, under these names."""
    names, here = function.__code__.co_names, function.__globals__
    modules = [here[name] for name in names if isinstance(here.get(name), ModuleType)]
    spaces = [here, *(vars(module) for module in modules if _is_in(module.__name__, library))]
    return tuple((space, name) for space in spaces for name in names if name in space)
