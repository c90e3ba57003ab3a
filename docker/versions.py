"""Which versions go into the image: ``torch.txt`` has torch and what it needs, ``others.txt`` the rest of the extras.

pip resolves them under ``constraints.txt`` and installs nothing. A layer is made from each file, and made anew only
where that file changes: torch's gigabytes stay where another package moves, or a linter.
"""

import json
import subprocess
import sys
import tomllib
from pathlib import Path

EXTRAS = ("cuda13", "demo")
LEFT_OUT = {"triton"}  # 0.94 GB, which torch.compile alone uses, on GPUs


def resolved(requirements: list[str]) -> set[str]:
    """What pip would install of them, as ``name==version``."""
    pip = [sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed", "--quiet", "--report=-"]
    command = [*pip, "--constraint=constraints.txt", *requirements]
    report = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    found = {package["metadata"]["name"]: package["metadata"]["version"] for package in report["install"]}
    return {f"{name}=={version}" for name, version in found.items() if name not in LEFT_OUT}


def main() -> None:
    """Write both files."""
    project = tomllib.loads(Path("pyproject.toml").read_text())["project"]
    extras = [requirement for extra in EXTRAS for requirement in project["optional-dependencies"][extra]]
    every = resolved([*project["dependencies"], *extras])
    torch = resolved([package for package in every if package.startswith("torch==")])
    Path("torch.txt").write_text("\n".join(sorted(torch)) + "\n")
    Path("others.txt").write_text("\n".join(sorted(every - torch)) + "\n")


if __name__ == "__main__":
    main()
