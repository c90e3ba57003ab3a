"""The tables of docs/torchvision.md, which are made from the package: ``GPULOAD_WRITE_PAGES=1 pytest ...`` writes them.

Each table stands between two comments with its name; a new one needs no more than those.
"""

import os
import re
from collections.abc import Sequence
from pathlib import Path

import pytest

__all__ = ["page"]

PAGE = Path(__file__).parents[1] / "docs" / "torchvision.md"


def page(name: str, head: Sequence[str], rows: Sequence[Sequence[str]], path: Path = PAGE) -> None:
    """Check that a table of the page is as given, or write it there.

    Args:
        name: of the table.
        head: names of its columns.
        rows: what is in them.
        path: of the page.
    """
    lines = [head, ["---"] * len(head), *rows]
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    begin, end = f"<!-- {name} -->", f"<!-- end of {name} -->"
    text = path.read_text()
    assert begin in text and end in text, f"{path.name} has no place for the table of {name}"
    written = re.sub(f"{begin}.*?{end}", lambda _: f"{begin}\n{table}\n{end}", text, flags=re.DOTALL)
    if os.environ.get("GPULOAD_WRITE_PAGES") == "1":
        path.write_text(written)
    elif written != text:
        pytest.fail(f"the table of {name} in {path.name} is stale: GPULOAD_WRITE_PAGES=1 pytest ... writes it")
