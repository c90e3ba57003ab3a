"""The generators of a thread that is in a call."""

import random
import threading
from typing import Any

import numpy as np
import torch

__all__ = ["Generators", "thread"]

MASK32 = 0xFFFFFFFF


class Generators:
    """One of each kind, seeded when it is first asked for: most calls draw from one kind, or from none."""

    def __init__(self) -> None:
        self._torch, self._python, self._numpy = torch.Generator(), random.Random(), np.random.RandomState()

    def start(self, seed: int) -> None:
        """A new call, with a seed of 64 bits."""
        self._seed = seed
        self._torch_waits = self._python_waits = self._numpy_waits = True

    @property
    def torch(self) -> torch.Generator:
        if self._torch_waits:
            self._torch.manual_seed(self._seed)
            self._torch_waits = False
        return self._torch

    @property
    def python(self) -> random.Random:
        if self._python_waits:
            self._python.seed(self._seed)
            self._python_waits = False
        return self._python

    @property
    def numpy(self) -> "np.random.RandomState":  # unquoted it would import numpy.random, which most never need
        if self._numpy_waits:
            self._numpy.seed([self._seed & MASK32, self._seed >> 32])
            self._numpy_waits = False
        return self._numpy


class _Thread(threading.local):
    generators: Generators | None = None  # of the call that this thread is in

    def __init__(self) -> None:
        self.spare: list[Any] = []  # what earlier calls have used, to be used again


thread = _Thread()
