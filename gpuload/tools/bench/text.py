"""What a run has found, for a terminal."""

import textwrap

from gpuload.tools.bench.results import DECODER, LOADERS, Results, Row
from gpuload.tools.bench.words import plural, spread
from gpuload.tools.rounds import Spread

__all__ = ["HEADINGS", "NOTES", "cells", "facts", "report", "verdicts"]

WIDTH = 110  # characters of a line
HEADINGS = (
    "workers",
    "torch",
    "gpuload",
    "gpuload\n/ torch",
    "decoder\nalone",
    "gpuload\n/ decoder",
    "first batch\ntorch",
    "first batch\ngpuload",
)
NOTES = (
    "torch, gpuload: images/s, the median of the rounds (lowest-highest). In a round the contestants take turns, all "
    "on the same images, which were read once before: the page cache is warm. Workers have started; what that costs "
    "is in the time from making the loader to its first batch, when all is imported and compiled.",
    "gpuload / torch: how many times as fast, the median of the ratios of each round.",
    "decoder alone: as many threads as workers read the same files and decode, with gpuload's decoder, what the crops "
    "need of them, and do nothing else. No loader that decodes so on these CPUs can be faster.",
)


def report(results: Results) -> str:
    """A table, and what it comes to."""
    blocks = [_pairs(facts(results)), _table(results), _pairs(verdicts(results)), "\n".join(map(_wrapped, NOTES))]
    return "\n\n".join(blocks)


def _table(results: Results) -> str:
    """Its head has two lines."""
    parted = [heading.rpartition("\n") for heading in HEADINGS]
    rows = [[upper for upper, _, _ in parted], [lower for _, _, lower in parted], *map(cells, results.rows)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
    return "\n".join(line.rstrip() for line in lines)


def facts(results: Results) -> dict[str, str]:
    """What was measured, where and how."""
    height, width = results.pixels
    machine, (fewest, most) = results.machine, results.rounds
    versions = ", ".join(
        f"{name} {version}" for name, version in machine.items() if name not in ("cpu", "gpu", "device")
    )
    compared = f"{results.equal} of {plural(results.checked, 'image')} equal torchvision's bit for bit"
    raced = "all" if results.raced == results.images else f"{results.raced:,}"
    return {
        "images": f"{plural(results.images, 'image')} in {plural(results.classes, 'class', 'classes')} in "
        f"{results.folder}; {raced} of them are raced, {width} x {height} pixels (medians)",
        "batches": f"of {results.batch_size}: {results.transform}",
        **results.settings,
        "machine": f"{machine['cpu']}; GPU: {machine['gpu']}; batches arrive on {machine['device']}",
        "versions": versions,
        "pixels": f"{'' if results.equal == results.checked else 'DIFFER: '}{compared}, with the same numbers drawn",
        "rounds": f"{most}" if fewest == most else f"{fewest} to {most}",
    }


def cells(row: Row) -> tuple[str, ...]:
    """A row of the table, under `HEADINGS`."""
    torch_rate, gpuload_rate, decoder_rate = (spread(row.spread(name)) for name in (*LOADERS, DECODER))
    times, share = row.times("gpuload", "torch").median, row.times("gpuload", DECODER).median
    firsts = (f"{row.first_batch[name]:.2f} s" for name in LOADERS)
    return (str(row.workers), torch_rate, gpuload_rate, f"{times:.2f} x", decoder_rate, f"{share:.0%}", *firsts)


def verdicts(results: Results) -> dict[str, str]:
    """Is the loader or the model the bottleneck? Of each loader; and what is known of the model."""
    model = results.model
    said = {LOADERS[name]: verdict.sentence(model.name) for name, verdict in results.verdicts.items()}
    return {**said, "model": f"{model.name}: {spread(Spread.of(model.rates))} images/s, {model.settings}"}


def _pairs(facts: dict[str, str]) -> str:
    head = max(map(len, facts)) + 2
    return "\n".join(_wrapped(fact, name.ljust(head)) for name, fact in facts.items())


def _wrapped(text: str, head: str = "") -> str:
    return textwrap.fill(text, WIDTH, initial_indent=head, subsequent_indent=" " * len(head), break_on_hyphens=False)
