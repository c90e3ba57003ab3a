"""The race: both loaders and the decoder alone, with each number of workers in turn."""

from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial

from gpuload.tools.bench.clock import Clock
from gpuload.tools.bench.decoding import Decoding, Share
from gpuload.tools.bench.entrants import MAKERS, Entrant, Task
from gpuload.tools.bench.results import DECODER, LOADERS, Row
from gpuload.tools.bench.words import plural
from gpuload.tools.rounds import interleaved

__all__ = ["raced"]


def raced(counts: Sequence[int], task: Task, shares: list[Share], clock: Clock, end: float) -> list[Row]:
    """What each contestant gives with each number of workers.

    Args:
        counts: numbers of workers.
        task: of the loaders.
        shares: what the decoder alone decodes.
        clock: of the run.
        end: when the race is to be over.
    """
    rows: list[Row] = []
    for workers in counts:
        rest = max(end - clock.passed, 0.0) / (len(counts) - len(rows))
        rows.append(_row(workers, task, shares, clock, clock.passed + rest))
    return rows


def _row(workers: int, task: Task, shares: list[Share], clock: Clock, end: float) -> Row:
    with ExitStack() as stack:
        entrants: dict[str, Entrant] = {}
        for name in LOADERS:  # torch forks its workers first, gpuload then starts threads
            clock.show(f"{plural(workers, 'worker')}: {LOADERS[name]} starts")
            entrants[name] = stack.enter_context(Entrant(MAKERS[name], task, workers))
        decoding = stack.enter_context(Decoding(shares, max(workers, 1)))
        turn = clock.turn(end, len(entrants) + 1)
        plays = {name: partial(entrant.play, turn) for name, entrant in entrants.items()}
        plays[DECODER] = partial(decoding.play, turn)
        rates = interleaved(plays, clock.rounds(end, plural(workers, "worker")))
        return Row(workers, rates, {name: entrant.first_batch for name, entrant in entrants.items()})
