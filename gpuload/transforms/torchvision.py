"""What torchvision's transforms, v1 and v2, are as gpuload's, for `lifted`: a maker for each.

Where one does something else than gpuload's operation would (to a tensor instead of a PIL image, with an
argument that gpuload has not), its maker gives None.
"""

import math
import sys
import warnings
from collections.abc import Sequence
from typing import Any

import torch
from PIL import Image

from gpuload.errors import ArgumentError
from gpuload.transforms.adjust import (
    ColorJitter,
    RandomAdjustSharpness,
    RandomAutocontrast,
    RandomEqualize,
    RandomInvert,
    RandomPosterize,
    RandomSolarize,
)
from gpuload.transforms.base import Transform, torch_filter_of
from gpuload.transforms.color import RGB, Grayscale, RandomGrayscale
from gpuload.transforms.geometry import (
    CenterCrop,
    Pad,
    RandomCrop,
    RandomHorizontalFlip,
    RandomResizedCrop,
    RandomVerticalFlip,
    Resize,
)
from gpuload.transforms.hand import Form, Hand, Maker, Native, qualified_name
from gpuload.transforms.scale import RandomShortestSize, ScaleJitter
from gpuload.transforms.values import DTYPES
from gpuload.transforms.warp import FirstRandomAffine, RandomAffine, RandomPerspective, RandomRotation

__all__ = ["AFTER", "MAKERS", "FromPil", "fill_of", "is_v1", "nothing", "to_tensor"]

V1, V2 = "torchvision.transforms.transforms.", "torchvision.transforms.v2."
ANTIALIASED = "Anti-alias option is always applied for PIL Image input. Argument antialias is ignored."  # torchvision's


def is_v1(transform: Any) -> bool:
    """Is it of torchvision's first version?"""
    return qualified_name(transform).startswith(V1)


# ---- pixels that move ----


def _resize(transform: Any, hand: Hand) -> Native | None:
    return _resampled(Resize(transform.size, transform.interpolation, transform.max_size), transform, hand)


def _random_resized_crop(transform: Any, hand: Hand) -> Native | None:
    if not is_v1(transform) and not torch.equal(transform._log_ratio, torch.log(torch.tensor(transform.ratio))):
        return None  # changed since: v2 goes on drawing from the ratio that it was made with
    height, width = transform.size  # what is not two numbers would be the smaller edge
    native = RandomResizedCrop((height, width), transform.scale, transform.ratio, transform.interpolation)
    return _resampled(native, transform, hand)


def _resampled(native: Any, transform: Any, hand: Hand) -> Native | None:
    """As Pillow does it; on bytes of tensors v2 resamples as torch does, where torch has bytes."""
    if is_v1(transform) and isinstance(transform.interpolation, str):
        return None  # v1 takes no strings
    if hand.form is Form.PIL:
        if transform.antialias is False:
            warnings.warn(ANTIALIASED, stacklevel=2)
        return [native]
    filter = torch_filter_of(transform.interpolation, transform.antialias)
    if hand.floats or filter is None or is_v1(transform):
        return None
    native._filter = filter
    return [native]


def _random_shortest_size(transform: Any, hand: Hand) -> Native | None:
    if not isinstance(transform.min_size, list | tuple):
        return None  # changed since: what is one number was made a list
    native = RandomShortestSize(transform.min_size, transform.max_size, transform.interpolation)
    return _resampled(native, transform, hand)


def _scale_jitter(transform: Any, hand: Hand) -> Native | None:
    return _resampled(
        ScaleJitter(transform.target_size, transform.scale_range, transform.interpolation), transform, hand
    )


def _center_crop(transform: Any, hand: Hand) -> Native | None:
    return None if hand.floats else [CenterCrop(transform.size)]


def _pads_alike(transform: Any, hand: Hand) -> bool:
    """May gpuload pad as it would? Tensors are mirrored only as far as they reach."""
    return hand.form is Form.PIL or transform.padding_mode in ("constant", "edge")


def fill_of(transform: Any, hand: Hand) -> Any:
    """The color that it pads with, and that of masks: v2 asks a dict that it made of ``fill`` once, by exact type.

    Raises:
        ArgumentError: torchvision refuses this one here.
    """
    if not qualified_name(transform).startswith(V2):
        return _checked_fill(transform.fill, hand, (1, hand.channels) if hand.form is Form.PIL else ())
    others = transform._fill.get("others")
    image = _checked_fill(transform._fill.get(hand.form.type, others), hand, (1, hand.channels))
    masks = [fill for kind, fill in transform._fill.items() if getattr(kind, "__name__", "") == "Mask"]
    return {"image": image, "mask": masks[0] if masks else others}


def _checked_fill(fill: Any, hand: Hand, lengths: tuple[int, ...]) -> Any:
    if isinstance(fill, Sequence) and len(fill) not in lengths:
        raise ArgumentError(f"torchvision takes no fill={fill!r} for {hand}")
    if not isinstance(fill, Sequence | int | float | None):
        raise ArgumentError(f"torchvision does something else with fill={fill!r}")
    return fill


def _pad(transform: Any, hand: Hand) -> Native | None:
    if hand.floats or not _pads_alike(transform, hand):
        return None
    return [Pad(transform.padding, fill_of(transform, hand), transform.padding_mode)]


def _random_crop(transform: Any, hand: Hand) -> Native | None:
    margins = transform.padding
    pads_twice = transform.pad_if_needed and transform.padding_mode in ("reflect", "symmetric")
    if hand.floats or not (_pads_alike(transform, hand) or not (margins or transform.pad_if_needed)):
        return None
    if is_v1(transform):
        if pads_twice:
            return None
    elif margins is not None:
        left, right, top, bottom = margins
        margins = (left, top, right, bottom)
    fill = fill_of(transform, hand)
    height, width = transform.size  # torchvision takes no other size here
    return [RandomCrop((height, width), margins, transform.pad_if_needed, fill, transform.padding_mode)]


def _horizontal_flip(transform: Any, hand: Hand) -> Native:
    return [RandomHorizontalFlip(transform.p)]


def _vertical_flip(transform: Any, hand: Hand) -> Native:
    return [RandomVerticalFlip(transform.p)]


# ---- colors: torchvision has another grayscale for tensors ----


def _grayscale(transform: Any, hand: Hand) -> Native | None:
    return [Grayscale(transform.num_output_channels)] if hand.form is Form.PIL else None


def _random_grayscale(transform: Any, hand: Hand) -> Native | None:
    return [RandomGrayscale(transform.p)] if hand.form is Form.PIL else None


def _rgb(transform: Any, hand: Hand) -> Native | None:
    return None if hand.floats else [RGB()]


def _color_jitter(transform: Any, hand: Hand) -> Native | None:
    spans = [getattr(transform, name) for name in ("brightness", "contrast", "saturation", "hue")]
    jitter = ColorJitter(*spans)
    draws_alike = jitter.ranges == [span and tuple(span) for span in spans]  # whatever was put there since
    return [jitter] if draws_alike and hand.form is Form.PIL else None


def _adjusting(kind: type[Transform], *names: str) -> Maker:
    """With these attributes, and ``p``."""

    def make(transform: Any, hand: Hand) -> Native | None:
        arguments = {name: getattr(transform, name) for name in names}
        # v1 compares doubles: with float32, which draws are whole 2**-24th of, that is the next one
        p = math.ceil(transform.p * 2**24) / 2**24 if is_v1(transform) else transform.p
        return [kind(**arguments, p=p)] if hand.form is Form.PIL else None

    return make


ADJUSTING = {
    "RandomAdjustSharpness": _adjusting(RandomAdjustSharpness, "sharpness_factor"),
    "RandomPosterize": _adjusting(RandomPosterize, "bits"),
    "RandomSolarize": _adjusting(RandomSolarize, "threshold"),
    "RandomInvert": _adjusting(RandomInvert),
    "RandomAutocontrast": _adjusting(RandomAutocontrast),
    "RandomEqualize": _adjusting(RandomEqualize),
    "ColorJitter": _color_jitter,
}


# ---- images that are turned, sheared, moved and tilted ----


def _warping(make: Maker) -> Maker:
    """torchvision does it to tensors in another way; v1 takes no strings."""

    def made(transform: Any, hand: Hand) -> Native | None:
        is_string = isinstance(transform.interpolation, str)
        return None if hand.form is not Form.PIL or (is_v1(transform) and is_string) else make(transform, hand)

    return made


def _rotation(transform: Any, hand: Hand) -> Native:
    low, high = transform.degrees  # what is one number was made two
    look = transform.interpolation, transform.expand, transform.center, fill_of(transform, hand)
    return [RandomRotation((low, high), *look)]


def _affine(transform: Any, hand: Hand) -> Native:
    (low, high), shear = transform.degrees, transform.shear
    moves = transform.translate, transform.scale, shear if shear is None else tuple(shear)
    look = transform.interpolation, fill_of(transform, hand), transform.center
    kind = FirstRandomAffine if is_v1(transform) else RandomAffine
    return [kind((low, high), *moves, *look)]


def _perspective(transform: Any, hand: Hand) -> Native:
    look = transform.interpolation, fill_of(transform, hand)
    return [RandomPerspective(transform.distortion_scale, transform.p, *look)]


WARPING = {
    "RandomRotation": _warping(_rotation),
    "RandomAffine": _warping(_affine),
    "RandomPerspective": _warping(_perspective),
}


# ---- values ----


class _Values:
    """A transform of torchvision's that maps each value by itself: its own code makes the table."""

    def __init__(self, transform: Any, form: Form) -> None:
        self._transform, self._form = transform, form

    def __repr__(self) -> str:
        return repr(self._transform)

    def values(self, image: torch.Tensor) -> torch.Tensor:
        made: torch.Tensor = self._transform(self._form.wrapped(image.clone()))
        return made.as_subclass(torch.Tensor)


class FromPil(_Values):
    """One that wants a PIL image, and makes a tensor of it."""

    def values(self, image: torch.Tensor) -> torch.Tensor:
        pixels = image.permute(1, 2, 0).numpy()
        made: torch.Tensor = self._transform(Image.fromarray(pixels if len(image) == 3 else pixels[:, :, 0]))
        return made


def to_tensor(transform: Any, hand: Hand) -> Native | None:
    """What makes a tensor of a PIL image, by a table of its values."""
    is_float = torch.get_default_dtype() in DTYPES
    return [FromPil(transform, hand.form)] if hand.form is Form.PIL and is_float else None


def _values(transform: Any, hand: Hand) -> Native | None:
    """ToDtype, ConvertImageDtype, Normalize: whatever they refuse, they shall refuse themselves."""
    if hand.form is Form.PIL:
        return None
    native = _Values(transform, hand.form)
    image = torch.zeros(hand.channels, 1, 1, dtype=torch.float32 if hand.floats else torch.uint8)
    try:
        made = native.values(image)
    except Exception:
        return None
    return [native] if made.dtype in DTYPES and made.shape == image.shape else None


def _to_dtype(transform: Any, hand: Hand) -> Native | None:
    return [] if hand.form is Form.PIL else _values(transform, hand)  # it lets PIL images pass


def nothing(transform: Any, hand: Hand) -> Native:
    """What leaves the pixels as they are."""
    return []


def _nothing_to_pil(transform: Any, hand: Hand) -> Native | None:
    return [] if hand.form is Form.PIL else None


# ---- a model's own: what `weights.transforms()` gives ----


def _image_classification(transform: Any, hand: Hand) -> Native | None:
    if hand.form is not Form.PIL:
        return None
    v1 = sys.modules["torchvision.transforms.transforms"]
    scaled = _values(v1.ConvertImageDtype(torch.float), Hand(Form.TENSOR, False, hand.channels))
    normalized = _values(v1.Normalize(transform.mean, transform.std), Hand(Form.TENSOR, True, hand.channels))
    if scaled is None or normalized is None:
        return None
    resize = Resize(transform.resize_size, transform.interpolation)
    return [resize, CenterCrop(transform.crop_size), *scaled, *normalized]


MAKERS: dict[str, Maker] = {
    **{f"{V1}{name}": maker for name, maker in ADJUSTING.items()},
    **{f"{V2}_color.{name}": maker for name, maker in ADJUSTING.items()},
    **{f"{V1}{name}": maker for name, maker in WARPING.items()},
    **{f"{V2}_geometry.{name}": maker for name, maker in WARPING.items()},
    f"{V1}Resize": _resize,
    f"{V1}RandomResizedCrop": _random_resized_crop,
    f"{V1}CenterCrop": _center_crop,
    f"{V1}Pad": _pad,
    f"{V1}RandomCrop": _random_crop,
    f"{V1}RandomHorizontalFlip": _horizontal_flip,
    f"{V1}RandomVerticalFlip": _vertical_flip,
    f"{V1}Grayscale": _grayscale,
    f"{V1}RandomGrayscale": _random_grayscale,
    f"{V1}ToTensor": to_tensor,
    f"{V1}PILToTensor": _nothing_to_pil,
    f"{V1}ConvertImageDtype": _values,
    f"{V1}Normalize": _values,
    f"{V2}_geometry.Resize": _resize,
    f"{V2}_geometry.RandomResizedCrop": _random_resized_crop,
    f"{V2}_geometry.RandomShortestSize": _random_shortest_size,
    f"{V2}_geometry.ScaleJitter": _scale_jitter,
    f"{V2}_geometry.CenterCrop": _center_crop,
    f"{V2}_geometry.Pad": _pad,
    f"{V2}_geometry.RandomCrop": _random_crop,
    f"{V2}_geometry.RandomHorizontalFlip": _horizontal_flip,
    f"{V2}_geometry.RandomVerticalFlip": _vertical_flip,
    f"{V2}_color.Grayscale": _grayscale,
    f"{V2}_color.RandomGrayscale": _random_grayscale,
    f"{V2}_color.RGB": _rgb,
    f"{V2}_deprecated.ToTensor": to_tensor,
    f"{V2}_type_conversion.PILToTensor": nothing,
    f"{V2}_type_conversion.ToImage": nothing,
    f"{V2}_type_conversion.ToPureTensor": nothing,
    f"{V2}_misc.ToDtype": _to_dtype,
    f"{V2}_misc.ConvertImageDtype": _values,
    f"{V2}_misc.Normalize": _values,
    f"{V2}_misc.Identity": nothing,
    "torchvision.transforms._presets.ImageClassification": _image_classification,
}
AFTER = {
    ("ToTensor", Form.PIL): Form.TENSOR,
    ("PILToTensor", Form.PIL): Form.TENSOR,
    ("ImageClassification", Form.PIL): Form.TENSOR,
    ("ToImage", Form.PIL): Form.IMAGE,
    ("ToImage", Form.TENSOR): Form.IMAGE,
    ("ToPureTensor", Form.IMAGE): Form.TENSOR,
}
