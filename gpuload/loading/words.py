"""What is being done with the samples of a batch, in words: for whoever waits for it, on another thread."""

import numpy as np
from numpy.typing import NDArray

from gpuload.datasets.base import ImageDataset

__all__ = ["progress"]


def progress(what: str, dataset: ImageDataset, indices: NDArray[np.int64], waiting: list[int]) -> str:
    """How far it is: ``"decoding 64 images: 2 are not done, the first is sample 17 (a/17.jpg)"``.

    Args:
        what: is being done.
        dataset: names the file of a sample.
        indices: of the samples in the dataset.
        waiting: slots of those that are not done.
    """
    if not waiting:
        return f"{what} {len(indices)} images: all are done"
    index = int(indices[waiting[0]])
    try:
        where = f" ({dataset.path(index)})"
    except Exception:  # code of the user's, which may be what fails
        where = ""
    count = "1 is" if len(waiting) == 1 else f"{len(waiting)} are"
    return f"{what} {len(indices)} images: {count} not done, the first is sample {index}{where}"
