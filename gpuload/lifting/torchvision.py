"""torchvision's datasets: those whose samples are a file or an array, decoded in the usual way, and a label; or, where
they are wrapped for transforms.v2, a mask or boxes.

torchvision is not imported: what is not loaded has no datasets. Each kind of ``__getitem__`` is known by its class and
by the names it uses: another version's, which may do something else, is not taken for it.
"""

from collections.abc import Mapping
from typing import Any, Protocol

from gpuload.datasets.base import ImageDataset
from gpuload.lifting.own import DATASETS
from gpuload.lifting.plain import READ, Refusal, check_methods, check_names
from gpuload.lifting.torchvision_arrays import ARRAYS
from gpuload.lifting.torchvision_files import FILES
from gpuload.lifting.torchvision_wrapped import is_wrapped, lift as lift_wrapped
from gpuload.shipped import replaced_below

__all__ = ["KINDS", "OTHERS", "Kind", "lift"]


class Kind(Protocol):
    """A kind of ``__getitem__``."""

    @property
    def names(self) -> str:
        """What it uses, in order."""

    def lift(self, dataset: Any) -> ImageDataset:
        """The dataset's samples, as they are now."""


KINDS: Mapping[str, Kind] = dict[str, Kind](FILES) | ARRAYS

DECODES = "opens images without converting them to RGB"
PAIRS = "has two images a sample"
VIDEO = "reads videos"
FLOW = "has two images and their optical flow a sample"
STEREO = "has two images and their disparity a sample"
MASKS = "has targets that are read from files"

OTHERS = {  # why datasets of torchvision are not lifted
    "LSUN": "reads a database",
    "LSUNClass": "reads a database",
    "FakeData": "makes its images up",
    "CocoDetection": "has annotations or captions in place of a label",
    "MovingMNIST": VIDEO,
    "PhotoTour": PAIRS,
    "Omniglot": "has files in grayscale",
    "VOCSegmentation": MASKS,
    "VOCDetection": MASKS,
    "Cityscapes": MASKS,
    "Caltech101": DECODES,
    "Caltech256": DECODES,
    "CelebA": DECODES,
    "WIDERFace": DECODES,
    "SBDataset": MASKS,
    "VisionDataset": "has no samples: it is a base class",
    "Kinetics": VIDEO,
    "HMDB51": VIDEO,
    "UCF101": VIDEO,
    "Kitti": MASKS,
    "LFWPairs": PAIRS,
    "PCAM": "reads an HDF5 file",
    **dict.fromkeys(["KittiFlow", "Sintel", "FlyingChairs", "FlyingThings3D", "HD1K"], FLOW),
    **dict.fromkeys(["Kitti2012Stereo", "Kitti2015Stereo", "CarlaStereo", "Middlebury2014Stereo", "CREStereo"], STEREO),
    **dict.fromkeys(["FallingThingsStereo", "SceneFlowStereo", "SintelStereo", "InStereo2k", "ETH3DStereo"], STEREO),
}


def lift(dataset: Any) -> ImageDataset:
    """A dataset of torchvision's, or of a subclass that reads samples in the same way.

    Raises:
        Refusal: it is none of those that are lifted, or not as torchvision made it.
    """
    if is_wrapped(dataset):
        return lift_wrapped(dataset)
    cls = type(dataset)
    if not any(base.__module__.startswith(f"{DATASETS}.") for base in cls.__mro__):
        raise Refusal(f"gpuload does not know {cls.__name__}")
    check_methods(dataset, DATASETS, READ)
    owner = next(base for base in cls.__mro__ if "__getitem__" in vars(base))
    kind = KINDS.get(owner.__qualname__)
    if kind is None:
        raise Refusal(f"torchvision's {owner.__name__} {OTHERS.get(owner.__qualname__, 'is not known')}")
    check_names(owner, "__getitem__", kind.names)
    stranger = replaced_below(vars(owner)["__getitem__"], "torchvision")
    if stranger is not None:
        raise Refusal(f"{stranger} was replaced")
    return kind.lift(dataset)
