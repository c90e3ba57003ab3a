"""How many cases the tests try that try many of them, and whether those run that take long."""

import os


def cases(ordinary: int) -> int:
    """``$GPULOAD_CASES``, or so many where that is not set: `make test` must be short."""
    return int(os.environ.get("GPULOAD_CASES", ordinary))


THOROUGH = "GPULOAD_CASES" in os.environ
