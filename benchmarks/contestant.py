"""A peer's program while it runs, as this process sees it; what it says and is asked is in ``peers/protocol.py``."""

import json
import os
import subprocess
import sys
import tempfile
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

ROOT = Path(__file__).resolve().parents[1]
PEERS_PYTHON = ROOT / ".venv-peers" / "bin" / "python"


class ContestantError(Exception):
    """A peer is not installed, or its program ended."""


@dataclass(frozen=True)
class Entry:
    """How one contestant is started: the name of its module in ``peers``, its interpreter, its environment, and options
    beside the task's."""

    name: str
    peer: str
    workers: int
    checkout: Path | None = None
    python: Path = Path(sys.executable)
    environment: dict[str, str] = field(default_factory=dict)
    options: tuple[str, ...] = ()

    def command(self, task: list[str]) -> list[str]:
        checkout = ["--checkout", str(self.checkout)] if self.checkout else []
        module = f"benchmarks.peers.{self.peer}_peer"
        return [str(self.python), "-m", module, "--workers", str(self.workers), *checkout, *self.options, *task]


class Contestant:
    """A started program. Use it in a ``with``; outside it, the program is ended.

    Raises:
        ContestantError: on start or when asked; its text is fit for a table.
    """

    def __init__(self, entry: Entry, task: list[str]) -> None:
        if not entry.python.exists():
            raise ContestantError("not installed: make peers")
        self._said = tempfile.TemporaryFile("w+")  # noqa: SIM115  closed in __exit__
        environment = {**os.environ, **entry.environment}
        if entry.python != Path(sys.executable):
            environment.pop("PYTHONPATH", None)  # packages of this interpreter
        self._process = subprocess.Popen(
            entry.command(task),
            cwd=ROOT,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._said,
            text=True,
        )
        try:
            first = self._hear()
        except BaseException:
            self.end()
            raise
        self.version: str = first["version"]
        self.startup: float = first["startup"]

    def _hear(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if line:
            answer: dict[str, Any] = json.loads(line)
            return answer
        self._said.seek(0)
        said = self._said.read().strip().splitlines()
        raise ContestantError(f"failed: {said[-1] if said else 'it said nothing'}")

    def ask(self, **what: float) -> dict[str, Any]:
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):  # it has ended: what it said is raised below
            print(json.dumps(what), file=self._process.stdin, flush=True)
        return self._hear()

    def end(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with suppress(BrokenPipeError):
            self._process.stdin.close()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()
        self._said.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()
