"""Puts the CPU's native code into a wheel, compiled by zig for each level of a machine: for hatchling.

``GPULOAD_WHEEL`` names the machine, x86_64 or aarch64, which need not be this one. Without it the wheel is a pure one,
whose native code is compiled where it is first used.
"""

import importlib.util
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

LEVELS = {"x86_64": ["x86_64_v2", "x86_64_v3"], "aarch64": ["generic"]}  # as gpuload/libraries.py has them
GLIBC = "2.17"  # the oldest that a wheel of manylinux2014 may want
FLAGS = ["-O3", "-std=c++17", "-ffp-contract=off", "-fvisibility=hidden", "-fPIC"]
EXPORTED = "{ global: gpuload_*; local: *; };"  # not operator new and delete, which zig's libraries have


class NativeCode(BuildHookInterface[Any]):
    """Compiles what ``GPULOAD_WHEEL`` asks for."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        machine = os.environ.get("GPULOAD_WHEEL")
        if machine is None or version == "editable":
            return
        if machine not in LEVELS:
            raise ValueError(f"GPULOAD_WHEEL must be one of {', '.join(LEVELS)}, got {machine!r}")
        self._folder = tempfile.TemporaryDirectory()
        libraries = [self._compiled("host", [], machine, level) for level in LEVELS[machine]]
        libraries.append(
            self._compiled("jpeg", _headers_of_the_codec(), machine, LEVELS[machine][0])
        )  # computes nothing
        build_data["force_include"] |= {str(library): f"gpuload/kernels/built/{library.name}" for library in libraries}
        build_data["pure_python"] = False
        build_data["tag"] = f"py3-none-manylinux_{GLIBC.replace('.', '_')}_{machine}.manylinux2014_{machine}"

    def _compiled(self, stem: str, includes: list[str], machine: str, level: str) -> Path:
        """One library; compiled and linked apart, for zig would make a C++ library for each level otherwise."""
        folder = Path(self._folder.name)
        made, library, exported = folder / "made.o", folder / f"{stem}-{level}.so", folder / "exported"
        exported.write_text(EXPORTED)
        zig = [sys.executable, "-m", "ziglang", "c++", "-target", f"{machine}-linux-gnu.{GLIBC}"]
        source = Path(self.root, "kernels", f"{stem}.cpp")
        subprocess.run([*zig, f"-mcpu={level}", *FLAGS, *includes, "-c", source, "-o", made], check=True)
        subprocess.run([*zig, "-shared", "-s", f"-Wl,--version-script={exported}", made, "-o", library], check=True)
        return library


def _headers_of_the_codec() -> list[str]:
    spec = importlib.util.find_spec("nvidia.nvimgcodec")
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError("the wheel needs nvImageCodec's headers: pip install nvidia-nvimgcodec-cu13")
    codec = Path(next(iter(spec.submodule_search_locations)))
    return [f"-I{Path(__file__).parent / 'kernels' / 'stub'}", f"-I{codec / 'include'}"]
