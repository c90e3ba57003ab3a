"""A stage of a sample's way through a loader, in words: what `DataLoader.explain` lays out."""

import textwrap
from collections.abc import Sequence
from typing import Any, NamedTuple

from torch.utils.data import default_collate, default_convert

__all__ = ["CALLER", "Stage", "collated_by", "lay_out", "name_of", "threads_of"]

WIDTH = 110  # characters of a line
CALLER = "CPU, the caller's thread"


class Stage(NamedTuple):
    """One stage.

    Attributes:
        name: order, read, draw, decode, stage, render, deliver; or what stands in for some of them.
        where: the processor, and how many of its threads or processes.
        facts: what is done there.
    """

    name: str
    where: str
    facts: tuple[str, ...]


def lay_out(stages: Sequence[Stage]) -> str:
    """Three aligned columns, a fact a line, wrapped."""
    names, places = (max(len(stage[column]) for stage in stages) + 2 for column in (0, 1))
    lines: list[str] = []
    for name, where, facts in stages:
        head = f"{name:{names}}{where:{places}}"
        for fact in facts:
            wrapped = textwrap.wrap(fact, max(WIDTH - len(head), 40), break_long_words=False, break_on_hyphens=False)
            for line in wrapped:
                lines.append(head + line)
                head = " " * len(head)
    return "\n".join(lines)


def name_of(thing: Any) -> str:
    """A function's own name, or the type's."""
    if thing is default_collate:
        return "torch's default_collate"
    return str(getattr(thing, "__qualname__", type(thing).__name__))


def collated_by(collate_fn: Any, plainly: str) -> str:
    """What a batch is: ``plainly``, unless a collate function of the user's makes something of it."""
    return plainly if collate_fn in (default_collate, default_convert) else f"what {name_of(collate_fn)} makes"


def threads_of(count: int, one: str = "thread", several: str = "threads") -> str:
    """Where so many workers run."""
    return CALLER if count == 0 else f"CPU, {count} {one if count == 1 else several}"
