"""The time of a run: how much is left, whose turn it is."""

import time
from collections.abc import Iterator

from gpuload.tools.common import bar

__all__ = ["Clock"]

ROUNDS = 5  # most; fewer where time is short


class Clock:
    """Runs from when it is made.

    Args:
        seconds: that the run may take.
        progress: show on standard error whose turn it is.
    """

    def __init__(self, seconds: float, progress: bool) -> None:
        self.seconds, self._start = seconds, time.perf_counter()
        self._bar = bar(progress, "", total=seconds, bar_format="{percentage:3.0f}%|{bar:30}| {desc}")

    @property
    def passed(self) -> float:
        """Seconds since it was made."""
        return time.perf_counter() - self._start

    def share(self, part: float) -> float:
        """The time, as `passed` has it, at which what begins now and may take a part of the whole run is to end."""
        return self.passed + part * self.seconds

    def show(self, what: str) -> None:
        """Whose turn it is."""
        self._bar.set_description_str(what, refresh=False)
        self._bar.n = min(self.passed, self.seconds)
        self._bar.refresh()

    def rounds(self, end: float, what: str) -> Iterator[int]:
        """The numbers of the rounds that come before a time: one in any case, and no more than `ROUNDS`."""
        for number in range(ROUNDS):
            begin = self.passed
            self.show(what)
            yield number
            if 2 * self.passed - begin > end:  # another one would be late
                return

    def turn(self, end: float, contestants: int) -> float:
        """Seconds that each contestant plays in a round, if the rounds are to end at a time."""
        return max(end - self.passed, 0.0) / (ROUNDS * contestants)

    def close(self) -> None:
        """Nothing is shown any more."""
        self._bar.close()
