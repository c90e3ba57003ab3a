"""Programs that tests run in a Python of their own: it is as ``python -c`` would be, but for torch, which is there."""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.fresh import Pythons

Run = Callable[..., "subprocess.CompletedProcess[str]"]


def test_a_program_has_its_arguments_folder_and_environment(
    fresh: Pythons, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ONE", "1")
    monkeypatch.delenv("PATH")
    program = """
import os, sys, tempfile
print(sys.argv, os.getcwd(), os.environ["ONE"], os.environ["TWO"], "PATH" in os.environ)
print(tempfile.gettempdir(), repr(sys.stdin.read()))
"""
    ended = fresh.run(program, "a", 5, TWO="2", TMPDIR=str(tmp_path))
    assert ended.stdout == f"['-c', 'a', '5'] {tmp_path} 1 2 False\n{tmp_path} ''\n"
    assert (ended.returncode, ended.stderr) == (0, "")


def test_nothing_of_gpuload_or_of_another_program_is_there(fresh: Pythons) -> None:
    program = """
import os, sys
print("torch" in sys.modules, [name for name in sys.modules if name.split(".")[0] in ("gpuload", "cupy", "pytest")])
print({name for name in globals() if not name.startswith("__")}, "LEFT" in os.environ)
import gpuload
os.environ["LEFT"] = left = "1"
"""
    for _ in range(2):
        said = fresh.run(program).stdout.splitlines()
        assert said[0] == "True []"
        assert said[1] in ("{'os', 'sys'} False", "{'sys', 'os'} False")


def test_it_ends_as_every_python_does(fresh: Pythons) -> None:
    program = """
import atexit, threading
def last():
    print("exit handler", __name__, threading.active_count())
atexit.register(last)
threading.Thread(target=lambda: print("thread")).start()
"""
    assert fresh.run(program).stdout.splitlines() == ["thread", "exit handler __main__ 1"]


@pytest.mark.parametrize(
    ("program", "status", "said"),
    [
        ("import sys; sys.exit(3)", 3, ""),
        ("import sys; sys.exit('no')", 1, "no\n"),
        ("import os; os.abort()", -6, ""),
        ("1 / 0", 1, "ZeroDivisionError: division by zero\n"),
        ("import warnings; warnings.warn('old', DeprecationWarning)", 1, "DeprecationWarning: old\n"),
    ],
)
def test_how_it_ended_is_told(fresh: Pythons, program: str, status: int, said: str) -> None:
    ended = fresh.run(program)
    assert ended.returncode == status and ended.stderr.endswith(said)


def test_one_that_fails_fails_the_test(run_python: Run) -> None:
    with pytest.raises(AssertionError, match="ZeroDivisionError"):
        run_python("1 / 0")


def test_one_that_hangs_is_killed(fresh: Pythons) -> None:
    program = "import os, time; print(os.getpid(), flush=True); time.sleep(600)"
    with pytest.raises(subprocess.TimeoutExpired) as caught:
        fresh.run(program, timeout=0.5)
    with pytest.raises(ProcessLookupError):
        os.kill(int(caught.value.output), 0)
    assert fresh.run("print(1)").stdout == "1\n"
