"""torchvision's RandomErasing."""

from typing import Any

import torch

from gpuload.transforms.erase import RandomErasing
from gpuload.transforms.hand import Form, Hand, Maker, Native
from gpuload.transforms.torchvision.common import V1, V2, is_v1

__all__ = ["MAKERS"]


def _erasing(transform: Any, hand: Hand) -> Native | None:
    value = transform.value
    if is_v1(transform):
        if hand.form is not Form.TENSOR:
            return None
    elif not torch.equal(transform._log_ratio, torch.log(torch.tensor(transform.ratio))):
        return None  # changed since: it goes on drawing from the ratio that it was made with
    elif value is None:
        value = "random"
    elif not isinstance(value, list | tuple):
        return None  # changed since: v2 makes a list of a number
    if torch.get_default_dtype() != torch.float32 or not isinstance(value, int | float | str | tuple | list):
        return None  # values would be rounded otherwise
    return [RandomErasing(transform.p, transform.scale, transform.ratio, value)]


MAKERS: dict[str, Maker] = {f"{V1}RandomErasing": _erasing, f"{V2}_augment.RandomErasing": _erasing}
