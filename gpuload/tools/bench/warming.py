"""Files that are read before anything is timed, so that the page cache has them and a broken one is named."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from gpuload.datasets import ImageDataset
from gpuload.tools.bench.clock import Clock
from gpuload.tools.common import cores

__all__ = ["MOST", "warmed"]

MOST = 4096  # images that are raced: enough for many batches, and little beside the memory of any machine
CHUNK = 64


def warmed(images: ImageDataset, order: NDArray[np.int64], least: int, clock: Clock, end: float) -> list[int]:
    """The first images of an order, each decoded whole, once; as many as the time allows, up to `MOST`.

    Args:
        images: of which.
        order: their indices.
        least: so many in any case.
        clock: of the run.
        end: when the time is over.

    Raises:
        SampleError: a file that is no image, or not a whole one.
    """
    chosen: list[int] = order[: max(MOST, least)].tolist()

    def read(index: int) -> None:
        images.image(index)

    with ThreadPoolExecutor(cores()) as pool:
        for start in range(0, len(chosen), CHUNK):
            if start >= least and clock.passed >= end:
                return chosen[:start]
            clock.show("reading files")
            list(pool.map(read, chosen[start : start + CHUNK]))
    return chosen
