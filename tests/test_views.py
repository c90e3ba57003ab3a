"""Subset and ConcatDataset, nested in any way, of images and of rows: the same samples as by plain indexing."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision.datasets as D
from hypothesis import given, strategies as st
from torch.utils.data import ConcatDataset, DataLoader as TorchDataLoader, Dataset, Subset, TensorDataset, random_split
from torchvision.transforms import v2

from gpuload import DataLoader, ImageFolder, SampleError, TensorDataset as OurTensorDataset, transforms as T
from gpuload.datasets import ImageDataset
from gpuload.lifting import Rows, Unknown, find, views
from gpuload.lifting.same import same_transform
from tests.torchvision_samples import attributes, folders, photo


def number_images(first: int, count: int) -> Any:
    """Images of one pixel, which say which they are."""
    pixels = torch.arange(first, first + count, dtype=torch.uint8).view(count, 1, 1)
    return attributes("MNIST", data=pixels, targets=torch.arange(first, first + count))


def tensor_rows(first: int, count: int) -> TensorDataset:
    return TensorDataset(torch.arange(first, first + count), torch.arange(first, first + count).view(count, 1) * 2.0)


@st.composite
def nested(draw: st.DrawFn, leaf: Callable[[int, int], Dataset[Any]], depth: int = 3) -> Dataset[Any]:
    """Views of leaves, some of which occur several times; all samples have numbers of their own."""
    leaves = [leaf(0, 5), leaf(10, 1), leaf(20, 0), leaf(30, 8)]

    def view(depth: int) -> Dataset[Any]:
        kind = draw(st.sampled_from(["leaf", "subset", "concat"])) if depth else "leaf"
        if kind == "leaf":
            return draw(st.sampled_from(leaves))
        if kind == "concat":
            return ConcatDataset([view(depth - 1) for _ in range(draw(st.integers(1, 3)))])
        below: Any = view(depth - 1)
        count = len(below)
        indices = draw(st.lists(st.integers(-count, count - 1), max_size=9)) if count else []
        return Subset(below, draw(st.sampled_from([indices, tuple(indices), np.array(indices, np.int64),
                                                   torch.tensor(indices, dtype=torch.int64)])))  # fmt: skip

    return view(depth)


@given(nested(number_images))
def test_images_of_any_nesting(dataset: Any) -> None:
    view = find(dataset)
    assert isinstance(view, ImageDataset) and len(view) == len(dataset)
    every = np.arange(len(view))
    labels = view.labels(every)
    assert [*labels] == [view.target(i) for i in every] == [dataset[i][1] for i in every]
    assert [view.image(i).getpixel((0, 0)) for i in every] == [dataset[i][0].getpixel((0, 0)) for i in every]
    assert view.known_sizes(every).tolist() == view.sizes.tolist() == [[1, 1]] * len(every)
    memory = view.memory(every)
    if memory is not None:
        read = [np.ctypeslib.ctypes.c_uint8.from_address(int(address)).value for address in memory.addresses]
        assert read == [*labels]
    assert memory is not None or not len(every)


@given(nested(tensor_rows), st.randoms(use_true_random=False))
def test_rows_of_any_nesting(dataset: Any, rng: Any) -> None:
    rows = find(dataset)
    assert isinstance(rows, Rows) and len(rows) == len(dataset)
    order = rng.sample(range(len(dataset)), len(dataset))
    ours = [part.tolist() for batch in DataLoader(dataset, 4, sampler=order, device="cpu") for part in batch]
    assert ours == [part.tolist() for batch in TorchDataLoader(dataset, 4, sampler=order) for part in batch]


# ---- rows on the device ----


def batches(loader: Any) -> list[list[Any]]:
    return [[part.tolist() for part in batch] for batch in loader]


def in_order(dataset: Any) -> list[list[Any]]:
    return [[part.tolist() for part in batch] for batch in TorchDataLoader(dataset, 4)]


def test_splits_on_the_device(device: torch.device) -> None:
    whole = tensor_rows(0, 20)
    parts = random_split(whole, [13, 7], torch.Generator().manual_seed(1))
    for dataset in (*parts, ConcatDataset(parts[::-1]), ConcatDataset([parts[0], tensor_rows(50, 5)])):
        assert batches(DataLoader(dataset, 4, device=device)) == in_order(dataset)


def test_a_subset_by_negative_indices_and_a_users_own_sampler(device: torch.device) -> None:
    dataset = Subset(tensor_rows(0, 20), [5, -1, 7, 7])
    got = batches(DataLoader(dataset, 2, sampler=[-1, 0, 1], device=device))
    assert got == [[[7, 5], [[14.0], [10.0]]], [[19], [[38.0]]]]
    with pytest.raises(IndexError, match="index 4 of a dataset of 4 samples"):
        batches(DataLoader(dataset, 1, sampler=[4], device=device))


def test_what_changes_is_followed_at_the_next_epoch(device: torch.device) -> None:
    whole = tensor_rows(0, 12)
    dataset = Subset(whole, [*range(0, 12, 2)])
    loader = DataLoader(dataset, 4, device=device)
    assert batches(loader) == in_order(dataset)
    dataset.indices.reverse()  # type: ignore[attr-defined]
    assert batches(loader) == in_order(dataset)
    dataset.indices[0] = 11  # type: ignore[index]
    assert batches(loader) == in_order(dataset)
    whole.tensors[1].mul_(3)
    assert batches(loader) == in_order(dataset)
    whole.tensors[1].data = torch.ones(12, 1)
    assert batches(loader) == in_order(dataset)
    whole.tensors = whole.tensors[::-1]
    assert batches(loader) == in_order(dataset)
    dataset.dataset = tensor_rows(40, 12)
    assert batches(loader) == in_order(dataset)


def test_what_has_not_changed_stays_where_it_is(device: torch.device) -> None:
    whole = tensor_rows(0, 12)
    dataset = ConcatDataset([Subset(whole, np.arange(0, 12, 2)), tensor_rows(20, 3)])
    loader = DataLoader(dataset, 4, device=device)
    batches(loader)
    before = loader.path._resident
    batches(loader)
    assert loader.path._resident is before
    dataset.datasets[0].indices[0] = 9
    batches(loader)
    after = loader.path._resident
    assert after is not before and all(a is b for a, b in zip(after._columns, before._columns, strict=True))
    whole.tensors[0].add_(1)
    batches(loader)
    last = loader.path._resident
    assert last._columns[0] is not after._columns[0] and last._columns[1] is after._columns[1]


def test_inference_tensors_are_followed_too(device: torch.device) -> None:
    with torch.inference_mode():
        dataset = TensorDataset(torch.arange(4))
        loader = DataLoader(dataset, 4, device=device)
        batches(loader)
        dataset.tensors[0].add_(5)
        assert batches(loader) == [[[5, 6, 7, 8]]]


def test_an_epoch_in_flight_goes_on_with_what_it_has(device: torch.device) -> None:
    dataset = Subset(tensor_rows(0, 12), [*range(6)])
    loader = DataLoader(dataset, 3, device=device)
    first = iter(loader)
    next(first)
    dataset.indices = [*range(6, 12)]
    assert batches(loader)[0][0] == [6, 7, 8]
    assert next(first)[0].tolist() == [3, 4, 5]


def test_indices_are_read_again_only_when_they_change() -> None:
    dataset = Subset(tensor_rows(0, 12), [*range(6)])
    once = views.indices_of(dataset)
    assert views.indices_of(dataset) is once
    dataset.indices[2] = 9  # type: ignore[index]
    assert views.indices_of(dataset).tolist() == [0, 1, 9, 3, 4, 5]
    before = len(views._read)
    del dataset
    assert len(views._read) == before - 1


def test_where_rows_are_put() -> None:
    ours, theirs = OurTensorDataset(torch.arange(3), device="cpu"), TensorDataset(torch.arange(3))
    for dataset in (ours, Subset(ours, [1]), ConcatDataset([ours, ours])):
        assert find(dataset).device == ours.device
    for other in (theirs, ConcatDataset([ours, theirs])):
        assert find(other).device is None


# ---- images ----


def test_labels_go_through_each_datasets_own_target_transform(tmp_path: Path) -> None:
    one, other = D.ImageFolder(folders(tmp_path), target_transform=str), number_images(0, 3)
    three = ImageFolder(tmp_path, target_transform=lambda target: -target)
    both = find(ConcatDataset([Subset(one, [5, 0]), three]))
    assert isinstance(both, ImageDataset)
    assert both.labels(np.array([2, 1, 7, 0])) == [0, "0", -1, "1"]
    assert both.targets_of(np.array([2, 1, 7, 0])) == [0, 0, 1, 1] and both[0][1] == "1"
    assert find(ConcatDataset([one, other])) == Unknown(
        "the datasets of its ConcatDataset have images in color and in grayscale"
    )


def test_files_and_arrays_together(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (3, 4, 5, 3), np.uint8)
    arrays = attributes("CIFAR10", data=pixels, targets=[7, 8, 9])
    files = D.ImageFolder(folders(tmp_path))
    view = find(ConcatDataset([files, arrays]))
    assert isinstance(view, ImageDataset)
    memory = view.memory(np.array([7, 0]))
    assert memory is not None and memory.addresses[0] != 0 and memory.addresses[1] == 0
    assert view.memory(np.array([1, 0])) is None
    assert view.paths(np.array([7, 0])) == [b"", files.samples[0][0].encode()]
    view.remember(np.array([0, 7]), np.array([[9, 12], [4, 5]], np.int32))
    again = find(ConcatDataset([files, arrays]))
    assert isinstance(again, ImageDataset)
    assert again.known_sizes(np.array([7, 0, 1])).tolist() == [[4, 5], [9, 12], [0, 0]]
    assert view.describe() == "6 files of torchvision's ImageFolder and 3 images of torchvision's CIFAR10, in memory"


def test_an_error_names_the_file_and_its_index_in_the_dataset(tmp_path: Path) -> None:
    files = D.ImageFolder(folders(tmp_path))
    photo(tmp_path / "b" / "1.jpg").write_bytes(b"no picture")
    view = find(ConcatDataset([Subset(files, [0, 1]), Subset(files, [4])]))
    assert isinstance(view, ImageDataset)
    for call in (view.image, view.size, view.__getitem__):
        with pytest.raises(SampleError, match=r"sample 4 \(.*b/1.jpg\)"):
            call(2)
    assert view.read(2) == b"no picture"
    with pytest.raises(IndexError, match="sample 3 of 3"):
        view.image(3)
    assert np.array_equal(view.image(-2), files[1][0])


def test_a_dataset_that_grew_after_it_was_concatenated() -> None:
    """torch goes on with as many samples as there were."""
    growing = number_images(0, 3)
    dataset = ConcatDataset([growing, number_images(10, 2)])
    growing.data, growing.targets = number_images(0, 4).data, number_images(0, 4).targets
    view = find(dataset)
    assert isinstance(view, ImageDataset)
    assert [view.target(i) for i in range(5)] == [dataset[i][1] for i in range(5)] == [0, 1, 2, 10, 11]
    growing.data, growing.targets = growing.data[:2], growing.targets[:2]
    assert find(dataset) == Unknown("its ConcatDataset was made of [3, 2] samples, and has [2, 2]")


# ---- what is not lifted ----


class Own(Subset[Any]):
    def __getitem__(self, index: Any) -> Any:
        return index

    def __getitems__(self, indices: Any) -> Any:
        return indices


class OwnConcat(ConcatDataset[Any]):
    def __getitems__(self, indices: Any) -> Any:
        return indices


class Named(Subset[Any]):
    name = "train"


ROWS = tensor_rows(0, 4)


@pytest.mark.parametrize(
    ("dataset", "reason"),
    [
        (Own(ROWS, [1]), "Own overrides __getitem__"),
        (OwnConcat([ROWS]), "OwnConcat has __getitems__"),
        (Subset(ROWS, [4]), "its Subset has index 4 of a dataset of 4 samples"),
        (Subset(Subset(ROWS, [1, 2]), [-3, 0]), "its Subset has index -3 of a dataset of 2 samples"),
        (Subset(ROWS, [1.0]), "the indices of its Subset are not plain integers, but a list of float"),
        (Subset(ROWS, [True, 2]), "the indices of its Subset are not plain integers, but a list of bool, int"),
        (Subset(ROWS, [1 << 70]), "the indices of its Subset are not plain integers, but a list of int"),
        (Subset(ROWS, torch.tensor([True])),
         "the indices of its Subset are not plain integers, but a Tensor of bool (1,)"),
        (Subset(ROWS, np.zeros((1, 1), int)),
         "the indices of its Subset are not plain integers, but a ndarray of int64 (1, 1)"),
        (Subset(ROWS, {1: 2}), "the indices of its Subset are not plain integers, but a dict"),
        (Subset([1, 2], [0]), "gpuload does not know list"),
        (ConcatDataset([ROWS, number_images(0, 1)]), "its ConcatDataset has images and tensors"),
        (ConcatDataset([ROWS, TensorDataset(torch.arange(3))]),
         "its TensorDatasets differ: int64 (), float32 (1,) and int64 ()"),
        (ConcatDataset([TensorDataset(torch.arange(3)), TensorDataset(torch.arange(3.0))]),
         "its TensorDatasets differ: int64 () and float32 ()"),
        (TensorDataset(torch.arange(3).to_sparse()), "its TensorDataset has a Tensor without rows to pick"),
        (TensorDataset(torch.zeros(3, requires_grad=True)),
         "its TensorDataset has a tensor that requires gradients: picked rows pass none on"),
        (TensorDataset(torch.zeros(3, dtype=torch.complex64).conj().imag),
         "its TensorDataset has a tensor whose bytes are not its values: resolve_conj()"),
        (TensorDataset(torch.zeros(3, dtype=torch.complex64).conj()),
         "its TensorDataset has a tensor whose bytes are not its values: resolve_conj()"),
    ],
)  # fmt: skip
def test_a_view_that_is_not_lifted(dataset: Any, reason: str) -> None:
    assert find(dataset) == Unknown(reason)


def test_tensors_that_no_longer_fit() -> None:
    dataset = tensor_rows(0, 4)
    dataset.tensors = torch.arange(4), torch.arange(3)
    assert find(dataset) == Unknown("its TensorDataset has tensors of shapes [(4,), (3,)]")


def test_a_subclass_that_changes_nothing_is_lifted() -> None:
    rows = find(Named(ROWS, range(1, 3)))
    assert isinstance(rows, Rows) and rows.table is not None and rows.table.tolist() == [1, 2]


def test_leaves_of_different_transforms(tmp_path: Path) -> None:
    one, other = ImageFolder(folders(tmp_path)), ImageFolder(tmp_path)
    for transforms in ((T.Resize(8), T.Resize(8)), (T.Compose([T.Resize(8)]), T.Compose([T.Resize(8)]))):
        one.transform, other.transform = transforms
        assert isinstance(find(ConcatDataset([one, other])), ImageDataset)
    other.transform = T.Resize(9)
    assert find(ConcatDataset([one, other])) == Unknown("the datasets of its ConcatDataset have different transforms")
    other.transform, other.exif_transpose = one.transform, True
    assert find(ConcatDataset([one, other])) == Unknown("the datasets of its ConcatDataset differ in exif_transpose")


def flip(image: Any) -> Any:
    return image


@pytest.mark.parametrize(
    ("make", "same"),
    [
        (lambda: v2.RandomResizedCrop(8), True),
        (lambda: v2.Compose([v2.RandomHorizontalFlip(), v2.Normalize([0.5], [0.5])]), True),
        (lambda: v2.ToDtype(torch.float32, scale=True), True),
        (lambda: v2.Lambda(flip), True),
        (lambda: v2.Lambda(lambda image: image), False),
        (lambda: flip, True),
        (lambda: lambda image: image, False),
        (lambda: T.Compose([T.RandomResizedCrop(8), T.ToDtype(torch.float32, scale=True)]), True),
        (lambda: v2.RandomCrop(8, fill={"a": 1}), True),
    ],
)
def test_which_transforms_are_the_same(make: Callable[[], Any], same: bool) -> None:
    assert same_transform(make(), make()) == same


@pytest.mark.parametrize(
    ("one", "other"),
    [(v2.Resize(8), v2.Resize(9)), (v2.Resize(8), T.Resize(8)), (v2.Resize(8), None),
     (v2.Normalize([0.5], [0.5]), v2.Normalize([0.5], [0.25])),
     (v2.RandomHorizontalFlip(0), v2.RandomHorizontalFlip(1)),
     (v2.Resize(8), v2.Resize(8).eval()), (v2.Compose([v2.Resize(8)]), v2.Compose([v2.Resize(8)] * 2)),
     (torch.zeros(2), torch.zeros(3)), ({1}, {2}), (np.zeros(2), np.ones(2)), ({1: 2}, {2: 2})],
)  # fmt: skip
def test_transforms_that_are_not_the_same(one: Any, other: Any) -> None:
    assert not same_transform(one, other)
