"""Which epoch a loader plays next, and from which batch on."""

from typing import Any

from gpuload.arguments import epoch_number
from gpuload.loading.epoch import Position

__all__ = ["Progress"]


class Progress:
    """Where a loader is in its epochs.

    Each of them follows the one before, unless another is chosen: here, or by telling the keeper, as
    `gpuload.loading.order.keeper_of_epoch` finds it. That is asked for anew each time: a loader's samplers may change.
    """

    def __init__(self) -> None:
        self._epoch, self._told = 0, None
        self._position: Position | None = None  # of the epoch that was begun last
        self._resumed: tuple[int, int] | None = None  # an epoch, and where it is to begin

    def epoch(self, keeper: Any) -> int:
        """The one that begins next: the one that the keeper was told since the last, or one more."""
        told = getattr(keeper, "epoch", None)
        return self._epoch if told is None or told == self._told else told

    def turn_to(self, epoch: int, keeper: Any) -> None:
        """It is this one's turn, unless the keeper is told otherwise."""
        self._epoch, self._told = epoch_number(epoch), getattr(keeper, "epoch", None)

    def resume(self, epoch: int, batch: int) -> None:
        """If this epoch begins next, it does so at that batch."""
        self._position, self._resumed = None, (epoch, batch)

    def start(self, keeper: Any) -> Position:
        """Where the epoch that is to begin does."""
        epoch = self.epoch(keeper)
        return Position(epoch, self._batch_of(epoch))

    def begun(self, position: Position) -> None:
        """An epoch's batches are being delivered."""
        self._position, self._resumed = position, None

    def delivered(self, keeper: Any) -> tuple[int, int]:
        """The epoch that was begun last, or is to be resumed, and how many batches of it there were."""
        if self._position is not None:
            return self._position.epoch, self._position.batch
        epoch = self.epoch(keeper)
        return epoch, self._batch_of(epoch)

    def here(self, keeper: Any) -> tuple[int, int]:
        """The epoch of the batch that comes next, and its number there."""
        epoch, position = self.epoch(keeper), self._position
        if position is not None and not position.is_over and epoch == position.epoch + 1:
            return position.epoch, position.batch
        return epoch, self._batch_of(epoch)

    def _batch_of(self, epoch: int) -> int:
        resumed = self._resumed
        return resumed[1] if resumed is not None and resumed[0] == epoch else 0

    def __getstate__(self) -> dict[str, Any]:
        """A copy has no iterator that would move the position on."""
        return {**vars(self), "_position": None}
