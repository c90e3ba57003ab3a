"""Bytes and a region -> RGB pixels in the caller's buffer, as ``Image.open(f).convert("RGB")`` has them.

Ordinary JPEGs are decoded by nvImageCodec on the CPU, which decodes just the region, writes straight into
the buffer and holds no lock of Python's while it works. Everything else, and everything that is odd about a
JPEG, goes through Pillow. This is the only module that imports nvImageCodec.
"""

import importlib
import io
import os
import struct
import threading
from functools import lru_cache
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from gpuload.errors import DecodeError

__all__ = ["Encoded", "jpeg_decoder", "open_image", "pixel_limit"]


class Encoded(Protocol):
    """An image whose header has been read; height and width in pixels."""

    height: int
    width: int

    def read(self, top: int, left: int, out: NDArray[np.uint8]) -> None:
        """The region of ``out``'s height and width at (top, left), into ``out``: uint8 (h, w, 3), contiguous."""

    def image(self) -> Image.Image:
        """All of it, as an RGB PIL image."""


def pixel_limit() -> int | None:
    """Most pixels of one image: twice ``PIL.Image.MAX_IMAGE_PIXELS``, where Pillow raises; None: no limit."""
    return None if Image.MAX_IMAGE_PIXELS is None else 2 * Image.MAX_IMAGE_PIXELS


def open_image(data: bytes, exif_transpose: bool = False) -> Encoded:
    """Read an image's header.

    Args:
        data: the encoded image.
        exif_transpose: turn and flip it as its EXIF orientation says, as ``ImageOps.exif_transpose`` does.

    Raises:
        DecodeError: no image, an unknown format, or more pixels than `pixel_limit`.
    """
    if not data:
        raise DecodeError("the file is empty (0 bytes)")
    size = jpeg_size(data)
    if size is None or jpeg_decoder() is None or (exif_transpose and _orientation(data) != 1):
        return _PillowImage(data, exif_transpose)
    limit = pixel_limit()
    if limit is not None and size[0] * size[1] > limit:
        raise DecodeError(_too_large(*size, limit))
    return _Jpeg(data, *size)


def _too_large(height: int, width: int, limit: int) -> str:
    return (
        f"the header says {height} x {width} pixels, more than the limit of {limit:,} "
        "(2 x PIL.Image.MAX_IMAGE_PIXELS): set PIL.Image.MAX_IMAGE_PIXELS higher if you trust the file"
    )


# ---- Pillow ----


class _PillowImage:
    def __init__(self, data: bytes, exif_transpose: bool) -> None:
        self._data, self._exif_transpose = data, exif_transpose
        self._decoded: Image.Image | None = None
        try:
            with Image.open(io.BytesIO(data)) as image:
                self.width, self.height = image.size
        except Image.DecompressionBombError as error:
            raise DecodeError(f"{error}: set PIL.Image.MAX_IMAGE_PIXELS higher if you trust the file") from error
        except UnidentifiedImageError as error:
            raise DecodeError("not an image that Pillow can read: it is in none of its formats") from error
        except Exception as error:  # Pillow's plugins raise many kinds on bytes that are no image
            raise DecodeError(f"not an image that Pillow can read: {error}") from error
        if exif_transpose:
            self.width, self.height = self.image().size

    def image(self) -> Image.Image:
        if self._decoded is None:
            try:
                with Image.open(io.BytesIO(self._data)) as image:
                    upright = ImageOps.exif_transpose(image) if self._exif_transpose else image
                    self._decoded = upright.convert("RGB")
            except Exception as error:
                raise DecodeError(f"Pillow cannot decode it: {error}") from error
        return self._decoded

    def read(self, top: int, left: int, out: NDArray[np.uint8]) -> None:
        height, width = out.shape[:2]
        out[:] = np.asarray(self.image().crop((left, top, left + width, top + height)))


# ---- JPEG ----


NARROW = 16  # columns; libjpeg-turbo upsamples the chroma of a narrower region in a simpler way


class _Jpeg:
    """A JPEG that both decoders are known to read alike."""

    def __init__(self, data: bytes, height: int, width: int) -> None:
        self._data, self.height, self.width = data, height, width

    def read(self, top: int, left: int, out: NDArray[np.uint8]) -> None:
        height, width = out.shape[:2]
        if width < min(NARROW, self.width):
            wide = np.empty((height, min(NARROW, self.width), 3), np.uint8)
            start = min(left, self.width - wide.shape[1])
            self.read(top, start, wide)
            out[:] = wide[:, left - start : left - start + width]
            return
        decoder = jpeg_decoder()
        if decoder is None or not decoder.read(self._data, top, left, out):
            _PillowImage(self._data, False).read(top, left, out)

    def image(self) -> Image.Image:
        pixels = np.empty((self.height, self.width, 3), np.uint8)
        self.read(0, 0, pixels)
        return Image.fromarray(pixels)


class _JpegDecoder:
    """nvImageCodec's CPU decoder; one of its own for each thread, each working on that thread."""

    def __init__(self, module: Any) -> None:
        self._module = module
        self._threads = threading.local()
        self.version = str(module.__version__)

    def _decoder(self) -> Any:
        if not hasattr(self._threads, "decoder"):
            n = self._module
            backends = [n.Backend(n.BackendKind.CPU_ONLY)]
            self._threads.decoder = n.Decoder(
                device_id=n.NVIMGCODEC_DEVICE_CPU_ONLY, backends=backends, max_num_cpu_threads=1
            )
            self._threads.params = n.DecodeParams(
                apply_exif_orientation=False, color_spec=n.ColorSpec.SRGB, sample_format=n.SampleFormat.I_RGB
            )
        return self._threads.decoder

    def read(self, data: bytes, top: int, left: int, out: NDArray[np.uint8]) -> bool:
        """Decode a region into ``out``; False: this decoder cannot."""
        n, decoder = self._module, self._decoder()
        try:
            stream = n.CodeStream(data)
            if stream.height < top + out.shape[0] or stream.width < left + out.shape[1]:
                return False
            region = n.Region(top, left, top + out.shape[0], left + out.shape[1])
            part = stream.get_sub_code_stream(0, region)
            return decoder.decode(part, image=n.as_image(out), params=self._threads.params) is not None
        except (RuntimeError, ValueError):  # a code stream that it does not parse
            return False


@lru_cache(maxsize=1)
def jpeg_decoder() -> _JpegDecoder | None:
    """nvImageCodec's decoder, or None where the package is not installed."""
    # a file that it cannot decode goes to Pillow, whose error is raised: no second word on the terminal
    os.environ.setdefault("PYNVIMGCODEC_VERBOSITY", "0")
    try:
        return _JpegDecoder(importlib.import_module("nvidia.nvimgcodec"))
    except ImportError:
        return None


STANDALONE = frozenset((0x00, 0x01, 0xFF, *range(0xD0, 0xD8)))  # and the fill byte
FRAMES = frozenset((0xC0, 0xC1, 0xC2))  # baseline, extended, progressive; Huffman-coded
OTHER_FRAMES = frozenset((0xC3, *range(0xC5, 0xC8), *range(0xC9, 0xCC), *range(0xCD, 0xD0)))
COLOUR_SAMPLINGS = frozenset((b"\x11\x11\x11", b"\x21\x11\x11", b"\x12\x11\x11", b"\x22\x11\x11"))


def jpeg_size(data: bytes) -> tuple[int, int] | None:
    """(height, width) of a JPEG with nothing odd about it, None for any other file.

    Ordinary: 8 bits, grey or YCbCr with components 1, 2, 3 in a usual sampling, Huffman-coded, a plain chain
    of segments up to the scan, and an end marker where the file ends (a truncated file has none).
    """
    if not data.startswith(b"\xff\xd8\xff") or not data.endswith(b"\xff\xd9"):
        return None
    at, size = 2, None
    while at + 4 <= len(data):
        if data[at] != 0xFF:
            return None
        marker = data[at + 1]
        length = data[at + 2] << 8 | data[at + 3]
        if marker in STANDALONE or marker in OTHER_FRAMES or length < 2:
            return None
        body = at + 4
        if marker == 0xDA:
            return size
        if marker in FRAMES:
            size = _frame_size(data[body : at + 2 + length]) if size is None else None
            if size is None:
                return None
        elif marker == 0xEE and data.startswith(b"Adobe", body) and length >= 14 and data[body + 11] != 1:
            return None  # RGB or CMYK inside
        at += 2 + length
    return None


def _frame_size(frame: bytes) -> tuple[int, int] | None:
    if len(frame) < 6 or frame[0] != 8 or len(frame) != 6 + 3 * frame[5]:
        return None
    ids, samplings = frame[6::3], frame[7::3]
    if not (ids == b"\x01" or (ids == b"\x01\x02\x03" and samplings in COLOUR_SAMPLINGS)):
        return None
    height, width = struct.unpack_from(">HH", frame, 1)
    return (height, width) if height and width else None


def _orientation(data: bytes) -> int:
    try:
        with Image.open(io.BytesIO(data)) as image:
            return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # whatever is wrong with it, Pillow's path will say
        return 0
