"""The demo on small folders of photos: what it returns, writes and says, and that its comparisons can fail."""

import math
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from gpuload import ArgumentError, DataLoader, DatasetError, ImageFolder, MissingError, transforms as T
from gpuload.tools import demo
from gpuload.tools.demo.comparison import equal_augmented, equal_batches, equal_rendered
from gpuload.tools.demo.photos import ROWS, make_photos, parts
from gpuload.tools.demo.report import HEADER
from gpuload.tools.gallery import preset_of

pytest.importorskip("matplotlib")
pytest.importorskip("sklearn")
pytest.importorskip("torchvision")

COLORS = {"blue": (20, 40, 220), "red": (220, 40, 20)}


def photograph(folder, counts):
    """Noisy JPEGs of many sizes, mostly of one color: ``folder/class/0.jpg``."""
    rng = np.random.default_rng(len(folder.name))
    for name, count in counts.items():
        (folder / name).mkdir(parents=True)
        for number in range(count):
            size = (*rng.integers(90, 160, 2), 3)
            pixels = np.clip(rng.normal(COLORS.get(name, (0, 0, 0)), 40, size), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{number}.jpg")
    return folder


@pytest.fixture
def photos(tmp_path):
    return photograph(tmp_path / "photos", {"blue": 26, "red": 24})


def test_run(photos, tmp_path, capsys):
    output = tmp_path / "made"
    results = demo.run(photos, output, epochs=2, seed=3, device="cpu")

    last = ["val_accuracy", "pixels_equal", "images_per_second", "speed_ratio", "wait_share"]
    assert list(results)[-5:] == last
    assert results["pixels_equal"] is True
    assert results["checked"] == {"validation": 11, "augmented": 32}
    assert results["counts"] == {"train": 39, "val": 11}, "every fifth of each class validates"
    assert results["classes"] == ["blue", "red"]
    assert results["device"] == "cpu"
    assert results["val_accuracy"] == results["epochs"][-1]["val_accuracy"]
    assert 0 <= results["val_accuracy"] <= 1
    assert 0 < results["wait_share"] < 1
    assert results["images_per_second"] > 0
    assert results["speed_ratio"] > 0

    assert [epoch["epoch"] for epoch in results["epochs"]] == [1, 2]
    for epoch in results["epochs"]:
        assert all(math.isfinite(value) and value >= 0 for value in epoch.values())
        assert max(epoch["train_accuracy"], epoch["val_accuracy"], epoch["wait_share"]) <= 1
    assert {name: len(rounds) for name, rounds in results["rates"].items()} == {"gpuload": 5, "torch": 5}

    assert results["files"] == [str(output / "contact-sheet.png"), str(output / "training.png")]
    for path in results["files"]:
        with Image.open(path) as image:
            assert image.format == "PNG"
    shown = capsys.readouterr()
    assert shown.out == "", "standard output is the report's"
    table = shown.err[shown.err.index(HEADER) :].split("\n")
    assert [row.split()[0] for row in table[1:3]] == ["1", "2"]
    assert table[3:] == ["", ""]


def test_silent_without_progress(photos, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("gpuload.tools.demo.comparison.ROUNDS", 1)
    threads = torch.get_num_threads()
    demo.run(photos, tmp_path / "made", epochs=1, device="cpu", progress=False)
    shown = capsys.readouterr()
    assert shown.out + shown.err == ""
    assert torch.get_num_threads() == threads


@pytest.mark.parametrize("recipe", ["torchvision-2021", "dino"])
def test_a_recipe(photos, tmp_path, recipe):
    results = demo.run(photos, tmp_path / "made", epochs=1, seed=3, device="cpu", progress=False, recipe=recipe)
    assert results["recipe"] == recipe and results["pixels_equal"] is True
    assert results["speed_ratio"] is None and list(results["rates"]) == ["gpuload"]
    assert 0 <= results["epochs"][0]["train_accuracy"] <= 1
    said = demo.report(results)
    assert "augmented images equal torchvision's and Pillow's bit for bit" in said and "times as fast" not in said
    for path in results["files"]:
        with Image.open(path) as image:
            assert image.format == "PNG"


def test_what_a_recipe_rendered_is_compared(photos):
    train, _ = parts(photos)
    train = replace(train, preset=preset_of("imagenet", 2, 96))
    ours, pillows = train.gpuload_loader(1, "cpu"), train.gpuload_loader(1, "cpu", "pillow")
    assert equal_rendered(ours, pillows)
    assert not equal_rendered(ours, train.gpuload_loader(2, "cpu", "pillow"))


@pytest.mark.parametrize("name", ["val", "valid"])
def test_parts_of_its_own(tmp_path, name):
    photograph(tmp_path / "train", {"blue": 3, "red": 2})
    photograph(tmp_path / name, {"blue": 1, "red": 2})
    train, val = parts(tmp_path)
    assert train.folder == tmp_path / "train"
    assert val.folder == tmp_path / name
    assert (len(train.files), len(val.files)) == (5, 3)


def test_split_is_disjoint_complete_and_the_same_each_time(photos):
    train, val = parts(photos)
    assert not train.files & val.files
    assert train.files | val.files == {str(path) for path in photos.glob("*/*.jpg")}
    assert parts(photos) == (train, val)


# ---- the photos that are made ----


def test_training_and_validation_photos_share_no_pixel(tmp_path, monkeypatch):
    rows = [set(range(427)[part]) for part in (ROWS["train"], ROWS["val"])]
    assert not rows[0] & rows[1]

    class Photos:  # each pixel says in which row it is
        filenames = ("a/one.jpg", "a/two.jpg")
        images = [np.broadcast_to(np.arange(427)[:, None, None] // 2, (427, 640, 3)).astype(np.uint8)] * 2

    monkeypatch.setattr("sklearn.datasets.load_sample_images", Photos)
    monkeypatch.setattr("gpuload.tools.demo.photos.COUNTS", {"train": 12, "val": 12})
    make_photos(tmp_path, seed=0)
    train, val = (
        [np.asarray(image).astype(int) for image, _ in ImageFolder(tmp_path / part)] for part in ("train", "val")
    )
    lowest, highest = min(image.min() for image in train), max(image.max() for image in val)
    assert highest - lowest <= 2, "but for what JPEG loses"
    assert len({image.shape for image in train + val}) > 40
    assert sorted(path.name for path in (tmp_path / "val").iterdir()) == ["one", "two"]


# ---- the comparisons can fail ----


def test_other_pixels_are_noticed(photos):
    _, val = parts(photos)
    cpu = torch.device("cpu")
    assert equal_batches(val.gpuload_loader(0, "cpu"), val.torch_loader(cpu))
    other = T.Compose([T.Resize(112), T.CenterCrop(96), T.ToDtype(torch.float32, scale=True), T.Normalize(0.5, 0.26)])
    dataset = ImageFolder(photos, transform=other, is_valid_file=val.files.__contains__)
    assert not equal_batches(DataLoader(dataset, batch_size=11, device="cpu"), val.torch_loader(cpu))


@pytest.mark.parametrize(("std", "equal"), [(0.25, True), (0.26, False)])
def test_other_augmented_pixels_are_noticed(photos, std, equal):
    random = [T.RandomResizedCrop(96), T.RandomHorizontalFlip(), T.RandomGrayscale(0.5)]
    transform = T.Compose([*random, T.ToDtype(torch.float32, scale=True), T.Normalize([0.5] * 3, [std] * 3)])
    loader = DataLoader(ImageFolder(photos, transform=transform), batch_size=16, shuffle=True, seed=1, device="cpu")
    loader.set_epoch(4)
    assert equal_augmented(loader) is equal


def test_report():
    results = {
        "recipe": None,
        "engine": "cpu",
        "workers": 1,
        "classes": ["blue", "red"],
        "counts": {"train": 1200, "val": 30},
        "epochs": [{}],
        "checked": {"validation": 30, "augmented": 64},
        "rates": {"gpuload": [3000.0, 2000.0, 2500.0], "torch": [1000.0, 1250.0, 2000.0]},
        "files": ["out/contact-sheet.png", "out/training.png"],
        "val_accuracy": 0.9667,
        "pixels_equal": True,
        "images_per_second": 2500.0,
        "speed_ratio": 2.0,
        "wait_share": 0.045,
    }
    assert demo.report(results).splitlines() == [
        "photos    1,200 to train on, 30 to validate; 2 classes: blue, red",
        "learned   96.7% of the validation photos recognized after 1 epoch",
        "waited    4.5% of the training time, for images",
        "pixels    30 validation and 64 augmented images equal torchvision's bit for bit",
        "speed     2,500 images/s loading alone; torch's DataLoader with torchvision 1,250",
        "ratio     2.00 times as fast: medians of 5 rounds, interleaved, 1 worker each, cpu engine",
        "written   out/contact-sheet.png, out/training.png",
    ]
    of_recipe = demo.report(results | {"recipe": "deit", "speed_ratio": None}).splitlines()
    assert (
        of_recipe[3] == "pixels    30 validation and 64 augmented images equal torchvision's and Pillow's bit for bit"
    )
    assert of_recipe[4] == "speed     2,500 images/s loading alone: median of 5 rounds, 1 worker, cpu engine"
    assert len(of_recipe) == 6
    assert "images DIFFER from torchvision's" in demo.report(results | {"pixels_equal": False})


# ---- bad input ----


def refused(error, *arguments, **named):
    with pytest.raises(error) as caught:
        demo.run(*arguments, **named, progress=False)
    return str(caught.value)


def test_no_such_folder(tmp_path):
    message = refused(DatasetError, tmp_path / "none", tmp_path / "made")
    assert message.startswith(f"root {str(tmp_path / 'none')!r} does not exist")
    assert not (tmp_path / "made").exists()


def test_one_class(tmp_path):
    photograph(tmp_path / "photos", {"blue": 2})
    message = refused(ArgumentError, tmp_path / "photos", tmp_path / "made")
    assert message == (
        f"data must have folders of at least two classes, got only 'blue' in {str(tmp_path / 'photos')!r}"
    )


def test_a_class_of_one_photo(tmp_path):
    photograph(tmp_path / "photos", {"blue": 2, "red": 1})
    message = refused(ArgumentError, tmp_path / "photos", tmp_path / "made")
    assert message == (
        "data must have at least 2 photos of each class, to train on and to validate; "
        f"got 1 of 'red' in {str(tmp_path / 'photos')!r}"
    )


def test_other_classes_to_validate(tmp_path):
    photograph(tmp_path / "train", {"blue": 1, "red": 1})
    photograph(tmp_path / "val", {"blue": 1, "green": 1})
    message = refused(ArgumentError, tmp_path, tmp_path / "made")
    assert message == (
        "data must have the same classes to train on and to validate, got ['blue', 'red'] in "
        f"{str(tmp_path / 'train')!r} and ['blue', 'green'] in {str(tmp_path / 'val')!r}"
    )


def test_no_epochs(photos, tmp_path):
    assert refused(ArgumentError, photos, tmp_path / "made", epochs=0) == "epochs must be at least 1, got 0"


def test_output_is_a_file(photos, tmp_path):
    (tmp_path / "made").touch()
    message = refused(ArgumentError, photos, tmp_path / "made")
    assert message == f"output must be a folder, got the file {str(tmp_path / 'made')!r}"


@pytest.mark.parametrize("module", ["torchvision", "matplotlib"])
def test_missing_package(photos, tmp_path, monkeypatch, module):
    monkeypatch.setitem(sys.modules, module, None)
    message = refused(MissingError, photos, tmp_path / "made")
    assert message.startswith(f"the demo needs {module}, which does not import (")
    assert message.endswith('): pip install "gpuload[demo]"')


def test_missing_scikit_learn(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    assert refused(MissingError, None, tmp_path / "made").startswith("the demo needs sklearn, which does not import (")
