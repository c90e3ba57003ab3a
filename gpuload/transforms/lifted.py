"""torchvision's transforms (v1 and v2) and timm's as gpuload's: by exact type, as their attributes are now.

Where one does something else than gpuload's operation would (to a tensor instead of a PIL image, with an
argument that gpuload has not), it is not lifted: then it is called, as ordinary code.
"""

import sys
import warnings
from collections.abc import Callable, Sequence
from copy import copy
from enum import Enum
from typing import Any, NamedTuple

import torch
from PIL import Image
from torch import nn
from torch.nn.modules.module import _has_any_global_hook as has_any_global_hook

from gpuload.arguments import color
from gpuload.errors import ArgumentError
from gpuload.shipped import replaced_in
from gpuload.transforms import timm
from gpuload.transforms.base import Transform, pad_mode_of, torch_filter_of
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
from gpuload.transforms.plan import Geometric, Pointwise
from gpuload.transforms.values import DTYPES, ToImage

__all__ = ["Form", "Hand", "is_plain", "lifted", "qualified_name"]


class Form(Enum):
    """What torchvision's transforms would have in hand at a place: it decides what they do."""

    PIL = "a PIL image"
    IMAGE = "a tv_tensors.Image"
    TENSOR = "a tensor"

    @property
    def type(self) -> Any:
        """The class of it."""
        match self:
            case Form.PIL:
                return Image.Image
            case Form.IMAGE:
                return sys.modules["torchvision.tv_tensors"].Image
            case Form.TENSOR:
                return torch.Tensor

    def wrapped(self, image: torch.Tensor) -> Any:
        """A (C, H, W) tensor as a transform would have it."""
        return self.type(image) if self is Form.IMAGE else image


class Hand(NamedTuple):
    """What is in hand at a place of a transform.

    Attributes:
        form: of the image.
        floats: its values are floats by then.
        channels: 1 or 3.
    """

    form: Form
    floats: bool
    channels: int

    def example(self) -> Any:
        """The smallest image of this kind."""
        if self.form is Form.PIL:
            return Image.new("L" if self.channels == 1 else "RGB", (1, 1))
        return self.form.wrapped(torch.zeros(self.channels, 1, 1, dtype=torch.float32 if self.floats else torch.uint8))


ANTIALIASED = "Anti-alias option is always applied for PIL Image input. Argument antialias is ignored."  # torchvision's
HOOKS = "_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks"  # of an nn.Module
Native = list[Any]  # gpuload's transforms, whose effect is the same
Maker = Callable[[Any, Hand], Native | None]


def qualified_name(thing: Any) -> str:
    """The full name of a thing's type."""
    return f"{type(thing).__module__}.{type(thing).__qualname__}"


def lifted(transform: Any, hand: Hand) -> tuple[Native, Form] | None:
    """A transform as gpuload's, as it is now, and the form of what leaves it; None: gpuload has no operation for it.

    Args:
        transform: gpuload's own, torchvision's, or any callable.
        hand: what it would get.
    """
    if isinstance(transform, Transform) and type(transform).__call__ is not Transform.__call__:
        return None  # called in a way of its own
    if isinstance(transform, Geometric | Pointwise):
        makes_tensor = isinstance(transform, Pointwise | ToImage) and hand.form is Form.PIL
        frozen = transform.frozen() if isinstance(transform, Transform) else copy(transform)
        return [frozen], Form.TENSOR if makes_tensor else hand.form
    name = qualified_name(transform)
    if name not in MAKERS or not is_plain(transform) or (_is_v1(transform) and hand.form is Form.IMAGE):
        return None  # v1 knows no tv_tensors: whether it leaves one depends on what it does
    try:
        native = MAKERS[name](transform, hand)
        if native and not _takes(transform, hand):
            return None
    except Exception:  # arguments that gpuload refuses or that make no sense, or a torchvision that has other ones
        return None
    return None if native is None else (native, AFTER.get((type(transform).__name__, hand.form), hand.form))


def is_plain(transform: Any, cls: type | None = None) -> bool:
    """Does it do what a class does, as that was shipped? Nothing is put in a place of it, nothing is hooked in.

    Args:
        transform: an object.
        cls: the class; None: its own.
    """
    own = vars(transform)
    if any(hasattr(type(transform), name) for name in own) or any(own.get(hooks) for hooks in HOOKS):
        return False
    hooked = isinstance(transform, nn.Module) and has_any_global_hook()
    return not hooked and replaced_in(cls or type(transform)) is None


def _takes(transform: Any, hand: Hand) -> bool:
    """Does it take what is in hand? v2 asks the transform's ``_transformed_types``, and lets others pass."""
    needs = getattr(transform, "_needs_transform_list", None)
    return needs is None or needs([hand.example()]) == [True]


def _is_v1(transform: Any) -> bool:
    return qualified_name(transform).startswith(V1)


# ---- pixels that move ----


def _resize(transform: Any, hand: Hand) -> Native | None:
    return _resampled(Resize(transform.size, transform.interpolation, transform.max_size), transform, hand)


def _random_resized_crop(transform: Any, hand: Hand) -> Native | None:
    if not _is_v1(transform) and not torch.equal(transform._log_ratio, torch.log(torch.tensor(transform.ratio))):
        return None  # changed since: v2 goes on drawing from the ratio that it was made with
    height, width = transform.size  # what is not two numbers would be the smaller edge
    native = RandomResizedCrop((height, width), transform.scale, transform.ratio, transform.interpolation)
    return _resampled(native, transform, hand)


def _resampled(native: Resize | RandomResizedCrop, transform: Any, hand: Hand) -> Native | None:
    """As Pillow does it; on bytes of tensors v2 resamples as torch does, where torch has bytes."""
    if _is_v1(transform) and isinstance(transform.interpolation, str):
        return None  # v1 takes no strings
    if hand.form is Form.PIL:
        if transform.antialias is False:
            warnings.warn(ANTIALIASED, stacklevel=2)
        return [native]
    filter = torch_filter_of(transform.interpolation, transform.antialias)
    if hand.floats or filter is None or _is_v1(transform):
        return None
    native._filter = filter
    return [native]


def _center_crop(transform: Any, hand: Hand) -> Native | None:
    return None if hand.floats else [CenterCrop(transform.size)]


def _pads_alike(transform: Any, hand: Hand) -> bool:
    """May gpuload pad as it would? Tensors are mirrored only as far as they reach."""
    return hand.form is Form.PIL or transform.padding_mode in ("constant", "edge")


def _fill_of(transform: Any, hand: Hand) -> Any:
    """The color that it pads with: v2 asks a dict that it made of ``fill`` once.

    Raises:
        ArgumentError: torchvision has other colors for other types, or refuses this one here.
    """
    if not qualified_name(transform).startswith(V2):
        fill, lengths = transform.fill, (1, hand.channels) if hand.form is Form.PIL else ()
    else:
        if transform._fill.keys() != {"others"}:
            raise ArgumentError(f"fill={transform.fill!r} is of several types")
        fill, lengths = transform._fill["others"], (1, hand.channels)
    if isinstance(fill, Sequence) and len(fill) not in lengths:
        raise ArgumentError(f"torchvision takes no fill={fill!r} for {hand}")
    if not isinstance(fill, Sequence | int | float | None):
        raise ArgumentError(f"torchvision does something else with fill={fill!r}")
    return fill


def _pad(transform: Any, hand: Hand) -> Native | None:
    if hand.floats or not _pads_alike(transform, hand):
        return None
    return [Pad(transform.padding, _fill_of(transform, hand), transform.padding_mode)]


def _random_crop(transform: Any, hand: Hand) -> Native | None:
    margins = transform.padding
    pads_twice = transform.pad_if_needed and transform.padding_mode in ("reflect", "symmetric")
    if hand.floats or not (_pads_alike(transform, hand) or not (margins or transform.pad_if_needed)):
        return None
    if _is_v1(transform):
        if pads_twice:
            return None
    elif margins is not None:
        left, right, top, bottom = margins
        margins = (left, top, right, bottom)
    fill = _fill_of(transform, hand)
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


class _FromPil(_Values):
    """One that wants a PIL image, and makes a tensor of it."""

    def values(self, image: torch.Tensor) -> torch.Tensor:
        pixels = image.permute(1, 2, 0).numpy()
        made: torch.Tensor = self._transform(Image.fromarray(pixels if len(image) == 3 else pixels[:, :, 0]))
        return made


def _to_tensor(transform: Any, hand: Hand) -> Native | None:
    is_float = torch.get_default_dtype() in DTYPES
    return [_FromPil(transform, hand.form)] if hand.form is Form.PIL and is_float else None


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


def _nothing(transform: Any, hand: Hand) -> Native:
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


# ---- timm's ----


def _timm_crop(transform: Any, hand: Hand) -> Native | None:
    if hand.form is not Form.PIL or len(transform.size) != 2:
        return None
    filters = _choice(transform.interpolation)
    return [timm.RandomResizedCropAndInterpolation(transform.size, transform.scale, transform.ratio, filters)]


def _timm_resize(transform: Any, hand: Hand) -> Native | None:
    if hand.form is not Form.PIL or len(transform.size) != 2:
        return None
    scale = transform.random_scale_prob, tuple(transform.random_scale_range)
    aspect = transform.random_aspect_prob, tuple(transform.random_aspect_range)
    filters = _choice(transform.interpolation)
    return [
        timm.ResizeKeepRatio(transform.size, transform.longest, filters, scale, transform.random_scale_area, aspect)
    ]


def _choice(interpolation: Any) -> tuple[Any, ...]:
    return tuple(interpolation) if isinstance(interpolation, list | tuple) else (interpolation,)


def _timm_center(transform: Any, hand: Hand) -> Native | None:
    if hand.form is not Form.PIL:
        return None
    native = CenterCrop(transform.size)
    native._fill, native._mode = color(_fill_of(transform, hand)), pad_mode_of(transform.padding_mode)
    return [native]


def _timm_trim(transform: Any, hand: Hand) -> Native | None:
    border = transform.border_size
    return [timm.TrimBorder(border)] if hand.form is Form.PIL and type(border) is int and border >= 0 else None


def _timm_to_tensor(transform: Any, hand: Hand) -> Native | None:
    return [_FromPil(transform, hand.form)] if hand.form is Form.PIL and transform.dtype in DTYPES else None


def _maybe_to_tensor(transform: Any, hand: Hand) -> Native | None:
    return _to_tensor(transform, hand) if hand.form is Form.PIL else []


V1, V2, TIMM = "torchvision.transforms.transforms.", "torchvision.transforms.v2.", "timm.data.transforms."
MAKERS: dict[str, Maker] = {
    f"{V1}Resize": _resize,
    f"{V1}RandomResizedCrop": _random_resized_crop,
    f"{V1}CenterCrop": _center_crop,
    f"{V1}Pad": _pad,
    f"{V1}RandomCrop": _random_crop,
    f"{V1}RandomHorizontalFlip": _horizontal_flip,
    f"{V1}RandomVerticalFlip": _vertical_flip,
    f"{V1}Grayscale": _grayscale,
    f"{V1}RandomGrayscale": _random_grayscale,
    f"{V1}ToTensor": _to_tensor,
    f"{V1}PILToTensor": _nothing_to_pil,
    f"{V1}ConvertImageDtype": _values,
    f"{V1}Normalize": _values,
    f"{V2}_geometry.Resize": _resize,
    f"{V2}_geometry.RandomResizedCrop": _random_resized_crop,
    f"{V2}_geometry.CenterCrop": _center_crop,
    f"{V2}_geometry.Pad": _pad,
    f"{V2}_geometry.RandomCrop": _random_crop,
    f"{V2}_geometry.RandomHorizontalFlip": _horizontal_flip,
    f"{V2}_geometry.RandomVerticalFlip": _vertical_flip,
    f"{V2}_color.Grayscale": _grayscale,
    f"{V2}_color.RandomGrayscale": _random_grayscale,
    f"{V2}_color.RGB": _rgb,
    f"{V2}_deprecated.ToTensor": _to_tensor,
    f"{V2}_type_conversion.PILToTensor": _nothing,
    f"{V2}_type_conversion.ToImage": _nothing,
    f"{V2}_type_conversion.ToPureTensor": _nothing,
    f"{V2}_misc.ToDtype": _to_dtype,
    f"{V2}_misc.ConvertImageDtype": _values,
    f"{V2}_misc.Normalize": _values,
    f"{V2}_misc.Identity": _nothing,
    "torchvision.transforms._presets.ImageClassification": _image_classification,
    f"{TIMM}RandomResizedCropAndInterpolation": _timm_crop,
    f"{TIMM}ResizeKeepRatio": _timm_resize,
    f"{TIMM}CenterCropOrPad": _timm_center,
    f"{TIMM}TrimBorder": _timm_trim,
    f"{TIMM}ToTensor": _timm_to_tensor,
    f"{TIMM}MaybeToTensor": _maybe_to_tensor,
    f"{TIMM}MaybePILToTensor": _nothing,
}
AFTER = {
    ("ToTensor", Form.PIL): Form.TENSOR,
    ("PILToTensor", Form.PIL): Form.TENSOR,
    ("MaybeToTensor", Form.PIL): Form.TENSOR,
    ("MaybePILToTensor", Form.PIL): Form.TENSOR,
    ("ImageClassification", Form.PIL): Form.TENSOR,
    ("ToImage", Form.PIL): Form.IMAGE,
    ("ToImage", Form.TENSOR): Form.IMAGE,
    ("ToPureTensor", Form.IMAGE): Form.TENSOR,
}
