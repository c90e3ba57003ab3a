"""A library in nvImageCodec's place whose GPU is a function of the test's: ``tests/native/fake_nvimgcodec.cpp``."""

import ctypes
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
from numpy.typing import NDArray

from gpuload.compilers import build, compiler, kernel_folder
from gpuload.decoders import gpu, pillow
from gpuload.libraries import codec_files, jpeg_library

__all__ = ["FAIL", "SUCCESS", "FakeCodec", "has_codec", "needs_codec", "region_of"]

SUCCESS, FAIL = 1, 3  # NVIMGCODEC_PROCESSING_STATUS_...
SOURCE = Path(__file__).parent / "native" / "fake_nvimgcodec.cpp"
pointer = ctypes.c_void_p
DECODES = ctypes.CFUNCTYPE(ctypes.c_uint32, pointer, ctypes.c_int64, pointer, pointer, pointer)
Decodes = Callable[[bytes, list[int], int, int], int]  # file, region, address of the pixels, stream; the status


def has_codec() -> bool:
    """Can there be one? The rest of the way is nvImageCodec's own."""
    return compiler() is not None and jpeg_library() is not None


needs_codec = pytest.mark.skipif(not has_codec(), reason="no C++ compiler, or nvImageCodec is not installed")


@lru_cache(maxsize=1)
def _built() -> Path:
    files = codec_files("libnvjpeg_ext")
    assert files is not None
    return build(SOURCE, f"-I{kernel_folder() / 'stub'}", f"-I{files[0].parent / 'include'}")


def region_of(data: bytes, region: list[int]) -> NDArray[np.uint8]:
    """The pixels of a region of a file."""
    top, left, height, width = region
    return np.asarray(pillow.decode(data).crop((left, top, left + width, top + height)))


class FakeCodec:
    """Stands in for nvImageCodec on GPUs; the CPU's decoder stays the real one. It must outlive what it has started.

    Args:
        decodes: what its GPU does with an image.
        late: it does so on a thread of its own, when the call has returned.
        starts: whether a decoder starts.
    """

    def __init__(self, decodes: Decodes, late: bool = False, starts: bool = True) -> None:
        def called(data: int, size: int, region: int, out: int, stream: int | None) -> int:
            where = np.ctypeslib.as_array(ctypes.cast(region, ctypes.POINTER(ctypes.c_int32)), (4,)).tolist()
            return decodes(ctypes.string_at(data, size), where, out, stream or 0)

        self._library, self._set = ctypes.CDLL(str(_built())), (DECODES(called), int(late), int(starts))

    @property
    def live(self) -> int:
        """Handles that were not destroyed."""
        return int(self._library.fake_live())

    @contextmanager
    def installed(self) -> Iterator["FakeCodec"]:
        """Decoders that start inside the block are of this kind."""
        self._library.fake_set(*self._set)
        with mock.patch.object(gpu, "codec_files", return_value=(_built(), _built())):
            yield self
