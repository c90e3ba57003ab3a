"""The quality of the shuffle: statistics of its orders against theory, beside torch.randperm's, and docs/shuffle.md.

Seeds are fixed, small, and follow one another, as epochs do: nothing here is left to chance, and a weak key would show.
With seeds drawn anew, a perfect shuffle would fail this file about once in a million runs: each check may once in
`CHECKS` million.
"""

import itertools
import os
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from gpuload import RandomSampler
from tests.shuffle_picture import Drawing
from tests.shuffle_statistics import STATISTICS, Finding, Mean, Orders, all_orders, chi_square, equal_pairs, positions
from tests.shuffles import BAD, SHUFFLES, buffered, from_epoch_to_epoch, from_seed_to_seed, ranks
from tests.torchvision_pages import page

CHECKS = 200  # at most
ALARM = 1e-6 / CHECKS
N, SEEDS, EPOCHS = 1000, 40, 25
MILLION = 998 * 1000
PAGE = Path(__file__).parents[1] / "docs" / "shuffle.md"
PICTURE = PAGE.with_suffix(".png")

OF_ONE_ORDER = [  # sums over so many positions that those of a single large order are normally distributed
    "correlation of position and index",
    "correlation of neighbors",
    "distance of neighbors",
    "runs of a class",
    "variance of a class's count in a batch",
]
SMALL = {2: 20, 3: 20, 4: 20, 5: 40, 6: 120}  # n, with all of its orders: so many seeds of 20 epochs
MIDDLING = range(7, 11)
MADE_TO_FIND = {
    "correlation of position and index": "shuffle buffer",
    "correlation of neighbors": "shards",
    "distance of neighbors": "shards",
    "i + 1 right after i": "shards",
    "fixed points": "one cycle",
    "fixed points, counted": "rotated",
    "cycles": "one cycle",
    "parity: even minus odd": "even",
    "runs of a class": "shards",
    "longest run of a class": "shuffle buffer",
    "variance of a class's count in a batch": "affine",
    "classes by position": "swapped with any",
}


def findings(orders: Orders) -> dict[str, Finding]:
    return {name: statistic(orders) for name, statistic in STATISTICS.items()}


def unlikely(found: dict[str, Finding]) -> dict[str, Finding]:
    return {name: finding for name, finding in found.items() if finding.chance < ALARM}


# ---- gpuload's shuffle, and torch's ----


def of_one_order(shuffle: Any) -> dict[str, Finding]:
    return {name: STATISTICS[name](shuffle(MILLION, 1, 1)[0]) for name in OF_ONE_ORDER}


def of_small(shuffle: Any) -> dict[str, Finding]:
    orders = {n: shuffle(n, seeds, 20) for n, seeds in SMALL.items()}
    return {f"all orders of {n}": all_orders(some.reshape(-1, n)) for n, some in orders.items()} | {
        f"of {n}, from epoch to epoch": all_orders(from_epoch_to_epoch(some)) for n, some in orders.items()
    }


def of_middling(shuffle: Any) -> dict[str, Finding]:
    orders = {n: shuffle(n, 15, 20).reshape(-1, n) for n in MIDDLING}
    looks = {"equal pairs": equal_pairs, "positions": positions, "parity": STATISTICS["parity: even minus odd"]}
    return {f"{name} of {n}": look(some) for n, some in orders.items() for name, look in looks.items()}


SUBJECTS = {
    "orders of 1,000": lambda shuffle: findings(shuffle(N, SEEDS, EPOCHS).reshape(-1, N)),
    "of 1,000, from epoch to epoch": lambda shuffle: findings(from_epoch_to_epoch(shuffle(N, SEEDS, EPOCHS))),
    "of 1,000, from seed to seed": lambda shuffle: findings(from_seed_to_seed(shuffle(N, SEEDS, EPOCHS))),
    "one order of 998,000": of_one_order,
    "its stretches of 1,000": lambda shuffle: findings(ranks(shuffle(MILLION, 1, 1)[0, 0], N)),
    "all orders of 2, 3, 4, 5 and 6; from epoch to epoch": of_small,
    "orders of 7, 8, 9 and 10: equal pairs, positions, parity": of_middling,
}


@cache
def found(subject: str, shuffle: str) -> dict[str, Finding]:
    return SUBJECTS[subject](SHUFFLES[shuffle])


@pytest.mark.parametrize("shuffle", SHUFFLES)
@pytest.mark.parametrize("subject", SUBJECTS)
def test_orders_are_as_theory_says(subject: str, shuffle: str) -> None:
    assert unlikely(found(subject, shuffle)) == {}


def test_stretches_of_the_largest_order_are_as_theory_says() -> None:
    n, cells = 1 << 40, 64
    samplers = [RandomSampler(range(n), seed=seed) for seed in range(200)]
    starts = [n // len(samplers) * seed for seed in range(len(samplers))]
    indices = np.array([s.order(1).indices(at, at + N).numpy() for s, at in zip(samplers, starts, strict=True)])
    assert unlikely(findings(ranks(indices.ravel(), N))) == {}
    counts = np.bincount(indices.ravel() // (n // cells), minlength=cells)
    assert chi_square(counts, indices.size / cells, cells - 1).chance > ALARM


def test_no_more_checks_than_the_alarm_allows_for() -> None:
    of_the_largest = len(STATISTICS) + 1
    assert of_the_largest + sum(len(found(*which)) for which in itertools.product(SUBJECTS, SHUFFLES)) <= CHECKS


# ---- the statistics themselves ----


@pytest.mark.parametrize("n", [6, 8])
def test_the_theory_is_right_over_all_orders(n: int) -> None:
    every = np.array(list(itertools.permutations(range(n))))
    for name, statistic in STATISTICS.items():
        if isinstance(statistic, Mean):
            values = statistic.of(every)
            assert statistic.moments(n) == pytest.approx((values.mean(), values.var())), name


@pytest.mark.parametrize("name", STATISTICS)
def test_each_statistic_finds_the_bad_shuffle_that_it_is_made_for(name: str) -> None:
    orders = BAD[MADE_TO_FIND[name]](N, N)
    assert np.array_equal(np.sort(orders, axis=1), np.tile(np.arange(N), (N, 1)))
    assert STATISTICS[name](orders).chance < ALARM


def test_a_bad_shuffle_of_a_few_is_found() -> None:
    assert all_orders(BAD["even"](SMALL[6] * 20, 6)).chance < ALARM
    assert equal_pairs(BAD["affine"](300, 10)).chance < ALARM
    assert positions(BAD["one cycle"](300, 10)).chance < ALARM


def test_a_shuffle_buffer_does_not_hide_in_the_stretches_of_a_large_order() -> None:
    found = unlikely(findings(ranks(buffered(100, 3000, 1000)[:, 1000:2000].ravel(), N)))
    assert {"correlation of position and index", "distance of neighbors"} <= set(found)


# ---- the page ----


def shown(finding: Finding) -> str:
    return f"{finding.found:,.{digits(finding)}f}"


def digits(finding: Finding) -> int:
    """So many decimals that the standard deviation has two digits."""
    return max(0, 1 - int(f"{finding.deviation:.1e}".split("e")[1]))


def test_the_page_has_the_numbers() -> None:
    of = [found("orders of 1,000", shuffle) for shuffle in SHUFFLES] + [findings(buffered(SEEDS * EPOCHS, N))]
    rows = []
    for name, finding in of[0].items():
        theory = f"{finding.theory:,.{digits(finding)}f} ± {finding.deviation:,.{digits(finding)}f}"
        rows.append([name, theory, *(shown(each[name]) for each in of), MADE_TO_FIND[name]])
    head = ["of 1,000 orders", "theory", *SHUFFLES, "shuffle buffer of 100", "a bad shuffle that it finds"]
    page("statistics", head, rows, PAGE)


def test_the_page_has_the_chances() -> None:
    rows = []
    for subject in SUBJECTS:
        of = [found(subject, shuffle) for shuffle in SHUFFLES]
        rows.append([subject, str(len(of[0])), *(f"{min(f.chance for f in each.values()):.3f}" for each in of)])
    page("chances", ["looked at", "checks", *SHUFFLES], rows, PAGE)


def test_the_picture_shows_these_orders() -> None:
    orders = {name: shuffle(N, SEEDS, EPOCHS) for name, shuffle in SHUFFLES.items()}
    drawing = Drawing(orders | {"shuffle buffer of 100": buffered(SEEDS * EPOCHS, N).reshape(SEEDS, EPOCHS, N)})
    if os.environ.get("GPULOAD_WRITE_PAGES") == "1":
        drawing.write(PICTURE)
    with Image.open(PICTURE) as image:
        assert image.info["Orders"] == drawing.digest, "GPULOAD_WRITE_PAGES=1 pytest ... draws it"
    assert PICTURE.stat().st_size < 100_000 and f"]({PICTURE.name})" in PAGE.read_text()
