"""The split of work follows the speeds that are measured: at every ratio, and when they change."""

import itertools

import pytest

from gpuload.decoders.balance import FIRST, AllAway, Balancer

RATIOS = [1 / 8, 1 / 3, 1.0, 2.7, 8.0]
BATCH, WORKERS, LAG = 64, 4, 4  # samples; threads; batches that are begun before one is measured


def play(balancer: Balancer, device: float, workers: float, batches: int, work: list[float]) -> list[float]:
    """Of each batch the work that the device got; what it took is known some batches later."""
    given, known = list[float](), list[float]()
    for _ in range(batches):
        if len(known) == LAG:
            mine = known.pop(0)
            balancer.device_did(mine, mine / device)
            balancer.workers_did(sum(work) - mine, (sum(work) - mine) / workers * WORKERS)
        away = balancer.away(work, [True] * len(work))
        given.append(sum(one for one, is_away in zip(work, away, strict=True) if is_away))
        known.append(given[-1])
    return given


def throughput(given: list[float], device: float, workers: float, work: float) -> float:
    """Of what the best split would reach, where both sides go on with the next batch without a wait."""
    mine = sum(given)
    whole = work * len(given)
    return whole / max(mine / device, (whole - mine) / workers) / (device + workers)


@pytest.mark.parametrize("ratio", RATIOS)
@pytest.mark.parametrize("sizes", [[1.0] * BATCH, [1.0, 9.0, 2.0, 30.0] * (BATCH // 4)], ids=["alike", "uneven"])
def test_it_converges_to_the_best_split(ratio: float, sizes: list[float]) -> None:
    given = play(Balancer(WORKERS), 1000 * ratio, 1000, 60, sizes)
    assert throughput(given[12:], 1000 * ratio, 1000, sum(sizes)) >= 0.98


@pytest.mark.parametrize(("before", "after"), [*itertools.permutations(RATIOS, 2)])
def test_it_follows_a_change_within_a_few_batches(before: float, after: float) -> None:
    balancer, sizes = Balancer(WORKERS), [1.0] * BATCH
    play(balancer, 1000 * before, 1000, 40, sizes)
    given = play(balancer, 1000 * after, 1000, 60, sizes)
    assert throughput(given[16:], 1000 * after, 1000, BATCH) >= 0.95


def test_a_side_that_is_slow_is_asked_now_and_then() -> None:
    given = play(Balancer(WORKERS), 1.0, 1000, 400, [1.0] * BATCH)
    assert 0 < sum(given[100:]) < 300 * BATCH / 300


def test_before_both_are_measured_the_device_gets_a_part() -> None:
    balancer = Balancer(WORKERS)
    balancer.device_did(10, 1)  # what was set up meanwhile is in it
    balancer.workers_did(10, 1)
    assert balancer.share == FIRST
    away = balancer.away([1.0] * BATCH, [True] * BATCH)
    assert sum(away) == BATCH * FIRST
    assert {sum(away[at : at + 16]) for at in range(0, BATCH, 16)} == {16 * FIRST}  # of each worker's share alike
    balancer.device_did(30, 1)
    assert balancer.share == 30 / (30 + WORKERS * 10)


@pytest.mark.parametrize("nothing", [(0.0, 1.0), (1.0, 0.0)])
def test_what_measures_nothing_changes_nothing(nothing: tuple[float, float]) -> None:
    balancer = Balancer(WORKERS)
    for did in (balancer.device_did, balancer.workers_did):
        did(10, 1)
        did(10, 1)
    before = balancer.share
    balancer.device_did(*nothing)
    balancer.workers_did(*nothing)
    assert balancer.share == before


def test_only_what_it_may_have_is_given_away() -> None:
    may = [False] * 48 + [True] * 16
    assert AllAway().away([1.0] * BATCH, may) == may
    balancer = Balancer(WORKERS)
    assert sum(balancer.away([1.0] * BATCH, [False] * BATCH)) == 0
    away = balancer.away([1.0] * BATCH, may)
    assert sum(away) == 16 and away[48:] == [True] * 16  # as it is owed of the work that it may not have
    assert sum(balancer.away([1.0] * BATCH, [True] * BATCH)) <= BATCH / 2 + FIRST * BATCH


def test_the_same_measurements_give_the_same_decisions() -> None:
    sizes = [3.0, 1.0, 5.0, 2.0] * 8
    assert play(Balancer(3), 700, 300, 50, sizes) == play(Balancer(3), 700, 300, 50, sizes)
