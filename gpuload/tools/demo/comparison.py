"""gpuload against torch with torchvision: bit-exact, and how fast."""

from collections.abc import Iterable
from functools import partial
from itertools import islice
from typing import Any

import torch
from torch.utils._pytree import tree_leaves

from gpuload.loader import DataLoader
from gpuload.tools.common import bar, need
from gpuload.tools.comparison import comparisons
from gpuload.tools.demo.photos import to_floats
from gpuload.tools.rounds import interleaved, rate

__all__ = ["CHECKED", "ROUNDS", "equal_augmented", "equal_batches", "rates"]

CHECKED = 64  # randomly augmented images that are compared with torchvision's
ROUNDS = 5  # of loading alone, by each loader


def equal_batches(ours: Iterable[Any], theirs: Iterable[Any]) -> bool:
    """Are the batches of both loaders bit-exact, images and labels, one by one?"""
    return all(
        torch.equal(mine.cpu(), yours)
        for batches in zip(theirs, ours, strict=True)  # torch forks its workers first, gpuload then starts threads
        for yours, mine in zip(*batches, strict=True)
    )


def equal_augmented(ours: DataLoader[Any]) -> bool:
    """Are the first randomly augmented images what torchvision makes of the photos with the same numbers drawn?"""
    v2 = need("torchvision.transforms.v2")
    return all(islice(comparisons(ours, v2.Compose(to_floats(v2))), CHECKED))


def equal_rendered(ours: DataLoader[Any], pillows: DataLoader[Any]) -> bool:
    """Are the first randomly augmented images what Pillow makes of them, operation by operation?

    Args:
        ours: a loader.
        pillows: the same one with the engine "pillow".
    """
    checked = 0
    for mine, theirs in zip(ours, pillows, strict=True):
        leaves = tree_leaves(mine)
        if not all(map(torch.equal, leaves, tree_leaves(theirs))):
            return False
        checked += len(leaves[-1])
        if checked >= CHECKED:
            break
    return True


def rates(loaders: dict[str, Any], device: torch.device, progress: bool) -> dict[str, list[float]]:
    """Images per second of loading alone, for each loader and round.

    What makes it fair: each loader delivers a whole epoch of the same files to the device, with as many workers.
    The first epoch of each is not counted: in it torch's processes start, which live on, and files are read for
    the first time. gpuload's threads start anew each epoch, and that is counted. Then the loaders' epochs are
    interleaved.
    """
    plays = {name: partial(rate, loader, device) for name, loader in loaders.items()}
    rounds = bar(progress, "Comparing speeds", range(ROUNDS + 1), unit=" rounds")
    return {name: figures[1:] for name, figures in interleaved(plays, rounds).items()}
