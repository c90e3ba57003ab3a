"""Samples that cannot be read: others stand in for them, by a rule, up to a limit."""

import copy
import errno
import logging
import pickle
import weakref
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st

import gpuload
from gpuload import ArgumentError, ArgumentTypeError, BadSamplesError, DataLoader, ImageFolder, SampleError, Shard
from gpuload.datasets import patience
from gpuload.libraries import host_library
from gpuload.loading.quarantine import BadSample, OfBatch, OfEpoch, Quarantine, Tolerance
from gpuload.samplers.orders import InOrder
from gpuload.testing import assert_same_batches

pytestmark = pytest.mark.usefixtures("none_left")

T = gpuload.transforms
CROPS = T.Compose([T.RandomResizedCrop(16), T.RandomHorizontalFlip()])
ENGINES = ["pillow"] if host_library() is None else ["cpu", "pillow"]
EMPTY, TORN, TEXT, GONE = 3, 8, 15, 20  # samples of the folder

every_engine = pytest.mark.parametrize("engine", ENGINES)


class Numbered(ImageFolder):
    """Labels are the numbers of the samples."""

    def __init__(self, root: Path, transform: Any = CROPS) -> None:
        super().__init__(root, transform=transform)
        self.samples = [(path, number) for number, (path, _) in enumerate(self.samples)]


@pytest.fixture
def folder(tmp_path: Path, photos: Path) -> Path:
    """The 24 photos, of which four cannot be read: one has no bytes, one no end, one is a text, one is gone."""
    root = tmp_path / "photos"
    for path in sorted(photos.rglob("*.jpg")):
        (root / path.parent.name).mkdir(parents=True, exist_ok=True)
        (root / path.parent.name / path.name).write_bytes(path.read_bytes())
    files = sorted(root.rglob("*.jpg"))
    files[EMPTY].write_bytes(b"")
    files[TORN].write_bytes(files[TORN].read_bytes()[:900])  # a whole header
    files[TEXT].write_text("no image")
    files[GONE].unlink()
    files[GONE].symlink_to(root / "nowhere")
    return root


def loader_of(folder: Path, transform: Any = CROPS, **options: Any) -> DataLoader:
    wanted = {"batch_size": 5, "seed": 2, "device": "cpu", "on_error": "replace", "max_bad_samples": 4} | options
    return DataLoader(Numbered(folder, transform), **wanted)


def labels(loader: DataLoader) -> list[int]:
    return [label for _, batch in loader for label in batch.tolist()]


# ---- who stands in ----


@every_engine
def test_the_same_on_all_ranks_and_workers_and_from_every_state(folder: Path, engine: str) -> None:
    def make(shard: Shard, workers: int) -> DataLoader:
        batch_size = 8 // shard.world_size
        return loader_of(folder, batch_size=batch_size, shuffle=True, shard=shard, num_workers=workers, engine=engine)

    assert_same_batches(make, worlds=[1, 2, 4], workers=[0, 3], epochs=2)


@every_engine
@pytest.mark.parametrize("workers", [0, 3])
def test_all_others_come_as_without_bad_ones(folder: Path, photos: Path, engine: str, workers: int) -> None:
    loader = loader_of(folder, shuffle=True, engine=engine, num_workers=workers)
    whole = loader_of(photos, shuffle=True, engine=engine, on_error="raise")
    stood_in = list[int]()
    for (images, found), (expected, wanted) in zip(loader, whole, strict=True):
        for image, label, one, other in zip(images, found.tolist(), expected, wanted.tolist(), strict=True):
            if other in (EMPTY, TORN, TEXT, GONE):
                stood_in.append(label)
            else:
                assert label == other and torch.equal(image, one)
    assert len(stood_in) == 4
    assert {EMPTY, TORN, TEXT, GONE}.isdisjoint(stood_in)
    assert [bad.index for bad in loader.quarantine] == [EMPTY, TORN, TEXT, GONE]


def test_what_is_delivered_is_what_was_drawn(folder: Path) -> None:
    loader = loader_of(folder, shuffle=True, num_workers=2)
    images = torch.cat([images for images, _ in loader])
    for image, (index, recipe) in zip(images, loader.recipes(0), strict=True):
        assert torch.equal(image, loader.dataset.apply(index, recipe))


def test_only_samples_of_the_epoch_stand_in(folder: Path) -> None:
    chosen = [EMPTY, 5, TORN, 11, 2, 13]
    for _ in range(3):
        loader = loader_of(folder, sampler=gpuload.SubsetRandomSampler(chosen))
        for _ in range(4):
            assert {*labels(loader)} <= {5, 11, 2, 13}


def test_of_an_own_sampler_the_next_of_the_batch_stands_in(folder: Path) -> None:
    order = [0, EMPTY, TORN, 4, 1, GONE, -1, 7, 9, TEXT]
    for workers in (0, 2):
        found = labels(loader_of(folder, sampler=order, num_workers=workers))
        assert found == [0, 4, 4, 4, 1, 23, 23, 7, 9, 23]


def test_a_bad_sample_that_comes_again_and_again(folder: Path) -> None:
    sampler = gpuload.WeightedRandomSampler([20.0 if i == TORN else 1.0 for i in range(24)], 60, seed=5)
    once = labels(loader_of(folder, sampler=sampler, num_workers=3))
    sampler.set_epoch(0)
    assert once == labels(loader_of(folder, sampler=sampler))
    assert TORN not in once
    assert len({*once}) > 10  # not one for all


def test_none_can_stand_in(folder: Path) -> None:
    for options in ({"sampler": [EMPTY, TORN]}, {"sampler": gpuload.SubsetRandomSampler([EMPTY, TORN])}):
        with pytest.raises(BadSamplesError, match="cannot be read, nor can any that may stand in for it"):
            labels(loader_of(folder, **options))


def test_single_samples(folder: Path) -> None:
    found = [label for _, label in loader_of(folder, shuffle=True, batch_size=None, num_workers=2)]
    assert len(found) == 24
    assert {EMPTY, TORN, TEXT, GONE}.isdisjoint(found)


def test_before_ordinary_code(folder: Path) -> None:
    """A transform that is native, then a function of the user's, then native again."""
    transform = T.Compose([T.Resize((20, 20)), lambda image: image.rotate(90), T.RandomCrop(12)])
    plain, mixed = (labels(loader_of(folder, t, shuffle=True, num_workers=2)) for t in (CROPS, transform))
    assert plain == mixed


def test_dalis_engine(folder: Path) -> None:
    pytest.importorskip("nvidia.dali")
    if host_library() is None:
        pytest.skip("DALI's engine needs a compiler")
    with_dali = [labels(loader_of(folder, shuffle=True, engine="dali", num_workers=w)) for w in (0, 2)]
    assert with_dali == [labels(loader_of(folder, shuffle=True))] * 2


@settings(max_examples=20)
@given(st.integers(0, 2**64 - 1), st.integers(0, 2**32 - 1), st.integers(0, 2**40), st.integers(1, 50))
def test_stand_ins_are_drawn_from_the_whole_epoch(seed: int, epoch: int, position: int, count: int) -> None:
    found = [*OfEpoch(InOrder(count), seed, epoch).of(position)]
    assert found == [*OfEpoch(InOrder(count), seed, epoch).of(position)]
    assert {*found} <= {*range(count)}
    assert len(found) == 100
    assert count < 20 or len({*found}) > count // 2


@given(st.lists(st.integers(0, 9), min_size=1, max_size=9), st.integers(0, 1000))
def test_stand_ins_of_a_batch_are_all_others_of_it(indices: list[int], start: int) -> None:
    batch = OfBatch(np.arange(start, start + len(indices)), np.array(indices))
    for slot in range(len(indices)):
        assert [*batch.of(start + slot)] == [indices[(slot + n) % len(indices)] for n in range(1, len(indices))]


# ---- what is said, and when it is too much ----


@every_engine
def test_each_is_logged_once_and_listed(folder: Path, engine: str, caplog: pytest.LogCaptureFixture) -> None:
    loader = loader_of(folder, shuffle=True, engine=engine, num_workers=2)
    with caplog.at_level(logging.WARNING, "gpuload"):
        for _ in range(3):
            labels(loader)
    said = sorted(record.getMessage() for record in caplog.records)
    files = [loader.dataset.path(index) for index in (EMPTY, TORN, TEXT, GONE)]
    assert len(said) == 4
    for index, path in zip((EMPTY, TORN, TEXT, GONE), files, strict=True):
        (line,) = (line for line in said if path in line)
        assert line.startswith(f"sample {index} ({path}): ")
        assert line.endswith(": another sample stands in for it from now on")
    bad = [*loader.quarantine]
    assert [(one.index, one.path) for one in bad] == [*zip((EMPTY, TORN, TEXT, GONE), files, strict=True)]
    assert [one.reason for one in bad][::2] == [
        "the file is empty (0 bytes)",
        "not an image that Pillow can read: it is in none of its formats",
    ]
    assert "No such file" in bad[3].reason
    assert len(loader.quarantine) == 4 and TORN in loader.quarantine and 0 not in loader.quarantine


@every_engine
@pytest.mark.parametrize("workers", [0, 3])
def test_too_many(folder: Path, engine: str, workers: int) -> None:
    loader = loader_of(folder, max_bad_samples=2, engine=engine, num_workers=workers)
    said = r"[34] samples cannot be read, but max_bad_samples allows 2: .*; one is sample \d+ \(.*jpg\): "
    with pytest.raises(BadSamplesError, match=said):
        labels(loader)
    assert len(loader.quarantine) >= 3


def test_too_many_stay_too_many(folder: Path) -> None:
    """A loop that goes on, another epoch, and a run from a state."""
    loader = loader_of(folder, max_bad_samples=1)
    for _ in range(2):
        batches, came = iter(loader), list[bool]()
        for _ in range(5):
            try:
                came.append(bool(next(batches)))
            except BadSamplesError:
                came.append(False)
    assert came == [False, False, True, False, False]
    resumed = loader_of(folder, max_bad_samples=3)
    resumed.load_state_dict(loader.state_dict())
    resumed.set_epoch(7)
    with pytest.raises(
        BadSamplesError, match="4 samples cannot be read, but max_bad_samples allows 3: .*; one is sample 3"
    ):
        labels(resumed)
    resumed.max_bad_samples = 4
    assert len(labels(resumed)) == 24


def test_why_it_is_too_much(folder: Path) -> None:
    with pytest.raises(BadSamplesError) as info:
        labels(loader_of(folder, max_bad_samples=0))
    cause = info.value.__cause__
    assert isinstance(cause, SampleError) and isinstance(cause, OSError)
    assert cause.index == EMPTY


@pytest.mark.parametrize(
    ("given", "samples", "most"), [(0, 9, 0), (7, 2, 7), (0.01, 1_281_167, 12_811), (0.01, 50, 1), (0.5, 10, 5)]
)
def test_a_count_or_a_share(given: float, samples: int, most: int) -> None:
    assert Tolerance.of(Quarantine(), given, samples).most == most


def test_what_is_no_limit(folder: Path) -> None:
    for wrong in (1.0, 0.0, -0.5, float("nan")):
        with pytest.raises(ArgumentError, match="max_bad_samples must be an int, or a float between 0 and 1"):
            loader_of(folder, max_bad_samples=wrong)
    with pytest.raises(ArgumentError, match="max_bad_samples must be at least 0, got -1"):
        loader_of(folder, max_bad_samples=-1)
    with pytest.raises(ArgumentTypeError, match="max_bad_samples must be an int, got '3'"):
        loader_of(folder, max_bad_samples="3")


def test_what_is_no_way() -> None:
    with pytest.raises(ArgumentError, match="on_error must be one of raise, replace, got 'skip'"):
        DataLoader([1, 2], on_error="skip", device="cpu")
    with pytest.raises(ArgumentError, match="on_error is for images that gpuload renders, got list"):
        DataLoader([1, 2], on_error="replace", device="cpu")


def test_raised_by_default(folder: Path) -> None:
    for workers in (0, 2):
        loader = DataLoader(Numbered(folder), 5, num_workers=workers, device="cpu")
        said = rf"sample {EMPTY} \(.*03.jpg\): the file is empty \(0 bytes\) \(position {EMPTY} of epoch 0\)$"
        with pytest.raises(SampleError, match=said):
            labels(loader)


@every_engine
@pytest.mark.parametrize("bad", [EMPTY, TORN])
def test_the_position_is_that_of_the_epoch(folder: Path, engine: str, bad: int) -> None:
    sampler = gpuload.SubsetRandomSampler([bad, 0, 1, 2, 4, 5, 6, 7], seed=4)
    order = [*sampler, *sampler][8:]
    loader = loader_of(folder, sampler=sampler, on_error="raise", num_workers=2, engine=engine)
    loader.set_epoch(1)
    batches, said, sent = iter(loader), list[str](), list[bytes]()
    for _ in range(2):
        try:
            next(batches)
        except SampleError as error:
            said.append(str(error))
            sent.append(pickle.dumps(error))
    (same,) = map(pickle.loads, sent)
    assert (same.index, same.epoch, same.position, str(same)) == (bad, 1, order.index(bad), said[0])


def test_what_the_user_wrote_is_never_passed_over(folder: Path) -> None:
    """Not even where it says the same as a file that is missing."""

    def fail(thing: Any) -> Any:
        raise FileNotFoundError(errno.ENOENT, "a bug", "lookup.csv")

    transform = T.Compose([T.Resize((20, 20)), fail])
    with pytest.raises(SampleError, match="a bug"):
        labels(loader_of(folder, transform, sampler=[0, 1], num_workers=1))
    loader = loader_of(folder, sampler=[0, 1])
    loader.dataset.target_transform = fail
    with pytest.raises(SampleError, match="a bug"):
        labels(loader)
    with pytest.raises(IndexError, match="sample 24 of 24"):
        labels(loader_of(folder, sampler=[0, 24]))
    assert not len(loader.quarantine)


def test_from_the_next_epoch_on(folder: Path) -> None:
    loader = loader_of(folder, on_error="raise")
    with pytest.raises(SampleError):
        labels(loader)
    loader.on_error = "replace"
    assert len(labels(loader)) == 24
    loader.on_error = "raise"
    with pytest.raises(SampleError):
        labels(loader)


def test_explain_says_it(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    loader = loader_of(folder)
    labels(loader)
    loader.explain()
    assert "others stand in for what cannot be read: 4 samples until now, 4 at most" in capsys.readouterr().out
    loader.on_error = "raise"
    loader.explain()
    assert "stand in" not in capsys.readouterr().out


# ---- what is kept ----


def test_the_state_has_them(folder: Path) -> None:
    """What was mended since stays out, as in the run that never stopped."""
    loader = loader_of(folder, shuffle=True)
    labels(loader)
    state = loader.state_dict()
    assert [bad[0] for bad in state["quarantine"]] == [EMPTY, TORN, TEXT, GONE]
    healthy = loader.dataset.path(0)
    for bad in state["quarantine"]:
        Path(bad[1]).unlink()
        Path(bad[1]).write_bytes(Path(healthy).read_bytes())
    resumed = loader_of(folder, shuffle=True)
    resumed.load_state_dict(state)
    assert [*resumed.quarantine] == [*loader.quarantine]
    assert labels(resumed) == labels(loader)
    assert {EMPTY, TORN, TEXT, GONE} <= {*labels(loader_of(folder, shuffle=True))}


@pytest.mark.parametrize(
    "wrong",
    [3, [3], [[3, "path"]], [["3", "path", "reason"]], [[-1, "path", "reason"]], [[1 << 63, "path", "reason"]], None],
)
def test_what_is_no_quarantine_in_a_state(folder: Path, wrong: Any) -> None:
    loader = loader_of(folder)
    with pytest.raises(ArgumentError, match="state is damaged: quarantine is "):
        loader.load_state_dict({**loader.state_dict(), "quarantine": wrong})


@pytest.mark.parametrize("is_empty", [True, False])
@pytest.mark.parametrize("copied", [copy.deepcopy, lambda thing: pickle.loads(pickle.dumps(thing))])
def test_copies_are_their_own(is_empty: bool, copied: Callable[[Quarantine], Quarantine]) -> None:
    quarantine = Quarantine()
    quarantine.restore([] if is_empty else [[4, "a.jpg", "torn"], [2, "b.jpg", "gone"]])
    other = copied(quarantine)
    assert (
        [*other]
        == [*quarantine]
        == ([] if is_empty else [BadSample(2, "b.jpg", "gone"), BadSample(4, "a.jpg", "torn")])
    )
    assert other.add(BadSample(9, "c.jpg", "late")) and 9 not in quarantine
    assert not other.add(BadSample(9, "c.jpg", "later"))


@pytest.mark.usefixtures("no_collector")
@every_engine
@pytest.mark.parametrize("most", [4, 1], ids=["enough", "too many"])
def test_nothing_is_left_of_them(folder: Path, engine: str, most: int) -> None:
    loader = loader_of(folder, engine=engine, num_workers=2, max_bad_samples=most)
    try:
        labels(loader)
    except BadSamplesError:
        assert most == 1
    gone = weakref.ref(loader.dataset), weakref.ref(loader)
    del loader
    assert [one() for one in gone] == [None, None]


# ---- what may pass ----


class Flaky:
    """Reads that fail some times before they do not."""

    def __init__(self, code: int, failures: int) -> None:
        self.code, self.failures, self.tries = code, failures, 0

    def __call__(self) -> str:
        self.tries += 1
        if self.tries <= self.failures:
            raise OSError(self.code, "trouble")
        return "read"


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    slept = list[float]()
    monkeypatch.setattr(patience.time, "sleep", slept.append)
    return slept


def test_what_passes_is_read_after_all(pauses: list[float]) -> None:
    assert patience.patiently(Flaky(errno.ESTALE, 3)) == "read"
    assert pauses == sorted(pauses) == [*patience.PAUSES]


@pytest.mark.parametrize(("code", "tries"), [(errno.EIO, 4), (errno.ENOENT, 1), (errno.EISDIR, 1), (errno.EACCES, 1)])
def test_what_does_not_pass_is_raised(code: int, tries: int, pauses: list[float]) -> None:
    flaky = Flaky(code, 9)
    with pytest.raises(OSError, match="trouble"):
        patience.patiently(flaky)
    assert flaky.tries == tries == len(pauses) + 1


@pytest.mark.parametrize("on_error", ["raise", "replace"])
def test_a_file_system_that_stumbles(
    photos: Path, on_error: str, pauses: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither headers nor pixels are lost to it."""
    stumbles = dict[str, int]()

    def stumbling(read: Callable[..., Any], path: str, *rest: Any) -> Any:
        stumbles[path] = stumbles.get(path, 0) + 1
        if stumbles[path] % 2:
            raise OSError(errno.ETIMEDOUT, "trouble", path)
        return read(path, *rest)

    for name in ("_read", "_size"):
        monkeypatch.setattr(gpuload.datasets.base, name, partial(stumbling, getattr(gpuload.datasets.base, name)))
    loader = loader_of(photos, engine="pillow", num_workers=2, on_error=on_error, max_bad_samples=0)
    assert labels(loader) == [*range(24)]
    assert len(stumbles) == 24
    assert loader.dataset.size(0) == (60, 80)
    reads = 25 if host_library() else 49  # native code looks at the headers, where there is any
    assert (sum(stumbles.values()), len(pauses)) == (2 * reads, reads)
