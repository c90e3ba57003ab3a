"""Which samples of a batch the GPU adjusts, and what the kernel is told of them; the workers render all others."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gpuload.recipes.adjust import Adjustment
from gpuload.recipes.adjustments import Adjustments
from gpuload.recipes.fuse import Fused
from gpuload.recipes.ops import Mask
from gpuload.recipes.warp import WARPED
from gpuload.staging import ALIGNMENT

__all__ = ["ADJUSTED", "MOVING_KINDS", "Adjusting", "rendered_by_workers"]

ADJUSTED = np.dtype(  # ``struct Adjusted`` of ``kernels/adjust.cu``
    [
        ("pixels", "<i8"),  # byte offset in scratch memory
        ("beside", "<i8"),  # of more of it
        ("output", "<i8"),  # element offset in the output
        ("size", "<i4", 2),  # height and width in pixels
        ("steps", "<i4", 2),  # the first one, and how many
    ]
)
MOST_PIXELS = 1 << 22  # of a picture that one block adjusts
COLORS = (  # that it does
    Adjustment.ADJUST_BRIGHTNESS, Adjustment.ADJUST_CONTRAST, Adjustment.ADJUST_SATURATION, Adjustment.ADJUST_HUE,
    Adjustment.ADJUST_SHARPNESS, Adjustment.POSTERIZE, Adjustment.SOLARIZE, Adjustment.AUTOCONTRAST,
    Adjustment.EQUALIZE, Adjustment.GRAYSCALE, Adjustment.SOLARIZE_ADD,
)  # fmt: skip
KERNEL_KINDS = [*(color.value for color in COLORS), WARPED]  # after a warp to another size a later stage follows
MOVING_KINDS = [Adjustment.ADJUST_SHARPNESS.value, WARPED]  # which have a second picture


def rendered_by_workers(fused: Fused) -> Mask:
    """(n,) the samples that have adjustments of which the kernel does not know one, or that are too large for it."""
    adjustments = fused.adjustments
    has_unknown = adjustments.having(~np.isin(adjustments.steps["kind"], KERNEL_KINDS))
    return np.asarray(has_unknown | (adjustments.any & (fused.extents.prod(axis=1) > MOST_PIXELS)))


class Adjusting(NamedTuple):
    """Those of a batch's samples that the kernel adjusts: of all views, one view's after the other.

    Attributes:
        where: (n,) which these are.
        pictures: (k,) `ADJUSTED`, what the kernel is told of them.
        adjustments: theirs alone, for all n.
        scratch: bytes of memory that it takes.
    """

    where: Mask
    pictures: NDArray[np.void]
    adjustments: Adjustments
    scratch: int

    @classmethod
    def of(cls, views: Sequence[Fused], rendered: Sequence[Mask]) -> "Adjusting":
        """Of views of which the workers render some samples; records have their outputs."""
        parts = zip(views, rendered, strict=True)
        adjustments = Adjustments.joined([fused.adjustments.without(where) for fused, where in parts])
        where = adjustments.any
        pictures = np.zeros(np.count_nonzero(where), ADJUSTED)
        size = np.concatenate([fused.extents for fused in views])[where]
        pictures["size"] = size
        pictures["steps"] = np.stack([adjustments.at[:-1], np.diff(adjustments.at)], axis=1)[where]
        pictures["output"] = np.concatenate([fused.records["output"] for fused in views])[where]
        moving = adjustments.having(np.isin(adjustments.steps["kind"], MOVING_KINDS))[where]
        packed, sources = size.prod(axis=1) * 3, size.sum(axis=1) * 4  # which begin at a multiple of four
        room = np.stack([packed, np.where(moving, packed + 3 + sources, 0)], axis=1)
        room = (room + (ALIGNMENT - 1)) & -ALIGNMENT
        ends = room.cumsum()
        pictures["pixels"], pictures["beside"] = (ends.reshape(room.shape) - room).T
        return cls(where, pictures, adjustments, int(room.sum()))

    def told(self) -> dict[str, NDArray[Any]]:
        """What the kernel is told, by name; the last is not empty."""
        if not len(self.pictures):
            return {}
        return {"warps": self.adjustments.warps, "pictures": self.pictures, "steps": self.adjustments.steps}
