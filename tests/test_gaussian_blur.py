"""The blur is torchvision's on PIL images, whose arithmetic is torch's: its draws in ``dataset[i]``, and its pixels.

``GPULOAD_CASES=2000 python -m pytest tests/test_gaussian_blur.py`` tries so many images.
"""

import math
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torchvision import transforms as v1
from torchvision.transforms import v2

from gpuload import ArgumentError, ArgumentTypeError, ImageFolder, transforms as T
from gpuload.native import Status
from gpuload.recipes import as_torch
from gpuload.recipes.blur import MOST_KERNEL, Blur
from gpuload.recipes.draws import CounterDraws, TorchDraws
from gpuload.recipes.fuse import fuse
from gpuload.recipes.ops import Flip
from gpuload.recipes.recipes import Recipes, apply
from gpuload.transforms.hand import Form, Hand
from gpuload.transforms.lifted import lifted
from gpuload.transforms.plan import Plan
from tests.cases import cases
from tests.epochs import check_recipes, check_samples
from tests.native_batch import Batch
from tests.test_auto import check

pytestmark = pytest.mark.skipif(not as_torch.blurs_as_torch(), reason="torch computes otherwise here, or no compiler")

PIL = Hand(Form.PIL, False, 3)
MODULES: list[Any] = [v1, v2]
every_version = pytest.mark.parametrize("module", MODULES, ids=["v1", "v2"])
LENGTHS = (1, 3, 5, 7, 9, 15, 23)


def drawn(rng: random.Random) -> dict[str, Any]:
    """Arguments."""
    one, other = (rng.choice((*LENGTHS, 2 * rng.randrange(50) + 1)) for _ in range(2))
    low, high = sorted(math.exp(rng.uniform(math.log(0.05), math.log(20))) for _ in range(2))
    return {
        "kernel_size": rng.choice((3, 23, one, (one, other), [one, other])),
        "sigma": rng.choice(((0.1, 2.0), low, (low, high), [low, high])),
    }


def picture(rng: random.Random, kernel_size: Any) -> NDArray[np.uint8]:
    """Noise, black and white, or a ramp, longer than half of the kernel, sometimes just so."""
    across, down = kernel_size if not isinstance(kernel_size, int) else (kernel_size, kernel_size)
    height, width = (length // 2 + rng.choice((1, rng.randint(1, 90))) for length in (down, across))
    pixels = np.random.default_rng(rng.getrandbits(32)).integers(0, 256, (height, width, 3), np.uint8)
    if rng.random() < 0.3:
        return np.where(pixels > 127, 255, 0).astype(np.uint8)
    return np.sort(pixels, axis=rng.randrange(2)) if rng.random() < 0.3 else pixels


@every_version
def test_the_same_seed_gives_torchvisions_pixels(module: Any) -> None:
    rng = random.Random(module.__name__)
    for seed in range(cases(120)):
        given = drawn(rng)
        transform = module.GaussianBlur(**given)
        native = lifted(transform, PIL)
        assert native is not None
        check(transform, native[0], picture(rng, given["kernel_size"]), seed)


def test_gpuloads_own_is_torchvisions_v2() -> None:
    rng = random.Random(0)
    for seed in range(cases(40)):
        given = drawn(rng)
        check(v2.GaussianBlur(**given), [T.GaussianBlur(**given)], picture(rng, given["kernel_size"]), seed)


@every_version
def test_a_sample_of_a_dataset_is_torchvisions(module: Any, photos: Path) -> None:
    theirs = module.Compose([module.RandomResizedCrop(32), module.GaussianBlur(5), module.RandomHorizontalFlip()])
    check_samples(photos, theirs, module.Compose([theirs, module.PILToTensor()]))


def test_a_loader_gives_what_its_recipes_say(photos: Path, device: str) -> None:
    """Also where flips, a crop, and colors, come later, and where not all are blurred."""
    parts = [
        T.RandomApply([T.GaussianBlur(9)]),
        T.RandomHorizontalFlip(),
        T.RandomVerticalFlip(),
        T.RandomGrayscale(0.5),
    ]
    parts += [T.RandomResizedCrop(24), T.GaussianBlur((23, 3), 1.3)]
    dataset = ImageFolder(photos, transform=T.Compose([*parts, T.ToImage()]))
    check_recipes(dataset, device)


def test_a_batch_draws_as_its_samples_do() -> None:
    rng, sizes = random.Random(1), np.random.default_rng(1).integers(50, 90, (2, 60))
    for epoch, kind in enumerate((T.GaussianBlur, v1.GaussianBlur, v2.GaussianBlur)):
        native = lifted(kind(**drawn(rng)), PIL)
        assert native is not None
        plan = Plan(native[0])
        together = plan.recipes(*sizes, CounterDraws(5, epoch, np.arange(60)))
        for i in range(0, 60, 7):
            assert plan.recipes([sizes[0, i]], [sizes[1, i]], CounterDraws(5, epoch, [i]))[0] == together[i]


@pytest.mark.parametrize("horizontal", [True, False])
def test_a_flip_after_it_is_not_one_before_it(horizontal: bool) -> None:
    """Sums of floats depend on their order; a kernel that is not symmetric shows that this is kept."""
    pixels, recipe = (
        picture(random.Random(0), 9),
        (Blur([0.0, 0.25, 0.75], [0.125, 0.875, 0.0], True), Flip(horizontal)),
    )
    batch = Batch(fuse(Recipes.of([recipe], [pixels.shape[0]], [pixels.shape[1]])))
    assert batch.put(0, pixels) == Status.OK
    assert np.array_equal(batch.image(0), apply(Image.fromarray(pixels), recipe))


# ---- what torch does ----


@pytest.mark.parametrize(("given", "native"), [((99, 3.0), True), (((3, 101), 3.0), False), (((101, 3), 3.0), False)])
@every_version
def test_long_kernels_are_torchs(module: Any, given: Any, native: bool) -> None:
    transform, image = module.GaussianBlur(*given), Image.fromarray(picture(random.Random(0), 111))
    found = lifted(transform, PIL)
    assert found is not None
    recipes = Plan(found[0]).recipes([image.height], [image.width], TorchDraws())
    assert np.array_equal(apply(image, recipes[0]), transform(image))
    assert fuse(recipes).by_pillow[0] == (not native)


def test_where_torch_computes_otherwise_torch_does_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sums in another order are found, of each kernel."""
    convolve = torch.nn.functional.conv2d

    def turned(image: torch.Tensor, kernel: torch.Tensor, groups: int) -> torch.Tensor:
        return convolve(image.flip(-1, -2), kernel.flip(-1, -2), groups=groups).flip(-1, -2)

    monkeypatch.setattr(torch.nn.functional, "conv2d", turned)
    for kernel, size in as_torch.BLURS:
        assert not as_torch._alike(as_torch._cancelling(kernel), as_torch._rows(*size))
    assert not as_torch.blurs_as_torch.__wrapped__()


# ---- what is not lifted, and what is refused ----


def changed(transform: Any, **attributes: Any) -> Any:
    for name, value in attributes.items():
        setattr(transform, name, value)
    return transform


@pytest.mark.parametrize(
    "attributes", [{"kernel_size": 3}, {"kernel_size": (3, 4)}, {"sigma": 1.0}, {"sigma": (0.0, 1.0)}], ids=str
)
@every_version
def test_attributes_that_make_no_sense_are_not_lifted(module: Any, attributes: dict[str, Any]) -> None:
    assert lifted(module.GaussianBlur(3), PIL) is not None
    assert lifted(changed(module.GaussianBlur(3), **attributes), PIL) is None


@every_version
def test_tensors_and_gray_images_are_not_lifted(module: Any) -> None:
    for hand in (Hand(Form.TENSOR, False, 3), Hand(Form.IMAGE, False, 3), Hand(Form.PIL, False, 1)):
        assert lifted(module.GaussianBlur(3), hand) is None


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: T.GaussianBlur(4), ArgumentError, "kernel_size must be odd, got 4"),
        (lambda: T.GaussianBlur((3, 2)), ArgumentError, r"kernel_size must be odd, got \(3, 2\)"),
        (lambda: T.GaussianBlur(0), ArgumentError, "kernel_size must be at least 1 pixel, got 0"),
        (lambda: T.GaussianBlur(3, 0), ArgumentError, "sigma must be .* with 0 < min <= max, got 0"),
        (lambda: T.GaussianBlur(3, 1e-46), ArgumentError, "sigma must be .* with 0 < min <= max, got 1e-46"),
        (lambda: T.GaussianBlur(3, (2, 1)), ArgumentError, r"sigma must be .* with 0 < min <= max, got \(2, 1\)"),
        (lambda: T.GaussianBlur(3, (1, 2, 3)), ArgumentTypeError, "sigma must be a number or two numbers"),
        (lambda: T.GaussianBlur(3, "1"), ArgumentTypeError, "sigma must be a number or two numbers"),  # type: ignore[arg-type]
    ],
)
def test_arguments_that_are_not_allowed(make: Callable[[], Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        make()


@pytest.mark.parametrize(("height", "width"), [(9, 11), (8, 12)])
def test_images_that_are_too_small_to_be_mirrored(height: int, width: int) -> None:
    text = (
        r"GaussianBlur\(kernel_size=\(23, 17\), sigma=1\.0\) takes images longer than half of its kernel, got one of "
    )
    image = Image.new("RGB", (width, height))
    with pytest.raises(ArgumentError, match=f"{text}{height} x {width}"):
        T.GaussianBlur((23, 17), 1.0)(image)
    with pytest.raises(RuntimeError):
        v2.GaussianBlur((23, 17), 1.0)(image)
    T.GaussianBlur((23, 17), 1.0)(Image.new("RGB", (12, 9)))


# ---- what native code refuses ----


def refused(field: str, value: Any) -> bool:
    fused = fuse(Recipes.of([(Blur([0.25, 0.5, 0.25], [0.1, 0.2, 0.4, 0.2, 0.1], True),)], [6], [7]))
    table = fused.adjustments.steps if field == "value" else fused.adjustments.kernels
    table[field][0] = value
    batch = Batch(fused)
    accepted = batch.put(0, np.zeros((6, 7, 3), np.uint8)) == Status.OK
    return not accepted and batch.untouched()


@pytest.mark.parametrize(
    ("field", "values", "allowed"),
    [
        ("across", (-1, 0, 2, 15, MOST_KERNEL + 2), (1, 3, 13)),
        ("down", (-1, 0, 4, 13, MOST_KERNEL + 2), (1, 5, 11)),
        ("x", (np.nan, np.inf, -np.inf, 2.0**20 + 1), (0.0, -1.0, 2.0**20)),
        ("y", (np.nan, np.inf, -np.inf, -(2.0**20) - 1), (0.0, 3.0, -(2.0**20))),
        ("value", (-1, 1, 0.5, np.nan), (0,)),
    ],
)
def test_kernels_that_there_are_not(field: str, values: tuple[float, ...], allowed: tuple[float, ...]) -> None:
    assert all(refused(field, value) for value in values)
    assert not any(refused(field, value) for value in allowed)
