"""Results of a run that never was, for what shows them."""

from dataclasses import replace
from typing import Any

from gpuload.tools.bench.results import Model, Results, Row


def row(workers: int, torch: list[float], gpuload: list[float], decoder: list[float]) -> Row:
    rates = {"torch": torch, "gpuload": gpuload, "decoder": decoder}
    return Row(workers, rates, {"torch": 0.5 + workers, "gpuload": 0.125})


SOME = Results(
    folder="/data/photos",
    images=12_000,
    raced=4096,
    classes=10,
    pixels=(375, 500),
    batch_size=64,
    transform="RandomResizedCrop(224)",
    settings={"torch": "its settings", "gpuload": "ours"},
    machine={"cpu": "Abacus, 2 cores", "gpu": "none", "device": "cpu", "torch": "2.14"},
    checked=64,
    equal=64,
    rows=[
        row(1, [170.0, 160.0, 175.0], [850.0, 800.0, 900.0], [1000.0, 1000.0, 1000.0]),
        row(2, [340.0, 330.0], [1700.0, 1650.0], [2000.0, 2000.0]),
    ],
    model=Model("resnet18", "in float32", [500.0, 520.0, 510.0]),
    seconds=59.96,
)
MANY = replace(
    SOME,
    folder="/data/<b>pho&tos</b>" + "/of/many/people" * 8,
    rows=[row(1 << power, *([factor * 2.0**power] * 2 for factor in (175, 850, 990))) for power in range(8)],
)
LONG = replace(SOME, model=Model("a_model_whose_name_goes_on_and_on_and", "in float32", [21_000.0]))
SLOW = replace(SOME, rows=[row(0, [0.52], [1.5], [1.9])], model=Model("resnet18", "in float32", [0.01]))


def changed(**what: Any) -> Results:
    return replace(SOME, **what)
