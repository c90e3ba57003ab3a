"""gpuload: the data loader of PyTorch, GPU-native.

The names follow a sample: the dataset that holds it, the sampler that picks it, the transforms that change it,
the loader that delivers it.
"""

from importlib import import_module
from importlib.util import find_spec
from threading import RLock
from typing import TYPE_CHECKING, Any

from gpuload.errors import (
    ArgumentError,
    ArgumentTypeError,
    BadSamplesError,
    CaptureError,
    CollateError,
    DatasetError,
    DecodeError,
    GpuloadError,
    MissingError,
    SampleError,
    TimedOutError,
    WorkerError,
)

if TYPE_CHECKING:  # what `__getattr__` imports, for type checkers and editors
    from gpuload import batch_transforms, collate, presets, samplers, transforms
    from gpuload.datasets import (
        CocoDetection,
        ImageDataset,
        ImageFolder,
        ImageList,
        SegmentationFolder,
        TensorDataset,
    )
    from gpuload.loader import DataLoader
    from gpuload.samplers import (
        ClassBalancedSampler,
        ClassDistributionSampler,
        RandomSampler,
        SequentialSampler,
        Shard,
        SubsetRandomSampler,
        WeightedRandomSampler,
    )

__version__ = "0.1.0"

__all__ = [
    "ArgumentError",
    "ArgumentTypeError",
    "BadSamplesError",
    "CaptureError",
    "ClassBalancedSampler",
    "ClassDistributionSampler",
    "CocoDetection",
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
    "SegmentationFolder",
    "SequentialSampler",
    "Shard",
    "SubsetRandomSampler",
    "TensorDataset",
    "TimedOutError",
    "WeightedRandomSampler",
    "WorkerError",
    "batch_transforms",
    "collate",
    "presets",
    "samplers",
    "transforms",
]

if not TYPE_CHECKING:  # a type checker that saw `__getattr__` would take any name for one of the package's
    _importing = RLock()  # of modules that import each other, one thread would see another's half made

    def __getattr__(name: str) -> Any:
        """A module or a name of the package, imported when it is first asked for."""
        with _importing:
            if not name.startswith("_") and find_spec(f"{__name__}.{name}"):
                return import_module(f"{__name__}.{name}")
            if name in __all__:
                for home in ("samplers", "datasets", "loader"):  # each imports those before it
                    module = import_module(f"{__name__}.{home}")
                    if name in module.__all__:
                        return globals().setdefault(name, getattr(module, name))
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
