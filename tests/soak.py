"""Epochs with random breaks, resumes, faults and damaged files, for as long as it is told: `make soak`.

    python -m tests.soak [--minutes 10] [--seed 0]

A round is one scene: loaders of random settings, something that happens to them, and what must come of it, sample by
sample. After each there are no more threads, processes and open files than after the first rounds, and memory stays
what it was. The seed of a round that fails is told: ``--seed`` begins with it.
"""

import argparse
import gc
import json
import logging
import os
import random
import signal
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from torch.utils.data import Dataset, TensorDataset, _utils

from gpuload import DataLoader, ImageList, RandomSampler, SampleError, Shard, TimedOutError, transforms as T
from gpuload.libraries import host_library
from gpuload.loading import threads
from tests.conftest import encode, make_photo
from tests.jobs import Fifo, in_time

COUNT, GLOBAL_BATCH = 48, 8  # samples; of a batch of all ranks
BATCHES = COUNT // GLOBAL_BATCH
ENGINES = ["pillow"] if host_library() is None else ["cpu", "cpu", "pillow"]
SIZES = (60, 80), (75, 50), (64, 64), (48, 90)  # height, width
TRANSFORM = T.Compose([T.RandomResizedCrop(24), T.RandomHorizontalFlip(), T.ToDtype(torch.float32, scale=True)])
FLAT = 8 << 20  # bytes by which memory may differ
GRACE = 60.0  # seconds that a process that was forked may take


class Photos:
    """A folder of photos, whose labels are their numbers, and which of them cannot be read."""

    def __init__(self, root: Path) -> None:
        self.bad = set[int]()
        self._whole = [encode(make_photo(*SIZES[n % len(SIZES)], seed=n)) for n in range(COUNT)]
        self.files = [root / f"{number:02}.jpg" for number in range(COUNT)]
        self.heal()

    def heal(self) -> None:
        for file, data in zip(self.files, self._whole, strict=True):
            _put(file, data)
        self.bad.clear()

    def damage(self, rng: random.Random, count: int) -> None:
        for number in rng.sample(range(COUNT), count):
            kinds = [b"", b"no image", self._whole[number][: rng.randrange(1, 1000)], None]
            _put(self.files[number], rng.choice(kinds))
            self.bad.add(number)

    def exchange(self, rng: random.Random) -> None:
        """A file is another photo, of another size."""
        photo = make_photo(rng.randrange(30, 90), rng.randrange(30, 90), seed=rng.randrange(99))
        _put(rng.choice(self.files), encode(photo))

    def dataset(self, transform: Any = TRANSFORM) -> ImageList:
        return ImageList(self.files, range(COUNT), transform)


def _put(file: Path, data: bytes | None) -> None:
    """In one step, as whoever writes where others read should; None: it is gone."""
    if data is None:
        file.unlink(missing_ok=True)
        return
    beside = file.with_suffix(".new")
    beside.write_bytes(data)
    beside.replace(file)


class Numbers(Dataset[tuple[int, int]]):
    """What torch's workers read."""

    def __len__(self) -> int:
        return COUNT

    def __getitem__(self, index: int) -> tuple[int, int]:
        return -index, index


# ---- what is played, and what must come ----


class Scene(NamedTuple):
    """What a round has.

    Attributes:
        rng: decides all that is random.
        photos: whole when it begins.
        seed: of its loaders.
    """

    rng: random.Random
    photos: Photos
    seed: int

    def loader(self, dataset: Any, shard: Shard | None = None, **options: Any) -> DataLoader:
        """Of random settings, on which nothing that is delivered depends."""
        rng, is_photos = self.rng, isinstance(dataset, ImageList)
        chosen: dict[str, Any] = {
            "batch_size": GLOBAL_BATCH // (shard.world_size if shard else 1),
            "num_workers": rng.choice([0, 1, 2, 5]) if is_photos else rng.choice([0, 0, 0, 2]),
            "engine": rng.choice(ENGINES) if is_photos else None,
            "seed": self.seed,
            "shuffle": True,
        }
        chosen |= options
        if chosen["num_workers"]:
            chosen |= {"persistent_workers": rng.random() < 0.3, "prefetch_factor": rng.choice([1, 2, 4])}
        return DataLoader(dataset, shard=shard, device="cpu", **chosen)

    def ranks(self, dataset: Any, **options: Any) -> list[DataLoader]:
        world = self.rng.choice([1, 1, 2, 4])
        return [self.loader(dataset, Shard(rank, world), **options) for rank in range(world)]

    def order(self, epochs: int) -> list[list[int]]:
        """The samples of each global batch."""
        sampler = RandomSampler(range(COUNT), seed=self.seed)
        made = [index for _ in range(epochs) for index in sampler]
        return [made[at : at + GLOBAL_BATCH] for at in range(0, len(made), GLOBAL_BATCH)]


def together(ranks: list[DataLoader], epochs: int) -> Iterator[list[int]]:
    """The labels of each global batch."""
    for _ in range(epochs):
        for parts in zip(*ranks, strict=True):
            yield [label for _, labels in parts for label in labels.tolist()]


def through_json(state: Any) -> Any:
    return json.loads(json.dumps(state))


# ---- rounds ----


def resumed(scene: Scene) -> None:
    """Stopped anywhere, again and again; each time other ranks, workers and engines go on."""
    make: Callable[[], Any] = scene.rng.choice(
        [
            scene.photos.dataset,
            scene.photos.dataset,
            lambda: TensorDataset(-torch.arange(COUNT), torch.arange(COUNT)),
            Numbers,
        ]
    )
    ranks, found = scene.ranks(make()), list[list[int]]()
    state = through_json(ranks[0].state_dict())
    while len(found) < 2 * BATCHES:
        for batch in islice(together(ranks, 2), scene.rng.randrange(1, 2 * BATCHES)):
            found.append(batch)
            state = through_json(scene.rng.choice(ranks).state_dict())
            if len(found) == 2 * BATCHES:
                break
        ranks = scene.ranks(make())
        for rank in ranks:
            rank.load_state_dict(state)
    assert found == scene.order(2)


def pixels(scene: Scene) -> None:
    """Every image is what was drawn for it, applied with Pillow."""
    loader = scene.loader(scene.photos.dataset())
    delivered = [image for images, _ in loader for image in images]
    for image, (index, recipe) in zip(delivered, loader.recipes(0), strict=True):
        assert torch.equal(image, loader.dataset.apply(index, recipe)), index


def replaced(scene: Scene) -> None:
    """Others stand in for what cannot be read: the same ones whoever loads, and after a stop."""
    scene.photos.damage(scene.rng, scene.rng.randrange(1, 9))
    options = {"on_error": "replace", "max_bad_samples": 8}
    one, other = (scene.ranks(scene.photos.dataset(), **options) for _ in range(2))
    found = list(together(one, 2))
    stop = scene.rng.randrange(1, 2 * BATCHES)
    first = list(islice(together(other, 2), stop))
    state = through_json(other[0].state_dict())
    resumed = scene.ranks(scene.photos.dataset(), **options)
    for rank in resumed:
        rank.load_state_dict(state)
    assert first + list(islice(together(resumed, 2), len(found) - stop)) == found
    for batch, wanted in zip(found, scene.order(2), strict=True):
        assert not scene.photos.bad & {*batch}
        assert all(got == index or index in scene.photos.bad for got, index in zip(batch, wanted, strict=True))
    assert {bad.index for rank in one for bad in rank.quarantine} == scene.photos.bad


def raised(scene: Scene) -> None:
    """A batch with a file that cannot be read is an error that names it; all others come."""
    scene.photos.damage(scene.rng, scene.rng.randrange(1, 9))
    batches = iter(scene.loader(scene.photos.dataset()))
    for wanted in scene.order(1):
        failed = None
        try:
            _, labels = next(batches)
        except OSError as error:
            failed = error.index if isinstance(error, SampleError) else None
            labels = None
        bad = scene.photos.bad & {*wanted}
        assert failed in bad if bad else labels.tolist() == wanted
    assert next(batches, None) is None


def written_to(scene: Scene) -> None:
    """Files are exchanged, damaged and healed while they are read: a batch is right, or an error."""
    batches, bad = iter(scene.loader(scene.photos.dataset())), list[tuple[int | None, str | None]]()
    for wanted in scene.order(1):
        scene.rng.choice([scene.photos.exchange, lambda rng: scene.photos.damage(rng, 2)])(scene.rng)
        try:
            images, labels = next(batches)
            assert labels.tolist() == wanted and images.shape == (GLOBAL_BATCH, 3, 24, 24)
        except SampleError as error:
            bad.append((error.index, error.path))
    assert next(batches, None) is None
    assert {*bad} <= {*enumerate(map(str, scene.photos.files))}


def refused(scene: Scene) -> None:
    """A function of the user's fails, now and then; the loop goes on, and the next epoch is whole."""

    def fail(thing: Any) -> Any:
        if scene.rng.random() < 0.05 and failing:
            raise ZeroDivisionError("a fault")
        return thing

    failing = [True]
    transform = T.Compose([T.RandomResizedCrop(24), fail, T.ToDtype(torch.float32, scale=True)])
    kept: Any = scene.rng.choice([{}, {"collate_fn": lambda batch: fail(torch.tensor([label for _, label in batch]))}])
    loader = scene.loader(scene.photos.dataset(TRANSFORM if kept else transform), **kept)
    for _ in range(2):
        batches, came = iter(loader), 0
        for wanted in scene.order(2)[:BATCHES] if failing else scene.order(2)[BATCHES:]:
            try:
                batch = next(batches)
                assert (batch if kept else batch[1]).tolist() == wanted
                came += 1
            except ZeroDivisionError:
                assert failing
        assert next(batches, None) is None
        assert failing or came == BATCHES
        failing.clear()


def abandoned(scene: Scene) -> None:
    """Iterators that are left, held or dropped; others of the same loader go on."""
    loader, held = scene.loader(scene.photos.dataset()), list[Any]()
    for _ in range(scene.rng.randrange(1, 6)):
        batches = iter(loader)
        list(islice(batches, scene.rng.randrange(BATCHES)))
        held.append(batches if scene.rng.random() < 0.5 else None)
    loader.set_epoch(0)
    assert [labels.tolist() for _, labels in loader] == scene.order(1)


def forked(scene: Scene) -> None:
    """A process that is forked off in the middle of an epoch begins one of its own."""
    loader = scene.loader(scene.photos.dataset(), engine=ENGINES[0])
    batches = iter(loader)
    next(batches)
    child = os.fork()
    if child == 0:
        signal.alarm(int(GRACE))
        loader.set_epoch(0)
        same = [labels.tolist() for _, labels in loader] == scene.order(1)
        os._exit(0 if same else 1)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    assert [labels.tolist() for _, labels in batches] == scene.order(1)[1:]


def killed(scene: Scene) -> None:
    """A worker process is killed: that is an error, and the next epoch is whole."""
    loader = scene.loader(Numbers(), num_workers=2)
    batches = iter(loader)
    next(batches)
    handler = signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # torch's would raise wherever this is by then
    os.kill(_children()[0], signal.SIGKILL)
    with pytest.raises((RuntimeError, EOFError, OSError)):  # torch's; the others are of what was half sent
        list(batches)
    del batches
    gc.collect()  # of the error, whose frames hold torch's iterator
    signal.signal(signal.SIGCHLD, handler)
    loader = scene.loader(Numbers(), num_workers=2)
    assert [labels.tolist() for _, labels in loader] == scene.order(1)


def stalled(scene: Scene) -> None:
    """A read that does not end is an error once the time is over."""
    name = scene.photos.files[0].with_name("fifo")
    fifo = Fifo(name)
    dataset = ImageList([*scene.photos.files[1:], name], range(COUNT), TRANSFORM)
    try:
        with pytest.raises(TimedOutError, match="DataLoader timed out after 0.2 seconds"):
            list(scene.loader(dataset, num_workers=2, timeout=0.2))
    finally:
        fifo.let_go()
        fifo.close()
        name.unlink()


ROUNDS = (resumed, pixels, replaced, raised, written_to, refused, abandoned, killed, stalled)


# ---- what is left ----


class Left(NamedTuple):
    """What a process has."""

    threads: int
    processes: int
    files: int
    memory: int

    def no_more_than(self, other: "Left") -> bool:
        """But for memory, which is looked at over many rounds."""
        return all(mine <= theirs for mine, theirs in zip(self[:3], other[:3], strict=True))

    @classmethod
    def now(cls) -> "Left":
        gc.collect()
        with open("/proc/self/statm") as file:
            memory = int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        return cls(threading.active_count(), len(_children()), len(os.listdir("/proc/self/fd")), memory)


def _children() -> list[int]:
    return [int(pid) for task in Path("/proc/self/task").iterdir() for pid in (task / "children").read_text().split()]


def growth(memory: list[int]) -> int:
    """Bytes that the last quarter of the rounds has more than the quarter before, of their lower halves."""
    quarter = len(memory) // 4
    if not quarter:
        return 0
    last, before = memory[-quarter:], memory[-2 * quarter : -quarter]
    low = [statistics.median(sorted(part)[: len(part) // 2 + 1]) for part in (last, before)]
    return int(low[0] - low[1])


def play(number: int, photos: Photos, rounds: tuple[Callable[[Scene], None], ...] = ROUNDS) -> str:
    """One round, and its name.

    Args:
        number: decides all that is random.
        photos: whole when it begins, and when it has ended.
        rounds: which there are.
    """
    rng = random.Random(number)
    scene = rng.choice(rounds)
    try:
        scene(Scene(rng, photos, rng.randrange(3)))
    finally:
        photos.heal()
    return scene.__name__


def soak(seconds: float, seed: int, photos: Photos) -> int:
    """Play rounds for so long.

    Returns:
        how many.
    """
    end, number, memory = time.monotonic() + seconds, seed, list[int]()
    names, least, said = dict[str, int](), Left.now(), time.monotonic()
    while time.monotonic() < end:
        try:
            name = play(number, photos)
        except BaseException:
            print(f"round {number} failed: python -m tests.soak --seed {number}", file=sys.stderr)
            raise
        in_time(lambda: Left.now().no_more_than(least))  # a thread that was left behind ends with its task
        left, number = Left.now(), number + 1
        memory.append(left.memory)
        assert left.no_more_than(least), (number - 1, name, left, least, threading.enumerate())
        names[name] = names.get(name, 0) + 1
        if time.monotonic() > said + 30:
            said = time.monotonic()
            print(f"{number - seed} rounds, {left}", flush=True)
    print(f"{number - seed} rounds: {names}; {Left.now()}; memory grew by {growth(memory) / 1e6:.1f} MB")
    assert growth(memory) <= FLAT, f"memory grew by {growth(memory)} bytes"
    return number - seed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", type=int, default=0, help="of the first round")
    given = parser.parse_args()
    logging.getLogger("gpuload").setLevel(logging.ERROR)
    torch.set_num_threads(1)
    _utils.MP_STATUS_CHECK_INTERVAL = threads.GRACE = 0.2  # seconds to wait for what was killed, or stalls
    with tempfile.TemporaryDirectory() as root:
        soak(60 * given.minutes, given.seed, Photos(Path(root)))


if __name__ == "__main__":
    main()
