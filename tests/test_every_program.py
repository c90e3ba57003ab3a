"""Programs with a loader on each engine of the CPU: how they end, Ctrl-C, several ranks."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gpuload.libraries import host_library

NO_COMPILER = pytest.mark.skipif(host_library() is None, reason="no native code")
on_the_cpu = pytest.mark.parametrize("name", ["pillow", pytest.param("cpu", marks=NO_COMPILER), "dali"])


@pytest.fixture
def folder(name: str, photos: Path, tmp_path: Path) -> Path:
    """Twelve photos, to be written to."""
    if name == "dali":
        pytest.importorskip("nvidia.dali")
    shutil.copytree(photos / "cats", tmp_path / "cats")
    return tmp_path


PROGRAM = """
import sys
from gpuload import DataLoader, ImageFolder, transforms as T
dataset = ImageFolder(sys.argv[1], transform=T.RandomResizedCrop(64))
loader = DataLoader(dataset, 2, num_workers=2, engine=sys.argv[2], device="cpu")
print(len(next(iter(loader))[0]))
batches = iter(loader)
next(batches)
"""


@on_the_cpu
def test_a_program_may_end_in_mid_epoch(name: str, folder: Path, run_python: Callable[..., Any]) -> None:
    assert run_python(PROGRAM, folder, name).stdout == "2\n"


INTERRUPTED = """
import os, signal, sys, threading
from gpuload import DataLoader, ImageFolder, transforms as T
from gpuload.loading import threads
threads.GRACE = threads.UNWINDING = 0.1
dataset = ImageFolder(sys.argv[1], transform=T.RandomResizedCrop(64))
loader = DataLoader(dataset, 3, num_workers=2, engine=sys.argv[2], device="cpu")
batches = iter(loader)
print(len(next(batches)[0]) + len(next(batches)[0]))
threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()
try:
    next(batches)
except KeyboardInterrupt:
    print("interrupted", len(list(batches)))
"""


@on_the_cpu
def test_ctrl_c_ends_a_wait_for_a_file_that_stalls(name: str, folder: Path, run_python: Callable[..., Any]) -> None:
    (folder / "cats" / "06.jpg").unlink()
    os.mkfifo(folder / "cats" / "06.jpg")  # that nobody writes to
    ended = run_python(INTERRUPTED, folder, name)
    assert ended.stdout == "6\ninterrupted 0\n"
    assert "left 1 of the loader's threads behind" in ended.stderr


RANKS = """
import json, sys, torch
from torch import distributed
from torch.utils.data import DistributedSampler
from gpuload import DataLoader, ImageFolder, transforms as T
from tests.ranks import ranks

with ranks(2) as rank:
    distributed.init_process_group("gloo")
    dataset = ImageFolder(sys.argv[1], transform=T.RandomCrop(16))
    dataset.samples = [(path, number) for number, (path, _) in enumerate(dataset.samples)]
    loader = DataLoader(
        dataset, 3, sampler=DistributedSampler(dataset, seed=7), num_workers=2, seed=3, engine=sys.argv[2], device="cpu"
    )
    mine = []
    for epoch in range(2):
        loader.set_epoch(epoch)
        batches = list(loader)
        images = torch.cat([images for images, _ in batches])
        for image, (index, recipe) in zip(images, loader.recipes(epoch), strict=True):
            assert torch.equal(image, dataset.apply(index, recipe)), index
        mine.append(torch.cat([labels for _, labels in batches]).tolist())
    everybodys = [None, None]
    distributed.all_gather_object(everybodys, mine)
    if rank == 0:
        print(json.dumps(everybodys))
    distributed.destroy_process_group()
"""


@on_the_cpu
def test_each_of_two_ranks_has_its_share(name: str, folder: Path, run_python: Callable[..., Any]) -> None:
    """A crop is exact on all of them."""
    first, second = json.loads(run_python(RANKS, folder, name).stdout)
    assert first[0] != first[1]
    for mine, others in zip(first, second, strict=True):
        assert len(mine) == len(others) == 6
        assert sorted(mine + others) == [*range(12)]
