"""The plot: bars of images/s by number of workers, as SVG. It is as wide as its place, and its text does not shrink."""

import math
from collections.abc import Iterator
from html import escape

from gpuload.tools.bench.results import DECODER, LOADERS, Results, Row
from gpuload.tools.bench.words import plural, shown, spread
from gpuload.tools.rounds import Spread

__all__ = ["BARS", "STYLE", "plot"]

BARS = (DECODER, "gpuload", "torch")  # in a group, from above
HEIGHT, GAP = 18, 4  # pixels: of a bar, and below it
TITLE = 24  # of a group
GROUP = TITLE + len(BARS) * (HEIGHT + GAP) + 12
TOP, BOTTOM = 26, 44
LONGEST = 82.0  # percent of the width, of the longest bar: its figure stands beside it
TICKS = 4  # at most, beside 0

STYLE = """
svg { display: block; width: 100%; font: inherit; font-size: 13px; overflow: visible }
svg text { fill: var(--ink) }
svg .soft { fill: var(--soft) }
svg .label { paint-order: stroke; stroke: var(--paper); stroke-width: 4px; stroke-linejoin: round }
svg .group { font-weight: 600 }
.gpuload { fill: var(--ours); background: var(--ours) }
.torch { fill: var(--theirs); background: var(--theirs) }
.decoder { fill: none; stroke: var(--soft); stroke-dasharray: 4 3; border: 1px dashed var(--soft) }
svg .grid { stroke: var(--line) }
svg .range { stroke: var(--ink); stroke-width: 1.5 }
.model { border-top: 2px dashed var(--model); stroke: var(--model); stroke-width: 2; stroke-dasharray: 6 4 }
svg text.model { fill: var(--model); stroke: none }
"""


def plot(results: Results) -> str:
    """An ``<svg>`` element; the classes that `STYLE` is for, and a description for those who do not see it."""
    model = Spread.of(results.model.rates)
    spreads = [row.spread(name) for row in results.rows for name in BARS]
    scale = LONGEST / max(model.median, *(figures.highest for figures in spreads))
    bottom = TOP + GROUP * len(results.rows)
    tops = [(row, TOP + GROUP * number) for number, row in enumerate(results.rows)]
    parts = [*_grid(LONGEST / scale, scale, bottom)]
    for row, top in tops:
        parts += _bars(row, top, scale)
    parts += _model(model.median * scale, model.median, bottom)
    for row, top in tops:  # above all lines
        parts += _labels(row, top, scale)
    label = escape(_described(results))
    return (
        f'<svg role="img" aria-label="{label}" height="{bottom + BOTTOM}" xmlns="http://www.w3.org/2000/svg">\n'
        + "\n".join(parts)
        + "\n</svg>"
    )


def _grid(most: float, scale: float, bottom: int) -> Iterator[str]:
    """Lines at round figures, which stand below them."""
    step = _round_step(most / TICKS)
    for number in range(int(most / step) + 1):
        at = f"{number * step * scale:.2f}%"
        anchor = "middle" if number else "start"
        yield f'<line class="grid" x1="{at}" x2="{at}" y1="{TOP}" y2="{bottom}"/>'
        yield f'<text class="soft" x="{at}" y="{bottom + 18}" text-anchor="{anchor}">{shown(number * step)}</text>'
    yield f'<text class="soft" x="0" y="{bottom + 38}">images/s</text>'


def _round_step(least: float) -> float:
    """1, 2 or 5 times a power of ten, no smaller than that."""
    power = 10.0 ** math.floor(math.log10(least))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= least)


def _tops(top: int) -> Iterator[tuple[str, int]]:
    """Where each bar of a group begins."""
    return ((name, top + TITLE + number * (HEIGHT + GAP)) for number, name in enumerate(BARS))


def _bars(row: Row, top: int, scale: float) -> Iterator[str]:
    """Medians, and the ranges of the rounds."""
    for name, begin in _tops(top):
        figures = row.spread(name)
        median, lowest, highest = (f"{figure * scale:.2f}%" for figure in figures)
        middle, mark = begin + HEIGHT / 2, HEIGHT / 5
        yield f'<rect class="{name}" x="0" y="{begin}" width="{median}" height="{HEIGHT}" rx="2"/>'
        if figures.lowest < figures.highest:
            yield f'<line class="range" x1="{lowest}" x2="{highest}" y1="{middle}" y2="{middle}"/>'
            for end in (lowest, highest):
                yield f'<line class="range" x1="{end}" x2="{end}" y1="{middle - mark}" y2="{middle + mark}"/>'


def _labels(row: Row, top: int, scale: float) -> Iterator[str]:
    """What a group is, and its figures."""
    title = "no workers" if row.workers == 0 else plural(row.workers, "worker")
    yield f'<text class="label group" x="0" y="{top + 16}">{title}</text>'
    for name, begin in _tops(top):
        figures = row.spread(name)
        at, middle = f"{figures.highest * scale:.2f}%", begin + HEIGHT / 2
        yield f'<text class="label" x="{at}" dx="6" y="{middle + 4.5}">{shown(figures.median)}</text>'


def _model(at: float, taken: float, bottom: int) -> Iterator[str]:
    """A line at what the model takes, and the figure."""
    anchor = "start" if at < LONGEST / 2 else "end"
    yield f'<line class="model" x1="{at:.2f}%" x2="{at:.2f}%" y1="{TOP - 6}" y2="{bottom}"/>'
    yield f'<text class="model" x="{at:.2f}%" y="{TOP - 12}" text-anchor="{anchor}">{shown(taken)}</text>'


def _described(results: Results) -> str:
    """The plot in words."""
    names = {**LOADERS, DECODER: "the decoder alone"}
    said = [
        f"with {plural(row.workers, 'worker')}, "
        + ", ".join(f"{names[name]} {spread(row.spread(name))}" for name in BARS)
        for row in results.rows
    ]
    taken = shown(Spread.of(results.model.rates).median)
    return f"Images per second: {'; '.join(said)}; {results.model.name} takes {taken}."
