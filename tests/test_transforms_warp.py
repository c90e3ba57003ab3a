"""RandomRotation, RandomAffine and RandomPerspective are torchvision's on PIL images: its draws, and its pixels."""

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import transforms as v1
from torchvision.transforms import v2

from gpuload import ArgumentError, ArgumentTypeError, DataLoader, ImageFolder, transforms as T
from gpuload.compilers import compiler
from gpuload.recipes.draws import CounterDraws, TorchDraws
from gpuload.transforms.hand import Form, Hand
from gpuload.transforms.lifted import lifted
from gpuload.transforms.plan import Plan
from tests.cases import cases
from tests.recipes import random_picture
from tests.test_auto import check

pytestmark = pytest.mark.skipif(compiler() is None, reason="no C++ compiler")

NAMES = ["RandomRotation", "RandomAffine", "RandomPerspective"]
NEEDED: dict[str, dict[str, Any]] = {name: {"degrees": 30} for name in NAMES[:2]} | {"RandomPerspective": {}}
PIL = Hand(Form.PIL, False, 3)
MODES = v1.InterpolationMode


def drawn(rng: random.Random, name: str) -> dict[str, Any]:
    """Arguments."""
    given: dict[str, Any] = {"interpolation": rng.choice((MODES.NEAREST, MODES.BILINEAR, MODES.BICUBIC))}
    given["fill"] = rng.choice((0, 7, [1, 100, 250]))
    if name == "RandomPerspective":
        return given | {"distortion_scale": rng.choice((0.5, 0, rng.random())), "p": rng.choice((0.5, 1))}
    right = rng.choice((0, 90, 180, 270, -90, 450))
    given["degrees"] = rng.choice((0, 180, rng.uniform(0, 30), (-3, 90), [45, 45.0], (right, right)))
    given["center"] = rng.choice((None, None, [3, 7.5], (0, 0)))
    if name == "RandomRotation":
        given["expand"] = rng.random() < 0.6
    if name == "RandomAffine":
        given["translate"] = rng.choice((None, (0.1, 0.3), (0, 0.5)))
        given["scale"] = rng.choice((None, (0.5, 2), (1, 1)))
        given["shear"] = rng.choice((None, 10, (-3, 40), [-3, 3, -20, 60]))
    return given


def picture(rng: random.Random, name: str) -> Any:
    """Large enough for corners that make a map."""
    made = random_picture(rng, 60)
    return np.tile(made, (8, 8, 1)) if name == "RandomPerspective" and min(made.shape[:2]) < 8 else made


@pytest.mark.parametrize("module", [v1, v2])
@pytest.mark.parametrize("name", NAMES)
def test_the_same_seed_gives_torchvisions_pixels(name: str, module: Any) -> None:
    rng = random.Random(f"{name} {module.__name__}")
    for seed in range(cases(120)):
        transform = getattr(module, name)(**drawn(rng, name))
        native = lifted(transform, PIL)
        assert native is not None
        check(transform, native[0], picture(rng, name), seed)


@pytest.mark.parametrize("name", NAMES)
def test_gpuloads_own_draw_as_torchvisions_v2(name: str) -> None:
    rng = random.Random(name)
    for seed in range(cases(60)):
        given = drawn(rng, name)
        check(getattr(v2, name)(**given), [getattr(T, name)(**given)], picture(rng, name), seed)


@pytest.mark.parametrize("name", NAMES)
def test_a_loader_gives_what_its_recipes_say(name: str, photos: Path) -> None:
    """Of images of many sizes, on which a shift depends."""
    more = {"translate": (0.3, 0.4)} if name == "RandomAffine" else {}
    transform = T.Compose([getattr(T, name)(**NEEDED[name], **more), T.ToImage()])
    dataset = ImageFolder(photos, transform=transform)
    loader = DataLoader(dataset, batch_size=5, shuffle=True, seed=3, collate_fn=list, device="cpu", engine="cpu")
    images = [image for batch in loader for image, _ in batch]
    assert len(images) == len(dataset)
    for image, (index, recipe) in zip(images, loader.recipes(0), strict=True):
        assert torch.equal(image, dataset.apply(index, recipe))


@pytest.mark.parametrize("name", NAMES)
def test_a_batch_draws_as_its_samples_do(name: str) -> None:
    rng = random.Random(name)
    sizes = np.random.default_rng(1).integers(9, 90, (2, 60))
    for epoch in range(5):
        transform = getattr(T, name)(**drawn(rng, name))
        together = Plan([transform]).recipes(*sizes, CounterDraws(5, epoch, np.arange(60)))
        for i in range(60):
            alone = Plan([transform]).recipes([sizes[0, i]], [sizes[1, i]], CounterDraws(5, epoch, [i]))
            assert alone[0] == together[i]


@pytest.mark.parametrize("module", [v2, T])
def test_corners_on_a_line_are_refused_as_by_torchvision(module: Any) -> None:
    transform = module.RandomPerspective(1.0, 1.0)
    with pytest.raises(RuntimeError, match="does not have full rank"):
        transform(Image.new("RGB", (1, 40)))


def changed(transform: Any, **attributes: Any) -> Any:
    for name, value in attributes.items():
        setattr(transform, name, value)
    return transform


@pytest.mark.parametrize(
    "transform",
    [
        v2.RandomRotation(30, interpolation=MODES.LANCZOS),
        changed(v2.RandomRotation(30), degrees=30),  # which torchvision asks for two numbers by then
        changed(v2.RandomRotation(30), degrees=[9, 3]),
        changed(v2.RandomAffine(30), shear=7),
        changed(v2.RandomAffine(30), scale=(0, 1)),
        v1.RandomAffine(30, fill=[1, 2]),
        changed(v1.RandomAffine(30), interpolation="bilinear"),  # which only v2 takes
    ],
    ids=lambda transform: type(transform).__name__,
)
def test_what_gpuload_would_do_otherwise_is_not_lifted(transform: Any) -> None:
    assert lifted(transform, PIL) is None


@pytest.mark.parametrize("name", NAMES)
def test_tensors_are_not_lifted(name: str) -> None:
    for hand in (Hand(Form.TENSOR, False, 3), Hand(Form.IMAGE, False, 3)):
        assert lifted(getattr(v2, name)(**NEEDED[name]), hand) is None


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: T.RandomRotation(-3), ArgumentError, "degrees must not be negative where it is a number, got -3"),
        (
            lambda: T.RandomRotation((3, 1)),
            ArgumentError,
            r"degrees must be \(min, max\) with min <= max, got \(3, 1\)",
        ),
        (lambda: T.RandomRotation("90"), ArgumentTypeError, "degrees must be 2 numbers, got '90'"),
        (lambda: T.RandomRotation(3, center=4), ArgumentTypeError, "center must be 2 numbers, got 4"),
        (lambda: T.RandomRotation(3, "box"), ArgumentError, "interpolation must be nearest, bilinear or bicubic here"),
        (lambda: T.RandomAffine(3, (0, 2)), ArgumentError, r"translate must be from 0 to 1, shares .*, got \(0, 2\)"),
        (lambda: T.RandomAffine(3, (-1, 0)), ArgumentError, r"translate must be from 0 to 1, shares .*, got \(-1, 0\)"),
        (lambda: T.RandomAffine(3, scale=(0, 1)), ArgumentError, r"scale must be \(min, max\) with 0 < min <= max"),
        (
            lambda: T.RandomAffine(3, shear=[1, 2, 3]),
            ArgumentTypeError,
            r"shear must be 2 or 4 numbers, got \[1, 2, 3\]",
        ),
        (lambda: T.RandomPerspective(2), ArgumentError, "distortion_scale must be a number from 0 to 1, got 2"),
        (lambda: T.RandomPerspective(p=2), ArgumentError, "p must be a probability between 0 and 1, got 2"),
    ],
)
def test_arguments_that_are_not_allowed(make: Callable[[], Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        make()


def test_one_number_is_from_its_negative_on() -> None:
    n = np.full(500, 9)
    recipes = Plan([T.RandomRotation(40)]).recipes(n, n, CounterDraws(0, 0, np.arange(500)))
    angles = [np.degrees(np.arcsin(-recipe[0].numbers[1])) for recipe in recipes]
    assert -40 <= min(angles) < -38 and 38 < max(angles) <= 40 and abs(np.mean(angles)) < 4


def test_an_argument_that_is_set_counts() -> None:
    transform = T.RandomRotation(30)
    transform.degrees = (90, 90)
    turned = Plan([transform.frozen()]).recipes([9], [9], TorchDraws())[0][0]
    assert turned.numbers[:2] == [0.0, -1.0]
