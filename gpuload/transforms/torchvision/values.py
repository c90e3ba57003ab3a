"""torchvision's transforms that make a tensor of an image, or map each value by itself."""

import sys
from typing import Any

import torch
from PIL import Image

from gpuload.transforms.geometry import CenterCrop, Resize
from gpuload.transforms.hand import Form, Hand, Maker, Native
from gpuload.transforms.torchvision.common import V1, V2, nothing
from gpuload.transforms.values import DTYPES

__all__ = ["AFTER", "MAKERS", "FromPil", "to_tensor"]


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
    f"{V1}ToTensor": to_tensor,
    f"{V1}PILToTensor": _nothing_to_pil,
    f"{V1}ConvertImageDtype": _values,
    f"{V1}Normalize": _values,
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
