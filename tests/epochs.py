"""Samples of a dataset against torchvision, and epochs against recipes: shared by the tests of operations."""

from pathlib import Path
from typing import Any

import torch
from torchvision.transforms.v2 import functional as F

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


def check_samples(photos: Path, theirs: Any, to_tensor: Any) -> None:
    """``dataset[i]`` is what a transform of torchvision's makes of the image, and draws no more and no less.

    Args:
        photos: class folders.
        theirs: leaves a PIL image.
        to_tensor: the same transform, with what makes a tensor of that.
    """
    ours = ImageFolder(photos, transform=to_tensor)
    for seed in range(cases(30)):
        torch.manual_seed(seed)
        (image, _), after = ours[seed % len(ours)], torch.rand(1)
        torch.manual_seed(seed)
        assert torch.equal(image, F.pil_to_tensor(theirs(ours.image(seed % len(ours)))))
        assert torch.equal(after, torch.rand(1))
