"""Images of one or several datasets, picked and put one after the other."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from gpuload.datasets.base import ImageDataset
from gpuload.decoders.files import Memory
from gpuload.lifting.plain import Refusal
from gpuload.lifting.same import same_transform

__all__ = ["PickedImages"]

Indices = NDArray[np.int64]


class PickedImages(ImageDataset):
    """What a Subset or ConcatDataset has of its leaves. What fails names the leaf's index and file.

    Args:
        leaves: of one transform, channels and ``exif_transpose``.
        table: where each sample is among those of all leaves, one after the other; None: just there.

    Raises:
        Refusal: leaves that differ.
    """

    def __init__(self, leaves: Sequence[ImageDataset], table: Indices | None) -> None:
        first = leaves[0]
        for other in leaves[1:]:
            _check_alike(first, other)
        ImageDataset.__init__(self, first.transform, exif_transpose=first.exif_transpose)
        self.channels = first.channels
        self._leaves, self._table = leaves, table
        self._ends = np.cumsum([len(leaf) for leaf in leaves])

    def __len__(self) -> int:
        return int(self._ends[-1]) if self._table is None else len(self._table)

    # ---- where they are ----

    def _one(self, index: int) -> tuple[ImageDataset, int]:
        """The leaf of a sample, and its index there."""
        ((leaf, _, indices),) = self._by_leaf(np.array([self.position(index)]))
        return leaf, int(indices[0])

    def _by_leaf(self, indices: Indices) -> Iterator[tuple[ImageDataset, Any, Indices]]:
        """For each leaf that has any of the samples: it, which of them, and their indices there."""
        places = indices if self._table is None else self._table[indices]
        if len(self._leaves) == 1:
            yield self._leaves[0], slice(None), places
            return
        owners = np.searchsorted(self._ends, places, side="right")
        for number in np.unique(owners).tolist():
            leaf, slots = self._leaves[number], np.flatnonzero(owners == number)
            yield leaf, slots, places[slots] - (self._ends[number] - len(leaf))

    def _listed(self, indices: Indices, ask: Callable[[ImageDataset, Indices], Any]) -> Any:
        """What the leaves answer, in the order of the samples; of a single leaf just as it has it."""
        parts = [(slots, ask(leaf, there)) for leaf, slots, there in self._by_leaf(indices)]
        if len(parts) == 1:
            return parts[0][1]
        answers: list[Any] = [None] * len(indices)
        for slots, some in parts:
            for slot, answer in zip(
                slots.tolist(), some.tolist() if isinstance(some, np.ndarray) else some, strict=True
            ):
                answers[slot] = answer
        return answers

    # ---- what they are ----

    def path(self, index: int) -> str:
        leaf, there = self._one(index)
        return leaf.path(there)

    def target(self, index: int) -> Any:
        leaf, there = self._one(index)
        return leaf.target(there)

    def paths(self, indices: Indices) -> list[bytes]:
        return self._listed(indices, lambda leaf, there: leaf.paths(there))  # type: ignore[no-any-return]

    def targets_of(self, indices: Indices) -> Sequence[Any] | NDArray[np.int64]:
        return self._listed(indices, lambda leaf, there: leaf.targets_of(there))  # type: ignore[no-any-return]

    def labels(self, indices: Indices) -> Sequence[Any] | NDArray[np.int64]:
        return self._listed(indices, lambda leaf, there: leaf.labels(there))  # type: ignore[no-any-return]

    def _label(self, index: int, target: Any) -> Any:
        leaf, there = self._one(index)
        return leaf._label(there, target)

    def memory(self, indices: Indices) -> Memory | None:
        parts = [(slots, leaf.memory(there)) for leaf, slots, there in self._by_leaf(indices)]
        if all(memory is None for _, memory in parts):
            return None
        addresses = np.zeros(len(indices), np.uint64)
        for slots, memory in parts:
            addresses[slots] = 0 if memory is None else memory.addresses
        owners = [memory.owner for _, memory in parts if memory is not None]
        return Memory(addresses, np.full(len(indices), self.channels, np.uint8), owners)

    @property
    def sizes(self) -> NDArray[np.int32]:
        return self.known_sizes(np.arange(len(self)))

    def known_sizes(self, indices: Indices) -> NDArray[np.int32]:
        sizes = np.zeros((len(indices), 2), np.int32)
        for leaf, slots, there in self._by_leaf(indices):
            sizes[slots] = leaf.known_sizes(there)
        return sizes

    def remember(self, indices: Indices, sizes: NDArray[np.int32]) -> None:
        for leaf, slots, there in self._by_leaf(indices):
            leaf.remember(there, sizes[slots])

    def read(self, index: int) -> bytes:
        leaf, there = self._one(index)
        return leaf.read(there)

    def size(self, index: int) -> tuple[int, int]:
        leaf, there = self._one(index)
        return leaf.size(there)

    def image(self, index: int) -> Image.Image:
        leaf, there = self._one(index)
        return leaf.image(there)

    def passes_over(self, index: int) -> bool:
        leaf, there = self._one(index)
        return leaf.passes_over(there)

    def describe(self) -> str:
        leaves = " and ".join(leaf.describe() for leaf in self._leaves)
        return leaves if self._table is None else f"{len(self)} samples of {leaves}"


def _check_alike(one: ImageDataset, other: ImageDataset) -> None:
    if not same_transform(one.transform, other.transform):
        raise Refusal("the datasets of its ConcatDataset have different transforms")
    if one.exif_transpose != other.exif_transpose:
        raise Refusal("the datasets of its ConcatDataset differ in exif_transpose")
    if one.channels != other.channels:
        raise Refusal("the datasets of its ConcatDataset have images in color and in grayscale")
