"""torchvision's transforms that crop, resize, flip and pad."""

import warnings
from typing import Any

import torch

from gpuload.transforms.base import torch_filter_of
from gpuload.transforms.geometry import (
    CenterCrop,
    Pad,
    RandomCrop,
    RandomHorizontalFlip,
    RandomResizedCrop,
    RandomVerticalFlip,
    Resize,
)
from gpuload.transforms.hand import Form, Hand, Maker, Native
from gpuload.transforms.scale import RandomResize, RandomShortestSize, ScaleJitter
from gpuload.transforms.torchvision.common import V1, V2, fills_of, is_v1

__all__ = ["MAKERS"]

ANTIALIASED = "Anti-alias option is always applied for PIL Image input. Argument antialias is ignored."  # torchvision's


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


def _random_resize(transform: Any, hand: Hand) -> Native | None:
    return _resampled(RandomResize(transform.min_size, transform.max_size, transform.interpolation), transform, hand)


def _scale_jitter(transform: Any, hand: Hand) -> Native | None:
    native = ScaleJitter(transform.target_size, transform.scale_range, transform.interpolation)
    return _resampled(native, transform, hand)


def _center_crop(transform: Any, hand: Hand) -> Native | None:
    return None if hand.floats else [CenterCrop(transform.size)]


def _pads_alike(transform: Any, hand: Hand) -> bool:
    """May gpuload pad as it would? Tensors are mirrored only as far as they reach."""
    return hand.form is Form.PIL or transform.padding_mode in ("constant", "edge")


def _pad(transform: Any, hand: Hand) -> Native | None:
    if hand.floats or not _pads_alike(transform, hand):
        return None
    return [Pad(transform.padding, fills_of(transform, hand), transform.padding_mode)]


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
    fill = fills_of(transform, hand)
    height, width = transform.size  # torchvision takes no other size here
    return [RandomCrop((height, width), margins, transform.pad_if_needed, fill, transform.padding_mode)]


def _horizontal_flip(transform: Any, hand: Hand) -> Native:
    return [RandomHorizontalFlip(transform.p)]


def _vertical_flip(transform: Any, hand: Hand) -> Native:
    return [RandomVerticalFlip(transform.p)]


BY_NAME: dict[str, Maker] = {
    "Resize": _resize,
    "RandomResizedCrop": _random_resized_crop,
    "CenterCrop": _center_crop,
    "Pad": _pad,
    "RandomCrop": _random_crop,
    "RandomHorizontalFlip": _horizontal_flip,
    "RandomVerticalFlip": _vertical_flip,
}
OF_V2: dict[str, Maker] = {
    "RandomResize": _random_resize,
    "RandomShortestSize": _random_shortest_size,
    "ScaleJitter": _scale_jitter,
}
MAKERS = {f"{V1}{name}": maker for name, maker in BY_NAME.items()}
MAKERS |= {f"{V2}_geometry.{name}": maker for name, maker in (BY_NAME | OF_V2).items()}
