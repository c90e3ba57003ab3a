"""Python's, numpy's and torch's modules, so that their functions ask for the thread's generator.

- ``random``: its functions are methods of one hidden instance, which gets a class whose few primitives ask.
- ``numpy.random``: its functions are methods of one hidden ``RandomState``. The module gets a class that finds them on
  the thread's own one.
- torch: ``manual_seed`` and its kin are functions of Python; others take their places.
"""

import _random
import contextlib
import functools
import importlib
import random
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import numpy as np
import torch

from gpuload.randomness.generators import Generators, thread

__all__ = ["share"]


def share() -> None:
    """From now on the modules' functions ask. To be called once."""
    _share_python()
    _share_numpy()
    _share_torch()


# ---- Python: the random module's hidden instance ----


class _Primitives(_random.Random):
    """What all of random.Random rests on. Between it and _random.Random, in the order of methods: it finds these."""

    __slots__ = ()

    def random(self) -> float:
        own = thread.generators
        return _random.Random.random(self if own is None else own.python)

    def getrandbits(self, k: int, /) -> int:
        own = thread.generators
        return _random.Random.getrandbits(self if own is None else own.python, k)

    def seed(self, *n: Any) -> None:
        own = thread.generators
        _random.Random.seed(self if own is None else own.python, *n)

    def getstate(self) -> tuple[int, ...]:
        own = thread.generators
        return _random.Random.getstate(self if own is None else own.python)

    def setstate(self, state: tuple[int, ...], /) -> None:
        own = thread.generators
        _random.Random.setstate(self if own is None else own.python, state)

    @property
    def gauss_next(self) -> float | None:  # gauss makes two numbers and keeps one
        own = thread.generators
        kept: float | None = vars(self if own is None else own.python)["gauss_next"]
        return kept

    @gauss_next.setter
    def gauss_next(self, value: float | None) -> None:
        own = thread.generators
        vars(self if own is None else own.python)["gauss_next"] = value


class _Shared(random.Random, _Primitives):
    """The class of the module's hidden instance; a copy of that is an ordinary random.Random."""

    def __reduce__(self) -> Any:
        return random.Random, (), self.getstate()


def _share_python() -> None:
    shared: Any = random._inst
    shared.__class__ = _Shared
    random.random, random.getrandbits = shared.random, shared.getrandbits  # bound to functions in C until now


# ---- numpy: the modules whose functions are methods of a hidden RandomState ----


class _Own:
    """A name of numpy.random: the module's, or within a call that of the thread's own RandomState."""

    def __init__(self, name: str, method: str) -> None:
        self._name, self._method, self._usual = name, method, getattr(np.random.mtrand, name)

    def __get__(self, module: ModuleType | None, owner: type) -> Any:
        if module is None:
            return self
        try:
            value = module.__dict__[self._name]
        except KeyError:
            raise AttributeError(f"{module.__name__} has no {self._name}") from None
        own = thread.generators
        if own is None or value is not self._usual:  # someone set another, a test for example
            return value
        return getattr(own.numpy, self._method) if self._method else own.numpy

    def __set__(self, module: ModuleType, value: Any) -> None:
        vars(module)[self._name] = value

    def __delete__(self, module: ModuleType) -> None:
        del vars(module)[self._name]


class _NumpyRandom(ModuleType):
    """Pickled by name, as modules of just this class are by some picklers."""

    def __reduce__(self) -> Any:
        return importlib.import_module, (self.__name__,)


def _share_numpy() -> None:
    hidden = np.random.mtrand._rand
    methods = {name: name for name, value in vars(np.random.mtrand).items() if _self_of(value) is hidden}
    functions = {"seed": "seed", "ranf": "random_sample", "sample": "random_sample", "_rand": ""}
    for name, method in (methods | functions).items():
        setattr(_NumpyRandom, name, _Own(name, method))
    np.random.mtrand.__class__ = np.random.__class__ = _NumpyRandom


def _self_of(value: Any) -> Any:
    return getattr(value, "__self__", None)


# ---- torch's functions that seed ----


@contextlib.contextmanager
def _fork_rng(own: Generators, devices: Any = None, enabled: bool = True, **names: Any) -> Iterator[None]:
    state = own.torch.get_state()
    try:
        yield
    finally:
        if enabled:
            own.torch.set_state(state)


_SEEDING: dict[str, Callable[..., Any]] = {
    "manual_seed": lambda own, seed: own.torch.manual_seed(int(seed)),
    "seed": lambda own: own.torch.seed(),
    "initial_seed": lambda own: own.torch.initial_seed(),
    "get_rng_state": lambda own: own.torch.get_state(),
    "set_rng_state": lambda own, new_state: own.torch.set_state(new_state),
    "fork_rng": _fork_rng,
}


def _share_torch() -> None:
    for name, within in _SEEDING.items():
        functions = {module: vars(module)[name] for module in (torch, torch.random) if name in vars(module)}
        both = {function: _or_within(function, within) for function in functions.values()}
        for module, function in functions.items():  # two functions of torch, where torch.compile has wrapped one
            setattr(module, name, both[function])


def _or_within(function: Callable[..., Any], within: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def either(*args: Any, **kwargs: Any) -> Any:
        own = thread.generators
        return function(*args, **kwargs) if own is None else within(own, *args, **kwargs)

    return either
