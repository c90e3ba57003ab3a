"""The way to nvImageCodec's decoder on a GPU: what it is asked, and what is made of its answers.

A library in its place (``tests/native/fake_nvimgcodec.cpp``) checks every struct, every handle and the order of calls.
"""

import ctypes
import gc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from gpuload.decoders.encoded import Encoded
from gpuload.decoders.files import Files
from gpuload.decoders.gpu import GpuDecoder
from gpuload.device import HostDevice
from gpuload.errors import MissingError
from gpuload.native import Status
from gpuload.recipes.fuse import Fused, fuse
from gpuload.recipes.ops import Crop, Filter, Recipe, Resize
from gpuload.recipes.recipes import Recipes
from tests.conftest import encode, make_photo
from tests.fake_codec import FAIL, SUCCESS, FakeCodec, needs_codec, region_of
from tests.native_batch import native

pytestmark = needs_codec
HEIGHT, WIDTH, REGION = 24, 31, [3, 5, 17, 20]
CUT: Recipe = (Crop(*REGION),)
ROOM = 4096  # of each sample's pixels


class Gpu0(HostDevice):
    """The host, which native code takes for a GPU."""

    class torch_device:
        index = 0

    def native(self, stream: Any) -> int:
        return 77

    def describe(self) -> str:
        return "GPU cuda:0"


class Sent:
    """Files that are AWAY, and memory in the place of a GPU's."""

    def __init__(self, paths: list[Any], recipe: Recipe = CUT, size: tuple[int, int] = (HEIGHT, WIDTH)) -> None:
        n = len(paths)
        self.files = Files([str(path).encode() for path in paths], upright=False, decoder=None)
        self.fused: Fused = fuse(Recipes.of([recipe] * n, [size[0]] * n, [size[1]] * n))
        self.fused.records["pixels"] = np.arange(n) * ROOM
        self.files.sizes[:] = size
        self.files.status[:] = Status.AWAY
        self.host, self.device = np.full(n * ROOM, 9, np.uint8), np.full(n * ROOM, 5, np.uint8)
        self.encoded, work = Encoded(n), self.files.work
        work.regions, work.records = self.fused.regions.ctypes.data, self.fused.records.ctypes.data
        work.staging, work.staging_bytes, work.encoded = self.host.ctypes.data, len(self.host), self.encoded.address

    def read(self) -> list[int]:
        native().gpuload_read(self.files.address, 0, len(self.files))
        return self.files.status.tolist()

    def decode(self, decoder: GpuDecoder, slots: list[int] | None = None) -> list[int]:
        chosen = np.arange(len(self.files)) if slots is None else np.array(slots)
        return decoder.decode(self.files, chosen, self.device.ctypes.data, None).tolist()

    def pixels(self, slot: int) -> NDArray[np.uint8]:
        height, width = self.fused.regions[slot, 2:]
        return self.device[slot * ROOM :][: height * width * 3].reshape(height, width, 3)


@pytest.fixture
def paths(tmp_path: Path) -> list[Path]:
    for number in range(5):
        (tmp_path / f"{number}.jpg").write_bytes(encode(make_photo(HEIGHT, WIDTH, number)))
    return [tmp_path / f"{number}.jpg" for number in range(5)]


def writes(data: bytes, region: list[int], out: int, stream: int) -> int:
    """A GPU that decodes as Pillow does."""
    pixels = np.ascontiguousarray(region_of(data, region))
    ctypes.memmove(out, pixels.ctypes.data, pixels.size)
    return SUCCESS


def started(decodes: Callable[..., int] = writes, **options: Any) -> GpuDecoder:
    with FakeCodec(decodes, **options).installed() as codec:
        decoder = GpuDecoder(Gpu0())
    decoder.codec = codec  # type: ignore[attr-defined]
    return decoder


@pytest.mark.parametrize("late", [False, True])
def test_regions_go_to_their_places(paths: list[Path], late: bool) -> None:
    """The call returns when nvImageCodec is done with the files, however it goes about it."""
    decoder = started(late=late)
    for _ in range(3):  # with the same handles
        sent = Sent(paths)
        assert sent.read() == [Status.AWAY] * 5
        assert sent.decode(decoder) == [Status.OK] * 5
        for slot, path in enumerate(paths):
            assert np.array_equal(sent.pixels(slot), region_of(path.read_bytes(), REGION))
        assert (sent.host == 9).all()


def test_it_is_asked_for_regions_on_the_stream(paths: list[Path]) -> None:
    asked: list[tuple[Any, ...]] = []
    sent = Sent(paths[:2])
    sent.read()
    sent.decode(started(lambda *call: asked.append(call) or SUCCESS))  # type: ignore[func-returns-value]
    base = sent.device.ctypes.data
    assert asked == [(path.read_bytes(), REGION, base + at * ROOM, 77) for at, path in enumerate(paths[:2])]


@pytest.mark.parametrize("status", [0, FAIL, 5, 7, 0x11, 0x23])
def test_any_other_status_than_success_is_a_failure(paths: list[Path], status: int) -> None:
    """Also that of one among others."""
    refused = paths[2].read_bytes()
    sent = Sent(paths)
    sent.read()
    decoder = started(lambda data, *where: status if data == refused else writes(data, *where))
    assert sent.decode(decoder) == [Status.OK, Status.OK, Status.FAILED, Status.OK, Status.OK]
    assert (sent.pixels(2) == 5).all()


def test_some_of_a_batch(paths: list[Path]) -> None:
    sent = Sent(paths)
    sent.files.status[[0, 2]] = Status.TODO  # the workers'
    assert sent.read() == [Status.TODO, Status.AWAY, Status.TODO, Status.AWAY, Status.AWAY]
    sent.files.status[3] = Status.CHANGED
    assert sent.decode(started(), [4, 3, 1]) == [Status.OK, Status.CHANGED, Status.OK]
    assert (sent.pixels(3) == 5).all() and (sent.pixels(0) == 5).all()
    assert np.array_equal(sent.pixels(4), region_of(paths[4].read_bytes(), REGION))
    assert sent.files.undone(0, 5) == [0, 2, 3]  # what is AWAY is no worker's


def test_nothing_is_asked_where_there_is_nothing(paths: list[Path]) -> None:
    decoder = started(lambda *call: pytest.fail("asked"))
    sent = Sent(paths)  # none of which was read
    sent.files.status[:] = Status.ODD
    assert sent.decode(decoder) == [Status.ODD] * 5
    assert sent.decode(decoder, []) == []
    sent.files.status[:] = Status.AWAY
    assert sent.decode(decoder) == [Status.FAILED] * 5  # nvImageCodec takes no code stream of no bytes


def test_what_cannot_be_sent_away(paths: list[Path], tmp_path: Path) -> None:
    (tmp_path / "other size.jpg").write_bytes(encode(make_photo(HEIGHT + 1, WIDTH)))
    (tmp_path / "no end.jpg").write_bytes(paths[0].read_bytes()[:-2])
    (tmp_path / "a.png").write_bytes(encode(make_photo(HEIGHT, WIDTH), "PNG"))
    names = ["other size.jpg", "no end.jpg", "a.png", "missing.jpg", "4.jpg"]
    sent = Sent([tmp_path / name for name in names])
    assert sent.read() == [Status.CHANGED, Status.ODD, Status.ODD, Status.UNREADABLE, Status.AWAY]


@pytest.mark.parametrize("place", [-1, 5 * ROOM, 5 * ROOM - 17 * 20 * 3 + 1])
def test_places_outside_of_the_buffer(paths: list[Path], place: int) -> None:
    sent = Sent(paths)
    sent.fused.records["pixels"][1] = place
    assert sent.read() == [Status.AWAY, Status.INVALID, Status.AWAY, Status.AWAY, Status.AWAY]


def test_without_memory_for_files_none_is_read(paths: list[Path]) -> None:
    sent = Sent(paths)
    sent.files.work.encoded = None
    assert sent.read() == [Status.INVALID] * 5


def test_rows_of_weights_are_made_on_the_host(paths: list[Path]) -> None:
    """Also where reading fails: Pillow's pixels find them there."""
    sent = Sent([paths[0], "missing.jpg"], (Resize(9, 9, Filter.LANCZOS),))
    sent.fused.records["weights"] = [[2048, 3072], [ROOM + 2048, ROOM + 3072]]
    assert sent.read() == [Status.AWAY, Status.UNREADABLE]
    ours = sent.host.reshape(2, ROOM)[:, 2048:]
    assert (ours[0] == ours[1]).all() and not (ours[:, :16] == 9).all()


def test_files_grow_and_shrink_in_their_memory(paths: list[Path], tmp_path: Path) -> None:
    decoder, sent = started(), Sent(paths[:1])
    for quality in (10, 95, 30, 100):
        paths[0].write_bytes(encode(make_photo(HEIGHT, WIDTH, quality), quality=quality))
        sent.files.status[:] = Status.AWAY
        assert sent.read() == [Status.AWAY] and sent.decode(decoder) == [Status.OK]
        assert np.array_equal(sent.pixels(0), region_of(paths[0].read_bytes(), REGION))


def test_all_handles_are_given_back(paths: list[Path]) -> None:
    codec = FakeCodec(writes)
    before = codec.live
    with codec.installed():
        decoder = GpuDecoder(Gpu0())
    sent = Sent(paths)
    sent.read()
    sent.decode(decoder)
    assert codec.live == before + 3 + 3 * 5  # instance, extension, decoder; of each image two streams and itself
    del decoder
    gc.collect()
    assert codec.live == before


def test_one_that_does_not_start() -> None:
    codec = FakeCodec(writes, starts=False)
    before = codec.live
    with codec.installed(), pytest.raises(MissingError, match="does not start on GPU cuda:0 .*or pass decoder='cpu'"):
        GpuDecoder(Gpu0())
    assert codec.live == before


def test_the_real_one_names_itself_or_says_what_is_missing() -> None:
    """Here, where there is no GPU, or on one."""
    try:
        assert "nvImageCodec 0." in GpuDecoder(Gpu0()).describe()
    except MissingError as error:
        assert "does not start" in str(error)  # noqa: PT017
