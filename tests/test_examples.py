"""The examples run and show what they say."""

import runpy
from pathlib import Path

import pytest
from PIL import Image

pytest.importorskip("matplotlib")
pytest.importorskip("sklearn")

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
