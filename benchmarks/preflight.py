"""What `make gpu` will meet on this machine: all of it at once, before anything runs."""

import importlib
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple

RESULTS = Path(__file__).parent / "results"
RACE_FILES = 12_800
CORES = 16  # that the bars of decoding are for
RACES = ("race", "decoding")  # steps that need its photos
RACE_BYTES = 500_000_000  # of the photos that differ, with room to spare
CUDA_TOOLS = "/usr/local/cuda/bin"  # where images for development have them, often off the path
LOOKED_WITH = {  # nothing else can be looked at without these
    "torch": 'pip install "torch>=2.11"',
    "numpy": 'pip install "numpy>=2.0"',
    "PIL": 'pip install "Pillow>=13"',
    "tqdm": "pip install tqdm",
}
TESTED_WITH = {
    "torchvision": 'pip install "torchvision>=0.26"',
    "pytest": 'pip install "pytest>=8"',
    "hypothesis": 'pip install "hypothesis>=6.100"',
}
LIVED_WITHOUT = {  # of what `gpuload doctor` finds
    "native code": "it is not tested",
    "nvImageCodec": "loaders are not timed with the decoder that users get",
    "GPU decoder": "decoders are not timed",
    "DALI": "its engine is not tested",
}
LOOKED_AT = ("Python", "torch", "numpy", "Pillow", "GPU", "CUDA headers", "CuPy", *LIVED_WITHOUT)


class Outcome(StrEnum):
    """What something means for `make gpu`."""

    OK = "ok"
    SKIP = "will be skipped"
    STOP = "would stop"


class Line(NamedTuple):
    """One thing that was looked at.

    Attributes:
        outcome, name: of it.
        detail: what is there, or what is not and what follows.
        fix: the command that helps.
        steps: those of `make gpu` that are skipped.
    """

    outcome: Outcome
    name: str
    detail: str
    fix: str | None = None
    steps: tuple[str, ...] = ()


def look() -> list[Line]:
    """Look at everything. Raises nothing."""
    lines = [*packages(LOOKED_WITH)]
    if stopping(lines):
        return [*lines, *packages(TESTED_WITH)]
    return [*lines, *packages(TESTED_WITH), *of_doctor(), *sanitizer(), *photos(), *results(), *cache()]


def stopping(lines: Sequence[Line]) -> list[str]:
    """The names of what would stop `make gpu`."""
    return [line.name for line in lines if line.outcome is Outcome.STOP]


def skipped(lines: Sequence[Line]) -> dict[str, str]:
    """The steps that are skipped, and why."""
    return {step: line.detail for line in lines for step in line.steps}


def text(lines: Sequence[Line]) -> str:
    """The lines as a table, and what follows from them."""
    outcomes, names = max(len(outcome) for outcome in Outcome) + 2, max(len(line.name) for line in lines) + 2
    margin = " " * (outcomes + names)
    shown = [f"{line.outcome:{outcomes}}{line.name:{names}}{line.detail}" for line in lines]
    rows = [f"{row}\n{margin}-> {line.fix}" if line.fix else row for row, line in zip(shown, lines, strict=True)]
    stops = ", ".join(stopping(lines))
    end = f"Nothing runs before this is here: {stops}" if stops else "Nothing stands in the way."
    return "\n".join([*rows, "", end])


def packages(needed: dict[str, str]) -> Iterator[Line]:
    """Those that do not import; that they are installed is not enough."""
    for name, fix in needed.items():
        try:
            importlib.import_module(name)
        except Exception as error:  # a broken installation raises anything
            yield Line(Outcome.STOP, name, f"does not import ({error})", fix)


def of_doctor() -> Iterator[Line]:
    from gpuload.tools.doctor import examine  # gpuload imports what may not be here
    from gpuload.tools.finding import Status

    for name, status, detail, fix in examine():
        if name not in LOOKED_AT:
            continue
        if status is Status.OK:
            yield Line(Outcome.OK, name, detail)
        elif status is Status.OPTIONAL and name in LIVED_WITHOUT:
            steps = ("decoding",) if name == "GPU decoder" else ()
            yield Line(Outcome.SKIP, name, f"{detail}; {LIVED_WITHOUT[name]}", fix, steps)
        else:
            yield Line(Outcome.STOP, name, detail, fix)


def compute_sanitizer() -> str | None:
    """The program; None where it is not installed."""
    return shutil.which("compute-sanitizer", path=os.pathsep.join((os.environ.get("PATH", ""), CUDA_TOOLS)))


def sanitizer() -> Iterator[Line]:
    found, name = compute_sanitizer(), "compute-sanitizer"
    if found is not None:
        yield Line(Outcome.OK, name, found)
    else:
        fix = "apt-get install cuda-sanitizer-13-0, or add its folder to PATH"
        yield Line(Outcome.SKIP, name, "not installed: no memcheck, no racecheck", fix, ("memcheck", "racecheck"))


def photos() -> Iterator[Line]:
    """The race's, which scikit-learn's two photos are cut for; they stay for the next time."""
    from benchmarks.photos import FOLDER

    name = "photos to race with"
    if (FOLDER / f"photos-{RACE_FILES}" / "made").exists():
        yield Line(Outcome.OK, name, f"in {FOLDER}")
        return
    free = shutil.disk_usage(tempfile.gettempdir()).free
    if free < RACE_BYTES:
        detail = f"{free / 1e9:.1f} GB free in {tempfile.gettempdir()}, {RACE_BYTES / 1e9} needed"
        yield Line(Outcome.SKIP, name, detail, "set TMPDIR to a folder on another disk", RACES)
    elif any(packages({"sklearn": ""})):
        yield Line(Outcome.SKIP, name, "scikit-learn does not import", 'pip install "scikit-learn>=1.5"', RACES)
    else:
        yield Line(Outcome.OK, name, f"are made in {FOLDER}")


def results() -> Iterator[Line]:
    try:
        RESULTS.mkdir(exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=RESULTS):
            yield Line(Outcome.OK, "results", f"go to {RESULTS}")
    except OSError as error:
        yield Line(Outcome.STOP, "results", f"cannot be written ({error})", f"chmod u+w {RESULTS}")


def cache() -> Iterator[Line]:
    """Where compiled code is kept; a home folder that cannot be written is no obstacle."""
    from gpuload.compilers import library_folder
    from gpuload.errors import MissingError

    try:
        yield Line(Outcome.OK, "compiled code", f"is kept in {library_folder()}")
    except MissingError as error:
        yield Line(Outcome.STOP, "compiled code", str(error), "export GPULOAD_CACHE=/a/folder/of/yours")
