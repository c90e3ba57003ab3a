"""The command ``gpuload``: what it prints, one JSON object under --json, one line and a status where it fails."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import gpuload
from gpuload import errors
from gpuload.tools import cli, demo, doctor
from gpuload.tools.common import cores
from gpuload.tools.finding import Finding, Status, as_text


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Run the command: its status, standard output and standard error."""

    def run(*arguments: object) -> tuple[int, str, str]:
        status = cli.main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return run


Command = Callable[..., tuple[int, str, str]]


# ---- the command itself ----


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"gpuload {gpuload.__version__}\n"


@pytest.mark.parametrize("arguments", [[], ["no-such-command"], ["preview"], ["preview", ".", "--train", "--eval"]])
def test_wrong_usage(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(arguments)
    assert ended.value.code == 2
    assert "usage: gpuload" in capsys.readouterr().err


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["--help"])
    said = capsys.readouterr().out
    assert all(f"\n    {name} " in said for name in ("demo", "doctor", "preview", "explain", "bench"))


def test_arguments_are_those_of_the_process(run_python: Callable[..., Any], photos: Path) -> None:
    program = "import sys; sys.argv[0] = 'gpuload'; from gpuload.tools.cli import main; sys.exit(main())"
    ended = run_python(program, "explain", photos, "--device", "cpu", "--workers", 1, "--json")
    assert json.loads(ended.stdout)["stages"][0]["name"] == "order"
    assert ended.stderr == ""


@pytest.mark.parametrize("name", ["preview", "explain"])
def test_a_missing_folder_is_one_line(command: Command, tmp_path: Path, name: str) -> None:
    status, out, err = command(name, tmp_path / "nowhere", "--json")
    assert (status, out) == (1, "")
    assert err == (
        f"gpuload: error: root {str(tmp_path / 'nowhere')!r} does not exist: "
        "pass a folder with one folder of images for each class\n"
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--size", 0], "size must be at least 1 pixel, got 0"),
        (["--size", 0, "--eval"], "size must be at least 1 pixel, got 0"),
        (["--batch-size", 0], "batch_size must be at least 1, got 0"),
        (["--workers", -1], "num_workers must be at least 0, got -1"),
        (["--seed", -1], "seed must be from 0 to 2^64 - 1, got -1"),
        (["--device", "abacus"], "device must be 'cpu', 'cuda' or 'cuda:N', got 'abacus'"),
    ],
)
def test_bad_values_are_one_line(command: Command, photos: Path, options: list[Any], message: str) -> None:
    assert command("explain", photos, *options) == (1, "", f"gpuload: error: {message}\n")


def test_long_errors_become_one_line(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    def examine() -> list[Finding]:
        raise errors.MissingError("the compiler said:\n  line 1\n  line 2")

    monkeypatch.setattr(doctor, "examine", examine)
    assert command("doctor") == (1, "", "gpuload: error: the compiler said: line 1 line 2\n")


def test_ctrl_c(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    def examine() -> list[Finding]:
        raise KeyboardInterrupt

    monkeypatch.setattr(doctor, "examine", examine)
    assert command("doctor")[0] == 130


def test_a_bug_shows_its_traceback(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    def examine() -> list[Finding]:
        raise ZeroDivisionError

    monkeypatch.setattr(doctor, "examine", examine)
    with pytest.raises(ZeroDivisionError):
        command("doctor")


# ---- doctor ----


def test_doctor_is_content_where_only_options_are_missing(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    found = [Finding("torch", Status.OK, "2.14.1", None), Finding("GPU", Status.OPTIONAL, "none", "apt-get")]
    monkeypatch.setattr(doctor, "examine", lambda: found)
    assert command("doctor") == (0, as_text(found) + "\n", "")
    status, out, _ = command("doctor", "--json")
    assert status == 0
    assert json.loads(out) == {
        "complete": True,
        "findings": [
            {"name": "torch", "status": "ok", "detail": "2.14.1", "fix": None},
            {"name": "GPU", "status": "optional-missing", "detail": "none", "fix": "apt-get"},
        ],
    }


def test_doctor_fails_where_something_is_missing(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("PIL.__version__", "12.1.0")
    status, out, _ = command("doctor")
    assert status == 1
    assert out.splitlines()[-1] == "Missing: Pillow"
    status, out, _ = command("doctor", "--json")
    assert status == 1
    assert json.loads(out)["complete"] is False


# ---- preview ----


def test_preview_writes_a_contact_sheet(command: Command, photos: Path, tmp_path: Path) -> None:
    file = tmp_path / "sheet.png"
    options = ["--output", file, "--batch-size", 6, "--size", 100, "--device", "cpu"]
    status, out, err = command("preview", photos, *options)
    assert (status, out, err) == (0, f"{file}: 6 of 24 images\n", "")
    with Image.open(file) as made:
        assert made.width > 2 * 100
        assert made.getpixel((0, 0)) == (255, 255, 255)


def test_preview_tells_in_json_what_it_shows(command: Command, photos: Path, tmp_path: Path) -> None:
    file = tmp_path / "sheet.png"
    options = ["--output", file, "--batch-size", 5, "--size", 30, "--device", "cpu", "--seed", 3]
    status, out, err = command("preview", photos, *options, "--json")
    assert (status, err) == (0, "")
    told = json.loads(out)
    labels = told.pop("labels")
    assert told == {"output": str(file), "seed": 3, "classes": ["cats", "dogs"]}
    assert len(labels) == 5
    assert set(labels) <= {0, 1}


def test_preview_shows_what_the_seed_says(command: Command, photos: Path, tmp_path: Path) -> None:
    def sheet(name: str, *options: object) -> bytes:
        path = tmp_path / name
        command("preview", photos, "--output", path, "--batch-size", 4, "--size", 96, "--device", "cpu", *options)
        return path.read_bytes()

    first = sheet("a.png", "--seed", 1)
    assert first == sheet("b.png", "--seed", 1, "--workers", 0)
    assert first == sheet("c.png", "--seed", 1, "--train")
    assert first != sheet("d.png", "--seed", 2)
    assert first != sheet("e.png", "--seed", 1, "--eval")


def test_preview_of_a_recipe(command: Command, photos: Path, tmp_path: Path) -> None:
    path = tmp_path / "gallery.png"
    options = ["--recipe", "simclr", "--output", path, "--device", "cpu", "--size", 32]
    status, out, err = command("preview", photos, *options)
    assert (status, out, err) == (0, f"{path}: 6 images, and what simclr makes of them\n", "")
    status, out, err = command("preview", photos, *options, "--json")
    assert status == 0 and json.loads(out) == {"output": str(path), "seed": 0, "recipe": "simclr", "images": 6}
    with Image.open(path) as made:
        assert made.format == "PNG"


def test_recipes_have_names(command: Command, photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("preview", "demo"):
        with pytest.raises(SystemExit):
            command(name, *([photos] if name == "preview" else []), "--recipe", "resnet")
        assert "invalid choice: 'resnet' (choose from 'imagenet'," in capsys.readouterr().err


def test_preview_into_a_file_that_cannot_be_written(command: Command, photos: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    output = tmp_path / "file" / "sheet.png"
    status, out, err = command("preview", photos, "--output", output, "--device", "cpu", "--size", 30)
    assert (status, out) == (1, "")
    assert err.startswith("gpuload: error: [Errno ")
    assert err.count("\n") == 1


# ---- explain ----


def test_explain_prints_the_stages(command: Command, photos: Path) -> None:
    options = ["--device", "cpu", "--workers", 1, "--batch-size", 8, "--size", 48, "--seed", 5]
    status, out, err = command("explain", photos, *options)
    assert (status, err) == (0, "")
    assert [line.split()[0] for line in out.splitlines() if line[0] != " "] == [
        "order",
        "read",
        "draw",
        "decode",
        "render",
        "deliver",
    ]
    assert "CPU, 1 thread" in out
    assert "RandomResizedCrop, RandomHorizontalFlip" in out
    assert "from seed 5" in out
    assert "48 x 48 pixels" in out
    assert "batches of 8" in out


def test_explain_for_evaluation(command: Command, photos: Path) -> None:
    _, out, _ = command("explain", photos, "--device", "cpu", "--eval")
    assert "Resize, CenterCrop" in out
    assert "224 x 224 pixels" in out
    assert f"CPU, {cores()} thread" in out


# ---- demo ----


def test_demo_passes_its_arguments_on(command: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(demo, "run", lambda **given: {name: str(value) for name, value in given.items()})
    monkeypatch.setattr(demo, "report", lambda results: f"report of seed {results['seed']}")
    options = ["--data", tmp_path, "--output", "made", "--epochs", 2, "--seed", 9, "--device", "cpu"]
    options += ["--recipe", "deit"]
    assert command("demo", *options) == (0, "report of seed 9\n", "")
    status, out, _ = command("demo", *options, "--json")
    assert status == 0
    assert json.loads(out) == {
        "data": str(tmp_path),
        "output": "made",
        "epochs": "2",
        "seed": "9",
        "device": "cpu",
        "recipe": "deit",
        "progress": "True",
    }
    plain = json.loads(command("demo", "--json")[1])
    assert plain == {
        "data": "None",
        "output": "demo-output",
        "epochs": "None",
        "seed": "0",
        "device": "None",
        "recipe": "None",
        "progress": "True",
    }


def test_demo_on_a_missing_folder_is_one_line(command: Command, tmp_path: Path) -> None:
    status, out, err = command("demo", "--data", tmp_path / "nowhere", "--output", tmp_path / "made", "--device", "cpu")
    assert (status, out) == (1, "")
    assert err.startswith("gpuload: error: ")
    assert "nowhere" in err
    assert err.count("\n") == 1
