"""torch's draws: each function that draws is handed the thread's generator.

Both modes are of one thread: torch keeps them so. ``Drawing``, a ``TorchFunctionMode``, costs about 3 us per function
of torch that Python calls. A ``TorchDispatchMode`` sees more, the operators that a function is made of, for some 10 us
each: it is used just where a function cannot be handed a generator, as with ``dropout``.
"""

import functools
from types import FunctionType
from typing import Any

import torch
from torch.overrides import TorchFunctionMode
from torch.utils import _python_dispatch

from gpuload.randomness.generators import Generators, thread

__all__ = ["Drawing", "functions_that_draw"]


class Drawing(TorchFunctionMode):
    """On this thread, torch's functions draw from ``generators``."""

    def __init__(self) -> None:
        self.generators = Generators()
        self._functions, self._operators = functions_that_draw(), _Operators(self.generators)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func in self._functions.take:
            if _is_global(kwargs.get("generator")) and _on_cpu((*args, *kwargs.values()), kwargs.get("device")):
                kwargs = {**kwargs, "generator": self.generators.torch}
        elif (func in self._functions.hide or type(func) in _COMPOSED) and self.generators is thread.generators:
            with self._operators:  # of the innermost call, alone
                return func(*args, **kwargs)
        return func(*args, **kwargs)


# functions of Python, and operators that stand for several overloads: torch does not show the mode what they call
_COMPOSED = {FunctionType, torch._ops.OpOverload, torch._ops.OpOverloadPacket}


class _Operators(_python_dispatch.TorchDispatchMode):
    """Hands a generator to the operators that a function is made of.

    It is entered without the base class's flags: these are of the process, and would tell ``torch.compile`` on other
    threads to leave their code uncompiled.
    """

    def __init__(self, generators: Generators) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._generators = generators

    def __enter__(self) -> None:
        _python_dispatch._push_mode(self)

    def __exit__(self, *exception: object) -> None:
        _python_dispatch._pop_mode()

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # or each operator passes through torch._dynamo, which takes seconds to import

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        drawing, names = _taking_a_generator(func)
        given = dict(zip(names, args, strict=False)) | kwargs
        if drawing and _is_global(given.get("generator")) and _on_cpu(given.values(), given.get("device")):
            return drawing(**{**given, "generator": self._generators.torch})
        return func(*args, **kwargs)


def _is_global(generator: torch.Generator | None) -> bool:
    return generator is None or generator is torch.default_generator


def _on_cpu(values: Any, device: Any) -> bool:
    """Is this drawn on the CPU? Generators of other devices are the user's."""
    if device is not None:
        return torch.device(device).type == "cpu"
    return all(value.device.type == "cpu" for value in values if isinstance(value, torch.Tensor))


class _Functions:
    """torch's functions and methods in C++ that draw, by what its schemas say."""

    def __init__(self) -> None:
        schemas = [schema for schema in torch._C._jit_get_all_schemas() if schema.name.startswith("aten::")]
        positional = {schema.name for schema in schemas if _takes_generator(schema, by_keyword=False)}
        by_keyword = {schema.name for schema in schemas if _takes_generator(schema, by_keyword=True)}
        silent = {schema.name for schema in schemas if _is_random(schema)} - by_keyword
        self.take = _functions(by_keyword)  # ``generator=``
        self.hide = _functions(positional | silent)  # or no generator at all


@functools.cache
def functions_that_draw() -> _Functions:
    """Found once."""
    return _Functions()


def _takes_generator(schema: Any, by_keyword: bool) -> bool:
    return any(argument.name == "generator" and argument.kwarg_only == by_keyword for argument in schema.arguments)


def _is_random(schema: Any) -> bool:
    return torch.Tag.nondeterministic_seeded in _operator(schema).tags


def _operator(schema: Any) -> Any:
    packet = getattr(torch.ops.aten, schema.name.removeprefix("aten::"))
    return getattr(packet, schema.overload_name or "default")


def _functions(schemas: set[str]) -> frozenset[Any]:
    owners = (torch, torch.Tensor, torch._C._VariableFunctions, torch._C._nn)
    names = [name.removeprefix("aten::") for name in schemas]
    found = {getattr(owner, name, None) for owner in owners for name in names}
    return frozenset(function for function in found if callable(function) and not isinstance(function, FunctionType))


@functools.cache
def _taking_a_generator(operator: Any) -> tuple[Any, tuple[str, ...]]:
    """This operator, or the overload of it that differs in taking a generator, or None; and its arguments' names."""
    arguments = _arguments(operator)
    names = tuple(name for name, _ in arguments)
    if "generator" in names:
        return operator, names
    if torch.Tag.nondeterministic_seeded in operator.tags:
        for overload in operator.overloadpacket.overloads():
            other = getattr(operator.overloadpacket, overload)
            if [one for one in _arguments(other) if one != _GENERATOR] == arguments and other is not operator:
                return other, names
    return None, ()


_GENERATOR = ("generator", "Optional[Generator]")


def _arguments(operator: Any) -> list[tuple[str, str]]:
    return [(argument.name, str(argument.type)) for argument in operator._schema.arguments]
