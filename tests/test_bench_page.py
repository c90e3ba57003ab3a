"""The HTML page of gpuload bench: whole, self-contained, and laid out well in a browser where there is one."""

import json
import re
import shutil
import subprocess
from html import escape, unescape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from gpuload import ArgumentError
from gpuload.tools.bench.page import check_path, page
from gpuload.tools.bench.plot import LONGEST, plot
from gpuload.tools.bench.results import Results
from tests.bench_results import LONG, MANY, SLOW, SOME

VOID = {"meta", "br"}
BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = ["headless", "no-sandbox", "disable-gpu", "disable-quic", "no-first-run", "disable-background-networking"]
FLAGS += ["disable-component-update", "disable-sync"]
MEASURE = """<!doctype html><body>{frames}
<script>
const texts = page => [...page.querySelectorAll("svg text")].map(text => {{
  const box = text.getBoundingClientRect()
  return [text.textContent, box.left, box.top, box.right, box.bottom]
}})
addEventListener("load", () => {{
  const found = [...document.querySelectorAll("iframe")].map(frame => {{
    const page = frame.contentDocument, root = page.documentElement
    return {{texts: texts(page), width: root.scrollWidth, shown: root.clientWidth}}
  }})
  document.body.textContent = "found " + JSON.stringify(found) + " end"
}})
</script>"""


class Checker(HTMLParser):
    """Notes the text and the attributes, and that elements end in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.texts: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: Any) -> None:
        self.attributes += attrs

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


every_result = pytest.mark.parametrize("results", [SOME, MANY, LONG, SLOW], ids=["some", "many", "long", "slow"])


@every_result
def test_the_page_is_whole_and_loads_nothing(results: Results) -> None:
    checked = Checker(page(results))
    names = {name for name, _ in checked.attributes}
    assert not {"src", "href", "srcset", "style"} & names
    assert not any(name.startswith("on") for name in names)
    assert not re.search("url\\(|@import|<script", page(results))
    assert ("content", "default-src 'none'; style-src 'unsafe-inline'") in checked.attributes


def test_what_the_page_says() -> None:
    text = " ".join("".join(Checker(page(SOME)).texts).split())
    assert "With 2 workers, gpuload loads 1,675 images/s, torch with torchvision 335: 5.00 times as fast." in text
    assert "64 of 64 images are equal, bit for bit." in text
    assert "the loader is the bottleneck: 335 images/s with 2 workers of the 510 that resnet18 takes" in text
    assert "in /data/photos;" in text
    assert "1,675(1,650-1,700)" in text


def test_names_are_escaped() -> None:
    assert "<b>" not in page(MANY)
    assert "/data/<b>pho&tos</b>/of" in "".join(Checker(page(MANY)).texts)


def test_bars_are_as_long_as_their_figures() -> None:
    drawn = plot(SOME)
    bars = dict.fromkeys(re.findall(r'<rect class="(\w+)" x="0" y="\d+" width="([\d.]+)%"', drawn))
    assert list(bars) == [
        ("decoder", "41.00"),
        ("gpuload", "34.85"),
        ("torch", "6.97"),
        ("decoder", "82.00"),
        ("gpuload", "68.67"),
        ("torch", "13.74"),
    ]
    assert LONGEST == 82.0
    assert 'class="model" x1="20.91%"' in drawn


def test_the_plot_is_there_in_words() -> None:
    label = re.search('aria-label="([^"]*)"', plot(SOME))
    assert label
    assert label[1] == (
        "Images per second: with 1 worker, the decoder alone 1,000, gpuload 850 (800-900), "
        "torch + torchvision 170 (160-175); with 2 workers, the decoder alone 2,000, gpuload 1,675 (1,650-1,700), "
        "torch + torchvision 335 (330-340); resnet18 takes 510."
    )


def test_where_a_page_can_be_written(tmp_path: Path) -> None:
    check_path(tmp_path / "page.html")
    with pytest.raises(ArgumentError, match=r"^html must be a file to write, got the folder '.*'$"):
        check_path(tmp_path)
    with pytest.raises(ArgumentError, match=r"^html must be in a folder that exists, got '.*/none/page\.html'$"):
        check_path(tmp_path / "none" / "page.html")


@pytest.mark.skipif(BROWSER is None, reason="no browser")
def test_no_text_is_cut_or_covers_another(tmp_path: Path) -> None:
    pages = [escape(page(results)) for results in (SOME, MANY, LONG, SLOW)]
    frame = '<iframe width="{}" height="900" srcdoc="{}"></iframe>'
    frames = [frame.format(width, made) for made in pages for width in (340, 1200)]
    harness = tmp_path / "harness.html"
    harness.write_text(MEASURE.format(frames="".join(frames)))
    flags = [f"--{flag}" for flag in (*FLAGS, f"user-data-dir={tmp_path / 'profile'}", "dump-dom")]
    command = [str(BROWSER), *flags, f"file://{harness}"]
    said = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
    measured = re.search("found (.*) end", said)
    assert measured, said[-2000:]
    found = json.loads(unescape(measured[1]))
    assert len(found) == len(frames)
    for one in found:
        assert_apart(**one)


def assert_apart(texts: list[Any], width: float, shown: float) -> None:
    assert width <= shown
    assert len(texts) > 5
    for number, (text, left, top, right, bottom) in enumerate(texts):
        assert left >= 0, text
        assert right <= shown, text
        for other, its_left, its_top, its_right, its_bottom in texts[:number]:
            apart = right <= its_left or its_right <= left or bottom <= its_top + 2 or its_bottom <= top + 2
            assert apart, (text, other)
