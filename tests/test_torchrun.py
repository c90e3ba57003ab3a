"""torchrun's processes: one is killed in mid-epoch, others go on, and what all deliver is what one delivers alone."""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import torch

from gpuload import DataLoader, ImageFolder, transforms as T

PROGRAM = """
import hashlib, json, os, signal, sys
from pathlib import Path

import torch
import torch.distributed as dist
from gpuload import DataLoader, ImageFolder, Shard, transforms as T

photos, saved, delivered, killed_at = Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4])
dist.init_process_group("gloo")
torch.manual_seed(dist.get_rank())  # what the ranks draw for themselves is not the same
dataset = ImageFolder(photos, transform=T.Compose([T.RandomResizedCrop(12), T.RandomHorizontalFlip()]))
world = dist.get_world_size()
loader = DataLoader(dataset, 4 // world, shuffle=True, num_workers=2, device="cpu", shard=Shard.here())
if saved.exists():
    loader.load_state_dict(json.loads(saved.read_text()))
step = loader.state_dict()["batch"]
while loader.state_dict()["epoch"] < 2:
    for images, labels in loader:
        parts = [None] * world
        dist.all_gather_object(parts, [hashlib.sha256(image.numpy().tobytes()).hexdigest() for image in images])
        if dist.get_rank() == 0:
            with delivered.open("a") as file:
                file.write(json.dumps([name for part in parts for name in part]) + "\\n")
            saved.with_suffix(".new").write_text(json.dumps(loader.state_dict()))
            os.replace(saved.with_suffix(".new"), saved)
        dist.barrier()
        step += 1
        if step == killed_at and dist.get_rank() == world - 1:
            os.kill(os.getpid(), signal.SIGKILL)
dist.destroy_process_group()
"""


def torchrun(ranks: int, *arguments: object) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-W", "ignore", "-m", "torch.distributed.run", "--standalone"]
    command += [f"--nproc-per-node={ranks}", *map(str, arguments)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment)


def test_a_rank_is_killed_and_twice_as_many_go_on(photos: Path, tmp_path: Path) -> None:
    program, saved, delivered = tmp_path / "program.py", tmp_path / "state.json", tmp_path / "delivered"
    program.write_text(PROGRAM)
    killed = torchrun(2, program, photos, saved, delivered, 4)
    assert killed.returncode != 0, killed.stderr[-2000:]
    state = json.loads(saved.read_text())
    assert (state["epoch"], state["batch"]) == (0, 4)
    resumed = torchrun(4, program, photos, saved, delivered, 0)
    assert resumed.returncode == 0, resumed.stderr[-4000:]
    found = [json.loads(line) for line in delivered.read_text().splitlines()]

    transform = T.Compose([T.RandomResizedCrop(12), T.RandomHorizontalFlip()])
    alone = DataLoader(ImageFolder(photos, transform=transform), 4, shuffle=True, device="cpu")
    alone.load_state_dict({**state, "epoch": 0, "batch": 0})
    batches = [images for _ in range(2) for images, _ in alone]
    assert torch.cat(batches).shape[0] == 48
    assert found == [[hashlib.sha256(image.numpy().tobytes()).hexdigest() for image in images] for images in batches]
