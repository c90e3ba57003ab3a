"""The decoder's own limit: threads that read files and decode what the crops need of them, and do nothing else.

It is the work that a loader cannot leave out: of the same files, the same regions by the same decoder, in as large
shares as gpuload's workers do it.
"""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import cycle, islice
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gpuload.datasets import ImageDataset
from gpuload.decoders import find_decoder
from gpuload.decoders.files import Files
from gpuload.libraries import host_library
from gpuload.recipes.draws import CounterDraws
from gpuload.recipes.fuse import Fused, fuse
from gpuload.staging import ALIGNMENT

__all__ = ["Decoding", "Share", "shares_of"]

SHARE = 16  # samples of a native call
MOST = 1024  # images that are decoded, again and again


class Share(NamedTuple):
    """Some images that one native call reads and decodes.

    Attributes:
        images: the dataset.
        indices: of the samples: (n,) int64.
        sizes: their height and width in pixels: (n, 2).
        fused: which region of each is decoded, and where it goes.
    """

    images: ImageDataset
    indices: NDArray[np.int64]
    sizes: NDArray[np.int32]
    fused: Fused

    @property
    def room(self) -> int:
        """Bytes that the regions take."""
        return int(_aligned(self.fused).sum())

    def decode(self, room: NDArray[np.uint8]) -> None:
        """Read and decode; what is no ordinary JPEG is decoded by Pillow.

        Raises:
            SampleError: a file that is no image.
        """
        files = Files(self.images.paths(self.indices), self.images.exif_transpose, find_decoder())
        files.sizes[:] = self.sizes
        work, fused = files.work, self.fused
        work.regions, work.records = fused.regions.ctypes.data, fused.records.ctypes.data
        work.staging, work.staging_bytes = room.ctypes.data, len(room)
        library, count = host_library(), len(files)
        if library is not None:
            library.gpuload_share(files.address, 0, count)
        for slot in files.undone(0, count):
            self.images.image(int(self.indices[slot]))


def _aligned(fused: Fused) -> NDArray[np.int64]:
    return (fused.pixel_bytes + (ALIGNMENT - 1)) & -ALIGNMENT


def shares_of(images: ImageDataset, seed: int) -> list[Share]:
    """Random crops of the first images, as the transform draws them."""
    indices = np.arange(min(len(images), MOST))
    sizes = np.array([images.size(index) for index in indices.tolist()], np.int32)
    plan = images.require_recipes().legs[0].plan
    fused = fuse(plan.recipes(sizes[:, 0], sizes[:, 1], CounterDraws(seed, 0, indices, 0)))
    parts = [slice(start, start + SHARE) for start in range(0, len(indices), SHARE)]
    shares = [Share(images, indices[part], sizes[part], fused[part]) for part in parts]
    for share in shares:
        sizes_in_bytes = _aligned(share.fused)
        share.fused.records["pixels"] = sizes_in_bytes.cumsum() - sizes_in_bytes
    return shares


class Decoding:
    """Threads at this work. Use it in a ``with``.

    Args:
        shares: of images.
        threads: at least 1.
    """

    def __init__(self, shares: list[Share], threads: int) -> None:
        self._shares, self._threads = shares, threads
        self._pool = ThreadPoolExecutor(threads)
        self._room = max(share.room for share in shares)
        self._rate = self._played(1)

    def play(self, seconds: float) -> float:
        """Images per second, in about so many seconds."""
        self._rate = self._played(max(1, round(seconds * self._rate / (SHARE * self._threads))))
        return self._rate

    def _played(self, shares: int) -> float:
        """Images per second of so many shares of each thread."""
        turns = list(islice(cycle(self._shares), shares * self._threads))
        waiting, start = iter(turns), time.perf_counter()
        for done in [self._pool.submit(self._work, waiting) for _ in range(self._threads)]:
            done.result()
        return sum(len(share.indices) for share in turns) / (time.perf_counter() - start)

    def _work(self, waiting: Iterator[Share]) -> None:
        room = np.empty(self._room, np.uint8)
        for share in waiting:
            share.decode(room)

    def __enter__(self) -> "Decoding":
        return self

    def __exit__(self, *error: object) -> None:
        self._pool.shutdown(cancel_futures=True)
