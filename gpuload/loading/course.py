"""What the batches of images of one epoch go by: the dataset, its program and the loader's settings, as they were when
it began."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import default_collate

from gpuload.collate import Collate
from gpuload.datasets.base import ImageDataset
from gpuload.device import Device
from gpuload.engines.base import Engine
from gpuload.errors import CollateError
from gpuload.loading.quarantine import Tolerance
from gpuload.loading.stretch import Planner
from gpuload.loading.targets import Targets
from gpuload.loading.transfer import move, pinned
from gpuload.transforms.hand import Form
from gpuload.transforms.program import Program

__all__ = ["Course", "Images", "Labels", "Settings"]

Labels = Sequence[Any] | NDArray[np.int64]


class Settings(NamedTuple):
    """Arguments of the loader that may change from one epoch to the next.

    Attributes:
        workers: threads.
        prefetch: batches prepared ahead; more where the workers need more to be busy.
        keeps_workers: they go on with the next epoch.
        collate_fn, pin_memory, timeout, worker_init_fn, in_order: as of the loader.
        tolerance: of samples that cannot be read; None: an error is raised.
    """

    workers: int
    prefetch: int
    keeps_workers: bool
    collate_fn: Callable[[Any], Any]
    pin_memory: bool
    timeout: float
    worker_init_fn: Callable[[int], None] | None
    in_order: bool
    tolerance: Tolerance | None


class Images(NamedTuple):
    """What the loader renders, as it was when an epoch began.

    Attributes:
        dataset: the images.
        program: what its transform compiled to.
    """

    dataset: ImageDataset
    program: Program


class Course(NamedTuple):
    """One epoch.

    Attributes:
        epoch: its number.
        program: of the dataset.
        planners: one for each leg of it.
        single: samples are delivered as they are, not in batches.
        collate_fn: as of the loader.
        device: where batches arrive.
        tolerance: as of the settings.
        targets: what moves with the images; None: labels are as the dataset has them.
    """

    epoch: int
    program: Program
    planners: tuple[Planner, ...]
    single: bool
    collate_fn: Callable[[Any], Any]
    device: Device
    tolerance: Tolerance | None
    targets: Targets | None = None

    @property
    def engine(self) -> Engine:
        """Renders what is delivered."""
        return self.planners[-1].engine

    @property
    def is_sent(self) -> bool:
        """Images are made in page-locked memory of the host's, and go on to the device."""
        return self.engine.on_host and self.device.launches

    @property
    def stacks(self) -> bool:
        """Batches are torch's plain ones: images in a tensor, labels as default_collate has them."""
        return self.collate_fn is default_collate and not self.single

    def prepared(self, labels: Labels) -> Any:
        """What a worker can do for `collated`: labels stacked, or as a list."""
        if not self.stacks:
            return labels.tolist() if isinstance(labels, np.ndarray) else labels
        # copied: a dataset may give a view of its own memory, and a batch is the user's
        batch = torch.from_numpy(labels.copy()) if isinstance(labels, np.ndarray) else default_collate(tuple(labels))  # type: ignore[arg-type]
        return pinned(batch, self.device)

    def stacked(self, images: list[Any]) -> Any:
        """What a worker can do for samples that ordinary code has finished."""
        return pinned(stacked(images), self.device) if self.stacks else images

    def collated(self, made: tuple[Any, Any]) -> Any:
        """Images and `prepared` labels as the batch that the user gets."""
        images, labels = made
        if self.device.launches:  # else they are there
            labels = move(labels, self.device)
            images = move(images, self.device) if isinstance(images, list) else images
        if self.stacks:
            return [stacked(images) if isinstance(images, list) else images, labels]
        labels = labels if self.targets is None else self.targets.each(labels)
        if self.program.leaves is Form.IMAGE and self.program.ends_natively:
            images = [Form.IMAGE.wrapped(image) if type(image) is torch.Tensor else image for image in images]
        if self.single:
            return self.collate_fn((images[0], labels[0]))
        batch = self.collate_fn(list(zip(images, labels, strict=True)))
        is_ours = isinstance(self.collate_fn, Collate)  # it makes tensors of labels, on the host
        return move(pinned(batch, self.device), self.device) if is_ours else batch


def stacked(images: list[Any]) -> Any:
    """Images as default_collate has them.

    Raises:
        CollateError: they have several shapes.
    """
    shapes = {tuple(image.shape) for image in images if isinstance(image, torch.Tensor)}
    if len(shapes) > 1:
        shown = ", ".join(str(shape) for shape in sorted(shapes)[:3])
        raise CollateError(
            f"the images of this batch have {len(shapes)} shapes ({shown}, ...), which make no single tensor: "
            "end the transform with a fixed size, such as CenterCrop or Resize((height, width)), or pass collate_fn"
        )
    return default_collate(images)
