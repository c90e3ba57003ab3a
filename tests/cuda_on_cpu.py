"""The CUDA kernels compiled by the C++ compiler, for tests on machines without a GPU."""

import ctypes
from functools import lru_cache
from pathlib import Path

import pytest

from gpuload.compilers import build, compiler

SOURCE = Path(__file__).parent / "native" / "cuda_on_cpu.cpp"


@lru_cache(maxsize=1)
def cuda_on_cpu() -> ctypes.CDLL:
    """``tests/native/cuda_on_cpu.cpp``, built; skips the test where there is no compiler."""
    if compiler() is None:
        pytest.skip("no C++ compiler")
    library = ctypes.CDLL(str(build(SOURCE)))
    pointer, integer, wide = ctypes.c_void_p, ctypes.c_int, ctypes.c_int64
    library.cuda_render.argtypes = [pointer, integer, pointer, pointer, integer, integer, integer, integer, pointer]
    erasing = [pointer, integer, pointer, pointer, pointer, wide, integer, integer, integer, integer, pointer]
    library.cuda_erase.argtypes = erasing
    library.cuda_adjust.argtypes = [pointer, integer, *[pointer] * 4, integer, integer, integer, pointer]
    library.cuda_order_permuted.argtypes = [pointer, wide, wide, pointer]
    library.cuda_order_replaced.argtypes = [ctypes.c_uint64, ctypes.c_uint32, ctypes.c_uint64, wide, wide, pointer]
    library.cuda_order_weighted.argtypes = [ctypes.c_uint64, ctypes.c_uint32, pointer, wide, wide, wide, pointer]
    library.cuda_gather.argtypes = [pointer, pointer, wide, wide, integer, pointer]
    library.cuda_pad.argtypes = [pointer, pointer, pointer, integer, pointer]
    return library
