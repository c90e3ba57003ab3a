"""What a loader is given as its batch transform, as one of gpuload's: by exact type, as its attributes are now.

Any other function of a batch is called, as ordinary code.
"""

from collections.abc import Callable
from copy import copy
from typing import Any

import torch

from gpuload.batch_transforms.base import BatchTransform, Ordinary
from gpuload.batch_transforms.choice import Compose, RandomChoice
from gpuload.batch_transforms.mixing import CutMix, MixUp
from gpuload.errors import GpuloadError
from gpuload.transforms.hand import qualified_name
from gpuload.transforms.lifted import is_plain

__all__ = ["lifted"]

TORCHVISION, TIMM = "torchvision.transforms.v2", "timm.data.mixup.Mixup"


def lifted(transform: Callable[..., Any]) -> BatchTransform:
    """A batch transform as it is now, whatever becomes of its attributes."""
    if type(transform) is RandomChoice or type(transform) is Compose:
        same = copy(transform)
        same.transforms = [lifted(member) for member in transform.transforms]
        return same
    if isinstance(transform, BatchTransform):
        return copy(transform)
    name = qualified_name(transform)
    if name == TIMM:
        return Ordinary(transform, unpacks=True)
    if name in MAKERS and is_plain(transform):
        try:
            made = MAKERS[name](transform)
        except (GpuloadError, AttributeError):  # arguments that gpuload refuses, or a torchvision that has other ones
            made = None
        if made is not None:
            return made
    return Ordinary(transform)


def _mixing(kind: type[MixUp] | type[CutMix]) -> Callable[[Any], BatchTransform | None]:
    def make(transform: Any) -> BatchTransform | None:
        drawn = transform._dist  # which stays as it was made, whatever alpha is now
        alpha = torch.tensor([transform.alpha])
        if not (torch.equal(drawn.concentration0, alpha) and torch.equal(drawn.concentration1, alpha)):
            return None
        return kind(alpha=transform.alpha, num_classes=transform.num_classes, labels_getter=transform._labels_getter)

    return make


def _choice(transform: Any) -> BatchTransform:
    return RandomChoice([lifted(member) for member in transform.transforms], transform.p)


def _compose(transform: Any) -> BatchTransform:
    return Compose([lifted(member) for member in transform.transforms])


MAKERS: dict[str, Callable[[Any], BatchTransform | None]] = {
    f"{TORCHVISION}._augment.MixUp": _mixing(MixUp),
    f"{TORCHVISION}._augment.CutMix": _mixing(CutMix),
    f"{TORCHVISION}._container.RandomChoice": _choice,
    f"{TORCHVISION}._container.Compose": _compose,
}
