"""Datasets: how many samples, where the file of sample i is, its label. All are torch map-style datasets."""

from gpuload.datasets.base import ImageDataset
from gpuload.datasets.coco import CocoDetection
from gpuload.datasets.folder import ImageFolder
from gpuload.datasets.joint import JointDataset
from gpuload.datasets.listing import ImageList
from gpuload.datasets.segmentation import MaskedImages, SegmentationFolder
from gpuload.datasets.tensors import TensorDataset

__all__ = [
    "CocoDetection",
    "ImageDataset",
    "ImageFolder",
    "ImageList",
    "JointDataset",
    "MaskedImages",
    "SegmentationFolder",
    "TensorDataset",
]
