"""Which files are ordinary and upright: decided natively as in plain Python, and as Pillow decides."""

import io
import random
import struct
from collections.abc import Sequence
from pathlib import Path

import pytest
from PIL import ExifTags, Image

from gpuload.compilers import compiler
from gpuload.native import Status
from tests.conftest import encode, make_photo
from tests.native_batch import Batch, of_files

pytestmark = pytest.mark.skipif(compiler() is None, reason="no C++ compiler")


def ordinary_size(data: bytes) -> tuple[int, int] | None:
    """What ``kernels/jpeg_header.h`` decides, in plain Python."""
    if not data.startswith(b"\xff\xd8\xff") or not data.endswith(b"\xff\xd9"):
        return None
    at, size = 2, None
    while at + 4 <= len(data):
        marker, length = data[at + 1], data[at + 2] << 8 | data[at + 3]
        standalone = marker in (0x00, 0x01, 0xFF, *range(0xD0, 0xD8))
        other_frame = marker in (0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF)
        if data[at] != 0xFF or standalone or other_frame or length < 2:
            return None
        body = data[at + 4 : at + 2 + length]
        if marker == 0xDA:
            return size
        if marker in (0xC0, 0xC1, 0xC2):
            size = frame_size(body) if size is None else None
            if size is None:
                return None
        elif marker == 0xEE and body.startswith(b"Adobe") and length >= 14 and body[11:12] != b"\x01":
            return None
        at += 2 + length
    return None


def frame_size(frame: bytes) -> tuple[int, int] | None:
    if len(frame) < 6 or frame[0] != 8 or len(frame) != 6 + 3 * frame[5]:
        return None
    usual = [bytes((luma, 0x11, 0x11)) for luma in (0x11, 0x21, 0x12, 0x22)]
    if not (frame[6::3] == b"\x01" or (frame[6::3] == b"\x01\x02\x03" and frame[7::3] in usual)):
        return None
    height, width = struct.unpack_from(">HH", frame, 1)
    return (height, width) if height and width else None


def exif(orientation: int) -> Image.Exif:
    made = Image.Exif()
    made[ExifTags.Base.Orientation] = orientation
    return made


def jpegs() -> list[bytes]:
    photo = make_photo(23, 37)
    profile = bytes(range(256)) * 400  # longer than one segment, and than what is read of a file at once
    return [
        encode(photo),
        encode(photo, progressive=True),
        encode(photo.convert("L")),
        encode(photo.convert("CMYK")),
        *(encode(photo, subsampling=sampling) for sampling in ("4:4:4", "4:2:2", "4:2:0")),
        encode(photo, icc_profile=profile),
        encode(photo, comment=b"x" * 30000, restart_marker_blocks=2),
        encode(photo, exif=exif(1)),
        encode(photo, exif=exif(6)),
    ]


def mutated(rng: random.Random, data: bytes) -> bytes:
    header = data.index(b"\xff\xda") + 4
    kind = rng.choice(("byte", "bytes", "cut", "insert", "append", "marker", "whole"))
    at = rng.randrange(header)
    if kind == "byte":
        return data[:at] + rng.randbytes(1) + data[at + 1 :]
    if kind == "bytes":
        return data[:at] + rng.randbytes(4) + data[at + 4 :]
    if kind == "cut":
        return data[: rng.randrange(len(data))] + rng.choice((b"", b"\xff\xd9"))
    if kind == "insert":
        return data[:at] + rng.randbytes(rng.randint(1, 3)) + data[at:]
    if kind == "append":
        return data + rng.choice((b"\0", b"\xff\xd9"))
    if kind == "marker":
        markers = [i for i in range(header) if data[i] == 0xFF]
        at = rng.choice(markers) + 1
        return data[:at] + rng.randbytes(1) + data[at + 1 :]
    return data


def measured(folder: Path, files: Sequence[bytes], **more: int) -> Batch:
    paths = [folder / str(i) for i in range(len(files))]
    for path, data in zip(paths, files, strict=True):
        path.write_bytes(data)
    batch = of_files(paths, **more)
    batch.work.decode = batch.work.decode or 1  # never called by the header pass
    batch.measure()
    return batch


def test_headers_are_judged_as_in_python(tmp_path: Path) -> None:
    rng, originals = random.Random(0), jpegs()
    files = [b"", b"\xff", b"\xff\xd8\xff\xd9", b"\x89PNG\r\n", *originals]
    files += [mutated(rng, rng.choice(originals)) for _ in range(3000)]
    batch = measured(tmp_path, files)
    ordinary = 0
    for i, data in enumerate(files):
        size = ordinary_size(data)
        assert batch.status[i] == (Status.ODD if size is None else Status.OK), data[:400]
        assert tuple(batch.sizes[i]) == (size or (0, 0))
        ordinary += size is not None
    assert 500 < ordinary < 2500


def test_upright_is_never_said_of_what_pillow_turns(tmp_path: Path) -> None:
    rng, photo = random.Random(0), make_photo(9, 12)
    turned = [encode(photo, exif=exif(orientation)) for orientation in range(10)]
    big = exif(1).tobytes().replace(b"II*\0", b"MM\0*")
    plain = encode(photo)
    files = [*turned, plain, encode(photo, exif=big), encode(photo, xmp=b'<x tiff:Orientation="6"/>')]
    for _ in range(2000):
        data = rng.choice(turned[:3])
        at = rng.randrange(data.index(b"Exif"), data.index(b"\xff\xdb"))
        files.append(data[:at] + rng.choice((rng.randbytes(1), b"\1", b"\0")) + data[at + 1 :])
    batch = measured(tmp_path, files, upright=1)
    assert batch.status[1] == batch.status[10] == Status.OK
    for status, data in zip(batch.status, files, strict=True):
        if status == Status.OK:
            with Image.open(io.BytesIO(data)) as image:
                assert image.getexif().get(ExifTags.Base.Orientation, 1) == 1
