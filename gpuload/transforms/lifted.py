"""torchvision's transforms and timm's as gpuload's: by exact type, as their attributes are now.

What is not lifted is called, as ordinary code.
"""

from copy import copy
from typing import Any

from torch import nn
from torch.nn.modules.module import _has_any_global_hook as has_any_global_hook

from gpuload.shipped import replaced_in
from gpuload.transforms import timm, torchvision
from gpuload.transforms.auto import timm as auto_timm, torchvision as auto
from gpuload.transforms.base import Transform
from gpuload.transforms.hand import Form, Hand, Native, qualified_name
from gpuload.transforms.plan import Geometric, Part, Pointwise
from gpuload.transforms.torchvision.common import is_v1
from gpuload.transforms.torchvision.containers import CONTAINERS, parts_of
from gpuload.transforms.values import ToImage

__all__ = ["MAKERS", "is_plain", "lifted"]

MAKERS, AFTER = torchvision.MAKERS | auto.MAKERS | timm.MAKERS | auto_timm.MAKERS, torchvision.AFTER | timm.AFTER
HOOKS = "_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks"  # of an nn.Module


def lifted(transform: Any, hand: Hand) -> tuple[Native, Form] | None:
    """A transform as gpuload's, as it is now, and the form of what leaves it; None: gpuload has no operation for it.

    Args:
        transform: gpuload's own, torchvision's, or any callable.
        hand: what it would get.
    """
    if isinstance(transform, Transform) and type(transform).__call__ is not Transform.__call__:
        return None  # called in a way of its own
    if isinstance(transform, Part):
        makes_tensor = isinstance(transform, Pointwise | ToImage) and hand.form is Form.PIL
        frozen = transform.frozen() if isinstance(transform, Transform) else copy(transform)
        return [frozen], Form.TENSOR if makes_tensor else hand.form
    name = qualified_name(transform)
    if name in CONTAINERS:
        native = _contained(transform, hand) if is_plain(transform) else None
        return None if native is None else (native, hand.form)
    if name not in MAKERS or not is_plain(transform) or (is_v1(transform) and hand.form is Form.IMAGE):
        return None  # v1 knows no tv_tensors: whether it leaves one depends on what it does
    try:
        native = MAKERS[name](transform, hand)
        if native and not _takes(transform, hand):
            return None
    except Exception:  # arguments that gpuload refuses or that make no sense, or a torchvision that has other ones
        return None
    return None if native is None else (native, AFTER.get((type(transform).__name__, hand.form), hand.form))


def _contained(transform: Any, hand: Hand) -> Native | None:
    """A transform of transforms that all move pixels or change colors."""
    try:
        parts = [lifted(part, hand) for part in parts_of(transform)]
        natives = [part[0] for part in parts if part is not None and part[1] is hand.form]
        kept = None, hand.channels  # else it would depend on the sample how many there are
        same = [one for native in natives for one in native if isinstance(one, Geometric) and one.channels in kept]
        if len(natives) != len(parts) or len(same) != sum(map(len, natives)):
            return None
        return CONTAINERS[qualified_name(transform)](transform, natives)
    except Exception:  # as of what is not contained
        return None


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
