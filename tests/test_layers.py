"""The architecture: imports point down, optional packages are imported in one place, files and functions stay small."""

import ast
import importlib
import re
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import gpuload

PACKAGE = Path(gpuload.__file__).parent
LAYERS = [  # of gpuload's modules and packages; imports point to layers further up in this list
    {"errors", "frameworks", "native", "philox", "shipped", "stage", "structure"},
    {"arguments", "compilers", "randomness", "saved"},
    {"libraries", "nvrtc"},
    {"device"},
    {"staging", "samplers", "recipes", "collate"},
    {"transforms", "decoders"},
    {"batch_transforms"},
    {"decoding", "targets"},
    {"datasets", "engines"},
    {"lifting"},
    {"loading"},
    {"loader"},
    {"presets"},
    {""},  # the package's own names
    {"testing", "tools"},
    {"__main__"},
]
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}
KINDS = ("datasets", "decoders", "engines", "transforms")  # a new one of these touches no other
SHARED = {  # what the files of a kind stand on, within their package
    "datasets": {"base", "joint", "names"},
    "decoders": {"base", "files"},
    "engines": {"base"},
    "transforms": {"base", "hand", "lifted", "plan", "program", "timm", "torchvision"},
}
DEMO = {
    "tools.demo",
    "tools.common",
    "tools.comparison",
    "tools.demo.comparison",
    "tools.demo.photos",
    "tools.demo.report",
}
OPTIONAL = {
    "accelerate": set(),
    "cupy": {"nvrtc"},
    "cuda": {"tools.doctor"},  # CuPy's way to CUDA's headers
    "nvidia": {"engines.dali.graph"},  # DALI
    "sklearn": DEMO,
    "matplotlib": DEMO,
    "torchvision": DEMO | {"targets.installed", "tools.bench.entrants"},
}
ASKS_CUDA = {"nvrtc", "device", "datasets.tensors"}  # of torch; the tools may, too
MOST_LINES, MOST_LINES_OF_FUNCTION = 400, 60


def name_of(path: Path) -> str:
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


MODULES = {name_of(path): path for path in PACKAGE.rglob("*.py")}
TREES = {module: ast.parse(path.read_text()) for module, path in MODULES.items()}
every_module = pytest.mark.parametrize("module", sorted(MODULES))


def imported(module: str) -> Iterator[str]:
    """Full names of all that is imported: modules, or names in them."""
    for node in ast.walk(TREES[module]):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in ("importlib.import_module", "need"):
            yield from (argument.value for argument in node.args if isinstance(argument, ast.Constant))


def own(module: str) -> set[str]:
    """The modules of gpuload that are imported."""
    found = set()
    for name in imported(module):
        parts = name.split(".")
        if parts[0] == "gpuload":
            tried = [".".join(parts[1:end]) for end in range(len(parts), 0, -1)]
            found.add(next(candidate for candidate in tried if candidate in MODULES))
    return found


def top(module: str) -> str:
    return module.split(".")[0]


# ---- layers ----


def test_every_module_has_a_layer() -> None:
    assert {top(module) for module in MODULES} == set(LEVEL)


@every_module
def test_imports_point_down(module: str) -> None:
    for other in own(module):
        assert top(other) == top(module) or LEVEL[top(other)] < LEVEL[top(module)], f"{module} imports {other}"


def test_no_modules_import_each_other_in_a_circle() -> None:
    try:
        TopologicalSorter({module: own(module) for module in MODULES}).prepare()
    except CycleError as error:
        pytest.fail(" imports ".join(error.args[1]))


@pytest.mark.parametrize("kind", KINDS)
def test_the_members_of_a_kind_do_not_know_each_other(kind: str) -> None:
    """A member is a file, or a package."""
    modules = {module for module in MODULES if module.startswith(f"{kind}.")}
    for module in modules:
        if member(module) not in SHARED[kind]:
            assert {member(other) for other in own(module) & modules} <= SHARED[kind] | {member(module)}, module


def member(module: str) -> str:
    return module.split(".")[1]


# ---- one place ----


@every_module
def test_optional_packages_are_imported_in_one_place(module: str) -> None:
    for name in imported(module):
        package = top(name)
        assert package not in OPTIONAL or module in OPTIONAL[package], f"{module} imports {name}"


@every_module
def test_cuda_is_asked_for_in_one_place(module: str) -> None:
    asks = any(
        isinstance(node, ast.Attribute) and ast.unparse(node) == "torch.cuda" for node in ast.walk(TREES[module])
    )
    assert not asks or module in ASKS_CUDA or top(module) == "tools"


# ---- sizes and words ----


@every_module
def test_modules_are_short(module: str) -> None:
    assert len(MODULES[module].read_text().splitlines()) <= MOST_LINES


@every_module
def test_functions_are_short(module: str) -> None:
    for node in ast.walk(TREES[module]):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            body = node.body[1:] if ast.get_docstring(node) else node.body
            lines = body[-1].end_lineno - body[0].lineno + 1 if body else 0
            assert lines <= MOST_LINES_OF_FUNCTION, f"{module}.{node.name} has {lines} lines"


@pytest.mark.parametrize("module", sorted(set(MODULES) - {"__main__"}))
def test_public_names_exist_and_are_documented(module: str) -> None:
    loaded = importlib.import_module(f"gpuload.{module}".rstrip("."))
    assert loaded.__doc__
    names = getattr(loaded, "__all__", [])
    assert list(names) == list(dict.fromkeys(names))
    assert "__all__" in vars(loaded) or not any(is_public(node) for node in TREES[module].body), "it has no __all__"
    for name in names:
        thing = getattr(loaded, name)
        if callable(thing) and hasattr(thing, "__module__") and isinstance(thing, type) | hasattr(thing, "__code__"):
            assert thing.__doc__, f"{module}.{name} has no docstring"


def is_public(node: ast.stmt) -> bool:
    return isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_")


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md"])
def test_files_that_the_pages_name_exist(page: str) -> None:
    root = PACKAGE.parent
    if not (root / page).exists():
        pytest.skip("only in a checkout")
    for name in re.findall(r"(?:tests|examples|recipes|engines|decoders|loading)/\w+\.py", (root / page).read_text()):
        assert (root / name).exists() or (PACKAGE / name).exists(), name
