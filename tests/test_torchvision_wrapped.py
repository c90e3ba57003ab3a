"""torchvision's datasets of masks and boxes, wrapped: their samples, on the fast path."""

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch
import torchvision.datasets as D
from PIL import Image
from torch.utils.data import ConcatDataset, DataLoader as TorchDataLoader, Subset
from torchvision import tv_tensors
from torchvision.transforms import v2

from gpuload import DataLoader, SampleError
from gpuload.collate import listed
from gpuload.datasets import JointDataset
from gpuload.lifting import Unknown, find
from gpuload.lifting.torchvision_wrapped import MODULE, WRAPPED
from gpuload.recipes.draws import TorchDraws
from tests import fake_pycocotools
from tests.cases import cases
from tests.conftest import Engine
from tests.joint_transforms import COUNT, make_folders, of_detection, of_segmentation

wrap = D.wrap_dataset_for_transforms_v2
CROPS = [v2.RandomResizedCrop(24), v2.RandomHorizontalFlip(), v2.ToImage()]
Made = Callable[..., Any]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folders of VOC, and COCO's annotations of the same images; each has boxes, in VOC's files at least one."""
    root = tmp_path_factory.mktemp("wrapped")
    make_folders(root)
    voc = root / "VOCdevkit" / "VOC2012"
    for name in ("Annotations", "ImageSets/Segmentation", "ImageSets/Main"):
        (voc / name).mkdir(parents=True)
    (root / "images").rename(voc / "JPEGImages")
    (root / "masks").rename(voc / "SegmentationClass")
    listed = json.loads((root / "boxes.json").read_text())
    for box in listed["annotations"]:
        x, y, w, h = box["bbox"]
        box["segmentation"] = [[x, y, x + w, y, x + w, y + h]]
    (root / "boxes.json").write_text(json.dumps(listed))
    rng, names = random.Random(1), [f"{number:02}" for number in range(COUNT)]
    for name in names:
        objects = ""
        for _ in range(rng.randint(1, 3)):
            left, top = rng.randint(0, 9), rng.randint(0, 9)
            corners = {"xmin": left, "ymin": top, "xmax": left + 9, "ymax": top + rng.randint(1, 9)}
            bounds = "".join(f"<{key}>{value}</{key}>" for key, value in corners.items())
            objects += f"<object><name>{rng.choice(('cat', 'dog'))}</name><bndbox>{bounds}</bndbox></object>"
        file = voc / "Annotations" / f"{name}.xml"
        file.write_text(f"<annotation><filename>{name}.jpg</filename>{objects}</annotation>")
    for kind in ("Segmentation", "Main"):
        (voc / "ImageSets" / kind / "train.txt").write_text("\n".join(names))
    return root


@pytest.fixture(autouse=True)
def pycocotools(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_pycocotools.install(monkeypatch)


def segmentation(root: Path, transforms: Any = None) -> Any:
    return wrap(D.VOCSegmentation(root, image_set="train", transforms=transforms))


def objects(root: Path, transforms: Any = None, keys: Any = None) -> Any:
    return wrap(D.VOCDetection(root, image_set="train", transforms=transforms), keys)


def coco(root: Path, transforms: Any = None, keys: Any = None) -> Any:
    images = root / "VOCdevkit" / "VOC2012" / "JPEGImages"
    return wrap(D.CocoDetection(images, str(root / "boxes.json"), transforms=transforms), keys)


KEYS = {"coco": ["boxes", "labels", "area", "iscrowd", "masks"], "voc": ["boxes", "labels", "annotation"]}
KINDS: dict[str, tuple[Made, Callable[[random.Random], list[Any]]]] = {
    "VOCSegmentation": (segmentation, of_segmentation),
    "VOCDetection": (objects, of_detection),
    "VOCDetection of all keys": (lambda root, transforms=None: objects(root, transforms, "all"), of_segmentation),
    "VOCDetection of some keys": (
        lambda root, transforms=None: objects(root, transforms, KEYS["voc"]),
        of_segmentation,
    ),
    "CocoDetection": (coco, of_segmentation),
    "CocoDetection of all keys": (lambda root, transforms=None: coco(root, transforms, "all"), of_segmentation),
    "CocoDetection of some keys": (lambda root, transforms=None: coco(root, transforms, KEYS["coco"]), of_segmentation),
}
kinds = pytest.mark.parametrize(("make", "draw"), KINDS.values(), ids=KINDS)


def equal(one: Any, other: Any, plainly: bool = False) -> bool:
    """Of the same types and numbers, all the way down. Plainly: of a simulated device there are no tv_tensors."""
    if isinstance(one, torch.Tensor):
        for name in () if plainly else ("__class__", "format", "canvas_size", "clamping_mode"):
            if getattr(one, name, None) != getattr(other, name, None):
                return False
        one, other = one.as_subclass(torch.Tensor), other.cpu().as_subclass(torch.Tensor)
        return one.dtype == other.dtype and torch.equal(one, other)
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return list(one) == list(other) and all(equal(one[key], other[key], plainly) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(equal(*pair, plainly) for pair in zip(one, other, strict=True))
    return bool(one == other)


def outcome(make: Callable[[], Any], seed: int) -> tuple[Any, torch.Tensor]:
    """What comes of it, or the error; and the generator's state after it."""
    torch.manual_seed(seed)
    try:
        made = make()
    except Exception as error:
        made = str(error)
    return made, torch.get_rng_state()


def found(dataset: Any) -> JointDataset:
    view = find(dataset)
    assert isinstance(view, JointDataset), view
    return view


# ---- samples ----


@kinds
@pytest.mark.parametrize("seed", range(cases(20)))
def test_what_is_drawn_moves_image_and_target_as_torchvision_does(
    root: Path, make: Made, draw: Callable[[random.Random], list[Any]], seed: int
) -> None:
    rng = random.Random(seed)
    dataset = make(root, v2.Compose(draw(rng)))
    view, index = found(dataset), rng.randrange(COUNT)
    expected, their_state = outcome(lambda: dataset[index], seed)

    def compiled() -> Any:
        plan = view.require_recipes().legs[0].plan
        return view.apply(index, plan.recipes(*([side] for side in view.size(index)), TorchDraws())[0])

    made, my_state = outcome(compiled, seed)
    if isinstance(expected, str):
        assert isinstance(made, str)
        return
    assert equal(made, expected), dataset.transforms
    assert torch.equal(my_state, their_state)


@kinds
def test_targets_are_as_they_are_wrapped(root: Path, make: Made, draw: Any) -> None:
    dataset = make(root)
    view = found(dataset)
    assert len(view) == len(dataset) == COUNT
    for index in range(COUNT):
        (image, target), (same, wrapped) = dataset[index], view[index]
        assert np.array_equal(image, same) and equal(target, wrapped)
        assert view.size(index) == (image.height, image.width)


# ---- the loader ----


@kinds
def test_the_loader_gives_what_its_recipes_say(root: Path, engine: Engine, make: Made, draw: Any) -> None:
    dataset = make(root, v2.Compose(CROPS))
    loader = DataLoader(
        dataset, 5, shuffle=True, num_workers=2, seed=3, engine=engine.name, device=engine.device, collate_fn=list
    )
    assert loader.engine is not None
    view, plainly = found(dataset), engine.device == "cuda"
    samples = [sample for batch in loader for sample in batch]
    for (image, target), (index, recipe) in zip(samples, loader.recipes(0), strict=True):
        exact, followed = view.apply(index, recipe)
        assert equal(followed, target, plainly)
        assert engine.most or equal(exact, image, plainly)


def test_batches_of_masks_are_collated_as_torch_does(root: Path, engine: Engine) -> None:
    """Of those that are bytes."""
    dataset = segmentation(root, v2.Compose([v2.Resize((20, 30)), v2.ToImage()]))
    bytes_only = Subset(dataset, [index for index in range(COUNT) if index % 3 != 2])
    (expected,) = TorchDataLoader(bytes_only, COUNT)
    images, masks = next(iter(DataLoader(bytes_only, COUNT, seed=0, engine=engine.name, device=engine.device)))
    assert masks.device == images.device and masks.shape == (8, 1, 20, 30)
    assert torch.equal(masks.cpu(), expected[1]) and (engine.most or torch.equal(images.cpu(), expected[0]))


def test_lists_of_boxes_take_a_collate_function_as_in_torch(root: Path) -> None:
    """Where they differ in number, torch's own cannot make one tensor of them."""
    dataset = coco(root, v2.Compose([v2.Resize((20, 30)), v2.ToImage()]))
    images, targets = next(iter(DataLoader(dataset, 4, seed=0, device="cpu", collate_fn=listed)))
    assert len(images) == len(targets) == 4 and type(images[0]) is tv_tensors.Image
    for loader in (TorchDataLoader(dataset, COUNT), DataLoader(dataset, COUNT, seed=0, device="cpu")):
        with pytest.raises((RuntimeError, KeyError)):
            next(iter(loader))


@kinds
def test_parts_of_datasets_are_read_as_well(root: Path, make: Made, draw: Any) -> None:
    dataset = make(root, v2.Compose(CROPS))
    parts = ConcatDataset([Subset(dataset, [5, 2]), dataset])
    loader = DataLoader(parts, 3, seed=1, device="cpu", collate_fn=list)
    assert loader.engine is not None
    samples, order = [sample for batch in loader for sample in batch], [5, 2, *range(COUNT)]
    for sample, (index, recipe) in zip(samples, loader.recipes(0), strict=True):
        assert equal(found(dataset).apply(order[index], recipe), sample)


def test_transforms_are_followed(root: Path) -> None:
    dataset = segmentation(root)
    loader = DataLoader(dataset, 4, device="cpu", collate_fn=list)
    assert loader.engine is None, "samples are PIL images"
    dataset.transforms = v2.Compose(CROPS)
    assert found(dataset).transforms is dataset.transforms


def test_ordinary_transforms_go_to_torchs_workers(root: Path) -> None:
    for given in ({"transforms": v2.Compose([v2.RandomIoUCrop(), v2.ToImage()])}, {"transform": v2.ToImage()}):
        dataset = wrap(D.VOCDetection(root, image_set="train", **given))
        assert DataLoader(dataset, 4, device="cpu", collate_fn=list).engine is None


def test_a_mask_of_another_size_than_its_image(root: Path, tmp_path: Path) -> None:
    Image.new("P", (3, 2)).save(tmp_path / "small.png")
    dataset = segmentation(root, v2.Compose(CROPS))
    dataset._dataset.targets = [str(tmp_path / "small.png")] * COUNT
    with pytest.raises(
        SampleError, match=r"its mask has 2 x 3 pixels, but the image \d+ x \d+: both must have one size"
    ):
        list(DataLoader(dataset, 4, device="cpu", collate_fn=list))


# ---- what is not as torchvision made it ----


def refused(dataset: Any) -> str:
    view = find(dataset)
    assert isinstance(view, Unknown), view
    return view.reason


@pytest.mark.parametrize("name", ["__getitem__", "__len__", "__getattr__", "__getitems__", "__getattribute__"])
def test_a_wrapper_that_was_changed(root: Path, name: str) -> None:
    dataset = segmentation(root)
    mine = type("Mine", (type(dataset),), {name: lambda *arguments: object.__getattribute__(*arguments)})
    changed = mine.__new__(mine)
    vars_of = object.__getattribute__(changed, "__dict__")
    vars_of.update(vars(dataset))
    assert refused(changed) == f"Mine {'has' if name == '__getitems__' else 'overrides'} {name}"
    if name != "__getattribute__":
        vars(dataset)[name] = print
        assert refused(dataset).startswith("WrappedVOCSegmentation ")


def test_a_wrapper_of_torchvision_that_was_replaced(root: Path) -> None:
    dataset, module = segmentation(root), __import__(MODULE, fromlist=["x"])
    with mock.patch.object(module.VisionDatasetTVTensorWrapper, "__getitem__", found):
        assert refused(dataset) == "VisionDatasetTVTensorWrapper.__getitem__ was replaced"
    dataset._wrapper = lambda index, sample: sample
    assert refused(dataset) == "what wraps samples of VOCSegmentation is not that of a torchvision gpuload knows"


@pytest.mark.parametrize(
    ("make", "cls", "name"),
    [
        (segmentation, D.VOCSegmentation, "__getitem__"), (segmentation, D.VOCSegmentation, "masks"),
        (objects, D.VOCDetection, "annotations"), (objects, D.VOCDetection, "parse_voc_xml"),
        (coco, D.CocoDetection, "_load_image"), (coco, D.CocoDetection, "_load_target"),
    ],
)  # fmt: skip
def test_a_dataset_that_was_changed(root: Path, make: Made, cls: Any, name: str) -> None:
    dataset = make(root)
    with mock.patch.object(cls, name, lambda *arguments: arguments):
        assert refused(dataset) == f"{cls.__name__} overrides {name}"
    kind = WRAPPED[cls.__name__]
    with mock.patch.dict(kind.methods, {name: "other names"}):
        assert refused(dataset) == f"{cls.__name__}.{name} is not that of a torchvision that gpuload knows"


@pytest.mark.parametrize(
    ("make", "changes", "reason"),
    [
        (segmentation, {"transforms": print}, "the VOCSegmentation that it wraps has transforms"),
        (segmentation, {"targets": []}, "it has 12 images and 0 targets"),
        (coco, {"coco": 1}, "its coco is a int, not one of pycocotools"),
    ],
)
def test_attributes_that_were_changed(root: Path, make: Made, changes: dict[str, Any], reason: str) -> None:
    dataset = make(root)
    vars(dataset._dataset).update(changes)
    assert refused(dataset) == reason


def test_other_datasets_are_left_to_torchs_workers(root: Path) -> None:
    images = root / "VOCdevkit" / "VOC2012" / "JPEGImages"
    captions = wrap(D.CocoCaptions(images, str(root / "boxes.json")))
    assert refused(captions) == "CocoCaptions._load_target is not that of a torchvision that gpuload knows"
