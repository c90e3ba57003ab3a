"""What takes too long for `make test`: ``python -m tests.sanitize``, which is ``make sanitize``.

The native code and the kernels under sanitizers, damaged files, a thousand schedules on the simulated GPU.

Steps run two at a time, the longest first, each with its output kept back until it fails. What they build lies in
``build/sanitize``: a second run compiles nothing.
"""

import os
import shlex
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TOGETHER = 2
MOST_SECONDS = 400  # of a step; one that hangs is killed
ADDRESS = (
    "-O1 -g1 -fno-omit-frame-pointer -fsanitize=address,undefined,float-cast-overflow -fno-sanitize-recover=all "
    "-D_GLIBCXX_ASSERTIONS -D_GLIBCXX_SANITIZE_VECTOR"
)
# what a sanitizer says goes to the step's output, and no handler of Python's stands before its own
PYTEST = (sys.executable, "-m", "pytest", "-x", "-p", "no:cacheprovider", "-p", "no:faulthandler", "--capture=sys")


@dataclass(frozen=True)
class Step:
    """A command that must end well, in its time."""

    title: str
    command: tuple[str, ...]
    environment: dict[str, str] = field(default_factory=dict)


def under_address_sanitizer(*flags: str) -> dict[str, str]:
    """Environment variables: whatever gpuload compiles is checked, in memory of the sanitizer's."""
    runtimes = [_runtime(name) for name in ("libasan.so", "libubsan.so", "libstdc++.so")]
    return {
        "CXX": shlex.join([str(ROOT / "tests" / "sanitized-c++"), *ADDRESS.split(), *flags]),
        "GPULOAD_CACHE": str(ROOT / "build" / "sanitize"),
        "LD_PRELOAD": " ".join(runtimes),
        # Python leaves much to the process's end, and allocates so often that long call stacks would take long
        "ASAN_OPTIONS": "detect_leaks=0:allocator_may_return_null=1:malloc_context_size=6",
        "UBSAN_OPTIONS": "print_stacktrace=1",
    }


def _runtime(name: str) -> str:
    command = ["g++", f"-print-file-name={name}"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def pytest_of(*names: str, only: str = "") -> tuple[str, ...]:
    """The command that runs the tests of some files: those that pytest's expression names, or all."""
    chosen = ("-k", only) if only else ()
    return (*PYTEST, *(f"tests/{name}.py" for name in names), *chosen)


def steps() -> list[Step]:
    """What runs; the longest first."""
    address, thousand = under_address_sanitizer(), {"GPULOAD_CASES": "1000"}
    plain = under_address_sanitizer("-mno-avx")  # wins over -march=native, and takes AVX2 and AVX-512 along
    engines = "test_files", "test_jpeg_header", "test_engines", "test_decoders", "test_extremes"
    native = (
        "test_native",
        "test_native_checks",
        "test_adjust",
        "test_warp",
        "test_stages",
        "test_mix",
        "test_gpu_decoder",
        *engines,
        "planted_faults",
    )
    # not what compiles once more for each level of x86, nor what is Pillow's alone
    native_code = "not (level_of_x86 or [pillow or -pillow])"
    damaged = pytest_of("test_fuzz", only="(named and 0-cpu) or between")
    without_avx = "(equal or files or gigabytes) and not cuda"  # of which CUDA's kernels use none
    return [
        Step("native code, planted faults", pytest_of(*native, only=native_code), address),
        Step("schedules", pytest_of("test_schedules"), thousand),
        Step("who decodes what", pytest_of("test_decoding"), thousand),
        Step("threads, mutations, overlap", pytest_of("test_barriers", "test_mutations", "test_overlap"), thousand),
        Step("without AVX2", pytest_of("test_native", "test_extremes", only=without_avx), plain),
        Step("damaged files, 2,000 JPEGs", damaged, {**address, "GPULOAD_CASES": "2000"}),
    ]


def run(step: Step) -> bool:
    """Run it, and say how it went."""
    start = time.monotonic()
    environment = {**os.environ, **step.environment}
    process = subprocess.Popen(
        step.command, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True, errors="replace", start_new_session=True,
    )  # fmt: skip
    try:
        output, _ = process.communicate(timeout=MOST_SECONDS)
        ended = "ok" if process.returncode == 0 else f"FAILED, exit status {process.returncode}"
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        output, _ = process.communicate()
        ended = f"FAILED, killed after {MOST_SECONDS} s"
    report = "" if ended == "ok" else f"\n{shlex.join(step.command)}\n{output[-20_000:]}"
    last = (output.strip().splitlines() or [""])[-1]
    print(f"{step.title}: {ended}, {time.monotonic() - start:.0f} s ({last}){report}", flush=True)
    return ended == "ok"


def main() -> int:
    """Run all steps; 1 if one failed."""
    start = time.monotonic()
    with ThreadPoolExecutor(TOGETHER) as pool:
        ended = list(pool.map(run, steps()))
    print(f"{sum(ended)} of {len(ended)} steps ok, {time.monotonic() - start:.0f} s")
    return 0 if all(ended) else 1


if __name__ == "__main__":
    sys.exit(main())
