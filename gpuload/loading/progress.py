"""Which epoch a loader plays next, and from which batch on."""

from collections.abc import Iterator
from typing import Any, NamedTuple

from gpuload.arguments import epoch_number
from gpuload.frameworks import size_of_all, skipped
from gpuload.loading.order import counter, keeper_of_epoch
from gpuload.samplers.base import CounterSampler
from gpuload.samplers.position import Position, batch_at

__all__ = ["Progress", "Samplers"]

Batches = Iterator[Any]


class Samplers(NamedTuple):
    """A loader's, as they are now: they may change."""

    sampler: Any
    batch_sampler: Any

    @classmethod
    def of(cls, loader: Any) -> "Samplers":
        """Of a loader of torch's class."""
        return cls(loader.sampler, loader.batch_sampler)

    @property
    def keeper(self) -> Any:
        """Which is told the epoch, as `gpuload.loading.order.keeper_of_epoch` finds it."""
        return keeper_of_epoch(self.sampler, self.batch_sampler)

    @property
    def size(self) -> int | None:
        """Positions that a batch takes, of all ranks together; None: batches are made in a way of the user's."""
        is_counted = counter(self.sampler, self.batch_sampler) is not None
        return size_of_all(self.batch_sampler) or 1 if is_counted else None

    def batch_of(self, epoch: int) -> int | None:
        """Where an epoch is to begin by the state that was loaded into the sampler; None: none was.

        Raises:
            ArgumentError: no batch begins there.
        """
        keeper = self.keeper
        start = keeper.resumed_at(epoch) if isinstance(keeper, CounterSampler) else None
        return None if start is None else batch_at(start, self.size, len(keeper))


class Progress:
    """Where a loader is in its epochs.

    Each of them follows the one before, unless another is chosen: here, or by telling the keeper, or by a state that
    is loaded into it. That is asked for anew each time: a loader's samplers may change.
    """

    def __init__(self) -> None:
        self._epoch, self._told = 0, None
        self._position: Position | None = None  # of the epoch that was begun last
        self._resumed: tuple[int, int] | None = None  # an epoch, and where it is to begin

    def epoch(self, keeper: Any) -> int:
        """The one that begins next: the one that the keeper was told since the last, or one more."""
        return keeper.epoch if self.is_told(keeper) else self._epoch

    def is_told(self, keeper: Any) -> bool:
        """Whether the keeper has another epoch than when an epoch was chosen or begun here."""
        return getattr(keeper, "epoch", None) not in (None, self._told)

    def turn_to(self, epoch: int, keeper: Any) -> None:
        """It is this one's turn, unless the keeper is told otherwise."""
        self._epoch, self._told = epoch_number(epoch), getattr(keeper, "epoch", None)

    def resume(self, epoch: int, batch: int) -> None:
        """If this epoch begins next, it does so at that batch."""
        self._position, self._resumed = None, (epoch, batch)

    def start(self, samplers: Samplers) -> Position:
        """Where the epoch that is to begin does."""
        epoch, left_out = self.epoch(samplers.keeper), skipped(samplers.batch_sampler)
        batch = samplers.batch_of(epoch)  # a state that was loaded later than the loader's
        if batch is None:
            batch = self._resumed[1] if self._resumed is not None and self._resumed[0] == epoch else 0
        return Position(epoch, max(batch, left_out), samplers.size, left_out)

    def begun(self, position: Position, batches: Batches, keeper: Any) -> tuple[Batches, Position]:
        """These batches of an epoch are being delivered."""
        self._position, self._resumed = position, None
        if position.size is not None:  # the sampler is not iterated, or ahead: what is delivered counts
            keeper.follow(position)
        return batches, position

    def delivered(self, samplers: Samplers) -> tuple[int, int]:
        """The epoch that was begun last, or is to be resumed, and how many batches of it there were."""
        position = self.start(samplers) if self._position is None else self._position
        return position.epoch, position.own

    def here(self, samplers: Samplers) -> Position:
        """What is delivered next."""
        epoch, position = self.epoch(samplers.keeper), self._position
        if position is None or position.is_over or epoch != position.epoch + 1 or samplers.batch_of(epoch) is not None:
            return self.start(samplers)
        return position

    def __getstate__(self) -> dict[str, Any]:
        """A copy has no iterator that would move the position on."""
        return {**vars(self), "_position": None}
