"""Epochs that torch's workers begin when ``iter`` is called, before anybody wants a batch."""

from collections.abc import Iterator
from typing import Any

from gpuload.loading.checks import length
from gpuload.loading.epoch import NoProcesses
from gpuload.loading.finish import Finish
from gpuload.loading.progress import Progress, Samplers
from gpuload.loading.workers import WorkerPath
from gpuload.samplers.base import CounterSampler
from gpuload.samplers.position import Position

__all__ = ["Early"]


class Early:
    """An epoch that has begun. Until its first batch is wanted another one may be chosen, as Lightning does.

    Args:
        loader: whose.
        path: makes its batches.
        progress: where it is.
    """

    def __init__(self, loader: Any, path: WorkerPath, progress: Progress) -> None:
        self._loader, self._path, self._progress = loader, path, progress
        self._batches: Iterator[Any] = iter(())
        self._theirs: Any = NoProcesses()
        self._begin()

    def __call__(self) -> tuple[Iterator[Any], Position]:
        """The batches, of the epoch that is chosen by now, and where it is."""
        if self._is_another_chosen():
            self._begin()
        position, keeper = self._position, Samplers.of(self._loader).keeper
        if self._moves_on and self._progress.epoch(keeper) == position.epoch:  # chosen once more, or nothing was taken
            if isinstance(keeper, CounterSampler):
                keeper.set_epoch(position.epoch + 1)
            self._progress.turn_to(position.epoch + 1, keeper)
        batches, self._batches = self._batches, iter(())  # whoever has them lets them go
        return self._progress.begun(position, batches, keeper)

    def theirs(self) -> Any:
        """torch's iterator, which reads."""
        return self._theirs

    def _begin(self) -> None:
        samplers = Samplers.of(self._loader)
        position, keeper = self._progress.start(samplers), samplers.keeper
        self._position, self._batches, self._theirs = position, iter(()), NoProcesses()
        is_empty = 0 < position.own == length(self._loader)
        if not is_empty:
            finish = Finish.of(self._loader)
            wanted = 0 if finish is None else finish.reach
            batches, self._theirs = self._path.batches(self._loader, position.own, wanted)
            self._batches = batches if finish is None else finish.each(batches, position)
            if not isinstance(keeper, CounterSampler):  # which moves on by itself
                self._progress.turn_to(position.epoch + 1, keeper)
        self._is_taken = self._progress.epoch(keeper) != position.epoch  # without workers, the first batch does it
        self._moves_on = is_empty or self._is_taken
        if self._is_taken:
            self._progress.begun(position, self._batches, keeper)

    def _is_another_chosen(self) -> bool:
        samplers, begun = Samplers.of(self._loader), self._position
        keeper = samplers.keeper
        if not self._is_taken:
            now = self._progress.start(samplers)
            return (now.epoch, now.batch) != (begun.epoch, begun.batch)
        is_told = keeper.is_chosen if isinstance(keeper, CounterSampler) else self._progress.is_told(keeper)
        return is_told and self._progress.epoch(keeper) != begun.epoch
