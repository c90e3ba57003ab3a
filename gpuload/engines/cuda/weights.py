"""Who makes the rows of weights of a resize: the kernel, or the host for it."""

import numpy as np
from numpy.typing import NDArray

from gpuload.recipes.ops import Filter

__all__ = ["MAX_WEIGHTS", "needs_host_weights"]

MAX_WEIGHTS = 32  # of a row that the kernel makes, as in kernels/weights.cuh
KERNEL_FILTERS = Filter.BOX, Filter.BILINEAR, Filter.BICUBIC  # others: running sums, sines, torch's precision
HOST_FILTERS = np.array([filter not in KERNEL_FILTERS for filter in Filter])  # by value


def needs_host_weights(records: NDArray[np.void]) -> NDArray[np.bool_]:
    """(n, 2): must the host make the rows of weights of the y and x axis of these records?"""
    axes = records["axes"]
    many: NDArray[np.bool_] = HOST_FILTERS[records["filter"]][:, None] | (axes["ksize"] > MAX_WEIGHTS)
    needed: NDArray[np.bool_] = many & (axes["length"] != axes["resized"])
    return needed
