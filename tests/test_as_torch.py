"""gpuload's loader beside torch's: the same batches, types and warnings, whatever was changed of what they call."""

import warnings
from collections import UserList
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch
import torchvision.datasets as D
from PIL import Image, ImageFile
from torch import nn
from torch.utils.data import ConcatDataset, DataLoader as TorchDataLoader, Subset, TensorDataset
from torchvision import transforms as v1, tv_tensors
from torchvision.transforms import functional as F1, v2

from gpuload import DataLoader, ImageFolder, transforms as T
from gpuload.lifting import Unknown, find
from gpuload.loading.images import ImagePath
from gpuload.recipes.draws import TorchDraws
from gpuload.transforms.program import flat, program_of
from tests.conftest import make_photo
from tests.torchvision_samples import MADE, folders

Make = Callable[[], Any]
PHOTO = make_photo(40, 30)
RESIZED = v1.Compose([v1.Resize((12, 9)), v1.PILToTensor()])


@pytest.fixture
def dataset(tmp_path: Path) -> Any:
    return D.ImageFolder(folders(tmp_path), RESIZED)


def same(ours: Any, theirs: Any) -> bool:
    if isinstance(theirs, list | tuple):
        return type(ours) is type(theirs) and len(ours) == len(theirs) and all(map(same, ours, theirs))
    return type(ours) is type(theirs) and np.array_equal(ours, theirs)


def check(dataset: Any, **options: Any) -> DataLoader:
    """Both loaders give the same; gpuload's is returned."""
    loader = DataLoader(dataset, **{"batch_size": 4, "device": "cpu"} | options)
    assert same(list(loader), list(TorchDataLoader(dataset, **{"batch_size": 4} | options)))
    return loader


# ---- Pillow ----


def darker(function: Callable[..., Image.Image]) -> Callable[..., Image.Image]:
    """A user's own, in the place of a function of Pillow's or torchvision's."""
    return lambda *arguments, **options: function(*arguments, **options).point(lambda value: value // 2)


@pytest.mark.parametrize(
    ("owner", "name", "place"),
    [(Image, "open", "PIL.Image.open"), (Image.Image, "convert", "PIL.Image.Image.convert"),
     (Image.Image, "resize", "PIL.Image.Image.resize")],
)  # fmt: skip
@pytest.mark.parametrize("own", [False, True], ids=["torchvision", "gpuload"])
def test_functions_of_pillow(owner: Any, name: str, place: str, own: bool, dataset: Any) -> None:
    images = ImageFolder(dataset.root, T.Resize((12, 9))) if own else dataset
    loader = check(images)
    before = list(loader)
    with mock.patch.object(owner, name, darker(getattr(owner, name))):
        ours = list(loader)
        assert same(ours, list(TorchDataLoader(images, 4))) and not same(ours, before)
        assert find(images) == Unknown(f"{place} is not Pillow's own")
    assert same(list(loader), before) and isinstance(loader.path, ImagePath)


def test_an_opener_of_jpegs(dataset: Any) -> None:
    Image.preinit()
    opener, accept = Image.OPEN["JPEG"]
    with mock.patch.dict(Image.OPEN, {"JPEG": (darker(opener), accept)}):
        check(dataset)
        assert find(dataset) == Unknown("PIL.Image.OPEN['JPEG'] is not Pillow's own")


def test_arrays_are_made_images_by_pillow(tmp_path: Path) -> None:
    dataset = MADE["CIFAR10"](tmp_path)
    dataset.transform = RESIZED
    with mock.patch.object(Image, "fromarray", darker(Image.fromarray)):
        check(dataset)


def test_files_that_end_early(dataset: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    path = Path(dataset.samples[2][0])
    path.write_bytes(path.read_bytes()[:-9])
    loader = DataLoader(dataset, 4, device="cpu")
    with pytest.raises(OSError, match="image file is truncated"):
        list(loader)
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    assert same(list(loader), list(TorchDataLoader(dataset, 4)))


def test_images_of_many_pixels(dataset: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    most = max(image.width * image.height for image in (D.folder.pil_loader(path) for path, _ in dataset.samples))
    for limit, category in ((None, None), (most, None), (most - 1, Image.DecompressionBombWarning)):
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
        for make in (DataLoader, TorchDataLoader):
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                list(make(dataset, 4))
            assert {one.category for one in caught} == ({category} if category else set())


# ---- torchvision ----


@pytest.mark.parametrize(
    ("owner", "name"), [(F1, "resize"), (v1.Resize, "forward"), (v1.PILToTensor, "__call__"), (D.folder, "pil_loader")]
)
def test_functions_of_torchvision(owner: Any, name: str, dataset: Any) -> None:
    loader, function = DataLoader(dataset, 4, device="cpu"), getattr(owner, name)
    before = list(loader)
    changed = {"__call__": lambda *one: function(*one) // 2}.get(name, darker(function))
    with mock.patch.object(owner, name, changed):
        ours = list(loader)
        assert same(ours, list(TorchDataLoader(dataset, 4))) and not same(ours, before)
    assert same(list(loader), before) and isinstance(loader.path, ImagePath)


def test_functions_that_datasets_call(tmp_path: Path) -> None:
    dataset = MADE["MNIST"](tmp_path)
    with mock.patch("torchvision.datasets.mnist._Image_fromarray", darker(Image.fromarray)):
        assert find(dataset) == Unknown("torchvision.datasets.mnist._Image_fromarray was replaced")


@pytest.mark.parametrize("library", [v1, v2])
@pytest.mark.parametrize("name", ["Resize", "RandomResizedCrop"])
@pytest.mark.parametrize("antialias", [True, False, None])
def test_warnings_of_antialiasing(library: Any, name: str, antialias: bool | None, dataset: Any) -> None:
    dataset.transform = v1.Compose([getattr(library, name)((9, 9), antialias=antialias), v1.PILToTensor()])
    said = []
    for make in (DataLoader, TorchDataLoader):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            list(make(dataset, 4))
        said.append({(one.category, str(one.message)) for one in caught})
    assert said[0] == said[1] and len(said[0]) == (antialias is False)


@pytest.mark.parametrize("options", [{}, {"collate_fn": list}, {"collate_fn": tuple, "batch_size": 1},
                                     {"batch_size": None}], ids=str)  # fmt: skip
@pytest.mark.parametrize(
    "end", [v2.ToImage(), v2.PILToTensor(), v2.Compose([v2.ToImage(), v2.ToPureTensor()])], ids=repr
)
def test_the_types_that_arrive(options: dict[str, Any], end: Any, dataset: Any) -> None:
    for transform in (v2.Compose([v2.Resize((9, 8)), end]), v2.Compose([end, v2.CenterCrop((7, 5))])):
        dataset.transform = transform
        assert isinstance(check(dataset, **options).path, ImagePath)
        check(ImageFolder(dataset.root, T.Compose(transform.transforms)), **options)


# ---- what calls transforms ----


class Iterates(nn.Sequential):
    def __iter__(self) -> Any:
        return iter([*self._modules.values()][:1])


class Given(list[Any]):
    def __iter__(self) -> Any:
        return iter(self[:1])


class Computed(v1.Compose):
    def __init__(self, transforms: list[Any]) -> None:
        self.every = transforms

    @property
    def transforms(self) -> list[Any]:
        return self.every[:1]


class Attributes(v1.Compose):
    def __getattribute__(self, name: str) -> Any:
        found = super().__getattribute__(name)
        return found[:1] if name == "transforms" else found


class Holds(nn.Sequential):
    """One that has an attribute of a name that others have, too."""

    def __init__(self, *modules: nn.Module) -> None:
        super().__init__(*modules)
        self.__dict__["transforms"] = [v1.CenterCrop(3)]


class Named(v1.Compose):
    def __init__(self) -> None:
        super().__init__(PARTS)


PARTS: list[Any] = [v1.Resize((12, 9)), v1.CenterCrop(5)]
GATHERED: dict[str, tuple[Make, bool]] = {  # what calls PARTS, or the first of them; and whether gpuload sees how
    "__iter__": (lambda: Iterates(*PARTS), False),
    "a list": (lambda: v1.Compose(Given(PARTS)), False),
    "a property": (lambda: Computed(PARTS), False),
    "attributes": (lambda: Attributes(PARTS), False),
    "another list": (lambda: v1.Compose(UserList(PARTS)), False),
    "an attribute": (lambda: Holds(*PARTS), True),
    "a subclass": (Named, True),
    "a tuple": (lambda: v1.Compose(tuple(PARTS)), True),
    "modules": (lambda: v1.Compose(nn.ModuleList(PARTS)), True),
}


@pytest.mark.parametrize("name", GATHERED)
def test_what_calls_transforms(name: str) -> None:
    make, is_seen = GATHERED[name]
    program = program_of([*flat(v1.Compose([make(), v1.PILToTensor()]))])
    assert program.is_native == is_seen
    assert torch.equal(program(PHOTO, TorchDraws()), v1.PILToTensor()(make()(PHOTO)))


# ---- torch's datasets ----


class Plus(torch.Tensor):
    def __getitem__(self, index: Any) -> Any:
        return super().__getitem__(index) + 1


class Function(torch.Tensor):
    @classmethod
    def __torch_function__(cls, function: Any, types: Any, arguments: Any = (), options: Any = None) -> Any:
        return super().__torch_function__(function, types, arguments, options or {})


ROWS = torch.arange(10.0).view(10, 1)


@pytest.mark.parametrize(("kind", "name"), [(Plus, "__getitem__"), (Function, "__torch_function__")])
def test_tensors_that_give_rows_in_a_way_of_their_own(kind: Any, name: str) -> None:
    dataset = TensorDataset(ROWS.as_subclass(kind))
    assert find(dataset) == Unknown(f"the {kind.__name__} of its TensorDataset overrides {name}")
    check(dataset)
    check(TensorDataset(nn.Parameter(ROWS, requires_grad=False), tv_tensors.Image(torch.zeros(10, 3, 2, 2))))


@pytest.mark.parametrize("kind", [TensorDataset, Subset, ConcatDataset])
def test_classes_of_torch_that_were_changed(kind: Any) -> None:
    rows = TensorDataset(ROWS)
    dataset = {TensorDataset: rows, Subset: Subset(rows, [3, 1]), ConcatDataset: ConcatDataset([rows, rows])}[kind]
    name = "__getitems__" if kind is Subset else "__getitem__"
    with mock.patch.object(kind, name, return_value=[(ROWS[0],)] if kind is Subset else (ROWS[0],)):
        check(dataset)
        assert find(dataset).reason == f"{kind.__name__} overrides {name}"
    assert not isinstance(find(dataset), Unknown)


@pytest.mark.parametrize(
    ("make", "name"),
    [(lambda: ConcatDataset([TensorDataset(ROWS)]), "datasets"), (lambda: TensorDataset(ROWS), "tensors"),
     (lambda: ConcatDataset([TensorDataset(ROWS)]), "cumulative_sizes")],
)  # fmt: skip
def test_attributes_that_make_no_sense(make: Make, name: str) -> None:
    dataset = make()
    setattr(dataset, name, None)
    found = find(dataset)
    assert isinstance(found, Unknown) and found.reason.startswith("gpuload cannot look at its attributes: TypeError")


def test_lists_that_are_not_read(tmp_path: Path) -> None:
    dataset = MADE["OxfordIIITPet"](tmp_path)
    dataset._target_types, dataset._labels = ["segmentation"], None
    assert find(dataset) == Unknown("its targets are segmentation masks, which are read from files")
