"""Images and what moves with them, of one or several datasets, picked and put one after the other."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from gpuload.datasets.joint import JointDataset
from gpuload.lifting.picked import PickedImages
from gpuload.lifting.plain import Refusal
from gpuload.lifting.same import same_transform
from gpuload.recipes.recipes import Recipes
from gpuload.transforms.program import Program

__all__ = ["PickedTargets"]


class PickedTargets(PickedImages, JointDataset):
    """Of leaves that are each a `JointDataset`; see `PickedImages`.

    Raises:
        Refusal: leaves that differ.
    """

    def __init__(self, leaves: Sequence[JointDataset], table: NDArray[np.int64] | None) -> None:
        super().__init__(leaves, table)
        first, *others = leaves
        if not all(same_transform(first.transforms, other.transforms) for other in others):
            raise Refusal("the datasets of its ConcatDataset have different transforms")
        if len({type(leaf) for leaf in leaves}) > 1:
            raise Refusal("the datasets of its ConcatDataset have targets of several kinds")
        self.transforms, self.has_masks, self._first = first.transforms, first.has_masks, first

    @property
    def program(self) -> Program | str:
        return self._first.program

    def form(self, program: Program) -> torch.Tensor:
        return self._first.form(program)

    def loaded(self, index: int, height: int, width: int) -> Any:
        leaf, there = self._joint(index)
        return leaf.loaded(there, height, width)

    def mask(self, index: int, height: int, width: int) -> NDArray[np.uint8]:
        leaf, there = self._joint(index)
        return leaf.mask(there, height, width)

    def followed(self, loaded: Any, recipes: Recipes) -> Any:
        return self._first.followed(loaded, recipes)

    def _joint(self, index: int) -> tuple[JointDataset, int]:
        leaf, there = self._one(index)
        assert isinstance(leaf, JointDataset)
        return leaf, there
