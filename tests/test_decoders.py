"""Decoding against Pillow: every format, every oddity, every region, and files that are broken or lie.

Each file goes through `decode` and through a loader: its header read, its regions decoded natively where it is an
ordinary JPEG, by Pillow where it is not.
"""

import ctypes
import io
import random
import struct
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings, strategies as st
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageCms, ImageFile, ImageOps

from gpuload import DataLoader, decoders, transforms as T
from gpuload.datasets import ImageDataset
from gpuload.decoders.files import Files
from gpuload.decoders.jpeg import jpeg_decoder
from gpuload.decoders.pillow import decode, image_size, pixel_limit
from gpuload.errors import DecodeError, SampleError
from gpuload.loading.images import ImagePath
from gpuload.native import Status
from gpuload.recipes.ops import Crop
from gpuload.transforms.base import every

Encode = Callable[..., bytes]
Photo = Callable[..., Image.Image]
Region = tuple[int, int, int, int]  # top, left, height, width
Pixels = NDArray[np.uint8]

# Pillow warns where a palette's transparency is lost, here as everywhere
pytestmark = pytest.mark.filterwarnings("ignore:Palette images with Transparency")


@pytest.fixture(params=["nvImageCodec", "Pillow"], autouse=True)
def decoder(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """With the optional decoder, and without it."""
    if request.param == "Pillow":
        monkeypatch.setattr(decoders, "DECODERS", [])
    elif jpeg_decoder() is None:
        pytest.skip("nvImageCodec or a C++ compiler is missing")
    return str(request.param)


@pytest.fixture(scope="module", autouse=True)
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    Case.folder = tmp_path_factory.mktemp("files")
    return Case.folder


def pillow(data: bytes) -> Pixels:
    """The definition."""
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image.convert("RGB"))


class Cut(T.Transform):
    """Sample i of the epoch shows region i of its image; one that does not fit shows all of it."""

    def __init__(self, regions: Sequence[Region]) -> None:
        super().__init__()
        self.regions, self.at = np.array(regions, np.int64).reshape(-1, 4), 0

    def steps(self, height: Any, width: Any, draws: Any) -> Any:
        top, left, rows, columns = self.regions[self.at : self.at + len(height)].T
        return [(Crop(top, left, rows, columns), every(height))]


class Case(ImageDataset):
    """Samples whose files are these bytes."""

    folder: Path

    def __init__(self, files: Sequence[bytes], transform: Any, exif_transpose: bool = False) -> None:
        super().__init__(transform, exif_transpose=exif_transpose)
        unique = list(dict.fromkeys(files))
        for number, data in enumerate(unique):
            (self.folder / str(number)).write_bytes(data)
        self.names = [str(self.folder / str(unique.index(data))) for data in files]

    def __len__(self) -> int:
        return len(self.names)

    def path(self, index: int) -> str:
        return self.names[index]

    def target(self, index: int) -> int:
        return index


def images_of(batch: list[tuple[torch.Tensor, int]]) -> list[Pixels]:
    return [image.permute(1, 2, 0).numpy() for image, _ in batch]


def loaded(data: bytes, regions: Sequence[Region], exif_transpose: bool = False) -> tuple[list[Pixels], int]:
    """Regions of a file by way of a loader, and how many of them Pillow decoded."""
    dataset = Case([data] * len(regions), Cut(regions), exif_transpose)
    batches: Any = DataLoader(dataset, len(regions), collate_fn=images_of, device="cpu")
    with patch("gpuload.datasets.base.decode", side_effect=decode) as by_pillow:
        ((images),) = list(batches)
    return images, by_pillow.call_count


def regions_of(height: int, width: int, seed: int = 0) -> Iterator[Region]:
    """All of it, corners, single pixels, rows, columns, and some at random."""
    yield 0, 0, height, width
    yield 0, 0, 1, 1
    yield height - 1, width - 1, 1, 1
    yield height // 2, 0, 1, width
    yield 0, width // 2, height, 1
    rng = random.Random(seed)
    for _ in range(6):
        h, w = rng.randint(1, height), rng.randint(1, width)
        yield rng.randint(0, height - h), rng.randint(0, width - w), h, w


def check_regions(data: bytes, regions: Sequence[Region], expected: Pixels, exif_transpose: bool = False) -> int:
    images, by_pillow = loaded(data, regions, exif_transpose)
    for image, (top, left, height, width) in zip(images, regions, strict=True):
        assert np.array_equal(image, expected[top : top + height, left : left + width]), (top, left, height, width)
    return by_pillow


def check(data: bytes, expected: Pixels | None = None, exif_transpose: bool = False) -> bool:
    """Its size, its image and its regions are those of Pillow's image. Returns whether Pillow had to decode it."""
    expected = pillow(data) if expected is None else expected
    assert image_size(io.BytesIO(data), exif_transpose) == expected.shape[:2]
    image = decode(data, exif_transpose)
    assert image.mode == "RGB" and np.array_equal(image, expected)
    regions = list(regions_of(*expected.shape[:2]))
    by_pillow = check_regions(data, regions, expected, exif_transpose)
    assert by_pillow in (0, len(regions))
    return by_pillow > 0


def check_refused(data: bytes, match: str | None = None) -> str:
    """Pillow's error, of the file and, in a loader, of the sample; its text."""
    with pytest.raises(DecodeError, match=match) as caught:
        decode(data)
    with pytest.raises(SampleError) as sample:
        loaded(data, [(0, 0, 1, 1)])
    assert sample.value.index == 0 and isinstance(sample.value.__cause__, DecodeError)
    assert str(sample.value.__cause__) == str(caught.value)
    return str(caught.value)


# ---- JPEG ----

JPEGS: dict[str, dict[str, Any]] = {
    "plain": {},
    "best": {"quality": 100, "subsampling": 0},
    "worst": {"quality": 1},
    "4:4:4": {"subsampling": "4:4:4"},
    "4:2:2": {"subsampling": "4:2:2"},
    "4:2:0": {"subsampling": "4:2:0"},
    "optimized": {"optimize": True},
    "progressive": {"progressive": True},
    "progressive 4:4:4": {"progressive": True, "subsampling": 0},
    "restart rows": {"restart_marker_rows": 1},
    "restart blocks": {"restart_marker_blocks": 3, "progressive": True},
    "tables": {"qtables": [[1 + i % 7 for i in range(64)], [2 + i % 90 for i in range(64)]]},
    "dots per inch": {"dpi": (300, 72)},
    "comment": {"comment": b"\xff\xd9 a comment with markers \xff\xda\xff\xc0" * 9},
    "RGB inside": {"keep_rgb": True},
    "many EXIF bytes": {"exif": b"Exif\0\0" + bytes(range(256)) * 100},
}


@pytest.mark.parametrize("options", JPEGS.values(), ids=JPEGS.keys())
@pytest.mark.parametrize("size", [(1, 1), (7, 5), (16, 16), (17, 33), (61, 90)], ids=str)
def test_jpeg(options: dict[str, Any], size: tuple[int, int], decoder: str, encode: Encode, make_photo: Photo) -> None:
    by_pillow = check(encode(make_photo(*size), **options))
    assert by_pillow is (decoder == "Pillow" or "keep_rgb" in options)


@pytest.mark.parametrize("mode", ["L", "CMYK", "YCbCr", "1"])
@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"quality": 100}], ids=str)
def test_jpeg_of_other_modes(
    mode: str, options: dict[str, Any], decoder: str, encode: Encode, make_photo: Photo
) -> None:
    by_pillow = check(encode(make_photo(45, 38).convert(mode), **options))
    assert by_pillow is (decoder == "Pillow" or mode == "CMYK")


@settings(max_examples=120, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    height=st.integers(1, 80),
    width=st.integers(1, 80),
    quality=st.sampled_from([5, 50, 90, 100]),
    subsampling=st.sampled_from([0, 1, 2]),
    progressive=st.booleans(),
    grayscale=st.booleans(),
    restart=st.sampled_from([0, 0, 1, 4]),
    data=st.data(),
)
def test_any_region_of_any_jpeg_is_the_crop(
    height: int,
    width: int,
    quality: int,
    subsampling: int,
    progressive: bool,
    grayscale: bool,
    restart: int,
    data: st.DataObject,
    decoder: str,
) -> None:
    pixels = np.random.default_rng(height * 100 + width).integers(0, 256, (height, width, 3), np.uint8)
    file = io.BytesIO()
    options = {"quality": quality, "progressive": progressive, "restart_marker_blocks": restart}
    if not grayscale:
        options["subsampling"] = subsampling
    Image.fromarray(pixels).convert("L" if grayscale else "RGB").save(file, "JPEG", **options)
    regions = []
    for _ in range(3):
        top, left = data.draw(st.integers(0, height - 1)), data.draw(st.integers(0, width - 1))
        rows, columns = data.draw(st.integers(1, height - top)), data.draw(st.integers(1, width - left))
        regions.append((top, left, rows, columns))
    by_pillow = check_regions(file.getvalue(), regions, pillow(file.getvalue()))
    assert by_pillow == (3 if decoder == "Pillow" else 0)


def sampled(size: tuple[int, int], sampling: str, encode: Encode) -> bytes:
    """A JPEG of noise with a sampling that Pillow does not write, too.

    Blocks of as many a unit are arranged in another way: the picture is another one, but a whole one.
    """
    height, width = size
    direct = {"4:4:4": 0, "4:2:2": 1, "4:2:0": 2}
    like, factors, true_size = {
        "4:4:0": (1, 0x12, (width, height)),
        "4:1:1": (2, 0x41, (-(-height // 2), 2 * width)),
        "4:1:0": (2, 0x14, (2 * height, -(-width // 2))),
    }.get(sampling, (direct.get(sampling), None, size))
    noise = np.random.default_rng(height).integers(0, 256, (height, width, 3), np.uint8)
    data = bytearray(encode(Image.fromarray(noise), subsampling=like))
    if factors is not None:
        frame = data.index(b"\xff\xc0")
        data[frame + 11] = factors
        struct.pack_into(">HH", data, frame + 5, *true_size)
    return bytes(data)


SAMPLINGS = ["4:4:4", "4:2:2", "4:2:0", "4:4:0", "4:1:1", "4:1:0"]


@pytest.mark.parametrize("sampling", SAMPLINGS)
@pytest.mark.parametrize("size", [(1, 1), (8, 16), (37, 53), (64, 64)], ids=str)
def test_samplings(sampling: str, size: tuple[int, int], encode: Encode) -> None:
    check(sampled(size, sampling, encode))


@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_narrow_regions(sampling: str, encode: Encode) -> None:
    """One to three columns or rows, everywhere: where upsampling has no neighbors."""
    data = sampled((19, 22), sampling, encode)
    expected = pillow(data)
    height, width = expected.shape[:2]
    regions: list[Region] = []
    for thickness in (1, 2, 3):
        regions += [(0, left, height, thickness) for left in range(width - thickness + 1)]
        regions += [(top, 0, thickness, width) for top in range(height - thickness + 1)]
    check_regions(data, regions, expected)


def test_color_profiles_are_left_alone(encode: Encode, make_photo: Photo) -> None:
    """Pillow does not apply them; a decoder that did would change every pixel."""
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB", 5000)).tobytes()
    for profile in (srgb, lab, b"no profile at all", srgb * 40):  # the last takes several segments
        check(encode(make_photo(40, 50), icc_profile=profile))


def segment(marker: int, body: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body


def with_segment(data: bytes, marker: int, body: bytes) -> bytes:
    """A segment more, directly behind the start of the image."""
    return data[:2] + segment(marker, body) + data[2:]


def adobe(transform: int) -> bytes:
    return b"Adobe" + struct.pack(">HHHB", 100, 0, 0, transform)


def without_jfif(data: bytes) -> bytes:
    assert data[2:4] == b"\xff\xe0"
    return data[:2] + data[4 + struct.unpack_from(">H", data, 4)[0] :]


def test_what_decides_on_the_colors_inside(encode: Encode, make_photo: Photo) -> None:
    """JFIF, Adobe's transform and the names of the components, in all combinations."""
    with_jfif = encode(make_photo(30, 41))
    for plain in (with_jfif, without_jfif(with_jfif)):
        frame = plain.index(b"\xff\xc0")
        scan = plain.index(b"\xff\xda")
        for names in (b"\1\2\3", b"RGB", b"\0\1\2", b"abc"):
            renamed = bytearray(plain)
            renamed[frame + 10 : frame + 19 : 3] = names
            renamed[scan + 5 : scan + 11 : 2] = names
            check(bytes(renamed))
            for transform in (0, 1, 2):
                check(with_segment(bytes(renamed), 0xEE, adobe(transform)))
    check(with_segment(with_segment(with_jfif, 0xEE, adobe(1)), 0xEE, adobe(0)))


def test_bytes_behind_the_end(encode: Encode, make_photo: Photo) -> None:
    first, second = encode(make_photo(40, 50)), encode(make_photo(70, 30, seed=1))
    for behind in (b"\0", b"\n", b"\0" * 5000, b"text", second, first, second + b"\xff\xd9", b"\xff\xd9"):
        check(first + behind)


def test_several_pictures_in_one_file(encode: Encode, make_photo: Photo) -> None:
    check(encode(make_photo(40, 50), "MPO", save_all=True, append_images=[make_photo(33, 44, seed=1)]))


def test_a_thumbnail_is_not_the_picture(encode: Encode, make_photo: Photo) -> None:
    check(with_segment(encode(make_photo(60, 70)), 0xE5, encode(make_photo(8, 8))))


def test_fill_bytes_before_a_marker(encode: Encode, make_photo: Photo) -> None:
    """Any marker may follow any number of 0xff; they are no part of it."""
    data = encode(make_photo(64, 48))
    check(data[:2] + b"\xff\xff" + data[2:])
    frame = data.index(b"\xff\xc0")
    check(data[:frame] + b"\xff" + data[frame:])


def test_fill_bytes_do_not_hide_another_header(encode: Encode, make_photo: Photo) -> None:
    """Taken for a marker, the fill byte would lead far into the next segment, where a smaller header waits."""
    data = encode(make_photo(64, 48))
    frame = data.index(b"\xff\xc0")
    header = bytearray(data[frame : frame + 19])
    struct.pack_into(">HH", header, 5, 8, 8)
    hidden = bytes(header) + segment(0xDA, bytes(10))
    length = 65_000
    wrong_length = 0xE0 << 8 | (length + 2) >> 8  # the marker's byte and half of the length
    body = bytearray(length)
    start = 4 + wrong_length - (2 + 1 + 4)  # from behind the fill byte and the segment's head
    body[start : start + len(hidden)] = hidden
    check(data[:2] + b"\xff" + segment(0xE0, bytes(body)) + data[2:])


def test_a_jpeg_without_its_end(encode: Encode, make_photo: Photo) -> None:
    """Pillow refuses it, unless it was told to take what is there."""
    data = encode(make_photo(60, 60))[:-2]
    try:
        expected = pillow(data)
    except OSError:
        check_refused(data)
    else:
        check(data, expected)


def test_pillows_leave_to_load_truncated_images_counts(
    encode: Encode, make_photo: Photo, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = encode(make_photo(90, 90), quality=95)
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    check(data[: len(data) * 2 // 3])


# ---- other formats ----


def gray16(height: int, width: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 65_536, (height, width), np.uint16))


def with_alpha(image: Image.Image, mode: str) -> Image.Image:
    alpha = image.convert("L").point(lambda value: 255 - value)
    image = image.convert("RGB" if mode == "RGBA" else "L")
    image.putalpha(alpha)
    return image


def palette(image: Image.Image, **info: Any) -> Image.Image:
    image = image.quantize(32)
    image.info.update(info)
    return image


def float_image(image: Image.Image) -> Image.Image:
    return Image.fromarray(np.asarray(image.convert("L"), np.float32) * 1.5 - 40)


OTHERS: dict[str, Callable[[Image.Image, Encode], bytes]] = {
    "PNG": lambda i, e: e(i, "PNG"),
    "PNG grayscale": lambda i, e: e(i.convert("L"), "PNG"),
    "PNG 16 bits": lambda i, e: e(gray16(i.height, i.width), "PNG"),
    "PNG 1 bit": lambda i, e: e(i.convert("1"), "PNG"),
    "PNG RGBA": lambda i, e: e(with_alpha(i, "RGBA"), "PNG"),
    "PNG LA": lambda i, e: e(with_alpha(i, "LA"), "PNG"),
    "PNG palette": lambda i, e: e(palette(i), "PNG"),
    "PNG palette, one color clear": lambda i, e: e(palette(i), "PNG", transparency=3),
    "PNG palette, many colors clear": lambda i, e: e(palette(i), "PNG", transparency=bytes(range(0, 256, 8))),
    "PNG color clear": lambda i, e: e(i, "PNG", transparency=(0, 0, 0)),
    "PNG grayscale clear": lambda i, e: e(i.convert("L"), "PNG", transparency=7),
    "PNG 4 bits": lambda i, e: e(i.quantize(16), "PNG", bits=4),
    "PNG interlaced": lambda i, e: e(i, "PNG", interlace=1),
    "PNG animated": lambda i, e: e(i, "PNG", save_all=True, append_images=[i.rotate(180), i.rotate(90)]),
    "WebP": lambda i, e: e(i, "WEBP", quality=70),
    "WebP lossless": lambda i, e: e(i, "WEBP", lossless=True),
    "WebP alpha": lambda i, e: e(with_alpha(i, "RGBA"), "WEBP"),
    "WebP animated": lambda i, e: e(i, "WEBP", save_all=True, append_images=[i.rotate(180)]),
    "GIF": lambda i, e: e(i, "GIF"),
    "GIF grayscale": lambda i, e: e(i.convert("L"), "GIF"),
    "GIF clear": lambda i, e: e(palette(i), "GIF", transparency=2),
    "GIF animated": lambda i, e: e(i, "GIF", save_all=True, append_images=[i.rotate(180), i.rotate(90)], duration=50),
    "BMP": lambda i, e: e(i, "BMP"),
    "BMP palette": lambda i, e: e(palette(i), "BMP"),
    "BMP 1 bit": lambda i, e: e(i.convert("1"), "BMP"),
    "BMP RGBA": lambda i, e: e(with_alpha(i, "RGBA"), "BMP"),
    "PPM": lambda i, e: e(i, "PPM"),
    "PGM": lambda i, e: e(i.convert("L"), "PPM"),
    "PGM 16 bits": lambda i, e: e(gray16(i.height, i.width), "PPM"),
    "PBM": lambda i, e: e(i.convert("1"), "PPM"),
    "TIFF": lambda i, e: e(i, "TIFF"),
    "TIFF deflate": lambda i, e: e(i, "TIFF", compression="tiff_deflate"),
    "TIFF LZW": lambda i, e: e(i, "TIFF", compression="tiff_lzw"),
    "TIFF JPEG": lambda i, e: e(i, "TIFF", compression="jpeg"),
    "TIFF G4": lambda i, e: e(i.convert("1"), "TIFF", compression="group4"),
    "TIFF grayscale": lambda i, e: e(i.convert("L"), "TIFF"),
    "TIFF 16 bits": lambda i, e: e(gray16(i.height, i.width), "TIFF"),
    "TIFF float": lambda i, e: e(float_image(i), "TIFF"),
    "TIFF int": lambda i, e: e(Image.fromarray(np.asarray(i.convert("L"), np.int32) * 3 - 99), "TIFF"),
    "TIFF CMYK": lambda i, e: e(i.convert("CMYK"), "TIFF"),
    "TIFF LAB": lambda i, e: e(i.convert("LAB"), "TIFF"),
    "TIFF RGBA": lambda i, e: e(with_alpha(i, "RGBA"), "TIFF"),
    "TIFF palette": lambda i, e: e(palette(i), "TIFF"),
    "TIFF pages": lambda i, e: e(i, "TIFF", save_all=True, append_images=[i.resize((9, 9))]),
    "ICO": lambda i, e: e(i.resize((32, 32)), "ICO"),
    "TGA": lambda i, e: e(i, "TGA"),
}


@pytest.mark.parametrize("make", OTHERS.values(), ids=OTHERS.keys())
@pytest.mark.parametrize("size", [(1, 1), (37, 52)], ids=str)
def test_other_formats(
    make: Callable[[Image.Image, Encode], bytes], size: tuple[int, int], encode: Encode, make_photo: Photo
) -> None:
    try:
        data = make(make_photo(*size), encode)
    except (ValueError, OSError, KeyError) as error:  # what this Pillow cannot write, or cannot turn into it
        pytest.skip(str(error))
    check(data)


# ---- orientation ----


def oriented(image: Image.Image, orientation: int, form: str, encode: Encode) -> bytes:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    return encode(image, form, exif=exif)


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(10))  # 1 to 8 mean something
def test_orientation(form: str, orientation: int, encode: Encode, make_photo: Photo) -> None:
    data = oriented(make_photo(29, 43), orientation, form, encode)
    check(data)  # as torchvision: left as it lies in the file
    with Image.open(io.BytesIO(data)) as image:
        upright = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    assert upright.shape[:2] == ((43, 29) if 5 <= orientation <= 8 else (29, 43))
    check(data, upright, exif_transpose=True)


def test_without_an_orientation_there_is_nothing_to_turn(encode: Encode, make_photo: Photo) -> None:
    for data in (
        encode(make_photo(20, 30)),
        encode(make_photo(20, 30), exif=b"Exif\0\0not EXIF"),
        encode(make_photo(5, 9), "BMP"),
    ):
        check(data, exif_transpose=True)


# ---- many threads ----


def test_many_threads_at_once(encode: Encode, make_photo: Photo) -> None:
    files = [encode(make_photo(30 + 3 * i, 70 - 2 * i, seed=i), progressive=i % 3 == 0) for i in range(12)]
    expected = [pillow(data) for data in files]
    rng = random.Random(0)
    which, regions = [rng.randrange(12) for _ in range(720)], []
    for number in which:
        height, width = expected[number].shape[:2]
        top, left = rng.randrange(height), rng.randrange(width)
        regions.append((top, left, height - top, width - left))
    cut = Cut(regions)
    dataset = Case([files[number] for number in which], cut)
    images = next(iter(DataLoader(dataset, 720, num_workers=6, collate_fn=images_of, device="cpu")))
    for image, number, (top, left, _, _) in zip(images, which, regions, strict=True):
        assert np.array_equal(image, expected[number][top:, left:])


# ---- memory that is used again ----


def test_a_decoder_leaves_nothing_in_memory_that_is_used_again(encode: Encode, make_photo: Photo) -> None:
    """As a worker does it: files in one place, pixels in another, sample after sample, a broken one now and then."""
    found = jpeg_decoder()
    if found is None:
        pytest.skip("nvImageCodec or a C++ compiler is missing")
    pointer = ctypes.c_void_p
    call = ctypes.CFUNCTYPE(ctypes.c_bool, pointer, ctypes.c_int64, pointer, pointer, pointer)(found.address)
    file, pixels = np.zeros(1 << 16, np.uint8), np.zeros(1 << 16, np.uint8)
    rng = random.Random(0)
    for number in range(128):
        size = rng.randint(1, 120), rng.randint(1, 120)
        data = encode(make_photo(*size, seed=number), progressive=number % 3 == 0, subsampling=number % 2)
        broken = number % 7 == 6
        data = data[: len(data) // 2] if broken else data
        top, left = rng.randrange(size[0]), rng.randrange(size[1])
        region = np.array([top, left, size[0] - top, size[1] - left], np.int32)
        used = int(region[2] * region[3] * 3)
        file[: len(data)], pixels[:] = np.frombuffer(data, np.uint8), number
        both = np.array(size, np.int32)
        decoded = call(file.ctypes.data, len(data), both.ctypes.data, region.ctypes.data, pixels.ctypes.data)
        assert (pixels[used:] == number).all()
        if not broken:
            assert decoded
            assert np.array_equal(pixels[:used].reshape(*region[2:], 3), pillow(data)[top:, left:]), number


# ---- broken files ----


def test_no_bytes() -> None:
    assert check_refused(b"") == "the file is empty (0 bytes)"


@pytest.mark.parametrize(
    "data",
    [b"x", b"just a text\n" * 100, b"\0" * 1000, b"\xff\xd8\xff", b"\xff\xd8\xff\xd9", b"\x89PNG\r\n\x1a\n", b"GIF89a"],
    ids=lambda data: repr(data[:12]),
)
def test_no_image(data: bytes) -> None:
    text = check_refused(data, "^not an image that Pillow can read")
    assert "BytesIO" not in text  # what is wrong is the file, not an object at 0x7f...


@pytest.mark.parametrize(("form", "keep"), [("JPEG", 0.6), ("PNG", 0.6), ("BMP", 0.5), ("GIF", 0.5), ("WEBP", 0.7)])
def test_cut_off(form: str, keep: float, encode: Encode, make_photo: Photo) -> None:
    data = encode(make_photo(80, 80), form)
    cut = data[: int(len(data) * keep)]
    with pytest.raises(OSError, match="."):
        pillow(cut)
    check_refused(cut, "Pillow can")


def resized(data: bytes, height: int, width: int) -> bytes:
    """A JPEG whose header claims another size."""
    lying = bytearray(data)
    struct.pack_into(">HH", lying, data.index(b"\xff\xc0") + 5, height, width)
    return bytes(lying)


@pytest.mark.parametrize("size", [(41, 40), (40, 200), (2000, 1500), (16, 16), (1, 1), (40, 1)], ids=str)
def test_a_header_that_lies(size: tuple[int, int], encode: Encode, make_photo: Photo) -> None:
    """Pillow's verdict counts: an error, or the same pixels."""
    data = resized(encode(make_photo(40, 40)), *size)
    try:
        expected = pillow(data)
    except OSError:
        check_refused(data)
    else:
        check(data, expected)


@pytest.mark.parametrize("size", [(0, 40), (40, 0)], ids=str)
def test_a_header_without_pixels(size: tuple[int, int], encode: Encode, make_photo: Photo) -> None:
    check_refused(resized(encode(make_photo(40, 40)), *size))


def mutated(data: bytes, rng: random.Random) -> bytes:
    changed = bytearray(data)
    kind = rng.randrange(4)
    at = rng.randrange(len(data))
    if kind == 0:
        del changed[at : at + rng.randint(1, 64)]
    elif kind == 1:
        changed[at : at + rng.randint(1, 64)] = bytes(rng.randint(1, 64))
    else:
        for _ in range(rng.randint(1, 4)):
            changed[rng.randrange(2, len(data) if kind == 2 else 700)] ^= 1 << rng.randrange(8)
    return bytes(changed)


def test_damaged_files_decode_as_pillow_decodes_them(
    encode: Encode, make_photo: Photo, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where Pillow makes a picture of a damaged JPEG it is the same one, whole and in part.

    Where Pillow refuses, nvImageCodec may still have read all the pixels before the damage.
    """
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1 << 20)
    photo = make_photo(48, 64)
    files = [
        encode(photo, quality=85),
        encode(photo, quality=90, progressive=True),
        encode(photo, subsampling=0, restart_marker_blocks=2),
        encode(photo.convert("L")),
    ]
    rng = random.Random(7)
    damaged = [mutated(rng.choice(files), rng) for _ in range(400)]
    agreed = 0
    for number, data in enumerate(damaged):
        try:
            expected = pillow(data)
        except Exception:
            expected = None
        height, width = (8, 8) if expected is None else expected.shape[:2]
        part = rng.randint(1, height), rng.randint(1, width)
        at = rng.randint(0, height - part[0]), rng.randint(0, width - part[1])
        try:
            images, _ = loaded(data, [(0, 0, height, width), (*at, *part)])
        except SampleError:
            images = None
        assert images is not None or expected is None, number
        if images is not None and expected is not None:
            assert np.array_equal(images[0], expected), number
            assert np.array_equal(images[1], expected[at[0] :, at[1] :][: part[0], : part[1]]), number
            agreed += 1
    assert agreed > 100


# ---- too many pixels ----


def test_a_gigapixel_header(encode: Encode, make_photo: Photo) -> None:
    text = check_refused(resized(encode(make_photo(40, 40)), 65_000, 65_000))
    assert "PIL.Image.MAX_IMAGE_PIXELS" in text and "if you trust the file" in text


def test_a_gigapixel_header_takes_no_memory(encode: Encode, make_photo: Photo) -> None:
    """A batch is not made before it is clear that the image will be refused."""
    dataset = Case([resized(encode(make_photo(40, 40)), 65_000, 65_000)], T.ToDtype(torch.float32))
    taken = []
    loader = DataLoader(dataset, device="cpu")
    assert isinstance(loader.path, ImagePath)
    ((_, engine),) = loader.path._engines.values()
    make = engine.batch
    engine.batch = lambda *arguments: taken.append(1) or make(*arguments)  # type: ignore[method-assign]
    with pytest.raises(SampleError, match=r"PIL\.Image\.MAX_IMAGE_PIXELS"):
        next(iter(loader))
    assert taken == []


def png_header(height: int, width: int) -> bytes:
    file = io.BytesIO()
    Image.new("1", (1, 1)).save(file, "PNG")
    data = bytearray(file.getvalue())
    struct.pack_into(">II", data, 16, width, height)
    struct.pack_into(">I", data, 29, zlib.crc32(data[12:29]))
    return bytes(data)


def test_a_gigapixel_png() -> None:
    check_refused(png_header(100_000, 100_000), r"PIL\.Image\.MAX_IMAGE_PIXELS")


@pytest.mark.parametrize("form", ["JPEG", "PNG"])
def test_the_limit_can_be_set(form: str, encode: Encode, make_photo: Photo, monkeypatch: pytest.MonkeyPatch) -> None:
    data = encode(make_photo(30, 40), form)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 599)
    assert pixel_limit() == 599
    check_refused(data, r"1,?198")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1200)
    check(data)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    assert pixel_limit() is None
    check(data)


def test_the_limit_counts_for_images_whose_size_is_known(
    encode: Encode, make_photo: Photo, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = Case([encode(make_photo(30, 40))], T.Resize((8, 8)))
    loader = DataLoader(dataset, device="cpu")
    assert len(list(loader)) == 1 and dataset.sizes.all()
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 599)
    with pytest.raises(SampleError, match=r"1,?198"):
        list(loader)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 600)
    with pytest.warns(Image.DecompressionBombWarning, match="1200 pixels"):
        list(loader)


def test_the_limits_message(encode: Encode, make_photo: Photo, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    text = check_refused(resized(encode(make_photo(40, 40)), 6_000, 7_000))
    assert "42000000 pixels" in text and "2000 pixels" in text
    assert text.endswith(": set PIL.Image.MAX_IMAGE_PIXELS higher if you trust the file")


# ---- which JPEGs are ordinary ----


@pytest.fixture
def header_size(folder: Path) -> Callable[..., tuple[int, int] | None]:
    """(height, width) of an ordinary JPEG, None of what is odd."""
    found = jpeg_decoder()
    if found is None:
        pytest.skip("nvImageCodec or a C++ compiler is missing")

    def measure(data: bytes, upright: bool = False) -> tuple[int, int] | None:
        (folder / "header").write_bytes(data)
        files = Files([bytes(folder / "header")], upright, found)
        files.measure(0, 1)
        height, width = files.sizes[0].tolist()
        assert files.status[0] == (Status.OK if height else Status.ODD)
        return (height, width) if height else None

    return measure


Measure = Callable[..., tuple[int, int] | None]


def test_ordinary_jpegs_take_the_fast_way(header_size: Measure, encode: Encode, make_photo: Photo) -> None:
    photo = make_photo(37, 52)
    for options in (
        {},
        {"progressive": True},
        {"subsampling": 0},
        {"subsampling": 1},
        {"optimize": True, "quality": 95},
    ):
        assert header_size(encode(photo, **options)) == (37, 52)
    assert header_size(encode(photo.convert("L"))) == (37, 52)


def test_odd_ones_do_not(header_size: Measure, encode: Encode, make_photo: Photo) -> None:
    photo = make_photo(37, 52)
    data = encode(photo)
    odd = [b"", b"\xff\xd8\xff", data[:-2], data + b"\0", encode(photo, "PNG"), encode(photo.convert("CMYK"))]
    odd += [with_segment(data, 0xEE, adobe(0)), resized(data, 0, 52), data[:300]]
    assert [header_size(d) for d in odd] == [None] * len(odd)


@pytest.mark.parametrize("at", [4096, 16_384, 32_768, 65_000])
def test_headers_behind_whatever_was_read_ahead(
    at: int, header_size: Measure, encode: Encode, make_photo: Photo
) -> None:
    """Files are read in pieces; a frame header may lie across the end of one."""
    data = encode(make_photo(37, 52))
    frame = data.index(b"\xff\xc0")
    for begin in range(at - 24, at + 4):
        padded = with_segment(data, 0xFE, b"x" * (begin - frame - 4))
        assert padded.index(b"\xff\xc0") == begin
        assert header_size(padded) == (37, 52)


def exif_segment(order: str, entries: Sequence[tuple[int, int, int, int]], head: bytes = b"Exif\0\0") -> bytes:
    """An APP1 segment's body; entries: (tag, type, count, value), a SHORT's value in the first two bytes."""
    mark, pack = (b"II*\0", "<") if order == "II" else (b"MM\0*", ">")
    fields = [
        struct.pack(f"{pack}HHIHH", tag, kind, count, value, 0)
        if kind == 3
        else struct.pack(f"{pack}HHII", tag, kind, count, value)
        for tag, kind, count, value in entries
    ]
    return head + mark + struct.pack(f"{pack}IH", 8, len(fields)) + b"".join(fields) + struct.pack(f"{pack}I", 0)


ORIENTATION, OTHER_TAG, SHORT, LONG = 0x0112, 0x0100, 3, 4
EXIFS: dict[str, tuple[list[bytes], bool]] = {  # segments, and whether they say clearly that the image is upright
    "none": ([], True),
    "little-endian 1": ([exif_segment("II", [(ORIENTATION, SHORT, 1, 1)])], True),
    "big-endian 1": ([exif_segment("MM", [(ORIENTATION, SHORT, 1, 1)])], True),
    "among others": ([exif_segment("MM", [(OTHER_TAG, SHORT, 1, 6), (ORIENTATION, SHORT, 1, 1)])], True),
    "little-endian 6": ([exif_segment("II", [(ORIENTATION, SHORT, 1, 6)])], False),
    "big-endian 8": ([exif_segment("MM", [(ORIENTATION, SHORT, 1, 8)])], False),
    "LONG 1": ([exif_segment("II", [(ORIENTATION, LONG, 1, 1)])], False),
    "LONG 6": ([exif_segment("II", [(ORIENTATION, LONG, 1, 6)])], False),
    "twice": ([exif_segment("II", [(ORIENTATION, SHORT, 1, 1), (ORIENTATION, SHORT, 1, 6)])], False),
    "no orientation": ([exif_segment("II", [(OTHER_TAG, SHORT, 1, 6)])], False),
    "two segments": ([exif_segment("II", [(ORIENTATION, SHORT, 1, 1)])] * 2, False),
    "two that differ": ([exif_segment("II", [(ORIENTATION, SHORT, 1, value)]) for value in (1, 6)], False),
    "cut off": ([exif_segment("II", [(ORIENTATION, SHORT, 1, 1)])[:20]], False),
    "no TIFF": ([b"Exif\0\0" + bytes(40)], False),
    "XMP": ([b'http://ns.adobe.com/xap/1.0/\0<x tiff:Orientation="6"/>'], False),
    "1, and XMP": (
        [
            exif_segment("II", [(ORIENTATION, SHORT, 1, 1)]),
            b'http://ns.adobe.com/xap/1.0/\0<x tiff:Orientation="6"/>',
        ],
        False,
    ),
}


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
@pytest.mark.parametrize(("segments", "clear"), EXIFS.values(), ids=EXIFS.keys())
def test_what_says_that_an_image_is_upright(
    segments: list[bytes], clear: bool, header_size: Measure, encode: Encode, make_photo: Photo
) -> None:
    data = encode(make_photo(29, 43))
    for body in reversed(segments):
        data = with_segment(data, 0xE1, body)
    assert header_size(data) == (29, 43)  # as it lies in the file
    assert header_size(data, upright=True) == ((29, 43) if clear else None)
    with Image.open(io.BytesIO(data)) as image:
        upright = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    check(data, upright, exif_transpose=True)
