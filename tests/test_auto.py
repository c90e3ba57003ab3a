"""Automatic augmentation is torchvision's on PIL images: its draws in ``dataset[i]``, and its pixels."""

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
from gpuload.native import Status
from gpuload.recipes.draws import CounterDraws, TorchDraws
from gpuload.recipes.fuse import fuse
from gpuload.recipes.recipes import apply
from gpuload.transforms.auto.policies import AutoAugmentPolicy
from gpuload.transforms.hand import Form, Hand
from gpuload.transforms.lifted import lifted
from gpuload.transforms.plan import Plan
from tests.cases import cases
from tests.conftest import make_photo
from tests.native_batch import Batch
from tests.recipes import random_picture

pytestmark = pytest.mark.skipif(compiler() is None, reason="no C++ compiler")

NAMES = ["RandAugment", "TrivialAugmentWide", "AutoAugment"]
PIL = Hand(Form.PIL, False, 3)
MODES = v1.InterpolationMode


def drawn(rng: random.Random, name: str) -> dict[str, Any]:
    """Arguments."""
    given: dict[str, Any] = {"interpolation": rng.choice((MODES.NEAREST, MODES.BILINEAR, MODES.BICUBIC))}
    given["fill"] = rng.choice((None, 7, [1, 100, 250], (3.0, 3.0, 3.0)))
    if name == "AutoAugment":
        return given | {"policy": rng.choice(list(v1.AutoAugmentPolicy))}
    bins = rng.choice((31, rng.randint(2, 60)))
    if name == "RandAugment":
        given |= {"num_ops": rng.randint(0, 4), "magnitude": rng.randrange(bins)}
    return given | {"num_magnitude_bins": bins}


def check(transform: Any, native: Any, picture: Any, seed: int) -> None:
    """The same seed, the same pixels, of Pillow's and of native code; and the next draw is the same."""
    image, (height, width) = Image.fromarray(picture), picture.shape[:2]
    torch.manual_seed(seed)
    expected, after = transform(image), torch.rand(1)
    torch.manual_seed(seed)
    recipes = Plan(native).recipes([height], [width], TorchDraws())
    assert torch.equal(torch.rand(1), after)
    assert np.array_equal(apply(image, recipes[0]), expected), recipes[0]
    batch = Batch(fuse(recipes))
    assert not batch.fused.by_pillow[0] and batch.put(0, picture) == Status.OK
    assert np.array_equal(batch.image(0), expected), recipes[0]


# ---- against torchvision ----


@pytest.mark.parametrize("module", [v1, v2])
@pytest.mark.parametrize("name", NAMES)
def test_the_same_seed_gives_torchvisions_pixels(name: str, module: Any) -> None:
    rng = random.Random(f"{name} {module.__name__}")
    for seed in range(cases(120)):
        transform = getattr(module, name)(**drawn(rng, name))
        native = lifted(transform, PIL)
        assert native is not None
        check(transform, native[0], random_picture(rng, 60), seed)


@pytest.mark.parametrize("name", NAMES)
def test_gpuloads_own_draw_as_torchvisions_v2(name: str) -> None:
    rng = random.Random(name)
    for seed in range(cases(60)):
        given = drawn(rng, name)
        check(getattr(v2, name)(**given), [getattr(T, name)(**given)], random_picture(rng, 60), seed)


@pytest.mark.parametrize("name", NAMES)
def test_a_sample_of_a_dataset_is_torchvisions(name: str, photos: Path) -> None:
    theirs = v2.Compose([v2.RandomResizedCrop(32), v2.RandomHorizontalFlip(), getattr(v2, name)(), v2.ToImage()])
    ours = ImageFolder(photos, transform=theirs)
    for seed in range(cases(40)):
        torch.manual_seed(seed)
        image, _ = ours[seed % len(ours)]
        torch.manual_seed(seed)
        assert torch.equal(image, theirs(ours.image(seed % len(ours))))


@pytest.mark.parametrize("name", NAMES)
def test_a_loader_gives_what_its_recipes_say(name: str, photos: Path) -> None:
    """Of images of many sizes, and of one size, on which a magnitude depends."""
    for first in ([T.RandomResizedCrop(32), T.RandomHorizontalFlip()], []):
        dataset = ImageFolder(photos, transform=T.Compose([*first, getattr(T, name)(fill=(9, 8, 7)), T.ToImage()]))
        loader = DataLoader(dataset, batch_size=5, shuffle=True, seed=3, collate_fn=list, device="cpu", engine="cpu")
        recipes = loader.recipes(0)
        images = [image for batch in loader for image, _ in batch]
        assert len(images) == len(dataset)
        for image, (index, recipe) in zip(images, recipes, strict=True):
            assert torch.equal(image, dataset.apply(index, recipe))


@pytest.mark.parametrize("name", NAMES)
def test_a_batch_draws_as_its_samples_do(name: str) -> None:
    """Many samples at once: each is what it is alone."""
    transform, sizes = getattr(T, name)(), np.random.default_rng(1).integers(1, 90, (2, 200))
    together = Plan([transform]).recipes(*sizes, CounterDraws(5, 1, np.arange(200)))
    for i in range(0, 200, 7):
        alone = Plan([transform]).recipes([sizes[0, i]], [sizes[1, i]], CounterDraws(5, 1, [i]))
        assert alone[0] == together[i]
    assert fuse(together).by_pillow.sum() == 0


def test_half_of_the_magnitudes_are_negative() -> None:
    n = 4000
    transform = T.RandAugment(num_ops=1, magnitude=30)
    recipes = Plan([transform]).recipes(np.full(n, 9), np.full(n, 9), CounterDraws(0, 0, np.arange(n)))
    factors = [recipe[0].value for recipe in recipes if recipe and "ADJUST" in str(recipe[0])]
    assert set(np.round(factors, 6)) == {0.1, 1.9}
    assert 0.45 < np.mean(np.array(factors) < 1) < 0.55
    assert len(factors) == pytest.approx(n * 4 / 14, rel=0.1)


def test_images_of_one_channel() -> None:
    gray = make_photo(40, 30).convert("L")
    for name in NAMES:
        transforms = [getattr(v2, name)(fill=[30]), v2.ToImage()]
        native = lifted(transforms[0], Hand(Form.PIL, False, 1))
        assert native is not None
        for seed in range(cases(30)):
            torch.manual_seed(seed)
            expected = v2.Compose(transforms)(gray)
            torch.manual_seed(seed)
            assert torch.equal(Plan(native[0], channels=1)(gray, TorchDraws()), expected)


# ---- what is not lifted ----


class Mine(v2.RandAugment):
    _AUGMENTATION_SPACE = v2.RandAugment._AUGMENTATION_SPACE | {
        "Rotate": (lambda bins, height, width: torch.linspace(0.0, 90.0, bins), True)
    }


def changed(transform: Any, **attributes: Any) -> Any:
    for name, value in attributes.items():
        setattr(transform, name, value)
    return transform


SPACE = v2.RandAugment._AUGMENTATION_SPACE
POLICY: Any = [(("Invert", 1.0, None), ("Invert", 0.0, None))]


@pytest.mark.parametrize(
    "transform",
    [
        Mine(),
        changed(v2.RandAugment(), _AUGMENTATION_SPACE=SPACE),
        changed(v2.AutoAugment(), _policies=POLICY),
        changed(v1.AutoAugment(), policies=POLICY),
        changed(v2.AutoAugment(), policy=v2.AutoAugmentPolicy.SVHN),
        v2.RandAugment(interpolation=MODES.LANCZOS),
        v2.TrivialAugmentWide(fill=[1, 2]),
        v2.TrivialAugmentWide(fill=300),
        v2.TrivialAugmentWide(num_magnitude_bins=1),
        v2.RandAugment(magnitude=31),
        v2.RandAugment(magnitude=-1),
        v1.RandAugment(interpolation="bilinear"),  # which only v2 takes
    ],
    ids=str,
)
def test_what_gpuload_would_do_otherwise_is_not_lifted(transform: Any) -> None:
    assert lifted(transform, PIL) is None


@pytest.mark.parametrize("name", NAMES)
def test_tensors_are_not_lifted(name: str) -> None:
    for hand in (Hand(Form.TENSOR, False, 3), Hand(Form.IMAGE, False, 3)):
        assert lifted(getattr(v2, name)(), hand) is None


def without(space: dict[str, Any]) -> None:
    del space["Identity"]


def reordered(space: dict[str, Any]) -> None:
    space["ShearX"] = space.pop("ShearX")


def of_another(space: dict[str, Any]) -> None:
    space["ShearX"] = space["Rotate"]


def unsigned(space: dict[str, Any]) -> None:
    space["Rotate"] = space["Rotate"][0], False


def written_anew(space: dict[str, Any]) -> None:
    space["AutoContrast"] = (lambda bins, height, width: None), False


@pytest.mark.parametrize("change", [without, reordered, of_another, unsigned, written_anew])
@pytest.mark.parametrize("cls", [v2.RandAugment, v2.TrivialAugmentWide])
def test_a_class_whose_operations_were_changed_is_not_lifted(
    cls: Any, change: Callable[[dict[str, Any]], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert lifted(cls(), PIL) is not None
    space = dict(cls._AUGMENTATION_SPACE)
    monkeypatch.setattr(cls, "_AUGMENTATION_SPACE", space)
    assert lifted(cls(), PIL) is not None
    change(space)
    assert lifted(cls(), PIL) is None


# ---- arguments ----


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: T.RandAugment(num_ops=-1), ArgumentError, "num_ops must be at least 0, got -1"),
        (lambda: T.RandAugment(num_ops=1.5), ArgumentTypeError, r"num_ops must be an int, got 1.5 \(float\)"),
        (lambda: T.RandAugment(magnitude=31), ArgumentError, "magnitude must be below num_magnitude_bins=31, got 31"),
        (lambda: T.RandAugment(magnitude=-1), ArgumentError, "magnitude must be at least 0, got -1"),
        (lambda: T.TrivialAugmentWide(1), ArgumentError, "num_magnitude_bins must be at least 2, got 1"),
        (lambda: T.AutoAugment("mnist"), ArgumentError, "policy must be one of imagenet, cifar10, svhn, got 'mnist'"),
        (lambda: T.AutoAugment(fill=256), ArgumentError, "fill must be integers from 0 to 255, got 256"),
        (
            lambda: T.RandAugment(interpolation="lanczos"),
            ArgumentError,
            "interpolation must be nearest, bilinear or bicubic here, got 'lanczos'",
        ),
    ],
)
def test_arguments_that_are_not_allowed(make: Callable[[], Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        make()


def test_policies_by_name() -> None:
    pairs = [
        T.AutoAugment(policy)._at.tolist() for policy in (AutoAugmentPolicy.SVHN, "svhn", v2.AutoAugmentPolicy.SVHN)
    ]
    assert pairs[0] == pairs[1] == pairs[2]


def test_an_argument_that_is_set_counts() -> None:
    transform = T.RandAugment()
    transform.num_ops = 0
    assert Plan([transform.frozen()]).recipes([9], [9], TorchDraws())[0] == ()
    with pytest.raises(ArgumentError, match="magnitude must be below"):
        transform.magnitude = 99
    assert transform.magnitude == 9
