"""The system's C++ compiler, which makes libraries of ``kernels/`` on first use.

They are kept in the user's cache folder under a name made of their sources, their flags, the compiler and the
processor, so that neither a new version nor a shared home folder can bring a wrong one.
"""

import atexit
import hashlib
import os
import platform
import shlex
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Callable
from functools import lru_cache, wraps
from pathlib import Path
from typing import TypeVar

from gpuload.errors import MissingError

__all__ = ["build", "cache_folder", "compiler", "kernel_folder", "library_folder", "once", "processor"]

INSTALL_COMPILER = "apt-get install g++, or set CXX"
FLAGS = ("-O3", "-march=native", "-std=c++17", "-ffp-contract=off", "-fvisibility=hidden", "-shared", "-fPIC")
SOURCES = (".cpp", ".cu", ".cuh", ".h", ".hpp")

_folder_lock = threading.Lock()
Made = TypeVar("Made")


def once(make: Callable[[], Made]) -> Callable[[], Made]:
    """Make it once, on the first thread that asks; others wait."""
    cached, lock = lru_cache(maxsize=1)(make), threading.Lock()

    @wraps(make)
    def get() -> Made:
        with lock:
            return cached()

    return get


def kernel_folder() -> Path:
    """The folder of the kernel sources: inside the installed package, or beside it in a checkout."""
    here = Path(__file__).resolve().parent
    inside = here / "kernels"
    return inside if inside.is_dir() else here.parent / "kernels"


def compiler() -> list[str] | None:
    """The C++ compiler and its own arguments: ``$CXX``, else g++, c++ or clang++; None where there is none."""
    wanted = shlex.split(os.environ.get("CXX", ""))
    if wanted:
        return wanted if shutil.which(wanted[0]) else None
    return next(([found] for name in ("g++", "c++", "clang++") if (found := shutil.which(name))), None)


def wanted_folder() -> Path:
    chosen = os.environ.get("GPULOAD_CACHE")
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return Path(chosen) if chosen else Path(base) / "gpuload"


def cache_folder() -> Path:
    """Where what is compiled is kept: ``$GPULOAD_CACHE``, else gpuload's folder in the user's cache folder.

    Where nothing can be written there, a temporary folder of this process. Libraries go to the `library_folder`.

    Raises:
        MissingError: nor can a temporary folder be made.
    """
    folder = wanted_folder()
    return folder if _can_be_written(folder) else _temporary_folder(folder)


def library_folder() -> Path:
    """Where libraries are kept: the `cache_folder`; where that is mounted noexec, a temporary folder of this process.

    Raises:
        MissingError: neither serves.
    """
    folder = wanted_folder()
    if _can_be_written(folder) and _runs_code(folder):
        return folder
    instead = _temporary_folder(folder)
    if _runs_code(instead):
        return instead
    raise _no_folder(folder, f"{instead.parent} is mounted noexec")


def _can_be_written(folder: Path) -> bool:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return False
    return os.access(folder, os.W_OK | os.X_OK)


def _runs_code(folder: Path) -> bool:
    """Is the disk not mounted noexec?"""
    return not os.statvfs(folder).f_flag & getattr(os, "ST_NOEXEC", 0)


def _temporary_folder(instead_of: Path) -> Path:
    with _folder_lock:  # one, whichever threads ask
        return _make_temporary_folder(instead_of)


@lru_cache(maxsize=8)
def _make_temporary_folder(instead_of: Path) -> Path:
    try:
        folder = Path(tempfile.mkdtemp(prefix="gpuload-"))
    except OSError as error:
        raise _no_folder(instead_of, str(error)) from error
    atexit.register(_remove, folder, os.getpid())
    return folder


def _no_folder(wanted: Path, problem: str) -> MissingError:
    return MissingError(
        f"compiled code cannot be kept in {wanted}, which cannot be written or is mounted noexec, nor in a "
        f"temporary folder ({problem}): set GPULOAD_CACHE to a folder that libraries can be written to and run from"
    )


def _remove(folder: Path, owner: int) -> None:
    if os.getpid() == owner:  # not in a forked child
        shutil.rmtree(folder, ignore_errors=True)


def build(source: Path, *flags: str) -> Path:
    """Compile a C++ file, which may include those of ``kernels/``, into a shared library.

    Args:
        source: the file.
        flags: further flags of the compiler; files in folders given by ``-I`` count as sources.

    Returns:
        The library in the `library_folder`, where it is found again while no source, flag, compiler or processor
        has changed.

    Raises:
        MissingError: no compiler, it failed (the message holds what it said), or no folder for what it makes.
    """
    found = compiler()
    if found is None:
        raise MissingError(f"gpuload's kernels need a C++ compiler: {INSTALL_COMPILER}")
    command = [*found, *FLAGS, f"-I{kernel_folder()}", *flags, str(source)]
    name = f"{source.stem}-{_fingerprint(source, command, found)}.so"
    kept = wanted_folder() / name
    if kept.exists() and _runs_code(kept.parent):  # the folder may well be one that only others can write to
        return kept
    target = library_folder() / name
    if not target.exists():
        _compile(command, target)
    return target


def _fingerprint(source: Path, command: list[str], found: list[str]) -> str:
    key = hashlib.sha256()
    for part in (*command, _state(found[0]), processor(), platform.machine()):
        key.update(part.encode() + b"\0")
    folders = [Path(flag[2:]) for flag in command if flag.startswith("-I")]
    headers = [path for folder in folders for path in sorted(folder.iterdir()) if path.suffix in SOURCES]
    for path in (source, *headers):
        key.update(path.read_bytes())
    return key.hexdigest()[:20]


def _state(program: str) -> str:
    """What differs once a program was replaced. Asking it for its version would take longer than all else here."""
    path = Path(shutil.which(program) or program).resolve()
    known = path.stat()
    return f"{path} {known.st_size} {known.st_mtime_ns}"


@lru_cache(maxsize=1)
def processor() -> str:
    """What -march=native depends on."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    found = next((line for line in lines if line.startswith(("flags", "Features"))), None)
    return platform.processor() if found is None else found  # which asks a program


def _compile(command: list[str], target: Path) -> None:
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        made = Path(folder) / target.name
        run = subprocess.run([*command, "-o", str(made)], capture_output=True, text=True, stdin=subprocess.DEVNULL)
        if run.returncode:
            raise MissingError(
                f"the C++ compiler failed on gpuload's kernels ({shlex.join(command)}):\n{run.stderr[:2000]}"
            )
        os.replace(made, target)  # atomic: another process sees the whole library or none
