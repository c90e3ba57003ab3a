"""Several views of an image: what they read of it together."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from gpuload.recipes.fuse import Fused
from gpuload.recipes.ops import Mask

__all__ = ["widened"]


def widened(views: Sequence[Fused], rendered: Sequence[Mask]) -> NDArray[np.bool_]:
    """Let the views of each image have the same pixels, where they can: the smallest region that has those of all.

    Records and regions of these are changed in place. A view that a worker renders keeps its own, for what lies ready
    for it is its finished pixels; so do all views of an image of which Pillow makes any.

    Args:
        views: of the same n images.
        rendered: (n,) of each view, the images that a worker renders.

    Returns:
        (n, views) bool: those that share pixels with the others of their image, if there are any.
    """
    by_pillow = np.any([fused.by_pillow for fused in views], axis=0)
    shared: NDArray[np.bool_] = ~(np.stack(rendered, axis=1) | by_pillow[:, None])
    if len(views) == 1:
        return shared
    begins = np.stack([fused.regions[:, :2] for fused in views])
    ends = begins + np.stack([fused.regions[:, 2:] for fused in views])
    begin, end = begins.min(axis=0), ends.max(axis=0)
    for number, fused in enumerate(views):
        where = shared[:, number, None]
        axes = fused.records["axes"]
        axes["decoded"] -= np.where(where, fused.regions[:, :2] - begin, 0)
        axes["span"] = np.where(where, end - begin, axes["span"])
        fused.regions[:] = np.where(
            where.repeat(4, axis=1), np.concatenate([begin, end - begin], axis=1), fused.regions
        )
    return shared
