"""Small torchvision datasets, as their downloaders would leave them; or, where that is too much, as `__init__` does."""

import bz2
import json
import pickle
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
import torchvision.datasets as D

from tests.conftest import encode, make_photo

__all__ = ["MADE", "attributes"]

COUNT = 7


def photo(path: Path, seed: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    form = {".png": "PNG", ".ppm": "PPM"}.get(path.suffix, "JPEG")
    path.write_bytes(encode(make_photo(9 + seed % 4, 12, seed), form))
    return path


def attributes(name: str, **given: Any) -> Any:
    """An instance with these attributes, and those that every dataset of torchvision has."""
    dataset = getattr(D, name).__new__(getattr(D, name))
    vars(dataset).update({"root": "", "transform": None, "target_transform": None, "transforms": None} | given)
    return dataset


def folders(root: Path, classes: Iterable[str] = "ab", suffix: str = ".jpg") -> Path:
    for number, name in enumerate(classes):
        for i in range(3):
            photo(root / name / f"{i}{suffix}", 10 * number + i)
    return root


def default() -> Any:
    return D.folder.default_loader


# ---- from files on disk ----


def image_folder(root: Path) -> Any:
    return D.ImageFolder(folders(root))


def dataset_folder(root: Path) -> Any:
    return D.DatasetFolder(folders(root), default(), (".jpg",))


def mnist(name: str) -> Callable[[Path], Any]:
    def make(root: Path) -> Any:
        raw = root / name / "raw"
        raw.mkdir(parents=True)
        rng = np.random.default_rng(1)
        for split in ("train", "t10k"):
            images = rng.integers(0, 256, (COUNT, 28, 28), np.uint8)
            header = b"".join(n.to_bytes(4, "big") for n in (0x803, *images.shape))
            (raw / f"{split}-images-idx3-ubyte").write_bytes(header + images.tobytes())
            labels = rng.integers(0, 10, COUNT, np.uint8)
            (raw / f"{split}-labels-idx1-ubyte").write_bytes(
                b"".join(n.to_bytes(4, "big") for n in (0x801, COUNT)) + labels.tobytes()
            )
        return getattr(D, name)(root)

    return make


def cifar(name: str, label: str) -> Callable[[Path], Any]:
    def make(root: Path) -> Any:
        cls, rng = getattr(D, name), np.random.default_rng(2)
        folder = root / cls.base_folder
        folder.mkdir(parents=True)
        for file, _ in cls.train_list:
            entry = {"data": rng.integers(0, 256, (COUNT, 3072), np.uint8), label: rng.integers(0, 10, COUNT).tolist()}
            (folder / file).write_bytes(pickle.dumps(entry))
        (folder / cls.meta["filename"]).write_bytes(pickle.dumps({cls.meta["key"]: [*"abcdefghij"]}))
        with mock.patch.object(cls, "_check_integrity", return_value=True), \
             mock.patch("torchvision.datasets.cifar.check_integrity", return_value=True):  # fmt: skip
            return cls(root)

    return make


def stl10(root: Path) -> Any:
    (root / "stl10_binary").mkdir(parents=True)
    images = np.random.default_rng(3).integers(0, 256, (COUNT, 3, 96, 96), np.uint8)
    images.tofile(root / "stl10_binary" / "test_X.bin")
    np.arange(1, COUNT + 1, dtype=np.uint8).tofile(root / "stl10_binary" / "test_y.bin")
    with mock.patch.object(D.STL10, "_check_integrity", return_value=True):
        return D.STL10(root, "test")


def usps(root: Path) -> Any:
    root.mkdir(exist_ok=True)
    rows = np.random.default_rng(4).uniform(-1, 1, (COUNT, 256))
    lines = [f"{i + 1} " + " ".join(f"{k + 1}:{v:.4f}" for k, v in enumerate(row)) for i, row in enumerate(rows)]
    (root / D.USPS.split_list["train"][1]).write_bytes(bz2.compress("\n".join(lines).encode()))
    return D.USPS(root)


def semeion(root: Path) -> Any:
    root.mkdir(exist_ok=True)
    rng = np.random.default_rng(5)
    np.savetxt(root / "semeion.data", np.hstack([rng.integers(0, 2, (COUNT, 256)), np.eye(10)[:COUNT]]))
    with mock.patch.object(D.SEMEION, "_check_integrity", return_value=True):
        return D.SEMEION(root, download=False)


def food(root: Path) -> Any:
    for i in range(4):
        photo(root / "food-101" / "images" / "pie" / f"{i}.jpg", i)
    (root / "food-101" / "meta").mkdir()
    (root / "food-101" / "meta" / "train.json").write_text(json.dumps({"pie": [f"pie/{i}" for i in range(4)]}))
    return D.Food101(root)


def dtd(root: Path) -> Any:
    folders(root / "dtd" / "dtd" / "images")
    (root / "dtd" / "dtd" / "labels").mkdir()
    (root / "dtd" / "dtd" / "labels" / "train1.txt").write_text("b/0.jpg\na/1.jpg\nb/2.jpg\n")
    return D.DTD(root)


def aircraft(root: Path) -> Any:
    base = root / "fgvc-aircraft-2013b" / "data"
    for i in range(3):
        photo(base / "images" / f"{i}.jpg", i)
    (base / "variants.txt").write_text("A B\nC\n")
    (base / "images_variant_trainval.txt").write_text("0 C\n1 A B\n2 C\n")
    return D.FGVCAircraft(root)


def sun(root: Path) -> Any:
    for i in range(3):
        photo(root / "SUN397" / "a" / "abbey" / f"sun_{i}.jpg", i)
    (root / "SUN397" / "ClassName.txt").write_text("/a/abbey\n")
    return D.SUN397(root)


def gtsrb(root: Path) -> Any:
    folders(root / "gtsrb" / "GTSRB" / "Training", suffix=".ppm")
    return D.GTSRB(root)


def sst2(root: Path) -> Any:
    folders(root / "rendered-sst2" / "train", ("negative", "positive"), ".png")
    return D.RenderedSST2(root)


def clevr(root: Path) -> Any:
    base = root / "clevr" / "CLEVR_v1.0"
    for i in range(3):
        photo(base / "images" / "train" / f"{i}.png", i)
    (base / "scenes").mkdir()
    scenes = [{"image_filename": f"{i}.png", "objects": [0] * i} for i in range(3)]
    (base / "scenes" / "CLEVR_train_scenes.json").write_text(json.dumps({"scenes": scenes}))
    return D.CLEVRClassification(root)


def eurosat(root: Path) -> Any:
    folders(root / "eurosat" / "2750")
    return D.EuroSAT(root)


def country(root: Path) -> Any:
    folders(root / "country211" / "train")
    return D.Country211(root)


def imagenet(root: Path) -> Any:
    folders(root / "train")
    torch.save(({"a": ("an a",), "b": ("a b",)}, []), root / "meta.bin")
    return D.ImageNet(root)


def imagenette(root: Path) -> Any:
    for name in ("n01440764", "n02102040"):
        photo(root / "imagenette2" / "train" / name / "0.jpeg", len(name))
    return D.Imagenette(root)


def pets(root: Path, **options: Any) -> Any:
    base = root / "oxford-iiit-pet"
    for i in range(3):
        photo(base / "images" / f"Cat_{i}.jpg", i)
    (base / "annotations").mkdir()
    (base / "annotations" / "trainval.txt").write_text("".join(f"Cat_{i} {i + 1} {i % 2 + 1} 1\n" for i in range(3)))
    return D.OxfordIIITPet(root, **options)


def inaturalist(root: Path, **options: Any) -> Any:
    for number in range(2):
        for i in range(3):
            photo(root / "2021_train" / f"{number:05}_k_p_c_o_f_g{number}_s" / f"{i}.jpg", i + 5 * number)
    return D.INaturalist(root, **{"loader": default(), "target_type": ["full", "genus"]} | options)


def sbu(root: Path) -> Any:
    for i in range(3):
        photo(root / "dataset" / f"{i}.jpg", i)
    urls = "".join(f"http://x/{i}.jpg\n" for i in range(3))
    (root / "dataset" / "SBU_captioned_photo_dataset_urls.txt").write_text(urls)
    (root / "dataset" / "SBU_captioned_photo_dataset_captions.txt").write_text("zero\none\ntwo\n")
    with mock.patch.object(D.SBU, "_check_integrity", return_value=True), mock.patch("builtins.open", _opened):
        return D.SBU(root, download=False)


def _opened(path: Any, *arguments: Any) -> Any:
    """torchvision leaves these files open."""
    return Path(path).read_text().splitlines(keepends=True)


def flickr30k(root: Path) -> Any:
    for i in range(3):
        photo(root / f"{i}.jpg", i)
    (root / "captions").write_text("".join(f"{i}.jpg#{k}\tcaption {k} of {i}\n" for i in range(3) for k in range(2)))
    return D.Flickr30k(str(root), str(root / "captions"))


# ---- as __init__ leaves them ----


def listed(name: str, **more: Any) -> Callable[[Path], Any]:
    def make(root: Path) -> Any:
        samples = [(str(photo(root / f"{i}.jpg", i)), np.uint8(i)) for i in range(4)]
        return attributes(name, _samples=samples, loader=default(), **more)

    return make


def flowers(root: Path) -> Any:
    files = [photo(root / f"{i}.jpg", i) for i in range(4)]
    return attributes("Flowers102", _image_files=files, _labels=[3, 1, 4, 1], loader=default())


def places(root: Path) -> Any:
    return attributes("Places365", imgs=[(str(photo(root / f"{i}.jpg", i)), i or None) for i in range(4)],
                      loader=default())  # fmt: skip


def lfw(root: Path) -> Any:
    files = [str(photo(root / f"{i}.jpg", i)) for i in range(4)]
    return attributes("LFWPeople", data=files, targets=[3, 1, 4, 1], _loader=default())


def flickr8k(root: Path) -> Any:
    ids = [str(photo(root / f"{i}.jpg", i)) for i in range(3)]
    return attributes("Flickr8k", ids=ids, annotations={name: [name, "caption"] for name in ids}, loader=default())


def svhn(root: Path) -> Any:
    loaded = np.asfortranarray(np.random.default_rng(6).integers(0, 256, (32, 32, 3, COUNT), np.uint8))  # as SciPy does
    return attributes("SVHN", data=np.transpose(loaded, (3, 2, 0, 1)), labels=np.arange(COUNT))


def emnist(root: Path) -> Any:
    images = torch.randint(0, 256, (COUNT, 28, 28), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    return attributes("EMNIST", data=images, targets=torch.arange(COUNT))


def qmnist(root: Path, compat: bool = True) -> Any:
    return attributes("QMNIST", data=emnist(root).data, targets=torch.arange(8 * COUNT).view(COUNT, 8), compat=compat)


def fer(root: Path) -> Any:
    return attributes("FER2013", _samples=[(image.clone(), i or None) for i, image in enumerate(emnist(root).data)])


MADE: dict[str, Callable[[Path], Any]] = {
    "ImageFolder": image_folder, "DatasetFolder": dataset_folder, "ImageNet": imagenet, "EuroSAT": eurosat,
    "Country211": country, "Imagenette": imagenette, "RenderedSST2": sst2, "GTSRB": gtsrb, "SUN397": sun,
    "Food101": food, "DTD": dtd, "FGVCAircraft": aircraft, "CLEVRClassification": clevr, "OxfordIIITPet": pets,
    "INaturalist": inaturalist, "SBU": sbu, "Flickr30k": flickr30k, "Flickr8k": flickr8k, "LFWPeople": lfw,
    "Places365": places, "Flowers102": flowers, "StanfordCars": listed("StanfordCars"),
    "MNIST": mnist("MNIST"), "FashionMNIST": mnist("FashionMNIST"), "KMNIST": mnist("KMNIST"), "EMNIST": emnist,
    "QMNIST": qmnist, "CIFAR10": cifar("CIFAR10", "labels"), "CIFAR100": cifar("CIFAR100", "fine_labels"),
    "SVHN": svhn, "STL10": stl10, "USPS": usps, "SEMEION": semeion, "FER2013": fer,
}  # fmt: skip
