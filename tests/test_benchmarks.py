"""The benchmarks' machinery: programs that are asked, rounds that are interleaved, figures that are put together."""

import os
import subprocess
import sys
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from benchmarks import ceiling, decoding, race
from benchmarks.contestant import ROOT, Contestant, ContestantError, Entry
from benchmarks.peers.protocol import FIRST, Peer, play, wait
from gpuload.compilers import compiler
from gpuload.libraries import host_library

TASK = ["--data", "/nowhere", "--transform", "crop224", "--batch-size", "8"]
needs_compiler = pytest.mark.skipif(compiler() is None, reason="no C++ compiler")


def test_a_peer_answers() -> None:
    with Contestant(Entry("hash", "hash", 2), TASK) as contestant:
        assert contestant.version.startswith("hashlib")
        assert contestant.startup > 0
        played = contestant.ask(seconds=0)
    assert played["images"] == 2 * 128
    assert played["seconds"] > 0


def test_a_peer_that_is_not_installed_or_ends_is_named() -> None:
    with pytest.raises(ContestantError, match="not installed: make peers"):
        Contestant(Entry("dali", "dali", 2, python=Path("/nowhere/python")), TASK)
    with pytest.raises(ContestantError, match=r"failed: ModuleNotFoundError: No module named '.+'"):
        Contestant(Entry("ffcv", "ffcv", 2), TASK)


class Recorded:
    """A contestant that notes its turns."""

    def __init__(self, name: str, turns: list[str]) -> None:
        self.name, self.turns = name, turns

    def ask(self, seconds: float) -> dict[str, float]:
        self.turns.append(self.name)
        return {"images": 10, "seconds": 2}


def test_rounds_are_interleaved_and_turn_around() -> None:
    turns: list[str] = []
    rates = race.run({name: Recorded(name, turns) for name in "abc"}, rounds=2, seconds=1)  # type: ignore[misc]
    assert "".join(turns) == "abc" + "abc" + "cba"  # the first warms up
    assert rates == {name: [5, 5] for name in "abc"}


def test_ratios_are_of_one_round() -> None:
    rates = {"gpuload": [10.0, 100.0, 30.0], "torch": [5.0, 25.0, 10.0]}
    figures = race.summarize(rates)
    assert figures["torch"] == {"images_per_second": 10, "lowest": 5, "highest": 25, "times": {"gpuload": 3}}


def test_gain_of_threads_is_a_share_of_hashing() -> None:
    rates = {"gpuload": [18.0], "gpuload 1 thread": [10.0], "hash": [20.0], "hash 1 thread": [10.0]}
    assert race.thread_gain(rates) == pytest.approx(0.9)
    assert race.thread_gain({"gpuload": [1.0]}) is None


def test_entries_of_a_race() -> None:
    options = Namespace(workers=2, baseline=Path("/old"), avx2=True, only=None, peers_python=Path("/peers/python"))
    names = [entry.name for entry in race.entries(race.RACES["photos"], options)]
    assert names == ["gpuload", "baseline", "gpuload avx2", "torch", "dali", "ffcv"]


def test_bars_of_decoding_are_over_the_best_of_the_others() -> None:
    rates = {"cpu": [90.0, 100.0, 110.0], "gpu": [50.0] * 3, "hybrid": [117.0, 130.0, 143.0], "dali 0.65": [140.0] * 3}
    results = decoding.judged(rates)
    assert results["the better of cpu and gpu"] == {"times": 1.3, "wanted": 1.2, "reached": True}
    assert results["DALI mixed at its best"] == {"times": 0.929, "wanted": 1.0, "reached": False}
    assert decoding.failures(results, [], decoding.CORES) == ["DALI mixed at its best"]
    assert decoding.failures(results, [], 8) == []  # for which the bars are not meant
    del rates["dali 0.65"], rates["gpu"]
    assert list(decoding.judged(rates)) == ["the better of cpu and gpu"]
    assert decoding.failures({}, ["gpu", "dali 0.65"], 8) == ["decoder='gpu'"]
    assert decoding.judged({"cpu": [1.0]}) == {}


def test_contestants_of_decoding() -> None:
    commands = {entry.name: " ".join(entry.command(TASK)) for entry in decoding.entries(16)}
    assert list(commands) == [*decoding.DECODERS, *(f"dali {load}" for load in decoding.LOADS)]
    assert "benchmarks.peers.gpuload_peer --workers 16 --decoder hybrid --data" in commands["hybrid"]
    assert "benchmarks.peers.dali_peer --workers 16 --load 0.35 --data" in commands["dali 0.35"]


def test_waiting_skips_what_could_not_be_ready() -> None:
    def epoch() -> Iterator[int]:
        yield from [8] * (FIRST + 3)

    times = wait(Peer("", epoch), batches=4, pause=0)  # of two epochs
    assert len(times["wall"]) == len(times["cpu"]) == 4
    assert play(Peer("", epoch), seconds=0)["images"] == 8 * (FIRST + 3)


@needs_compiler
@pytest.mark.skipif(os.uname().machine != "x86_64", reason="x86-64 alone")
def test_the_avx2_compiler_knows_no_avx512() -> None:
    command = [ROOT / "benchmarks" / "haswell-c++", "-march=native", "-x", "c++", "-dM", "-E", "-"]
    macros = subprocess.run(command, input="", text=True, capture_output=True, check=True).stdout
    assert "__AVX2__" in macros
    assert "__AVX512F__" not in macros


@needs_compiler
def test_decoding_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "class"
    folder.mkdir()
    Image.new("RGB", (50, 40)).save(folder / "0.jpg")
    for number in range(1, 2 * ceiling.BATCH):
        os.link(folder / "0.jpg", folder / f"{number}.jpg")
    for name in ceiling.CLOCKED:  # they are given back afterwards
        monkeypatch.setattr(host_library(), f"gpuload_{name}", getattr(host_library(), f"gpuload_{name}"))
    loader = ceiling.make_loader(tmp_path, 2, "returns")
    rate, python = ceiling.play(loader)
    assert rate > 0
    assert 0 < python < 1e-2
    assert len(next(iter(loader))[0]) == ceiling.BATCH


def test_peers_import_nothing_of_gpuload() -> None:
    code = "import sys, benchmarks.peers.protocol; assert not {'torch', 'numpy', 'gpuload'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
