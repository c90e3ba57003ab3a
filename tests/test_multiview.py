"""Several views of an image: those of a class that calls its transforms one after the other, decoded once."""

import copy
import pickle
import random
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import ConcatDataset, DataLoader as TorchDataLoader, Subset, default_collate
from torchvision import datasets, transforms as v1
from torchvision.datasets import CIFAR10, MNIST
from torchvision.transforms import v2

from gpuload import ArgumentError, CollateError, DataLoader, ImageFolder, Shard, transforms as T
from gpuload.datasets import base
from gpuload.errors import ArgumentTypeError
from gpuload.recipes.draws import CounterDraws
from gpuload.recipes.fuse import fuse
from gpuload.recipes.ops import Crop, Flip, Recipe, Resize
from gpuload.recipes.recipes import Recipes
from gpuload.recipes.union import widened
from gpuload.testing import assert_same_batches
from gpuload.transforms.program import Views, compiled
from tests.cases import cases
from tests.conftest import Engine, encode, make_photo

pytestmark = pytest.mark.usefixtures("none_left")

MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
OURS = [T.ToDtype(torch.float32, scale=True), T.Normalize(MEAN, STD)]
COLORS = [
    T.RandomHorizontalFlip(),
    T.ColorJitter(0.4, 0.4, 0.2, 0.1),
    T.RandomGrayscale(0.2),
    T.RandomSolarize(128, 0.2),
]


def crops(size: int, scale: tuple[float, float], *more: Any) -> Any:
    bicubic = T.InterpolationMode.BICUBIC
    return T.Compose([T.RandomResizedCrop(size, scale, interpolation=bicubic), *more, *OURS])


def dino(colors: Any = COLORS) -> Any:
    """Two large views and four small ones."""
    return T.MultiView([(crops(48, (0.4, 1.0), *colors), 2), (crops(20, (0.05, 0.4), *colors), 4)])


class DataAugmentationDINO:
    """As in DINO's code, of what both libraries have."""

    def __init__(self, t: Any, values: list[Any], small: int) -> None:
        bicubic, flip = t.InterpolationMode.BICUBIC, t.RandomHorizontalFlip(p=0.5)
        colors = [flip, t.ColorJitter(0.4, 0.4, 0.2, 0.1), t.RandomGrayscale(p=0.2)]
        large, little = (
            t.RandomResizedCrop(size, scale=scale, interpolation=bicubic)
            for size, scale in ((48, (0.4, 1.0)), (20, (0.05, 0.4)))
        )
        self.global_transfo1 = t.Compose([large, *colors, *values])
        self.global_transfo2 = t.Compose([large, *colors, t.RandomSolarize(128, p=0.2), *values])
        self.local_transfo, self.small = t.Compose([little, *colors, *values]), small

    def __call__(self, image: Any) -> list[Any]:
        return [
            self.global_transfo1(image),
            self.global_transfo2(image),
            *(self.local_transfo(image) for _ in range(self.small)),
        ]

    def multiview(self) -> Any:
        return T.MultiView([self.global_transfo1, self.global_transfo2, (self.local_transfo, self.small)])


V2_VALUES = [v2.ToImage(), v2.ToDtype(torch.float32, scale=True), v2.Normalize(MEAN, STD)]
LIBRARIES = {"v1": (v1, [v1.ToTensor(), v1.Normalize(MEAN, STD)]), "v2": (v2, V2_VALUES), "ours": (T, OURS)}


@pytest.fixture
def folder(tmp_path: Path, photos: Path) -> Path:
    """Ordinary JPEGs, and what goes another way."""
    (tmp_path / "only").mkdir()
    for number, path in enumerate(sorted(photos.rglob("*.jpg"))[:8]):
        (tmp_path / "only" / f"{number:02}.jpg").write_bytes(path.read_bytes())
    for number, form in enumerate(["PNG", "BMP"]):
        (tmp_path / "only" / f"{number + 8:02}.jpg").write_bytes(encode(make_photo(50 + 9 * number, 70), form))
    return tmp_path


def loader_of(engine: Engine, dataset: Any, **options: Any) -> DataLoader:
    if engine.name == "dali":
        pytest.skip("makes one view of an image")
    defaults = {"batch_size": 4, "shuffle": True, "seed": 4, "num_workers": 2}
    return DataLoader(dataset, engine=engine.name, device=engine.device, **{**defaults, **options})


def samples(batches: Any) -> Iterator[tuple[list[torch.Tensor], Any]]:
    """Views, and the label, of each sample of plain batches."""
    for views, labels in batches:
        for at, label in enumerate(labels.tolist()):
            yield [view[at].cpu() for view in views], label


def check(loader: DataLoader, epoch: int = 0) -> None:
    """An epoch is what was drawn for it, applied with Pillow."""
    loader.set_epoch(epoch)
    made = list(samples(loader))
    assert len(made) == len(loader.dataset)
    for (views, label), (index, recipes) in zip(made, loader.recipes(epoch), strict=True):
        wanted = loader.dataset.apply(index, recipes)
        assert label == loader.dataset.targets[index] and len(views) == len(wanted)
        assert all(
            one.dtype == other.dtype and torch.equal(one, other) for one, other in zip(views, wanted, strict=True)
        )


# ---- dataset[i] ----


@pytest.mark.parametrize("library", LIBRARIES)
def test_a_sample_is_what_a_class_of_torchvisions_makes(library: str, photos: Path) -> None:
    """So many samples, each of six views; the generator is left where that leaves it."""
    augmentation = DataAugmentationDINO(*LIBRARIES[library], small=4)
    other = DataAugmentationDINO(*LIBRARIES["v2" if library == "ours" else library], small=4)
    theirs = datasets.ImageFolder(str(photos), transform=other)
    ours = ImageFolder(photos, transform=augmentation.multiview())
    for number in range(cases(20)):
        index = number % len(ours)
        torch.manual_seed(number)
        (views, label), state = ours[index], torch.get_rng_state()
        torch.manual_seed(number)
        wanted, target = theirs[index]
        assert type(views) is list and label == target and torch.equal(state, torch.get_rng_state())
        assert all(torch.equal(view, other) for view, other in zip(views, wanted, strict=True))


@pytest.mark.parametrize("library", LIBRARIES)
def test_what_is_compiled_draws_the_same(library: str, photos: Path) -> None:
    """The fast path's operations are those of ``dataset[i]``."""
    ours = ImageFolder(photos, transform=DataAugmentationDINO(*LIBRARIES[library], small=2).multiview())
    assert isinstance(ours.program, Views)
    for index in range(5):
        torch.manual_seed(index)
        wanted = ours[index][0]
        torch.manual_seed(index)
        views = ours.apply(index, ours.recipe(index))
        assert all(torch.equal(view, other) for view, other in zip(views, wanted, strict=True))


def test_torchs_loader_has_the_same_structure(photos: Path) -> None:
    dataset = ImageFolder(photos, transform=dino())
    theirs = next(iter(TorchDataLoader(dataset, 3)))
    ours = next(iter(DataLoader(dataset, 3, device="cpu")))
    for batch in (theirs, ours):
        assert (type(batch), type(batch[0]), type(batch[1])) == (list, list, torch.Tensor)
        assert [view.shape for view in batch[0]] == [(3, 3, 48, 48)] * 2 + [(3, 3, 20, 20)] * 4


def test_images_of_memory_in_any_form() -> None:
    multi = T.MultiView([T.CenterCrop(3), (T.Resize(5), 2)])
    image = make_photo(9, 9)
    for given in (image, torch.from_numpy(np.array(image)).permute(2, 0, 1)):
        assert [tuple(view.shape) for view in multi(given)] == [(3, 3, 3), (3, 5, 5), (3, 5, 5)]


# ---- the loader ----

SETS: dict[str, Callable[[], Any]] = {
    "two": lambda: T.MultiView([(crops(24, (0.2, 1.0)), 2)]),
    "colors": dino,
    "some colors": lambda: T.MultiView([crops(24, (0.2, 1.0)), crops(24, (0.2, 1.0), *COLORS), crops(9, (0.05, 0.3))]),
    "whole": lambda: T.MultiView([T.Resize((9, 8)), crops(24, (0.2, 0.3), T.RandomGrayscale(0.5)), T.Resize((8, 9))]),
    "several layouts": lambda: T.MultiView(
        [T.Compose([T.RandomCrop(20), T.Grayscale(1)]), crops(9, (0.1, 1)), T.RandomCrop(7), T.RandomCrop(8)]
    ),
    "does not fuse": lambda: T.MultiView(
        [T.Compose([T.Resize((40, 50)), T.RandomCrop(30), T.Resize(20)]), T.RandomCrop(20), T.RandomCrop(16)]
    ),
    "padding": lambda: T.MultiView(
        [T.RandomCrop(40, padding=9, padding_mode="reflect"), T.RandomCrop(30, padding=40), T.RandomCrop(9)]
    ),
    "one": lambda: T.MultiView([T.RandomCrop(20)]),
    "torch's filters": lambda: T.MultiView(
        [(v2.Compose([v2.PILToTensor(), v2.RandomResizedCrop(20, interpolation=v2.InterpolationMode.BICUBIC)]), 2)]
    ),
    "nearest": lambda: T.MultiView(
        [(T.RandomResizedCrop(20, interpolation="nearest"), 2), (T.RandomResizedCrop(9, interpolation="lanczos"), 2)]
    ),
}


@pytest.mark.parametrize("name", SETS)
def test_every_engine_makes_the_views_that_were_drawn(engine: Engine, folder: Path, name: str) -> None:
    loader = loader_of(engine, ImageFolder(folder, transform=SETS[name]()))
    for epoch in (0, 3):
        check(loader, epoch)


@pytest.mark.parametrize("options", [{"num_workers": 0}, {"num_workers": 5, "batch_size": 3}, {"batch_size": 1}])
def test_it_does_not_depend_on_workers_or_batches(engine: Engine, folder: Path, options: dict[str, Any]) -> None:
    check(loader_of(engine, ImageFolder(folder, transform=dino()), **options), 1)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.bfloat16])
def test_any_layout(engine: Engine, folder: Path, dtype: torch.dtype) -> None:
    multi = T.MultiView([(T.RandomResizedCrop(20), 2), T.RandomCrop(9)])
    dataset = ImageFolder(folder, transform=multi)
    loader = loader_of(engine, dataset, dtype=dtype, memory_format=torch.channels_last)
    for (views, _), (index, recipes) in zip(samples(loader), loader.recipes(0), strict=True):
        assert all(torch.equal(a, b.to(dtype)) for a, b in zip(views, dataset.apply(index, recipes), strict=True))
    views, _ = next(iter(loader))
    assert all(view.is_contiguous(memory_format=torch.channels_last) for view in views)
    assert len({view.untyped_storage().data_ptr() for view in views}) == 1  # one buffer of the batch's


def test_views_draw_for_themselves_by_seed_epoch_and_position(folder: Path) -> None:
    loader = DataLoader(ImageFolder(folder, transform=dino()), 4, shuffle=True, seed=4, device="cpu")
    drawn = list(loader.recipes(2))
    assert all(len(recipes) == 6 and len(set(map(str, recipes))) == 6 for _, recipes in drawn)
    for position, (index, recipes) in enumerate(drawn):
        height, width = loader.dataset.size(index)
        for view, (leg, recipe) in enumerate(zip(loader.dataset.program.legs, recipes, strict=True)):
            draws = CounterDraws(loader.seed, 2, [position], view)
            assert leg.plan.recipes([height], [width], draws)[0] == recipe


def test_pillow_decodes_an_image_once(folder: Path) -> None:
    dataset = ImageFolder(folder, transform=dino())
    with mock.patch.object(base, "decode", wraps=base.decode) as decode:
        list(DataLoader(dataset, 5, engine="pillow", device="cpu"))
    assert decode.call_count == len(dataset)


def test_the_same_batches_on_any_number_of_ranks_and_workers(folder: Path) -> None:
    dataset = ImageFolder(folder, transform=T.MultiView([(crops(24, (0.2, 1.0)), 2), crops(9, (0.1, 0.5), *COLORS)]))

    def make(shard: Shard, workers: int) -> DataLoader:
        size = 4 // shard.world_size
        return DataLoader(
            dataset, size, shuffle=True, seed=3, device="cpu", drop_last=True, num_workers=workers, shard=shard
        )

    assert_same_batches(make, worlds=(1, 2, 4), workers=(0, 3), epochs=2)


def test_a_sample_that_cannot_be_read_is_replaced(engine: Engine, folder: Path) -> None:
    files = sorted(folder.rglob("*.jpg"))
    files[1].write_bytes(files[1].read_bytes()[:900])
    files[5].write_text("no image")
    dataset = ImageFolder(folder, transform=dino())
    loader = loader_of(engine, dataset, on_error="replace", max_bad_samples=3)
    for epoch in (0, 1):
        check(loader, epoch)
    assert [bad.index for bad in loader.quarantine] == [1, 5]


def test_a_file_that_changes_its_size_is_planned_again(engine: Engine, folder: Path) -> None:
    loader = loader_of(engine, ImageFolder(folder, transform=dino()))
    check(loader, 0)
    (folder / "only" / "03.jpg").write_bytes(encode(make_photo(31, 47)))
    check(loader, 1)


def test_parts_of_datasets_and_several_together(engine: Engine, folder: Path) -> None:
    first, second = (ImageFolder(folder, transform=dino()) for _ in range(2))
    both = ConcatDataset([Subset(first, [7, 3, 9]), second])
    loader = loader_of(engine, both, shuffle=False)
    assert loader.engine == engine.name
    made = list(samples(loader))
    assert [label for _, label in made] == [0] * 13
    drawn = [recipes for _, recipes in loader.recipes(0)]
    for (views, _), index, recipes in zip(made, [7, 3, 9, *range(10)], drawn, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(views, first.apply(index, recipes), strict=True))


@pytest.mark.parametrize("kind", [CIFAR10, MNIST])
def test_images_in_memory(engine: Engine, kind: Any) -> None:
    dataset, shape = kind.__new__(kind), (23, 32, 32, 3)[: 4 if kind is CIFAR10 else 3]
    data, labels = np.random.default_rng(0).integers(0, 256, shape, np.uint8), list(range(23))
    dataset.data = data if kind is CIFAR10 else torch.from_numpy(data)
    dataset.targets = labels if kind is CIFAR10 else torch.tensor(labels)
    dataset.train, dataset.target_transform, dataset.transforms, dataset.root = True, None, None, ""
    dataset.transform = T.MultiView([(v1.Compose([v1.RandomResizedCrop(20), v1.ToTensor()]), 2), crops_of(kind)])
    loader = loader_of(engine, dataset)
    assert loader.engine == engine.name
    made = list(samples(loader))
    program = compiled(dataset.transform, 3 if kind is CIFAR10 else 1)
    for (views, label), (index, recipes) in zip(made, loader.recipes(0), strict=True):
        assert label == index
        image = Image.fromarray(data[index])
        wanted = [leg.plan.apply(image, recipe) for leg, recipe in zip(program.legs, recipes, strict=True)]
        assert [view.shape[0] for view in views] == [3 if kind is CIFAR10 else 1] * 3
        assert all(torch.equal(a, b) for a, b in zip(views, wanted, strict=True))


def crops_of(kind: Any) -> Any:
    return v1.Compose([v1.RandomCrop(32, padding=4), v1.ToTensor()])


@pytest.mark.parametrize("way", [copy.deepcopy, lambda loader: pickle.loads(pickle.dumps(loader))])
def test_copies(engine: Engine, folder: Path, way: Callable[[Any], Any]) -> None:
    loader = loader_of(engine, ImageFolder(folder, transform=dino()))
    batches = iter(loader)
    next(batches)
    check(way(loader), 2)
    assert len(list(batches)) == 2


def test_what_is_changed_counts_from_the_next_epoch(engine: Engine, folder: Path) -> None:
    multi = T.MultiView([(T.RandomCrop(20), 2)])
    loader = loader_of(engine, ImageFolder(folder, transform=multi))
    batches = iter(loader)
    next(batches)
    multi.transforms = [T.RandomCrop(10), (T.Resize((8, 8)), 3)]
    assert [len(views) for views, _ in batches] == [2, 2]
    check(loader, 1)
    loader.dataset.transform = T.RandomCrop(12)
    assert next(iter(loader))[0].shape == (4, 3, 12, 12)


def test_single_samples_and_a_collate_function_get_lists_of_views(engine: Engine, folder: Path) -> None:
    dataset = ImageFolder(folder, transform=T.MultiView([(T.RandomCrop(20), 2), T.RandomHorizontalFlip()]))
    plain = [(view, label) for view, label in loader_of(engine, dataset, batch_size=None)]
    collated = [pair for batch in loader_of(engine, dataset, collate_fn=list) for pair in batch]
    for pairs in (plain, collated):
        for (views, label), (index, recipes) in zip(pairs, loader_of(engine, dataset).recipes(0), strict=True):
            assert (type(views), int(label)) == (list, 0)
            assert all(torch.equal(a.cpu(), b) for a, b in zip(views, dataset.apply(index, recipes), strict=True))
    with pytest.raises(CollateError, match="the images of this batch have"):
        next(iter(loader_of(engine, dataset)))


def test_views_are_of_the_class_that_torchvision_has(folder: Path) -> None:
    multi = T.MultiView(
        [v2.Compose([v2.RandomCrop(9), v2.ToImage()]), v2.Compose([v2.RandomCrop(9), v2.PILToTensor()])]
    )
    dataset = ImageFolder(folder, transform=multi)
    loader = DataLoader(dataset, 4, collate_fn=list, device="cpu")
    assert list(map(type, next(iter(loader))[0][0])) == list(map(type, dataset[0][0]))


# ---- ordinary code ----


def twice(image: Any) -> Any:
    return image + random.random() + torch.rand(())


ORDINARY: dict[str, tuple[Callable[[], Any], str]] = {
    "in a view": (
        lambda: T.MultiView([crops(9, (0.1, 1)), T.Compose([T.RandomCrop(9), *OURS, twice])]),
        "view 2 calls twice",
    ),
    "before": (
        lambda: T.Compose([T.RandomHorizontalFlip(), T.MultiView([(T.RandomCrop(9), 2)])]),
        "MultiView is not all of the transform",
    ),
    "after": (
        lambda: T.Compose([T.MultiView([(T.RandomCrop(9), 2)]), lambda views: [view * 2 for view in views]]),
        "MultiView is not all of the transform",
    ),
}


@pytest.mark.parametrize("name", ORDINARY)
def test_ordinary_code_gives_the_same_for_any_number_of_threads(name: str, folder: Path) -> None:
    make, reason = ORDINARY[name]
    dataset = ImageFolder(folder, transform=make())
    made = [list(samples(DataLoader(dataset, 4, seed=3, device="cpu", num_workers=n))) for n in (0, 3)]
    for (views, label), (others, same) in zip(*made, strict=True):
        assert [view.shape for view in views] == [(3, 9, 9)] * 2 and label == same
        assert all(map(torch.equal, views, others)) and not torch.equal(*views)
    stage = next(stage for stage in DataLoader(dataset, device="cpu").stages() if stage.name == "call")
    assert f"views one after the other, for {reason}" in stage.facts


def test_views_that_are_pil_images_are_left_to_the_collate_function(folder: Path) -> None:
    dataset = ImageFolder(folder, transform=T.MultiView([(v2.RandomCrop(9), 2)]))
    loader = DataLoader(dataset, 4, collate_fn=list, device="cpu")
    assert [image.size for image in next(iter(loader))[0][0]] == [(9, 9)] * 2


@pytest.mark.parametrize("single", [False, True])
def test_lists_that_a_users_class_returns_stay_lists(single: bool, photos: Path) -> None:
    """Of equal shapes, too, after a native part."""
    crop = v2.Compose([v2.RandomCrop(9), v2.ToImage(), v2.ToDtype(torch.float32, scale=True)])
    dataset = ImageFolder(photos, transform=v2.Compose([v2.CenterCrop(30), lambda image: [crop(image), crop(image)]]))
    loader = DataLoader(dataset, None if single else 4, device="cpu")
    views, _ = next(iter(loader))
    assert [tuple(view.shape) for view in views] == [(3, 9, 9) if single else (4, 3, 9, 9)] * 2
    wanted = default_collate([dataset[i][0] for i in range(4)])
    assert type(views) is type(wanted) or single


# ---- what is said ----


def test_the_page_says_what_works(photos: Path) -> None:
    """Its programs, on other photos."""
    page = (Path(__file__).parents[1] / "docs" / "views.md").read_text()
    names: dict[str, Any] = {}
    for program in re.findall(r"```python\n(.*?)```", page, re.DOTALL):
        exec(program.replace("photos/train", str(photos)).replace("num_workers=8", "device='cpu'"), names)
    assert [tuple(names[name].shape) for name in ("first", "second")] == [(24, 3, 224, 224)] * 2
    assert [view.shape[-1] for view in (*names["large"], *names["small"])] == [224] * 2 + [96] * 8


def test_it_is_explained(folder: Path) -> None:
    multi = T.MultiView([(crops(24, (0.2, 1.0)), 2), (crops(9, (0.1, 0.5), *COLORS), 3)])
    loader = DataLoader(ImageFolder(folder, transform=multi), 4, device="cpu", engine="pillow")
    found = {stage.name: stage for stage in loader.stages()}
    assert list(found) == ["order", "read", "draw", "decode", "render", "deliver"]
    assert found["draw"].facts[:2] == (
        "for 2 views: RandomResizedCrop",
        "for 3 views: RandomResizedCrop, RandomHorizontalFlip, ColorJitter, RandomGrayscale, RandomSolarize",
    )
    assert found["render"].facts[1:] == (
        "5 views of each image, which is decoded once",
        "values by a table of 256 a channel: ToDtype, Normalize",
        "to float32, contiguous, 3 channels, 9 x 9 to 24 x 24 pixels",
    )
    assert found["deliver"].facts[0] == "[[images of each view], labels], in order"


def test_dali_makes_one_view(photos: Path) -> None:
    pytest.importorskip("nvidia.dali")
    text = (
        "engine='dali' makes one view of an image, but MultiView has 6: leave engine out, or pass 'cuda', 'cpu' or "
        "'pillow'"
    )
    with pytest.raises(ArgumentError, match=re.escape(text)):
        DataLoader(ImageFolder(photos, transform=dino([])), engine="dali", device="cpu")


BAD: list[tuple[Any, type[Exception], str]] = [
    (3, ArgumentTypeError, "MultiView takes a list of transforms, or of (transform, number of views), got 3"),
    ([], ArgumentError, "MultiView takes at least one transform, got none"),
    ([3], ArgumentTypeError, "MultiView takes transforms, or (transform, number of views), got 3"),
    ([(len, 0)], ArgumentError, "number of views must be at least 1, got 0"),
    ([(len, 1.5)], ArgumentTypeError, "number of views must be an int, got 1.5 (float)"),
]


@pytest.mark.parametrize(("transforms", "error", "text"), BAD)
def test_bad_arguments(transforms: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=re.escape(text)):
        T.MultiView(transforms)


def test_it_is_shown_and_copied_as_others() -> None:
    multi = T.MultiView([(T.Resize(9), 2), T.CenterCrop(3)])
    assert repr(multi) == f"MultiView(transforms=[({T.Resize(9)!r}, 2), {T.CenterCrop(3)!r}])"
    other = copy.deepcopy(multi)
    other.transforms = [T.Resize(3)]
    assert len(multi.each) == 3 and len(other.each) == 1


# ---- what views read together ----


def test_the_pixels_that_views_share_are_the_smallest_region_of_all() -> None:
    recipes: list[Recipe] = [
        (Crop(5, 7, 10, 20), Flip(True), Resize(8, 8, T.base.Filter.BILINEAR)),
        (Crop(1, 20, 9, 9),),
    ]
    views = [fuse(Recipes.of([recipe], [40], [50])) for recipe in recipes]
    before = [view.regions.copy() for view in views]
    assert widened(views, [np.zeros(1, bool)] * 2).tolist() == [[True, True]]
    for view, region in zip(views, before, strict=True):
        assert view.regions.tolist() == [[1, 7, 14, 22]]
        for axis in range(2):
            moved = int(region[0, axis] - view.regions[0, axis])
            length, decoded = (view.records["axes"][0, axis][name] for name in ("length", "decoded"))
            assert decoded == -moved and view.records["axes"][0, axis]["span"] == view.regions[0, 2 + axis]
            assert length > 0


def test_a_view_that_a_worker_renders_keeps_its_own() -> None:
    """The other one has what is decoded for both."""
    views = [fuse(Recipes.of([(crop,), (crop,)], [40] * 2, [50] * 2)) for crop in (Crop(5, 7, 9, 9), Crop(1, 2, 9, 9))]
    shared = widened(views, [np.array([False, True]), np.array([False, False])])
    assert shared.tolist() == [[True, True], [False, True]]
    both = [1, 2, 13, 14]
    assert [view.regions.tolist() for view in views] == [[both, [5, 7, 9, 9]], [both, both]]
