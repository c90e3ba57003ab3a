"""States that were saved: plain JSON, checked before anything is done with them."""

from collections.abc import Callable, Mapping
from typing import Any

from gpuload.errors import ArgumentError

__all__ = ["Check", "integer", "or_none", "read"]

Check = Callable[[Any], bool]


def integer(bits: int) -> Check:
    """Of an integer that is not negative and has no more bits."""
    return lambda value: type(value) is int and 0 <= value < 1 << bits


def or_none(check: Check) -> Check:
    """Of what passes the check, or None."""
    return lambda value: value is None or check(value)


def read(plain: Any, giver: str, version: int, fields: Mapping[str, Check]) -> dict[str, Any]:
    """The fields of a state.

    Args:
        plain: the state, with its version.
        giver: what gives such states.
        version: the one that is read here.
        fields: what there must be, and how each is checked.

    Raises:
        ArgumentError: it is no such state.
    """
    if not isinstance(plain, dict) or "version" not in plain:
        raise ArgumentError(f"state must be what {giver}.state_dict() gave, got {_short(plain)}")
    if plain["version"] != version:
        raise ArgumentError(
            f"state has version {_short(plain['version'])}, but this gpuload reads version {version}: "
            "use the gpuload that wrote it, or a newer one"
        )
    found = {name: value for name, value in plain.items() if name != "version"}
    wrong = sorted(set(fields) ^ set(found), key=str)
    wrong += [name for name, value in found.items() if name not in wrong and not fields[name](value)]
    if wrong:
        raise ArgumentError(f"state is damaged: {wrong[0]} is {_short(found.get(wrong[0], 'missing'))}")
    return found


def _short(value: Any) -> str:
    shown = repr(value)
    return shown if len(shown) <= 60 else shown[:57] + "..."
