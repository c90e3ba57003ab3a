"""What every peer is: a program that makes one loader and then does what it is asked, a JSON line for a JSON line.

It says first, once it has its first batch: ``{"version": ..., "startup": seconds}``, from the making of the loader,
its import included, torch's not. Then for each line that it reads:

- ``{"seconds": 2}``: plays whole epochs until two seconds have passed; ``{"images": ..., "seconds": ...}``.
- ``{"batches": 50, "pause": 0.1}``: pauses before each of 50 batches, so that it is ready when it is asked for;
  ``{"wall": [...], "cpu": [...]}``, seconds that each cost the calling thread.

The end of its input ends it. What libraries print goes to stderr. Nothing but the standard library is imported
here: a peer's environment need not have what gpuload needs.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
FIRST = 4  # batches of an epoch that nothing could prepare while the consumer paused


@dataclass(frozen=True)
class Task:
    """What a loader is to do: ``crop224`` is RandomResizedCrop(224), ``crop32`` is RandomCrop(32, padding=4).

    Both flip at random and normalize to float32.
    """

    data: Path
    transform: str
    workers: int
    batch_size: int
    device: str
    checkout: str  # a folder to take gpuload from, or empty
    engine: str  # of gpuload's, or empty: its own choice
    decoder: str  # gpuload's
    load: float  # the part of the images that DALI gives to the GPU's JPEG engine


@dataclass(frozen=True)
class Peer:
    version: str
    epoch: Callable[[], Iterator[int]]  # one epoch: the number of images of each batch
    settle: Callable[[], None] = lambda: None  # ends what was prepared while another peer's round ran


def read_task() -> Task:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--transform", choices=("crop224", "crop32"), required=True)
    parser.add_argument("--workers", type=int, required=True)
    parser.add_argument("--batch-size", type=int, required=True)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--checkout", default="")
    parser.add_argument("--engine", default="")
    parser.add_argument("--decoder", default="cpu")
    parser.add_argument("--load", type=float, default=0.65)
    return Task(**vars(parser.parse_args()))


def play(peer: Peer, seconds: float) -> dict[str, float]:
    peer.settle()
    start, images = time.perf_counter(), 0
    while True:
        images += sum(peer.epoch())
        passed = time.perf_counter() - start
        if passed >= seconds:
            return {"images": images, "seconds": passed}


def wait(peer: Peer, batches: int, pause: float) -> dict[str, list[float]]:
    wall: list[float] = []
    cpu: list[float] = []
    while True:
        epoch = peer.epoch()
        if sum(1 for _ in islice(epoch, FIRST)) < FIRST:
            raise ValueError(f"an epoch must have more than {FIRST} batches")
        while True:
            time.sleep(pause)
            wall_start, cpu_start = time.perf_counter(), time.thread_time()
            if next(epoch, None) is None:
                break
            cpu.append(time.thread_time() - cpu_start)
            wall.append(time.perf_counter() - wall_start)
            if len(wall) == batches:
                return {"wall": wall, "cpu": cpu}


def serve(make: Callable[[Task], Peer]) -> None:
    """Be a peer: the whole of its program."""
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def reply(**what: object) -> None:
        print(json.dumps(what), file=replies, flush=True)

    task, start = read_task(), time.perf_counter()
    peer = make(task)
    first = peer.epoch()
    next(first)
    reply(version=peer.version, startup=time.perf_counter() - start)
    for line in sys.stdin:
        for _ in first:  # the first epoch, which warms up, ends before anything is timed
            pass
        asked = json.loads(line)
        reply(**(wait if "batches" in asked else play)(peer, **asked))
