"""Python processes that need not import torch: they are forked from one that has imported nothing else.

To a program each is a Python that has just started, and it ends like one: with threads, exit handlers and all.
"""

import gc
import os
import signal
import subprocess
import sys
import tempfile
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
# warnings are errors, but for the one that Python 3.12 and later give where a process with threads forks
STRICT = ("-W", "error", "-W", "ignore:This process (pid=:DeprecationWarning")


class Program(NamedTuple):
    """What a process runs, and where: standard output and standard error are files."""

    text: str
    arguments: list[str]
    environment: dict[str, str]
    folder: str
    output: str
    errors: str


class Pythons:
    """Runs programs, each in a process of its own, warnings as errors."""

    def __init__(self) -> None:
        self._here, there = Pipe()
        with there:
            command = [sys.executable, *STRICT, "-c", f"from tests.fresh import serve; serve({there.fileno()})"]
            self._server = subprocess.Popen(command, env=environment(), cwd=ROOT, pass_fds=[there.fileno()])

    def close(self) -> int:
        """Ends the process that the others are forked from; its exit status."""
        self._here.close()
        return self._server.wait()

    def run(
        self, program: str, *arguments: object, timeout: float = 120, **variables: str
    ) -> "subprocess.CompletedProcess[str]":
        """As ``subprocess.run`` would, with variables added to the environment."""
        command = ["-c", *map(str, arguments)]
        with tempfile.TemporaryDirectory() as folder:
            output, errors = Path(folder, "output"), Path(folder, "errors")
            here = {**environment(), **variables}
            self._here.send(Program(program, command, here, os.getcwd(), str(output), str(errors)))
            process = self._here.recv()
            if not self._here.poll(timeout):
                os.kill(process, signal.SIGKILL)
                self._here.recv()
                raise subprocess.TimeoutExpired(command, timeout, output.read_bytes(), errors.read_bytes())
            return subprocess.CompletedProcess(command, self._here.recv(), output.read_text(), errors.read_text())


def environment() -> dict[str, str]:
    """That of the tests, with gpuload where they find it."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))}


def serve(number: int) -> None:
    """Fork a process for each program that comes; send its number and, when it has ended, its exit status."""
    import torch  # noqa: F401

    gc.freeze()  # else each end would look through all of torch

    there = Connection(number)
    while True:
        try:
            program = there.recv()
        except EOFError:
            return None
        process = os.fork()
        if process == 0:
            there.close()
            return play(program)
        there.send(process)
        there.send(os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]))


def play(program: Program) -> None:
    """Run it as ``python -c`` would."""
    for number, (name, mode) in enumerate([(os.devnull, "rb"), (program.output, "wb"), (program.errors, "wb")]):
        with open(name, mode) as file:
            os.dup2(file.fileno(), number)
    os.chdir(program.folder)
    os.environ.clear()
    os.environ.update(program.environment)
    sys.argv = program.arguments
    main = sys.modules["__main__"] = ModuleType("__main__")
    exec(compile(program.text, "<string>", "exec"), vars(main))
