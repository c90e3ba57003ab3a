"""What is done to a batch on the device before it is delivered: the batch transform, with draws of the batch's own."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

from gpuload.batch_transforms.base import BatchTransform, Part
from gpuload.batch_transforms.draws import KeyedDraws
from gpuload.batch_transforms.lifted import lifted
from gpuload.device import Device
from gpuload.frameworks import part_of
from gpuload.loading.order import Order
from gpuload.loading.work import unless_stop_iteration
from gpuload.samplers.position import Position
from gpuload.stage import Stage

__all__ = ["Finish", "parted"]


class Finish(NamedTuple):
    """The batch transform of an epoch.

    Attributes:
        transform: what it is.
        seed: of what is drawn.
        rank, world_size: which part of each global batch comes here.
        device: where batches are.
    """

    transform: BatchTransform
    seed: int
    rank: int
    world_size: int
    device: Device

    @classmethod
    def of(cls, loader: Any) -> "Finish | None":
        """A `DataLoader`'s, as it is now; None: it has none."""
        if loader.batch_transform is None:
            return None
        rank, world_size = part_of(loader.batch_sampler, loader.sampler)
        return cls(lifted(loader.batch_transform), loader.seed, rank, world_size, loader._place)

    @property
    def reach(self) -> int:
        """How many samples it wants that stand before a part of a global batch."""
        return self.transform.reach

    def each(self, batches: Iterator[Any], position: Position) -> Iterator[Any]:
        """The batches, or parts with what stands before them, as they are delivered.

        Args:
            batches: where they come from.
            position: the one that comes next; whoever delivers them keeps it up to date.
        """
        return map(partial(unless_stop_iteration, self._finished, position), batches)

    def _finished(self, position: Position, made: Any) -> Any:
        draws = KeyedDraws(self.seed, position.epoch, position.batch, self.rank, self.world_size, self.device)
        return self.transform.of(made if isinstance(made, Part) else Part(made), draws).batch

    def describe(self, order: Order) -> Stage:
        """What is done, for explain."""
        facts = [self.transform.describe(), "when it is delivered; drawn from seed, epoch and the batch's number alone"]
        known = order.reach(self.reach)
        if known:
            samples = "1 sample" if known == 1 else f"{known} samples"
            facts.append(f"of the global batch: {samples} more than are delivered are loaded for each, to mix them in")
        elif self.reach and self.world_size > 1:
            facts.append("samples of this rank are mixed with each other alone: shard= mixes those of the global batch")
        return Stage("transform", self.device.describe(), tuple(facts))


def parted(samples: Any, reach: int, collated: Callable[[Any], Any]) -> Any:
    """Samples collated; where some in front are another part's, these by themselves: a `Part`."""
    return Part(collated(samples[reach:]), collated(samples[:reach])) if reach else collated(samples)
