"""The exceptions of gpuload.

::

    GpuloadError
    ├── ArgumentError      (also a ValueError)         a value out of range, or two that exclude each other
    ├── ArgumentTypeError  (also a TypeError)          a value of the wrong type
    ├── DatasetError       (also a FileNotFoundError)  a folder that holds no dataset
    ├── DecodeError        (also an OSError)           bytes that are no image, or not a whole one
    ├── SampleError        (also what its cause is)    a sample that failed: its index, its path, the cause
    ├── BadSamplesError    (also a RuntimeError)       more samples that cannot be read than are allowed
    ├── CollateError       (also a RuntimeError)       samples that do not stack into one tensor
    ├── CaptureError       (also a RuntimeError)       a batch that was asked for inside of a CUDA graph's capture
    ├── TimedOutError      (also a RuntimeError)       a batch that did not come in time
    ├── WorkerError        (also a RuntimeError)       workers that are gone: they ended, or stayed behind at a fork
    └── MissingError       (also an ImportError)       a package, a compiler or a GPU that is not there

Each also derives from the exception that torch or torchvision raises in its place, so that code which
catches theirs keeps working.
"""

import copyreg
from functools import lru_cache
from typing import Any

__all__ = [
    "ArgumentError",
    "ArgumentTypeError",
    "BadSamplesError",
    "CaptureError",
    "CollateError",
    "DatasetError",
    "DecodeError",
    "GpuloadError",
    "MissingError",
    "SampleError",
    "TimedOutError",
    "WorkerError",
]


class GpuloadError(Exception):
    """Base of all of gpuload's exceptions."""


class ArgumentError(GpuloadError, ValueError):
    """A value that is not allowed: the message names the parameter, what was passed, what is allowed."""


class ArgumentTypeError(GpuloadError, TypeError):
    """A value of a type that is not allowed."""


class DatasetError(GpuloadError, FileNotFoundError):
    """A folder that is missing, empty, or has an empty class."""


class DecodeError(GpuloadError, OSError):
    """Bytes that do not decode to an image."""


class _Kind(type):
    """The class of `SampleError` and of what is made of it for the class of a cause."""

    cause: type[Exception] | None = None

    def __call__(cls, index: int | str, path: str | None = None, cause: BaseException | None = None) -> Any:
        kind = _kind_of(type(cause)) if cls is SampleError and cause is not None else cls  # type: ignore[arg-type]
        return type.__call__(kind, index, path, cause)


class SampleError(GpuloadError, metaclass=_Kind):
    """A sample that could not be read, decoded or transformed; ``__cause__`` says why.

    It is an instance of its cause's class, too, with the attributes of that: ``except OSError`` catches a file that
    is missing or torn, as it does with torch and torchvision.

    Args:
        index: the sample's index in the dataset. Or a message alone: so torch's worker processes raise it again.
        path: its file, or None where the dataset has no files.
        cause: what happened.

    Attributes:
        index: as given; None where there is but a message.
        path: as given.
        epoch, position: where in an epoch a loader came upon it; None: it was asked for by its index.
    """

    index: int | None
    epoch: int | None = None
    position: int | None = None

    def __init__(self, index: int | str, path: str | None = None, cause: BaseException | None = None) -> None:
        where = f"sample {index}" + (f" ({path})" if path is not None else "")
        # not the cause's own initialization, which may want anything
        Exception.__init__(self, index if isinstance(index, str) else f"{where}: {cause}")
        self.__dict__.update(getattr(cause, "__dict__", {}))
        if isinstance(self, OSError) and isinstance(cause, OSError):
            self.errno, self.strerror, self.filename = cause.errno, cause.strerror, cause.filename
        self.index = index if not isinstance(index, str) else None
        self.path = path
        self.__cause__ = cause

    def __str__(self) -> str:
        place = "" if self.position is None else f" (position {self.position} of epoch {self.epoch})"
        return f"{self.args[0]}{place}"

    def __reduce__(self) -> tuple[Any, ...]:
        given = self.args[0] if self.index is None else self.index
        place = {"epoch": self.epoch, "position": self.position}
        return type(self), (given, self.path, self.__cause__), {} if self.position is None else place


@lru_cache(maxsize=64)
def _kind_of(cause: type[BaseException]) -> _Kind:
    """`SampleError` that is also of the class of its cause, where there can be one."""
    if issubclass(cause, SampleError):
        return cause
    if issubclass(SampleError, cause) or not issubclass(cause, Exception):
        return SampleError
    if issubclass(cause, StopIteration | StopAsyncIteration):
        return SampleError  # it would end the loop over the loader as if nothing had happened
    try:
        kind = _Kind(f"SampleError[{cause.__name__}]", (SampleError, cause), {"__module__": __name__, "cause": cause})
        kind(0)
    except Exception:  # no class can be derived from it, or it makes its instances in a way of its own
        return SampleError
    return kind


def _pickled(kind: _Kind) -> str | tuple[Any, ...]:
    """A class that was made here is made again; others are found by their names."""
    return (_kind_of, (kind.cause,)) if kind.cause is not None and "cause" in vars(kind) else kind.__qualname__


copyreg.pickle(_Kind, _pickled)


class BadSamplesError(GpuloadError, RuntimeError):
    """More samples that cannot be read than a loader with ``on_error="replace"`` allows; the message names the last."""


class CollateError(GpuloadError, RuntimeError):
    """Samples of different size where one tensor was asked for."""


class CaptureError(GpuloadError, RuntimeError):
    """A batch that was asked for while a CUDA graph is captured on the current stream."""


class TimedOutError(GpuloadError, RuntimeError):
    """A batch that did not come within the loader's ``timeout``; the message says what is waited for."""


class WorkerError(GpuloadError, RuntimeError):
    """Workers that are gone: one has ended, or the iterator is that of the process that this one was forked from."""


class MissingError(GpuloadError, ImportError):
    """Something that must be installed; the message holds the command that does it."""
