"""Masks and boxes follow their image: torchvision's draws, its pixels and its numbers, in dataset[i] and the loader."""

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch.utils.data import ConcatDataset, DataLoader as TorchDataLoader, Subset
from torchvision import datasets, tv_tensors
from torchvision.transforms import v2

from gpuload import (
    ArgumentError,
    CocoDetection,
    DataLoader,
    DatasetError,
    MissingError,
    SampleError,
    SegmentationFolder,
    Shard,
    transforms as T,
)
from gpuload.datasets import JointDataset
from gpuload.recipes.draws import TorchDraws
from gpuload.recipes.recipes import Recipes
from gpuload.targets import installed, moved
from gpuload.testing import assert_same_batches
from tests.cases import THOROUGH, cases
from tests.conftest import Engine
from tests.joint_transforms import COUNT, make_folders, of_detection, of_segmentation

CROPS = [v2.RandomResizedCrop(24), v2.RandomHorizontalFlip(), v2.ToImage()]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("joint")
    make_folders(root)
    return root


def segmentation(root: Path, transforms: Any = None) -> SegmentationFolder:
    return SegmentationFolder(root / "images", root / "masks", transforms)


def detection(root: Path, transforms: Any = None) -> CocoDetection:
    return CocoDetection(root / "images", root / "boxes.json", transforms)


class Points(JointDataset):
    """A dataset of a user's own: keypoints, and a mask of each of two instances."""

    def __init__(self, root: Path, transforms: Any = None) -> None:
        super().__init__(transforms)
        self.files = sorted((root / "images").iterdir())

    def __len__(self) -> int:
        return len(self.files)

    def path(self, index: int) -> str:
        return str(self.files[index])

    def loaded(self, index: int, height: int, width: int) -> Any:
        points = torch.tensor([[1.0, 2.0], [height / 2, width / 3], [90.0, 90.0]])
        masks = torch.arange(2 * height * width, dtype=torch.uint8).view(2, height, width)
        return {
            "points": tv_tensors.KeyPoints(points, canvas_size=(height, width)),
            "masks": tv_tensors.Mask(masks),
            "index": index,
        }

    def followed(self, loaded: Any, recipes: Recipes) -> Any:
        return moved(loaded, recipes[0])


def of_points(rng: random.Random) -> list[Any]:
    *moves, last = of_segmentation(rng)
    after = [one for one in (v2.ClampKeyPoints(), v2.SanitizeKeyPoints()) if rng.random() < 0.5]
    return [*moves, *after, last]


Make = Callable[..., Any]
Draw = Callable[[random.Random], list[Any]]
KINDS: dict[str, tuple[Make, Draw]] = {
    "segmentation": (segmentation, of_segmentation),
    "detection": (detection, of_detection),
    "keypoints": (Points, of_points),
}
kinds = pytest.mark.parametrize(("make", "draw"), KINDS.values(), ids=KINDS)


def equal(one: Any, other: Any, plainly: bool = False) -> bool:
    """Of the same classes, dtypes and numbers. Plainly: of a simulated device there are no tv_tensors."""
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(equal(one[key], other[key], plainly) for key in one)
    if not isinstance(one, torch.Tensor):
        return bool(one == other)
    if not plainly:
        for name in ("__class__", "format", "canvas_size", "clamping_mode"):
            if getattr(one, name, None) != getattr(other, name, None):
                return False
    one, other = one.as_subclass(torch.Tensor), other.cpu().as_subclass(torch.Tensor)
    return one.dtype == other.dtype and torch.allclose(one, other, 0, 0, equal_nan=one.is_floating_point())


# ---- dataset[i] ----


def outcome(make: Callable[[], Any], seed: int) -> tuple[Any, torch.Tensor]:
    """What comes of it, or the error; and the generator's state after it."""
    torch.manual_seed(seed)
    try:
        made = make()
    except Exception as error:
        return str(error), torch.get_rng_state()
    return made, torch.get_rng_state()


def assert_alike(one: tuple[Any, torch.Tensor], other: tuple[Any, torch.Tensor], what: Any) -> None:
    (mine, my_state), (theirs, their_state) = one, other
    assert isinstance(mine, str) == isinstance(theirs, str), (mine, theirs, what)
    if not isinstance(mine, str):
        assert all(map(equal, mine, theirs)), what
        assert torch.equal(my_state, their_state), what


@kinds
@pytest.mark.parametrize("seed", range(cases(60)))
def test_what_is_drawn_moves_image_and_target_as_torchvision_does(
    root: Path, make: Make, draw: Draw, seed: int
) -> None:
    """The compiled transform, and gpuload's own Compose of it, draw and give what torchvision's Compose does."""
    rng = random.Random(seed)
    transforms = draw(rng)
    theirs, ours = make(root, v2.Compose(transforms)), make(root, T.Compose(transforms))
    index = rng.randrange(COUNT)

    def compiled() -> Any:
        plan = theirs.require_recipes().legs[0].plan
        return theirs.apply(index, plan.recipes(*([side] for side in theirs.size(index)), TorchDraws())[0])

    expected = outcome(lambda: theirs[index], seed)
    assert_alike(outcome(compiled, seed), expected, transforms)
    assert_alike(outcome(lambda: ours[index], seed), expected, transforms)


def test_gpuloads_own_transforms_give_the_same(root: Path) -> None:
    """Dicts of fills name images and masks."""
    own = T.Compose([T.RandomCrop(80, pad_if_needed=True, fill={"image": (1, 2, 3), "mask": 255}), T.RandomRotation(9)])
    fills: Any = {tv_tensors.Image: 0, tv_tensors.Mask: 255, "others": (1, 2, 3)}
    theirs = v2.Compose([v2.RandomCrop(80, pad_if_needed=True, fill=fills), v2.RandomRotation(9), v2.PILToTensor()])
    for index in range(COUNT):
        mine, expected = (
            outcome(lambda i=index: segmentation(root, own)[i], 3),
            outcome(lambda i=index: segmentation(root, theirs)[i], 3),
        )
        assert_alike(mine, expected, index)
    assert (mine[0][1] == 255).any()


def test_without_transforms_samples_are_as_they_were_loaded(root: Path) -> None:
    image, mask = segmentation(root)[1]
    assert image.mode == "RGB" and type(mask) is tv_tensors.Mask
    assert mask.dtype == torch.uint8 and tuple(mask.shape) == (image.height, image.width) and mask.max() == 20
    image, target = detection(root)[0]
    assert target["boxes"].format == tv_tensors.BoundingBoxFormat.XYXY and target["image_id"] == 900 - COUNT + 1
    assert target["boxes"].canvas_size == (image.height, image.width)
    assert [target[name].dtype for name in ("labels", "area", "iscrowd")] == [torch.int64, torch.float32, torch.int64]


def test_an_image_without_annotations_has_no_boxes(root: Path) -> None:
    dataset = detection(root)
    empty = [target for _, target in map(dataset.__getitem__, range(COUNT)) if not len(target["labels"])]
    assert empty and all(target["boxes"].shape == (0, 4) for target in empty)


def test_any_callable_gets_image_and_target(root: Path) -> None:
    assert segmentation(root, lambda image, mask: (image.size, mask.shape[0]))[0] is not None
    assert isinstance(segmentation(root, lambda image, mask: 0).program, str)


def test_masks_need_no_torchvision(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """But for what turns them, and boxes."""
    own = T.Compose([T.RandomResizedCrop(24), T.Pad(2)])
    expected, _ = outcome(lambda: segmentation(root, own)[0], 1)

    def missing(name: str) -> Any:
        raise ImportError(name)

    for function in (installed.functional, installed.tv_tensors, installed.has_tv_tensors):
        function.cache_clear()
    monkeypatch.setattr(installed.importlib, "import_module", missing)
    monkeypatch.setattr(installed, "find_spec", lambda name: None)
    try:
        _, mask = outcome(lambda: segmentation(root, own)[0], 1)[0]
        assert type(mask) is torch.Tensor and torch.equal(mask, expected[1].as_subclass(torch.Tensor))
        with pytest.raises(SampleError, match="pip install torchvision"):
            segmentation(root, T.RandomRotation(9))[0]
        with pytest.raises(MissingError, match="pip install torchvision"):
            detection(root)[0]
    finally:
        for function in (installed.functional, installed.tv_tensors, installed.has_tv_tensors):
            function.cache_clear()


# ---- the loader ----


def samples_of(loader: DataLoader) -> list[tuple[Any, Any]]:
    return [sample for batch in loader for sample in batch]


@kinds
@pytest.mark.parametrize("seed", range(max(cases(60) // 15, 2)))
def test_the_loader_gives_what_its_recipes_say(root: Path, engine: Engine, make: Make, draw: Draw, seed: int) -> None:
    rng = random.Random(seed)
    dataset: JointDataset = make(root, v2.Compose(draw(rng)))
    loader = DataLoader(
        dataset, rng.choice((1, 5)), shuffle=True, num_workers=rng.choice((0, 3)), seed=seed, engine=engine.name,
        device=engine.device, collate_fn=list,
    )  # fmt: skip
    loader.set_epoch(1)
    recipes = list(loader.recipes(1))
    found, mine = outcome(lambda: samples_of(loader), 0)[0], outcome(lambda: [dataset.apply(*r) for r in recipes], 0)[0]
    if isinstance(mine, str):
        assert isinstance(found, str)
        return
    for (image, target), (exact, followed) in zip(found, mine, strict=True):
        assert equal(followed, target, plainly=engine.device == "cuda")
        assert engine.most or equal(exact, image, plainly=engine.device == "cuda")


def test_batches_of_masks_are_stacked_on_the_device(root: Path, engine: Engine) -> None:
    ends = [v2.ToDtype({tv_tensors.Image: torch.float32, tv_tensors.Mask: torch.int64, "others": None}, scale=True)]
    loader = DataLoader(
        segmentation(root, v2.Compose([*CROPS, *ends])), 4, seed=1, engine=engine.name, device=engine.device
    )
    images, masks = next(iter(loader))
    assert masks.shape == (4, 24, 24) and masks.dtype == torch.int64 and masks.device == images.device
    assert masks.cpu().unique().numel() > 5


def test_batches_of_boxes_are_lists(root: Path, engine: Engine) -> None:
    """As torchvision's detection models take them."""
    dataset = detection(root, v2.Compose([v2.RandomShortestSize(30), v2.ToImage()]))
    for some in (dataset, Subset(dataset, range(3, 9)), ConcatDataset([dataset, Subset(dataset, range(3))])):
        loader = DataLoader(some, 5, seed=1, engine=engine.name, device=engine.device)
        images, targets = next(iter(loader))
        assert len(images) == len(targets) == 5 and len({image.shape for image in images}) > 1
        assert all(target["boxes"].device == image.device for image, target in zip(images, targets, strict=True))


@kinds
def test_the_same_batches_on_any_workers_and_ranks(root: Path, engine: Engine, make: Make, draw: Draw) -> None:
    dataset = make(root, v2.Compose(CROPS))

    def loader(shard: Shard, workers: int) -> DataLoader:
        return DataLoader(
            dataset, 6 // shard.world_size, shuffle=True, num_workers=workers, shard=shard, drop_last=True, seed=1,
            engine=engine.name, device=engine.device, collate_fn=list,
        )  # fmt: skip

    assert_same_batches(loader, (1, 2, 3) if THOROUGH else (2,), (0, 2), 2 if THOROUGH else 1)


@kinds
def test_parts_of_datasets_are_rendered_as_well(root: Path, make: Make, draw: Draw) -> None:
    whole = make(root, v2.Compose(CROPS))
    loader = DataLoader(ConcatDataset([Subset(whole, [5, 2]), whole]), 3, seed=1, device="cpu", collate_fn=list)
    assert loader.engine is not None
    order = [5, 2, *range(COUNT)]
    for (image, target), (index, recipe) in zip(samples_of(loader), loader.recipes(0), strict=True):
        exact, followed = whole.apply(order[index], recipe)
        assert equal(exact, image) and equal(followed, target)


def test_dicts_are_collated_as_torch_does(root: Path) -> None:
    dataset = Points(root, v2.Compose([v2.Resize((20, 30)), v2.ToImage()]))
    ours, theirs = list(DataLoader(dataset, 5, seed=0, device="cpu")), list(TorchDataLoader(dataset, 5))
    for mine, expected in zip(ours, theirs, strict=True):
        assert all(map(equal, mine, expected)) and mine[1]["points"].shape[1:] == (3, 2)


@kinds
def test_torchs_own_loader_takes_them(root: Path, make: Make, draw: Draw) -> None:
    dataset = make(root, v2.Compose(CROPS))
    batches = list(TorchDataLoader(dataset, 4, collate_fn=list))
    assert [len(batch) for batch in batches] == [4, 4, 4]


@pytest.mark.parametrize(
    "ordinary",
    [
        v2.RandomResizedCrop(24, interpolation=v2.InterpolationMode.NEAREST_EXACT),
        v2.RandomRotation((45, 45), expand=True),
        v2.Pad(2, padding_mode="reflect"),
        v2.Pad(2, fill=[1, 2, 3]),
        v2.ElasticTransform(),
        v2.Compose([v2.ToPureTensor(), v2.CenterCrop(9)]),
        v2.SanitizeBoundingBoxes(),
    ],
    ids=lambda transform: type(transform).__name__,
)
def test_what_is_not_known_of_both_is_left_to_torchs_workers(root: Path, ordinary: Any) -> None:
    """Which do what torchvision does, or raise its error."""
    dataset = segmentation(root, v2.Compose([v2.ToImage(), ordinary]))
    loader = DataLoader(dataset, 4, device="cpu", seed=0, collate_fn=list)
    assert loader.engine is None
    torch.manual_seed(7)
    found = outcome(lambda: samples_of(loader), 1)[0]
    expected = outcome(lambda: [dataset[index] for index in range(COUNT)], 1)[0]
    assert type(found) is type(expected)
    for one, other in zip(found, expected, strict=True) if isinstance(found, list) else ():
        assert [part.shape[0] for part in one] == [part.shape[0] for part in other]


def test_boxes_that_torchs_workers_read_are_lists_too(root: Path) -> None:
    loader = DataLoader(detection(root, v2.Compose([v2.RandomIoUCrop(), v2.ToImage()])), 4, device="cpu")
    batches = outcome(lambda: list(loader), 3)[0]
    if not isinstance(batches, str):
        assert all(type(target["boxes"]) is tv_tensors.BoundingBoxes for _, targets in batches for target in targets)
    assert loader.engine is None


def test_explain_says_how_masks_are_made(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    DataLoader(segmentation(root, v2.Compose(CROPS)), 4, device="cpu", engine="pillow").explain()
    assert "masks: the same geometry, nearest" in capsys.readouterr().out


# ---- what is wrong ----


def test_a_mask_of_another_size_is_named_with_its_image(root: Path, tmp_path: Path) -> None:
    for name in ("images", "masks"):
        (tmp_path / name).mkdir()
    Image.new("RGB", (30, 20)).save(tmp_path / "images" / "a.png")
    Image.new("L", (30, 21)).save(tmp_path / "masks" / "a.png")
    dataset = segmentation(tmp_path, v2.Compose(CROPS))
    message = r"masks/a.png has 21 x 30 pixels, but its image .*images/a.png has 20 x 30"
    with pytest.raises(SampleError, match=message):
        dataset[0]
    with pytest.raises(SampleError, match=message):
        list(DataLoader(dataset, device="cpu"))


def test_a_mask_in_color_is_refused(tmp_path: Path) -> None:
    for name in ("images", "masks"):
        (tmp_path / name).mkdir()
        Image.new("RGB", (30, 20)).save(tmp_path / name / "a.png")
    with pytest.raises(
        SampleError, match=r"its mask .*a.png: a mask must be an image of mode 1, L, P, .* got mode RGB"
    ):
        segmentation(tmp_path)[0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "Expecting property name"),
        ('{"images": []}', "it has no 'annotations'"),
        ('{"images": [{"id": 3, "file_name": "a"}], "annotations": [{"image_id": 4}]}', "it has no 4"),
        ('{"images": [{"id": 3, "file_name": "a"}], "annotations": [{"image_id": 3, "bbox": [1, 2]}]}', "bbox"),
    ],
)
def test_a_file_that_holds_no_annotations(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "boxes.json").write_text(text)
    with pytest.raises(DatasetError, match=f"holds no annotations as COCO's: .*{message}"):
        detection(tmp_path)


def test_folders_that_do_not_match(root: Path, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="images '.*' is no folder"):
        segmentation(tmp_path)
    for name in ("images", "masks"):
        (tmp_path / name).mkdir()
    with pytest.raises(DatasetError, match="has no image files"):
        segmentation(tmp_path)
    for name in ("images/a.png", "images/b.png", "masks/a.png"):
        Image.new("L", (3, 3)).save(tmp_path / name)
    with pytest.raises(DatasetError, match=r"1 of 2 images have no mask of their name in '.*masks', such as '.*b.png'"):
        segmentation(tmp_path)
    Image.new("L", (3, 3)).save(tmp_path / "images" / "a.jpg")
    with pytest.raises(DatasetError, match=r"images has two files of one name: '.*a.jpg' and '.*a.png'"):
        segmentation(tmp_path)


def test_torchvisions_wrapped_datasets_are_as_in_torchs_loader(tmp_path: Path) -> None:
    root = tmp_path / "VOCdevkit" / "VOC2012"
    for name in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
        (root / name).mkdir(parents=True)
    (root / "ImageSets" / "Segmentation" / "train.txt").write_text("a")
    Image.new("RGB", (30, 20), (1, 2, 3)).save(root / "JPEGImages" / "a.jpg")
    Image.new("L", (30, 20), 7).save(root / "SegmentationClass" / "a.png")
    voc = datasets.VOCSegmentation(tmp_path, transforms=v2.Compose([v2.CenterCrop(9), v2.ToImage()]))
    wrapped = datasets.wrap_dataset_for_transforms_v2(voc)
    for collate in (None, list):
        (mine,), (theirs,) = (
            list(loader) for loader in (
                DataLoader(wrapped, device="cpu", collate_fn=collate), TorchDataLoader(wrapped, collate_fn=collate),
            )
        )  # fmt: skip
        assert all(map(equal, mine[0], theirs[0])) and all(map(equal, mine[-1], theirs[-1]))


def test_gpuloads_compose_says_what_targets_cannot_follow(root: Path) -> None:
    with pytest.raises(ArgumentError, match="targets cannot follow TrivialAugmentWide"):
        segmentation(root, T.Compose([T.TrivialAugmentWide()]))[0]
    with pytest.raises(
        ArgumentError, match=r"fill=\(1, 2, 3\) of Pad is a color, but a mask is filled with one number"
    ):
        segmentation(root, T.Pad(2, fill=(1, 2, 3)))[0]
    with pytest.raises(ArgumentError, match="fill must be for Image, Mask or 'others'"):
        T.Pad(2, fill={"video": 3})


def test_labels_are_found_or_that_is_torchvisions_error(root: Path) -> None:
    getter = v2.SanitizeBoundingBoxes(labels_getter=lambda sample: sample[1]["names"])
    for transforms in (v2.Compose([*CROPS, getter]), T.Compose([*CROPS, getter])):
        with pytest.raises(SampleError, match="names"):
            detection(root, transforms)[0]
