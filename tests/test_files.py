"""The images of a batch as native code takes them: those in memory, and for how long it keeps them.

What becomes of them is tested in test_native.py and test_engines.py, files in test_decoders.py.
"""

import ctypes
import weakref
from typing import Any

import numpy as np
import pytest

from gpuload.compilers import compiler
from gpuload.decoders.files import Files, Memory
from gpuload.native import Status
from tests.native_batch import in_memory

needs_compiler = pytest.mark.skipif(compiler() is None, reason="no C++ compiler")


def addresses_of(files: Files) -> tuple[list[int], list[int]]:
    """What native code reads: addresses and channels."""
    count = len(files)
    addresses = np.ctypeslib.as_array(_at(files.work.memory, ctypes.c_uint64), (count,))
    channels = np.ctypeslib.as_array(_at(files.work.memory_channels, ctypes.c_uint8), (count,))
    return addresses.tolist(), channels.tolist()


def _at(address: int, kind: Any) -> Any:
    return ctypes.cast(address, ctypes.POINTER(kind))


def test_without_images_in_memory_all_are_files() -> None:
    work = Files([b"a", b"b"], False, None).work
    assert work.memory is None and work.memory_channels is None


def test_slices_carry_the_images_in_memory() -> None:
    addresses, channels = [16, 0, 48, 64, 0], [3, 1, 1, 3, 3]
    files = Files([b""] * 5, False, None, Memory(np.array(addresses, np.uint64), np.array(channels, np.uint8), None))
    for part in (slice(None), slice(1, 4), slice(3, None)):
        assert addresses_of(files[part]) == (addresses[part], channels[part])
    assert addresses_of(files[1:][1:3]) == (addresses[2:4], channels[2:4])
    assert addresses_of(files) == (addresses, channels)


def test_arrays_of_other_widths_and_strides_are_taken_as_their_values() -> None:
    memory = Memory(np.array([[16, 1], [48, 2]])[:, 0], np.array([3, 1]), None)  # type: ignore[arg-type]
    assert addresses_of(Files([b""] * 2, False, None, memory)) == ([16, 48], [3, 1])


@pytest.mark.parametrize("lengths", [(1, 2), (2, 1), (3, 3)])
def test_every_image_has_an_address_and_channels(lengths: tuple[int, int]) -> None:
    memory = Memory(np.zeros(lengths[0], np.uint64), np.ones(lengths[1], np.uint8), None)
    with pytest.raises(AssertionError, match="one address, and one number of channels, for each image"):
        Files([b""] * 2, False, None, memory)


@needs_compiler
def test_measuring_leaves_images_in_memory_alone() -> None:
    files = Files([b"", b"missing.jpg", b""], False, None, in_memory([np.zeros((4, 5), np.uint8), None, None]))
    files.sizes[0] = 4, 5
    files.measure(0, 2)
    assert files.status.tolist() == [Status.OK, Status.ODD, Status.TODO]
    assert files.sizes.tolist() == [[4, 5], [0, 0], [0, 0]]


class Owner:
    """Something that can be seen to go."""


def test_the_memory_lives_as_long_as_any_slice() -> None:
    owner = Owner()
    gone = weakref.ref(owner)
    files = Files([b""] * 3, False, None, Memory(np.ones(3, np.uint64), np.ones(3, np.uint8), owner))
    part = files[1:2]
    del owner, files
    assert gone() is not None
    del part
    assert gone() is None
