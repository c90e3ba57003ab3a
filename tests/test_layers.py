"""The house: imports point down, optional packages are imported in one place, names are public on purpose."""

import ast
import importlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import gpuload

PACKAGE = Path(gpuload.__file__).parent
LAYERS = [
    {"errors"},
    {"arguments", "rng", "steps", "compilers"},
    {"geometry", "oracle", "draws", "gather", "transfer"},
    {"taps", "plan", "staging", "pipeline", "decode", "samplers"},
    {"transforms"},
    {"datasets"},
    {"engines"},
    {"engines.cpu", "engines.cuda"},
    {"engines.pillow"},
    {"engines.choose"},
    {"routes"},
    {"explain"},
    {"loader"},
    {""},  # the package's own names
    {"doctor", "preview"},
    {"demo.common"},
    {"demo.photos"},
    {"demo.learning", "demo.comparison"},
    {"demo.report"},
    {"demo"},
    {"cli"},
    {"__main__"},
]
LEVEL = {module: level for level, modules in enumerate(LAYERS) for module in modules}
OPTIONAL = {
    "cupy": {"compilers"},
    "nvidia": {"decode"},
    "sklearn": {"demo.photos"},
    "matplotlib": {"demo.report"},
    "torchvision": {"demo.photos", "demo.comparison", "demo"},
}


def name_of(path: Path) -> str:
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


MODULES = {name_of(path): path for path in PACKAGE.rglob("*.py")}


def statements(tree: ast.AST) -> Iterator[ast.AST]:
    """Every node, but for the blocks that only type checkers read."""
    for child in ast.iter_child_nodes(tree):
        if isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING":
            continue
        yield child
        yield from statements(child)


def imports(path: Path) -> Iterator[str]:
    for node in statements(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in ("importlib.import_module", "need"):
            yield ast.literal_eval(node.args[0]) if isinstance(node.args[0], ast.Constant) else "a name at run time"


def test_every_module_has_a_layer() -> None:
    assert set(MODULES) == set(LEVEL)


@pytest.mark.parametrize("module", sorted(MODULES))
def test_imports_point_down(module: str) -> None:
    for imported in imports(MODULES[module]):
        other = imported.removeprefix("gpuload.") if imported.startswith("gpuload.") else None
        if other in LEVEL:
            assert LEVEL[other] < LEVEL[module], f"{module} imports {imported}"


@pytest.mark.parametrize("module", sorted(MODULES))
def test_optional_packages_are_imported_in_one_place(module: str) -> None:
    for imported in imports(MODULES[module]):
        package = imported.split(".")[0]
        if package in OPTIONAL:
            assert module in OPTIONAL[package], f"{module} imports {imported}"


@pytest.mark.parametrize("module", sorted(set(MODULES) - {"", "__main__"}))
def test_public_names_exist_and_are_documented(module: str) -> None:
    loaded = importlib.import_module(f"gpuload.{module}")
    assert loaded.__doc__
    for name in loaded.__all__:
        thing = getattr(loaded, name)
        if callable(thing) and hasattr(thing, "__module__"):
            assert thing.__doc__, f"{module}.{name} has no docstring"


def test_importing_gpuload_imports_nothing_optional() -> None:
    code = f"import sys, gpuload; print([p for p in {sorted(OPTIONAL)} if p in sys.modules and p != 'nvidia'])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
