"""gpuload: the data loader of PyTorch, GPU-native.

The names follow a sample: the dataset that holds it, the sampler that picks it, the transforms that change it,
the loader that delivers it.
"""

from gpuload import collate, samplers, transforms
from gpuload.datasets import ImageDataset, ImageFolder, ImageList, TensorDataset
from gpuload.errors import (
    ArgumentError,
    ArgumentTypeError,
    CaptureError,
    CollateError,
    DatasetError,
    DecodeError,
    GpuloadError,
    MissingError,
    SampleError,
    TimedOutError,
)
from gpuload.loader import DataLoader
from gpuload.samplers import (
    ClassBalancedSampler,
    ClassDistributionSampler,
    RandomSampler,
    SequentialSampler,
    SubsetRandomSampler,
    WeightedRandomSampler,
)

__version__ = "0.1.0"

__all__ = [
    "ArgumentError",
    "ArgumentTypeError",
    "CaptureError",
    "ClassBalancedSampler",
    "ClassDistributionSampler",
    "CollateError",
    "DataLoader",
    "DatasetError",
    "DecodeError",
    "GpuloadError",
    "ImageDataset",
    "ImageFolder",
    "ImageList",
    "MissingError",
    "RandomSampler",
    "SampleError",
    "SequentialSampler",
    "SubsetRandomSampler",
    "TensorDataset",
    "TimedOutError",
    "WeightedRandomSampler",
    "collate",
    "samplers",
    "transforms",
]
