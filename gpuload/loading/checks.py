"""What a dataset is to the loader, and which of its arguments go with that."""

import logging
from typing import Any

import torch
from torch.utils.data import DataLoader as TorchDataLoader, IterableDataset

from gpuload.datasets import ImageDataset
from gpuload.device import Device
from gpuload.engines import ENGINES
from gpuload.errors import ArgumentError, ArgumentTypeError, MissingError
from gpuload.lifting import Rows, Unknown, find
from gpuload.loading.course import Images
from gpuload.loading.images import DECODING
from gpuload.samplers.sharded import Shard
from gpuload.transforms.values import DTYPES

__all__ = ["assert_iterable", "check_decoder", "check_rendering", "check_shard", "known", "length", "level"]

ON_ERROR = "raise", "replace"


def check_decoder(decoder: Any, engine: Any, device: Any, place: Device) -> None:
    """Can it decode there?

    Raises:
        ArgumentError, MissingError: no.
    """
    if decoder not in DECODING:
        raise ArgumentError(f"decoder must be one of {', '.join(DECODING)}, got {decoder!r}")
    if decoder == "cpu":
        return
    if engine not in (None, "cuda"):
        raise ArgumentError(
            f"decoder={decoder!r} decodes into the buffers of engine='cuda', got engine={engine!r}: leave engine out, "
            "or pass decoder='cpu'"
        )
    if not place.launches and device is None:
        raise MissingError(
            f"decoder={decoder!r} decodes on a GPU, but torch {torch.__version__} sees no CUDA GPU: run "
            "`gpuload doctor` to see what is missing, or pass decoder='cpu'"
        )
    if not place.launches:
        raise ArgumentError(
            f"decoder={decoder!r} decodes on a GPU, got device={str(device)!r}: pass device='cuda', or decoder='cpu'"
        )


def check_shard(shard: Any, dataset: Any, batch_size: Any, batch_sampler: Any) -> None:
    """Can a part of its batches be delivered?

    Raises:
        ArgumentError, ArgumentTypeError: no.
    """
    if not isinstance(shard, Shard):
        raise ArgumentTypeError(
            f"shard must be a gpuload.Shard, such as Shard.here(), got {shard!r} ({type(shard).__name__})"
        )
    found = {
        "an IterableDataset, which shards itself": isinstance(dataset, IterableDataset),
        "batch_size=None": batch_size is None,
        "a batch_sampler": batch_sampler is not None,
    }
    for what in (what for what, is_found in found.items() if is_found):
        raise ArgumentError(f"shard is a part of batches that gpuload makes of a dataset's samples, got {what}")


def check_rendering(found: Any, loader: Any) -> None:
    """Do the arguments that are for images go with it?

    Args:
        found: what its dataset is.
        loader: a `DataLoader`.

    Raises:
        ArgumentError, ArgumentTypeError: no.
    """
    dtype, memory_format, engine = loader.dtype, loader.memory_format, loader._engine
    if dtype is not None and dtype not in DTYPES:
        raise ArgumentTypeError(f"dtype must be one of {', '.join(map(str, DTYPES))} or None, got {dtype!r}")
    if memory_format not in (torch.contiguous_format, torch.channels_last):
        raise ArgumentError(
            f"memory_format must be torch.contiguous_format or torch.channels_last, got {memory_format!r}"
        )
    if engine is not None and engine not in ENGINES:
        raise ArgumentError(f"engine must be one of {', '.join(ENGINES)} or None, got {engine!r}")
    if loader.on_error not in ON_ERROR:
        raise ArgumentError(f"on_error must be one of {', '.join(ON_ERROR)}, got {loader.on_error!r}")
    given = {"dtype": dtype is not None, "engine": engine is not None, "decoder": loader.decoder != "cpu"}
    given["memory_format"] = memory_format != torch.contiguous_format
    given["on_error"] = loader.on_error != "raise"
    for name in (name for name, is_given in given.items() if is_given and not isinstance(found, Images)):
        reason = found.reason if isinstance(found, Unknown) else "it holds tensors"
        raise ArgumentError(f"{name} is for images that gpuload renders, got {type(loader.dataset).__name__}: {reason}")


def assert_iterable(loader: TorchDataLoader[Any]) -> None:
    """What torch's iterators assert when they are made; the loader's attributes may have been changed."""
    if loader.num_workers < 0:
        raise AssertionError(f"num_workers must not be negative, got {loader.num_workers}")
    if loader.num_workers == 0 and loader.timeout != 0:
        raise AssertionError(f"timeout={loader.timeout} is how long to wait for workers, but num_workers=0")
    if loader.num_workers and loader.prefetch_factor is not None and loader.prefetch_factor <= 0:
        raise AssertionError(f"prefetch_factor must be greater than 0, got {loader.prefetch_factor}")


def known(dataset: Any) -> Images | Rows | Unknown:
    """What a dataset is, as far as gpuload can render it."""
    found = find(dataset)
    if not isinstance(found, ImageDataset):
        return found
    program = found.program
    return Unknown(program) if isinstance(program, str) else Images(found, program)


def length(of: Any) -> int | None:
    """None: it has none. torch asks for a length where the user does, so that it may raise anything."""
    try:
        return len(of)
    except Exception:
        return None


def level(dataset: Any) -> int:
    """How loudly it is said that torch's workers read a dataset: it may surprise of images, and of what is known."""
    names = (base.__module__ for base in type(dataset).__mro__)
    lifted = "torchvision.datasets", "timm.data"
    is_image = isinstance(dataset, ImageDataset) or any(name.startswith(lifted) for name in names)
    return logging.WARNING if is_image or not isinstance(known(dataset), Unknown) else logging.INFO
