"""RandomApply, RandomChoice and RandomOrder are torchvision's: its draws in ``dataset[i]``, and its pixels."""

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torchvision import transforms as v1
from torchvision.transforms import v2

from gpuload import ArgumentError, ArgumentTypeError, DataLoader, ImageFolder, transforms as T
from gpuload.compilers import compiler
from gpuload.native import Status
from gpuload.recipes.draws import CounterDraws, TorchDraws
from gpuload.recipes.fuse import fuse
from gpuload.recipes.recipes import apply
from gpuload.transforms.hand import Form, Hand
from gpuload.transforms.lifted import lifted
from gpuload.transforms.plan import Plan
from gpuload.transforms.program import program_of
from tests.cases import cases
from tests.native_batch import Batch
from tests.recipes import random_picture

SEED = 11
PIL = Hand(Form.PIL, False, 3)
both = pytest.mark.parametrize("module", [v1, v2], ids=["v1", "v2"])


def inner(rng: random.Random, module: Any, depth: int = 0) -> Any:
    """A transform that may stand in a container, and draws."""
    size = rng.randint(8, 40), rng.randint(8, 40)
    if depth < 2 and rng.random() < 0.35:
        return container(rng, module, depth + 1)
    return rng.choice(
        [
            lambda: module.RandomHorizontalFlip(),
            lambda: module.Resize(size),
            lambda: module.CenterCrop(size),
            lambda: module.RandomResizedCrop(size),
            lambda: module.Pad(rng.randint(1, 5), rng.randrange(256)),
            lambda: module.ColorJitter(0.4, 0.4, 0.4, 0.1),
            lambda: module.RandomRotation(30),
            lambda: module.Grayscale(3),
            lambda: module.RandAugment(1),
        ]
    )()


def container(rng: random.Random, module: Any, depth: int = 0) -> Any:
    count = rng.randint(1, 3)
    parts = [inner(rng, module, depth) for _ in range(count)]
    weights = rng.choice((None, [rng.choice((1, 2.5, 0.5)) for _ in parts]))
    return rng.choice(
        [
            lambda: module.RandomApply(parts, rng.choice((0.0, 0.3, 0.5, 1.0))),
            lambda: module.RandomApply(nn.ModuleList(one for one in parts if isinstance(one, nn.Module)) or parts, 0.8),
            lambda: module.RandomChoice(parts, weights),
            lambda: module.RandomChoice([module.Compose(parts), parts[0]]),
            lambda: module.RandomOrder(parts),
        ]
    )()


def seeded(seed: int) -> None:
    torch.manual_seed(seed)
    random.seed(seed)


def drawn_next() -> tuple[float, float]:
    return torch.rand(1).item(), random.random()


@both
def test_the_same_seed_gives_torchvisions_pixels(module: Any) -> None:
    rng = random.Random(module.__name__)
    for seed in range(cases(150)):
        transform, image = container(rng, module), Image.fromarray(random_picture(rng, 60))
        program = program_of([transform, v1.PILToTensor()])
        assert program.is_native, transform
        seeded(seed)
        theirs, after = v2.functional.pil_to_tensor(transform(image)), drawn_next()
        seeded(seed)
        assert torch.equal(program(image, TorchDraws()), theirs), transform
        assert drawn_next() == after, transform


def test_of_tensors_transforms_do_what_they_do_to_tensors() -> None:
    for seed in range(cases(20)):
        image = Image.fromarray(random_picture(random.Random(seed), 60))
        resize = v2.Resize((30, 20), v1.InterpolationMode.NEAREST)
        transforms = [v2.ToImage(), v2.RandomOrder([v2.RandomApply([resize]), v2.RandomChoice([v2.CenterCrop(25)])])]
        program = program_of(transforms)
        assert program.is_native
        seeded(seed)
        theirs = v2.Compose(transforms)(image)
        seeded(seed)
        assert torch.equal(program(image, TorchDraws()), theirs)


def test_what_is_changed_of_a_transform_inside_counts() -> None:
    crop = T.CenterCrop(9)
    compose = T.Compose([T.RandomApply([crop], 1.0)])
    assert compose(Image.new("RGB", (20, 20))).shape == (3, 9, 9)
    crop.size = 5
    assert compose(Image.new("RGB", (20, 20))).shape == (3, 5, 5)


@pytest.mark.skipif(compiler() is None, reason="no C++ compiler")
@both
def test_a_batch_is_drawn_and_rendered_as_each_sample_alone(module: Any) -> None:
    rng, native = random.Random(f"{module.__name__}!"), 0
    for _ in range(cases(60)):
        found = lifted(container(rng, module), PIL)
        assert found is not None
        plan, pictures = Plan(found[0]), [random_picture(rng, 60) for _ in range(4)]
        sizes, positions = np.array([picture.shape[:2] for picture in pictures]), np.arange(4) + rng.randrange(1000)
        together = plan.recipes(*sizes.T, CounterDraws(SEED, 0, positions))
        fused = fuse(together)
        batch = Batch(fused)
        for at, picture in enumerate(pictures):
            recipe = plan.recipes(*sizes[at : at + 1].T, CounterDraws(SEED, 0, positions[at : at + 1]))[0]
            assert repr(recipe) == repr(together[at])
            made = apply(Image.fromarray(picture), recipe)
            assert made.size == (together.final_width[at], together.final_height[at])
            if not fused.by_pillow[at]:
                assert batch.put(at, picture) == Status.OK
                assert np.array_equal(batch.image(at), made), recipe
                native += 1
    assert native > 50


@both
@pytest.mark.parametrize("engine", ["cpu", "pillow"])
def test_a_loader(module: Any, engine: str, photos: Path) -> None:
    crops = [module.RandomResizedCrop(24), module.Compose([module.Resize(40), module.RandomCrop(24)])]
    often = module.RandomApply([module.ColorJitter(0.4, 0.4, 0.4, 0.1)], 0.8)
    last = module.RandomOrder([module.RandomHorizontalFlip(), module.RandomApply([module.Grayscale(3)], 0.5)])
    transform = module.Compose([module.RandomChoice(crops), often, last, module.PILToTensor()])
    dataset = ImageFolder(photos, transform=transform)
    loader = DataLoader(dataset, 4, shuffle=True, seed=SEED, num_workers=2, device="cpu", engine=engine)
    given = torch.cat([images for images, _ in loader])
    for ours, (index, recipe) in zip(given, loader.recipes(0), strict=True):
        assert torch.equal(ours, dataset.apply(index, recipe))


def test_how_often() -> None:
    count, flips = 6000, [T.RandomHorizontalFlip(1.0), T.RandomVerticalFlip(1.0)]
    sizes = np.full(count, 9)

    def share(transform: Any, *directions: bool) -> float:
        recipes = Plan([transform]).recipes(sizes, sizes, CounterDraws(SEED, 0, np.arange(count)))
        return np.mean([tuple(op.horizontal for op in recipe) == directions for recipe in recipes])

    sigma = 0.5 / np.sqrt(count)
    for p in (0.0, 0.3, 1.0):
        assert abs(share(T.RandomApply(flips, p), True, False) - p) <= 6 * sigma * (0 < p < 1)
    assert abs(share(T.RandomChoice(flips), True) - 0.5) < 6 * sigma
    assert abs(share(T.RandomChoice(flips, [3, 1.0]), True) - 0.75) < 6 * sigma
    assert share(T.RandomChoice(flips, [0, 2]), False) == 1.0
    assert abs(share(T.RandomOrder(flips), False, True) - 0.5) < 6 * sigma
    assert abs(share(T.RandomChoice([flips, flips[0]]), True, False) - 0.5) < 6 * sigma


@both
def test_what_is_not_lifted(module: Any) -> None:
    flip = module.RandomHorizontalFlip()
    for parts in (
        [flip, module.ElasticTransform()],
        [flip, lambda image: image],
        [module.Grayscale(1)],
        [flip, v1.ToTensor()],
    ):
        for transform in (module.RandomApply(parts), module.RandomChoice(parts), module.RandomOrder(parts)):
            assert lifted(transform, PIL) is None, transform
    changed = module.RandomChoice([flip, flip])
    changed.p = [1.0]
    assert lifted(changed, PIL) is None
    changed = module.RandomApply([flip])
    changed.transforms = iter([flip])
    assert lifted(changed, PIL) is None


FLIP = T.RandomHorizontalFlip()


@pytest.mark.parametrize(
    ("make", "kind", "text"),
    [
        (lambda: T.RandomApply([]), ArgumentTypeError, r"transforms must be a list of .*, at least one, got \[\]"),
        (lambda: T.RandomOrder(FLIP), ArgumentTypeError, "transforms must be a list of .* got RandomHorizontalFlip"),
        (lambda: T.RandomApply([v2.Resize(9)]), ArgumentTypeError, "transforms must be gpuload's .*, got Resize"),
        (lambda: T.RandomApply([T.Grayscale(1)]), ArgumentTypeError, "and leave three channels, got Grayscale"),
        (lambda: T.RandomApply([T.Normalize(0, 1)]), ArgumentTypeError, "transforms must be gpuload's .* Normalize"),
        (lambda: T.RandomApply([FLIP], 2), ArgumentError, "p must be a probability between 0 and 1, got 2"),
        (lambda: T.RandomChoice([FLIP], 1), ArgumentTypeError, "p must be a weight for each transform, .* got 1"),
        (lambda: T.RandomChoice([FLIP], [1, 1]), ArgumentError, r"p must be 1 weights, .* got \[1, 1\]"),
        (lambda: T.RandomChoice([FLIP, FLIP], [-1, 2]), ArgumentError, r"p must be 2 weights, .* got \[-1, 2\]"),
        (lambda: T.RandomChoice([FLIP, FLIP], [0, 0]), ArgumentError, r"p must be 2 weights, .* got \[0, 0\]"),
    ],
)
def test_arguments_that_are_not_allowed(make: Any, kind: type[Exception], text: str) -> None:
    with pytest.raises(kind, match=text):
        make()
