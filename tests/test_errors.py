"""The exception tree: each error is also the one that torch or torchvision raises in its place."""

import pickle
from typing import Any

import pytest
import torch

from gpuload import errors


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (errors.ArgumentError, ValueError),
        (errors.ArgumentTypeError, TypeError),
        (errors.DatasetError, FileNotFoundError),
        (errors.DecodeError, OSError),
        (errors.CollateError, RuntimeError),
        (errors.CaptureError, RuntimeError),
        (errors.MissingError, ImportError),
        (errors.TimedOutError, RuntimeError),
        (errors.WorkerError, RuntimeError),
    ],
)
def test_also_the_usual_exception(ours: type[Exception], theirs: type[Exception]) -> None:
    assert issubclass(ours, errors.GpuloadError)
    assert issubclass(ours, theirs)
    assert str(ours("what to do")) == "what to do"


def test_sample_error_names_index_and_path() -> None:
    error = errors.SampleError(3, "cats/3.jpg", OSError("torn"))
    assert str(error) == "sample 3 (cats/3.jpg): torn"
    assert isinstance(error.__cause__, OSError)
    assert str(errors.SampleError(3, None, OSError("torn"))) == "sample 3: torn"


def test_sample_error_crosses_processes() -> None:
    """Torch's workers send their exceptions to the training process."""
    error = pickle.loads(pickle.dumps(errors.SampleError(3, "a.jpg", OSError("torn"))))
    assert (error.index, error.path, str(error)) == (3, "a.jpg", "sample 3 (a.jpg): torn")


class Unlucky(ValueError):
    """A user's own, made in a way of its own."""

    def __init__(self, number: int, why: str) -> None:
        super().__init__(f"{number}: {why}")
        self.number, self.why = number, why

    def __reduce__(self) -> Any:
        return Unlucky, (self.number, self.why)


class Final(Exception):
    def __init_subclass__(cls) -> None:
        raise TypeError("no subclasses")


CAUSES: list[Exception] = [
    FileNotFoundError(2, "No such file or directory", "a.jpg"),
    OSError("torn"),
    errors.DecodeError("no image"),
    ValueError("no number"),
    KeyError("label"),
    IndexError(5),
    UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid"),
    Unlucky(13, "bad luck"),
    ZeroDivisionError(),
]


@pytest.mark.parametrize("cause", CAUSES, ids=lambda cause: type(cause).__name__)
def test_a_sample_error_is_also_what_its_cause_is(cause: Exception) -> None:
    error = errors.SampleError(3, "a.jpg", cause)
    again = pickle.loads(pickle.dumps(error))
    for one in (error, again):
        assert isinstance(one, errors.SampleError) and isinstance(one, type(cause))
        assert str(one) == f"sample 3 (a.jpg): {cause}" and (one.index, one.path) == (3, "a.jpg")
        assert type(one.__cause__) is type(cause)
        assert getattr(one, "number", None) == getattr(cause, "number", None)
        assert getattr(one, "errno", None) == getattr(cause, "errno", None)
    assert type(again) is type(error) is type(errors.SampleError(4, None, cause))
    assert type(error).__name__ == f"SampleError[{type(cause).__name__}]"


@pytest.mark.parametrize("cause", [Exception("what"), StopIteration(1), Final("of"), KeyboardInterrupt()], ids=repr)
def test_a_sample_error_that_is_nothing_else(cause: BaseException) -> None:
    error = errors.SampleError(3, None, cause)
    assert type(error) is errors.SampleError and error.__cause__ is cause
    assert str(error) == f"sample 3: {cause}"


def test_a_sample_error_of_a_sample_error() -> None:
    inner = errors.SampleError(1, None, ValueError("no"))
    assert type(errors.SampleError(2, None, inner)) is type(inner)


class FailsOnItsOwn(torch.utils.data.Dataset[int]):
    def __init__(self, cause: type[Exception]) -> None:
        self.cause = cause

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> int:
        raise errors.SampleError(index, "a.jpg", self.cause("torn"))


@pytest.mark.parametrize("cause", [FileNotFoundError, ValueError, KeyError])
def test_torchs_worker_processes_raise_a_sample_error_again(cause: type[Exception]) -> None:
    loader = torch.utils.data.DataLoader(FailsOnItsOwn(cause), num_workers=1)
    with pytest.raises(cause, match=r"Caught SampleError\[(.|\n)*sample 0 \(a.jpg\): ") as caught:
        list(loader)
    assert isinstance(caught.value, errors.SampleError) and caught.value.index is None


def test_the_tree_in_the_docstring_is_the_tree() -> None:
    for name in errors.__all__:
        assert name in (errors.__doc__ or "")
