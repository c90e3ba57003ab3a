"""Images and labels in two columns, of whatever kind."""

import os
import pickle
import re
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader as TorchDataLoader

from gpuload import ArgumentError, ArgumentTypeError, DataLoader, ImageList, transforms as T

SMALL = T.Resize((8, 8))
NAMES = ["cats/03.jpg", "dogs/00.jpg", "cats/11.jpg"]


def pandas(make: str) -> Callable[[Any], Any]:
    return lambda values: getattr(pytest.importorskip("pandas"), make)(values)


def pyarrow(make: str) -> Callable[[Any], Any]:
    return lambda values: getattr(pytest.importorskip("pyarrow"), make)([values] if "chunked" in make else values)


COLUMNS: dict[str, Callable[[Any], Any]] = {
    "list": list,
    "tuple": tuple,
    "array": np.array,
    "array of objects": lambda values: np.array(values, object),
    "series": pandas("Series"),
    "index": pandas("Index"),
    "arrow": pyarrow("array"),
    "arrow in chunks": pyarrow("chunked_array"),
}
columns = pytest.mark.parametrize("column", COLUMNS.values(), ids=COLUMNS.keys())
LABELS = {"ints": [7, -1, 2**40], "floats": [0.5, 2.0, -1.0], "texts": ["ü", "a", "ü"], "bools": [True, False, True]}


@columns
@pytest.mark.parametrize("labels", LABELS.values(), ids=LABELS.keys())
def test_columns_of_any_kind(column: Callable[[Any], Any], labels: list[Any], photos: Path) -> None:
    if column is COLUMNS["array of objects"] and not isinstance(labels[0], str):
        pytest.skip("objects are texts")
    ours = ImageList(column(NAMES), column(labels), SMALL, root=photos)
    assert [ours.path(i) for i in range(3)] == [str(photos / name) for name in NAMES]
    assert ours.paths(np.array([2, 0])) == [os.fsencode(photos / NAMES[i]) for i in (2, 0)]
    assert [ours[i][1] for i in range(3)] == ours.targets.tolist() == labels
    assert ours.classes == sorted(set(labels)) and [ours.classes[ours.class_to_idx[x]] for x in labels] == labels
    wanted = next(iter(TorchDataLoader(ours, 3)))
    for workers in (0, 2):
        ((images, got),) = list(DataLoader(ours, 3, device="cpu", num_workers=workers))
        assert torch.equal(images, wanted[0])
        assert type(got) is type(wanted[1])
        assert (
            got == wanted[1] if isinstance(got, tuple) else torch.equal(got, wanted[1]) and got.dtype == wanted[1].dtype
        )


@pytest.mark.parametrize("dtype", [torch.int32, torch.uint8, torch.float32, torch.float64, torch.bool])
@pytest.mark.parametrize("kind", [torch.as_tensor, np.asarray, pandas("Series")])
def test_numbers_arrive_in_their_dtype_and_ints_as_int64(dtype: torch.dtype, kind: Any, photos: Path) -> None:
    labels = torch.tensor([1, 0, 1]).to(dtype)
    ours = ImageList(NAMES, kind(labels.numpy()), SMALL, root=photos)
    wanted = labels if dtype.is_floating_point or dtype is torch.bool else labels.long()
    for batches in (DataLoader(ours, 3, device="cpu"), TorchDataLoader(ours, 3)):
        ((_, got),) = list(batches)
        assert got.dtype == wanted.dtype and torch.equal(got, wanted)


def test_a_row_for_each_sample(photos: Path) -> None:
    labels = torch.arange(6.0).view(3, 2)
    ours = ImageList(NAMES, labels, SMALL, root=photos)
    for batches in (DataLoader(ours, 3, device="cpu"), TorchDataLoader(ours, 3)):
        ((_, got),) = list(batches)
        assert torch.equal(got, labels)


def test_paths_are_joined_as_the_system_joins_them(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(photos)
    monkeypatch.setenv("HOME", str(photos))
    absolute = str(photos / NAMES[0])
    for root, names in (("", NAMES), ("~", NAMES), (".", NAMES), ("elsewhere", [absolute]), (photos, [Path(absolute)])):
        ours = ImageList(names, [0] * len(names), SMALL, root=root)
        assert ours.path(0) == os.path.join(os.path.expanduser(root), names[0])
        assert ours[0][0].shape == (3, 8, 8)


def test_names_that_are_no_text() -> None:
    names = [b"caf\xe9.jpg", os.fsdecode(b"\xff.jpg"), "日本.jpg"]
    assert ImageList(names, [0] * 3).paths(np.arange(3)) == [b"caf\xe9.jpg", b"\xff.jpg", "日本.jpg".encode()]


def test_ints_of_texts(photos: Path) -> None:
    ours = ImageList(NAMES, ["dog", "cat", "dog"], SMALL, root=photos)
    ours.target_transform = ours.class_to_idx.get
    ((_, labels),) = list(DataLoader(ours, 3, device="cpu"))
    assert labels.tolist() == [1, 0, 1] and ours[1][1] == 0


def test_a_target_of_ones_own(photos: Path) -> None:
    class Negative(ImageList):
        def target(self, index: int) -> int:
            return -int(super().target(index))

    ours = Negative(NAMES, [1, 2, 3], SMALL, root=photos)
    ((_, labels),) = list(DataLoader(ours, 3, device="cpu"))
    assert labels.tolist() == [-1, -2, -3] and ours.why_not_plain() is None


def test_labels_are_copied() -> None:
    labels = np.arange(3.0)
    ours = ImageList(NAMES, labels)
    labels[:] = 9
    assert ours.targets.tolist() == [0, 1, 2]


def test_nothing_at_all(photos: Path) -> None:
    ours = ImageList([], [], SMALL)
    assert len(ours) == 0 and ours.classes == [] and list(DataLoader(ours, 3, device="cpu")) == []


def test_a_sample_costs_its_path_and_sixteen_bytes() -> None:
    count = 20_000
    paths = np.array([f"folder/{i:09}.jpg" for i in range(count)])  # 20 bytes
    labels = np.arange(count) % 3
    for given in (labels, np.array(["cat", "dog", "cow"])[labels]):
        tracemalloc.start()
        ours = ImageList(paths, given)
        held, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert held < count * (20 + 16) * 1.3 + 50_000
        assert len(pickle.dumps(ours)) < count * (20 + 16) + 5000
        again = pickle.loads(pickle.dumps(ours))
        assert again.path(77) == ours.path(77) and again.target(77) == ours.target(77)


def test_it_is_shown_and_described(photos: Path) -> None:
    ours = ImageList(NAMES, [0, 1, 0], root="data")
    assert repr(ours) == "Dataset ImageList\n    Number of datapoints: 3\n    Root location: data"
    assert ours.describe() == "3 files of ImageList"


@pytest.mark.parametrize(
    ("make", "error", "text"),
    [
        (
            lambda: ImageList(["a", "b"], [1]),
            ArgumentError,
            "paths and labels must be of one length, got 2 paths and 1 labels",
        ),
        (
            lambda: ImageList("photos", [1]),
            ArgumentTypeError,
            "paths must be a sequence of file names, got one: 'photos'",
        ),
        (
            lambda: ImageList(["a", float("nan")], [1, 2]),
            ArgumentTypeError,
            "paths must be file names, got nan (float) at position 1",
        ),
        (
            lambda: ImageList(pandas("Series")(["a", None]), [1, 2]),
            ArgumentTypeError,
            "paths must be file names, got nan (float) at position 1",
        ),
        (
            lambda: ImageList(pyarrow("array")(["a", None]), [1, 2]),
            ArgumentTypeError,
            "paths must be file names, got None (NoneType) at position 1",
        ),
        (
            lambda: ImageList(["a", "b"], [1, None]),
            ArgumentTypeError,
            "labels must be numbers or texts, got 1 (int) at position 0",
        ),
        (
            lambda: ImageList(["a", "b"], ["cat", None]),
            ArgumentTypeError,
            "labels must be numbers or texts, got None (NoneType) at position 1",
        ),
        (
            lambda: ImageList(["a", "b"], ["cat", 3]),
            ArgumentTypeError,
            "labels must be numbers or texts, got 3 (int) at position 1",
        ),
    ],
)
def test_columns_that_make_no_dataset(make: Callable[[], Any], error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=re.escape(text)):
        make()
