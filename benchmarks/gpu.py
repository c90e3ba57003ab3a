"""Everything that needs a GPU, in one command: tests, compute-sanitizer, kernels, loaders.

    make gpu        (or: python -m benchmarks.gpu)

First a table of what it found here; where something of that would stop it, nothing runs, unless ``--anyway`` says so.
Fits ten minutes. Writes what it measured, with the GPU's name and versions, to ``benchmarks/results/<GPU>.json``, anew
after every step; ends with status 1 if a check failed.
"""

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks import preflight
from benchmarks.preflight import CORES, RACE_FILES, RESULTS, Line

ROOT = Path(__file__).resolve().parents[1]
TESTS = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-m", "cuda"]
# a few seconds of the kernels' every path, for the sanitizers, under which it is a hundred times slower
SANITIZED = [
    *(*TESTS, "tests/test_engines.py", "tests/test_adjust_kernel.py"),
    *("-k", "extreme or padding_alone or one_channel or equal_sizes or any_layout or too_large"),
]
RACE = ("photos", "--only", "gpuload", "torch", "--device", "cuda", "--batch-size", "256", "--rounds", "3")
LIMIT = 600  # seconds that all of it may take
LOOK = 30  # of them, for the table
Result = dict[str, Any]


class Step(NamedTuple):
    """One part of the whole; it is ended after ``limit`` seconds."""

    title: str
    limit: float
    play: Callable[[str, float], Result]


def run(title: str, command: Sequence[str], limit: float, **environment: str) -> Result:
    """Run a command, its output shown as it comes; what happened."""
    print(f"\n== {title}: {' '.join(command)}", flush=True)
    paths = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))
    variables = {**os.environ, "PYTHONPATH": paths, "GPULOAD_REQUIRE_CUDA": "1", **environment}
    with subprocess.Popen(command, cwd=ROOT, env=variables, start_new_session=True) as process:
        try:
            status = process.wait(limit)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)  # a sanitizer's own child as well
            status = 124
    print(f"== {title}: {'ok' if status == 0 else f'FAILED ({status})'}", flush=True)
    return {"step": title, "status": status}


def tested(title: str, limit: float) -> Result:
    return run(title, [*TESTS, "tests"], limit)


def measured(title: str, limit: float, *options: str) -> Result:
    """Run a benchmark and read the figures that it wrote."""
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "figures.json"
        command = [sys.executable, "-m", f"benchmarks.{title}", "--json", str(target), *options]
        result = run(title, command, limit)
        if target.exists():
            result["figures"] = json.loads(target.read_text())
    return result


def raced(title: str, limit: float) -> Result:
    return measured(title, limit, *RACE, "--files", str(RACE_FILES), "--workers", str(os.cpu_count() or 2))


def decoded(title: str, limit: float) -> Result:
    """Each way to decode, on as many cores as its bars are for, or all that there are."""
    workers = str(min(os.cpu_count() or 2, CORES))
    return measured(title, limit, "--files", str(RACE_FILES), "--workers", workers)


def sanitized(title: str, limit: float) -> Result:
    """The kernel's tests under one tool of compute-sanitizer."""
    program = preflight.compute_sanitizer()
    assert program is not None
    options = ["--report-api-errors", "no"] if title == "memcheck" else []
    command = [program, "--tool", title, "--error-exitcode", "9", *options, *SANITIZED]
    return run(title, command, limit, PYTORCH_NO_CUDA_MEMORY_CACHING="1")


STEPS = (
    Step("tests", 180, tested),
    Step("kernels", 50, measured),
    Step("race", 100, raced),
    Step("decoding", 110, decoded),
    Step("memcheck", 65, sanitized),
    Step("racecheck", 65, sanitized),
)


def play(lines: Sequence[Line]) -> list[str]:
    """All steps; the names of those that failed."""
    import torch

    from gpuload.tools.machine import machine

    name = re.sub(r"[^a-z0-9]+", "-", torch.cuda.get_device_name().lower()).strip("-")
    target, reasons = RESULTS / f"{name}.json", preflight.skipped(lines)
    results: list[Result] = []
    for title, limit, step in STEPS:
        if title in reasons:
            print(f"\n== {title}: skipped, {reasons[title]}", flush=True)
            results.append({"step": title, "status": 0, "skipped": reasons[title]})
        else:
            results.append(step(title, limit))
        target.write_text(json.dumps({"machine": machine(), "steps": results}, indent=2) + "\n")
    print(f"\nwrote {target.relative_to(ROOT)}")
    return [result["step"] for result in results if result["status"] != 0]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="benchmarks.gpu", description="Everything that needs a GPU.")
    parser.add_argument("--anyway", action="store_true", help="run although something would stop it")
    options = parser.parse_args(arguments)
    lines = preflight.look()
    print(preflight.text(lines), flush=True)
    if preflight.stopping(lines) and not options.anyway:
        return 1
    failed = play(lines)
    print(f"failed: {', '.join(failed) or 'nothing'}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
