"""What is done to a batch that is on the device: samples are mixed with each other, and labels become probabilities.

``DataLoader(batch_transform=MixUp(num_classes=1000))`` does it when a batch is delivered, with parameters that depend
on the seed, the epoch and the batch's number alone. Called with a batch, `MixUp`, `CutMix` and `RandomChoice` are
torchvision's v2 transforms of these names, bit for bit, and draw from torch's generator as those do. An own one derives
from `BatchTransform`.
"""

from gpuload.batch_transforms.base import BatchTransform, Part
from gpuload.batch_transforms.choice import Compose, RandomChoice
from gpuload.batch_transforms.draws import Draws
from gpuload.batch_transforms.labels import LabelSmoothing, OneHot
from gpuload.batch_transforms.mixing import CutMix, MixUp

__all__ = [
    "BatchTransform",
    "Compose",
    "CutMix",
    "Draws",
    "LabelSmoothing",
    "MixUp",
    "OneHot",
    "Part",
    "RandomChoice",
]
