"""The datasets against torchvision's: the same samples in the same order, the same pixels, the same draws."""

import os
import pickle
import re
import tracemalloc
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image
from torch.utils.data import DataLoader as TorchDataLoader, Dataset, TensorDataset as TorchTensorDataset
from torchvision.transforms import v2

from gpuload import DataLoader, ImageFolder, TensorDataset, transforms as T
from gpuload.datasets import ImageDataset
from gpuload.datasets.folder import IMG_EXTENSIONS, Samples
from gpuload.errors import ArgumentError, ArgumentTypeError, DatasetError, SampleError
from gpuload.lifting import Unknown, find

Encode = Callable[..., bytes]
Photo = Callable[..., Image.Image]


def tree(root: Path, *files: str) -> Path:
    """Empty files: what a folder looks like is all that scanning sees."""
    for file in files:
        path = root / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return root


def same_as_torchvision(root: str | Path, **options: Any) -> ImageFolder:
    ours, theirs = ImageFolder(root, **options), torchvision.datasets.ImageFolder(root, **options)
    assert ours.classes == theirs.classes
    assert ours.class_to_idx == theirs.class_to_idx
    assert list(ours.samples) == theirs.samples == list(ours.imgs)
    assert list(ours.targets) == theirs.targets
    assert len(ours) == len(theirs)
    return ours


# ---- which samples, and in which order ----


def test_a_plain_folder(photos: Path) -> None:
    ours = same_as_torchvision(photos)
    assert ours.classes == ["cats", "dogs"] and len(ours) == 24
    same_as_torchvision(str(photos))
    same_as_torchvision(f"{photos}/")
    same_as_torchvision(f"{photos}//")
    same_as_torchvision(f"{photos}/cats/../../{photos.name}")


def test_nested_folders_and_files_that_are_no_images(tmp_path: Path) -> None:
    root = tree(
        tmp_path,
        "b/2.jpg", "b/10.jpg", "b/1.png", "b/sub/0.jpg", "b/sub/deep/er/x.bmp", "b/sub.d/0.jpg", "b/a/z.jpg",
        "B/x.webp", "a/notes.txt", "a/.hidden.jpg", "a/x.jpg.txt", "a/x.tiff", "a/jpg", "a/.jpg", "z/only/deep.ppm",
        "outside.jpg", "README",
    )  # fmt: skip
    same_as_torchvision(root)


def test_extensions_in_any_case(tmp_path: Path) -> None:
    plain = torchvision.datasets.folder.IMG_EXTENSIONS
    endings = [e for extension in plain for e in (extension, extension.upper(), extension.title())]
    assert len(same_as_torchvision(tree(tmp_path, *(f"c/{i}{e}" for i, e in enumerate(endings))))) == len(endings)


def test_the_extensions_are_torchvisions_and_gif(tmp_path: Path) -> None:
    assert (*torchvision.datasets.folder.IMG_EXTENSIONS, ".gif") == IMG_EXTENSIONS
    root = tree(tmp_path, "a/2.jpg", "a/3.avif", "a/4.jp2", "a/5.jfif", "b/1.png")
    same_as_torchvision(root)
    (root / "a" / "1.gif").touch()
    assert [Path(path).name for path, _ in ImageFolder(root).samples] == ["1.gif", "2.jpg", "1.png"]


def test_odd_names(tmp_path: Path) -> None:
    names = ["ü", "日本", "a b", "new\nline", "tab\t", "quote'\"", "%20", "-", "~", "#", "é", "e\u0301", "\u202e"]
    same_as_torchvision(tree(tmp_path, *(f"{folder}/{name}.jpg" for folder in ("Ä ö", "\n", "x") for name in names)))


def test_names_that_are_no_text(tmp_path: Path) -> None:
    folder = os.fsencode(tmp_path) + b"/caf\xe9"
    os.mkdir(folder)
    for name in (b"\xff\xfe.jpg", b"a\x80b.jpg", "ok-ä.jpg".encode()):
        with open(folder + b"/" + name, "wb"):
            pass
    ours = same_as_torchvision(tmp_path)
    assert all(os.path.exists(path) for path, _ in ours.samples)


def test_links(tmp_path: Path) -> None:
    real = tree(tmp_path / "real", "x/1.jpg", "x/2.jpg", "y/3.jpg")
    root = tree(tmp_path / "root", "a/0.jpg", "b/sub/1.jpg")
    (root / "linked class").symlink_to(real / "x")
    (root / "a" / "linked folder").symlink_to(real)
    (root / "b" / "linked.jpg").symlink_to(real / "y" / "3.jpg")
    (root / "b" / "broken.jpg").symlink_to(real / "missing.jpg")
    (root / "not a class").symlink_to(real / "missing")
    ours = same_as_torchvision(root)
    assert len(ours) == 1 + 3 + 1 + 2 + 2
    (tmp_path / "link").symlink_to(root)
    same_as_torchvision(tmp_path / "link")
    with pytest.raises(SampleError, match=re.escape("broken.jpg")):
        ours[next(i for i, (path, _) in enumerate(ours.samples) if path.endswith("broken.jpg"))]


def test_a_relative_root_and_a_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tree(tmp_path / "data", "a/1.jpg", "b/2.jpg")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for root in ("data", "./data", "data/", "../" + tmp_path.name + "/data", "~/data"):
        same_as_torchvision(root)
    monkeypatch.chdir(tmp_path / "data")
    same_as_torchvision(".")


def test_a_relative_root_stays_relative_to_where_it_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tree(tmp_path / "data", "a/1.jpg")
    monkeypatch.chdir(tmp_path)
    ours = ImageFolder("data")
    monkeypatch.chdir("/")
    assert ours.samples[0] == (os.path.join("data", "a", "1.jpg"), 0)


def test_a_filter_of_ones_own(tmp_path: Path) -> None:
    root = tree(tmp_path, "a/1.jpg", "a/2.raw", "b/sub/3.raw")
    seen: list[str] = []

    def is_valid(path: str) -> bool:
        seen.append(path)
        return path.endswith(".raw")

    ours = same_as_torchvision(root, is_valid_file=is_valid)
    assert len(ours) == 2
    assert all(os.path.isfile(path) for path in seen)


def test_empty_classes(tmp_path: Path) -> None:
    root = tree(tmp_path, "a/1.jpg", "c/2.jpg", "d/notes.txt")
    (root / "b").mkdir()
    ours = same_as_torchvision(root, allow_empty=True)
    assert ours.targets.tolist() == [0, 2]
    with pytest.raises(DatasetError, match="'b', 'd'"):
        ImageFolder(root)


def test_nothing_but_empty_classes(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    ours = same_as_torchvision(tmp_path, allow_empty=True)
    assert len(ours) == 0 and ours.targets.dtype == np.int64 and ours.samples[:] == []


# ---- the list of samples ----


@pytest.fixture
def folder(tmp_path: Path) -> ImageFolder:
    counts = {"a": 5, "b/x": 3, "b/y": 1, "c": 7}
    return ImageFolder(tree(tmp_path, *(f"{name}/{i}.jpg" for name, count in counts.items() for i in range(count))))


def test_samples_are_a_sequence(folder: ImageFolder) -> None:
    samples, as_list = folder.samples, list(folder.samples)
    assert isinstance(samples, Samples) and isinstance(samples, Sequence)
    assert len(samples) == len(as_list) == 16
    assert as_list[3] in samples and ("no", 0) not in samples
    assert samples.index(as_list[9]) == 9
    assert list(reversed(samples)) == as_list[::-1]


def test_indices_and_slices_are_a_lists(folder: ImageFolder) -> None:
    samples, as_list = folder.samples, list(folder.samples)
    for index in range(-20, 20):
        if -16 <= index < 16:
            assert samples[index] == as_list[index] == samples[np.int64(index)]
        else:
            with pytest.raises(IndexError, match=f"sample {index} of 16"):
                samples[index]
    for bounds in [(None, None), (2, 9), (-3, None), (9, 2), (0, 100), (None, None, -1), (1, None, 5), (-100, 4)]:
        assert samples[slice(*bounds)] == as_list[slice(*bounds)]


def test_targets_are_an_array_of_int64(folder: ImageFolder) -> None:
    assert isinstance(folder.targets, np.ndarray) and folder.targets.dtype == np.int64
    assert folder.targets.tolist() == [target for _, target in folder.samples]
    assert folder.targets is folder.targets


def test_types_are_plain(folder: ImageFolder) -> None:
    path, target = folder.samples[0]
    assert type(path) is str and type(target) is int and type(folder.target(0)) is int


def test_a_sample_costs_its_name_and_eight_bytes(tmp_path: Path) -> None:
    name = "n{:011d}.jpg"  # 16 bytes
    samples = 20_000
    folder = tmp_path / "class"
    folder.mkdir()
    for i in range(samples):
        os.link(folder / "first", folder / name.format(i)) if i else (folder / "first").touch()
    (folder / "first").rename(folder / name.format(0))
    tracemalloc.start()
    try:
        ours = ImageFolder(tmp_path)
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(ours) == samples
    assert ours.samples.nbytes <= samples * (16 + 8) + 300  # and what there is of their folder
    assert held < samples * (16 + 8) * 1.3 + 100_000  # and nothing beside it; a list of tuples takes 150 bytes each
    assert len(pickle.dumps(ours)) < samples * (16 + 8) + 5000


def test_pickling(photos: Path) -> None:
    transform = T.Compose([T.RandomResizedCrop(16), T.ToDtype(torch.float32, scale=True)])
    ours = ImageFolder(photos, transform=transform, exif_transpose=True)
    again = pickle.loads(pickle.dumps(ours))
    assert list(again.samples) == list(ours.samples) and again.classes == ours.classes
    for dataset in (ours, again):
        torch.manual_seed(3)
        image, target = dataset[20]
        assert target == 1
        if dataset is ours:
            expected = image
    assert torch.equal(image, expected)


def test_pickling_keeps_what_is_known(photos: Path) -> None:
    ours = ImageFolder(photos, transform=SMALL, target_transform=str)
    first_batch(ours, [2, 5])
    again = pickle.loads(pickle.dumps(ours))
    assert np.array_equal(again.sizes, ours.sizes) and again.sizes[5].all()
    assert again.paths(np.arange(24)) == ours.paths(np.arange(24)) and again[20][1] == "1"
    images, labels = first_batch(again, [2, 20])
    assert torch.equal(images, first_batch(ours, [2, 20])[0]) and list(labels) == ["0", "1"]


# ---- what a sample is ----


def test_without_a_transform_it_is_the_picture(photos: Path) -> None:
    ours, theirs = ImageFolder(photos), torchvision.datasets.ImageFolder(photos)
    for i in range(len(ours)):
        (image, target), (expected, expected_target) = ours[i], theirs[i]
        assert isinstance(image, Image.Image) and image.mode == "RGB"
        assert np.array_equal(image, expected) and target == expected_target and type(target) is int


MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]


def pipelines(t: Any, image: list[Any]) -> dict[str, list[Any]]:
    """Pipelines in the words of both libraries; ``image`` is what makes a tensor of a PIL image."""
    tail = [t.ToDtype(torch.float32, scale=True), t.Normalize(MEAN, STD)]
    return {
        "ImageNet training": [t.RandomResizedCrop(24), t.RandomHorizontalFlip(), *image, *tail],
        "ImageNet evaluation": [t.Resize(32), t.CenterCrop(24), *image, *tail],
        "CIFAR": [t.Resize((36, 32)), t.RandomCrop(32, padding=4), t.RandomHorizontalFlip(), *image, *tail],
        "reflected": [t.RandomCrop(40, padding=3, pad_if_needed=True, padding_mode="reflect"), *image],
        "grayscale": [t.RandomResizedCrop((20, 30), scale=(0.3, 0.9)), t.Grayscale(3), *image, *tail],
        "one channel": [t.Resize(20, max_size=30), t.CenterCrop(20), t.Grayscale(), *image],
        "sometimes": [t.RandomGrayscale(0.5), t.RandomVerticalFlip(0.3), t.RandomHorizontalFlip(0.7), *image],
        "half": [t.Resize((20, 20)), *image, t.ToDtype(torch.float16, scale=True)],
        "padded": [t.Pad((1, 2, 3, 4), fill=(10, 20, 30)), t.CenterCrop((90, 200)), *image],
    }


@pytest.mark.parametrize("name", pipelines(T, []))
def test_a_sample_is_torchvisions_bit_for_bit(name: str, photos: Path) -> None:
    """Random ones too, from the same seed, and the generator is left in the same state."""
    ours = ImageFolder(photos, transform=T.Compose(pipelines(T, [T.ToImage()])[name]))
    theirs = torchvision.datasets.ImageFolder(photos, transform=v2.Compose(pipelines(v2, [v2.ToImage()])[name]))
    for i in range(len(ours)):
        torch.manual_seed(i)
        image, target = ours[i]
        state = torch.get_rng_state()
        torch.manual_seed(i)
        expected, expected_target = theirs[i]
        assert torch.equal(state, torch.get_rng_state())
        assert target == expected_target
        assert image.dtype == expected.dtype and image.shape == expected.shape
        assert torch.equal(image, expected)


def test_torchvisions_own_transforms_serve_too(photos: Path) -> None:
    transform = v2.Compose(pipelines(v2, [v2.ToImage()])["ImageNet training"])
    ours, theirs = (kind(photos, transform=transform) for kind in (ImageFolder, torchvision.datasets.ImageFolder))
    for i in (0, 13, 23):
        torch.manual_seed(i)
        image = ours[i][0]
        torch.manual_seed(i)
        assert torch.equal(image, theirs[i][0])


def test_a_recipe_can_be_asked_for_and_given(photos: Path) -> None:
    ours = ImageFolder(photos, transform=T.Compose([T.RandomResizedCrop(20), T.RandomHorizontalFlip()]))
    torch.manual_seed(5)
    recipe = ours.recipe(3)
    torch.manual_seed(5)
    assert torch.equal(ours.apply(3, recipe), ours[3][0])


def test_target_transform(photos: Path) -> None:
    ours = ImageFolder(photos, target_transform=lambda target: f"class {target}")
    assert ours[0][1] == "class 0" and ours[23][1] == "class 1"


def test_a_dataset_is_a_torch_dataset(photos: Path) -> None:
    ours = ImageFolder(photos, transform=T.Resize((8, 8)))
    assert isinstance(ours, Dataset)
    images, targets = next(iter(TorchDataLoader(ours, batch_size=24)))
    assert images.shape == (24, 3, 8, 8) and targets.tolist() == [0] * 12 + [1] * 12
    assert torch.utils.data.random_split(ours, [4, 20])[0][0][0].shape == (3, 8, 8)


def test_worker_processes_start_after_the_parent_has_decoded(photos: Path, run_python: Callable[..., Any]) -> None:
    """A decoder that does not survive a fork would hang them."""
    program = """
import sys, torch
from gpuload import ImageFolder, transforms as T
dataset = ImageFolder(sys.argv[1], transform=T.Compose([T.Resize((16, 16))]))
alone = torch.stack([dataset[i][0] for i in range(len(dataset))])
batches = torch.utils.data.DataLoader(dataset, batch_size=5, num_workers=2, multiprocessing_context="fork")
print(torch.equal(alone, torch.cat([images for images, _ in batches])))
"""
    assert run_python(program, photos).stdout == "True\n"


# ---- indices ----


def test_negative_indices_count_from_the_end(photos: Path) -> None:
    ours = ImageFolder(photos, transform=T.Resize((8, 8)))
    for index in (-1, -12, -13, -24):
        image, target = ours[index]
        expected, expected_target = ours[index + 24]
        assert torch.equal(image, expected) and target == expected_target


@pytest.mark.parametrize("index", [24, 25, 1000, -25, -30, -48, -1000])
def test_indices_outside_raise(photos: Path, index: int) -> None:
    with pytest.raises(IndexError, match=f"{index} of 24"):
        ImageFolder(photos)[index]


def test_iteration_ends(photos: Path) -> None:
    assert sum(1 for _ in ImageFolder(photos)) == 24  # type: ignore[misc]


@pytest.mark.parametrize("workers", [0, 2])
def test_the_loader_gives_a_negative_index_its_own_label(photos: Path, workers: int) -> None:
    ours = ImageFolder(photos, transform=T.Compose([T.Resize((8, 8))]))
    indices = [-24, -1, 0, -13, 23]
    batches: Any = DataLoader(ours, batch_size=5, sampler=indices, num_workers=workers, device="cpu")
    ((images, targets),) = list(batches)
    assert targets.tolist() == [0, 1, 0, 0, 1]
    assert torch.equal(images, torch.stack([ours[index % 24][0] for index in indices]))


# ---- many samples at a time ----


def test_paths_and_targets_of_many(folder: ImageFolder) -> None:
    indices = np.array([15, 0, 3, 3, 8])
    assert folder.paths(indices) == [os.fsencode(folder.samples[i][0]) for i in indices]
    assert folder.paths(indices) == [os.fsencode(folder.path(i)) for i in indices.tolist()]
    targets = folder.targets_of(indices)
    assert isinstance(targets, np.ndarray) and targets.dtype == np.int64
    assert targets.tolist() == [folder.target(i) for i in indices.tolist()] == [2, 0, 0, 0, 1]
    assert folder.paths(np.zeros(0, np.int64)) == [] and len(folder.targets_of(np.zeros(0, np.int64))) == 0


def test_labels_of_many(folder: ImageFolder) -> None:
    indices = np.array([15, 0, 8])
    assert isinstance(folder.labels(indices), np.ndarray)
    folder.target_transform = lambda target: f"class {target}"
    assert folder.labels(indices) == ["class 2", "class 0", "class 1"]

    def fail_for_b(target: int) -> int:
        assert type(target) is int
        return 1 // (target - 1)

    folder.target_transform = fail_for_b
    with pytest.raises(SampleError, match=re.escape(f"sample 8 ({folder.path(8)}): ")) as caught:
        folder.labels(indices)
    assert caught.value.index == 8


def first_batch(dataset: ImageDataset, sampler: Any, **options: Any) -> Any:
    return next(iter(DataLoader(dataset, len(sampler), sampler=sampler, device="cpu", **options)))


SMALL = T.Resize((8, 8))


def test_a_subclass_decides_on_its_files(photos: Path) -> None:
    class Reversed(ImageFolder):
        def path(self, index: int) -> str:
            return self.samples[len(self) - 1 - index][0]

    plain, ours = ImageFolder(photos, transform=SMALL), Reversed(photos, transform=SMALL)
    assert ours.paths(np.array([0, 5])) == [os.fsencode(plain.path(i)) for i in (23, 18)]
    images, labels = first_batch(ours, [0, 5, 20])
    assert torch.equal(images, torch.stack([plain[i][0] for i in (23, 18, 3)]))
    assert torch.equal(images, torch.stack([ours[i][0] for i in (0, 5, 20)]))
    assert labels.tolist() == [0, 0, 1]


def test_a_subclass_decides_on_its_targets(photos: Path) -> None:
    class Soft(ImageFolder):
        def target(self, index: int) -> Any:
            return {"class": self.samples[index][1], "name": self.classes[self.samples[index][1]]}

    ours = Soft(photos, transform=SMALL)
    _, labels = first_batch(ours, [0, 23])
    assert labels["class"].tolist() == [0, 1] and labels["name"] == ["cats", "dogs"]
    assert ours[23][1] == {"class": 1, "name": "dogs"}


def test_a_subclass_decides_on_many_at_a_time(photos: Path) -> None:
    class Counted(ImageFolder):
        def paths(self, indices: Any) -> list[bytes]:
            asked.append(indices.tolist())
            return super().paths(indices)

        def targets_of(self, indices: Any) -> Any:
            return super().targets_of(indices) + 40

    asked: list[list[int]] = []
    _, labels = first_batch(Counted(photos, transform=SMALL), [3, 20])
    assert asked == [[3, 20]] and labels.tolist() == [40, 41]


def test_samples_may_be_replaced_by_a_list(photos: Path) -> None:
    """A part of them, say, as users of torchvision's take it."""
    ours, plain = (ImageFolder(photos, transform=SMALL) for _ in range(2))
    ours.samples = ours.samples[::3]
    assert len(ours) == 8 and ours.sizes.shape == (8, 2)
    assert ours.path(7) == plain.path(21) and ours.target(7) == 1
    assert ours.paths(np.array([7, 1])) == plain.paths(np.array([21, 3]))
    assert ours.targets.tolist() == plain.targets[::3].tolist() and ours.targets.dtype == np.int64
    images, labels = first_batch(ours, range(8))
    assert torch.equal(images, torch.stack([plain[3 * i][0] for i in range(8)]))
    assert labels.tolist() == [0] * 4 + [1] * 4


def test_samples_in_another_order(photos: Path) -> None:
    """Sizes that were remembered for the samples before are noticed to be wrong, and nothing else."""
    ours, plain = (ImageFolder(photos, transform=SMALL) for _ in range(2))
    first_batch(ours, range(24))
    ours.samples = ours.samples[::-1]
    images, labels = first_batch(ours, range(24))
    assert torch.equal(images, torch.stack([plain[23 - i][0] for i in range(24)]))
    assert labels.tolist() == [1] * 12 + [0] * 12
    assert tuple(ours.sizes[0]) == plain.size(23)


class Listed(ImageDataset):
    """The least that a dataset of images needs."""

    def __init__(self, files: Sequence[str], **options: Any) -> None:
        super().__init__(**options)
        self.files = files

    def __len__(self) -> int:
        return len(self.files)

    def path(self, index: int) -> str:
        return self.files[index]

    def target(self, index: int) -> str:
        return Path(self.files[index]).stem


def test_a_dataset_of_ones_own(photos: Path) -> None:
    plain = ImageFolder(photos, transform=SMALL)
    files = [path for path, _ in plain.samples][5:15]
    ours = Listed(files, transform=SMALL, target_transform=int)
    image, target = ours[2]
    assert torch.equal(image, plain[7][0]) and target == 7
    images, labels = first_batch(ours, [2, 0, 9], num_workers=2)
    assert torch.equal(images, torch.stack([plain[i][0] for i in (7, 5, 14)])) and labels.tolist() == [7, 5, 2]
    assert ours.describe() == "10 files of Listed" and plain.describe() == f"24 files in 2 classes below {photos}"


def test_names_that_are_no_text_arrive_at_native_code(tmp_path: Path, encode: Encode, make_photo: Photo) -> None:
    folder = os.fsencode(tmp_path) + b"/caf\xe9"
    os.mkdir(folder)
    names = (b"\xff\xfe.jpg", "new\nline ä.jpg".encode(), b"plain.jpg")
    for number, name in enumerate(names):
        with open(folder + b"/" + name, "wb") as file:
            file.write(encode(make_photo(30, 40, seed=number)))
    for dataset in (ImageFolder(tmp_path, transform=SMALL), Listed([], transform=SMALL)):
        if isinstance(dataset, Listed):
            dataset.files = [os.fsdecode(folder + b"/" + name) for name in names]
        images, _ = first_batch(dataset, range(3))
        assert torch.equal(images, torch.stack([dataset[i][0] for i in range(3)]))


# ---- what a user of torchvision's overrides or replaces ----


def test_the_arguments_are_torchvisions_in_its_order(photos: Path) -> None:
    def half(path: str) -> Image.Image:
        return Image.open(path).convert("RGB").reduce(2)

    for kind in (ImageFolder, torchvision.datasets.ImageFolder):
        ours = kind(photos, None, str, half, lambda path: path.endswith("1.jpg"), True)
        image, target = ours[0]
        assert len(ours) == 4 and target == "0" and ours.loader is half and ours.extensions is None
        assert np.array_equal(image, half(ours.samples[0][0]))
    with pytest.raises(ArgumentTypeError, match="loader must be a callable on a path, got 3"):
        ImageFolder(photos, None, None, 3)  # type: ignore[arg-type]


def test_a_loader_of_ones_own_reads_the_images(photos: Path) -> None:
    def black(path: str) -> Image.Image:
        return Image.new("RGB", (9, 9))

    ours = ImageFolder(photos, SMALL, loader=black)
    images, labels = first_batch(ours, [3, 20])
    assert images.shape == (2, 3, 8, 8) and not images.any() and labels.tolist() == [0, 1]
    ours.loader = torchvision.datasets.folder.default_loader
    assert first_batch(ours, [3])[0].any()
    assert find(ours) == Unknown("its images are read by default_loader")

    def torn(path: str) -> Any:
        raise OSError("torn")

    with pytest.raises(OSError, match=re.escape(f"sample 3 ({ours.path(3)}): torn")):
        ImageFolder(photos, SMALL, loader=torn)[3]


def test_the_recipe_of_a_getitem_of_ones_own(photos: Path) -> None:
    class WithPath(ImageFolder):
        def __getitem__(self, index: int) -> Any:
            path, target = self.samples[index]
            image = self.loader(path)
            return self.transform(image) if self.transform else image, target, path

    ours, plain = WithPath(photos, SMALL), ImageFolder(photos, SMALL)
    images, labels, paths = first_batch(ours, [3, 20])
    assert torch.equal(images, torch.stack([plain[3][0], plain[20][0]]))
    assert labels.tolist() == [0, 1] and paths == (plain.path(3), plain.path(20))


def test_what_makes_samples_more_than_file_and_target(photos: Path) -> None:
    def overriding(*names: str) -> ImageFolder:
        return type("Mine", (ImageFolder,), dict.fromkeys(names, lambda self, *args: None))(photos, SMALL)

    asked = overriding("path", "target", "paths", "targets_of", "find_classes_of_mine")
    assert find(asked) is asked and ImageFolder(photos, SMALL).why_not_plain() is None
    for name in ("__getitem__", "__getitems__", "image", "read", "position"):
        assert DataLoader(overriding(name), device="cpu").engine is None
    said = type("Mine", (ImageFolder,), {"why_not_plain": lambda self: "it knows better"})(photos, SMALL)
    assert find(said) == Unknown("it knows better")


def test_images_that_are_read_in_a_way_of_ones_own(photos: Path) -> None:
    class FromElsewhere(ImageFolder):
        def read(self, index: int) -> bytes:
            return super().read(23 - index)

    images, labels = first_batch(FromElsewhere(photos, SMALL), [0, 20])
    plain = ImageFolder(photos, SMALL)
    assert torch.equal(images, torch.stack([plain[23][0], plain[3][0]])) and labels.tolist() == [0, 1]


def both_kinds(body: dict[str, Any]) -> list[Any]:
    return [type("Mine", (kind,), body) for kind in (ImageFolder, torchvision.datasets.ImageFolder)]


def test_classes_of_ones_own(tmp_path: Path) -> None:
    root = tree(tmp_path, "a/1.jpg", "b/2.jpg", "c/3.jpg", "d/4.jpg")

    def find_classes(self: Any, directory: str) -> tuple[list[str], dict[str, int]]:
        assert directory == str(root)
        return ["second", "first"], {"d": 0, "a": 1, "c": 0}

    ours, theirs = (kind(str(root)) for kind in both_kinds({"find_classes": find_classes}))
    assert list(ours.samples) == theirs.samples and ours.targets.tolist() == theirs.targets == [1, 0, 0]
    assert (ours.classes, ours.class_to_idx) == (theirs.classes, theirs.class_to_idx)


def test_samples_of_ones_own(tmp_path: Path) -> None:
    root = tree(tmp_path, "a/1.jpg", "b/2.jpg", "b/3.png")

    def make_dataset(directory: str, class_to_idx: Any, extensions: Any = None, **options: Any) -> Any:
        made = torchvision.datasets.folder.make_dataset(directory, class_to_idx, extensions)
        return [(path, 7 * target) for path, target in made]

    def of_ours(directory: str, class_to_idx: Any, *rest: Any, **options: Any) -> Any:
        return make_dataset(directory, class_to_idx, (".png", ".jpg"))

    ours, theirs = (kind(str(root)) for kind in both_kinds({"make_dataset": staticmethod(of_ours)}))
    assert ours.samples == theirs.samples and ours.targets.tolist() == theirs.targets == [0, 7, 7]
    plain = ImageFolder.make_dataset(str(root), {"b": 4}, (".png",))
    assert list(plain) == [(str(root / "b" / "3.png"), 4)]
    with pytest.raises(ArgumentError, match="pass either extensions or is_valid_file"):
        ImageFolder.make_dataset(str(root), {"b": 4})


def test_targets_and_imgs_follow_the_samples(folder: ImageFolder) -> None:
    assert folder.targets.sum() == 18
    folder.samples = folder.samples[:6]
    assert folder.targets.tolist() == [0, 0, 0, 0, 0, 1] and folder.imgs is folder.samples
    folder.samples[0] = (folder.samples[0][0], 9)  # type: ignore[index]
    assert folder.targets.tolist() == [9, 0, 0, 0, 0, 1]
    folder.samples = [(Path("x.jpg"), "cat")]  # type: ignore[list-item]
    assert folder.targets == ["cat"] and folder.path(0) == "x.jpg"


@pytest.mark.parametrize("use", [torch.tensor, torch.as_tensor, np.array, Counter, list, set])
def test_targets_serve_as_torchvisions_list_does(use: Callable[[Any], Any], folder: ImageFolder) -> None:
    ours, theirs = use(folder.targets), use([target for _, target in folder.samples])
    assert np.array_equal(ours, theirs) if isinstance(theirs, np.ndarray | torch.Tensor) else ours == theirs


@pytest.mark.parametrize("options", [{}, {"transform": v2.Compose([v2.Resize(3), v2.RGB()])}, {"target_transform": 3}])
def test_it_is_shown_as_torchvisions(photos: Path, options: dict[str, Any]) -> None:
    ours, theirs = (kind(str(photos), **options) for kind in (ImageFolder, torchvision.datasets.ImageFolder))
    assert repr(ours) == repr(theirs)


# ---- sizes ----


def test_sizes_are_remembered_and_belong_to_the_samples(photos: Path) -> None:
    ours = ImageFolder(photos, transform=SMALL)
    assert ours.sizes.shape == (24, 2) and ours.sizes.dtype == np.int32 and not ours.sizes.any()
    first_batch(ours, [23, 4])
    wanted = np.zeros((24, 2), int)
    for index in (4, 23):
        wanted[index] = ours.size(index)
        assert ours.size(index) == ours.image(index).size[::-1]
    assert np.array_equal(ours.sizes, wanted) and ours.sizes is ours.sizes
    assert not ImageFolder(photos, transform=SMALL).sizes.any()  # each dataset's own


def test_sizes_of_turned_images(tmp_path: Path, encode: Encode, make_photo: Photo) -> None:
    exif = Image.Exif()
    exif[274] = 6
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "0.jpg").write_bytes(encode(make_photo(20, 30), exif=exif))
    for exif_transpose, size in ((False, (20, 30)), (True, (30, 20))):
        ours = ImageFolder(tmp_path, transform=SMALL, exif_transpose=exif_transpose)
        assert ours.size(0) == size and ours.image(0).size == size[::-1]
        first_batch(ours, [0])
        assert tuple(ours.sizes[0]) == size


# ---- errors ----


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda root: root / "missing", "does not exist: pass a folder with one folder of images for each class"),
        (lambda root: root / "file.jpg", "is a file: pass a folder with one folder of images for each class"),
        (lambda root: root / "empty", "has no class folders: put each class's images into a folder of its own"),
        (
            lambda root: root / "half",
            "no images for class 'b' in {root!r}: add some, remove the folder, or pass allow_empty=True; "
            "image files end in .jpg, .jpeg, .png",
        ),
        (lambda root: root / "many", "no images for class '0', '1', '2', '3', '4', ... in {root!r}"),
    ],
)
def test_folders_that_hold_no_dataset(make: Callable[[Path], Path], text: str, tmp_path: Path) -> None:
    tree(tmp_path, "file.jpg", "half/a/1.jpg", "half/b/1.txt", *(f"many/{i}/x" for i in range(7)))
    (tmp_path / "empty").mkdir()
    root = str(make(tmp_path))
    with pytest.raises(DatasetError, match=re.escape(text.format(root=root))) as caught:
        ImageFolder(root)
    assert repr(root) in str(caught.value)
    with pytest.raises(FileNotFoundError):  # what torchvision raises
        ImageFolder(root)


def test_a_transform_is_callable(photos: Path) -> None:
    with pytest.raises(ArgumentTypeError, match="transform must be a transform, a callable or None, got 224"):
        ImageFolder(photos, transform=224)  # type: ignore[arg-type]


def test_a_recipe_needs_a_gpuload_transform(photos: Path) -> None:
    for transform, why in ((None, "it has no transform"), (len, "gpuload knows no part of its transform len")):
        with pytest.raises(ArgumentError, match=f"ImageFolder has no recipes: {why}"):
            ImageFolder(photos, transform=transform).recipe(0)


def broken(root: Path, encode: Encode, photo: Photo) -> ImageFolder:
    whole = encode(photo(100, 100), quality=95)
    tree(root, "a/0 empty.jpg")
    contents = {"1 text.jpg": b"not an image", "2 cut.jpg": whole[: len(whole) // 2], "3 whole.jpg": whole}
    for name, content in contents.items():
        (root / "a" / name).write_bytes(content)
    (root / "a" / "4 gone.jpg").touch()
    ours = ImageFolder(root, transform=T.Resize((8, 8)))
    (root / "a" / "4 gone.jpg").unlink()
    return ours


def test_a_sample_that_fails_names_its_index_and_path(tmp_path: Path, encode: Encode, make_photo: Photo) -> None:
    ours = broken(tmp_path, encode, make_photo)
    assert ours[3][0].shape == (3, 8, 8)
    causes = {0: "the file is empty (0 bytes)", 1: "", 2: "truncated", 4: "No such file or directory"}
    for index, cause in causes.items():
        path = ours.samples[index][0]
        for asked in (index, index - 5):
            with pytest.raises(SampleError, match=re.escape(f"sample {index} ({path}): ")) as caught:
                ours[asked]
            assert caught.value.index == index and caught.value.path == path
            assert cause in str(caught.value) and caught.value.__cause__ is not None
            again = pickle.loads(pickle.dumps(caught.value))
            assert (again.index, again.path, str(again)) == (index, path, str(caught.value))


def test_a_transform_that_fails_names_the_sample(photos: Path) -> None:
    def fail(_: Any) -> None:
        raise RuntimeError("too bright")

    for ours in (
        ImageFolder(photos, transform=fail),
        ImageFolder(photos, transform=T.Compose([T.Resize(8), fail])),
        ImageFolder(photos, target_transform=fail),
    ):
        with pytest.raises(SampleError, match=re.escape(f"sample 13 ({ours.samples[13][0]}): too bright")) as caught:
            ours[13]
        assert isinstance(caught.value.__cause__, RuntimeError)


# ---- tensors ----


def test_tensors(device: torch.device) -> None:
    images, labels = torch.arange(24).view(6, 4), torch.arange(6)
    ours = TensorDataset(images, labels, device=device)
    assert isinstance(ours, TorchTensorDataset) and len(ours) == 6
    assert all(tensor.device.type == device.type and tensor.is_contiguous() for tensor in ours.tensors)
    row, label = ours[2]
    assert row.tolist() == [8, 9, 10, 11] and label.item() == 2
    assert ours.device.type == device.type


def test_tensors_are_made_contiguous() -> None:
    tensor = torch.arange(24).view(4, 6).T
    ours = TensorDataset(tensor, device="cpu")
    assert ours.tensors[0].is_contiguous() and torch.equal(ours.tensors[0], tensor)


@pytest.mark.parametrize(
    ("tensors", "error", "text"),
    [
        ((), ArgumentError, "TensorDataset needs at least one tensor"),
        (([1, 2],), ArgumentTypeError, "TensorDataset takes tensors, got list: torch.as_tensor(...)"),
        ((np.zeros(3),), ArgumentTypeError, "TensorDataset takes tensors, got ndarray: torch.as_tensor(...)"),
        ((torch.tensor(3),), ArgumentError, "tensors must have one length, got shapes [()]"),
        (
            (torch.zeros(3, 2), torch.zeros(4)),
            ArgumentError,
            "tensors must have one length, got shapes [(3, 2), (4,)]",
        ),
    ],
)
def test_tensors_that_make_no_dataset(tensors: tuple[Any, ...], error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=re.escape(text)):
        TensorDataset(*tensors, device="cpu")


def test_a_default_device() -> None:
    expected = "cuda" if torch.cuda.is_available() else "cpu"
    assert TensorDataset(torch.zeros(2)).tensors[0].device.type == expected


def test_importing_does_not_need_torchvision(run_python: Callable[..., Any]) -> None:
    program = "import sys; sys.modules['torchvision'] = None; import gpuload; print(gpuload.ImageFolder.__name__)"
    assert run_python(program).stdout == "ImageFolder\n"
