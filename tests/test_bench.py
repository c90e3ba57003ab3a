"""gpuload bench on small folders: what it finds and writes, and what it says to bad input."""

import json
import multiprocessing
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from gpuload import ArgumentError, DatasetError, ImageFolder, MissingError, SampleError, transforms as T
from gpuload.decoders import find_decoder
from gpuload.libraries import host_library
from gpuload.tools import bench, cli
from gpuload.tools.bench.clock import ROUNDS, Clock
from gpuload.tools.bench.decoding import Decoding, shares_of
from gpuload.tools.bench.entrants import Entrant, Task
from gpuload.tools.bench.results import Model
from gpuload.tools.bench.training import Training, check_model
from gpuload.tools.bench.warming import CHUNK, warmed

pytest.importorskip("torchvision")

QUICK: dict[str, Any] = {"size": 32, "batch_size": 8, "model": "500", "seconds": 0.01, "device": "cpu"}


@pytest.fixture
def copied(photos: Path, tmp_path: Path) -> Path:
    """The photos, to be written to."""
    return Path(shutil.copytree(photos, tmp_path / "photos"))


# ---- a run ----


def test_run(photos: Path, none_left: None) -> None:
    found = bench.run(str(photos), workers=[1, 0], **QUICK, progress=False)
    assert (found.images, found.raced, found.classes) == (24, 24, 2)
    assert found.pixels == (62, 65)
    assert (found.checked, found.equal) == (16, 16)
    assert [row.workers for row in found.rows] == [0, 1]
    for row in found.rows:
        assert list(row.rates) == ["torch", "gpuload", "decoder"]
        assert all(rate > 0 for rates in row.rates.values() for rate in rates)
        assert all(seconds > 0 for seconds in row.first_batch.values())
    assert found.model == Model("your model", "as you say", [500.0])
    assert found.machine["device"] == "cpu"
    assert "engine " in found.settings["gpuload"]
    assert multiprocessing.active_children() == []


def test_the_command(photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / "page.html"
    options = ["--size", "32", "--batch-size", "8", "--workers", "1", "--model", "500", "--device", "cpu"]
    status = cli.main(["bench", str(photos), *options, "--seconds", "0.01", "--json", "--html", str(page)])
    said = capsys.readouterr()
    assert (status, said.err) == (0, "")
    told = json.loads(said.out)
    assert told["pixels"] == {"checked": 16, "equal": 16}
    assert [row["workers"] for row in told["workers"]] == [1]
    assert told["verdicts"]["gpuload"]["model_takes"] == 500.0
    assert page.read_text(encoding="utf-8").startswith("<!doctype html>")


def test_a_model_is_trained(photos: Path) -> None:
    found = bench.run(str(photos), workers=[0], **{**QUICK, "model": "mobilenet_v3_small"}, progress=False)
    assert found.model.name == "mobilenet_v3_small"
    assert found.model.settings.startswith("in float32, ")
    assert found.model.rates[0] > 0


# ---- its parts ----


def test_both_loaders_play_whole_batches_of_every_worker() -> None:
    asked: list[int] = []

    class Loader:
        def __init__(self, sampler: Any) -> None:
            self.sampler = sampler

        def __iter__(self) -> Iterator[list[torch.Tensor]]:
            assert len(list(self.sampler)) == len(self.sampler)
            asked.append(len(self.sampler))
            return iter([[torch.zeros(4), torch.zeros(4)]] * (len(self.sampler) // 4))

    def make(task: Task, sampler: Any, **arguments: Any) -> Any:
        assert arguments == {"num_workers": 3, "persistent_workers": True, "drop_last": True}
        return Loader(sampler)

    task = Task(range(5), 4, torch.device("cpu"), 0)  # type: ignore[arg-type]
    with Entrant(make, task, 3) as entrant:
        assert entrant.play(0.0) > 0
        entrant.play(0.01)
    assert asked[:3] == [12, 12, 12]
    assert all(count % 12 == 0 for count in asked)
    assert asked[3] > 12


@pytest.mark.skipif(find_decoder() is None or host_library() is None, reason="Pillow decodes")
def test_the_decoder_alone_decodes_what_the_crops_need(photos: Path) -> None:
    images = ImageFolder(photos, transform=T.Compose([T.RandomResizedCrop(32), T.RandomHorizontalFlip()]))
    shares = shares_of(images, seed=3)
    assert sum(len(share.indices) for share in shares) == 24
    partial = 0
    for share in shares:
        room = np.zeros(share.room, np.uint8)
        share.decode(room)
        records, regions = share.fused.records, share.fused.regions.tolist()
        for index, begin, (top, left, height, width) in zip(share.indices, records["pixels"], regions, strict=True):
            image = images.image(int(index))
            region = np.asarray(image.crop((left, top, left + width, top + height)))
            assert np.array_equal(room[begin : begin + region.size], region.ravel())
            partial += region.size < np.asarray(image).size
    assert partial > 12


def test_the_decoder_alone_leaves_to_pillow_what_is_no_jpeg(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    for number in range(3):
        Image.new("RGB", (40, 30)).save(tmp_path / "a" / f"{number}.png")
    shares = shares_of(ImageFolder(tmp_path, transform=T.RandomResizedCrop(32)), seed=0)
    with Decoding(shares, threads=2) as decoding:
        assert decoding.play(0.0) > 0
    (tmp_path / "a" / "1.png").write_bytes(b"no image")
    with pytest.raises(SampleError, match=r"1\.png"):
        shares[0].decode(np.zeros(shares[0].room, np.uint8))


def test_rounds_end_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("time.perf_counter", lambda: now[0])
    clock = Clock(60, progress=False)

    def played(seconds: float, end: float) -> int:
        count = 0
        for _ in clock.rounds(end, "rounds"):
            now[0] += seconds
            count += 1
        return count

    assert played(3, end=10) == 3
    assert clock.passed == 9
    assert played(3, end=10) == 1, "one in any case"
    assert played(0.5, end=60) == ROUNDS
    assert clock.turn(end=44.5, contestants=3) == 30 / (3 * ROUNDS)
    assert clock.turn(end=0, contestants=3) == 0
    assert clock.share(0.5) == clock.passed + 30
    clock.close()


def test_warming_stops_when_time_is_over(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    for number in range(3 * CHUNK):
        Image.new("RGB", (1, 1)).save(tmp_path / "a" / f"{number:04}.png")
    images, clock = ImageFolder(tmp_path), Clock(1, progress=False)
    order = np.arange(len(images))[::-1]
    assert warmed(images, order, 1, clock, 60) == order.tolist()
    assert warmed(images, order, 1, clock, 0) == order[:CHUNK].tolist()
    assert warmed(images, order, CHUNK + 1, clock, 0) == order[: 2 * CHUNK].tolist()
    clock.close()


def test_subsets_of_the_folder_are_raced(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gpuload.tools.bench.warming.MOST", 10)
    found = bench.run(str(photos), workers=[0], **QUICK, progress=False)
    assert (found.images, found.raced) == (24, 10)


# ---- bad input ----


def refused(error: type[Exception], folder: Path, **given: Any) -> str:
    with pytest.raises(error) as caught:
        bench.run(str(folder), **{**QUICK, **given}, progress=False)
    return str(caught.value)


def test_no_such_folder(tmp_path: Path) -> None:
    message = refused(DatasetError, tmp_path / "none")
    assert message.startswith(f"root {str(tmp_path / 'none')!r} does not exist: pass a folder with one folder of")
    (tmp_path / "file").touch()
    assert f"{str(tmp_path / 'file')!r} is a file: pass a folder" in refused(DatasetError, tmp_path / "file")


def test_no_images(tmp_path: Path) -> None:
    assert "has no class folders: put each class's images into" in refused(DatasetError, tmp_path)
    (tmp_path / "a").mkdir()
    assert refused(DatasetError, tmp_path).startswith(f"no images for class 'a' in {str(tmp_path)!r}: ")


@pytest.mark.parametrize("keep", [0, 0.6])
def test_a_broken_image_is_named(copied: Path, keep: float) -> None:
    broken = copied / "dogs" / "07.jpg"
    data = broken.read_bytes()
    broken.write_bytes(data[: int(keep * len(data))])
    assert refused(SampleError, copied).startswith(f"sample 19 ({broken}): ")


def test_fewer_images_than_a_batch(photos: Path) -> None:
    message = refused(ArgumentError, photos, batch_size=25)
    assert message == f"batch_size must be at most 24, the number of images in {str(photos)!r}, got 25"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"workers": [2, -1]}, "workers must be at least 0, got -1"),
        ({"workers": []}, "workers must be one number or more, got none"),
        ({"size": 0}, "size must be at least 1 pixel, got 0"),
        ({"batch_size": 0}, "batch_size must be at least 1, got 0"),
        ({"seconds": 0}, "seconds must be more than 0, got 0"),
        ({"seconds": float("nan")}, "seconds must be more than 0, got nan"),
        ({"device": "abacus"}, "device must be 'cpu', 'cuda' or 'cuda:N', got 'abacus'"),
        ({"seed": -1}, "seed must be from 0 to 2^64 - 1, got -1"),
        ({"model": "-3"}, "model must take more than 0 images/s, got -3"),
        (
            {"model": "resnet"},
            "model must be the name of a model in torchvision.models that classifies images, such as resnet50, or a "
            "number, the images/s that your own takes; got 'resnet'",
        ),
    ],
)
def test_bad_arguments(photos: Path, given: dict[str, Any], message: str) -> None:
    assert refused(ArgumentError, photos, **given) == message


def test_a_model_that_cannot_train_on_such_batches() -> None:
    message = "^mobilenet_v3_small cannot train on batches of 1 image of 8 x 8 pixels: Expected more than 1 value"
    with pytest.raises(ArgumentError, match=message):
        Training("mobilenet_v3_small", (1, 3, 8, 8), 2, torch.device("cpu"))


def test_models() -> None:
    assert check_model("1500.5") == 1500.5
    assert check_model("resnet18") is None


def test_torchvision_is_missing(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torchvision", None)
    for name in [name for name in sys.modules if name.startswith("torchvision.")]:
        monkeypatch.delitem(sys.modules, name)
    message = refused(MissingError, photos, model="resnet18")
    assert message.startswith("gpuload bench needs torchvision, which does not import (")
    assert message.endswith("): pip install torchvision")


def test_too_little_shared_memory(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gpuload.tools.bench.entrants.SHARED", str(photos))
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=1 << 20 if path == str(photos) else 0))
    assert refused(ArgumentError, photos, size=256, workers=[0, 2]) == (
        "torch's worker processes hand batches over in shared memory, of which 2 need 36 MiB, and "
        f"{photos} has 1 free: pass --ipc=host to docker run, or a smaller --batch-size or fewer --workers"
    )
    bench.run(str(photos), workers=[0], **QUICK, progress=False)


@pytest.mark.parametrize("counts", ["", "two", "1;2"])
def test_workers_that_are_no_numbers(photos: Path, counts: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["bench", str(photos), "--workers", counts])
    assert f"integers with commas between them, such as 1,2,8; got {counts!r}" in capsys.readouterr().err


def test_a_page_that_cannot_be_written_is_refused_before_the_run(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bench, "run", None)
    page = tmp_path / "none" / "page.html"
    assert cli.main(["bench", str(photos), "--html", str(page)]) == 1
    message = f"gpuload: error: html must be in a folder that exists, got {str(page)!r}\n"
    assert capsys.readouterr().err == message
