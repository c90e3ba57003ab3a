"""Each sample of a batch with the one before it: mixed, or with a rectangle of it pasted in."""

import math
from collections.abc import Sequence
from typing import NamedTuple, Protocol

import torch

from gpuload.arguments import at_least, is_number
from gpuload.batch_transforms.base import BatchTransform, Part
from gpuload.batch_transforms.draws import Draws
from gpuload.batch_transforms.found import Found
from gpuload.batch_transforms.labels import Getter, check_getter
from gpuload.errors import ArgumentError, ArgumentTypeError

__all__ = ["CutMix", "MixUp"]

Before = torch.Tensor | None  # the sample before the first, (1, ...); None: the last one is


class _Mixture(Protocol):
    """What was decided for a batch.

    Attributes:
        lam: the share of its own label that a sample keeps.
    """

    @property
    def lam(self) -> float: ...

    def of_images(self, images: torch.Tensor, before: Before) -> torch.Tensor:
        """Each with the one before it."""


class _Mixing(BatchTransform):
    """What `MixUp` and `CutMix` share."""

    reach = 1

    def __init__(
        self, *, alpha: float = 1.0, num_classes: int | None = None, labels_getter: Getter = "default"
    ) -> None:
        if not is_number(alpha):
            raise ArgumentTypeError(f"alpha must be a number, got {alpha!r}")
        if alpha <= 0:
            raise ArgumentError(f"alpha must be above 0, got {alpha}")
        self.alpha = float(alpha)
        self.num_classes = None if num_classes is None else at_least("num_classes", num_classes, 1)
        self.labels_getter = check_getter(labels_getter)

    def of(self, part: Part, draws: Draws) -> Part:
        name = type(self).__name__
        found = Found.of(part.batch, self.labels_getter, self.num_classes, name)
        mixture = self._drawn(found.images, draws)
        if part.before is None:
            return Part(found.changed(_mixed(found.tensors, [None] * len(found.tensors), mixture)))
        before = Found.of(part.before, self.labels_getter, self.num_classes, name)
        batch = found.changed(_mixed(found.tensors, [tensor[-1:] for tensor in before.tensors], mixture))
        if len(before.tensors[-1]) == 1:
            return Part(batch)  # nobody wants more
        rest, firsts = [tensor[1:] for tensor in before.tensors], [tensor[:1] for tensor in before.tensors]
        return Part(batch, before.changed(_mixed(rest, firsts, mixture)))

    def _drawn(self, images: Sequence[torch.Tensor], draws: Draws) -> _Mixture:
        """What is done to a batch of these images.

        Raises:
            ArgumentError, ArgumentTypeError: they cannot be mixed.
        """
        raise NotImplementedError


class MixUp(_Mixing):
    """Each image is mixed with the one before it in the batch, the first with the last, and so are the labels.

    ``lam * sample + (1 - lam) * sample before``, with one ``lam`` of Beta(alpha, alpha) for the whole batch.
    torchvision's ``v2.MixUp``; Zhang et al., "mixup: Beyond Empirical Risk Minimization", ICLR 2018.

    Images are (B, C, H, W) of float16, bfloat16, float32 or float64, the first tensor of the batch. Labels (B,) int64
    become probabilities (B, num_classes) float32.

    Args:
        alpha: of the distribution, above 0.
        num_classes: how many classes there are. None: labels are probabilities already.
        labels_getter: a function of the batch that gives the tensor of its labels. "default": the batch's second
            member, or what a mapping, itself or that member, has under a key that contains "label".

    Raises:
        ArgumentError, ArgumentTypeError: an argument is not allowed; when it is called: the batch has no labels, or
            images that cannot be mixed, such as uint8.
    """

    def _drawn(self, images: Sequence[torch.Tensor], draws: Draws) -> _Mixture:
        for dtype in {image.dtype for image in images if not image.is_floating_point()}:
            raise ArgumentTypeError(
                f"MixUp takes images of floats, got {dtype}: end the dataset's transform with "
                "ToDtype(torch.float32, scale=True), or pass dtype to the loader, or use CutMix"
            )
        return _Blend(draws.beta(self.alpha))


class CutMix(_Mixing):
    """A rectangle of each image shows the one before it in the batch, of the first the last; labels are mixed by area.

    One rectangle for the whole batch, of ``1 - lam`` of its area with ``lam`` of Beta(alpha, alpha), around a pixel
    that is drawn, as far as it lies within. torchvision's ``v2.CutMix``; Yun et al., "CutMix: Regularization Strategy
    to Train Strong Classifiers with Localizable Features", ICCV 2019.

    Images are (B, C, H, W) of any dtype, the first tensor of the batch. Labels (B,) int64 become probabilities
    (B, num_classes) float32.

    Args:
        alpha, num_classes, labels_getter: as of `MixUp`.

    Raises:
        ArgumentError, ArgumentTypeError: an argument is not allowed; when it is called: the batch has no labels, or
            images of several sizes.
    """

    def _drawn(self, images: Sequence[torch.Tensor], draws: Draws) -> _Mixture:
        sizes = {(image.shape[-2], image.shape[-1]) for image in images}
        if len(sizes) > 1:
            raise ArgumentError(f"CutMix takes images of one size, got {sorted(sizes)} (height, width)")
        (height, width) = sizes.pop()
        lam = draws.beta(self.alpha)
        x, y, half = draws.below(width), draws.below(height), 0.5 * math.sqrt(1.0 - lam)
        across, down = int(half * width), int(half * height)
        left, top = max(x - across, 0), max(y - down, 0)
        right, bottom = min(x + across, width), min(y + down, height)
        kept = float(1.0 - (right - left) * (bottom - top) / (width * height))
        return _Paste(kept, slice(top, bottom), slice(left, right))


class _Blend(NamedTuple):
    """They are mixed."""

    lam: float

    def of_images(self, images: torch.Tensor, before: Before) -> torch.Tensor:
        return _blended(images, before, self.lam)


class _Paste(NamedTuple):
    """A rectangle is pasted in."""

    lam: float
    rows: slice
    columns: slice

    def of_images(self, images: torch.Tensor, before: Before) -> torch.Tensor:
        window, pasted = (..., self.rows, self.columns), images.clone()
        first = images[-1:] if before is None else before
        pasted[1:][window], pasted[:1][window] = images[:-1][window], first[window]
        return pasted


def _mixed(tensors: Sequence[torch.Tensor], before: Sequence[Before], mixture: _Mixture) -> list[torch.Tensor]:
    """Images, and labels last, each with what stands before its first."""
    *images, labels = zip(tensors, before, strict=True)
    return [*(mixture.of_images(*pair) for pair in images), _blended(*labels, mixture.lam)]


def _blended(tensor: torch.Tensor, before: Before, lam: float) -> torch.Tensor:
    """Two products and their sum, each of them rounded, as torchvision has it, but nothing is moved for it."""
    if tensor.device.type == "cpu" and not tensor.requires_grad:
        return _blended_by_sample(tensor, tensor[-1:] if before is None else before, lam)
    blended, others = tensor.mul(lam), tensor.mul(1.0 - lam)
    blended[1:].add_(others[:-1])
    blended[:1].add_(others[-1:] if before is None else before.mul(1.0 - lam))
    return blended


def _blended_by_sample(tensor: torch.Tensor, before: torch.Tensor, lam: float) -> torch.Tensor:
    """The same; what a sample takes stays in a CPU's cache, where a batch's would be memory that is new each time."""
    blended = torch.empty_like(tensor)
    others = [before, *tensor.split(1)]
    for made, sample, other in zip(blended.split(1), others[1:], others, strict=False):
        torch.mul(sample, lam, out=made).add_(other.mul(1.0 - lam))
    return blended
