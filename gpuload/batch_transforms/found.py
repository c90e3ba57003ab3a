"""A batch as torchvision's batch transforms see it: which of its leaves are images, and which one holds the labels."""

import sys
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch.utils._pytree import TreeSpec, tree_flatten, tree_unflatten

from gpuload.batch_transforms.labels import Getter, found_by, probabilities
from gpuload.errors import ArgumentError, ArgumentTypeError

__all__ = ["Found"]

BATCHED = {"Tensor": (4, "(B, C, H, W)"), "Image": (4, "(B, C, H, W)"), "Video": (5, "(B, T, C, H, W)")}


class Found(NamedTuple):
    """Images and labels of a batch.

    Attributes:
        leaves: all that is in it.
        spec: how they are put together.
        places: where its images are among them, and, last, its labels. Images are the `tv_tensors`; where there are
            none, the first tensor.
        tensors: images, and labels as probabilities.
    """

    leaves: list[Any]
    spec: TreeSpec
    places: list[int]
    tensors: list[torch.Tensor]

    @classmethod
    def of(cls, batch: Any, getter: Getter, num_classes: int | None, name: str) -> "Found":
        """In a batch.

        Args:
            batch: any structure.
            getter: finds its labels.
            num_classes: how many classes there are.
            name: whose the errors are.

        Raises:
            ArgumentError, ArgumentTypeError: it is no batch of images and labels.
        """
        labels = found_by(getter, batch)
        leaves, spec = tree_flatten(batch)
        at = next((place for place, leaf in enumerate(leaves) if leaf is labels), None)
        if at is None:
            raise ArgumentError(f"labels_getter must give {name} a tensor that is in the batch, got another one")
        images = _images(leaves, name)
        if at in images:
            raise ArgumentError(
                f"{name} takes the first tensor of a batch for its images, and its labels are there: put them behind"
            )
        for place in images:
            _check(leaves[place], len(labels), name)
        tensors = [*(leaves[place] for place in images), probabilities(labels, num_classes)]
        return cls(leaves, spec, [*images, at], tensors)

    @property
    def images(self) -> list[torch.Tensor]:
        """All of them."""
        return self.tensors[:-1]

    def changed(self, tensors: Sequence[torch.Tensor]) -> Any:
        """The batch with other images and labels."""
        leaves = list(self.leaves)
        for place, tensor in zip(self.places, tensors, strict=True):
            leaves[place] = _wrapped(tensor, self.leaves[place])
        return tree_unflatten(leaves, self.spec)


def _images(leaves: list[Any], name: str) -> list[int]:
    kinds = [_kind(leaf) for leaf in leaves]
    if refused := {kind for kind in kinds if kind not in BATCHED} - {""}:
        raise ArgumentTypeError(f"{name} takes batches of images and labels, got {', '.join(sorted(refused))} in one")
    known = [place for place, kind in enumerate(kinds) if kind in ("Image", "Video")]
    return known or [kinds.index("Tensor")]  # the labels are one at least


def _kind(leaf: Any) -> str:
    """The class of a tensor, of torchvision's, too, or of an image of Pillow's; of what else is in a batch, none."""
    if isinstance(leaf, torch.Tensor):
        known = _tv_tensors()
        return type(leaf).__name__ if known is not None and isinstance(leaf, known.TVTensor) else "Tensor"
    pillow = sys.modules.get("PIL.Image")
    return "PIL images" if pillow is not None and isinstance(leaf, pillow.Image) else ""


def _check(images: torch.Tensor, count: int, name: str) -> None:
    dims, shape = BATCHED[_kind(images)]
    if images.ndim != dims:
        raise ArgumentError(
            f"{name} takes images in one tensor {shape}, got a tensor of shape {tuple(images.shape)}: let the "
            "dataset's transform end with one size for all images, and a collate_fn stack them"
        )
    if len(images) != count:
        raise ArgumentError(f"{name} takes a label for each image, got {len(images)} images and {count} labels")


def _wrapped(tensor: torch.Tensor, like: Any) -> Any:
    """As one of torchvision's, where the other one is."""
    known = _tv_tensors()
    is_known = known is not None and isinstance(like, known.TVTensor)
    return known.wrap(tensor, like=like) if is_known else tensor


def _tv_tensors() -> Any:
    """torchvision's module; None: nobody has imported it, so nobody has made any of them."""
    return sys.modules.get("torchvision.tv_tensors")
