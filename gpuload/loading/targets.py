"""What moves with the images of a batch: masks, rendered as images are, or anything else, sample by sample."""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import ConcatDataset, Subset

from gpuload.datasets.base import ImageDataset
from gpuload.datasets.joint import JointDataset
from gpuload.decoders.files import Files, Memory
from gpuload.engines.base import Engine
from gpuload.native import Status
from gpuload.recipes.recipes import Recipes, apply
from gpuload.targets import for_masks, pillow_mask

__all__ = ["MaskRendering", "Targets", "TargetsOfBatch", "Walking", "usual_collate"]


class TargetsOfBatch(Protocol):
    """The targets of one batch in flight."""

    def make(self, slot: int) -> None:
        """One sample's; on a worker."""

    def finish(self) -> None:
        """All are made; on a worker."""

    def delivered(self) -> Any:
        """All of them: a tensor, or a list; on the consumer's thread and stream."""


class Targets(Protocol):
    """How the targets of an epoch are made."""

    def begun(self, indices: NDArray[np.int64], recipes: Recipes) -> TargetsOfBatch:
        """Those of a batch of which nothing is made yet; recipes: of its images."""

    def each(self, delivered: Any) -> list[Any]:
        """The target of each sample of a batch, as the dataset has it."""

    def describe(self) -> str:
        """In words."""


def usual_collate(dataset: Any, batch_size: Any, batch_sampler: Any) -> Callable[[list[Any]], Any] | None:
    """How samples become batches where the user does not say it; None: as torch has it."""
    while isinstance(dataset, Subset | ConcatDataset):
        dataset = dataset.dataset if isinstance(dataset, Subset) else dataset.datasets[0]
    is_batched = batch_size is not None or batch_sampler is not None
    return dataset.usual_collate if is_batched and isinstance(dataset, ImageDataset) else None


# ---- masks ----


class MaskRendering(NamedTuple):
    """Masks, decoded with Pillow and rendered by an engine, as images are.

    Attributes:
        dataset: of the masks.
        engine: renders one channel of bytes.
        form: see `JointDataset.form`.
    """

    dataset: JointDataset
    engine: Engine
    form: torch.Tensor

    def begun(self, indices: NDArray[np.int64], recipes: Recipes) -> "_Masks":
        return _Masks(self, indices, recipes)

    def each(self, delivered: torch.Tensor | list[torch.Tensor]) -> list[Any]:
        kind = type(self.form)
        return [mask.as_subclass(kind) if type(mask) is torch.Tensor else mask for mask in delivered]

    def describe(self) -> str:
        return f"masks: the same geometry, nearest, no colors, by engine {self.engine.name}, one launch more"


class _Masks:
    def __init__(self, rendering: MaskRendering, indices: NDArray[np.int64], recipes: Recipes) -> None:
        self._rendering, self._indices, self._recipes = rendering, indices.tolist(), for_masks(recipes)
        count = len(indices)
        self._fused = rendering.engine.fuse(self._recipes)
        self._decoded: list[NDArray[np.uint8] | None] = [None] * count
        self._addresses = np.zeros(count, np.uint64)
        memory = Memory(self._addresses, np.ones(count, np.uint8), self._decoded)
        self._files = Files([b""] * count, False, None, memory)
        self._files.sizes[:] = np.stack([recipes.height, recipes.width], axis=1)
        self._files.status[:] = np.where(self._fused.by_pillow, Status.ODD, Status.TODO)
        self._batch = rendering.engine.batch(self._fused, self._files)

    def make(self, slot: int) -> None:
        height, width = self._files.sizes[slot].tolist()
        mask = self._rendering.dataset.mask(self._indices[slot], height, width)
        self._addresses[slot] = mask.ctypes.data
        self._batch.share(slot, 1)
        if self._files.undone(slot, 1):
            self._put(slot, mask)

    def _put(self, slot: int, mask: NDArray[np.uint8]) -> None:
        """What native code did not take."""
        image = pillow_mask(mask)
        if self._fused.by_pillow[slot]:
            image = apply(image, self._recipes[slot])
        top, left, height, width = self._fused.regions[slot].tolist()
        self._batch.put(slot, np.asarray(image.crop((left, top, left + width, top + height))))

    def finish(self) -> None:
        self._batch.finish()

    def delivered(self) -> torch.Tensor | list[torch.Tensor]:
        """(B, H, W), or (B, 1, H, W) where masks have a channel; a list of such without B where sizes differ."""
        masks, form = self._batch.images(), self._rendering.form
        if isinstance(masks, list):
            return [mask.view(mask.shape[-form.ndim :]).to(form.dtype) for mask in masks]
        return masks.view(len(masks), *masks.shape[-form.ndim :]).to(form.dtype)


# ---- anything ----


class Walking(NamedTuple):
    """Targets that are moved one by one, with torchvision's functionals.

    Attributes:
        dataset: which loads them.
    """

    dataset: JointDataset

    def begun(self, indices: NDArray[np.int64], recipes: Recipes) -> "_Walked":
        return _Walked(self.dataset, indices, recipes)

    def each(self, delivered: list[Any]) -> list[Any]:
        return delivered

    def describe(self) -> str:
        return "targets: the same geometry, by torchvision's functionals, sample by sample"


class _Walked:
    def __init__(self, dataset: JointDataset, indices: NDArray[np.int64], recipes: Recipes) -> None:
        self._dataset, self._indices, self._recipes = dataset, indices.tolist(), recipes
        self._made: list[Any] = [None] * len(indices)

    def make(self, slot: int) -> None:
        recipes = self._recipes.part(slice(slot, slot + 1))
        loaded = self._dataset.loaded(self._indices[slot], int(recipes.height[0]), int(recipes.width[0]))
        self._made[slot] = self._dataset.followed(loaded, recipes)

    def finish(self) -> None:
        pass

    def delivered(self) -> list[Any]:
        return self._made
