"""Subset and ConcatDataset, nested in any way: which datasets lie below, and where in them each sample is."""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import ConcatDataset, Subset

from gpuload.lifting.plain import READ, TORCH, Refusal, attribute, check_methods
from gpuload.lifting.remembered import Remembered

__all__ = ["Leaves", "flattened", "indices_of"]

Places = range | NDArray[np.int64]  # of samples, in all leaves one after the other


class Leaves:
    """The datasets below a view, each once however often the view has it.

    Args:
        lift: what is kept of a dataset, which has a length.

    Attributes:
        lifted: what was made of each.
    """

    def __init__(self, lift: Callable[[Any], Any]) -> None:
        self.lifted: list[Any] = []
        self._lift, self._places, self._count = lift, dict[int, range](), 0

    def places(self, dataset: Any) -> range:
        """Where the dataset's samples are among those of all."""
        if id(dataset) not in self._places:
            leaf = self._lift(dataset)
            self.lifted.append(leaf)
            self._places[id(dataset)] = range(self._count, self._count + len(leaf))
            self._count += len(leaf)
        return self._places[id(dataset)]

    def table(self, places: Places) -> NDArray[np.int64] | None:
        """Places as an array; None: they are all there are, in order."""
        return None if isinstance(places, range) and places == range(self._count) else _array(places)


def flattened(dataset: Any, leaves: Leaves) -> Places:
    """The places of a dataset's samples among those of its leaves, which are added to ``leaves``.

    Raises:
        Refusal: a view does something of its own, or has an index of no sample: torch has an error for that.
    """
    if isinstance(dataset, Subset):
        check_methods(dataset, TORCH, READ)
        return _picked(flattened(attribute(dataset, "dataset"), leaves), indices_of(dataset))
    if isinstance(dataset, ConcatDataset):
        check_methods(dataset, TORCH, READ)
        parts = [flattened(part, leaves) for part in attribute(dataset, "datasets")]
        return _joined(_cut(parts, attribute(dataset, "cumulative_sizes")))
    return leaves.places(dataset)


def _picked(places: Places, indices: NDArray[np.int64]) -> NDArray[np.int64]:
    count = len(places)
    lowest, highest = (int(indices.min()), int(indices.max())) if len(indices) else (0, -1)
    if lowest < -count or highest >= count:
        wrong = lowest if lowest < -count else highest
        raise Refusal(f"its Subset has index {wrong} of a dataset of {count} samples")
    if lowest < 0:
        indices = np.where(indices < 0, indices + count, indices)
    if isinstance(places, range):
        return indices + places.start if places.start else indices
    return places[indices]


def _cut(parts: list[Places], ends: Sequence[int]) -> list[Places]:
    """As many of each part as there were when ConcatDataset was made: it goes on with those."""
    counts = [end - start for start, end in pairwise([0, *ends])]
    if (
        not parts
        or len(counts) != len(parts)
        or any(not 0 <= n <= len(part) for n, part in zip(counts, parts, strict=True))
    ):
        raise Refusal(f"its ConcatDataset was made of {counts} samples, and has {[len(part) for part in parts]}")
    return [part[:n] for n, part in zip(counts, parts, strict=True)]


def _joined(parts: list[Places]) -> Places:
    full = [part for part in parts if len(part)]
    ranges = [part for part in full if isinstance(part, range)]
    if len(ranges) == len(full) and all(a.stop == b.start for a, b in pairwise(ranges)):
        return range(ranges[0].start, ranges[-1].stop) if ranges else range(0)
    return np.concatenate([_array(part) for part in full])


def _array(places: Places) -> NDArray[np.int64]:
    return np.arange(places.start, places.stop) if isinstance(places, range) else places


# ---- indices ----


class _Read(NamedTuple):
    """Indices as they were read, and what of: a copy, which shows whether they have been changed."""

    of: Any
    indices: NDArray[np.int64]


_read = Remembered[_Read]()


def indices_of(subset: Subset[Any]) -> NDArray[np.int64]:
    """The indices of a Subset, as they are now: (n,) int64, not to be written to.

    A list of a million takes a fifth of a second to read and some milliseconds to compare with what was read before.

    Raises:
        Refusal: they are not integers in a list, a tuple, a range, an array or a tensor.
    """
    given, read = attribute(subset, "indices"), _read.get(subset)
    if read is None or not _equal(read.of, given):
        read = _Read(_copied(given), _integers(given))
        _read.put(subset, read)
    return read.indices


def _equal(before: Any, now: Any) -> bool:
    if type(before) is not type(now):
        return False
    if isinstance(now, np.ndarray):
        return before.dtype == now.dtype and np.array_equal(before, now)
    return torch.equal(before, now) if isinstance(now, torch.Tensor) else bool(before == now)


def _copied(given: Any) -> Any:
    """What shows a change later; the items of a list or tuple are plain integers, which cannot change."""
    if isinstance(given, torch.Tensor):
        return given.clone()
    return given.copy() if isinstance(given, list | np.ndarray) else given


def _integers(given: Any) -> NDArray[np.int64]:
    array: NDArray[Any] | None = None
    if type(given) is range:
        array = np.arange(given.start, given.stop, given.step)
    elif type(given) in (list, tuple) and {*map(type, given)} <= {int}:
        array = _fitting(given)
    elif type(given) is torch.Tensor and not given.is_floating_point():
        array = given.numpy(force=True)
    elif type(given) is np.ndarray:
        array = given
    if array is None or array.ndim != 1 or array.dtype.kind != "i":
        raise Refusal(f"the indices of its Subset are not plain integers, but {_shown(given)}")
    return array.astype(np.int64, copy=True)  # the user may write to theirs


def _fitting(given: Sequence[int]) -> NDArray[np.int64] | None:
    try:
        return np.array(given, np.int64)
    except OverflowError:
        return None


def _shown(given: Any) -> str:
    name = type(given).__name__
    if isinstance(given, np.ndarray | torch.Tensor):
        return f"a {name} of {str(given.dtype).removeprefix('torch.')} {tuple(given.shape)}"
    kinds = sorted({type(item).__name__ for item in given}) if isinstance(given, list | tuple) else []
    return f"a {name}" + (f" of {', '.join(kinds)}" if kinds else "")
