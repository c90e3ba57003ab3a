"""What goes into the image is pinned, and torch's versions depend on nothing else's."""

import importlib.util
import json
import re
from pathlib import Path
from types import SimpleNamespace

import pytest

DOCKER = Path(__file__).parents[1] / "docker"
ROOT = DOCKER.parent


def versions() -> object:
    spec = importlib.util.spec_from_file_location("versions", DOCKER / "versions.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


NEEDS = {"torch": ["torch", "sympy", "triton"], "cupy-cuda13x": ["cupy-cuda13x", "numpy"], "numpy": ["numpy"]}


def test_torch_has_a_file_of_its_own_and_triton_is_in_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = versions()

    def pip(command: list[str], **options: object) -> SimpleNamespace:
        assert {"--dry-run", "--constraint=constraints.txt"} <= set(command)
        asked = {re.split("[=>]", part)[0] for part in command if not part.startswith("-")}
        found = sorted({name for one in asked for name in NEEDS.get(one, [])})
        packages = [{"metadata": {"name": name, "version": "1.2"}} for name in found]
        return SimpleNamespace(stdout=json.dumps({"install": packages}).encode())

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(module.subprocess, "run", pip)  # type: ignore[attr-defined]
    (tmp_path / "pyproject.toml").write_text((ROOT / "pyproject.toml").read_text())
    module.main()  # type: ignore[attr-defined]
    assert (tmp_path / "torch.txt").read_text() == "sympy==1.2\ntorch==1.2\n"
    assert (tmp_path / "others.txt").read_text() == "cupy-cuda13x==1.2\nnumpy==1.2\n"


def test_what_the_image_is_built_and_tested_with_is_pinned() -> None:
    pinned = {line.split("==")[0] for line in (ROOT / "constraints.txt").read_text().splitlines()}
    installed = re.findall(r"pip install -q -c constraints.txt (.*)", (DOCKER / "Dockerfile").read_text())
    assert len(installed) == 2
    assert {name for names in installed for name in names.split()} <= pinned
    assert {"setuptools", "wheel"} <= pinned  # what torch and DALI need, and no list of installed packages shows
