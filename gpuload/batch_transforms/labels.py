"""Labels of a batch: where they are, and as probabilities."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch.nn.functional import one_hot
from torch.utils._pytree import tree_map

from gpuload.arguments import at_least, is_number
from gpuload.batch_transforms.base import BatchTransform, Part
from gpuload.batch_transforms.draws import Draws
from gpuload.errors import ArgumentError, ArgumentTypeError

__all__ = ["Getter", "LabelSmoothing", "OneHot", "check_getter", "found_by", "probabilities"]

Getter = str | Callable[[Any], Any]


def check_getter(getter: Any) -> Getter:
    """A function of a batch that gives its labels, or "default".

    Raises:
        ArgumentTypeError: it is neither.
    """
    if getter == "default" or callable(getter):
        return getter  # type: ignore[no-any-return]
    raise ArgumentTypeError(f"labels_getter must be 'default' or a function of the batch, got {getter!r}")


def found_by(getter: Getter, batch: Any) -> torch.Tensor:
    """The labels of a batch: indices of classes (B,), or probabilities (B, C).

    Args:
        getter: a function of the batch; "default": its second member, or what a mapping, itself or that member, has
            under the first key that is "labels", or contains "label", in any case. As torchvision's.
        batch: where they are.

    Raises:
        ArgumentError, ArgumentTypeError: there are none, or none of this kind.
    """
    labels = getter(batch) if callable(getter) else _default(batch)
    if not isinstance(labels, torch.Tensor):
        raise ArgumentTypeError(f"labels must be a tensor, got {type(labels).__name__}: pass labels_getter")
    if labels.ndim not in (1, 2):
        raise ArgumentError(
            f"labels must be indices of classes (B,) or probabilities (B, classes), got the shape {tuple(labels.shape)}"
        )
    if labels.ndim == 1 and labels.dtype != torch.int64:
        raise ArgumentTypeError(f"labels of shape (B,) must be int64, indices of classes, got {labels.dtype}")
    return labels


def _default(batch: Any) -> Any:
    found = batch
    if isinstance(batch, tuple | list):
        if len(batch) < 2:
            raise ArgumentError(f"the batch has {len(batch)} members, and labels are the second: pass labels_getter")
        found = batch[1]
    if not isinstance(found, Mapping):
        return found
    keys = [key for key in found if isinstance(key, str) and "label" in key.lower()]
    if not keys:
        raise ArgumentError(f"the batch has no labels under the keys {', '.join(map(repr, found))}: pass labels_getter")
    return found[next((key for key in keys if key.lower() == "labels"), keys[0])]


def probabilities(labels: torch.Tensor, num_classes: int | None) -> torch.Tensor:
    """Labels as probabilities: (B, C), float32 where they were integers, as torchvision makes them.

    Raises:
        ArgumentError: their number of classes is another, or not known.
    """
    if labels.ndim == 2 and num_classes not in (None, labels.shape[1]):
        raise ArgumentError(f"num_classes={num_classes}, but labels are probabilities of {labels.shape[1]} classes")
    if labels.ndim == 1 and num_classes is None:
        raise ArgumentError("num_classes must be given where labels are indices of classes, got None")
    made = one_hot(labels, num_classes) if labels.ndim == 1 else labels  # type: ignore[arg-type]
    return made if made.is_floating_point() else made.float()


class OneHot(BatchTransform):
    """Labels as probabilities: 1 for the class, 0 for others; what `MixUp` leaves, without mixing.

    Args:
        num_classes: how many classes there are. None: labels are probabilities already.
        labels_getter: gives the labels of a batch; "default": as of `MixUp`.
    """

    def __init__(self, num_classes: int | None = None, labels_getter: Getter = "default") -> None:
        self.num_classes = None if num_classes is None else at_least("num_classes", num_classes, 1)
        self.labels_getter = check_getter(labels_getter)

    def of(self, part: Part, draws: Draws) -> Part:
        return Part(self._changed(part.batch), None if part.before is None else self._changed(part.before))

    def _changed(self, batch: Any) -> Any:
        labels = found_by(self.labels_getter, batch)
        changed = self._of_labels(probabilities(labels, self.num_classes))
        return tree_map(lambda leaf: changed if leaf is labels else leaf, batch)

    def _of_labels(self, labels: torch.Tensor) -> torch.Tensor:
        return labels


class LabelSmoothing(OneHot):
    """Labels as probabilities, of which a part is all classes': ``labels * (1 - smoothing) + smoothing / classes``.

    As ``torch.nn.CrossEntropyLoss(label_smoothing=smoothing)`` does it within the loss (Szegedy et al., "Rethinking
    the Inception Architecture for Computer Vision", CVPR 2016).

    Args:
        num_classes: how many classes there are. None: labels are probabilities already.
        smoothing: the part, from 0 to 1.
        labels_getter: gives the labels of a batch; "default": as of `MixUp`.
    """

    def __init__(
        self, num_classes: int | None = None, smoothing: float = 0.1, labels_getter: Getter = "default"
    ) -> None:
        super().__init__(num_classes, labels_getter)
        if not is_number(smoothing) or not 0 <= smoothing <= 1:
            raise ArgumentError(f"smoothing must be a number from 0 to 1, got {smoothing!r}")
        self.smoothing = float(smoothing)

    def _of_labels(self, labels: torch.Tensor) -> torch.Tensor:
        return labels * (1 - self.smoothing) + self.smoothing / labels.shape[1]
