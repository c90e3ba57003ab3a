"""Everything that needs a GPU, in one command: tests, compute-sanitizer, kernels, loaders.

    make gpu        (or: python -m benchmarks.gpu)

Fits ten minutes. Writes what it measured, with the GPU's name and versions, to
``benchmarks/results/<GPU>.json``, anew after every step; ends with status 1 if a check failed.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from benchmarks.machine import machine

ROOT = Path(__file__).resolve().parents[1]
TESTS = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-m", "cuda"]
# a few seconds of the kernel's every path, for the sanitizers, under which it is a hundred times slower
SANITIZED = [*TESTS, "tests/test_engines.py", "-k", "extreme or padding_alone or one_channel or equal_sizes"]
Step = dict[str, Any]


def run(title: str, command: list[str], limit: float, **environment: str) -> Step:
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


def measured(title: str, module: str, limit: float, *options: str) -> Step:
    """Run a benchmark and read the figures that it wrote."""
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "figures.json"
        result = run(title, [sys.executable, "-m", module, "--json", str(target), *options], limit)
        if target.exists():
            result["figures"] = json.loads(target.read_text())
    return result


def sanitized(tool: str, limit: float, *options: str) -> Step:
    """The kernel's tests under one tool of compute-sanitizer, where it is installed."""
    program = shutil.which("compute-sanitizer")
    if program is None:
        print(f"\n== {tool}: compute-sanitizer is not installed", flush=True)
        return {"step": tool, "status": 0, "skipped": "compute-sanitizer is not installed"}
    command = [program, "--tool", tool, "--error-exitcode", "9", *options, *SANITIZED]
    return run(tool, command, limit, PYTORCH_NO_CUDA_MEMORY_CACHING="1")


def main() -> int:
    if not torch.cuda.is_available():
        print(f"no GPU: torch {torch.__version__} sees no CUDA device", file=sys.stderr)
        return 1
    name = re.sub(r"[^a-z0-9]+", "-", torch.cuda.get_device_name().lower()).strip("-")
    target = ROOT / "benchmarks" / "results" / f"{name}.json"
    target.parent.mkdir(exist_ok=True)
    workers = str(os.cpu_count() or 2)
    race = ("photos", "--only", "gpuload", "torch", "--device", "cuda", "--files", "12800", "--batch-size", "256")
    steps: list[Step] = []
    todo: list[Callable[[], Step]] = [
        lambda: run("tests", [*TESTS, "tests"], 180),
        lambda: measured("kernels", "benchmarks.kernels", 60),
        lambda: measured("race", "benchmarks.race", 150, *race, "--workers", workers, "--rounds", "3"),
        lambda: sanitized("memcheck", 90, "--report-api-errors", "no"),
        lambda: sanitized("racecheck", 90),
    ]
    for step in todo:
        steps.append(step())
        target.write_text(json.dumps({"machine": machine(), "steps": steps}, indent=2) + "\n")
    failed = [step["step"] for step in steps if step["status"] != 0]
    print(f"\nwrote {target.relative_to(ROOT)}; failed: {', '.join(failed) or 'nothing'}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
