"""The verdict, the table and the JSON of gpuload bench, from figures that are given."""

import json

import pytest

from gpuload.tools.bench.text import facts, report
from gpuload.tools.bench.verdict import Bottleneck, judged
from gpuload.tools.bench.words import plural, shown
from gpuload.tools.rounds import Spread
from tests.bench_results import SLOW, SOME, changed


def spread(lowest: float, highest: float) -> Spread:
    return Spread.of([lowest, highest])


@pytest.mark.parametrize(
    ("model", "bottleneck", "enough", "sentence"),
    [
        ((900, 950), "loader", None, "410 images/s with 4 workers of the 925 that M takes"),
        ((150, 170), "model", 2, "M takes 160 images/s of the 410 that come with 4 workers; 2 would do"),
        ((350, 380), "model", 4, "M takes 365 images/s of the 410 that come with 4 workers"),
        ((415, 501), "neither", 4, "410 images/s come with 4 workers, and M takes 458"),
        ((420, 500), "neither", 4, "410 images/s come with 4 workers, and M takes 460"),
        ((421, 501), "loader", None, "410 images/s with 4 workers of the 461 that M takes"),
        ((90, 106), "model", 1, "M takes 98 images/s of the 410 that come with 4 workers; 1 would do"),
    ],
)
def test_verdict(model: tuple[float, float], bottleneck: str, enough: int | None, sentence: str) -> None:
    loader = {8: spread(300, 310), 1: spread(100, 110), 4: spread(400, 420), 2: spread(190, 210)}
    found = judged(loader, spread(*model))
    assert found.bottleneck == Bottleneck(bottleneck)
    assert (found.workers, found.enough) == (4, enough)
    head = f"{'neither' if bottleneck == 'neither' else f'the {bottleneck}'} is the bottleneck: "
    assert found.sentence("M") == head + sentence


def test_words() -> None:
    assert [shown(figure) for figure in (12345.6, 10, 9.87, 0.0123)] == ["12,346", "10", "9.9", "0.012"]
    assert [plural(1, "class", "classes"), plural(2000, "class", "classes")] == ["1 class", "2,000 classes"]


def test_report() -> None:
    paragraphs = report(SOME).split("\n\n")
    assert paragraphs[:3] == [
        """\
images    12,000 images in 10 classes in /data/photos; 4,096 of them are raced, 500 x 375 pixels (medians)
batches   of 64: RandomResizedCrop(224)
torch     its settings
gpuload   ours
machine   Abacus, 2 cores; GPU: none; batches arrive on cpu
versions  torch 2.14
pixels    64 of 64 images equal torchvision's bit for bit, with the same numbers drawn
rounds    2 to 3""",
        """\
                                             gpuload  decoder    gpuload  first batch  first batch
workers          torch              gpuload  / torch    alone  / decoder        torch      gpuload
      1  170 (160-175)        850 (800-900)   5.00 x    1,000        85%       1.50 s       0.12 s
      2  335 (330-340)  1,675 (1,650-1,700)   5.00 x    2,000        84%       2.50 s       0.12 s""",
        """\
torch + torchvision  the loader is the bottleneck: 335 images/s with 2 workers of the 510 that resnet18 takes
gpuload              the model is the bottleneck: resnet18 takes 510 images/s of the 1,675 that come with 2
                     workers; 1 would do
model                resnet18: 510 (500-520) images/s, in float32""",
    ]
    assert paragraphs[3].startswith("torch, gpuload: images/s, the median of the rounds (lowest-highest).")
    assert "the page cache is warm" in paragraphs[3]
    assert max(len(line) for line in report(SOME).splitlines()) <= 110


def test_pixels_that_differ_are_said_first() -> None:
    assert facts(changed(equal=63))["pixels"].startswith("DIFFER: 63 of 64 images equal")


def test_a_folder_that_is_raced_whole() -> None:
    assert "; all of them are raced," in facts(changed(images=4096))["images"]


def test_one_round_has_no_range() -> None:
    assert report(SLOW).split("\n\n")[1].splitlines()[-1].split() == [
        *("0", "0.52", "1.5", "2.88", "x", "1.9", "79%", "0.50", "s", "0.12", "s")
    ]


def test_json() -> None:
    told = json.loads(json.dumps(SOME.as_json()))
    first = told["workers"].pop(0)
    assert len(told.pop("workers")) == 1
    assert first == {
        "workers": 1,
        "images_per_second": {
            "torch": {"median": 170.0, "lowest": 160.0, "highest": 175.0, "rounds": [170.0, 160.0, 175.0]},
            "gpuload": {"median": 850.0, "lowest": 800.0, "highest": 900.0, "rounds": [850.0, 800.0, 900.0]},
            "decoder": {"median": 1000.0, "lowest": 1000.0, "highest": 1000.0, "rounds": [1000.0] * 3},
        },
        "times_as_fast_as_torch": {"median": 5.0, "lowest": 5.0, "highest": 5.143},
        "share_of_decoder": {"torch": 0.17, "gpuload": 0.85},
        "seconds_to_first_batch": {"torch": 1.5, "gpuload": 0.125},
    }
    assert told == {
        "folder": "/data/photos",
        "images": {"in_folder": 12_000, "raced": 4096, "classes": 10},
        "median_pixels": {"height": 375, "width": 500},
        "batch_size": 64,
        "transform": "RandomResizedCrop(224)",
        "settings": {"torch": "its settings", "gpuload": "ours"},
        "machine": {"cpu": "Abacus, 2 cores", "gpu": "none", "device": "cpu", "torch": "2.14"},
        "pixels": {"checked": 64, "equal": 64},
        "model": {
            "name": "resnet18",
            "settings": "in float32",
            "median": 510.0,
            "lowest": 500.0,
            "highest": 520.0,
            "rounds": [500.0, 520.0, 510.0],
        },
        "verdicts": {
            "torch": {
                "bottleneck": "loader",
                "workers": 2,
                "workers_that_would_do": None,
                "images_per_second": 335.0,
                "model_takes": 510.0,
            },
            "gpuload": {
                "bottleneck": "model",
                "workers": 2,
                "workers_that_would_do": 1,
                "images_per_second": 1675.0,
                "model_takes": 510.0,
            },
        },
        "seconds": 60.0,
    }
