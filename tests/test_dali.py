"""DALI as an engine: what it is told, what it cannot do, how far its pixels are, what becomes of a batch that fails."""

import threading
import weakref
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import PIL
import pytest
import torch
from numpy.typing import NDArray

from gpuload import ArgumentError, DataLoader, ImageFolder, MissingError, SampleError, transforms as T
from gpuload.engines.base import Layout
from gpuload.engines.dali import engine as engine_module, graph as graph_module
from gpuload.engines.dali.arguments import Arguments, Needs, Resizing, arguments
from gpuload.engines.dali.limits import scaling
from gpuload.libraries import host_library
from gpuload.recipes.fuse import fuse
from gpuload.recipes.ops import Crop, Filter, Flip, Grayscale, Pad, PadMode, Recipe, Resize
from gpuload.recipes.recipes import Recipes
from gpuload.transforms.plan import Plan
from tests.conftest import encode, make_photo
from tests.torchvision_pages import page

pytest.importorskip("nvidia.dali")

PAGE = Path(__file__).parents[1] / "docs" / "dali.md"
BORDER = 4  # pixels
MODE = T.InterpolationMode
SHOWN = {
    "Resize((224, 224))": T.Resize((224, 224)),
    "Resize((800, 800))": T.Resize((800, 800)),
    "Resize((224, 224), BICUBIC)": T.Resize((224, 224), interpolation=MODE.BICUBIC),
    "Resize((224, 224), LANCZOS)": T.Resize((224, 224), interpolation=MODE.LANCZOS),
    "Resize((224, 224), NEAREST)": T.Resize((224, 224), interpolation=MODE.NEAREST),
    "RandomResize(200, 300)": T.RandomResize(200, 300),
    "RandomShortestSize((200, 300))": T.RandomShortestSize((200, 300)),
    "ScaleJitter((224, 224))": T.ScaleJitter((224, 224)),
    "RandomResizedCrop(224)": T.RandomResizedCrop(224),
    "RandomCrop(224)": T.RandomCrop(224),
    "CenterCrop(224)": T.CenterCrop(224),
    "RandomHorizontalFlip()": T.RandomHorizontalFlip(),
    "RandomVerticalFlip()": T.RandomVerticalFlip(),
    "Pad(8, fill=(10, 20, 30))": T.Pad(8, fill=(10, 20, 30)),
    "RandomCrop(448, pad_if_needed=True)": T.RandomCrop(448, pad_if_needed=True),
    "Grayscale(1)": T.Grayscale(1),
    "Grayscale(3)": T.Grayscale(3),
    "RandomGrayscale(0.5)": T.RandomGrayscale(0.5),
    "ToDtype(torch.float32, scale=True)": T.ToDtype(torch.float32, scale=True),
    "Normalize(mean, std)": T.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
}
PILLOWS = [
    T.ColorJitter(0.4, 0.4, 0.4, 0.1), T.RandomAdjustSharpness(2, 1.0), T.RandomPosterize(3, 1.0),
    T.RandomSolarize(99, 1.0), T.RandomInvert(1.0), T.RandomAutocontrast(1.0), T.RandomEqualize(1.0),
    T.RandomRotation((5, 9)), T.RandomAffine((5, 9)),
    T.RandomPerspective(p=1.0), T.PillowGaussianBlur(p=1.0), T.GaussianBlur(5), T.RandomChannelPermutation(),
    T.RandomPhotometricDistort(p=1.0),
]  # fmt: skip
DRAWS = 8  # of each photo
SOME = Resizing((4, 5), 1)


def loader_of(dataset: Any, transform: Any = None, **options: Any) -> DataLoader:
    if isinstance(dataset, Path):
        dataset = ImageFolder(dataset, transform=transform)
    return DataLoader(dataset, **{"engine": "dali", "device": "cpu", **options})


# ---- pixels ----


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """scikit-learn's photos, as they come."""
    sklearn = pytest.importorskip("sklearn.datasets")
    root = tmp_path_factory.mktemp("samples")
    (root / "only").mkdir()
    for path in sorted((Path(sklearn.__file__).parent / "images").glob("*.jpg")):
        (root / "only" / path.name).write_bytes(path.read_bytes())
    return root


def differences(samples: Path, transform: Any) -> list[NDArray[np.float32]]:
    """Of each image, (C, H, W), on a scale of 0 to 255."""
    before = [T.ToDtype(torch.float32, scale=True)] if isinstance(transform, T.Normalize) else []
    options = {"sampler": [0, 1] * DRAWS, "batch_size": 4, "num_workers": 2, "collate_fn": list, "seed": 0}
    loader = loader_of(samples, T.Compose([*before, transform]), **options)
    images = [image for batch in loader for image, _ in batch]
    step = 1.0 if images[0].dtype is torch.uint8 else loader.values(torch.float32).diff().max()
    found = []
    for image, (index, recipe) in zip(images, loader.recipes(0), strict=True):
        found.append(((image.float() - loader.dataset.apply(index, recipe).float()).abs() / step).numpy())
    assert len(found) == 2 * DRAWS
    return found


def largest_and_mean(parts: list[NDArray[np.float32]]) -> list[str]:
    values = np.concatenate(parts)
    return [f"{values.max():.0f}", f"{values.mean(dtype=np.float64):.2f}"]


def test_the_page_says_how_far_pixels_are(samples: Path) -> None:
    rows = []
    for name, transform in SHOWN.items():
        interior, border = [], []
        for image in differences(samples, transform):
            inside = np.zeros(image.shape[1:], bool)
            inside[BORDER:-BORDER, BORDER:-BORDER] = True
            interior.append(image[:, inside].ravel())
            border.append(image[:, ~inside].ravel())
        rows.append([f"`{name}`", *largest_and_mean(interior), *largest_and_mean(border)])
    page("differences", ["transform", "largest", "mean", "largest at the border", "mean there"], rows, PAGE)


def test_the_page_has_all_transforms() -> None:
    others = {"RGB", "ToImage", "PILToTensor", "ToTensor", "Compose", "Transform"}  # nothing, or a table
    others |= {"AutoAugmentPolicy", "InterpolationMode", "MultiView"}
    others |= {"RandomApply", "RandomChoice", "RandomOrder"}  # whatever is in them
    others |= {"RandomErasing"}  # of what DALI leaves: tests/test_every_engine.py
    others |= {"AugMix", "AutoAugment", "RandAugment", "TrivialAugmentWide"}  # all that these choose is left to Pillow
    shown = {type(transform).__name__ for transform in SHOWN.values()}
    assert shown | {type(transform).__name__ for transform in PILLOWS} | others == set(T.__all__)


@pytest.mark.parametrize("transform", PILLOWS, ids=repr)
def test_colors_and_warps_are_left_to_pillow(samples: Path, transform: Any) -> None:
    for image in differences(samples, T.Compose([T.RandomResizedCrop(64), transform, T.RandomHorizontalFlip()])):
        assert not image.any()


# ---- what it is told ----


def told(*recipes: Recipe, size: tuple[int, int] = (40, 60)) -> tuple[Arguments, Needs]:
    return arguments(fuse(Recipes.of(list(recipes), [size[0]] * len(recipes), [size[1]] * len(recipes))))


def test_a_crop_is_decoded_and_nothing_else_is_done() -> None:
    made, needs = told((Crop(3, 5, 20, 30),))
    assert (made.start.tolist(), made.shape.tolist()) == ([[3, 5]], [[20, 30]])
    assert needs == Needs(1, resizes=False, resizing=Resizing((20, 30), 0), grays=False, fill=None)


def test_a_window_of_a_resize_is_a_region_of_interest() -> None:
    made, needs = told((Resize(80, 120, Filter.BILINEAR), Crop(10, 20, 40, 50)))
    assert made.size.tolist() == [[40, 50]]
    assert (made.start + made.roi_start).tolist() == [[5, 10]]
    assert (made.start + made.roi_end).tolist() == [[25, 35]]
    assert needs.resizing == Resizing((40, 50), Filter.BILINEAR.value)


def test_images_that_keep_their_size_have_any_filter() -> None:
    resized, cropped = (Resize(20, 30, Filter.BICUBIC), Flip(True)), (Crop(5, 6, 20, 30), Flip(True))
    assert told(resized, cropped)[1].resizing == Resizing((20, 30), Filter.BICUBIC.value)
    assert told(cropped)[1].resizing == Resizing((20, 30), Filter.NEAREST.value)


@pytest.mark.parametrize("before", [True, False])
def test_a_flip_changes_the_corners(before: bool) -> None:
    steps = (Flip(True), Resize(80, 120, Filter.BILINEAR)) if before else (Resize(80, 120, Filter.BILINEAR), Flip(True))
    made, _ = told(steps)
    assert (made.roi_start.tolist(), made.roi_end.tolist()) == ([[0, 60]], [[40, 0]])


def test_padding_is_a_slice_beyond_the_edge() -> None:
    made, needs = told((Pad(1, 2, 3, 4, (7, 8, 9), PadMode.CONSTANT), Crop(0, 0, 46, 64)), (Crop(1, 1, 9, 9),))
    assert (made.slice_start.tolist(), made.slice_shape.tolist()) == ([[-2, -1], [0, 0]], [[46, 64], [9, 9]])
    assert needs.fill == (7, 8, 9)


def test_gray_is_no_saturation() -> None:
    made, needs = told((Grayscale(),), ())
    assert (made.saturation.tolist(), needs.grays) == ([0, 1], True)


def test_what_two_batches_need() -> None:
    whole, other = Resizing((4, 5), 0), Resizing((5, 4), 0)
    resized, padded = Needs(3, True, SOME, False, None), Needs(5, False, whole, True, (1, 2, 3))
    assert resized | padded == padded | resized == Needs(5, True, SOME, True, (1, 2, 3))
    assert resized | padded._replace(resizing=other) == Needs(5, True, Resizing(None, 1), True, (1, 2, 3))
    assert (padded | padded._replace(fill=(7, 7, 7))).fill == (7, 7, 7)
    assert padded.built_in() == padded._replace(resizing=other).built_in() != padded
    assert resized.built_in() == resized


@pytest.mark.parametrize(
    ("first", "then", "both"),
    [
        (((4, 5), 1), ((4, 5), 1), ((4, 5), 1)),
        (((4, 5), 1), ((4, 5), 2), ((4, 5), None)),
        (((4, 5), 1), ((5, 4), 1), (None, 1)),
        ((None, None), ((4, 5), 1), (None, None)),
    ],
)
def test_what_two_batches_have_in_common(first: Any, then: Any, both: Any) -> None:
    assert Resizing(*first) | Resizing(*then) == Resizing(*then) | Resizing(*first) == Resizing(*both)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float16, torch.float32])
def test_values_are_a_scale_and_a_shift(dtype: torch.dtype) -> None:
    plan = Plan([] if dtype is torch.uint8 else [T.ToDtype(torch.float32, scale=True), T.Normalize(0.5, 0.2)])
    layout = Layout.of(plan, dtype, torch.contiguous_format)
    found = scaling(layout)
    assert found is not None
    made = (np.arange(256) - found[0][:, None]) / found[1][:, None]
    assert np.abs(made - layout.table.double().numpy()).max() <= 2e-3


# ---- what it cannot do ----


@pytest.mark.parametrize(
    ("transform", "text"),
    [
        (T.Pad(4, padding_mode="reflect"), r"^Pad\(.*engine='dali' pads with a color, not with padding_mode='reflect'"),
        (
            T.RandomCrop(99, 9, padding_mode="edge"),
            r"^RandomCrop\(.*not with padding_mode='edge': choose another engine",
        ),
        (T.Resize(9, interpolation=MODE.BOX), r"^Resize\(.*engine='dali' has no box filter: choose another engine"),
        (T.RandomResizedCrop(9, interpolation=MODE.HAMMING), r"^RandomResizedCrop\(.*has no hamming filter"),
    ],
)
def test_transforms_that_it_has_not_are_named(photos: Path, transform: Any, text: str) -> None:
    with pytest.raises(ArgumentError, match=text):
        loader_of(photos, T.Compose([T.RandomHorizontalFlip(), transform]))


def test_values_that_it_cannot_make_are_named(photos: Path) -> None:
    class Gamma(T.Transform):
        def values(self, image: torch.Tensor) -> torch.Tensor:
            return image**2

    with pytest.raises(ArgumentError, match=r"can only scale and shift values, which is not what these do: .*Gamma"):
        loader_of(photos, T.Compose([T.ToDtype(torch.float32, scale=True), Gamma()]))
    with pytest.raises(ArgumentError, match=r"makes torch\.uint8, .*, got dtype=torch\.bfloat16"):
        loader_of(photos, T.RandomCrop(9), dtype=torch.bfloat16)


def test_two_colors_are_an_error_of_their_batch_alone(photos: Path) -> None:
    """Gray padding comes with gray images."""
    transform = T.Compose([T.Resize((20, 20)), T.Pad(2, fill=(200, 0, 0)), T.RandomGrayscale(0.5)])
    loader = loader_of(photos, transform, batch_size=2, seed=1, num_workers=2)
    exact = [loader.dataset.apply(index, recipe) for index, recipe in loader.recipes(0)]
    outcomes, batches = [], iter(loader)
    for number in range(12):
        try:
            images = next(batches)[0]
        except ArgumentError as error:
            outcomes.append(str(error))
            continue
        outcomes.append("")
        pair = torch.stack(exact[2 * number : 2 * number + 2])
        assert (images.short() - pair.short()).abs().float().mean() < 1
    assert list(batches) == []
    assert set(outcomes) == {
        "",
        "engine='dali' pads with one color, got (60, 60, 60), (200, 0, 0): choose another engine, or fill=0",
    }


def test_a_transform_that_it_has_not_is_an_error_of_the_next_epoch(photos: Path) -> None:
    loader = loader_of(photos, T.CenterCrop(20), batch_size=4, num_workers=2)
    batches = iter(loader)
    next(batches)
    for other, text in (
        (T.Pad(4, padding_mode="reflect"), "pads with a color, not with padding_mode='reflect'"),
        (T.Resize((20, 20), interpolation=MODE.BOX), "has no box filter"),
    ):
        loader.dataset.transform = other
        with pytest.raises(ArgumentError, match=text):
            next(iter(loader))
    assert len(list(batches)) == 5
    loader.dataset.transform = T.CenterCrop(12)
    for images, _ in loader:
        assert images.shape == (4, 3, 12, 12)


def test_without_dali_the_command_is_said(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> Any:
        raise MissingError(f"engine='dali' needs DALI, which cannot be imported (no): {graph_module.INSTALL}")

    monkeypatch.setattr(graph_module, "_dali", missing)
    with pytest.raises(MissingError, match=r'pip install "gpuload\[cuda13\]", or "gpuload\[cuda12\]" beside'):
        loader_of(photos, T.RandomCrop(9))


# ---- runs ----


@pytest.fixture
def graphs(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The graphs that are made, each with what it was given."""
    made: list[Any] = []

    class Watched(graph_module.Graph):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            self.started, self.threads = 0, set[str]()
            made.append(self)

        def start(self, *arguments: Any) -> None:
            self.started += 1
            self.threads.add(threading.current_thread().name)
            super().start(*arguments)

        def outputs(self) -> Any:
            self.threads.add(threading.current_thread().name)
            return super().outputs()

    monkeypatch.setattr(engine_module, "Graph", Watched)
    return made


def test_one_graph_serves_all_epochs_on_the_consumers_thread(photos: Path, graphs: list[Any]) -> None:
    loader = loader_of(photos, T.RandomResizedCrop(20), batch_size=4, num_workers=3, persistent_workers=True)
    for _ in range(3):
        assert len(list(loader)) == 6
    (graph,) = graphs
    assert (graph.started, graph.threads) == (18, {"MainThread"})


def test_a_graph_grows_with_what_batches_need(tmp_path: Path, graphs: list[Any]) -> None:
    (tmp_path / "only").mkdir()
    for number in range(4):  # the last is smaller, and padded
        (tmp_path / "only" / f"{number}.jpg").write_bytes(encode(make_photo(*((9, 9) if number == 3 else (40, 50)))))
    transform = T.RandomCrop(20, pad_if_needed=True, fill=9)
    loader = loader_of(tmp_path, transform, batch_size=1, seed=0)
    for index, (images, _) in enumerate(loader):
        assert torch.equal(images[0], loader.dataset.apply(*list(loader.recipes(0))[index]))
    assert [graph.needs.fill for graph in graphs] == [None, (9, 9, 9)]


def test_a_graph_is_told_of_each_image_what_is_not_the_same_for_all(tmp_path: Path, graphs: list[Any]) -> None:
    (tmp_path / "only").mkdir()
    for number, size in enumerate([(40, 40), (40, 40), (40, 60), (40, 80)]):
        (tmp_path / "only" / f"{number}.jpg").write_bytes(encode(make_photo(*size)))
    loader = loader_of(tmp_path, T.Resize(20), batch_size=1)
    for images, (index, recipe) in zip(loader, loader.recipes(0), strict=True):
        exact = loader.dataset.apply(index, recipe)
        assert images[0][0].shape == exact.shape
        assert (images[0][0].short() - exact.short()).abs().float().mean() < 1
    bilinear = Filter.BILINEAR.value
    assert [graph.needs.resizing for graph in graphs] == [((20, 20), bilinear), (None, bilinear)]


def test_a_pipeline_of_a_dropped_loader_is_gone_and_its_batches_stay(photos: Path, no_collector: None) -> None:
    """In mid-epoch, with runs begun."""
    loader = loader_of(photos, T.RandomResizedCrop(20), batch_size=2, num_workers=3)
    batches = iter(loader)
    kept = [next(batches)[0] for _ in range(2)]
    copies = [images.clone() for images in kept]
    engine = loader.path._engines[0][1]
    held = [weakref.ref(thing) for thing in (engine, engine._graph, engine._graph._pipeline, engine.memory)]
    del engine, loader, batches
    assert [ref() for ref in held] == [None] * 4
    assert all(map(torch.equal, kept, copies))


def test_a_file_that_dali_cannot_decode_is_named_and_the_others_come(
    photos: Path, tmp_path: Path, graphs: list[Any]
) -> None:
    """No native code has looked at its tables before."""
    (tmp_path / "only").mkdir()
    for number, path in enumerate(sorted(photos.rglob("*.jpg"))[:10]):
        data = path.read_bytes()
        data = data.replace(b"\xff\xdb", b"\xff\xe5") if number == 5 else data  # without quantization tables
        (tmp_path / "only" / f"{number}.jpg").write_bytes(data)
    batches, outcomes = iter(loader_of(tmp_path, T.CenterCrop(20), batch_size=2, num_workers=1)), list[Any]()
    while len(outcomes) < 5:
        try:
            outcomes.append(len(next(batches)[0]))
        except SampleError as error:
            outcomes.append((error.index, error.path))
    assert list(batches) == []
    assert outcomes == [2, 2, (5, str(tmp_path / "only" / "5.jpg")), 2, 2]
    # A pipeline of DALI's is of no use after an error. One worker has batches ready in order: two come after it.
    assert len(graphs) == 2


def test_a_batch_that_fails_is_rendered_of_pillows_pixels(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    outputs, calls = graph_module.Graph.outputs, count()

    def second_fails(self: Any) -> Any:
        if next(calls) == 1:
            raise RuntimeError("a decoder's whim")
        return outputs(self)

    monkeypatch.setattr(graph_module.Graph, "outputs", second_fails)
    loader = loader_of(photos, T.CenterCrop(20), batch_size=5, num_workers=2)
    images = torch.cat([images for images, _ in loader])
    for image, (index, recipe) in zip(images, loader.recipes(0), strict=True):
        assert torch.equal(image, loader.dataset.apply(index, recipe)), index
    assert next(calls) == 6  # one more than batches


def test_an_error_that_no_file_explains_is_raised(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(self: Any) -> Any:
        raise RuntimeError("out of everything")

    monkeypatch.setattr(graph_module.Graph, "outputs", broken)
    loader = loader_of(photos, T.CenterCrop(20), batch_size=4, num_workers=1)
    with pytest.raises(RuntimeError, match="out of everything"):
        next(iter(loader))


def test_without_native_code_pillow_decodes(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_module, "host_library", lambda: None)
    loader = loader_of(photos, T.CenterCrop(20), batch_size=4, num_workers=2)
    for at, (images, _) in enumerate(loader):
        for slot, image in enumerate(images):
            index, recipe = list(loader.recipes(0))[4 * at + slot]
            assert torch.equal(image, loader.dataset.apply(index, recipe))


@pytest.mark.parametrize("is_native", [True, False])
def test_explain_says_that_it_decodes(photos: Path, monkeypatch: pytest.MonkeyPatch, is_native: bool) -> None:
    if not is_native:
        monkeypatch.setattr(engine_module, "host_library", lambda: None)
    elif host_library() is None:
        pytest.skip("no native code")
    found = {stage.name: stage for stage in loader_of(photos, T.CenterCrop(20), num_workers=3).stages()}
    what = f"engine dali: DALI {graph_module.dali_version()} from decoding to normalization, on 3 threads of its own"
    assert found["render"].facts[0] == what
    assert found["decode"].where == "CPU, 3 threads"
    if is_native:
        assert found["decode"].facts == (
            "ordinary JPEGs are read, for DALI to decode",
            f"all others by Pillow {PIL.__version__}",
        )
    else:
        (fact,) = found["decode"].facts
        assert fact.startswith(f"all by Pillow {PIL.__version__}; native code, which reads JPEGs for DALI to decode, ")


def test_explain_says_what_decodes_before_ordinary_code(photos: Path) -> None:
    """As the engine that renders for that, which is exact."""
    transform = T.Compose([T.Resize((30, 30)), torch.nn.Identity(), T.CenterCrop(20)])
    mine, exact = loader_of(photos, transform), loader_of(photos, transform, engine=None)
    decode = [[stage for stage in loader.stages() if stage.name == "decode"] for loader in (mine, exact)]
    assert decode[0] == decode[1]
