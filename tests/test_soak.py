"""The rounds of ``python -m tests.soak``, once each; and that it sees what it looks for."""

import random
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from torch.utils.data import _utils

from gpuload.loading import threads
from tests import soak
from tests.soak import ROUNDS, Photos, Scene, growth

pytestmark = pytest.mark.usefixtures("none_left")


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Photos:
    monkeypatch.setattr(threads, "GRACE", 0.1)
    monkeypatch.setattr(_utils, "MP_STATUS_CHECK_INTERVAL", 0.1)
    return Photos(tmp_path)


IN_THIS_PROCESS = [round for round in ROUNDS if round.__name__ not in ("killed", "forked")]


@pytest.mark.parametrize("round", IN_THIS_PROCESS, ids=lambda round: round.__name__)
def test_every_round(photos: Photos, round: Callable[[Scene], None]) -> None:
    round(Scene(random.Random(1), photos, 1))


def test_what_is_left_is_seen(photos: Photos, monkeypatch: pytest.MonkeyPatch) -> None:
    def leaves_a_thread(scene: Scene) -> None:
        threading.Thread(target=stop.wait, daemon=True).start()

    stop = threading.Event()
    monkeypatch.setattr(soak, "in_time", lambda condition: condition())
    monkeypatch.setattr(soak.play, "__defaults__", ((leaves_a_thread,),))
    with pytest.raises(AssertionError, match="leaves_a_thread"):
        soak.soak(10, 0, photos)
    stop.set()


def test_a_round_that_fails_is_told(
    photos: Photos, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails(scene: Scene) -> None:
        assert scene.rng.random() < 0.5

    monkeypatch.setattr(soak.play, "__defaults__", ((fails,),))
    with pytest.raises(AssertionError):
        soak.soak(10, 0, photos)
    number = int(capsys.readouterr().err.split("--seed ")[1])
    with pytest.raises(AssertionError):
        soak.play(number, photos)


@pytest.mark.parametrize(("memory", "grown"), [([5] * 40, 0), (list(range(40)), 10), ([9, 5, 5, 5] * 10, 0), ([3], 0)])
def test_growth(memory: list[int], grown: int) -> None:
    assert growth(memory) == grown


def test_files_are_damaged_and_healed(photos: Photos) -> None:
    whole = [file.read_bytes() for file in photos.files]
    photos.damage(random.Random(0), 9)
    differ = {n for n, file in enumerate(photos.files) if not file.exists() or file.read_bytes() != whole[n]}
    assert differ == photos.bad and len(differ) == 9
    photos.heal()
    assert [file.read_bytes() for file in photos.files] == whole and not photos.bad
