"""`make gpu` says first, and all at once, what would stop it or be skipped; its steps fit ten minutes."""

import importlib
import json
import shutil
import tempfile
import warnings
from collections import namedtuple
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks import gpu, photos, preflight
from benchmarks.preflight import Line, Outcome
from gpuload import compilers
from gpuload.errors import MissingError
from gpuload.tools import doctor
from gpuload.tools.finding import Finding, Status
from tests.fresh import Pythons


def found(status: Status, *names: str) -> list[Finding]:
    fix = None if status is Status.OK else "get it"
    return [Finding(name, status, f"{name} is {status}", fix) for name in names]


@pytest.fixture
def ready(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A machine that has everything."""
    monkeypatch.setattr(doctor, "examine", lambda: found(Status.OK, *preflight.LOOKED_AT, "engines"))
    monkeypatch.setattr(preflight, "compute_sanitizer", lambda: "/bin/compute-sanitizer")
    monkeypatch.setattr(photos, "FOLDER", tmp_path / "photos")
    monkeypatch.setattr(preflight, "RESULTS", tmp_path / "results")
    monkeypatch.setenv("GPULOAD_CACHE", str(tmp_path / "cache"))


def without(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    """Let packages be broken."""
    load = importlib.import_module

    def broken(name: str) -> Any:
        if name in names:
            raise RuntimeError(f"{name} is for another torch")
        return load(name)

    monkeypatch.setattr(preflight.importlib, "import_module", broken)


def lines(outcome: Outcome) -> dict[str, Line]:
    return {line.name: line for line in preflight.look() if line.outcome is outcome}


# ---- the table ----


@pytest.mark.usefixtures("ready")
def test_where_all_is_here_nothing_stands_in_the_way() -> None:
    looked = preflight.look()
    assert {line.outcome for line in looked} == {Outcome.OK}
    assert [line.name for line in looked[: len(preflight.LOOKED_AT)]] == list(preflight.LOOKED_AT)
    assert preflight.skipped(looked) == {} and preflight.text(looked).endswith("Nothing stands in the way.")


@pytest.mark.usefixtures("ready")
def test_all_that_would_stop_it_is_named_at_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    missing = [*found(Status.MISSING, "Pillow", "CuPy"), *found(Status.OPTIONAL, "GPU", "CUDA headers")]
    monkeypatch.setattr(doctor, "examine", lambda: missing)
    without(monkeypatch, "torchvision", "hypothesis")
    (tmp_path / "file").touch()
    monkeypatch.setattr(preflight, "RESULTS", tmp_path / "file" / "results")
    stops = lines(Outcome.STOP)
    assert list(stops) == ["torchvision", "hypothesis", "Pillow", "CuPy", "GPU", "CUDA headers", "results"]
    assert all(line.fix for line in stops.values())
    assert stops["torchvision"].detail == "does not import (torchvision is for another torch)"
    text = preflight.text(preflight.look())
    assert text.endswith(f"Nothing runs before this is here: {', '.join(stops)}")
    assert "would stop       torchvision" in text and '-> pip install "torchvision>=0.26"' in text


@pytest.mark.parametrize("name", preflight.LOOKED_WITH)
def test_without_what_gpuload_itself_imports_that_is_said(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Not a traceback; and what else does not import is said, too."""
    without(monkeypatch, name, "pytest")
    monkeypatch.setattr(doctor, "examine", lambda: pytest.fail("gpuload does not import"))
    assert preflight.stopping(preflight.look()) == [name, "pytest"]


@pytest.mark.usefixtures("ready")
@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("nvImageCodec", "nvImageCodec is optional-missing; loaders are not timed with the decoder that users get"),
        ("GPU decoder", "GPU decoder is optional-missing; decoders are not timed"),
        ("DALI", "DALI is optional-missing; its engine is not tested"),
        ("native code", "native code is optional-missing; it is not tested"),
    ],
)
def test_what_can_be_lived_without(monkeypatch: pytest.MonkeyPatch, name: str, says: str) -> None:
    monkeypatch.setattr(doctor, "examine", lambda: found(Status.OPTIONAL, name))
    steps = ("decoding",) if name == "GPU decoder" else ()
    assert lines(Outcome.SKIP)[name] == Line(Outcome.SKIP, name, says, "get it", steps)
    monkeypatch.setattr(doctor, "examine", lambda: found(Status.MISSING, name))  # it is here, and does not work
    assert list(lines(Outcome.STOP)) == [name]


def test_what_is_looked_at_is_what_doctor_finds() -> None:
    assert set(preflight.LOOKED_AT) <= {part.name for part in doctor.PARTS}


@pytest.mark.usefixtures("ready")
def test_steps_that_lack_something_are_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preflight, "compute_sanitizer", lambda: None)
    without(monkeypatch, "sklearn")
    looked = preflight.look()
    assert preflight.stopping(looked) == []
    assert preflight.skipped(looked) == {
        "memcheck": "not installed: no memcheck, no racecheck",
        "racecheck": "not installed: no memcheck, no racecheck",
        "race": "scikit-learn does not import",
        "decoding": "scikit-learn does not import",
    }
    assert set(preflight.skipped(looked)) < {step.title for step in gpu.STEPS}


@pytest.mark.usefixtures("ready")
def test_photos_need_room_unless_they_are_there(monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "free")
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage(100_000_000))
    (line,) = lines(Outcome.SKIP).values()
    assert line.detail == f"0.1 GB free in {tempfile.gettempdir()}, 0.5 needed" and line.steps == ("race", "decoding")
    without(monkeypatch, "sklearn")
    made = photos.FOLDER / f"photos-{preflight.RACE_FILES}" / "made"
    made.parent.mkdir(parents=True)
    made.touch()
    assert lines(Outcome.SKIP) == {}


@pytest.mark.usefixtures("ready")
def test_no_folder_for_compiled_code(monkeypatch: pytest.MonkeyPatch) -> None:
    def none() -> Path:
        raise MissingError("compiled code cannot be kept")

    monkeypatch.setattr(compilers, "library_folder", none)
    assert list(lines(Outcome.STOP)) == ["compiled code"]


def test_compute_sanitizer_is_found_off_the_path(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    program = tmp_path / "compute-sanitizer"
    program.touch(0o755)
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(preflight, "CUDA_TOOLS", str(tmp_path))
    assert preflight.compute_sanitizer() == str(program)


# ---- the steps ----


def test_all_steps_fit_ten_minutes() -> None:
    assert gpu.LIMIT == 600
    assert gpu.LOOK + sum(step.limit for step in gpu.STEPS) <= gpu.LIMIT


def test_a_step_is_ended_at_its_limit(capfd: pytest.CaptureFixture[str]) -> None:
    assert gpu.run("sleeps", ["sleep", "60"], 0.1) == {"step": "sleeps", "status": 124}
    assert "== sleeps: FAILED (124)" in capfd.readouterr().out


def test_steps_are_played_written_and_skipped(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda *device: "NVIDIA H100 80GB")
    monkeypatch.setattr(gpu, "RESULTS", tmp_path)
    monkeypatch.setattr(gpu, "ROOT", tmp_path)
    steps = [gpu.Step(name, 1, lambda title, limit: {"step": title, "status": int(title == "b")}) for name in "abc"]
    monkeypatch.setattr(gpu, "STEPS", steps)
    assert gpu.play([Line(Outcome.SKIP, "a tool", "not here", steps=("c",))]) == ["b"]
    written = json.loads((tmp_path / "nvidia-h100-80gb.json").read_text())
    assert written["steps"] == [
        {"step": "a", "status": 0},
        {"step": "b", "status": 1},
        {"step": "c", "status": 0, "skipped": "not here"},
    ]


@pytest.mark.parametrize(
    ("outcome", "options", "failed", "status"),
    [
        (Outcome.STOP, [], None, 1),
        (Outcome.STOP, ["--anyway"], [], 0),
        (Outcome.OK, [], [], 0),
        (Outcome.SKIP, [], ["tests"], 1),
    ],
)
def test_nothing_runs_where_something_would_stop_it(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    outcome: Outcome,
    options: list[str],
    failed: list[str] | None,
    status: int,
) -> None:
    """``failed``: the steps that do, where any is played."""
    played: list[Any] = []
    monkeypatch.setattr(preflight, "look", lambda: [Line(outcome, "the moon", "is not full")])
    monkeypatch.setattr(gpu, "play", lambda lines: played.append(lines) or failed)
    assert gpu.main(options) == status
    assert bool(played) is (failed is not None) and "the moon" in capsys.readouterr().out


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_it_says_so(fresh: Pythons) -> None:
    run = fresh.run("import runpy; runpy.run_module('benchmarks.gpu', run_name='__main__')")
    assert run.returncode == 1 and run.stderr == ""
    assert "would stop       GPU" in run.stdout and "Nothing runs before this is here: GPU" in run.stdout
    assert "\n== " not in run.stdout


FORK = "This process (pid=1) is multi-threaded, use of fork() may lead to deadlocks in the child."


def test_that_a_process_with_threads_forks_is_no_error(run_python: Callable[..., Any]) -> None:
    """Python 3.12 and later warn of it, and torch's loader does it. Other warnings are errors."""
    warnings.warn(FORK, DeprecationWarning, stacklevel=1)
    run_python(f"import warnings; warnings.warn({FORK!r}, DeprecationWarning)")
    with pytest.raises(DeprecationWarning):
        warnings.warn("old", DeprecationWarning, stacklevel=1)
    with pytest.raises(AssertionError, match="DeprecationWarning: old"):
        run_python("import warnings; warnings.warn('old', DeprecationWarning)")
