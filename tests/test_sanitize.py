"""What runs the steps of ``python -m tests.sanitize``: a step that fails, or hangs, is not taken for a good one."""

import re
import sys
import time

import pytest

from tests import sanitize
from tests.sanitize import Step, run

FAILS = "import sys; print('a report'); sys.exit(3)"
HANGS = "import subprocess, sys, time; subprocess.run([sys.executable, '-c', 'import time; time.sleep(600)'])"


def python(program: str) -> tuple[str, ...]:
    return sys.executable, "-c", program


def test_a_step_that_ends_well_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    step = Step("good", python("import os; print('much'); print(os.environ['WORD'])"), {"WORD": "42 passed"})
    assert run(step)
    assert re.fullmatch(r"good: ok, \d+ s \(42 passed\)\n", capsys.readouterr().out)


def test_a_step_that_fails_shows_what_it_said(capsys: pytest.CaptureFixture[str]) -> None:
    assert not run(Step("bad", python(FAILS)))
    out = capsys.readouterr().out
    assert out.startswith("bad: FAILED, exit status 3, ") and "\na report\n" in out and "sys.exit(3)" in out


def test_a_step_that_hangs_is_killed_with_its_children(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sanitize, "MOST_SECONDS", 1)
    start = time.monotonic()
    assert not run(Step("slow", python(HANGS)))  # its output ends when the last of its processes does
    assert time.monotonic() - start < 60
    assert "slow: FAILED, killed after 1 s" in capsys.readouterr().out


@pytest.mark.parametrize(("program", "status"), [("pass", 0), (FAILS, 1)])
def test_one_failure_fails_it_all(program: str, status: int, monkeypatch: pytest.MonkeyPatch) -> None:
    steps = [Step("good", python("pass")), Step("other", python(program)), Step("last", python("pass"))]
    monkeypatch.setattr(sanitize, "steps", lambda: steps)
    assert sanitize.main() == status
