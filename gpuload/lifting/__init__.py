"""What the loader sees of a dataset: gpuload's, torch's, torchvision's and timm's, and views of them, or why nothing.

Whatever samples a lifted dataset has by its own ``__getitem__``, the loader must give the same: in doubt it is not
lifted, and torch's own workers read it.
"""

from typing import Any

from torch.utils.data import TensorDataset as TorchTensorDataset

from gpuload.datasets.base import ImageDataset
from gpuload.datasets.joint import JointDataset
from gpuload.decoders import pillow
from gpuload.lifting import timm, torchvision
from gpuload.lifting.picked import PickedImages
from gpuload.lifting.picked_targets import PickedTargets
from gpuload.lifting.plain import Refusal, Unknown, check_methods
from gpuload.lifting.rows import Rows, TensorLeaf
from gpuload.lifting.views import Leaves, flattened

__all__ = ["Rows", "Unknown", "find"]

OURS = "__getitem__", "__getitems__", "image", "read", "position", "labels", "_label"  # the loader does as these do
ASKED = "__len__", "path", "target", "paths", "targets_of"  # it asks a subclass's own


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
    except Exception as error:  # of attributes that make no sense: torch has its own error when it comes to them
        return Unknown(f"gpuload cannot look at its attributes: {type(error).__name__}: {error}")


def _lifted(dataset: Any) -> ImageDataset | TensorLeaf:
    if isinstance(dataset, ImageDataset):
        check_methods(dataset, "gpuload", [*OURS, *(name for name in ASKED if not _is_users(type(dataset), name))])
        reason = dataset.why_not_plain()
        if reason is not None:
            raise Refusal(reason)
        return dataset
    if isinstance(dataset, TorchTensorDataset):
        return TensorLeaf(dataset)
    return timm.lift(dataset) if timm.is_of_timm(dataset) else torchvision.lift(dataset)


def _is_users(cls: type[ImageDataset], name: str) -> bool:
    """Is the method a subclass's own, which is not gpuload's?"""
    owner = next(base for base in cls.__mro__ if name in vars(base))
    return not owner.__module__.startswith("gpuload.")


def _together(leaves: list[Any], table: Any) -> ImageDataset | Rows:
    if all(isinstance(leaf, TensorLeaf) for leaf in leaves):
        return Rows.of(leaves, table)
    if any(isinstance(leaf, TensorLeaf) for leaf in leaves):
        raise Refusal("its ConcatDataset has images and tensors")
    replaced = pillow.replaced()
    if replaced is not None:
        raise Refusal(f"{replaced} is not Pillow's own")
    first: ImageDataset = leaves[0]
    if table is None and len(leaves) == 1:
        return first
    joint = [isinstance(leaf, JointDataset) for leaf in leaves]
    if any(joint) and not all(joint):
        raise Refusal("its ConcatDataset has images with and without masks or boxes")
    return PickedTargets(leaves, table) if all(joint) else PickedImages(leaves, table)
