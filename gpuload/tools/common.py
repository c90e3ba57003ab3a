"""What the tools share: packages that only they need, cores, progress bars."""

import importlib
import os
from typing import Any

from tqdm import tqdm

from gpuload.errors import MissingError

__all__ = ["bar", "cores", "need"]


def need(module: str, tool: str = "the demo", install: str = '"gpuload[demo]"') -> Any:
    """A module of a package that a tool alone needs.

    Args:
        module: its name.
        tool: which needs it.
        install: what pip is to install.

    Raises:
        MissingError: it is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        package = module.split(".")[0]
        raise MissingError(f"{tool} needs {package}, which does not import ({error}): pip install {install}") from error


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def bar(progress: bool, title: str, *batches: Any, **arguments: Any) -> Any:
    """A progress bar on standard error; none where that is no terminal."""
    return tqdm(*batches, desc=title, leave=False, disable=None if progress else True, **arguments)
