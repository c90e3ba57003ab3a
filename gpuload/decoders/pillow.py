"""Any image that Pillow reads, as RGB: the definition of what a file's pixels are."""

import io
from operator import attrgetter
from typing import BinaryIO

import PIL
from PIL import Image, ImageEnhance, ImageFile, ImageOps, ImageStat, UnidentifiedImageError

from gpuload.errors import DecodeError
from gpuload.shipped import is_shipped

__all__ = ["decode", "decode_as_is", "describe", "image_size", "pixel_limit", "replaced"]

STOOD_IN_FOR = {  # functions whose work native code does
    Image: "open new blend fromarray frombuffer frombytes merge Image.convert Image.copy Image.crop Image.filter "
    "Image.frombytes Image.getbands Image.histogram Image.load Image.paste Image.point Image.resize Image.rotate "
    "Image.split Image.tobytes Image.transform Image.transpose",
    ImageEnhance: "Brightness.__init__ Color.__init__ Contrast.__init__ Sharpness.__init__ _Enhance.enhance",
    ImageFile: "ImageFile.load",
    ImageOps: "_lut autocontrast equalize exif_transpose expand invert posterize solarize",
    ImageStat: "Stat.__init__ Stat.count Stat.mean Stat.sum",
}


def replaced() -> str | None:
    """A function of Pillow's that native code stands in for, and that is no longer Pillow's own; None: all are."""
    for module, names in STOOD_IN_FOR.items():
        for name in names.split():
            if not is_shipped(attrgetter(name)(module), "PIL", name):
                return f"{module.__name__}.{name}"
    opener, _ = Image.OPEN.get("JPEG", (Image.open, None))
    return None if is_shipped(opener, "PIL") else "PIL.Image.OPEN['JPEG']"


def pixel_limit() -> int | None:
    """Most pixels of an image that Pillow opens without a word: it warns above, and above twice as many it raises.

    None: no limit.
    """
    return Image.MAX_IMAGE_PIXELS


def describe() -> str:
    """What it is, for explain."""
    return f"Pillow {PIL.__version__}"


def image_size(file: BinaryIO, upright: bool = False) -> tuple[int, int]:
    """(height, width) of an encoded image, in pixels; as little of the file is read as that takes.

    Errors as of `decode`.
    """
    if upright or not file.seekable():  # the turned size is known from the turned image alone
        data = file.read()
        if upright:
            turned = decode(data, upright)
            return turned.height, turned.width
        file = io.BytesIO(data)
    with _open(file) as image:
        return image.height, image.width


def decode(data: bytes, upright: bool = False) -> Image.Image:
    """All of an encoded image, as an RGB PIL image.

    Args:
        data: the file's bytes.
        upright: turn and flip it as its EXIF orientation says, as ``ImageOps.exif_transpose`` does.

    Raises:
        DecodeError: no image, an unknown format, a damaged file, or more than twice the pixels of `pixel_limit`.
    """
    with _open(io.BytesIO(data)) as image:
        try:
            return (ImageOps.exif_transpose(image) if upright else image).convert("RGB")
        except Exception as error:
            raise DecodeError(f"Pillow cannot decode it: {error}") from error


def decode_as_is(data: bytes) -> Image.Image:
    """All of an encoded image, in the mode that its file has. Errors as of `decode`."""
    with _open(io.BytesIO(data)) as image:
        try:
            return image.copy()
        except Exception as error:
            raise DecodeError(f"Pillow cannot decode it: {error}") from error


def _open(file: BinaryIO) -> Image.Image:
    if not file.read(1):
        raise DecodeError("the file is empty (0 bytes)")
    file.seek(0)
    try:
        return Image.open(file)
    except Image.DecompressionBombError as error:
        raise DecodeError(f"{error}: set PIL.Image.MAX_IMAGE_PIXELS higher if you trust the file") from error
    except UnidentifiedImageError as error:
        raise DecodeError("not an image that Pillow can read: it is in none of its formats") from error
    except Exception as error:  # Pillow's plugins raise many kinds on bytes that are no image
        if isinstance(error, OSError) and error.errno is not None:  # reading failed, not they
            raise
        raise DecodeError(f"not an image that Pillow can read: {error}") from error
