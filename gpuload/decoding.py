"""What a GPU decodes of each batch, beside the workers: which samples, their way there and back, and how long it takes.

The workers read the files, one thread waits for the GPU, and what the GPU refuses the workers do after all.
"""

import weakref
from collections import deque

import numpy as np
from numpy.typing import NDArray

from gpuload.decoders.balance import Split
from gpuload.decoders.encoded import EncodedPool
from gpuload.decoders.files import Files
from gpuload.decoders.gpu import GpuDecoder
from gpuload.device import Device, Timer
from gpuload.libraries import host_library
from gpuload.native import Status
from gpuload.staging import StagingBuffer

__all__ = ["GpuDecoding"]


class GpuDecoding:
    """What a GPU decodes of an engine's batches.

    How long it took is what the GPU itself measured between two events on the decoder's stream, which are asked,
    without a wait, when the next batch begins; how long workers took for theirs is the host's time.

    Args:
        device: the GPU.
        split: decides how much that is.

    Raises:
        MissingError: as of `GpuDecoder`.
    """

    def __init__(self, device: Device, split: Split) -> None:
        self.device, self.split, self.decoder, self.stream = device, split, GpuDecoder(device), device.stream()
        self._timed: deque[tuple[float, Timer]] = deque()
        self._memory = EncodedPool()

    def chosen(self, files: Files) -> NDArray[np.bool_]:
        """(n,) the samples that are to be decoded here."""
        self._look()
        may = ~files.in_memory & (files.status == Status.TODO)
        return np.array(self.split.away(_work(files).tolist(), may.tolist()), bool)

    def _look(self) -> None:
        """What has ended meanwhile is measured."""
        while self._timed:
            work, timer = self._timed[0]
            seconds = timer.seconds()
            if seconds is None:
                return
            self._timed.popleft()
            self.split.device_did(work, seconds)

    def begin(self, files: Files, slots: NDArray[np.int64], buffer: StagingBuffer) -> None:
        """Have these files of a batch decoded elsewhere: here.

        Args:
            files: of the batch.
            slots: those that were chosen.
            buffer: where their records' places are.
        """
        files.status[slots] = Status.AWAY
        files.elsewhere = _Away(self, files, slots, buffer)
        files.work.encoded = self._memory.take(len(files), files.elsewhere).address

    def describe(self) -> str:
        """What is decoded where, for explain."""
        return f"{self.split.describe()} by {self.decoder.describe()}; what it refuses is left to Pillow"

    def ended(self, work: float, timer: Timer) -> None:
        """A batch's part was given to the decoder."""
        self._timed.append((work, timer))


class _Away:
    """A batch's samples that a GPU decodes; an `Elsewhere`. Arguments as of `GpuDecoding.begin`."""

    def __init__(self, decoding: GpuDecoding, files: Files, slots: NDArray[np.int64], buffer: StagingBuffer) -> None:
        self._decoding, self._slots, self._buffer = decoding, slots, buffer
        self._files = weakref.ref(files)  # which holds this
        self._work = _work(files)
        self._worked: list[tuple[float, float]] = []
        self._status = np.full(len(slots), Status.FAILED, np.uint8)

    def read(self, first: int, count: int) -> None:
        library = host_library()
        assert library is not None
        library.gpuload_read(self._held.address, first, count)

    def decode(self) -> None:
        decoding, timer = self._decoding, self._decoding.device.timer()
        with self._buffer.decoded_on(decoding.stream) as target:
            timer.start(decoding.stream)
            self._status = decoding.decoder.decode(self._held, self._slots, target.data_ptr(), decoding.stream)
            timer.stop(decoding.stream)
        done = self._slots[self._status == Status.OK]
        decoding.ended(float(self._work[done].sum()), timer)

    def worked(self, first: int, count: int, seconds: float) -> None:
        part = slice(first, first + count)
        mine = self._held.status[part] != Status.AWAY
        self._worked.append((float(self._work[part][mine].sum()), seconds))

    def undone(self) -> list[int]:
        work, seconds = (sum(part) for part in zip(*self._worked, strict=True))
        self._decoding.split.workers_did(work, seconds)
        status = self._held.status
        were_away = status[self._slots] == Status.AWAY
        slots, became = self._slots[were_away], self._status[were_away]
        status[slots] = became
        left: list[int] = slots[became != Status.OK].tolist()
        return left

    @property
    def _held(self) -> Files:
        files = self._files()
        assert files is not None, "whoever calls has them"
        return files


def _work(files: Files) -> NDArray[np.float64]:
    """(n,) pixels of whole images: of each only a region is decoded, but most of it is read for that."""
    return np.asarray(files.sizes.prod(axis=1, dtype=np.float64))
