"""Transforms against torchvision v2 on PIL images: same names, same arguments, same draws, same bits."""

import copy
import inspect
import pickle
import platform
import random
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import transforms as v1
from torchvision.transforms import v2
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2.functional import _geometry

from gpuload import ArgumentError, ArgumentTypeError, DataLoader, ImageFolder, SampleError, transforms as T
from gpuload.compilers import compiler
from gpuload.lifting.same import same_transform
from gpuload.recipes.draws import TorchDraws
from gpuload.recipes.ops import Filter, Resize as ResizeOp
from gpuload.transforms.base import torch_filter_of
from gpuload.transforms.program import compiled
from tests.recipes import random_picture

FINISH: tuple[Any, ...] = (v2.PILToTensor(),)
MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]


def picture(height: int, width: int, seed: int = 0) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8))


def assert_same(ours: Any, theirs: Any, image: Image.Image, seed: int) -> None:
    """The same image, and torch's generator left in the same state."""
    torch.manual_seed(seed)
    got = ours(image)
    state = torch.get_rng_state()
    torch.manual_seed(seed)
    wanted = theirs(image)
    assert torch.equal(state, torch.get_rng_state())
    assert got.dtype == wanted.dtype
    assert got.shape == wanted.shape, (got.shape, wanted.shape, ours)
    assert torch.equal(got, wanted), ours


def both(name: str, *args: Any, **kwargs: Any) -> tuple[T.Compose, v2.Compose]:
    ours, theirs = getattr(T, name)(*args, **kwargs), getattr(v2, name)(*args, **kwargs)
    return T.Compose([ours]), v2.Compose([theirs, *FINISH])


CASES: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = [
    *[("Resize", (size,), {"interpolation": mode}) for mode in InterpolationMode for size in (40, (31, 57))],
    ("Resize", ([24],), {}),
    ("Resize", (40,), {"max_size": 44}),
    ("Resize", (None,), {"max_size": 33}),
    ("RandomResize", (20, 60), {}),
    ("RandomResize", (33, 34), {"interpolation": InterpolationMode.BICUBIC}),
    ("RandomShortestSize", ([24, 40, 31],), {}),
    ("RandomShortestSize", (40, 44), {}),
    ("ScaleJitter", ((60, 90),), {}),
    ("ScaleJitter", ((33, 20), (0.5, 0.9)), {"interpolation": InterpolationMode.BICUBIC}),
    ("CenterCrop", (32,), {}),
    ("CenterCrop", ((20, 90),), {}),
    ("CenterCrop", ((301, 155),), {}),
    ("Pad", (3,), {}),
    ("Pad", ((3, 7),), {"fill": 9}),
    ("Pad", ((1, 2, 3, 4),), {"fill": (1, 2, 3)}),
    *[("Pad", ((1, 2, 3, 4),), {"padding_mode": mode}) for mode in ("edge", "reflect", "symmetric")],
    *[
        ("Pad", (sides,), {"padding_mode": mode, "fill": 7})
        for mode in ("constant", "edge", "reflect", "symmetric")
        for sides in (-5, (-3, 7), (4, -9, -2, 3))
    ],
    ("RandomCrop", (16,), {}),
    ("RandomCrop", ((30, 20),), {"padding": 4}),
    ("RandomCrop", (28,), {"padding": (1, 2, 3, 4), "padding_mode": "reflect"}),
    ("RandomCrop", (250,), {"pad_if_needed": True, "fill": (9, 8, 7)}),
    ("RandomCrop", (250,), {"pad_if_needed": True, "padding": 5, "padding_mode": "symmetric"}),
    ("RandomResizedCrop", (24,), {}),
    ("RandomResizedCrop", ((24, 40),), {"scale": (0.5, 1.0), "ratio": (0.5, 2.0)}),
    ("RandomResizedCrop", (24,), {"interpolation": InterpolationMode.BICUBIC}),
    ("RandomResizedCrop", (24,), {"ratio": (8.0, 9.0)}),  # hardly ever fits: the central crop
    ("RandomResizedCrop", (24,), {"ratio": (0.1, 0.11)}),
    ("RandomResizedCrop", (24,), {"scale": (0.9, 1.8)}),  # some tries fit
    ("RandomHorizontalFlip", (), {}),
    ("RandomVerticalFlip", (), {"p": 0.7}),
    ("Grayscale", (), {}),
    ("Grayscale", (3,), {}),
    ("RandomGrayscale", (), {"p": 0.5}),
    ("RGB", (), {}),
]


@pytest.mark.parametrize(("name", "args", "kwargs"), CASES, ids=lambda v: str(v)[:40])
def test_each_equals_torchvision(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    ours, theirs = both(name, *args, **kwargs)
    for seed, size in enumerate([(100, 80), (80, 100), (200, 60), (61, 61), (60, 233)]):
        assert_same(ours, theirs, picture(*size, seed), seed)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_values_equal_torchvision(dtype: torch.dtype) -> None:
    ours = T.Compose([T.ToImage(), T.ToDtype(dtype, scale=True), T.Normalize(MEAN, STD)])
    theirs = v2.Compose([v2.ToImage(), v2.ToDtype(dtype, scale=True), v2.Normalize(MEAN, STD)])
    assert_same(ours, theirs, picture(90, 90), 0)


@pytest.mark.parametrize("scale", [True, False])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32, torch.float16, torch.bfloat16])
def test_to_dtype_and_back(dtype: torch.dtype, scale: bool) -> None:
    ours = T.Compose([T.ToDtype(dtype, scale=scale), T.ToDtype(torch.uint8, scale=scale)])
    theirs = v2.Compose([v2.ToImage(), v2.ToDtype(dtype, scale=scale), v2.ToDtype(torch.uint8, scale=scale)])
    assert_same(ours, theirs, picture(64, 64), 0)


def random_transform(rng: random.Random) -> tuple[str, dict[str, Any]]:
    size, modes = rng.randint(8, 60), ["constant", "edge", "reflect", "symmetric"]
    filters = list(InterpolationMode)
    options: dict[str, dict[str, Any]] = {
        "Resize": {"size": rng.choice((size, (size, rng.randint(8, 60)))), "interpolation": rng.choice(filters)},
        "CenterCrop": {"size": (size, rng.randint(8, 60))},
        "RandomCrop": {"size": size, "pad_if_needed": True, "padding": 2, "padding_mode": rng.choice(modes)},
        "RandomResizedCrop": {"size": (size, rng.randint(8, 60)), "interpolation": rng.choice(filters)},
        "RandomHorizontalFlip": {},
        "RandomVerticalFlip": {},
        "Pad": {"padding": rng.randint(0, 6), "padding_mode": rng.choice(modes)},
        "RandomGrayscale": {"p": 0.5},
        "Grayscale": {"num_output_channels": 3},
    }
    name = rng.choice(list(options))
    return name, options[name]


@pytest.mark.parametrize("seed", range(6))
def test_random_compositions_equal_torchvision(seed: int) -> None:
    rng = random.Random(seed)
    for case in range(60):
        chosen = [random_transform(rng) for _ in range(rng.randint(1, 5))]
        ours = T.Compose([getattr(T, name)(**arguments) for name, arguments in chosen])
        theirs = v2.Compose([*(getattr(v2, name)(**arguments) for name, arguments in chosen), *FINISH])
        assert_same(ours, theirs, Image.fromarray(random_picture(rng, 120)), case)


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("size", [(1, 5), (5, 1), (1, 1), (2, 90)], ids=str)
def test_crops_of_next_to_nothing(size: tuple[int, int], seed: int) -> None:
    """Where no try fits and the central crop has no pixels, torchvision makes a black image of it."""
    for ratio in ((0.2, 0.4), (3.0, 7.0), (0.75, 4 / 3)):
        for mode in (InterpolationMode.NEAREST, InterpolationMode.BILINEAR):
            ours, theirs = both("RandomResizedCrop", 8, ratio=ratio, interpolation=mode)
            assert_same(ours, theirs, picture(*size, seed), seed)


def test_tensors_are_images_too() -> None:
    image = picture(30, 40)
    tensor = v2.functional.pil_to_tensor(image)
    assert torch.equal(T.Resize(20)(tensor), T.Resize(20)(image))
    assert torch.equal(T.CenterCrop(10)(tensor[:1]), v2.CenterCrop(10)(tensor[:1]))


@pytest.mark.parametrize(
    "transforms",
    [
        ["Resize(12)", "ToImage()"],
        ["RandomRotation(20)", "ToImage()", "ToDtype(torch.float32, scale=True)", "Normalize([0.1], [0.3])"],
        ["Grayscale(3)", "ToImage()"],
        ["RandomAutocontrast(1.0)", "PILToTensor()"],
    ],
    ids=" ".join,
)
def test_images_of_mode_l_have_one_channel(transforms: list[str]) -> None:
    """As torchvision's transforms leave them; each transform of its own does so, too."""
    gray = picture(30, 40).convert("L")
    ours, theirs = ([eval(f"{name}.{one}") for one in transforms] for name in ("T", "v2"))
    assert_same(T.Compose(ours), v2.Compose(theirs), gray, 1)
    assert_same(ours[0], v2.Compose([theirs[0], v2.PILToTensor()]), gray, 1)


@pytest.mark.parametrize("mode", InterpolationMode)
def test_filters_by_name_enum_and_pillows_number(mode: InterpolationMode) -> None:
    image = picture(40, 50)
    wanted = T.Resize(20, interpolation=mode)(image)  # torchvision's own enum
    assert torch.equal(T.Resize(20, interpolation=mode.value)(image), wanted)
    assert torch.equal(T.Resize(20, interpolation=T.InterpolationMode(mode.value))(image), wanted)
    if mode is not InterpolationMode.NEAREST_EXACT:
        assert torch.equal(T.Resize(20, interpolation=Image.Resampling[mode.name])(image), wanted)


def test_a_nested_compose_is_its_transforms() -> None:
    inner, image = T.Compose([T.Resize(20), T.CenterCrop(10)]), picture(40, 60)
    outer = T.Compose([inner, T.Pad(1)])
    assert torch.equal(outer(image), T.Compose([T.Resize(20), T.CenterCrop(10), T.Pad(1)])(image))
    inner.transforms.append(T.Grayscale())  # type: ignore[attr-defined]
    assert outer(image).shape == (1, 12, 12) and outer.transforms[0] is inner


def test_own_callables_at_the_end() -> None:
    compose = T.Compose([T.CenterCrop(8), T.ToImage(), lambda image: image.float().mean()])
    image = picture(20, 20)
    assert compose(image) == T.CenterCrop(8)(image).float().mean()


def test_own_callables_get_a_pil_image_until_there_is_a_tensor() -> None:
    image = picture(20, 20)
    assert T.Compose([T.CenterCrop(8), lambda image: image.size])(image) == (8, 8)
    assert T.Compose([T.CenterCrop(8), T.ToDtype(torch.uint8), lambda image: image.shape])(image) == (3, 8, 8)


def test_repr_is_what_was_written() -> None:
    assert repr(T.Grayscale(3)) == "Grayscale(num_output_channels=3)"
    assert repr(T.RandomHorizontalFlip(0.25)) == "RandomHorizontalFlip(p=0.25)"


# ---- attributes ----

ARGUMENTS: dict[str, list[dict[str, Any]]] = {  # two sets of each
    "Resize": [
        {"size": 20, "interpolation": "nearest", "max_size": None, "antialias": True},
        {"size": 24, "interpolation": "bicubic", "max_size": 31, "antialias": False},
    ],
    "RandomResize": [
        {"min_size": 20, "max_size": 30, "interpolation": "nearest", "antialias": True},
        {"min_size": 21, "max_size": 60, "interpolation": "bicubic", "antialias": False},
    ],
    "RandomShortestSize": [
        {"min_size": 20, "max_size": None, "interpolation": "nearest", "antialias": True},
        {"min_size": (20, 30), "max_size": 60, "interpolation": "bicubic", "antialias": False},
    ],
    "ScaleJitter": [
        {"target_size": (40, 60), "scale_range": (0.1, 2.0), "interpolation": "nearest", "antialias": True},
        {"target_size": (30, 30), "scale_range": (0.5, 1.0), "interpolation": "bicubic", "antialias": False},
    ],
    "CenterCrop": [{"size": 20}, {"size": (12, 30)}],
    "RandomCrop": [
        {"size": 20, "padding": None, "pad_if_needed": False, "fill": 0, "padding_mode": "constant"},
        {"size": (30, 9), "padding": 4, "pad_if_needed": True, "fill": 9, "padding_mode": "edge"},
    ],
    "RandomResizedCrop": [
        {"size": 20, "scale": (0.1, 0.5), "ratio": (0.5, 1.0), "interpolation": "bilinear", "antialias": True},
        {"size": (9, 8), "scale": [0.5, 0.9], "ratio": (1.0, 1.2), "interpolation": "box", "antialias": None},
    ],
    "ColorJitter": [
        {"brightness": 0.4, "contrast": 0.4, "saturation": (0.0, 3.0), "hue": 0.1},
        {"brightness": (0.2, 0.3), "contrast": None, "saturation": 0, "hue": (-0.5, -0.4)},
    ],
    "RandomAdjustSharpness": [{"sharpness_factor": 2, "p": 1.0}, {"sharpness_factor": 0.5, "p": 0.0}],
    "RandomPosterize": [{"bits": 2, "p": 1.0}, {"bits": 5, "p": 0.0}],
    "RandomSolarize": [{"threshold": 128, "p": 1.0}, {"threshold": 77.5, "p": 0.0}],
    "RandomInvert": [{"p": 1.0}, {"p": 0.0}],
    "RandomAutocontrast": [{"p": 1.0}, {"p": 0.0}],
    "RandomEqualize": [{"p": 1.0}, {"p": 0.0}],
    "RandomPhotometricDistort": [
        {"brightness": (0.9, 1.1), "contrast": (0.5, 1.5), "saturation": (0.5, 1.5), "hue": (-0.1, 0.1), "p": 1.0},
        {"brightness": [0, 3], "contrast": (2, 2), "saturation": [1, 2.5], "hue": [0.2, 0.3], "p": 0.5},
    ],
    "GaussianBlur": [{"kernel_size": 5, "sigma": (0.1, 2.0)}, {"kernel_size": [3, 9], "sigma": 1.5}],
    "RandomErasing": [
        {"p": 1.0, "scale": (0.1, 0.5), "ratio": (0.5, 1.0), "value": 0, "inplace": False},
        {"p": 0.5, "scale": [0.5, 0.9], "ratio": [1, 2], "value": [1, 2, 3], "inplace": True},
    ],
    "RandomApply": [
        {"transforms": [T.CenterCrop(9)], "p": 1.0},
        {"transforms": [T.Pad(3), T.RandomInvert(1.0)], "p": 0.9},
    ],
    "RandomChoice": [
        {"transforms": [T.CenterCrop(9), T.Pad(2)], "p": [1, 0]},
        {"transforms": [[T.CenterCrop(8), T.Pad(1)], T.Pad(3)], "p": [0, 2.5]},
    ],
    "RandomOrder": [{"transforms": [T.CenterCrop(9), T.Pad(2)]}, {"transforms": [T.CenterCrop(9)]}],
    "RandAugment": [
        {"num_ops": 2, "magnitude": 9, "num_magnitude_bins": 31, "interpolation": "nearest", "fill": None},
        {"num_ops": 3, "magnitude": 5, "num_magnitude_bins": 11, "interpolation": "bicubic", "fill": (1, 2, 3)},
    ],
    "TrivialAugmentWide": [
        {"num_magnitude_bins": 31, "interpolation": "nearest", "fill": None},
        {"num_magnitude_bins": 9, "interpolation": "bilinear", "fill": 7},
    ],
    "AutoAugment": [
        {"policy": T.AutoAugmentPolicy.IMAGENET, "interpolation": "nearest", "fill": None},
        {"policy": T.AutoAugmentPolicy.SVHN, "interpolation": "bilinear", "fill": 7},
    ],
    "AugMix": [
        {
            "severity": 3,
            "mixture_width": 3,
            "chain_depth": -1,
            "alpha": 1.0,
            "all_ops": True,
            "interpolation": "bilinear",
            "fill": None,
        },
        {
            "severity": 10,
            "mixture_width": 2,
            "chain_depth": 2,
            "alpha": 0.5,
            "all_ops": False,
            "interpolation": "nearest",
            "fill": 7,
        },
    ],
    "RandomRotation": [
        {"degrees": 30, "interpolation": "nearest", "expand": False, "center": None, "fill": 0},
        {"degrees": (40, 50), "interpolation": "bicubic", "expand": True, "center": [3, 4.5], "fill": (1, 2, 3)},
    ],
    "RandomAffine": [
        {
            "degrees": 30,
            "translate": None,
            "scale": None,
            "shear": None,
            "interpolation": "nearest",
            "fill": 0,
            "center": None,
        },
        {
            "degrees": (4, 5),
            "translate": (0.1, 0.2),
            "scale": (0.7, 0.8),
            "shear": [3, 4, 5, 6],
            "interpolation": "bilinear",
            "fill": 9,
            "center": (0, 0),
        },
    ],
    "RandomPerspective": [
        {"distortion_scale": 0.5, "p": 1.0, "interpolation": "bilinear", "fill": 0},
        {"distortion_scale": 0.3, "p": 0.0, "interpolation": "nearest", "fill": 7},
    ],
    "PillowGaussianBlur": [{"radius": 1.5, "p": 1.0}, {"radius": (0.1, 2), "p": 0.0}],
    "RandomHorizontalFlip": [{"p": 1.0}, {"p": 0.0}],
    "RandomVerticalFlip": [{"p": 1.0}, {"p": 0.0}],
    "Pad": [
        {"padding": 1, "fill": 0, "padding_mode": "constant"},
        {"padding": (1, 2), "fill": 9, "padding_mode": "reflect"},
    ],
    "Grayscale": [{"num_output_channels": 1}, {"num_output_channels": 3}],
    "RandomGrayscale": [{"p": 1.0}, {"p": 0.0}],
    "ToDtype": [{"dtype": torch.float32, "scale": True}, {"dtype": torch.float16, "scale": False}],
    "Normalize": [
        {"mean": [0.1], "std": [0.2], "inplace": False},
        {"mean": (0.1, 0.2, 0.3), "std": [0.5] * 3, "inplace": True},
    ],
}
NOTHING = ("RGB", "RandomChannelPermutation", "ToImage", "PILToTensor", "ToTensor")  # to tell them
OWN = ("PillowGaussianBlur",)  # which torchvision has not
every_transform = pytest.mark.parametrize("name", ARGUMENTS)


def used(transform: Any) -> torch.Tensor:
    """What it makes of a picture, after what it needs."""
    needs = [T.ToDtype(torch.float32, scale=True)] if isinstance(transform, T.Normalize) else []
    torch.manual_seed(1)
    return T.Compose([*needs, transform])(picture(40, 50))


def test_every_transform_that_has_arguments_is_among_these() -> None:
    kinds = {name for name in T.__all__ if isinstance(getattr(T, name), type)} - {"Compose", "MultiView", "Transform"}
    assert kinds - {*NOTHING, "InterpolationMode", "AutoAugmentPolicy"} == set(ARGUMENTS)


@every_transform
def test_the_arguments_are_attributes_with_torchvisions_names(name: str) -> None:
    for arguments in ARGUMENTS[name]:
        ours = getattr(T, name)(**arguments)
        assert {key: getattr(ours, key) for key in arguments} == arguments
        assert list(arguments) == list(inspect.signature(getattr(T, name).__init__).parameters)[1:]
        shown = ", ".join(f"{key}={value!r}" for key, value in arguments.items())
        assert repr(ours) == f"{name}({shown})"
    theirs = {
        "GaussianBlur": "kernel_size",
        "Grayscale": "num_output_channels",
        "ToDtype": "dtype",
        "Normalize": "mean",
        "RandomOrder": "transforms",
        "RandomResize": "min_size",
        "RandomShortestSize": "min_size",
        "ScaleJitter": "target_size",
    }.get(name, "size")
    assert theirs in arguments or {*arguments} & {"p", "padding", "hue", "fill"}
    if name not in OWN:
        assert {*arguments} <= {*inspect.signature(getattr(v2, name).__init__).parameters}


@every_transform
@pytest.mark.parametrize("composed", [False, True])
def test_an_argument_that_is_set_counts(name: str, composed: bool) -> None:
    first, second = ARGUMENTS[name]
    ours = getattr(T, name)(**first)
    shown = T.Compose([ours]) if composed and name != "Normalize" else ours
    used(shown)
    done = dict(first)
    for key, value in second.items():
        setattr(ours, key, value)
        done[key] = value
        wanted = used(getattr(T, name)(**done))
        assert torch.equal(used(shown), wanted) and used(shown).dtype == wanted.dtype


@pytest.mark.parametrize(
    ("transform", "name", "value", "text"),
    [
        (T.Resize(5), "size", 0, "size must be at least 1 pixel, got 0"),
        (T.Resize(5), "max_size", 3, "max_size must be greater than size=5, got 3"),
        (T.RandomHorizontalFlip(1.0), "p", 7, "p must be a probability between 0 and 1, got 7"),
        (T.Normalize(0.5, 1.0), "std", 0, "std must not be 0, got 0"),
        (T.Grayscale(3), "num_output_channels", 2, "num_output_channels must be 1 or 3, got 2"),
        (T.Compose([T.Resize(5)]), "transforms", [3], "transforms must be transforms or callables, got 3"),
        (T.Compose([T.Resize(5)]), "transforms", None, "Compose takes a list of transforms, got None"),
    ],
    ids=str,
)
def test_an_argument_that_is_not_allowed_is_not_set(transform: Any, name: str, value: Any, text: str) -> None:
    before, wanted = getattr(transform, name), used(transform)
    with pytest.raises(ValueError if "takes" not in text and "callables" not in text else TypeError, match=text):
        setattr(transform, name, value)
    assert getattr(transform, name) is before and torch.equal(used(transform), wanted)


@pytest.mark.parametrize("kind", [list, np.array, torch.tensor])
def test_a_list_that_is_changed_counts(kind: Callable[[Any], Any]) -> None:
    mean = kind([0.5, 0.5, 0.5])
    transform = T.Compose([T.ToDtype(torch.float32, scale=True), T.Normalize(mean, 1.0)])
    transform(picture(9, 9))
    mean[0] = 0.25
    wanted = T.Compose([T.ToDtype(torch.float32, scale=True), T.Normalize([0.25, 0.5, 0.5], 1.0)])
    assert torch.equal(transform(picture(9, 9)), wanted(picture(9, 9)))


def test_the_transforms_of_a_compose_are_alive() -> None:
    parts: list[Any] = [T.Resize(20)]
    compose, image = T.Compose(parts), picture(40, 40)
    assert compose(image).shape == (3, 20, 20)
    parts.append(T.CenterCrop(8))
    assert compose(image).shape == (3, 8, 8) and compose.transforms is parts
    parts[1].size = 6
    assert compose(image).shape == (3, 6, 6)
    compose.transforms = (T.Resize((3, 4)),)
    assert compose(image).shape == (3, 3, 4)
    parts[:] = [3]
    compose.transforms = (T.ToImage(), len)
    assert compose(image) == 3
    with pytest.raises(ArgumentTypeError, match="got 3"):
        compose.transforms = parts


def test_a_plan_stays_as_it_was_made() -> None:
    flip = T.RandomHorizontalFlip(1.0)
    for transform in (flip, T.Compose([flip])):
        program, image = compiled(transform), picture(6, 8)
        assert not isinstance(program, str)
        wanted = program(image, TorchDraws())
        flip.p = 0.0
        assert torch.equal(program(image, TorchDraws()), wanted)
        assert torch.equal(transform(image), wanted.flip(2))
        flip.p = 1.0


@every_transform
@pytest.mark.parametrize("how", [copy.copy, copy.deepcopy, lambda transform: pickle.loads(pickle.dumps(transform))])
def test_a_copy_does_the_same_and_is_independent(name: str, how: Callable[[Any], Any]) -> None:
    first, second = ARGUMENTS[name]
    composed = [T.ToDtype(torch.float32), getattr(T, name)(**first)]
    for ours in (composed[1], T.Compose(composed if name == "Normalize" else composed[1:])):
        wanted, again = used(ours), how(ours)
        assert torch.equal(used(again), wanted) and repr(again) == repr(ours)
        assert same_transform(again, ours)
        if not isinstance(ours, T.Compose):
            for key, value in second.items():
                setattr(again, key, value)
            assert torch.equal(used(ours), wanted) and not same_transform(again, ours)


def test_a_crop_that_is_to_pad_values_is_found_when_it_is_set() -> None:
    crop = T.RandomCrop(8)
    compose = T.Compose([T.ToDtype(torch.float32, scale=True), crop])
    assert compose(picture(20, 20)).shape == (3, 8, 8)
    crop.padding = 2
    with pytest.raises(ArgumentError, match="works on 8-bit pixels: put it before"):
        compose(picture(20, 20))


def test_a_call_of_ones_own_is_not_passed_over() -> None:
    class Loud(T.Resize):
        def __call__(self, image: Any) -> Any:
            return super().__call__(image) * 0

    class Quiet(T.Compose):
        def __call__(self, image: Any) -> Any:
            return 3

    for unknown in (Loud(5), Quiet([T.Resize(5)]), len):
        assert str(compiled(unknown)).startswith("gpuload knows no part of its transform ")
    assert not isinstance(compiled(T.Resize(5)), str)


BAD: list[tuple[Any, type[Exception], str]] = [
    (lambda: T.Resize("big"), ArgumentError, "size must be an int or \\(height, width\\), got 'big'"),
    (lambda: T.Resize(0), ArgumentError, "size must be at least 1 pixel, got 0"),
    (lambda: T.Resize(2.5), ArgumentTypeError, r"size must be an int, got 2\.5 \(float\)"),
    (lambda: T.Resize((1, 2, 3)), ArgumentError, r"size must be an int or \(height, width\), got \(1, 2, 3\)"),
    (lambda: T.Resize(None), ArgumentError, "or None with max_size; got size=None"),
    (lambda: T.Resize(50, max_size=40), ArgumentError, "max_size must be greater than size=50, got 40"),
    (lambda: T.Resize((5, 5), max_size=40), ArgumentError, r"max_size=40 goes with one int as size, got size=\(5, 5\)"),
    (lambda: T.Resize(5, interpolation="cubic"), ArgumentError, "interpolation must be one of nearest,.*got 'cubic'"),
    (lambda: T.Resize(5, interpolation=9), ArgumentError, "interpolation must be one of .*got 9"),
    (lambda: T.CenterCrop(-1), ArgumentError, "size must be at least 1 pixel, got -1"),
    (lambda: T.RandomHorizontalFlip(1.5), ArgumentError, "p must be a probability between 0 and 1, got 1.5"),
    (lambda: T.RandomHorizontalFlip("often"), ArgumentTypeError, "p must be a number, got 'often'"),
    (lambda: T.RandomGrayscale(-0.1), ArgumentError, "p must be a probability between 0 and 1, got -0.1"),
    (lambda: T.RandomResizedCrop(9, scale=(0.9, 0.1)), ArgumentError, r"scale must be \(min, max\)"),
    (lambda: T.RandomResizedCrop(9, scale=0.5), ArgumentTypeError, r"scale must be two numbers \(min, max\), got 0.5"),
    (lambda: T.RandomResizedCrop(9, ratio=(0, 1)), ArgumentError, "ratio must be"),
    (
        lambda: T.RandomCrop(9, padding=(1, -1)),
        ArgumentError,
        r"padding must not be negative, got \(1, -1\): to cut pixels off, use Pad before",
    ),
    (lambda: T.Pad(-(2**30)), ArgumentError, "padding must be at most 1073741823 pixels, got 1073741824"),
    (
        lambda: T.Pad(-20)(picture(30, 50)),
        ArgumentError,
        r"Pad\(padding=-20, .*leaves no pixels of an image of 30 x 50",
    ),
    (lambda: T.Pad((1, 2, 3)), ArgumentError, "padding must be an int, or 1, 2 or 4 of them"),
    (lambda: T.Pad(1, fill=300), ArgumentError, "fill must be integers from 0 to 255, got 300"),
    (lambda: T.Pad(1, fill=(1, 2)), ArgumentTypeError, "fill must be a number or three"),
    (lambda: T.Pad(1, padding_mode="wrap"), ArgumentError, "padding_mode must be one of constant, edge, .*got 'wrap'"),
    (lambda: T.Grayscale(2), ArgumentError, "num_output_channels must be 1 or 3, got 2"),
    (lambda: T.ToDtype(torch.int64), ArgumentTypeError, "dtype must be one of torch.uint8, .*got torch.int64"),
    (lambda: T.Normalize([0.5], [0.0]), ArgumentError, r"std must not be 0, got \[0\.0\]"),
    (lambda: T.Normalize([0.5, 0.5], [1.0]), ArgumentError, "mean must have 1 or 3 values, .*got 2"),
    (lambda: T.Normalize("a", [1.0]), ArgumentTypeError, "mean must be numbers, got 'a'"),
    (lambda: T.Compose([T.Normalize([0.5], [1.0])]), ArgumentError, "needs floats: put ToDtype"),
    (
        lambda: T.Compose([T.Grayscale(), T.ToDtype(torch.float32), T.Normalize([0.5] * 3, [1.0])]),
        ArgumentError,
        r"mean has 3 values, but the image has 1 channel\(s\)",
    ),
    (
        lambda: T.Compose([T.ToDtype(torch.float32), T.Resize(5)]),
        ArgumentError,
        r"Resize\(size=5, .* stands after ToDtype\(.*works on 8-bit pixels: put it before",
    ),
    (lambda: T.Compose(T.Resize(5)), ArgumentTypeError, "Compose takes a list of transforms, got Resize"),
    (lambda: T.Compose([3]), ArgumentTypeError, "transforms must be transforms or callables, got 3"),
    (
        lambda: T.Compose([T.ToDtype(torch.float32), len, T.Resize(5)]),
        ArgumentTypeError,
        r"Resize\(size=5.*\) stands after <built-in function len>, .* works on floats by then: put it before",
    ),
    (lambda: T.Resize(5)("photo.jpg"), ArgumentTypeError, "expected a PIL image or a uint8 tensor .*got 'photo.jpg'"),
    (
        lambda: T.Resize(5)(torch.zeros(3, 4, 4)),
        ArgumentTypeError,
        r"got torch.float32 tensor of shape \(3, 4, 4\)",
    ),
    (
        lambda: T.RandomCrop(32)(picture(20, 40)),
        ArgumentError,
        r"a crop of 32 x 32 pixels is larger than the image \(20 x 40\): resize it first, or pass pad_if_needed=True",
    ),
    (
        lambda: T.Compose([T.ToDtype(torch.float32), T.CenterCrop(32)])(picture(20, 40)),
        ArgumentError,
        "CenterCrop.* must pad an image of 20 x 40 pixels, but stands after ToDtype.*: put it before",
    ),
    (lambda: T.Resize(None, max_size=1)(picture(1, 9)), ArgumentError, "leaves no pixels of an image of 1 x 9"),
]


@pytest.mark.parametrize(("call", "kind", "text"), BAD, ids=[text[:50] for _, _, text in BAD])
def test_bad_arguments_say_what_is_allowed(call: Any, kind: type[Exception], text: str) -> None:
    with pytest.raises(kind, match=text):
        call()


# ---- in a loader: a batch at a time ----

ENGINES = ["pillow", pytest.param("cpu", marks=pytest.mark.skipif(compiler() is None, reason="no C++ compiler"))]


@pytest.fixture
def folder_of(tmp_path: Path) -> Callable[..., ImageFolder]:
    """Makes a dataset of pictures of these (height, width)."""

    def make(sizes: list[tuple[int, int]], transform: Any) -> ImageFolder:
        (tmp_path / "class").mkdir()
        for number, size in enumerate(sizes):
            picture(*size, number).save(tmp_path / "class" / f"{number:03}.png")
        return ImageFolder(tmp_path, transform=transform)

    return make


@pytest.mark.parametrize("engine", ENGINES)
def test_a_crop_without_pixels_is_torchvisions_black(engine: str, folder_of: Callable[..., ImageFolder]) -> None:
    transform = T.RandomResizedCrop(8, ratio=(0.2, 0.4), interpolation="nearest")
    dataset = folder_of([(1, 5), (40, 30), (1, 5)], transform)
    torch.manual_seed(0)
    wanted = v2.RandomResizedCrop(8, ratio=(0.2, 0.4), interpolation=InterpolationMode.NEAREST)(dataset.image(0))
    assert not np.asarray(wanted).any()
    loader: Any = DataLoader(dataset, 3, device="cpu", engine=engine, seed=1)
    ((images, _),) = list(loader)
    assert images.shape == (3, 3, 8, 8)
    assert not images[0].any() and images[1].any() and not images[2].any()


class Picky(T.Transform):
    """A user's own, which some images make fail."""

    def steps(self, height: Any, width: Any, draws: Any) -> Any:
        draws.uniform(0, 1, np.arange(len(height)))
        if (height == 13).any():
            raise ZeroDivisionError("13 is bad luck")
        return []


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("workers", [0, 2])
def test_a_transform_that_fails_for_a_sample_names_it(
    engine: str, workers: int, folder_of: Callable[..., ImageFolder]
) -> None:
    """A batch of recipes is made at once, but an error is one sample's: the first that it happens to."""
    sizes = [(20, 20)] * 5 + [(13, 20), (20, 20), (13, 20)]
    dataset = folder_of(sizes, T.Compose([Picky(), T.RandomCrop(10)]))
    loader = DataLoader(dataset, 4, num_workers=workers, device="cpu", engine=engine)
    batches = iter(loader)
    assert next(batches)[0].shape == (4, 3, 10, 10)
    expected = re.escape(f"sample 5 ({dataset.path(5)}): 13 is bad luck")
    with pytest.raises(SampleError, match=expected) as caught:
        next(batches)
    assert caught.value.index == 5 and isinstance(caught.value.__cause__, ZeroDivisionError)


def test_an_image_that_is_too_small_is_named(folder_of: Callable[..., ImageFolder]) -> None:
    dataset = folder_of([(20, 20), (20, 30), (7, 20), (20, 20)], T.RandomCrop(10))
    expected = (
        f"sample 2 ({dataset.path(2)}): a crop of 10 x 10 pixels is larger than the image (7 x 20): "
        "resize it first, or pass pad_if_needed=True"
    )
    with pytest.raises(SampleError) as caught:
        next(iter(DataLoader(dataset, 4, device="cpu")))
    assert str(caught.value) == expected
    with pytest.raises(SampleError) as caught:
        dataset[2]
    assert str(caught.value) == expected


class OnlyTogether(T.Transform):
    """Fails for many, but for no one."""

    def steps(self, height: Any, width: Any, draws: Any) -> Any:
        if len(height) > 1:
            raise RuntimeError("too many")
        return []


def test_an_error_that_is_no_samples_own_is_raised_as_it_is(folder_of: Callable[..., ImageFolder]) -> None:
    dataset = folder_of([(20, 20)] * 2, OnlyTogether())
    with pytest.raises(RuntimeError, match="^too many$"):
        next(iter(DataLoader(dataset, 2, device="cpu")))


# ---- the filters of torchvision on tensors ----


@pytest.mark.parametrize("antialias", [True, False, None])
@pytest.mark.parametrize("mode", InterpolationMode)
def test_the_filter_of_tensors_is_torchvisions(mode: InterpolationMode, antialias: bool | None) -> None:
    kernel_filter = torch_filter_of(mode, antialias)
    for seed, size in enumerate([(5, 60), (70, 9), (64, 80), (33, 41)] if kernel_filter is not None else []):
        image = picture(64, 80, seed)
        wanted = v2.functional.resize(v2.functional.pil_to_tensor(image), list(size), mode, antialias=antialias)
        ours = ResizeOp(*size, kernel_filter).apply(image)
        assert torch.equal(v2.functional.pil_to_tensor(ours), wanted), (kernel_filter, size)


@pytest.mark.parametrize("capability", ["DEFAULT", "AVX2", "AVX512"])
@pytest.mark.parametrize("machine", ["x86_64", "aarch64", "arm64"])
def test_bytes_are_bilinear_where_torchvision_makes_no_floats_of_them(
    monkeypatch: pytest.MonkeyPatch, machine: str, capability: str
) -> None:
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    monkeypatch.setattr(platform, "machine", lambda: machine)
    for mode in (InterpolationMode.BILINEAR, InterpolationMode.BICUBIC, InterpolationMode.LANCZOS):
        assert (torch_filter_of(mode) is not None) is _geometry._do_native_uint8_resize_on_cpu(mode)


def test_modes_of_tensors_that_have_a_filter(monkeypatch: pytest.MonkeyPatch) -> None:
    assert torch_filter_of("bicubic") is torch_filter_of(3) is Filter.TORCH_BICUBIC
    assert torch_filter_of("nearest", antialias=False) is Filter.TORCH_NEAREST
    assert torch_filter_of("lanczos") is Filter.TORCH_LANCZOS
    for mode in ("nearest-exact", "box", "hamming"):
        assert torch_filter_of(mode) is None
    for mode in ("bilinear", "bicubic", "lanczos"):
        assert torch_filter_of(mode, antialias=False) is torch_filter_of(mode, antialias=None) is None
    monkeypatch.delattr(torch._C._nn, "_upsample_lanczos2d_aa")
    assert torch_filter_of("lanczos") is None
    with pytest.raises(ArgumentError, match="interpolation must be one of nearest, .*, got 'cubic'"):
        torch_filter_of("cubic")


def test_to_tensor_divides_as_torchvisions_first_version() -> None:
    image = picture(40, 50)
    ours, theirs = T.ToTensor()(image), v1.ToTensor()(image)
    assert ours.dtype == theirs.dtype and torch.equal(ours, theirs)
    every_byte = torch.arange(256, dtype=torch.uint8).repeat(3, 1).view(3, 16, 16)
    assert not torch.equal(T.ToTensor()(every_byte), T.ToDtype(torch.float32, scale=True)(every_byte))
    assert torch.equal(T.Compose([T.ToTensor(), T.ToTensor()])(image), theirs)
