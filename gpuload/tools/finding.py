"""What `gpuload doctor` finds: parts to look for, how each is, and all of them as a text."""

import textwrap
import warnings
from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import NamedTuple

from gpuload.errors import MissingError

__all__ = ["BrokenError", "Finding", "LackingError", "Part", "Status", "as_text", "look_for"]

WIDTH = 110  # characters of a line


class Status(StrEnum):
    """How a finding is; only `MISSING` keeps gpuload from working as it should."""

    OK = "ok"
    MISSING = "missing"
    OPTIONAL = "optional-missing"


class Finding(NamedTuple):
    """One thing that was looked for.

    Attributes:
        name: of the thing.
        status: whether it is there.
        detail: its version and what else there is to know; or what is wrong, and what follows from it.
        fix: the command that installs it; None where nothing is missing, or no command would help.
    """

    name: str
    status: Status
    detail: str
    fix: str | None


class LackingError(Exception):
    """A part that is not there.

    Args:
        problem: what was found instead.
        fix: the command that helps, where it is not the part's own.
    """

    def __init__(self, problem: str, fix: str | None = None) -> None:
        super().__init__(problem)
        self.fix = fix


class BrokenError(LackingError):
    """A part that is there, and makes gpuload fail: worse than one that is not."""


def _always() -> bool:
    return True


class Part(NamedTuple):
    """Something to look for.

    Attributes:
        name: of it.
        look: says what is there; raises `LackingError` where nothing is, and anything else where it is broken.
        needed: whether gpuload does not work as it should without it.
        without: what follows where it is not there.
        fix: the command that installs it.
    """

    name: str
    look: Callable[[], str]
    needed: Callable[[], bool] = _always
    without: str = ""
    fix: str | None = None


def look_for(part: Part) -> Finding:
    """How it is. Raises nothing."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a finding says what a warning would
        try:
            return Finding(part.name, Status.OK, part.look(), None)
        except BrokenError as broken:
            return Finding(part.name, Status.MISSING, str(broken), broken.fix)
        except LackingError as lacking:
            status = Status.MISSING if part.needed() else Status.OPTIONAL
            detail = ": ".join(filter(None, (str(lacking), part.without)))
            return Finding(part.name, status, detail, lacking.fix or part.fix)
        except MissingError as error:
            return Finding(part.name, Status.MISSING, str(error), part.fix)
        except Exception as error:  # whatever a broken installation raises is what the user must see
            return Finding(part.name, Status.MISSING, f"{type(error).__name__}: {error}", None)


def as_text(findings: Sequence[Finding]) -> str:
    """The findings as an aligned text, and a last line that sums them up."""
    statuses = max(len(finding.status) for finding in findings) + 2
    names = max(len(finding.name) for finding in findings) + 2
    margin = " " * (statuses + names)
    lines: list[str] = []
    for name, status, detail, fix in findings:
        head = f"{status:{statuses}}{name:{names}}"
        lines += textwrap.wrap(detail, WIDTH, initial_indent=head, subsequent_indent=margin, break_on_hyphens=False)
        lines += [f"{margin}-> {fix}"] if fix is not None else []
    missing = ", ".join(finding.name for finding in findings if finding.status is Status.MISSING)
    return "\n".join([*lines, "", f"Missing: {missing}" if missing else "All that gpuload needs is here."])
