"""nvImageCodec's decoder on a GPU: nvJPEG's hardware engine where there is one that takes the image, else CUDA.

Its pixels are not libjpeg-turbo's to the last bit: the inverse transform and the interpolation of chroma are computed
in another way. How far they may differ is bounded in ``tests/test_cuda.py``.
"""

import os
import weakref

import numpy as np
from numpy.typing import NDArray

from gpuload.decoders.files import Files
from gpuload.device import Device, Stream
from gpuload.errors import MissingError
from gpuload.libraries import codec_files, codec_version, host_library, jpeg_library

__all__ = ["GpuDecoder"]

THREADS = 4  # on the CPU, that parse headers and start the GPU's work: it keeps one busy half of the time
INSTALL = 'pip install "gpuload[cuda13]", and apt-get install g++ in a checkout'


class GpuDecoder:
    """A decoder on a GPU; one thread at a time may use it.

    Args:
        device: the GPU.

    Raises:
        MissingError: nvImageCodec, its way to a GPU, or native code is missing; the message says what helps.
    """

    def __init__(self, device: Device) -> None:
        files, library = codec_files("libnvjpeg_ext"), jpeg_library()
        if files is None or library is None or host_library() is None:
            raise MissingError(f"decoding on a GPU needs nvImageCodec and native code: {INSTALL}")
        core, extension = (os.fsencode(file) for file in files)
        with device.on(device.current_stream()):
            handle = library.gpuload_device_start(core, extension, device.torch_device.index, THREADS)
        if handle is None:
            raise MissingError(
                f"nvImageCodec's decoder does not start on {device.describe()} (nvJPEG of the driver's CUDA version is "
                f"missing, or memory): {INSTALL}, or pass decoder='cpu'"
            )
        self._device, self._library, self._handle = device, library, handle
        weakref.finalize(self, library.gpuload_device_end, handle).atexit = False

    def decode(self, files: Files, slots: NDArray[np.int64], target: int, stream: Stream) -> NDArray[np.uint8]:
        """Decode files that were read, to their records' places; what the host has to do for it is done at return.

        Args:
            files: of a batch.
            slots: which of them; those that are no longer AWAY are left alone.
            target: address of the staging buffer's side on the device.
            stream: the current one there; the pixels are whole when its work so far is done.

        Returns:
            The status of each: OK, FAILED where nvImageCodec refused or failed, or what reading it came to.
        """
        status = np.empty(len(slots), np.uint8)
        self._library.gpuload_device_decode(
            self._handle,
            files.address,
            slots.ctypes.data,
            len(slots),
            target,
            self._device.native(stream),
            status.ctypes.data,
        )
        return status

    def describe(self) -> str:
        """What it is, for explain."""
        return f"nvImageCodec {codec_version()} on {self._device.describe()}"
