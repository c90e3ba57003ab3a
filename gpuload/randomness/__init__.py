"""Ordinary random code on many threads at once, each call with random numbers of its own.

``call_seeded(seed, f, x)`` is ``f(x)``, where whatever ``f`` draws from torch's, Python's and numpy's global generators
comes from ``seed`` alone. No lock is held: each thread has generators of its own, and the global ones stay as they are,
for other threads and for this one afterwards.

torch's functions that draw are handed the thread's generator by a mode that is the thread's alone (``modes.py``).
Python's ``random``, ``numpy.random`` and torch's ``manual_seed`` and its kin know no modes: the first call teaches
them, once, to ask for the thread's generator (``modules.py``). Outside of a call they do what they always did.

What cannot be reached draws from the global generators, as it would without this:

- names that were imported from these modules before the first call: Python's ``random`` and ``getrandbits`` (all others
  of Python's are caught), numpy's, and of torch ``manual_seed``, ``seed``, ``initial_seed``, ``get_rng_state``,
  ``set_rng_state`` and ``fork_rng``;
- what torch draws where no Python calls it: in TorchScript, and inside of operators that others registered;
- generators of GPUs, and methods of ``torch.default_generator``;
- threads that ``f`` starts.

What is unseeded by intent stays so: ``random.SystemRandom``, ``numpy.random.default_rng()``, the method ``seed`` of a
``torch.Generator``.
"""

import os
import threading
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from gpuload.randomness.generators import thread
from gpuload.randomness.modes import Drawing, functions_that_draw
from gpuload.randomness.modules import share

__all__ = ["call_seeded"]

P = ParamSpec("P")
R = TypeVar("R")


def call_seeded(seed: int, f: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
    """``f(*args, **kwargs)``, with all that it draws on this thread from ``seed``.

    The numbers are those that ``f`` would draw after ``torch.manual_seed(seed)``, ``random.seed(seed)`` and
    ``numpy.random.seed([seed & 0xFFFFFFFF, seed >> 32])``. Calls may nest: the outer one goes on where it was.

    Args:
        seed: from 0, below 2^64. Of these bits, torch's generator for the CPU takes the low 32.
        f: what is called, on this thread.
        args: of ``f``.
        kwargs: of ``f``.
    """
    if not _ready:
        _prepare()
    outer, spare = thread.generators, thread.spare
    drawing = spare.pop() if spare else Drawing()
    drawing.generators.start(seed)
    thread.generators = drawing.generators
    try:
        with drawing:
            return f(*args, **kwargs)
    finally:
        thread.generators = outer
        spare.append(drawing)


_ready = False
_preparing = threading.Lock()
os.register_at_fork(  # a fork waits: a child would find it half done
    before=_preparing.acquire, after_in_parent=_preparing.release, after_in_child=_preparing.release
)


def _prepare() -> None:
    """Once in a process: a tenth of a second."""
    global _ready
    with _preparing:
        if not _ready:
            functions_that_draw()
            share()
            _ready = True
