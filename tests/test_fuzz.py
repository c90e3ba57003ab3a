"""Damaged files through a real loader: each sample arrives or is named in an error; nothing crashes or hangs.

``GPULOAD_CASES=2000 python -m pytest tests/test_fuzz.py`` damages 2,000 JPEGs, and 500 files of each other format.
"""

import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from gpuload import DataLoader, ImageFolder, transforms as T
from gpuload.datasets.folder import IMG_EXTENSIONS
from gpuload.errors import SampleError
from tests.cases import cases

JPEGS = cases(800)
OTHERS = cases(160) // 4  # of each other format: native code reads their first bytes, Pillow all
GOOD = 10
TRANSFORM = T.Compose([T.RandomResizedCrop(24), T.RandomHorizontalFlip(), T.ToDtype(torch.float32, scale=True)])

# what Pillow has to say about some of the files, on the way to an error or a picture
pytestmark = [
    pytest.mark.filterwarnings("ignore::UserWarning:PIL"),
    pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning"),
]


def damaged(data: bytes, rng: random.Random) -> bytes:
    """Cut off, bits flipped, a run zeroed, or a run deleted."""
    changed = bytearray(data)
    at, run = rng.randrange(len(data)), rng.randint(1, 200)
    kind = rng.choice(("cut", "flip", "flip header", "zero", "delete"))
    if kind == "cut":
        del changed[at:]
    elif kind == "zero":
        changed[at : at + run] = bytes(len(changed[at : at + run]))
    elif kind == "delete":
        del changed[at : at + run]
    else:
        for _ in range(rng.randint(1, 8)):
            changed[rng.randrange(len(data) if kind == "flip" else min(len(data), 640))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def other_files(photo: Image.Image, encode: Callable[..., bytes]) -> dict[str, list[bytes]]:
    """Whole files of each format that is no JPEG, in its usual kinds, by extension."""
    gray, colors = photo.convert("L"), photo.convert("P")
    frames: dict[str, Any] = {"save_all": True, "append_images": [photo.rotate(9)]}
    compressed = [encode(photo, "TIFF", compression=kind) for kind in ("tiff_lzw", "tiff_adobe_deflate", "packbits")]
    return {
        ".png": [encode(image, "PNG") for image in (photo, gray, colors, photo.convert("RGBA"))],
        ".webp": [encode(photo, "WEBP"), encode(photo, "WEBP", lossless=True), encode(photo, "WEBP", **frames)],
        ".gif": [encode(photo, "GIF"), encode(gray, "GIF"), encode(photo, "GIF", **frames)],
        ".bmp": [encode(image, "BMP") for image in (photo, gray, colors, photo.convert("1"))],
        ".tif": [encode(photo, "TIFF"), encode(gray, "TIFF")],
        ".tiff": [*compressed, encode(photo, "TIFF", compression="jpeg")],
        ".ppm": [encode(photo, "PPM")],
        ".pgm": [encode(gray, "PPM"), encode(gray.convert("I;16"), "PPM")],
    }


def test_every_format_that_is_listed_is_damaged(encode: Callable[..., bytes]) -> None:
    photo = Image.new("RGB", (8, 8))
    assert {*other_files(photo, encode), ".jpg", ".jpeg"} == set(IMG_EXTENSIONS)


@pytest.fixture(scope="module")
def damaged_folder(
    tmp_path_factory: pytest.TempPathFactory, make_photo: Callable[..., Image.Image], encode: Callable[..., bytes]
) -> Path:
    """A class of damaged JPEGs, one of other damaged files, one of good ones."""
    rng = random.Random(20_240_601)
    root = tmp_path_factory.mktemp("damaged")
    photo = make_photo(48, 40)
    jpegs = [
        encode(photo, quality=80),
        encode(photo, quality=95, subsampling=0),
        encode(photo, progressive=True),
        encode(photo, restart_marker_rows=1),
        encode(photo.convert("L")),
        encode(photo.convert("CMYK")),
    ]
    others = other_files(photo, encode)
    for name in ("0 jpegs", "1 others", "2 good"):
        (root / name).mkdir()
    for i in range(JPEGS):
        (root / "0 jpegs" / f"{i:04}.jpg").write_bytes(damaged(rng.choice(jpegs), rng))
    for extension, files in others.items():
        for i in range(OTHERS):
            (root / "1 others" / f"{i:04}{extension}").write_bytes(damaged(rng.choice(files), rng))
    for i in range(GOOD):
        (root / "2 good" / f"{i}.jpg").write_bytes(jpegs[i % len(jpegs)])
    return root


def outcomes(batches: Iterator[Any], most: int) -> list[Any]:
    """What each ``next`` gives: a batch or a SampleError. Anything else is raised."""
    collected: list[Any] = []
    for _ in range(most):
        try:
            collected.append(next(batches))
        except SampleError as error:
            collected.append(error)
        except StopIteration:
            return collected
    raise AssertionError("the loader does not end")


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.cuda)], indirect=True)
@pytest.mark.parametrize("workers", [0, 2])
def test_each_sample_arrives_or_is_named(
    damaged_folder: Path, workers: int, device: torch.device, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1 << 20)  # some headers now claim more; it also bounds the work
    dataset = ImageFolder(damaged_folder, transform=TRANSFORM)
    loader = DataLoader(dataset, batch_size=1, num_workers=workers, seed=1, device=device)
    for _ in range(2 if workers else 1):  # a second epoch, after all those errors
        got = outcomes(iter(loader), len(dataset) + 5)
        assert len(got) == len(dataset)
        arrived = 0
        for index, (outcome, (path, target)) in enumerate(zip(got, dataset.samples, strict=True)):
            if isinstance(outcome, SampleError):
                assert (outcome.index, outcome.path) == (index, path)
                assert str(outcome).startswith(f"sample {index} ({path}): ")
                assert target < 2
            else:
                images, labels = outcome
                assert images.shape == (1, 3, 24, 24) and labels.tolist() == [target]
                assert bool(((images >= 0) & (images <= 1)).all())
                arrived += 1
        assert len(dataset) // 4 < arrived < len(dataset) * 9 // 10  # damage that shows, and damage that does not


def test_good_files_are_delivered_between_damaged_ones(damaged_folder: Path) -> None:
    """Every batch of four good samples arrives; a batch with a damaged one is named by its first."""
    dataset = ImageFolder(damaged_folder, transform=TRANSFORM)
    first_good = len(dataset) - GOOD
    cut = next(i for i in range(JPEGS) if Path(dataset.samples[i][0]).stat().st_size < 100)
    batches = [[first_good + k for k in range(4)], [first_good, cut, first_good + 1, cut], [first_good + 5] * 4]
    got = outcomes(iter(DataLoader(dataset, batch_sampler=batches, num_workers=2, device="cpu")), 10)
    assert [isinstance(outcome, SampleError) for outcome in got] == [False, True, False]
    assert got[1].index == cut


def test_the_same_files_fail_whatever_the_workers(damaged_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1 << 20)
    dataset = ImageFolder(damaged_folder, transform=TRANSFORM)
    indices = range(0, len(dataset) - GOOD, 7)
    texts = []
    for workers in (0, 3):
        loader = DataLoader(dataset, batch_size=1, sampler=indices, num_workers=workers, seed=2, device="cpu")
        got = outcomes(iter(loader), len(indices) + 5)
        texts.append([str(one) if isinstance(one, SampleError) else one[0].sum().item() for one in got])
    assert texts[0] == texts[1]


def test_where_pillow_makes_a_picture_it_is_the_same_one(damaged_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where Pillow refuses, another decoder may still have read all the pixels before the damage."""
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1 << 20)
    dataset = ImageFolder(damaged_folder, transform=TRANSFORM)
    indices = range(0, len(dataset), 3)
    got = []
    for engine in (None, "pillow"):
        loader = DataLoader(dataset, 1, sampler=indices, num_workers=2, seed=3, device="cpu", engine=engine)
        got.append(outcomes(iter(loader), len(indices) + 5))
    both = 0
    for ours, reference in zip(*got, strict=True):
        if isinstance(ours, SampleError):
            assert isinstance(reference, SampleError) and str(ours) == str(reference)
        elif not isinstance(reference, SampleError):
            assert torch.equal(ours[0], reference[0])
            both += 1
    assert both > len(indices) // 5
