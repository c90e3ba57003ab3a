"""Whole epochs of a loader, against what its recipes say: shared by the tests of operations."""

import torch

from gpuload import DataLoader, ImageFolder
from tests.cases import cases


def check_recipes(dataset: ImageFolder, device: str) -> None:
    """Each image of some epochs is what its recipe makes of it with Pillow."""
    loader = DataLoader(dataset, batch_size=5, shuffle=True, seed=3, collate_fn=list, device=device)
    for epoch in range(max(1, cases(20) // 40)):
        loader.set_epoch(epoch)
        recipes = loader.recipes(epoch)
        images = [image.cpu() for batch in loader for image, _ in batch]
        assert len(images) == len(dataset)
        for image, (index, recipe) in zip(images, recipes, strict=True):
            assert torch.equal(image, dataset.apply(index, recipe))
