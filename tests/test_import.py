"""``import gpuload`` costs next to nothing, and its names are there all the same: they come when they are asked for."""

import ast
import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import gpuload

TREE = ast.parse(Path(gpuload.__file__).read_text())
# what `from gpuload import *` brings beyond torch, besides gpuload's own
ALLOWED = {"PIL", "numpy.typing", "numpy._typing._add_docstring", "shlex"}


def test_importing_gpuload_imports_no_more_than_its_errors(run_python: Callable[..., Any]) -> None:
    code = "import sys, torch; before = {*sys.modules}; import gpuload; print(sorted({*sys.modules} - before))"
    assert run_python(code).stdout == "['gpuload', 'gpuload.errors']\n"


def test_all_of_its_names_import_nothing_that_a_loader_can_do_without(run_python: Callable[..., Any]) -> None:
    code = "import sys, torch; before = {*sys.modules}; from gpuload import *; print(*{*sys.modules} - before)"
    brought = run_python(code).stdout.split()
    assert "gpuload.loader" in brought
    assert not [name for name in brought if name.startswith("gpuload.tools")]
    others = {name for name in brought if not name.startswith("gpuload")}
    assert {name for name in others if not {name, name.partition(".")[0]} & ALLOWED} == set()


def test_every_name_resolves_at_first_use_in_any_order(run_python: Callable[..., Any]) -> None:
    code = "import sys, gpuload; [getattr(gpuload, name) for name in sys.argv[1:]]; print(*dir(gpuload))"
    for names in (gpuload.__all__, gpuload.__all__[::-1]):
        assert set(gpuload.__all__) <= set(run_python(code, *names).stdout.split())


def test_dir_has_the_names_before_their_first_use(run_python: Callable[..., Any]) -> None:
    code = "import gpuload; print(set(gpuload.__all__) <= set(dir(gpuload)), 'DataLoader' in vars(gpuload))"
    assert run_python(code).stdout == "True False\n"


def test_star_import_brings_every_name(run_python: Callable[..., Any]) -> None:
    code = "from gpuload import *; import gpuload; print({*gpuload.__all__} - {*globals()}, DataLoader.__module__)"
    assert run_python(code).stdout == "set() gpuload.loader\n"


def test_type_checkers_see_the_names_that_there_are() -> None:
    seen = {}
    for node in ast.walk(TREE):
        if isinstance(node, ast.ImportFrom) and node.module.split(".")[0] == "gpuload":
            seen |= {alias.name: node.module for alias in node.names}
    assert sorted(seen) == gpuload.__all__
    for name, module in seen.items():
        there = importlib.import_module(f"gpuload.{name}") if module == "gpuload" else None
        assert getattr(gpuload, name) is (there or getattr(importlib.import_module(module), name))


def test_modules_are_attributes_without_an_import_of_their_own(run_python: Callable[..., Any]) -> None:
    assert run_python("import gpuload; print(gpuload.decoders.__name__)").stdout == "gpuload.decoders\n"


@pytest.mark.parametrize("name", ["DataLaoder", "__wrapped__", "__main__"])
def test_other_names_are_none_of_its(name: str) -> None:
    with pytest.raises(AttributeError, match=f"^module 'gpuload' has no attribute '{name}'$"):
        getattr(gpuload, name)


def test_threads_may_be_the_first_to_use_it(run_python: Callable[..., Any]) -> None:
    code = """
import gpuload
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

def first(name):
    barrier.wait()
    return getattr(gpuload, name)

names = 2 * ["DataLoader", "transforms", "ImageFolder", "collate", "RandomSampler"]
barrier = Barrier(len(names))
with ThreadPoolExecutor(len(names)) as pool:
    found = list(pool.map(first, names))
print(all(getattr(gpuload, name) is one for name, one in zip(names, found)))
"""
    assert run_python(code).stdout == "True\n"
