"""AugMix is torchvision's on PIL images, whose arithmetic is torch's: its draws in ``dataset[i]``, and its pixels.

``GPULOAD_CASES=2000 python -m pytest tests/test_mix.py`` tries so many images.
"""

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

from gpuload import ArgumentError, ArgumentTypeError, ImageFolder, transforms as T
from gpuload.native import Status
from gpuload.recipes import as_torch
from gpuload.recipes.draws import CounterDraws, TorchDraws
from gpuload.recipes.fuse import fuse
from gpuload.recipes.mix import EFFECTS, LEAST_GRID, Mix
from gpuload.recipes.ops import Filter
from gpuload.recipes.recipes import Recipes, apply
from gpuload.transforms.hand import Form, Hand
from gpuload.transforms.lifted import lifted
from gpuload.transforms.plan import Plan
from tests.cases import cases
from tests.epochs import check_recipes, check_samples
from tests.native_batch import Batch
from tests.recipes import random_picture
from tests.test_auto import check

pytestmark = pytest.mark.skipif(not as_torch.mixes_as_torch(), reason="torch computes otherwise here, or no compiler")

PIL = Hand(Form.PIL, False, 3)
MODULES: list[Any] = [v1, v2]
every_version = pytest.mark.parametrize("module", MODULES, ids=["v1", "v2"])


def drawn(rng: random.Random) -> dict[str, Any]:
    """Arguments."""
    modes = v1.InterpolationMode.NEAREST, v1.InterpolationMode.BILINEAR
    return {
        "severity": rng.choice((3, 10, rng.randint(1, 10))), "mixture_width": rng.choice((3, rng.randint(1, 5))),
        "chain_depth": rng.choice((-1, 0, rng.randint(1, 4))), "alpha": rng.choice((1.0, 0.3, rng.uniform(0.2, 5.0))),
        "all_ops": rng.random() < 0.8, "interpolation": rng.choice(modes),
        "fill": rng.choice((None, None, 7, [1, 100, 250], (3.0, 3.0, 3.0))),
    }  # fmt: skip


def picture(rng: random.Random) -> Any:
    """Not so small that torch makes another grid."""
    made = random_picture(rng, rng.choice((40, 90, 260)))
    return made if made.shape[0] * made.shape[1] >= LEAST_GRID else np.tile(made, (9, 9, 1))


@every_version
def test_the_same_seed_gives_torchvisions_pixels(module: Any) -> None:
    rng = random.Random(module.__name__)
    for seed in range(cases(120)):
        transform = module.AugMix(**drawn(rng))
        native = lifted(transform, PIL)
        assert native is not None
        check(transform, native[0], picture(rng), seed)


def test_gpuloads_own_draws_as_torchvisions_v2() -> None:
    rng = random.Random(0)
    for seed in range(cases(40)):
        given = drawn(rng)
        check(v2.AugMix(**given), [T.AugMix(**given)], picture(rng), seed)


@every_version
def test_a_sample_of_a_dataset_is_torchvisions(module: Any, photos: Path) -> None:
    theirs = module.Compose([module.RandomResizedCrop(32), module.AugMix(), module.RandomHorizontalFlip()])
    check_samples(photos, theirs, module.Compose([theirs, module.PILToTensor()]))


def test_a_loader_gives_what_its_recipes_say(photos: Path, device: str) -> None:
    """Also where a flip, and a crop, come later."""
    parts = [T.AugMix(severity=10, alpha=0.7), T.RandomHorizontalFlip(), T.RandomResizedCrop(24), T.AugMix(fill=9)]
    dataset = ImageFolder(photos, transform=T.Compose([*parts, T.ToImage()]))
    check_recipes(dataset, device)


def test_a_batch_draws_as_its_samples_do() -> None:
    rng, sizes = random.Random(1), np.random.default_rng(1).integers(1, 90, (2, 60))
    for epoch in range(5):
        plan = Plan([T.AugMix(**drawn(rng))])
        together = plan.recipes(*sizes, CounterDraws(5, epoch, np.arange(60)))
        for i in range(0, 60, 7):
            assert plan.recipes([sizes[0, i]], [sizes[1, i]], CounterDraws(5, epoch, [i]))[0] == together[i]


@pytest.mark.parametrize("alpha", [1.0, 0.3, 2.5])
def test_weights_have_the_moments_of_dirichlets_distribution(alpha: float) -> None:
    n, count = 20_000, 3
    shares = CounterDraws(0, 0, np.arange(n)).dirichlet(alpha, count, np.arange(n))
    variance = (1 / count) * (1 - 1 / count) / (count * alpha + 1)
    assert np.allclose(shares.sum(1), 1) and (shares > 0).all()
    assert np.abs(shares.mean(0) - 1 / count).max() < 5 * np.sqrt(variance / n)
    assert np.abs(shares.var(0) / variance - 1).max() < 0.05


def test_sums_that_depend_on_their_order_are_torchs() -> None:
    plan = Plan([T.AugMix(mixture_width=1, chain_depth=1)])
    for height in (200, 400):
        recipes = plan.recipes(np.full(200, height), np.full(200, 300), CounterDraws(0, 0, np.arange(200)))
        summed = [recipe[0].effects == [[EFFECTS.index("Contrast")]] for recipe in recipes]
        assert 0 < sum(summed) < 200
        assert fuse(recipes).by_pillow.tolist() == [height == 400 and each for each in summed]


@pytest.mark.parametrize("module", MODULES)
def test_tiny_images_are_torchs(module: Any) -> None:
    """It multiplies small matrices in another way."""
    rng = random.Random(0)
    for seed in range(cases(30)):
        transform, image = module.AugMix(**drawn(rng)), Image.fromarray(random_picture(rng, 8))
        native = lifted(transform, PIL)
        assert native is not None
        torch.manual_seed(seed)
        expected = transform(image)
        torch.manual_seed(seed)
        recipes = Plan(native[0]).recipes([image.height], [image.width], TorchDraws())
        assert np.array_equal(apply(image, recipes[0]), expected)
        assert fuse(recipes).by_pillow[0]


# ---- what is not lifted, and what is refused ----


def changed(transform: Any, **attributes: Any) -> Any:
    for name, value in attributes.items():
        setattr(transform, name, value)
    return transform


SPACE = v2.AugMix._AUGMENTATION_SPACE


@pytest.mark.parametrize(
    "transform",
    [
        v2.AugMix(interpolation="bicubic"),
        v1.AugMix(interpolation="bilinear"),  # which only v2 takes
        v2.AugMix(fill=[1, 2]),
        v2.AugMix(alpha=1),
        v2.AugMix(alpha=-1.0),
        v2.AugMix(mixture_width=0),
        changed(v2.AugMix(), _PARAMETER_MAX=11),
        changed(v2.AugMix(), severity=11),
        changed(v2.AugMix(), _AUGMENTATION_SPACE=dict(reversed(SPACE.items()))),
        changed(v2.AugMix(), _AUGMENTATION_SPACE=SPACE | {"Rotate": SPACE["ShearX"]}),
        changed(v2.AugMix(), _sample_dirichlet=torch._sample_dirichlet),
    ],
    ids=str,
)
def test_what_gpuload_would_do_otherwise_is_not_lifted(transform: Any) -> None:
    assert lifted(transform, PIL) is None


@every_version
def test_tensors_and_gray_images_are_not_lifted(module: Any) -> None:
    for hand in (Hand(Form.TENSOR, False, 3), Hand(Form.IMAGE, False, 3), Hand(Form.PIL, False, 1)):
        assert lifted(module.AugMix(), hand) is None


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: T.AugMix(severity=0), ArgumentError, "severity must be at least 1, got 0"),
        (lambda: T.AugMix(severity=11), ArgumentError, "severity must be from 1 to 10, got 11"),
        (lambda: T.AugMix(mixture_width=0), ArgumentError, "mixture_width must be at least 1, got 0"),
        (lambda: T.AugMix(chain_depth=1.5), ArgumentTypeError, r"chain_depth must be an int, got 1.5 \(float\)"),
        (lambda: T.AugMix(alpha=0), ArgumentError, "alpha must be a number above 0, got 0"),
        (lambda: T.AugMix(interpolation="bicubic"), ArgumentError, "interpolation must be nearest or bilinear here"),
        (lambda: T.AugMix(fill=256), ArgumentError, "fill must be integers from 0 to 255, got 256"),
    ],
)
def test_arguments_that_are_not_allowed(make: Callable[[], Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        make()


def test_where_torch_computes_otherwise_torch_does_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """An arithmetic that differs in one effect is found."""
    monkeypatch.setattr(Mix, "_effect", lambda self, image, *_: image)
    assert not as_torch.mixes_as_torch.__wrapped__()


# ---- what native code refuses ----


def of_one_mix() -> Batch:
    """Steps: a sum begins, a grid, a color, the picture is added, and the sum ends."""
    effects = [[EFFECTS.index("Rotate"), EFFECTS.index("Color")]]
    mix = Mix([0.5, 0.5], effects, [[3.0, 0.3]], [[[0.1] * 6] * 2], True, Filter.BILINEAR, (9, 9, 9), 2)
    return Batch(fuse(Recipes.of([(mix,)], [12], [12])))


def refused(batch: Batch) -> bool:
    accepted = batch.put(0, np.zeros((12, 12, 3), np.uint8)) == Status.OK
    return not accepted and batch.untouched()


@pytest.mark.parametrize(
    ("field", "value"),
    [("theta", np.nan), ("theta", np.inf), ("fill", 256.0), ("fill", -1.0), ("filled", 3), ("filter", 1)],
)
def test_grids_that_there_are_not(field: str, value: Any) -> None:
    batch = of_one_mix()
    assert batch.fused.adjustments.steps["kind"].tolist() == [14, 17, 19, 15, 16] and not refused(batch)
    batch = of_one_mix()
    batch.fused.adjustments.grids[field][0] = value
    assert refused(batch)


@pytest.mark.parametrize(
    ("step", "kind"), [(0, 15), (0, 16), (1, 14), (2, 16), (4, 15), (4, 14), (1, 12), (1, 13), (2, 27)]
)
def test_sums_that_do_not_begin_or_end(step: int, kind: int) -> None:
    batch = of_one_mix()
    batch.fused.adjustments.steps["kind"][step] = kind
    assert refused(batch)


@pytest.mark.parametrize(("step", "value"), [(0, np.nan), (3, np.inf), (2, np.nan), (1, 1.0), (1, -1.0)])
def test_spoiled_steps(step: int, value: float) -> None:
    batch = of_one_mix()
    batch.fused.adjustments.steps["value"][step] = value
    assert refused(batch)
