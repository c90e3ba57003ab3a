"""The exception tree: each error is also the one that torch or torchvision raises in its place."""

import pickle

import pytest

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


def test_the_tree_in_the_docstring_is_the_tree() -> None:
    for name in errors.__all__:
        assert name in (errors.__doc__ or "")
