"""What the batches of images of one epoch go by: the dataset, its program and the loader's settings, as they were when
it began."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import default_collate

from gpuload.batch_transforms import Part
from gpuload.collate import Collate
from gpuload.datasets.base import ImageDataset
from gpuload.device import Device
from gpuload.engines.base import Engine
from gpuload.errors import CollateError
from gpuload.loading.finish import Finish, parted
from gpuload.loading.quarantine import Tolerance
from gpuload.loading.stretch import Planner
from gpuload.loading.targets import Targets
from gpuload.loading.transfer import move, pinned
from gpuload.transforms.program import Program, Views

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
        finish: what is done to batches on the device; None: nothing.
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
    finish: Finish | None = None

    @property
    def reach(self) -> int:
        """How many samples of another rank's part come in front of a batch."""
        return 0 if self.finish is None else self.finish.reach


class Images(NamedTuple):
    """What the loader renders, as it was when an epoch began.

    Attributes:
        dataset: the images.
        program: what its transform compiled to.
    """

    dataset: ImageDataset
    program: Program | Views


class Finished(NamedTuple):
    """Images that need no stacking any more, of whatever structure."""

    images: Any


class Course(NamedTuple):
    """One epoch.

    Attributes:
        epoch: its number.
        program: of the dataset.
        planners: one for each leg of it, or each view.
        single: samples are delivered as they are, not in batches.
        collate_fn: as of the loader.
        device: where batches arrive.
        tolerance, reach: as of the settings.
        targets: what moves with the images; None: labels are as the dataset has them.
    """

    epoch: int
    program: Program | Views
    planners: tuple[Planner, ...]
    single: bool
    collate_fn: Callable[[Any], Any]
    device: Device
    tolerance: Tolerance | None
    reach: int
    targets: Targets | None = None

    @property
    def of_files(self) -> tuple[Planner, ...]:
        """Those who plan for images as they are read."""
        return self.planners if isinstance(self.program, Views) else self.planners[:1]

    @property
    def last(self) -> tuple[Planner, ...]:
        """Those of what is delivered."""
        return self.planners if isinstance(self.program, Views) else self.planners[-1:]

    @property
    def engine(self) -> Engine:
        """Renders what is delivered."""
        return self.last[0].engine

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
        return parted(labels, self.reach, self._prepared)

    def parted(self, delivered: Any) -> Any:
        """Targets of a batch, in one where it `stacks`; where some in front are another part's, these by themselves."""
        return parted(delivered, self.reach, self._parted)

    def _parted(self, targets: Any) -> Any:
        return pinned(default_collate(targets), self.device) if self.stacks and isinstance(targets, list) else targets

    def _prepared(self, labels: Labels) -> Any:
        if not self.stacks:
            return labels.tolist() if isinstance(labels, np.ndarray) else labels
        # copied: a dataset may give a view of its own memory, and a batch is the user's
        batch = torch.from_numpy(labels.copy()) if isinstance(labels, np.ndarray) else default_collate(tuple(labels))  # type: ignore[arg-type]
        return pinned(batch, self.device)

    def stacked(self, images: list[Any]) -> Any:
        """What a worker can do for samples that ordinary code has finished."""
        return parted(images, self.reach, self._stacked)

    def _stacked(self, images: list[Any]) -> Any:
        return Finished(pinned(stacked(images), self.device)) if self.stacks else images

    def collated(self, made: tuple[Any, Any]) -> Any:
        """Images and `prepared` labels as the batch that the user gets, or as a part with what stands before it."""
        images, labels = made
        if not isinstance(labels, Part):
            return self._collated(images, labels)
        parts = images if isinstance(images, Part) else self._parts(images)
        return Part(self._collated(parts.batch, labels.batch), self._collated(parts.before, labels.before))

    def _parts(self, images: Any) -> Part:
        """Those of the batch, and those that stand before it, of each view."""
        if isinstance(self.program, Views):
            return Part([view[self.reach :] for view in images], [view[: self.reach] for view in images])
        return Part(images[self.reach :], images[: self.reach])

    def _collated(self, images: Any, labels: Any) -> Any:
        if self.device.launches:  # else they are there
            labels = move(labels, self.device)
            images = move(images, self.device) if isinstance(images, list) else images
        is_multiple = isinstance(self.program, Views) and len(images) > 0
        if self.stacks:
            return [[_one(view) for view in images] if is_multiple else _one(images), labels]
        labels = labels if self.targets is None else self.targets.each(labels)
        images = [self.program.wrapped(image) for image in (zip(*images, strict=True) if is_multiple else images)]
        if self.single:
            return self.collate_fn((images[0], labels[0]))
        batch = self.collate_fn(list(zip(images, labels, strict=True)))
        is_ours = isinstance(self.collate_fn, Collate)  # it makes tensors of labels, on the host
        return move(pinned(batch, self.device), self.device) if is_ours else batch


def _one(images: Any) -> Any:
    """Images of a batch, or of a view of it, as one."""
    if isinstance(images, Finished):
        return images.images
    return stacked(images) if isinstance(images, list) else images


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
