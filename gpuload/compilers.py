"""The system's C++ compiler, which makes libraries of ``kernels/`` on first use.

They are kept in the user's cache folder under a name made of their sources, their flags, the compiler and the
processor, so that neither a new version nor a shared home folder can bring a wrong one.
"""

import atexit
import errno
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

__all__ = ["NO_ROOM", "build", "cache_folder", "compiler", "kernel_folder", "library_folder", "once", "processor"]

INSTALL_COMPILER = "apt-get install g++, or set CXX"
FLAGS = ("-O3", "-march=native", "-std=c++17", "-ffp-contract=off", "-fvisibility=hidden", "-shared", "-fPIC")
SOURCES = (".cpp", ".cu", ".cuh", ".h", ".hpp")
NO_ROOM = errno.ENOSPC, errno.EDQUOT, errno.EFBIG
FULL = (*map(os.strerror, NO_ROOM), "File size limit exceeded")  # as a compiler says it, or the signal that ended it
DIGEST = hashlib.sha256().digest_size

Made = TypeVar("Made")


def process_lock() -> threading.Lock:
    """A lock that is free in a forked child, whichever of its parent's threads held it. It is never freed."""
    lock = threading.Lock()
    os.register_at_fork(after_in_child=lock._at_fork_reinit)  # type: ignore[attr-defined]
    return lock


def once(make: Callable[[], Made]) -> Callable[[], Made]:
    """Make it once, on the first thread that asks; others wait."""
    cached, lock = lru_cache(maxsize=1)(make), process_lock()

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


_folder_lock = process_lock()


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
        MissingError: no compiler, it failed (the message holds what it said), or no folder, or no room, for what it
            makes.
    """
    found = compiler()
    if found is None:
        raise MissingError(f"gpuload's kernels need a C++ compiler: {INSTALL_COMPILER}")
    command = [*found, *FLAGS, f"-I{kernel_folder()}", *flags, str(source)]
    name = f"{source.stem}-{_fingerprint(source, command, found)}.so"
    kept = wanted_folder() / name
    if _is_whole(kept) and _runs_code(kept.parent):  # the folder may well be one that only others can write to
        return kept
    target = library_folder() / name
    if _is_whole(target):
        return target
    try:
        return _compiled(command, target)
    except OSError:  # no room, say: on another disk there may be some
        instead = _temporary_folder(kept.parent) / name
    try:
        return instead if _is_whole(instead) else _compiled(command, instead)
    except OSError as error:
        raise MissingError(
            f"gpuload's kernels cannot be compiled into {target.parent} or {instead.parent}: make room there, or set "
            f"GPULOAD_CACHE to a folder that has some: {error}"
        ) from error


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


def _compiled(command: list[str], target: Path) -> Path:
    """Compile it there.

    Raises:
        MissingError: the compiler failed.
        OSError: nothing can be written there, or not that much.
    """
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        made, environment = Path(folder) / target.name, {**os.environ, "TMPDIR": folder}
        ended = subprocess.run(
            [*command, "-o", str(made)], capture_output=True, text=True, stdin=subprocess.DEVNULL, env=environment
        )
        if ended.returncode and any(words in ended.stderr for words in FULL):
            raise OSError(errno.ENOSPC, ended.stderr[-2000:])
        if ended.returncode:
            raise MissingError(
                f"the C++ compiler failed on gpuload's kernels ({shlex.join(command)}):\n{ended.stderr[:2000]}"
            )
        _seal(made)
        os.replace(made, target)  # atomic: another process sees the whole library or none
    return target


# ---- whole libraries: what a crash has left half written is not loaded ----


def _seal(library: Path) -> None:
    """Append the digest of what is in it; nobody who loads it looks there."""
    digest = hashlib.sha256(library.read_bytes()).digest()
    with library.open("ab") as file:
        file.write(digest)


def _is_whole(library: Path) -> bool:
    """Is it there, as it was sealed?"""
    try:
        data = library.read_bytes()
    except OSError:
        return False
    return hashlib.sha256(data[:-DIGEST]).digest() == data[-DIGEST:]
