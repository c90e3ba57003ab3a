"""timm's ImageDataset: lifted where it reads a folder; what it passes over, the loader passes over."""

import logging
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import torch
from torch.utils.data import ConcatDataset, DataLoader as TorchDataLoader, Subset
from torchvision import transforms as v1

from gpuload import DataLoader
from gpuload.errors import SampleError
from gpuload.lifting import Unknown, find

timm = pytest.importorskip("timm")
ImageDataset = timm.data.ImageDataset
Reader = timm.data.readers.reader_image_folder.ReaderImageFolder

pytestmark = pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")  # timm's dataset[i] leaves files open
SQUARE = v1.Compose([v1.Resize((20, 20)), v1.PILToTensor()])


@pytest.fixture
def folder(photos: Path, tmp_path: Path) -> Path:
    """Photos to break."""
    return Path(shutil.copytree(photos, tmp_path / "photos"))


def numbered(root: Path, **options: Any) -> Any:
    """A dataset whose labels say which sample it is."""
    dataset = timm.data.create_dataset("", root, **{"transform": SQUARE, **options})
    dataset.reader.samples = [(path, number) for number, (path, _) in enumerate(dataset.reader.samples)]
    return dataset


def refused(dataset: Any) -> str:
    view = find(dataset)
    assert isinstance(view, Unknown), view
    return view.reason


def check(dataset: Any, epochs: int = 1, workers: int = 2, **options: Any) -> list[Any]:
    """Each epoch is as torch's; the labels of the last."""
    loader = DataLoader(dataset, 5, device="cpu", num_workers=workers, **options)
    assert type(loader.path).__name__ == "ImagePath"
    for _ in range(epochs):
        given, expected = [*loader], [*TorchDataLoader(dataset, 5, **options)]
        assert len(given) == len(expected)
        for (images, labels), (their_images, their_labels) in zip(given, expected, strict=True):
            assert torch.equal(images, their_images) and torch.equal(labels, their_labels)
    return [label for _, labels in given for label in labels.tolist()]


# ---- what is lifted ----


def test_a_folder(photos: Path) -> None:
    dataset = timm.data.create_dataset("", photos, transform=SQUARE)
    assert check(dataset, 2) == [0] * 12 + [1] * 12
    assert "24 files of timm's ImageDataset" in find(dataset).describe()  # type: ignore[union-attr]


def test_class_map_and_target_transform_are_followed(photos: Path) -> None:
    dataset = timm.data.create_dataset("", photos, transform=SQUARE, class_map={"cats": 7, "dogs": 3})
    assert check(dataset) == [7] * 12 + [3] * 12
    dataset.target_transform = lambda target: target + 0.5
    assert check(dataset) == [7.5] * 12 + [3.5] * 12


def test_a_target_that_is_missing(photos: Path) -> None:
    dataset = numbered(photos)
    dataset.reader.samples[3] = dataset.reader.samples[3][0], None
    assert check(dataset)[3] == -1
    dataset.target_transform = lambda target: target + 1
    assert check(dataset)[2:5] == [3, -1, 5]


def test_views(photos: Path) -> None:
    some = Subset(numbered(photos), [5, 3, 3, -1])
    assert check(some) == [5, 3, 3, 23]
    other = numbered(photos, transform=v1.Compose([v1.Resize((20, 20)), v1.PILToTensor()]))
    assert check(ConcatDataset([some, other])) == [5, 3, 3, 23, *range(24)]
    crops = [timm.data.transforms.RandomResizedCropAndInterpolation(9) for _ in range(2)]
    made = [numbered(photos, transform=v1.Compose([crop, v1.PILToTensor()])) for crop in crops]
    assert not isinstance(find(ConcatDataset(made)), Unknown)


def test_a_subclass_that_changes_something_else(photos: Path) -> None:
    class Mine(ImageDataset):  # type: ignore[misc]
        def filename(self, index: int) -> str:
            return "mine"

    check(Mine(photos, transform=SQUARE))


# ---- what is not ----


class OwnItem(ImageDataset):  # type: ignore[misc]
    def __getitem__(self, index: int) -> Any:
        return (*super().__getitem__(index), index)


class OwnLength(ImageDataset):  # type: ignore[misc]
    def __len__(self) -> int:
        return 3


class OwnReader(Reader):  # type: ignore[misc]
    def __getitem__(self, index: int) -> Any:
        return super().__getitem__(0)


def changed(dataset: Any, **attributes: Any) -> Any:
    vars(dataset).update(attributes)
    return dataset


def in_tar(root: Path, tmp_path: Path) -> Any:
    with tarfile.open(tmp_path / "photos.tar", "w") as tar:
        tar.add(root, "photos")
    return timm.data.create_dataset("", str(tmp_path / "photos.tar"))


REFUSED: dict[str, Callable[[Path, Path], Any]] = {
    "OwnItem overrides __getitem__": lambda root, _: OwnItem(root),
    "OwnLength overrides __len__": lambda root, _: OwnLength(root),
    "ImageDataset has __getitems__": lambda root, _: changed(ImageDataset(root), __getitems__=list),
    "its load_bytes is True": lambda root, _: ImageDataset(root, load_bytes=True),
    "its input_img_mode is 'L'": lambda root, _: ImageDataset(root, input_img_mode="L"),
    "its input_img_mode is ''": lambda root, _: ImageDataset(root, input_img_mode=""),
    "its additional_features is ['x']": lambda root, _: ImageDataset(root, additional_features=["x"]),
    "its reader is a OwnReader, not one of a folder": lambda root, _: ImageDataset(root, OwnReader(root)),
    "its reader is a ReaderImageInTar, not one of a folder": in_tar,
    "ReaderImageFolder overrides __len__": lambda root, _: ImageDataset(root, changed(Reader(root), __len__=int)),
}


@pytest.mark.parametrize("reason", REFUSED)
def test_what_reads_in_another_way_is_not_lifted(reason: str, photos: Path, tmp_path: Path) -> None:
    assert refused(REFUSED[reason](photos, tmp_path)) == reason


@pytest.mark.parametrize("owner", [ImageDataset, Reader])
def test_a_method_that_was_put_in_the_place_of_timms(owner: Any, photos: Path) -> None:
    dataset = numbered(photos)

    def another(self: Any, index: int) -> Any:
        return None

    with mock.patch.object(owner, "__getitem__", another):
        assert refused(dataset) == f"{owner.__name__} overrides __getitem__"
    check(dataset)


def test_it_is_said_that_torchs_workers_read_it(photos: Path, caplog: pytest.LogCaptureFixture) -> None:
    dataset = timm.data.create_dataset("", photos, input_img_mode="L", transform=SQUARE)
    with caplog.at_level(logging.WARNING, "gpuload"):
        loader = DataLoader(dataset, 5, device="cpu")
    assert caplog.messages == ["torch's own workers read ImageDataset: its input_img_mode is 'L'"]
    assert next(iter(loader))[0].shape == (5, 1, 20, 20)


# ---- files that cannot be read ----


def torn(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:600])


BREAK: dict[str, Callable[[Path], Any]] = {
    "missing": Path.unlink,
    "empty": lambda path: path.write_bytes(b""),
    "no image": lambda path: path.write_text("no image"),
    "torn": torn,
}
workers_0_and_2 = pytest.mark.parametrize("workers", [0, 2])


@workers_0_and_2
@pytest.mark.parametrize("how", BREAK)
def test_the_next_file_stands_for_one_that_fails(how: str, workers: int, folder: Path) -> None:
    dataset, broken = numbered(folder), BREAK[how]
    for number in (4, 5, 23):
        broken(Path(dataset.reader.samples[number][0]))
    labels = check(dataset, epochs=3, workers=workers)  # from the second on, sizes are remembered
    assert labels == [0, 1, 2, 3, 6, 6, *range(6, 23), 0]


@workers_0_and_2
@pytest.mark.parametrize("how", BREAK)
def test_files_that_fail_from_the_second_epoch_on(how: str, workers: int, folder: Path) -> None:
    dataset = numbered(folder)
    loader = DataLoader(dataset, 5, device="cpu", num_workers=workers)
    assert len([*loader]) == 5
    for number in (0, 12, 13):
        BREAK[how](Path(dataset.reader.samples[number][0]))
    for _ in range(2):
        given, expected = [*loader], [*TorchDataLoader(dataset, 5)]
        assert all(map(torch.equal, *([images for images, _ in batches] for batches in (given, expected))))
        assert all(map(torch.equal, *([labels for _, labels in batches] for batches in (given, expected))))


def test_files_that_fail_are_passed_over_in_views_and_before_ordinary_code(folder: Path) -> None:
    grain = v1.Compose([v1.Resize((20, 20)), v1.RandomRotation((90, 90)), v1.PILToTensor()])
    dataset = numbered(folder, transform=grain)
    torn(Path(dataset.reader.samples[4][0]))
    assert check(dataset, 2)[3:6] == [3, 5, 5]
    assert check(Subset(dataset, [3, 4, 2]), 2) == [3, 5, 2]
    assert check(ConcatDataset([dataset, Subset(dataset, [4])]), 2)[-1] == 5


def test_it_is_warned_as_timm_warns(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    dataset = numbered(folder)
    torn(Path(dataset.reader.samples[4][0]))
    told = []
    for make in (lambda: DataLoader(dataset, 5, device="cpu"), lambda: TorchDataLoader(dataset, 5)):
        caplog.clear()
        list(make())
        told.append([(record.name, record.levelname, record.getMessage()) for record in caplog.records])
    assert told[0] == told[1] != []


def test_as_many_as_timm_tries(folder: Path) -> None:
    dataset = numbered(folder)
    for path, _ in dataset.reader.samples[2:12]:
        Path(path).unlink()
    with pytest.raises(RuntimeError, match="Failed to load 10 consecutive samples") as error:
        list(DataLoader(dataset, 5, device="cpu", num_workers=2))
    assert isinstance(error.value, SampleError) and error.value.index == 2
    with pytest.raises(RuntimeError, match="Failed to load 10 consecutive samples"):
        list(TorchDataLoader(dataset, 5))
