"""The interface of ``kernels/host.cpp``: what a batch is to native code, and what becomes of its samples."""

import ctypes
from enum import IntEnum

__all__ = ["Status", "Work", "declare"]


class Status(IntEnum):
    """What became of a sample; ``enum Status`` of ``kernels/share.h``."""

    OK = 0
    TODO = 1
    """Nothing has been done about it yet."""
    UNREADABLE = 2
    """No regular file, or reading it failed."""
    ODD = 3
    """Not an ordinary JPEG, or no decoder."""
    CHANGED = 4
    """The file's size in pixels is not the one that its record was made for."""
    FAILED = 5
    """The decoder did not decode it, or memory ran out."""
    INVALID = 6
    """A record, region or offset that would lead outside its memory; nothing was touched."""
    AWAY = 7
    """Another decoder's, on a GPU."""


class Work(ctypes.Structure):
    """``struct Work`` of ``kernels/share.h``, one batch. Arrays are given by address and must outlive it."""

    _fields_ = [
        ("count", ctypes.c_int64),
        ("paths", ctypes.c_char_p),  # file names, each ended by a NUL
        ("paths_bytes", ctypes.c_int64),  # of all of them
        ("path_at", ctypes.c_void_p),  # (count,) int64: where each begins
        (
            "memory",
            ctypes.c_void_p,
        ),  # (count,) uint64: address of an image's first pixel, 0 of a file; None: all are files
        ("memory_channels", ctypes.c_void_p),  # (count,) uint8: 3, or 1: gray
        ("sizes", ctypes.c_void_p),  # (count, 2) int32: height, width in pixels
        ("regions", ctypes.c_void_p),  # (count, 4) int32: top, left, height, width in pixels
        ("records", ctypes.c_void_p),  # (count,) RECORD
        ("status", ctypes.c_void_p),  # (count,) uint8 of Status
        ("decode", ctypes.c_void_p),  # the decoder's function; None: every file is ODD
        ("staging", ctypes.c_void_p),  # where pixels go; None: they are rendered into `out`
        ("staging_bytes", ctypes.c_int64),
        ("table", ctypes.c_void_p),  # (channels, 256) output values
        ("out", ctypes.c_void_p),
        ("out_elements", ctypes.c_int64),
        ("element_bytes", ctypes.c_int32),  # of an output value: 1, 2 or 4
        ("channels", ctypes.c_int32),  # 1 to 3
        ("channels_last", ctypes.c_int32),
        ("upright", ctypes.c_int32),  # 1: a file whose EXIF orientation is not surely 1 is ODD
        ("encoded", ctypes.c_void_p),  # (count,) struct Encoded: where files that are AWAY are read to
        ("adjustments", ctypes.c_void_p),  # ADJUSTMENT, of all samples; None: there are none
        ("adjustment_count", ctypes.c_int64),
        ("adjusted_at", ctypes.c_void_p),  # (count + 1,) int64: where each sample's begin, and the last one's end
        ("warps", ctypes.c_void_p),  # WARP, that adjustments point to
        ("warp_count", ctypes.c_int64),
        ("frames", ctypes.c_void_p),  # FRAME, likewise
        ("frame_count", ctypes.c_int64),
        ("grids", ctypes.c_void_p),  # GRID, likewise
        ("grid_count", ctypes.c_int64),
        ("kernels", ctypes.c_void_p),  # KERNEL, likewise
        ("kernel_count", ctypes.c_int64),
        ("rendered", ctypes.c_void_p),  # (count,) uint8; 1: rendered, although there is staging; None: none is
        ("rectangles", ctypes.c_void_p),  # RECTANGLE, of all samples' outputs; None: there are none
        ("rectangle_count", ctypes.c_int64),
        ("erased_at", ctypes.c_void_p),  # (count + 1,) int64: where each sample's begin, and the last one's end
        ("fills", ctypes.c_void_p),  # (channels, fill_columns) values that rectangles get
        ("fill_columns", ctypes.c_int64),
        ("next", ctypes.c_void_p),  # Work of another view of the same images; None: this is the last one
    ]


_pointer, _int64, _uint64, _uint32 = ctypes.c_void_p, ctypes.c_int64, ctypes.c_uint64, ctypes.c_uint32
_work = ctypes.POINTER(Work)
_FUNCTIONS = {
    "gpuload_record_bytes": (ctypes.c_int, []),
    "gpuload_work_bytes": (ctypes.c_int, []),
    "gpuload_measure": (None, [_work, _int64, _int64]),
    "gpuload_share": (None, [_work, _int64, _int64]),
    "gpuload_load": (None, [_work, _int64, _int64]),
    "gpuload_read": (None, [_work, _int64, _int64]),
    "gpuload_release": (None, [_pointer, _int64]),
    "gpuload_put": (ctypes.c_uint8, [_work, _int64, _pointer]),
    "gpuload_weights": (ctypes.c_uint8, [_pointer, ctypes.c_int, _pointer]),
    "gpuload_philox": (None, [_uint64, _uint32, _pointer, _int64, _uint32, _uint32, _pointer]),
}


def declare(library: ctypes.CDLL) -> ctypes.CDLL:
    """Tell ctypes the signatures of the library's functions, and return it."""
    for name, (result, arguments) in _FUNCTIONS.items():
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    if library.gpuload_work_bytes() != ctypes.sizeof(Work):
        raise RuntimeError("kernels/share.h and gpuload/native.py lay out struct Work differently")
    return library
