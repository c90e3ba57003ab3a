"""The CPU's native code as it was built for another processor, run by an emulator: a plugin of pytest's.

    GPULOAD_FOREIGN="qemu-aarch64-static -L /usr/aarch64-linux-gnu SERVER LIBRARY" pytest -p tests.foreign tests/...

SERVER is ``tests/native/server.c`` for that processor. What a call reads is sent there, what it wrote comes back. There
is no JPEG decoder there: tests that need one are skipped.
"""

import atexit
import ctypes
import os
import shlex
import struct
import subprocess
from collections.abc import Sequence
from threading import Lock
from typing import Any

from gpuload import libraries
from gpuload.native import Work

COPY, BACK, CALL = 0, 1, 2
AXIS_BYTES = 48
BLOCK_BYTES = 16  # of random words


class Foreign:
    """Stands in for the library that `libraries.host_library` gives.

    Args:
        command: runs the server.
    """

    def __init__(self, command: Sequence[str]) -> None:
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        atexit.register(self._process.communicate)  # which ends it
        self._lock = Lock()
        self._record = self.gpuload_record_bytes()

    # ---- the functions of kernels/host.cpp ----

    def gpuload_record_bytes(self) -> int:
        return self._call("gpuload_record_bytes")

    def gpuload_work_bytes(self) -> int:
        return self._call("gpuload_work_bytes")

    def gpuload_measure(self, work: Any, first: int, count: int) -> None:
        self._with_work("gpuload_measure", work._obj, first, count)

    def gpuload_share(self, work: Any, first: int, count: int) -> None:
        self._with_work("gpuload_share", work._obj, first, count)

    def gpuload_put(self, work: Any, i: int, pixels: int) -> int:
        of = work._obj
        regions = (ctypes.c_int32 * 4 * max(of.count, 1)).from_address(of.regions)
        count = regions[i][2] * regions[i][3] * 3 if 0 <= i < of.count else 0
        with self._lock:
            there = self._copied(ctypes.string_at(pixels, count))
        status = self._with_work("gpuload_put", of, i, there)
        with self._lock:
            self._back(there, 0)
        return status & 0xFF

    def gpuload_weights(self, axis: int, kind: int, rows: int) -> int:
        packed = ctypes.string_at(axis, AXIS_BYTES)
        extent, ksize = struct.unpack_from("<i", packed, 28)[0], struct.unpack_from("<i", packed, 44)[0]
        return self._into("gpuload_weights", rows, max(4 * extent * (2 + ksize), 0), [packed, kind, None])

    def gpuload_philox(
        self, seed: int, epoch: int, positions: int, n: int, first: int, blocks: int, words: int
    ) -> None:
        given = [seed, epoch, ctypes.string_at(positions, 8 * n), n, first, blocks, None]
        self._into("gpuload_philox", words, n * blocks * BLOCK_BYTES, given)

    # ---- memory ----

    def _into(self, name: str, out: int, count: int, given: list[Any]) -> int:
        """A call whose argument None is where ``count`` bytes are written."""
        with self._lock:
            kept = ctypes.string_at(out, count)
            there = {
                k: self._copied(kept if one is None else one) for k, one in enumerate(given) if type(one) is not int
            }
            status = self._call_there(name, *(there.get(k, one) for k, one in enumerate(given)))
            for k, one in enumerate(given):
                if type(one) is not int:
                    made = self._back(there[k], count if one is None else 0)
                    if one is None:
                        ctypes.memmove(out, made, count)
        return status & 0xFF

    def _with_work(self, name: str, work: Work, *more: int) -> int:
        with self._lock:
            there = Work.from_buffer_copy(work)
            there.decode = None
            images = self._images(work)
            held: list[tuple[str, int, int, int]] = []
            for field, count in self._spans(work).items():
                here = _address(getattr(work, field))
                if here:
                    read = images if field == "memory" else ctypes.string_at(here, count)
                    held.append((field, here, self._copied(read), count))
            copies = {field: address for field, _, address, _ in held}
            raw = bytearray(bytes(there))
            for field in self._spans(work):
                struct.pack_into("<Q", raw, getattr(Work, field).offset, copies.get(field, 0))
            at = self._copied(bytes(raw))
            status = self._call_there(name, at, *more)
            for field, here, address, count in held:
                made = self._back(address, count)
                if field in ("sizes", "status", "staging", "out"):
                    ctypes.memmove(here, made, count)
            self._back(at, 0)
            for address in struct.unpack(f"<{len(images) // 8}Q", images):
                if address:
                    self._back(address, 0)
        return status

    def _spans(self, work: Work) -> dict[str, int]:
        """The bytes that each address of a work leads to."""
        n, value = max(work.count, 0), work.element_bytes
        each = {"path_at": 8, "memory": 8, "memory_channels": 1, "sizes": 8, "regions": 16, "status": 1}
        spans = {field: count * n for field, count in each.items()}
        spans |= {"records": self._record * n, "paths": work.paths_bytes, "staging": work.staging_bytes}
        return spans | {"table": work.channels * 256 * value, "out": work.out_elements * value}

    def _images(self, work: Work) -> bytes:
        """Where the copies of the images in memory lie, which are made."""
        if not work.memory or work.count < 1:
            return b""
        n = work.count
        addresses = (ctypes.c_uint64 * n).from_address(work.memory)
        channels = (ctypes.c_uint8 * n).from_address(work.memory_channels)
        sizes = (ctypes.c_int32 * 2 * n).from_address(work.sizes)
        copies = [
            self._copied(ctypes.string_at(address, sizes[i][0] * sizes[i][1] * channels[i])) if address else 0
            for i, address in enumerate(addresses)
        ]
        return struct.pack(f"<{n}Q", *copies)

    # ---- the pipes ----

    def _call(self, name: str, *given: int) -> int:
        with self._lock:
            return self._call_there(name, *given)

    def _call_there(self, name: str, *given: int) -> int:
        words = [word & 0xFFFFFFFFFFFFFFFF for word in (*given, *[0] * 7)][:7]
        return self._asked(struct.pack("<Q64s7Q", CALL, name.encode(), *words))

    def _copied(self, data: bytes) -> int:
        return self._asked(struct.pack("<QQ", COPY, len(data)) + data)

    def _back(self, address: int, count: int) -> bytes:
        self._send(struct.pack("<QQQ", BACK, address, count))
        return self._received(count)

    def _asked(self, request: bytes) -> int:
        self._send(request)
        return int.from_bytes(self._received(8), "little")

    def _send(self, request: bytes) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(request)
        self._process.stdin.flush()

    def _received(self, count: int) -> bytes:
        assert self._process.stdout is not None
        data = self._process.stdout.read(count)
        assert len(data) == count, f"the server has ended: {self._process.poll()}"
        return data


def _address(value: Any) -> int:
    """Of a field of a work; `c_char_p` gives the text itself."""
    if isinstance(value, bytes):
        return ctypes.cast(ctypes.c_char_p(value), ctypes.c_void_p).value or 0
    return value or 0


FOREIGN = Foreign(shlex.split(os.environ["GPULOAD_FOREIGN"]))
libraries.host_library = lambda: FOREIGN  # before anybody imports it by name
libraries.jpeg_library = lambda: None
