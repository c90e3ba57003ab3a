"""The recipes of `gpuload.presets`, built from torchvision: what they are compared with, in tests and in speed."""

from collections.abc import Callable
from typing import Any

import torch
from PIL import Image, ImageFilter
from torchvision.transforms import v2

__all__ = ["BILINEAR", "MIXES", "REFERENCES", "train"]

BILINEAR, BICUBIC = v2.InterpolationMode.BILINEAR, v2.InterpolationMode.BICUBIC
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
CIFAR_MEAN, CIFAR_STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)


def values(mean: Any = MEAN, std: Any = STD) -> list[Any]:
    return [v2.PILToTensor(), v2.ToDtype(torch.float32, scale=True), v2.Normalize(mean, std), v2.ToPureTensor()]


def train(size: int, *augment: Any, erase: float = 0.0) -> Any:
    erased = [v2.RandomErasing(erase)] if erase else []
    return v2.Compose([v2.RandomResizedCrop(size), v2.RandomHorizontalFlip(), *augment, *values(), *erased])


def evaluate(size: int, resized: int) -> Any:
    return v2.Compose([v2.Resize(resized), v2.CenterCrop(size), *values()])


class Blur:
    """DINO's, but for where its numbers come from."""

    def __init__(self, p: float) -> None:
        self.p = p

    def __call__(self, image: Image.Image) -> Image.Image:
        if torch.empty(1).uniform_(0, 1).item() >= self.p:
            return image
        return image.filter(ImageFilter.GaussianBlur(torch.empty(1).uniform_(0.1, 2.0).item()))


def view(
    crop: Any, jitter: tuple[float, float, float, float], blur: float, solarize: float = 0.0
) -> Callable[[Any], Any]:
    colors = [v2.RandomApply([v2.ColorJitter(*jitter)], p=0.8), v2.RandomGrayscale(0.2), Blur(blur)]
    solarized = [v2.RandomSolarize(128, p=solarize)] if solarize else []
    composed: Callable[[Any], Any] = v2.Compose([crop, v2.RandomHorizontalFlip(), *colors, *solarized, *values()])
    return composed


WEAK, STRONG = (0.4, 0.4, 0.2, 0.1), (0.8, 0.8, 0.8, 0.2)


def part(size: int, least: float, most: float) -> Any:
    return v2.RandomResizedCrop(size, scale=(least, most), interpolation=BICUBIC)


def several(*views: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda image: [each(image) for each in views]


def simclr() -> Any:
    return several(*[view(v2.RandomResizedCrop(224), STRONG, 0.5)] * 2)


def byol() -> Any:
    return several(view(part(224, 0.08, 1.0), WEAK, 1.0), view(part(224, 0.08, 1.0), WEAK, 0.1, 0.2))


def dino() -> Any:
    large = view(part(224, 0.4, 1.0), WEAK, 1.0), view(part(224, 0.4, 1.0), WEAK, 0.1, 0.2)
    return several(*large, *[view(part(96, 0.05, 0.4), WEAK, 0.5)] * 8)


def cifar() -> Any:
    area = (12 / 32) ** 2
    moved = [v2.RandomCrop(32, padding=4, padding_mode="reflect"), v2.RandomHorizontalFlip()]
    cutout = v2.RandomErasing(1.0, (area, area), (1.0, 1.0))
    return v2.Compose([*moved, *values(CIFAR_MEAN, CIFAR_STD), cutout])


REFERENCES: dict[str, Any] = {
    "imagenet": train(224),
    "imagenet-eval": evaluate(224, 256),
    "torchvision-2021": train(176, v2.TrivialAugmentWide(interpolation=BILINEAR), erase=0.1),
    "torchvision-2021-eval": evaluate(224, 232),
    "rand-augment": train(224, v2.RandAugment(2, 9, interpolation=BILINEAR)),
    "auto-augment": train(224, v2.AutoAugment(interpolation=BILINEAR)),
    "augmix": train(224, v2.AugMix(interpolation=BILINEAR)),
    "cifar": cifar(),
    "simclr": simclr(),
    "byol": byol(),
    "dino": dino(),
}


def mixes(num_classes: int) -> Any:
    """Of torchvision's recipe of 2021."""
    each = v2.MixUp(alpha=0.2, num_classes=num_classes), v2.CutMix(alpha=1.0, num_classes=num_classes)
    return v2.RandomChoice(list(each))


MIXES: dict[str, Callable[[int], Any]] = {"torchvision-2021": mixes}
