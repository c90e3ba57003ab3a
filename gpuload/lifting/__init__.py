"""What the loader sees of a dataset: gpuload's, torch's and torchvision's, and views of them, or why nothing.

Whatever samples a lifted dataset has by its own ``__getitem__``, the loader must give the same: in doubt it is not
lifted, and torch's own workers read it.
"""

from typing import Any

from torch.utils.data import TensorDataset as TorchTensorDataset

from gpuload.datasets.base import ImageDataset
from gpuload.datasets.folder import ImageFolder
from gpuload.lifting import torchvision
from gpuload.lifting.picked import PickedImages
from gpuload.lifting.plain import Refusal, Unknown, check_methods, of_class
from gpuload.lifting.rows import Rows, TensorLeaf
from gpuload.lifting.views import Leaves, flattened

__all__ = ["Rows", "Unknown", "find"]

OWN = {name: vars(ImageDataset)[name] for name in ("__getitem__", "image", "read", "labels", "_label")}
OWN_OF_FOLDERS = OWN | {"image": vars(ImageFolder)["image"]}
OF_CLASS = (
    "path",
    "target",
    "paths",
    "targets_of",
)  # a subclass has its own; put into an object, they may be passed over


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
        return _rendered(_together(leaves.lifted, table))
    except Refusal as refusal:
        return Unknown(str(refusal))


def _rendered(found: ImageDataset | Rows) -> ImageDataset | Rows:
    """The same, if a transform of images is one that gpuload knows a part of."""
    if isinstance(found, ImageDataset) and isinstance(found.program, str):
        raise Refusal(found.program)
    return found


def _lifted(dataset: Any) -> ImageDataset | TensorLeaf:
    if isinstance(dataset, ImageDataset):
        given = {name: of_class(type(dataset), name) for name in OF_CLASS}
        own = OWN_OF_FOLDERS if isinstance(dataset, ImageFolder) else OWN
        check_methods(dataset, own | given | {"__getitems__": None})
        reason = dataset.why_not_plain()
        if reason is not None:
            raise Refusal(reason)
        return dataset
    return TensorLeaf(dataset) if isinstance(dataset, TorchTensorDataset) else torchvision.lift(dataset)


def _together(leaves: list[Any], table: Any) -> ImageDataset | Rows:
    if all(isinstance(leaf, TensorLeaf) for leaf in leaves):
        return Rows.of(leaves, table)
    if any(isinstance(leaf, TensorLeaf) for leaf in leaves):
        raise Refusal("its ConcatDataset has images and tensors")
    return leaves[0] if table is None and len(leaves) == 1 else PickedImages(leaves, table)
