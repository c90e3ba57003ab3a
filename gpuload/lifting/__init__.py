"""What the loader sees of a dataset: gpuload's, torch's, torchvision's and timm's, and views of them, or why nothing.

Whatever samples a lifted dataset has by its own ``__getitem__``, the loader must give the same: in doubt it is not
lifted, and torch's own workers read it.
"""

from typing import Any

from torch.utils.data import TensorDataset as TorchTensorDataset

from gpuload.datasets.base import ImageDataset
from gpuload.lifting import timm, torchvision
from gpuload.lifting.picked import PickedImages
from gpuload.lifting.plain import Refusal, Unknown, check_methods, of_class
from gpuload.lifting.rows import Rows, TensorLeaf
from gpuload.lifting.views import Leaves, flattened

__all__ = ["Rows", "Unknown", "find"]

READ = "__getitem__", "__getitems__", "image", "read", "labels", "_label"  # the loader does as gpuload's own do
ASKED = "path", "target", "paths", "targets_of"  # a subclass has its own; put into an object, they may be passed over


def find(dataset: Any) -> ImageDataset | Rows | Unknown:
    """What a dataset is, and has, at this moment.

    Args:
        dataset: a user's, of any kind.

    Returns:
        Images; rows of tensors; or why it is neither of what the loader reads itself.
    """
    leaves = Leaves(_lifted)
    try:
        table = leaves.table(flattened(dataset, leaves))
        return _together(leaves.lifted, table)
    except Refusal as refusal:
        return Unknown(str(refusal))


def _lifted(dataset: Any) -> ImageDataset | TensorLeaf:
    if isinstance(dataset, ImageDataset):
        check_methods(dataset, _own(type(dataset)))
        reason = dataset.why_not_plain()
        if reason is not None:
            raise Refusal(reason)
        return dataset
    if isinstance(dataset, TorchTensorDataset):
        return TensorLeaf(dataset)
    return timm.lift(dataset) if timm.is_of_timm(dataset) else torchvision.lift(dataset)


def _own(cls: type[ImageDataset]) -> dict[str, Any]:
    """What a dataset of this class may have under each name: of `READ` what gpuload's classes do."""
    bases = [base for base in cls.__mro__ if base.__module__.startswith("gpuload.")]
    known = {name: next((vars(base)[name] for base in bases if name in vars(base)), None) for name in READ}
    return known | {name: of_class(cls, name) for name in ASKED}


def _together(leaves: list[Any], table: Any) -> ImageDataset | Rows:
    if all(isinstance(leaf, TensorLeaf) for leaf in leaves):
        return Rows.of(leaves, table)
    if any(isinstance(leaf, TensorLeaf) for leaf in leaves):
        raise Refusal("its ConcatDataset has images and tensors")
    return leaves[0] if table is None and len(leaves) == 1 else PickedImages(leaves, table)
