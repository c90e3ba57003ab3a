"""nvImageCodec's CPU decoder, called through its C API: just the region that is needed, on the calling thread."""

import ctypes
from functools import lru_cache

from gpuload.libraries import codec_version, jpeg_library

__all__ = ["JpegDecoder", "jpeg_decoder"]


class JpegDecoder:
    """The decoder of ``kernels/jpeg.cpp``; a `Decoder`.

    Args:
        library: that file, built.
    """

    def __init__(self, library: ctypes.CDLL) -> None:
        address = ctypes.cast(library.gpuload_jpeg_decode, ctypes.c_void_p).value
        assert address is not None
        self.address = address
        self.version = codec_version()

    def describe(self) -> str:
        return f"nvImageCodec {self.version}"


@lru_cache(maxsize=1)
def jpeg_decoder() -> JpegDecoder | None:
    """The decoder, or None where nvImageCodec or a C++ compiler is missing."""
    library = jpeg_library()
    return None if library is None else JpegDecoder(library)
