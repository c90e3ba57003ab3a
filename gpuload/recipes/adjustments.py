"""What is done to the whole pictures of a batch once their first records have made them, step by step, as arrays."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gpuload.recipes.adjust import ADJUSTMENT
from gpuload.recipes.blur import BLURRED, KERNEL
from gpuload.recipes.mix import GRID, GRIDDED
from gpuload.recipes.ops import Mask
from gpuload.recipes.record import FRAME, FRAMED
from gpuload.recipes.warp import WARP, WARPED

__all__ = ["Adjustments"]

Array = NDArray[np.int64]
TABLES = {  # of what steps of a kind point to, by kind, in order
    WARPED: WARP,
    FRAMED: FRAME,
    GRIDDED: GRID,
    BLURRED: KERNEL,
}


class Adjustments(NamedTuple):
    """Adjustments of n samples.

    Attributes:
        steps: (k,) `ADJUSTMENT`: the first sample's, in order, then the second one's, ...
        at: (n + 1,) int64: where each sample's begin, and the last one's end.
        warps: (m,) `WARP`: those that steps point to.
        frames: (l,) `FRAME`: likewise, later stages.
        grids: (g,) `GRID`: likewise.
        kernels: (b,) `KERNEL`: likewise.
    """

    steps: NDArray[np.void]
    at: Array
    warps: NDArray[np.void]
    frames: NDArray[np.void]
    grids: NDArray[np.void]
    kernels: NDArray[np.void]

    @classmethod
    def of(cls, count: int, added: Sequence[tuple[int, Any, Mask]] = ()) -> "Adjustments":
        """Of those that were added one after the other: kind, value, and for which of ``count`` samples."""
        at = np.zeros(count + 1, np.int64)
        for _, _, where in added:
            at[1:] += where
        np.cumsum(at, out=at)
        steps, free = np.zeros(int(at[-1]), ADJUSTMENT), at[:-1].copy()
        tables = {kind: [np.zeros(0, entry)] for kind, entry in TABLES.items()}
        for kind, value, where in added:
            given = value[where] if isinstance(value, np.ndarray) else value
            if kind in tables:
                before = sum(map(len, tables[kind]))
                tables[kind].append(given)
                given = before + np.arange(len(given))  # a float32 counts to 2^24
            steps["kind"][free[where]] = kind
            steps["value"][free[where]] = given
            free += where
        return cls(steps, at, *map(np.concatenate, tables.values()))

    @classmethod
    def joined(cls, parts: Sequence["Adjustments"]) -> "Adjustments":
        """Of all samples of several, at least one, with nothing of others."""
        own = [part.steps[part.at[0] : part.at[-1]] for part in parts]
        steps, tables = np.concatenate(own), list[NDArray[np.void]]()
        for number, kind in enumerate(TABLES, start=2):
            pointing = [some["value"][some["kind"] == kind].astype(np.int64) for some in own]
            tables.append(np.concatenate([part[number][which] for part, which in zip(parts, pointing, strict=True)]))
            steps["value"][steps["kind"] == kind] = np.arange(len(tables[-1]))
        counts = np.concatenate([np.diff(part.at) for part in parts])
        return cls(steps, np.concatenate([[0], counts.cumsum()]), *tables)

    def sliced(self, part: slice) -> "Adjustments":
        """Some of the samples', as views."""
        start, stop, _ = part.indices(len(self.at) - 1)
        return self._replace(at=self.at[start : stop + 1])

    def without(self, where: Mask) -> "Adjustments":
        """The same, but none for the samples ``where``."""
        counts = np.diff(self.at)
        at = np.concatenate([[0], np.cumsum(np.where(where, 0, counts))])
        return self._replace(steps=self.steps[self.at[0] : self.at[-1]][np.repeat(~where, counts)], at=at)

    def having(self, which: Mask) -> Mask:
        """(n,) the samples that have one of the steps ``which``."""
        before = np.concatenate([[0], np.cumsum(which)])
        return np.asarray(before[self.at[1:]] > before[self.at[:-1]])

    @property
    def any(self) -> Mask:
        """(n,) the samples that have some."""
        return np.asarray(np.diff(self.at) > 0)
