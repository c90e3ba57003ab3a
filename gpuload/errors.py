"""The exceptions of gpuload.

::

    GpuloadError
    ├── ArgumentError      (also a ValueError)         a value out of range, or two that exclude each other
    ├── ArgumentTypeError  (also a TypeError)          a value of the wrong type
    ├── DatasetError       (also a FileNotFoundError)  a folder that holds no dataset
    ├── DecodeError        (also an OSError)           bytes that are no image, or not a whole one
    ├── SampleError                                    a sample that failed: its index, its path, the cause
    ├── CollateError       (also a RuntimeError)       samples that do not stack into one tensor
    ├── CaptureError       (also a RuntimeError)       a batch that was asked for inside of a CUDA graph's capture
    ├── TimedOutError      (also a RuntimeError)       a batch that did not come in time
    └── MissingError       (also an ImportError)       a package, a compiler or a GPU that is not there

Each also derives from the exception that torch or torchvision raises in its place, so that code which
catches theirs keeps working.
"""

__all__ = [
    "ArgumentError",
    "ArgumentTypeError",
    "CaptureError",
    "CollateError",
    "DatasetError",
    "DecodeError",
    "GpuloadError",
    "MissingError",
    "SampleError",
    "TimedOutError",
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


class SampleError(GpuloadError):
    """A sample that could not be read, decoded or transformed; ``__cause__`` says why.

    Attributes:
        index: the sample's index in the dataset.
        path: its file, or None where the dataset has no files.
    """

    def __init__(self, index: int, path: str | None, cause: BaseException) -> None:
        where = f"sample {index}" + (f" ({path})" if path is not None else "")
        super().__init__(f"{where}: {cause}")
        self.index = index
        self.path = path
        self.__cause__ = cause

    def __reduce__(self) -> tuple[type, tuple[int, str | None, BaseException | None]]:
        return type(self), (self.index, self.path, self.__cause__)


class CollateError(GpuloadError, RuntimeError):
    """Samples of different size where one tensor was asked for."""


class CaptureError(GpuloadError, RuntimeError):
    """A batch that was asked for while a CUDA graph is captured on the current stream."""


class TimedOutError(GpuloadError, RuntimeError):
    """A batch that did not come within the loader's ``timeout``; the message says what is waited for."""


class MissingError(GpuloadError, ImportError):
    """Something that must be installed; the message holds the command that does it."""
