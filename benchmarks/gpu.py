"""Everything that needs a GPU, in one command: tests, compute-sanitizer, kernels, loaders.

    make gpu        (or: python -m benchmarks.gpu)

Fits ten minutes. Writes what it measured, with the GPU's name and versions, to
``benchmarks/results/<GPU>.json``; ends with status 1 if a check failed.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch

from benchmarks.loaders import machine

ROOT = Path(__file__).resolve().parents[1]


def run(title: str, command: list[str], limit: float, **environment: str) -> dict[str, Any]:
    """Run a command, its output shown as it comes; what happened."""
    print(f"\n== {title}: {' '.join(command)}", flush=True)
    variables = {**os.environ, "PYTHONPATH": str(ROOT), **environment}
    try:
        status = subprocess.run(command, cwd=ROOT, env=variables, timeout=limit, check=False).returncode
    except subprocess.TimeoutExpired:
        status = 124
    print(f"== {title}: {'ok' if status == 0 else f'FAILED ({status})'}", flush=True)
    return {"step": title, "status": status}


def measured(title: str, module: str, limit: float, *options: str) -> dict[str, Any]:
    """Run a benchmark and read the figures that it wrote."""
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "figures.json"
        result = run(title, [sys.executable, "-m", module, "--json", str(target), *options], limit)
        if target.exists():
            result["figures"] = json.loads(target.read_text())
    return result


def main() -> int:
    if not torch.cuda.is_available():
        print(f"no GPU: torch {torch.__version__} sees no CUDA device", file=sys.stderr)
        return 1
    python = sys.executable
    tests = [python, "-m", "pytest", "-p", "no:cacheprovider", "-m", "cuda", "tests"]
    steps = [run("tests", tests, 240, GPULOAD_REQUIRE_CUDA="1")]
    sanitizer = shutil.which("compute-sanitizer")
    if sanitizer is not None:
        for tool in ("memcheck", "racecheck"):
            command = [
                sanitizer,
                "--tool",
                tool,
                "--error-exitcode",
                "9",
                python,
                "-m",
                "benchmarks.kernels",
                "--quick",
            ]
            steps.append(run(tool, command, 90))
    steps.append(measured("kernels", "benchmarks.kernels", 90))
    workers = str(os.cpu_count() or 2)
    steps.append(
        measured("loaders", "benchmarks.loaders", 150, "--workers", workers, "--batch-size", "256", "--rounds", "3")
    )
    name = re.sub(r"[^a-z0-9]+", "-", torch.cuda.get_device_name().lower()).strip("-")
    target = ROOT / "benchmarks" / "results" / f"{name}.json"
    target.parent.mkdir(exist_ok=True)
    target.write_text(json.dumps({"machine": machine(), "steps": steps}, indent=2) + "\n")
    failed = [step["step"] for step in steps if step["status"] != 0]
    print(f"\nwrote {target.relative_to(ROOT)}; failed: {', '.join(failed) or 'nothing'}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
