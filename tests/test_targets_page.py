"""The examples of docs/targets.md run, and give what they say."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.joint_transforms import make_folders

PAGE = Path(__file__).parent.parent / "docs" / "targets.md"


@pytest.mark.filterwarnings("ignore:This DataLoader will create")
def test_the_examples_give_what_they_say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_folders(tmp_path)
    monkeypatch.chdir(tmp_path)
    segmentation, detection = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    names: dict[str, Any] = {}
    exec(segmentation, names)
    images, masks = names["images"], names["masks"]
    assert (images.shape, images.dtype) == ((4, 3, 64, 64), torch.float32)
    assert (masks.shape, masks.dtype) == ((4, 64, 64), torch.int64)
    assert names["loader"].engine is not None
    exec(detection, names)
    images, targets = names["images"], names["targets"]
    assert len(images) == len(targets) == 4 and names["loader"].engine is not None
    assert all(min(image.shape[1:]) <= 64 for image in images)
    for target in targets:
        assert set(target) == {"boxes", "labels", "image_id", "area", "iscrowd"}
        assert len(target["boxes"]) == len(target["labels"]) == len(target["area"])
