"""What is lifted is what ``dataset[i]`` gives; what a user has changed is followed, or not lifted, with a reason."""

import gc
import os
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch
import torchvision.datasets as D
from PIL import Image
from torch import nn
from torch.utils.data import ChainDataset, Dataset, IterableDataset, StackDataset
from torchvision.transforms import v2

from gpuload import DataLoader, ImageFolder, TensorDataset, transforms as T
from gpuload.datasets import ImageDataset
from gpuload.lifting import Unknown, find, images
from gpuload.lifting.torchvision import KINDS, OTHERS
from gpuload.lifting.torchvision_wrapped import WRAPPED
from tests.torchvision_pages import page
from tests.torchvision_samples import MADE, attributes, inaturalist, pets, photo, qmnist

Make = Callable[[str], Any]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """The dataset of that name."""
    return lambda name: MADE[name](tmp_path / name)


def found(dataset: Any) -> ImageDataset:
    view = find(dataset)
    assert isinstance(view, ImageDataset), view
    return view


def refused(dataset: Any) -> str:
    view = find(dataset)
    assert isinstance(view, Unknown), view
    return view.reason


def same(ours: Any, theirs: Any) -> bool:
    if isinstance(theirs, torch.Tensor):
        return type(ours) is type(theirs) and ours.dtype == theirs.dtype and torch.equal(ours, theirs)
    if isinstance(theirs, tuple | list):
        return type(ours) is type(theirs) and len(ours) == len(theirs) and all(map(same, ours, theirs))
    return type(ours) is type(theirs) and ours == theirs


def pixels_at(view: ImageDataset, index: int) -> np.ndarray[Any, Any]:
    """As native code reads them."""
    memory = view.memory(np.arange(len(view)))
    assert memory is not None
    ((height, width),), channels = view.known_sizes(np.array([index])).tolist(), int(memory.channels[index])
    shape = (height, width, channels) if channels > 1 else (height, width)
    read = (np.ctypeslib.ctypes.c_uint8 * int(np.prod(shape))).from_address(int(memory.addresses[index]))
    return np.array(read, np.uint8).reshape(shape)


def check(dataset: Any) -> None:
    """Everything that a view gives is what the dataset gives."""
    view, every = found(dataset), np.arange(len(dataset))
    labels, targets = view.labels(every), view.targets_of(every)
    labels, targets = (x.tolist() if isinstance(x, np.ndarray) else x for x in (labels, targets))
    in_memory = view.memory(every) is not None
    assert len(view) == len(dataset) == len(labels) == len(targets) == len(view.paths(every))
    for index in every.tolist():
        (image, target), ours = dataset[index], view.image(index)
        assert ours.mode == image.mode == {1: "L", 3: "RGB"}[view.channels]
        assert np.array_equal(ours, image) and view.size(index) == (image.height, image.width)
        assert same(labels[index], target) and same(view.target(index), target) and same(targets[index], target)
        assert same(view[index][1], target) and np.array_equal(view[index][0], image)
        if in_memory:
            assert np.array_equal(pixels_at(view, index), image)
        else:
            assert view.paths(every)[index] == os.fsencode(view.path(index))


# ---- each dataset ----


@pytest.mark.parametrize("name", MADE)
def test_a_lifted_dataset_gives_what_the_dataset_gives(name: str, make: Make) -> None:
    check(make(name))


@pytest.mark.parametrize("options", [{"target_type": "full"}, {"target_type": ["family"]}], ids=str)
def test_the_targets_of_inaturalist(options: dict[str, Any], tmp_path: Path) -> None:
    check(inaturalist(tmp_path, **options))


@pytest.mark.parametrize("types", ["binary-category", ["category", "binary-category"], []], ids=str)
def test_the_targets_of_pets(types: Any, tmp_path: Path) -> None:
    check(pets(tmp_path, target_types=types))


@pytest.mark.parametrize("own", [T, v2], ids=["gpuload", "torchvision"])
def test_gray_digits_have_one_channel_in_the_dataset_and_in_the_loader(own: Any, make: Make) -> None:
    dataset = make("MNIST")
    dataset.transform = own.Compose([own.Resize(20), own.ToImage(), own.ToDtype(torch.float32, scale=True)])
    images, _ = next(iter(DataLoader(dataset, len(dataset), device="cpu")))
    assert images.shape == (len(dataset), 1, 20, 20)
    assert torch.equal(images, torch.stack([dataset[index][0] for index in range(len(dataset))]))


def test_rows_as_targets_of_qmnist(tmp_path: Path) -> None:
    check(qmnist(tmp_path, compat=False))


def test_labels_of_stl10_may_be_missing(make: Make) -> None:
    dataset = make("STL10")
    dataset.labels = None
    check(dataset)


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "1", "CMYK"])
def test_files_of_any_mode(mode: str, tmp_path: Path) -> None:
    path = photo(tmp_path / "a" / "x.tif")
    with Image.open(path) as image:
        changed = image.convert(mode)
    changed.save(path, "TIFF")
    check(D.ImageFolder(tmp_path))


def test_every_dataset_that_is_lifted_is_tested() -> None:
    lifted = {name for name, cls in theirs() if why(name, cls) is None}
    assert lifted == set(MADE)


# ---- what is followed ----


def test_transforms_are_followed(make: Make) -> None:
    dataset = make("ImageFolder")
    before = found(dataset)
    dataset.transform, dataset.target_transform = v2.RandomHorizontalFlip(1.0), str
    view = found(dataset)
    assert before.transform is None and view.transform is dataset.transform
    assert view.labels(np.arange(6)) == [*"000111"]
    assert np.array_equal(view[5][0], dataset[5][0]) and view[5][1] == dataset[5][1] == "1"


@pytest.mark.parametrize("name", ["ImageFolder", "StanfordCars"])
def test_samples_are_followed(name: str, make: Make) -> None:
    dataset = make(name)
    listed = "samples" if name == "ImageFolder" else "_samples"
    getattr(dataset, listed).reverse()
    check(dataset)
    setattr(dataset, listed, getattr(dataset, listed)[:2])
    check(dataset)
    getattr(dataset, listed).append((getattr(dataset, listed)[0][0], 77))
    check(dataset)
    assert found(dataset).target(2) == 77


def test_imgs_of_an_image_folder_are_not_read(make: Make) -> None:
    dataset = make("ImageFolder")
    dataset.imgs = []
    check(dataset)
    assert len(found(dataset)) == 6


@pytest.mark.parametrize("name", ["MNIST", "CIFAR10", "SVHN", "STL10", "USPS", "FER2013"])
def test_arrays_are_followed(name: str, make: Make) -> None:
    dataset = make(name)
    view = found(dataset)
    pixels = dataset.data[3] if name != "FER2013" else dataset._samples[3][0]
    pixels[:] = 255 - pixels
    assert np.array_equal(pixels_at(view, 3), dataset[3][0])  # within the epoch, as torch does
    check(dataset)
    if name in ("CIFAR10", "MNIST"):
        dataset.data, dataset.targets = dataset.data[1:4], dataset.targets[1:4]
        check(dataset)
        dataset.targets[0] = 9
        check(dataset)


def test_arrays_in_any_order_of_bytes(make: Make) -> None:
    dataset = make("CIFAR10")
    assert not dataset.data[0].flags.c_contiguous
    dataset.data = np.ascontiguousarray(dataset.data)
    check(dataset)
    dataset.data = dataset.data[:, ::-1, ::2]
    check(dataset)
    gray = make("USPS")
    gray.data = gray.data[:, :, ::-1].transpose(0, 2, 1)
    check(gray)


@pytest.mark.parametrize("targets", [np.arange(10), [*range(10)], torch.arange(10), [1.5] * 10], ids=type)
def test_targets_of_any_kind(targets: Any, make: Make) -> None:
    for name in ("CIFAR10", "MNIST"):
        dataset = make(name)
        dataset.data, dataset.targets = dataset.data[:7], targets[:7]
        check(dataset)


def test_a_false_transform_is_called_where_torchvision_calls_it(make: Make) -> None:
    empty = nn.Sequential()
    for name, called in (("ImageFolder", True), ("Flowers102", False)):
        dataset = make(name)
        dataset.transform = empty
        assert found(dataset).transform is (empty if called else None)


def test_joint_transforms_hold_what_is_called(tmp_path: Path) -> None:
    dataset = pets(tmp_path, transform=v2.RandomHorizontalFlip(1.0), target_transform=str)
    dataset.transform = None  # which nobody asks
    view = found(dataset)
    assert view.transform is dataset.transforms.transform
    assert view.labels(np.array([2])) == [dataset[2][1]] == ["2"]


def test_a_subclass_that_reads_samples_in_the_same_way(make: Make, tmp_path: Path) -> None:
    class Mine(D.ImageFolder):
        def __init__(self, root: Path) -> None:
            super().__init__(root)
            self.samples = self.samples[:4]

        def find_classes(self, directory: Any) -> tuple[list[str], dict[str, int]]:
            return ["b", "a"], {"b": 0, "a": 1}

    make("ImageFolder")
    check(Mine(tmp_path / "ImageFolder"))
    assert found(Mine(tmp_path / "ImageFolder")).targets_of(np.arange(4)) == [1, 1, 1, 0]


# ---- sizes ----


def test_sizes_are_remembered_while_the_dataset_lives(make: Make) -> None:
    before, dataset = len(images._sizes), make("ImageFolder")
    found(dataset).remember(np.array([1, 3]), np.array([[5, 6], [7, 8]], np.int32))
    assert found(dataset).known_sizes(np.array([3, 0, 1])).tolist() == [[7, 8], [0, 0], [5, 6]]
    dataset.samples.pop()
    assert not found(dataset).known_sizes(np.arange(5)).any()
    found(dataset).remember(np.array([1]), np.array([[5, 6]], np.int32))
    dataset.samples = dataset.samples[::-1]
    assert not found(dataset).known_sizes(np.arange(5)).any()
    del dataset
    assert len(images._sizes) == before


def test_sizes_of_datasets_that_have_no_hash(make: Make, tmp_path: Path) -> None:
    class Equal(D.ImageFolder):
        def __eq__(self, other: object) -> bool:
            return True

    make("ImageFolder")
    one, other = Equal(tmp_path / "ImageFolder"), Equal(tmp_path / "ImageFolder")
    found(one).remember(np.array([0]), np.array([[5, 6]], np.int32))
    assert found(one).known_sizes(np.array([0])).any() and not found(other).known_sizes(np.array([0])).any()


def test_a_view_is_freed_by_its_last_reference(make: Make) -> None:
    dataset = make("MNIST")
    view = found(dataset)
    gone, memory = weakref.ref(view), view.memory(np.arange(2))
    assert memory is not None
    gc.disable()
    del view, memory
    assert gone() is None
    gc.enable()


# ---- what is not lifted ----


class OwnGetitem(D.ImageFolder):
    def __getitem__(self, index: int) -> Any:
        return (*super().__getitem__(index), self.samples[index][0])


class OwnGetitems(D.ImageFolder):
    def __getitems__(self, indices: Any) -> Any:
        return [self[index] for index in indices]


class OwnLen(D.ImageFolder):
    def __len__(self) -> int:
        return 2


class OwnSamples(D.ImageFolder):
    @property
    def samples(self) -> Any:
        return self._mine

    @samples.setter
    def samples(self, samples: Any) -> None:
        self._mine = samples


class OwnAttributes(D.ImageFolder):
    def __getattr__(self, name: str) -> Any:
        raise AttributeError(name)


class OwnLookup(D.ImageFolder):
    def __getattribute__(self, name: str) -> Any:
        return super().__getattribute__(name)


@pytest.mark.parametrize(
    ("cls", "reason"),
    [
        (OwnGetitem, "OwnGetitem overrides __getitem__"),
        (OwnGetitems, "OwnGetitems has __getitems__"),
        (OwnLen, "OwnLen overrides __len__"),
        (OwnSamples, "samples of OwnSamples is a property"),
        (OwnAttributes, "OwnAttributes has __getattr__"),
        (OwnLookup, "OwnLookup overrides __getattribute__"),
    ],
)
def test_a_subclass_with_methods_of_its_own(cls: Any, reason: str, make: Make, tmp_path: Path) -> None:
    make("ImageFolder")
    assert refused(cls(tmp_path / "ImageFolder")) == reason


@pytest.mark.parametrize(
    ("name", "changes", "reason"),
    [
        ("ImageFolder", {"loader": photo}, "its loader is photo, not torchvision's default"),
        ("ImageFolder", {"__getitem__": None}, "ImageFolder overrides __getitem__"),
        ("ImageFolder", {"__getitems__": None}, "ImageFolder has __getitems__"),
        ("LFWPeople", {"_loader": photo}, "its loader is photo, not torchvision's default"),
        ("INaturalist", {"loader": None}, "its loader is None, not torchvision's default"),
        ("OxfordIIITPet", {"_target_types": ["segmentation"]},
         "its targets are segmentation masks, which are read from files"),
        ("OxfordIIITPet", {"transforms": print}, "its transforms take image and target together"),
        ("Places365", {"transforms": print}, "its transforms take image and target together"),
        ("Flowers102", {"_labels": [1]}, "it has 4 _image_files and 1 _labels"),
        ("CIFAR10", {"targets": [1]}, "it has 35 data and 1 targets"),
        ("CIFAR10", {"data": [1]}, "its data is a list, not an array"),
        ("CIFAR10", {"data": np.zeros((35, 3, 3, 3))}, "its data is float64 (35, 3, 3, 3), which are no RGB images"),
        ("CIFAR10", {"data": np.zeros((35, 3, 3), "uint8")}, "its data is uint8 (35, 3, 3), which are no RGB images"),
        ("CIFAR10", {"data": np.zeros((35, 0, 3, 3), "uint8")}, "its data is uint8 (35, 0, 3, 3), which are no RGB"),
        ("MNIST", {"data": np.zeros((7, 2, 2), "uint8")}, "its data is a ndarray, not a tensor in the host's memory"),
        ("MNIST", {"data": torch.zeros(7, 2, 2)}, "its data is float32 (7, 2, 2), which are no gray images of 8 bits"),
        ("FER2013", {"_samples": [(torch.zeros(2, n, dtype=torch.uint8), 1) for n in (2, 3)]},
         "its images have several sizes"),
    ],
)  # fmt: skip
def test_a_dataset_that_was_changed(name: str, changes: dict[str, Any], reason: str, make: Make) -> None:
    dataset = make(name)
    vars(dataset).update(changes)
    assert refused(dataset).startswith(reason)


def test_an_attribute_that_is_missing() -> None:
    assert refused(attributes("GTSRB")) == "this GTSRB has no _samples"


def test_functions_of_torchvision_that_were_replaced(make: Make) -> None:
    def mine(*arguments: Any) -> Any:
        return arguments

    dataset, folder = make("ImageFolder"), D.folder
    with mock.patch.object(D.DatasetFolder, "__getitem__", mine):
        assert refused(dataset) == "ImageFolder overrides __getitem__"
    with mock.patch.object(D.DatasetFolder, "__len__", mine):
        assert refused(dataset) == "ImageFolder overrides __len__"
    with mock.patch.object(folder, "pil_loader", mine):
        assert refused(dataset) == "its loader is default_loader, not torchvision's default"
    with mock.patch.object(folder, "default_loader", mine):
        dataset.loader = mine
        assert refused(dataset).endswith("mine, not torchvision's default")
    dataset.loader = folder.pil_loader
    check(dataset)


def test_another_torchvisions_getitem_is_not_taken_for_this_ones(make: Make) -> None:
    dataset, known = make("ImageFolder"), KINDS["DatasetFolder"]
    with mock.patch.dict(KINDS, {"DatasetFolder": known._replace(names="samples")}):  # type: ignore[attr-defined]
        assert refused(dataset) == "DatasetFolder.__getitem__ is not that of a torchvision that gpuload knows"


def test_another_image_backend(make: Make) -> None:
    with mock.patch("torchvision._image_backend", "accimage"):
        assert refused(make("ImageFolder")) == "torchvision's image backend is accimage"


def test_a_wrapped_dataset(make: Make) -> None:
    wrapped = D.wrap_dataset_for_transforms_v2(make("MNIST"))
    assert refused(wrapped) == "gpuload does not know MNIST, wrapped for transforms.v2"


class Ordinary(Dataset[Any]):
    def __getitem__(self, index: int) -> Any:
        return index


class Stream(IterableDataset[Any]):
    def __iter__(self) -> Any:
        return iter(())


@pytest.mark.parametrize(
    ("dataset", "name"),
    [(Ordinary(), "Ordinary"), (Stream(), "Stream"), (ChainDataset([Stream()]), "ChainDataset"), ([1], "list"),
     (StackDataset(TensorDataset(torch.arange(3), device="cpu")), "StackDataset"), (None, "NoneType")],
)  # fmt: skip
def test_what_gpuload_does_not_know(dataset: Any, name: str) -> None:
    assert refused(dataset) == f"gpuload does not know {name}"


# ---- gpuload's own ----


def test_gpuloads_own_dataset_is_itself(photos: Path) -> None:
    dataset = ImageFolder(photos)
    assert find(dataset) is dataset


@pytest.mark.parametrize("name", ["__getitem__", "__getitems__", "image", "read", "labels"])
def test_a_subclass_of_gpuloads(name: str, photos: Path) -> None:
    mine = type("Mine", (ImageFolder,), {name: lambda *arguments: None})(photos)
    verb = "has" if name == "__getitems__" else "overrides"
    assert refused(mine) == f"Mine {verb} {name}"
    plain = ImageFolder(photos)
    setattr(plain, name, print)
    assert refused(plain) == f"ImageFolder {verb} {name}"


def test_a_method_that_was_put_into_a_dataset(photos: Path) -> None:
    dataset = ImageFolder(photos)
    dataset.target = lambda index: 5  # type: ignore[method-assign]
    assert refused(dataset) == "ImageFolder overrides target"


def test_a_subclass_with_paths_and_targets_of_its_own_is_itself(photos: Path) -> None:
    class Mine(ImageFolder):
        def target(self, index: int) -> int:
            return -index

    dataset = Mine(photos)
    assert find(dataset) is dataset


# ---- the page ----


def theirs() -> list[tuple[str, Any]]:
    """Every name that torchvision's datasets have."""
    return [(name, getattr(D, name)) for name in D.__all__]


def why(name: str, cls: Any) -> str | None:
    """Why a dataset of torchvision's is not lifted; None: it is."""
    if not isinstance(cls, type):
        return f"but for wrapped {', '.join(WRAPPED)}, which are lifted"
    owner = next(base for base in cls.__mro__ if "__getitem__" in vars(base)).__qualname__
    return None if owner in KINDS else OTHERS[owner]


def lifting_table() -> list[tuple[str, str]]:
    """Each dataset of torchvision's, and what becomes of it."""
    rows = []
    for name, cls in sorted(theirs()):
        reason = why(name, cls)
        owner = next((base.__qualname__ for base in getattr(cls, "__mro__", ()) if "__getitem__" in vars(base)), "")
        kind = "arrays" if type(KINDS.get(owner)).__module__.endswith("arrays") else "files"
        wrapped = "; lifted where it is wrapped for transforms.v2" * (name in WRAPPED)
        rows.append((f"`{name}`", f"lifted: {kind}" if reason is None else f"torch's workers: {reason}{wrapped}"))
    return rows


def test_the_page_of_datasets_is_as_the_package() -> None:
    page("datasets", ("dataset", "how the loader reads it"), lifting_table())


def test_no_reason_is_left_over() -> None:
    classes = {cls.__qualname__ for _, cls in theirs() if isinstance(cls, type)}
    assert set(OTHERS) <= classes and set(WRAPPED) <= set(OTHERS)


def test_a_table_of_the_page_is_written_or_found_stale(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "page.md"
    path.write_text("Before\n<!-- x -->\nold\n<!-- end of x -->\nafter\n")
    monkeypatch.delenv("GPULOAD_WRITE_PAGES", raising=False)
    with pytest.raises(pytest.fail.Exception, match=r"the table of x in page.md is stale: GPULOAD_WRITE_PAGES=1"):
        page("x", ("a", "b"), [("1", "2")], path)
    monkeypatch.setenv("GPULOAD_WRITE_PAGES", "1")
    page("x", ("a", "b"), [("1", "2")], path)
    written = "Before\n<!-- x -->\n| a | b |\n| --- | --- |\n| 1 | 2 |\n<!-- end of x -->\nafter\n"
    assert path.read_text() == written
    monkeypatch.delenv("GPULOAD_WRITE_PAGES")
    page("x", ("a", "b"), [("1", "2")], path)
