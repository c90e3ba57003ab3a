"""Automatic augmentation: an operation, or several, of many, by policies of torchvision's."""

from gpuload.transforms.auto.augment import AutoAugment, RandAugment, TrivialAugmentWide
from gpuload.transforms.auto.mix import AugMix
from gpuload.transforms.auto.policies import AutoAugmentPolicy

__all__ = ["AugMix", "AutoAugment", "AutoAugmentPolicy", "RandAugment", "TrivialAugmentWide"]
