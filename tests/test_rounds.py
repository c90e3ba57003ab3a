"""Rounds are interleaved, and what they come to is of each round."""

import pytest
import torch

from gpuload.tools.rounds import Spread, interleaved, rate, ratios


def test_every_other_round_is_in_reverse_order() -> None:
    turns: list[str] = []

    def play(name: str) -> float:
        turns.append(name)
        return float(len(turns))

    figures = interleaved({"a": lambda: play("a"), "b": lambda: play("b")}, range(3))
    assert "".join(turns) == "abbaab"
    assert figures == {"a": [1, 4, 5], "b": [2, 3, 6]}


def test_ratios_are_of_each_round() -> None:
    assert ratios([2.0, 9.0], [1.0, 3.0]) == [2.0, 3.0]
    with pytest.raises(ValueError, match="shorter"):
        ratios([1.0, 2.0], [1.0])


def test_a_spread_has_the_median_and_both_ends() -> None:
    assert Spread.of([3.0, 1.0, 2.0]) == Spread(median=2.0, lowest=1.0, highest=3.0)
    assert Spread.of([1.0, 2.0]) == (1.5, 1.0, 2.0)


def test_a_rate_counts_images_and_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([10.0, 12.0])
    monkeypatch.setattr("time.perf_counter", lambda: next(clock))
    batches = [(torch.zeros(size, 3, 1, 1), torch.zeros(size)) for size in (4, 4, 2)]
    assert rate(batches, torch.device("cpu")) == 5.0
