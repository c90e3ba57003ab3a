"""What the parts of the demo share: packages that only it needs, cores, progress bars."""

import importlib
import os
from typing import Any

from tqdm import tqdm

from gpuload.errors import MissingError

__all__ = ["bar", "cores", "need"]


def need(module: str) -> Any:
    """A module of the demo's own packages.

    Raises:
        MissingError: it is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingError(
            f'the demo needs {module.split(".")[0]}, which does not import ({error}): pip install "gpuload[demo]"'
        ) from error


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def bar(progress: bool, title: str, *batches: Any, **arguments: Any) -> Any:
    """A progress bar on standard error; none where that is no terminal."""
    return tqdm(*batches, desc=title, leave=False, disable=None if progress else True, **arguments)
