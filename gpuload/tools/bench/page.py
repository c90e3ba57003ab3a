"""What a run has found, as one HTML page: it loads nothing, and needs no JavaScript."""

from collections.abc import Iterable
from html import escape
from pathlib import Path

from gpuload.errors import ArgumentError
from gpuload.tools.bench.plot import BARS, STYLE, plot
from gpuload.tools.bench.results import DECODER, LOADERS, Results
from gpuload.tools.bench.text import HEADINGS, NOTES, cells, facts, verdicts
from gpuload.tools.bench.words import plural, shown

__all__ = ["check_path", "page"]

TITLE = "gpuload beside torch with torchvision"
PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>{title}</title>
<style>
:root {{
  --paper: #fff; --ink: #1d1d1f; --soft: #5d5d63; --line: #dcdce0; --ours: #4f8a00; --theirs: #8e8e93; --model: #b0440f
}}
@media (prefers-color-scheme: dark) {{
  :root {{
    --paper: #161618; --ink: #f0f0f2; --soft: #a9a9b0; --line: #3a3a3f; --ours: #84bf35; --theirs: #77777d;
    --model: #ff9d66
  }}
}}
body {{ margin: 0; background: var(--paper); color: var(--ink); font: 16px/1.5 system-ui, sans-serif }}
main {{ max-width: 46rem; margin: auto; padding: 1.5rem 1rem 3rem }}
h1 {{ font-size: 1.6rem; line-height: 1.25; margin: 0 0 1rem }}
h2 {{ font-size: 1.1rem; margin: 2.2rem 0 .6rem }}
figure {{ margin: 1.5rem 0 }}
ul.legend {{ display: flex; flex-wrap: wrap; gap: .2rem 1.4rem; margin: 0 0 1rem; padding: 0; list-style: none }}
ul.legend span {{ display: inline-block; box-sizing: border-box; width: 1.6rem; height: .8rem; margin-right: .5rem }}
ul.legend li {{ min-width: 0; overflow-wrap: anywhere }}
ul.legend span.model {{ height: 0; vertical-align: .25rem }}
.scroll {{ overflow-x: auto }}
table {{ border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .9rem }}
small {{ color: var(--soft) }}
th, td {{ padding: .35rem .6rem; text-align: right; border-bottom: 1px solid var(--line); white-space: nowrap }}
th:first-child {{ padding-left: 0 }}
thead th {{ white-space: normal; vertical-align: bottom; color: var(--soft); font-weight: 600 }}
dl {{ display: grid; grid-template-columns: max-content 1fr; gap: .35rem 1.2rem; margin: 0 }}
dt {{ color: var(--soft) }}
dd {{ margin: 0; overflow-wrap: anywhere }}
.notes {{ color: var(--soft); font-size: .9rem; padding-left: 1.1rem }}
@media (max-width: 34rem) {{ dl {{ display: block }} dd {{ margin-bottom: .6rem }} }}
{style}</style>
</head>
<body>
<main>
<h1>{title}</h1>
<p>{lead}</p>
<h2>Is the loader or the model the bottleneck?</h2>
{verdicts}
<figure>
<ul class="legend">{legend}</ul>
{plot}
</figure>
<h2>Images per second</h2>
<div class="scroll" tabindex="0" role="region" aria-label="Images per second, by number of workers">
{table}
</div>
<ul class="notes">{notes}</ul>
<h2>What was measured</h2>
{facts}
</main>
</body>
</html>
"""


def check_path(path: Path) -> None:
    """Can a page be written there?

    Raises:
        ArgumentError: it is a folder, or its folder does not exist.
    """
    if path.is_dir():
        raise ArgumentError(f"html must be a file to write, got the folder {str(path)!r}")
    if not path.parent.is_dir():
        raise ArgumentError(f"html must be in a folder that exists, got {str(path)!r}")


def page(results: Results) -> str:
    """The whole page."""
    names = {**LOADERS, DECODER: "decoder alone", "model": f"{results.model.name} takes"}
    return PAGE.format(
        title=TITLE,
        style=STYLE,
        lead=escape(_lead(results)),
        verdicts=_pairs(verdicts(results)),
        legend="".join(f'<li><span class="{name}"></span>{escape(names[name])}</li>' for name in (*BARS, "model")),
        plot=plot(results),
        table=_table(results),
        notes="".join(f"<li>{escape(note)}</li>" for note in NOTES),
        facts=_pairs(facts(results)),
    )


def _lead(results: Results) -> str:
    """The one sentence."""
    verdict = results.verdicts["gpuload"]
    row = next(row for row in results.rows if row.workers == verdict.workers)
    ours, theirs = (shown(row.spread(name).median) for name in ("gpuload", "torch"))
    times = f"{row.times('gpuload', 'torch').median:.2f} times as fast"
    return (
        f"With {plural(row.workers, 'worker')}, gpuload loads {ours} images/s, torch with torchvision {theirs}: "
        f"{times}. {results.equal} of {plural(results.checked, 'image')} are equal, bit for bit."
    )


def _table(results: Results) -> str:
    head = "".join(f'<th scope="col">{escape(" ".join(heading.split()))}</th>' for heading in HEADINGS)
    rows = [cells(row) for row in results.rows]
    body = "\n".join(
        f'<tr><th scope="row">{escape(first)}</th>{"".join(map(_cell, rest))}</tr>' for first, *rest in rows
    )
    return f"<table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table>"


def _cell(text: str) -> str:
    """A range stands below its median."""
    median, _, between = text.partition(" (")
    return f"<td>{median}</td>" if not between else f"<td>{median}<br><small>({between}</small></td>"


def _pairs(pairs: dict[str, str]) -> str:
    items: Iterable[str] = (f"<dt>{escape(name)}</dt><dd>{escape(fact)}</dd>" for name, fact in pairs.items())
    return "<dl>\n" + "\n".join(items) + "\n</dl>"
