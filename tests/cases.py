"""How many cases the tests that try many of them try."""

import os


def cases(ordinary: int) -> int:
    """``$GPULOAD_CASES``, or so many where that is not set: `make test` must be short."""
    return int(os.environ.get("GPULOAD_CASES", ordinary))
