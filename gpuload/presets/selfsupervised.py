"""Recipes of self-supervised learning: several views of each image."""

from gpuload import transforms as T
from gpuload.presets.base import IMAGENET, Preset

__all__ = ["byol", "dino", "simclr"]


def _colors(strength: tuple[float, float, float, float]) -> list[T.Transform]:
    """Jitter for four images in five, grayscale for one."""
    return [T.RandomApply([T.ColorJitter(*strength)], p=0.8), T.RandomGrayscale(0.2)]


def simclr(num_classes: int = 1000, size: int = 224) -> Preset:
    """Two views alike, with strong colors.

    Source: Chen et al., 2020, appendix A, whose blur is Pillow's here, as in MoCo v2.

    Args:
        num_classes: without effect.
        size: height and width in pixels.
    """
    moved = [T.RandomResizedCrop(size), T.RandomHorizontalFlip()]
    view = T.Compose([*moved, *_colors((0.8, 0.8, 0.8, 0.2)), T.PillowGaussianBlur(p=0.5), *IMAGENET.values()])
    return Preset(T.MultiView([(view, 2)]))


def _half(size: int, least: float, most: float, blur: float, solarize: float) -> T.Compose:
    """What views of BYOL and DINO have in common: a crop of a share of the image, and colors."""
    moved = [T.RandomResizedCrop(size, scale=(least, most), interpolation="bicubic"), T.RandomHorizontalFlip()]
    blurred = [T.PillowGaussianBlur(p=blur), *([T.RandomSolarize(128, p=solarize)] if solarize else [])]
    return T.Compose([*moved, *_colors((0.4, 0.4, 0.2, 0.1)), *blurred, *IMAGENET.values()])


def byol(num_classes: int = 1000, size: int = 224) -> Preset:
    """Two views: one always blurred; the other seldom, and sometimes solarized.

    Source: Grill et al., 2020, appendix B; its blur is Pillow's here.

    Args:
        num_classes: without effect.
        size: height and width in pixels.
    """
    return Preset(T.MultiView([_half(size, 0.08, 1.0, 1.0, 0.0), _half(size, 0.08, 1.0, 0.1, 0.2)]))


def dino(num_classes: int = 1000, size: int = 224, local_crops: int = 8) -> Preset:
    """Two views of much of the image, and smaller ones of little of it.

    Source: Caron et al., 2021, ``DataAugmentationDINO`` of its code, with its defaults.

    Args:
        num_classes: without effect.
        size: height and width in pixels of the first two; the others have 96 of 224.
        local_crops: how many others.
    """
    views = [_half(size, 0.4, 1.0, 1.0, 0.0), _half(size, 0.4, 1.0, 0.1, 0.2)]
    small = _half(round(size * 96 / 224), 0.05, 0.4, 0.5, 0.0)
    return Preset(T.MultiView([*views, (small, local_crops)]))
