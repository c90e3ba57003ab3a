"""Transforms under torchvision v2's names and arguments.

They are descriptions: a `Compose` compiles once into a plan, and whoever holds the pixels runs it: Pillow in
``dataset[i]``, one kernel per batch in the loader. All of them are defined as torchvision defines them for
PIL images, so resizing is Pillow's and always antialiased. Called on a PIL image, a transform returns a
(C, H, W) tensor, with the random numbers that torchvision would draw from torch's generator.

Sizes are (height, width) in pixels.
"""

from gpuload.transforms.adjust import (
    ColorJitter,
    RandomAdjustSharpness,
    RandomAutocontrast,
    RandomChannelPermutation,
    RandomEqualize,
    RandomInvert,
    RandomPhotometricDistort,
    RandomPosterize,
    RandomSolarize,
)
from gpuload.transforms.auto import AugMix, AutoAugment, AutoAugmentPolicy, RandAugment, TrivialAugmentWide
from gpuload.transforms.base import InterpolationMode, Transform
from gpuload.transforms.color import RGB, Grayscale, RandomGrayscale
from gpuload.transforms.compose import Compose
from gpuload.transforms.containers import RandomApply, RandomChoice, RandomOrder
from gpuload.transforms.erase import RandomErasing
from gpuload.transforms.gaussian_blur import GaussianBlur
from gpuload.transforms.geometry import (
    CenterCrop,
    Pad,
    RandomCrop,
    RandomHorizontalFlip,
    RandomResizedCrop,
    RandomVerticalFlip,
    Resize,
)
from gpuload.transforms.multiview import MultiView
from gpuload.transforms.pillow_blur import PillowGaussianBlur
from gpuload.transforms.scale import RandomResize, RandomShortestSize, ScaleJitter
from gpuload.transforms.values import Normalize, PILToTensor, ToDtype, ToImage, ToTensor
from gpuload.transforms.warp import RandomAffine, RandomPerspective, RandomRotation

__all__ = [
    "RGB",
    "AugMix",
    "AutoAugment",
    "AutoAugmentPolicy",
    "CenterCrop",
    "ColorJitter",
    "Compose",
    "GaussianBlur",
    "Grayscale",
    "InterpolationMode",
    "MultiView",
    "Normalize",
    "PILToTensor",
    "Pad",
    "PillowGaussianBlur",
    "RandAugment",
    "RandomAdjustSharpness",
    "RandomAffine",
    "RandomApply",
    "RandomAutocontrast",
    "RandomChannelPermutation",
    "RandomChoice",
    "RandomCrop",
    "RandomEqualize",
    "RandomErasing",
    "RandomGrayscale",
    "RandomHorizontalFlip",
    "RandomInvert",
    "RandomOrder",
    "RandomPerspective",
    "RandomPhotometricDistort",
    "RandomPosterize",
    "RandomResize",
    "RandomResizedCrop",
    "RandomRotation",
    "RandomShortestSize",
    "RandomSolarize",
    "RandomVerticalFlip",
    "Resize",
    "ScaleJitter",
    "ToDtype",
    "ToImage",
    "ToTensor",
    "Transform",
    "TrivialAugmentWide",
]
