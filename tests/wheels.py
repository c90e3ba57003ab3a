"""Wheels with native code, made and tried: ``python -m tests.wheels``, which is ``make wheels``; they lie in ``dist``.

Each says truly what it needs of the system (auditwheel). That of this machine is installed where there is neither a
compiler nor this checkout, and tested there. The native code for other processors is called under an emulator: that of
aarch64, and of x86-64 without AVX2.
"""

import os
import platform
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DIST, BUILD = ROOT / "dist", ROOT / "build" / "wheels"
EMULATED = {  # the machine, a processor of it: the emulator, and the level that must be chosen there
    ("aarch64", "max"): (["qemu-aarch64-static", "-L", "/usr/aarch64-linux-gnu"], "generic"),
    ("x86_64", "Nehalem"): (["qemu-x86_64-static"], "x86_64_v2"),
    ("x86_64", "Haswell"): (["qemu-x86_64-static"], "x86_64_v3"),
}
HERE = "test_engines", "test_images", "test_decoders", "test_files", "test_datasets", "test_native_checks"
THERE = "test_native", "test_draws", "test_fuse", "test_extremes"


def run(*command: str | Path, there: Path = ROOT, **environment: str) -> None:
    subprocess.run(command, check=True, cwd=there, env={**os.environ, **environment})


def made(machine: str) -> Path:
    """The wheel for a machine."""
    run(sys.executable, "-m", "build", "-q", "--wheel", "--no-isolation", "--outdir", DIST, ROOT, GPULOAD_WHEEL=machine)
    wheel = max(DIST.glob(f"gpuload-*_{machine}.whl"), key=lambda path: path.stat().st_mtime)
    said = subprocess.run(
        [sys.executable, "-m", "auditwheel", "show", wheel], check=True, capture_output=True, text=True
    ).stdout
    assert f'"manylinux_2_17_{machine}"' in said, said
    print(f"{wheel.name}: {wheel.stat().st_size / 1e6:.1f} MB, manylinux_2_17_{machine} says auditwheel")
    return wheel


def try_here(wheel: Path) -> None:
    """The tests, where there is the wheel and what it depends on, and no compiler."""
    venv.create(BUILD / "env", clear=True, with_pip=False)
    python = BUILD / "env" / "bin" / "python"
    packages = BUILD / "env" / "lib" / f"python3.{sys.version_info.minor}" / "site-packages"
    (packages / "others.pth").write_text(sysconfig.get_paths()["purelib"])  # not the links that are installed there
    run(sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", packages, wheel)
    work = BUILD / "work"
    shutil.copytree(ROOT / "tests", work / "tests", ignore=shutil.ignore_patterns("__pycache__"))
    hidden = {"CXX": "no-compiler", "PYTHONPATH": "", "GPULOAD_CACHE": str(BUILD / "cache")}
    run(python, "-c", "import gpuload, sys; sys.exit('build/wheels' not in gpuload.__file__)", there=work, **hidden)
    files = [f"tests/{name}.py" for name in HERE]
    pytest = "-m", "pytest", "-n", "2", "-c", ROOT / "pyproject.toml", "-p", "no:cacheprovider"
    run(python, *pytest, *files, there=work, **hidden)
    assert not (BUILD / "cache").exists(), "something was compiled"
    run(python, "-m", "gpuload", "doctor", there=work, **hidden)


def try_emulated(wheels: dict[str, Path], machine: str, processor: str) -> None:
    """The tests of the native code, called under an emulator."""
    emulator, level = EMULATED[machine, processor]
    if shutil.which(emulator[0]) is None:
        sys.exit(f"{emulator[0]} is missing: apt-get install qemu-user-static libc6-arm64-cross")
    folder = BUILD / machine
    with zipfile.ZipFile(wheels[machine]) as archive:
        archive.extractall(folder)
    server, library = folder / "server", folder / "gpuload" / "kernels" / "built" / f"host-{level}.so"
    zig = [sys.executable, "-m", "ziglang", "cc", "-target", f"{machine}-linux-gnu.2.17", "-O1"]
    run(*zig, ROOT / "tests" / "native" / "server.c", "-ldl", "-o", server)
    command = " ".join([*emulator, "-cpu", processor, str(server), str(library)])
    print(f"{machine}, {processor}: {level}", flush=True)
    files = [f"tests/{name}.py" for name in THERE]
    # not what is no native code of the wheel's, sends gigabytes, or has several threads at one batch
    only = "not (level_of_x86 or cuda or pillow or gigabytes or files)"
    run(sys.executable, "-m", "pytest", "-p", "tests.foreign", "-k", only, *files, GPULOAD_FOREIGN=command)


def main() -> None:
    """Make both wheels, and try them."""
    shutil.rmtree(BUILD, ignore_errors=True)
    BUILD.mkdir(parents=True)
    wheels = {machine: made(machine) for machine in ("x86_64", "aarch64")}
    try_here(wheels[platform.machine()])
    for machine, processor in EMULATED:
        try_emulated(wheels, machine, processor)


if __name__ == "__main__":
    main()
