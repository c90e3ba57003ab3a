"""Recipes of classification, as torchvision's and DeiT's."""

import math

from gpuload import batch_transforms as B, transforms as T
from gpuload.presets.base import IMAGENET, Preset, Statistics
from gpuload.recipes.erase import Cover
from gpuload.recipes.ops import Filter
from gpuload.transforms.auto.timm import INCREASING, Op, TimmRandAugment
from gpuload.transforms.timm import RandomErasing, RandomResizedCropAndInterpolation

__all__ = [
    "augmix",
    "auto_augment",
    "cifar",
    "deit",
    "imagenet",
    "imagenet_eval",
    "rand_augment",
    "torchvision_2021",
    "torchvision_2021_eval",
]

CIFAR = Statistics((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616))


def _train(size: int, augment: T.Transform | None = None, erase: float = 0.0) -> T.Compose:
    """torchvision's ``ClassificationPresetTrain``."""
    moved: list[T.Transform] = [T.RandomResizedCrop(size), T.RandomHorizontalFlip()]
    augmented = [] if augment is None else [augment]
    erased = [T.RandomErasing(erase)] if erase else []
    return T.Compose([*moved, *augmented, *IMAGENET.values(), *erased])


def _eval(size: int, resized: int) -> T.Compose:
    """torchvision's ``ClassificationPresetEval``."""
    return T.Compose([T.Resize(resized), T.CenterCrop(size), *IMAGENET.values()])


def imagenet(num_classes: int = 1000, size: int = 224) -> Preset:
    """A random part of the image, sometimes mirrored: how networks have been trained on ImageNet since 2014.

    Source: torchvision, references/classification, its defaults.

    Args:
        num_classes: without effect.
        size: height and width in pixels.
    """
    return Preset(_train(size))


def imagenet_eval(num_classes: int = 1000, size: int = 224) -> Preset:
    """The middle of the image: 224 of 256 pixels.

    Source: torchvision, references/classification, its defaults.

    Args:
        num_classes: without effect.
        size: height and width in pixels.
    """
    return Preset(_eval(size, round(size * 256 / 224)))


def torchvision_2021(num_classes: int = 1000, size: int = 176) -> Preset:
    """TrivialAugmentWide, RandomErasing, MixUp or CutMix, at 176 pixels.

    Labels leave as probabilities; the recipe's label smoothing of 0.1 is the loss's.

    Source: torchvision, references/classification, and "How to Train State-Of-The-Art Models Using TorchVision's Latest
    Primitives" (pytorch.org, 2021).

    Args:
        num_classes: that labels count.
        size: height and width in pixels.
    """
    mixes = [B.MixUp(alpha=0.2, num_classes=num_classes), B.CutMix(alpha=1.0, num_classes=num_classes)]
    return Preset(_train(size, T.TrivialAugmentWide(interpolation="bilinear"), erase=0.1), B.RandomChoice(mixes))


def torchvision_2021_eval(num_classes: int = 1000, size: int = 224) -> Preset:
    """The middle of the image: 224 of 232 pixels.

    Source: as of `torchvision_2021`.

    Args:
        num_classes: without effect.
        size: height and width in pixels.
    """
    return Preset(_eval(size, round(size * 232 / 224)))


def rand_augment(num_classes: int = 1000, size: int = 224) -> Preset:
    """RandAugment: two operations of magnitude 9.

    Source: torchvision, references/classification, ``--auto-augment ra``; Cubuk et al., 2019.

    Args:
        num_classes: without effect.
        size: height and width in pixels.
    """
    return Preset(_train(size, T.RandAugment(num_ops=2, magnitude=9, interpolation="bilinear")))


def auto_augment(num_classes: int = 1000, size: int = 224, policy: str = "imagenet") -> Preset:
    """AutoAugment, with a policy that was found for a dataset.

    Source: torchvision, references/classification, ``--auto-augment imagenet``; Cubuk et al., 2018.

    Args:
        num_classes: without effect.
        size: height and width in pixels.
        policy: "imagenet", "cifar10" or "svhn".
    """
    return Preset(_train(size, T.AutoAugment(policy, interpolation="bilinear")))


def augmix(num_classes: int = 1000, size: int = 224) -> Preset:
    """AugMix: chains of operations, mixed with the image.

    Source: torchvision, references/classification, ``--auto-augment augmix``; Hendrycks et al., 2019.

    Args:
        num_classes: without effect.
        size: height and width in pixels.
    """
    return Preset(_train(size, T.AugMix(interpolation="bilinear")))


def deit(num_classes: int = 1000, size: int = 224) -> Preset:
    """timm's ``rand-m9-mstd0.5-inc1``, RandomErasing with noise, MixUp or CutMix, smoothed labels.

    Labels leave as probabilities. Samples are mixed as torchvision's MixUp and CutMix mix them; the recipe's repeated
    augmentation is a sampler's.

    Source: Touvron et al., 2021, and its code's defaults, with timm 1.0.

    Args:
        num_classes: that labels count.
        size: height and width in pixels.
    """
    red, green, blue = (round(255 * mean) for mean in IMAGENET.mean)
    ops = [Op(name, 0.5, 9, 0.5, 10.0, 0.45, (Filter.BICUBIC,), (red, green, blue)) for name in INCREASING]
    crop = RandomResizedCropAndInterpolation((size, size), (0.08, 1.0), (3 / 4, 4 / 3), ["bicubic"])
    augmented = [crop, T.RandomHorizontalFlip(), TimmRandAugment(ops, num_layers=2)]
    erased = RandomErasing(0.25, (0.02, 1 / 3), (math.log(0.3), math.log(1 / 0.3)), Cover.NOISE, (1, 1))
    mixes = [B.MixUp(alpha=0.8, num_classes=num_classes), B.CutMix(alpha=1.0, num_classes=num_classes)]
    batch_transform = B.Compose([B.LabelSmoothing(num_classes, 0.1), B.RandomChoice(mixes)])
    values = [T.ToTensor(), T.Normalize(*IMAGENET)]
    return Preset(T.Compose([*augmented, *values, erased]), batch_transform)


def cifar(num_classes: int = 10, size: int = 32) -> Preset:
    """A crop of the padded image, sometimes mirrored, with a square of 12 pixels cut out.

    Source: airbench96 (Jordan, 2024): reflected pixels, cutout of 12; padded by 4, as usual for CIFAR.

    Args:
        num_classes: without effect.
        size: height and width in pixels.
    """
    moved = [T.RandomCrop(size, padding=4, padding_mode="reflect"), T.RandomHorizontalFlip()]
    area = (12 / 32) ** 2
    cutout = T.RandomErasing(1.0, scale=(area, area), ratio=(1.0, 1.0))
    return Preset(T.Compose([*moved, *CIFAR.values(), cutout]))
