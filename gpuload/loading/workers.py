"""Any other dataset: torch's workers and collate, then an asynchronous copy to the device."""

from collections.abc import Iterator
from typing import Any

from torch.utils.data import DataLoader as TorchDataLoader, IterableDataset

from gpuload.collate import Collate
from gpuload.device import Device
from gpuload.loading.order import Order
from gpuload.loading.transfer import Moving, sending
from gpuload.stage import CALLER, Stage, name_of, threads_of

__all__ = ["WorkerPath"]


class WorkerPath:
    """A dataset of whose samples gpuload knows nothing.

    Args:
        loader: torch's own, which makes the batches on the host.
        order: which samples are in a batch.
        device: where batches arrive.
    """

    def __init__(self, loader: TorchDataLoader[Any], order: Order, device: Device) -> None:
        self._loader, self._order, self._device = loader, order, device
        self._side, self._collate = device.stream(), loader.collate_fn
        if device.launches:
            loader.pin_memory = True  # without it the copy to the device would wait
        if device.launches and isinstance(self._collate, Collate):
            self._collate.prepare(device)
            loader.collate_fn = self._collate.pack

    def batches(self, epoch: int) -> Iterator[Any]:
        """The batches of an epoch."""
        self._order.begin(epoch)
        with self._device.on(None):  # torch's pinning thread makes a context on the GPU that is current here
            batches = iter(self._loader)
        moving = Moving(batches, self._device, self._side)
        return map(self._collate.finish, moving) if isinstance(self._collate, Collate) else moving

    def stages(self, epoch: int) -> Iterator[Stage]:
        """What is done, for explain."""
        loader, target = self._loader, self._device.describe()
        workers = threads_of(loader.num_workers, "worker process", "worker processes")
        if isinstance(loader.dataset, IterableDataset):
            yield Stage("order", CALLER, (f"as {name_of(loader.dataset)} yields",))
        else:
            yield self._order.describe(anywhere=False)
        yield Stage("sample", workers, (f"{_dataset(loader.dataset)}: ordinary code, gpuload renders nothing",))
        yield Stage("collate", workers, (name_of(self._collate),))
        if self._device.launches:
            yield sending(target)
        ahead = (loader.prefetch_factor or 0) * loader.num_workers
        yield Stage(
            "deliver", target, ("in order", f"{ahead} batches prepared ahead" if ahead else "made when asked for")
        )


def _dataset(dataset: Any) -> str:
    """A dataset in words, with its transform where it has one."""
    transform = getattr(dataset, "transform", None)
    return name_of(dataset) if transform is None else f"{name_of(dataset)} with the transform {name_of(transform)}"
