"""Transforms of colors: torchvision's draws and bits, in ``dataset[i]`` and in the loader, and what is refused."""

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import transforms as v1
from torchvision.transforms import v2

from gpuload import ArgumentError, ArgumentTypeError, DataLoader, ImageFolder, transforms as T
from gpuload.recipes.draws import CounterDraws, TorchDraws
from gpuload.transforms.hand import Form, Hand
from gpuload.transforms.lifted import lifted
from gpuload.transforms.plan import Plan
from gpuload.transforms.program import program_of
from tests.cases import cases
from tests.recipes import functional, random_picture

SEED = 11
EVERY: dict[str, list[dict[str, Any]]] = {
    "ColorJitter": [
        {"brightness": 0.4, "contrast": 0.4, "saturation": 0.4, "hue": 0.1},
        {"brightness": (0.0, 5.0), "contrast": (2, 2), "hue": (-0.5, 0.5)},
        {"saturation": [0, 1e6], "hue": 0.5},
        {"brightness": 3, "contrast": 7.0, "saturation": 1},
        {"hue": (0.25, 0.25)},
        {},
    ],
    "RandomAdjustSharpness": [{"sharpness_factor": 0, "p": 0.7}, {"sharpness_factor": 2}, {"sharpness_factor": 9.5}],
    "RandomPosterize": [{"bits": bits, "p": 0.8} for bits in (1, 2, 5, 8)],
    "RandomSolarize": [{"threshold": threshold, "p": 0.6} for threshold in (0, 99, 99.5, 255.5, 256, 1e9, -3.0)],
    "RandomInvert": [{}, {"p": 0.3}, {"p": 1.0}],
    "RandomAutocontrast": [{}, {"p": 0.0}],
    "RandomEqualize": [{}, {"p": 0.9}],
    "RandomChannelPermutation": [{}],
    "RandomPhotometricDistort": [
        {},
        {"brightness": (0.0, 5.0), "contrast": [2, 2], "saturation": (0, 1e6), "hue": (-0.5, 0.5), "p": 0.8},
        {"hue": (0.25, 0.25), "p": 1.0},
    ],
}
OF_THREE_CHANNELS = "RandomChannelPermutation", "RandomPhotometricDistort"  # others are permuted otherwise
PAIRS = [(name, options) for name, several in EVERY.items() for options in several]
every_transform = pytest.mark.parametrize(("name", "options"), PAIRS, ids=str)
PIL = Hand(Form.PIL, False, 3)


def made(name: str, options: dict[str, Any]) -> list[Any]:
    """torchvision's, of the versions that have it: v2's is the last."""
    return [getattr(module, name)(**options) for module in (v1, v2) if hasattr(module, name)]


def seeded(call: Any, seed: int) -> torch.Tensor:
    """What a call makes with this state of torch's generator, and what that draws next."""
    torch.manual_seed(seed)
    made = call()
    pixels = v2.functional.pil_to_tensor(made) if isinstance(made, Image.Image) else made
    return torch.cat([pixels.flatten().double(), torch.rand(3).double()])


# ---- dataset[i] ----


@every_transform
def test_the_same_seed_gives_torchvisions_image(name: str, options: dict[str, Any]) -> None:
    rng = random.Random(SEED)
    theirs = made(name, options)
    for seed in range(cases(30)):
        image = Image.fromarray(random_picture(rng, 40))
        ours = [getattr(T, name)(**options), *(program_of([transform]) for transform in theirs)]
        assert all(program.is_native for program in ours[1:])
        own = seeded(lambda: ours[0](image), seed)  # noqa: B023
        given = [seeded(lambda: program(image, TorchDraws()), seed) for program in ours[1:]]  # noqa: B023
        wanted = [seeded(lambda: transform(image), seed) for transform in theirs]  # noqa: B023
        assert all(map(torch.equal, given, wanted)) and torch.equal(own, wanted[-1]), seed


@every_transform
def test_images_of_one_channel(name: str, options: dict[str, Any]) -> None:
    image = Image.fromarray(random_picture(random.Random(1), 40)).convert("L")
    for transform, seed in [(transform, seed) for transform in made(name, options) for seed in range(9)]:
        program = program_of([transform], channels=1)
        assert program.is_native == (name not in OF_THREE_CHANNELS)
        given = seeded(lambda: program(image, TorchDraws()), seed)  # noqa: B023
        assert torch.equal(given, seeded(lambda: transform(image), seed))  # noqa: B023


@pytest.mark.parametrize("p", [0.1, 0.3, 0.5, 0.7, 0.9, 1 / 3])
def test_v1_compares_doubles(p: float) -> None:
    """Draws next to the probability: v1 has it happen where one is less, v2 where it is less than the float32."""
    image = Image.new("RGB", (3, 3), (9, 9, 9))
    for draw in (np.floor(p * 2**24) / 2**24, np.ceil(p * 2**24) / 2**24):
        for module in (v1, v2):
            transform = module.RandomInvert(p)
            ((native,), _) = lifted(transform, PIL) or ((), None)
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(torch, "rand", lambda *_: torch.tensor([draw], dtype=torch.float32))  # noqa: B023
                theirs = transform(image).getpixel((0, 0)) != (9, 9, 9)
            ((_, chosen),) = native.steps(np.array([3]), np.array([3]), Drawn(draw))
            assert bool(chosen[0]) == theirs, (module.__name__, draw)


class Drawn(TorchDraws):
    """One number, whatever is asked."""

    def __init__(self, value: float) -> None:
        self._value = value

    def uniform(self, low: float, high: float, rows: Any) -> Any:
        return np.full(len(rows), self._value)


def test_what_is_drawn_of_torchs_generator_is_torchvisions() -> None:
    for seed in range(20):
        torch.manual_seed(seed)
        theirs = v1.ColorJitter.get_params((0.5, 1.5), None, (0.2, 0.9), (-0.3, 0.3))
        torch.manual_seed(seed)
        draws, one = TorchDraws(), np.array([0])
        assert draws.permutation(4, one).tolist() == [theirs[0].tolist()]
        drawn = [draws.uniform(*span, one).item() for span in ((0.5, 1.5), (0.2, 0.9), (-0.3, 0.3))]
        assert drawn == [theirs[1], theirs[3], theirs[4]]


# ---- the loader ----


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tests.conftest import encode, make_photo

    root = tmp_path_factory.mktemp("colors")
    (root / "only").mkdir()
    for i in range(12):
        (root / "only" / f"{i:02}.jpg").write_bytes(encode(make_photo(40 + i, 70 - i, seed=i)))
    return root


@pytest.mark.parametrize("engine", ["cpu", "pillow"])
@every_transform
def test_a_loaders_samples_are_torchvisions(name: str, options: dict[str, Any], engine: str, photos: Path) -> None:
    for middle in made(name, options):
        module = v2 if isinstance(middle, v2.Transform) else v1
        transform = module.Compose(
            [module.RandomResizedCrop(24), module.RandomHorizontalFlip(), middle, module.PILToTensor()]
        )
        dataset = ImageFolder(photos, transform=transform)
        loader = DataLoader(dataset, 5, shuffle=True, seed=SEED, num_workers=2, device="cpu", engine=engine)
        given = torch.cat([images for images, _ in loader])
        for ours, (index, recipe) in zip(given, loader.recipes(0), strict=True):
            wanted = functional(dataset.image(index), recipe)
            assert torch.equal(ours, v2.functional.pil_to_tensor(wanted)), recipe


def test_each_order_and_all_factors_are_drawn() -> None:
    count = 6000
    jitter = T.ColorJitter(0.5, (1.0, 3.0), 0.1, 0.25)
    sizes = np.full(count, 9)
    recipes = Plan([jitter]).recipes(sizes, sizes, CounterDraws(SEED, 0, np.arange(count)))
    found = [recipes[i] for i in range(count)]
    orders = [tuple(op.adjustment.value for op in recipe) for recipe in found]
    counts = np.array([orders.count(order) for order in set(orders)])
    assert len(counts) == 24 and counts.min() > 250 - 6 * 16 and counts.max() < 250 + 6 * 16  # six sigma
    values = np.array([[op.value for op in sorted(recipe, key=lambda op: op.adjustment.value)] for recipe in found])
    low, high = np.array([0.5, 1.0, 0.9, -63]), np.array([1.5, 3.0, 1.1, 63])
    assert (values >= low).all() and (values <= high).all()
    assert (np.abs(values.mean(0) - (low + high) / 2) < 6 * (high - low) / np.sqrt(12 * count)).all()
    assert (values[:, 3] == np.trunc(values[:, 3])).all()


def test_explain_says_who_adjusts(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    jitter = T.ColorJitter(0.4, 0.4, 0.4, 0.1)
    for parts in ([T.Resize((20, 20)), jitter], [jitter, T.Resize((20, 20))]):
        dataset = ImageFolder(photos, transform=T.Compose([*parts, T.ToImage()]))
        DataLoader(dataset, 4, device="cpu", engine="cpu").explain()
        said = capsys.readouterr().out
        assert "all 64 recipes of the first images fuse into it" in said and "Pillow runs" not in said
        assert "native code adjusts colors, warps or resizes again 64 of 64" in said


# ---- what is lifted, and what not ----


@pytest.mark.parametrize("name", EVERY)
def test_tensors_are_left_to_torchvision(name: str) -> None:
    """It has other arithmetic for them."""
    for transform in [transform for options in EVERY[name] for transform in made(name, options)]:
        assert lifted(transform, PIL) is not None
        for hand in (Hand(Form.IMAGE, False, 3), Hand(Form.TENSOR, False, 3), Hand(Form.TENSOR, True, 3)):
            assert lifted(transform, hand) is None


@pytest.mark.parametrize("module", [v1, v2], ids=["v1", "v2"])
def test_what_torchvision_would_fail_at_or_draw_otherwise_is_left_to_it(module: Any) -> None:
    for name, value in [("brightness", 0.5), ("contrast", (1.0, 1.0)), ("hue", (-1.0, 1.0)), ("saturation", (2, 1))]:
        jitter = module.ColorJitter(0.4, 0.4, 0.4, 0.1)
        setattr(jitter, name, value)
        assert lifted(jitter, PIL) is None
    for name, options in [
        ("RandomPosterize", {"bits": 0}), ("RandomPosterize", {"bits": 9}),
        ("RandomAdjustSharpness", {"sharpness_factor": -1}), ("RandomSolarize", {"threshold": float("nan")}),
    ]:  # fmt: skip
        assert lifted(getattr(module, name)(**options), PIL) is None


@pytest.mark.parametrize(
    "options",
    [{"brightness": (-1, 1)}, {"contrast": (2, 1)}, {"saturation": (0, 1e39)}, {"hue": (0, 0.6)}, {"p": 1.5}],
    ids=str,
)
def test_distortions_that_torchvision_does_not_check(options: dict[str, Any]) -> None:
    assert lifted(v2.RandomPhotometricDistort(**options), PIL) is None


def test_each_order_of_channels_is_drawn_as_often() -> None:
    count = 6000
    sizes = np.full(count, 9)
    recipes = Plan([T.RandomChannelPermutation()]).recipes(sizes, sizes, CounterDraws(SEED, 0, np.arange(count)))
    counts = np.bincount([int(recipes[i][0].value) for i in range(count)])
    assert len(counts) == 6 and (np.abs(counts - 1000) < 6 * 29).all()  # six sigma


@pytest.mark.parametrize(
    ("make", "kind", "text"),
    [
        (lambda: T.ColorJitter(-0.1), ArgumentError, "brightness must not be negative where it is a number, got -0.1"),
        (
            lambda: T.ColorJitter(hue=0.6),
            ArgumentError,
            r"hue must be .min, max. with -0.5 <= min <= max <= 0.5, got 0.6",
        ),
        (
            lambda: T.ColorJitter(contrast=(2, 1)),
            ArgumentError,
            r"contrast must be .* 0.0 <= min <= max .*, got \(2, 1\)",
        ),
        (lambda: T.ColorJitter(saturation=(0, 1e39)), ArgumentError, "saturation must be .* got .0, 1e.39."),
        (lambda: T.ColorJitter("a lot"), ArgumentTypeError, "brightness must be a number, two numbers .* got 'a lot'"),
        (lambda: T.ColorJitter((1, 2, 3)), ArgumentTypeError, r"brightness must be a number, two .* got \(1, 2, 3\)"),
        (lambda: T.ColorJitter(float("nan")), ArgumentTypeError, "brightness must be a number, .* got nan"),
        (
            lambda: T.RandomPhotometricDistort(hue=(0, 1)),
            ArgumentError,
            r"hue must be .min, max. with -0.5 <= min <= max <= 0.5, got \(0, 1\)",
        ),
        (
            lambda: T.RandomPhotometricDistort(contrast=0.5),  # type: ignore[arg-type]
            ArgumentTypeError,
            r"contrast must be two numbers \(min, max\), got 0.5",
        ),
        (lambda: T.RandomAdjustSharpness(-1), ArgumentError, "sharpness_factor must be at least 0, and finite, got -1"),
        (
            lambda: T.RandomAdjustSharpness(1e39),
            ArgumentError,
            "sharpness_factor must be at least 0, and finite, got 1e",
        ),
        (lambda: T.RandomAdjustSharpness("2"), ArgumentTypeError, "sharpness_factor must be a number, got '2'"),
        (lambda: T.RandomPosterize(9), ArgumentError, "bits must be 8 at most, got 9"),
        (lambda: T.RandomPosterize(0), ArgumentError, "bits must be at least 1, got 0"),
        (lambda: T.RandomPosterize(2.0), ArgumentTypeError, "bits must be an int, got 2.0"),
        (lambda: T.RandomSolarize(None), ArgumentTypeError, "threshold must be a number, got None"),
        (lambda: T.RandomInvert(1.1), ArgumentError, "p must be a probability between 0 and 1, got 1.1"),
    ],
)
def test_arguments_that_are_not_allowed(make: Any, kind: type[Exception], text: str) -> None:
    with pytest.raises(kind, match=text):
        make()
