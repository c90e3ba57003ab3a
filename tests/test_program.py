"""Legs of a transform: what becomes native, and what ordinary code gets and leaves."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torchvision import transforms as v1, tv_tensors
from torchvision.transforms import v2

import gpuload.transforms as T
from gpuload.errors import ArgumentTypeError
from gpuload.recipes.draws import TorchDraws
from gpuload.transforms.hand import Form
from gpuload.transforms.program import compiled, flat, pixels_of, program_of
from tests.conftest import make_photo

PHOTO = make_photo(40, 30)
FLOATS = v2.ToDtype(torch.float32, scale=True)


def shown(transforms: list[Any], channels: int = 3) -> list[tuple[int, int, Form, int]]:
    """Of each leg: native moves, maps of values, what the calls get, and their number."""
    legs = program_of(transforms, channels).legs
    return [(len(leg.plan.geometric), len(leg.plan.pointwise), leg.form, len(leg.calls)) for leg in legs]


def same(image: Any) -> Any:
    return image


def test_legs_end_where_ordinary_code_ends() -> None:
    bend, flip = v1.ElasticTransform(), v1.RandomHorizontalFlip()
    assert shown([flip, flip, v1.ToTensor()]) == [(2, 1, Form.PIL, 0)]
    assert shown([bend, flip]) == [(0, 0, Form.PIL, 1), (1, 0, Form.PIL, 0)]
    assert shown([flip, bend, same, flip, v2.ToImage(), same]) == [(1, 0, Form.PIL, 2), (1, 0, Form.IMAGE, 1)]
    assert shown([flip, v1.PILToTensor(), same, v2.Pad(1)]) == [(1, 0, Form.TENSOR, 1), (1, 0, Form.TENSOR, 0)]
    assert shown([v1.ToTensor(), same, v1.Normalize([0.5], [0.5])]) == [(0, 1, Form.TENSOR, 2)]  # floats by then


@pytest.mark.parametrize(
    "transforms",
    [
        [v1.Resize((20, 21)), same, v1.CenterCrop(9), v1.ToTensor(), same],
        [v2.CenterCrop(20), v2.ToImage(), same, v2.Pad(3), v2.ToPureTensor(), FLOATS, v2.Normalize([0.5], [0.5])],
        [v2.Grayscale(), same, v1.CenterCrop(9), v1.ToTensor()],
        [v1.Resize(20), np.array, v2.ToImage(), v2.CenterCrop(7)],
        [v1.Resize(20), v1.PILToTensor(), v1.ToPILImage(), v1.CenterCrop(7), v1.ToTensor()],
        [v1.Resize(20), lambda image: image.convert("RGBA"), v1.CenterCrop(7), v1.PILToTensor()],
        [v2.ToImage(), v2.CenterCrop(9), lambda image: image / 255, v2.Normalize([0.5], [0.5])],
        [v2.ToImage(), lambda image: image[:, :0], v2.RandomHorizontalFlip(1.0)],
    ],
)
def test_a_program_gives_what_its_transforms_give(transforms: list[Any]) -> None:
    ours, expected = program_of(transforms)(PHOTO, TorchDraws()), v1.Compose(transforms)(PHOTO)
    assert torch.equal(torch.as_tensor(ours), torch.as_tensor(expected)) and ours.dtype == expected.dtype


@pytest.mark.parametrize("first", [v2.CenterCrop(9), v2.ToImage(), v1.PILToTensor(), v1.ToTensor()], ids=repr)
def test_ordinary_code_gets_what_torchvisions_would(first: Any) -> None:
    got: list[Any] = []
    program_of([v1.CenterCrop(9), first, got.append])(PHOTO, TorchDraws())
    expected = v1.Compose([v1.CenterCrop(9), first])(PHOTO)
    assert type(got[0]) is (Image.Image if isinstance(expected, Image.Image) else type(expected))
    assert np.array_equal(np.asarray(got[0]), np.asarray(expected))


def test_pixels_that_go_on_are_packed() -> None:
    leg = program_of([v2.ToImage(), v2.CenterCrop(9), same, v2.Pad(1)]).legs[0]
    image = tv_tensors.Image(torch.arange(60, dtype=torch.uint8).view(3, 4, 5).flip(2)[:, :, ::2])
    pixels = pixels_of(image, leg)
    assert pixels is not None and pixels.flags.c_contiguous and np.array_equal(pixels, image.permute(1, 2, 0))
    assert pixels_of(image.as_subclass(torch.Tensor), leg) is None
    assert pixels_of(tv_tensors.Image(image[:1]), leg) is None
    assert pixels_of(tv_tensors.Image(image / 2), leg) is None


def test_containers_are_taken_apart_unless_they_do_more() -> None:
    class Mine(v2.Compose):
        def forward(self, *inputs: Any) -> Any:
            return inputs[0]

    flips = [v2.RandomHorizontalFlip(), v2.RandomVerticalFlip()]
    for container in (v1.Compose(flips), v2.Compose(flips), nn.Sequential(*flips), T.Compose(flips)):
        assert [*flat(v1.Compose([container, same]))] == [*flips, same]
    hooked = nn.Sequential(*flips)
    hooked.register_forward_hook(lambda *_: None)
    for kept in (Mine(flips), hooked, v2.RandomApply(flips)):
        assert [*flat(kept)] == [kept]


@pytest.mark.parametrize(
    ("transform", "reason"),
    [
        (None, "it has no transform, so its samples are PIL images"),
        (same, "gpuload knows no part of its transform same"),
        (v1.Compose([v1.Resize(9)]), "its transform Compose ends with a PIL image"),
    ],
)
def test_why_a_transform_is_no_program(transform: Callable[[Any], Any] | None, reason: str) -> None:
    assert compiled(transform) == reason


def test_what_cannot_be_called() -> None:
    with pytest.raises(ArgumentTypeError, match=r"transforms must be transforms or callables, got 5"):
        program_of([5])
    with pytest.raises(ArgumentTypeError, match=r"stands after .*which works on floats by then: put it before"):
        program_of([T.ToDtype(torch.float32), same, T.Resize(9)])


# ---- a user's class that hands the image on ----


class Preset:
    """As torchvision's reference scripts have them."""

    def __init__(self) -> None:
        self.transforms = v1.Compose([v1.CenterCrop(9), v1.PILToTensor()])

    def __call__(self, img: Any) -> Any:
        return self.transforms(img)


class Inverting(Preset):
    def __call__(self, img: Any) -> Any:
        return 255 - self.transforms(img)


class OfAnother(Preset):
    def __call__(self, img: Any) -> Any:
        return self.transforms.transforms[0](img)


class Twice(Preset):
    def __call__(self, img: Any) -> Any:
        return self.transforms(self.transforms)


class Computed(Preset):
    transforms = property(lambda self: v1.PILToTensor(), lambda self, one: vars(self).update(transforms=one))  # type: ignore[assignment]

    def __call__(self, img: Any) -> Any:
        return self.transforms(img)


class Found(Preset):
    def __call__(self, img: Any) -> Any:
        return self.made_up(img)

    def __getattr__(self, name: str) -> Any:
        return v1.PILToTensor()


class Wayward(Preset):
    def __getattribute__(self, name: str) -> Any:
        return v1.PILToTensor() if name == "transforms" else super().__getattribute__(name)


class Late(Preset):
    def __call__(self, img: Any, *more: Any) -> Any:
        return self.transforms(img)


class Keyword(Preset):
    def __call__(self, *, img: Any) -> Any:
        return self.transforms(img)


class Slotted:
    __slots__ = ("transforms",)

    def __init__(self) -> None:
        self.transforms = v1.PILToTensor()

    def __call__(self, img: Any) -> Any:
        return self.transforms(img)


def test_a_class_that_hands_the_image_on_is_what_it_hands_it_to() -> None:
    preset = Preset()
    assert list(flat(v1.Compose([preset, same]))) == [*preset.transforms.transforms, same]
    assert torch.equal(program_of(list(flat(preset)))(PHOTO, TorchDraws()), preset(PHOTO))
    preset.transforms = v1.Compose([v1.CenterCrop(5), v1.PILToTensor()])
    assert program_of(list(flat(preset)))(PHOTO, TorchDraws()).shape == (3, 5, 5)


@pytest.mark.parametrize("kind", [Inverting, OfAnother, Twice, Computed, Found, Wayward, Late, Keyword, Slotted])
def test_a_class_that_does_anything_else_is_ordinary_code(kind: Any) -> None:
    transform = kind()
    assert list(flat(transform)) == [transform]


def test_what_it_hands_the_image_to_must_be_callable() -> None:
    preset = Preset()
    preset.transforms = None  # type: ignore[assignment]
    assert list(flat(preset)) == [preset]
