"""The examples run and show what they say."""

import re
import runpy
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

pytest.importorskip("matplotlib")
pytest.importorskip("sklearn")
pytest.importorskip("simplemma")

EXAMPLES = Path(__file__).parent.parent / "examples"


def test_mini_batches_end_with_the_lower_loss(tmp_path, capsys):
    path = tmp_path / "tensors.png"
    curves = runpy.run_path(str(EXAMPLES / "tensors.py"))["main"](path)
    full, mini = curves.values()
    assert len(full) == len(mini) == 21
    assert full[0] == mini[0], "both start from the same weights"
    assert mini[-1] < full[-1] < full[0]
    with Image.open(path) as plot:
        assert plot.format == "PNG"
        assert len(plot.convert("RGB").getcolors(1 << 16)) > 10, "something is drawn"
    printed = capsys.readouterr().out.splitlines()
    assert printed[1].endswith(f"{full[-1]:.3f}")
    assert printed[2].endswith(f"{mini[-1]:.3f}")


def ran(name: str) -> dict[str, Any]:
    """What an example defines, once it ran as a program."""
    return runpy.run_path(str(EXAMPLES / name), run_name="__main__")


def test_lemmas_are_known_where_words_as_written_are_not(capsys):
    ran("text.py")
    printed = capsys.readouterr().out
    shares = {name: int(share) / 100 for name, share in re.findall(r"^(\w+ \w+) +(\d+)%", printed, re.MULTILINE)}
    assert list(shares) == ["as written", "as lemmas", "by chance"]
    assert shares["by chance"] == 0.25
    assert shares["as lemmas"] > 0.9
    assert shares["as written"] < 0.4
    differences = [float(number) for number in re.findall(r"\de-\d+", printed)]
    assert len(differences) == 2 and max(differences) < 1e-4, "padded or ragged, the scores are the same"


def test_words_are_lemmas_in_lower_case_without_stop_words():
    example = runpy.run_path(str(EXAMPLES / "text.py"))
    text = "The Geese ATE, and the mice sang with the choirs."
    assert example["words"](text, example["lemma"]) == ["goose", "eat", "mouse", "sing", "choir"]
    assert example["words"](text, str) == ["geese", "ate", "mice", "sang", "choirs"]


def test_questions_have_no_word_as_the_lessons_wrote_it():
    example = runpy.run_path(str(EXAMPLES / "text.py"))
    learned, asked = (
        {word for text, _ in example["sentences"](200, form, 0) for word in example["words"](text, str)}
        for form in (0, 1)
    )
    assert learned and asked and not learned & asked


def test_the_model_forecasts_better_than_now_and_yesterday(capsys):
    ran("series.py")
    printed = capsys.readouterr().out
    assert re.search("^gather .*float32 .* that stay there", printed, re.MULTILINE), "its windows stay on the device"
    errors = {name: float(error) for name, error in re.findall(r"^(\w.*?) +([\d.]+) °", printed, re.MULTILINE)}
    assert list(errors) == ["as it is now", "as it was yesterday", "the model"]
    assert errors["the model"] < 0.8 * errors["as it was yesterday"] < errors["as it is now"]


def test_no_window_to_learn_from_reaches_what_is_forecast():
    windows = runpy.run_path(str(EXAMPLES / "series.py"))["Windows"](torch.arange(100), 5, 3)
    known, asked = windows.split(60)
    assert torch.equal(torch.cat(known[0]), torch.arange(8, device=windows.device))
    assert torch.equal(torch.cat(known[-1]), torch.arange(52, 60, device=windows.device))
    assert torch.equal(torch.cat(asked[0]), torch.arange(60, 68, device=windows.device))
    assert torch.equal(torch.cat(asked[-1]), torch.arange(92, 100, device=windows.device))


def test_what_is_forecast_sets_no_mean_and_no_scale():
    example = runpy.run_path(str(EXAMPLES / "series.py"))
    series = example["temperatures"]()
    known, _, degrees = example["parts"](series)
    series[example["SPLIT"] :] *= 7
    same, _, same_degrees = example["parts"](series)
    assert degrees == same_degrees and len(known) == len(same)
    assert all(torch.equal(*pair) for i in (0, -1) for pair in zip(known[i], same[i], strict=True))
