"""Ordinary code in a transform: torchvision's own results, whatever the number of threads."""

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

from gpuload import DataLoader, ImageFolder
from gpuload.errors import GpuloadError
from gpuload.randomness import call_seeded
from gpuload.recipes.draws import CounterDraws, call_seeds
from gpuload.transforms.program import Leg, Program, image_of, pixels_of, program_of, run

SEED = 5
FLOATS = v2.ToDtype(torch.float32, scale=True)


def loaded(dataset: Any, workers: int = 0, **options: Any) -> list[Any]:
    """The images of an epoch."""
    given: dict[str, Any] = {"batch_size": 5, "collate_fn": list, "seed": SEED, "device": "cpu"} | options
    loader = DataLoader(dataset, num_workers=workers, **given)
    return [image for batch in loader for image, _ in batch]


def called(leg: Leg, tensor: torch.Tensor, is_last: bool) -> Any:
    """A sample, and the pixels that go on natively, if any do."""
    result = run(leg.calls, leg._given(tensor))
    pixels = None if is_last else pixels_of(result, leg)
    return (result if is_last else run(leg.rest, result)) if pixels is None else None, pixels


def replayed(program: Program, image: Image.Image, position: int) -> Any:
    """One sample of epoch 0, leg by leg: Pillow's pixels, then each call with its seed."""
    for number, leg in enumerate(program.legs):
        tensor = leg.plan(image, CounterDraws(SEED, 0, [position], number))
        if not leg.calls:
            return program.leaves.wrapped(tensor)
        (seed,) = call_seeds(SEED, 0, [position], number)
        result, pixels = call_seeded(seed, called, leg, tensor, number + 1 == len(program.legs))
        if pixels is None:
            return result
        image = image_of(pixels)
    raise AssertionError("the last leg returns")


def same(a: Any, b: Any) -> bool:
    return type(a) is type(b) and np.array_equal(np.asarray(a), np.asarray(b))


def smaller(image: Any) -> Any:
    """A call that changes the size, each time to another one."""
    return image.crop((0, 0, image.width - random.randrange(9), image.height - int(torch.randint(9, ()))))


TRANSFORMS: dict[str, Callable[[], list[Any]]] = {
    "first": lambda: [v1.AugMix(), v1.RandomResizedCrop(24), v1.ToTensor()],
    "between": lambda: [v2.RandomResizedCrop(24), v2.AugMix(), v2.RandomHorizontalFlip(), v2.ToImage(), FLOATS],
    "last": lambda: [v1.RandomCrop(24, 2, True), v1.ToTensor(), v1.Normalize([0.5], [0.5]), v1.RandomErasing(0.7)],
    "twice": lambda: [smaller, v1.RandomHorizontalFlip(), v1.ElasticTransform(), v1.Resize((20, 21)), v1.ToTensor()],
    "of tensors": lambda: [v2.Resize((30, 20)), v2.ToImage(), v2.GaussianBlur(3), v2.RandomVerticalFlip(), FLOATS],
    "numpy": lambda: [v1.Resize((9, 8)), np.asarray],
}


@pytest.mark.parametrize("name", TRANSFORMS)
def test_ordinary_code_gives_the_same_for_any_number_of_threads(name: str, photos: Path) -> None:
    transforms = TRANSFORMS[name]()
    dataset, program = ImageFolder(photos, transform=v1.Compose(transforms)), program_of(transforms)
    expected = [replayed(program, dataset.image(index), index) for index in range(len(dataset))]
    for workers in (0, 1, 3, 8):
        ours = loaded(dataset, workers)
        assert len(ours) == 24 and all(map(same, ours, expected))


def by_size(image: Any) -> Any:
    """Results of several kinds, in one batch."""
    kinds = (lambda x: x, lambda x: x.convert("RGBA"), lambda x: x.convert("P"), lambda x: x.convert("L"))
    return kinds[image.width % 4](image)


@pytest.mark.parametrize("workers", [0, 3])
def test_results_that_are_no_such_image_leave_the_native_path(workers: int, photos: Path) -> None:
    transform = v1.Compose(
        [v1.CenterCrop(40), v1.RandomCrop(30), smaller, by_size, v1.Resize((12, 13)), v1.PILToTensor()]
    )
    dataset, program = ImageFolder(photos, transform=transform), program_of(transform.transforms)
    ours = loaded(dataset, workers)
    assert {len(one) for one in ours} == {1, 3, 4}
    assert all(same(one, replayed(program, dataset.image(i), i)) for i, one in enumerate(ours))


@pytest.mark.parametrize("workers", [0, 2])
def test_images_of_pillow_that_are_kept_stay_as_they_are(workers: int, photos: Path) -> None:
    dataset = ImageFolder(photos, transform=v1.Compose([v1.CenterCrop(30), lambda image: image]))
    kept = loaded(dataset, workers, batch_size=2)
    assert all(same(np.asarray(one), np.asarray(dataset[i][0])) for i, one in enumerate(kept))


@pytest.mark.parametrize("workers", [0, 3])
def test_an_error_of_ordinary_code_names_the_sample(workers: int, photos: Path) -> None:
    def fails(image: Any) -> Any:
        raise KeyError("mine")

    dataset = ImageFolder(photos, transform=v1.Compose([v1.CenterCrop(30), fails, v1.ToTensor()]))
    with pytest.raises(GpuloadError) as raised:
        loaded(dataset, workers)
    assert "sample 0" in str(raised.value) and dataset.path(0) in str(raised.value)
    assert isinstance(raised.value.__cause__, KeyError)


@pytest.mark.parametrize("workers", [0, 3])
def test_an_epoch_leaves_the_global_generators_alone(workers: int, photos: Path) -> None:
    def draws(image: Any) -> Any:
        torch.rand(1), random.random(), np.random.rand()
        return image

    dataset = ImageFolder(
        photos, transform=v1.Compose([v1.RandomCrop(20), draws, v1.ElasticTransform(sigma=1.0), v1.ToTensor()])
    )
    before = torch.get_rng_state(), random.getstate(), str(np.random.get_state())
    loaded(dataset, workers)
    assert torch.equal(before[0], torch.get_rng_state())
    assert before[1:] == (random.getstate(), str(np.random.get_state()))


def test_what_is_changed_of_a_transform_counts_from_the_next_epoch(photos: Path) -> None:
    transform = v1.Compose([v1.Resize((20, 20)), v1.ToTensor()])
    dataset = ImageFolder(photos, transform=transform)
    loader = DataLoader(dataset, batch_size=4, num_workers=2, seed=SEED, device="cpu")

    def shapes(change: Callable[[], Any]) -> set[tuple[int, ...]]:
        batches = iter(loader)
        made = {tuple(next(batches)[0].shape[1:])}
        change()
        return made | {tuple(images.shape[1:]) for images, _ in batches}

    assert shapes(lambda: setattr(transform.transforms[0], "size", (9, 8))) == {(3, 20, 20)}
    assert shapes(lambda: transform.transforms.append(v1.RandomErasing())) == {(3, 9, 8)}
    assert shapes(lambda: transform.transforms.insert(1, v1.Grayscale())) == {(3, 9, 8)}
    assert shapes(lambda: setattr(dataset, "transform", v2.Compose([v2.CenterCrop(7), v2.ToImage()]))) == {(1, 9, 8)}
    assert shapes(lambda: None) == {(3, 7, 7)}
