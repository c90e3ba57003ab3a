"""Frameworks that take over a loader."""

from typing import Any

import pytest
import torch
from torch.utils.data import TensorDataset

from gpuload import DataLoader


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("dataset", [TensorDataset(torch.arange(8)), list(range(8))], ids=["tensors", "anything"])
def test_accelerate_leaves_the_loader_as_it_is_in_one_process(dataset: Any) -> None:
    accelerate = pytest.importorskip("accelerate")
    loader = DataLoader(dataset, 2, shuffle=True, seed=3, device="cpu")
    assert accelerate.Accelerator(cpu=True).prepare(loader) is loader
    assert len(list(loader)) == 4
