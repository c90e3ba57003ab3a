"""torch's DataLoader with torchvision's ImageFolder and transforms; on a GPU, batches are pinned and moved."""

from collections.abc import Iterator
from typing import Any

import torch
from torch.utils.data import DataLoader

from benchmarks.peers.protocol import MEAN, STD, Peer, Task, serve


def make(task: Task) -> Peer:
    import torchvision
    from torchvision.transforms import v2

    crop = v2.RandomResizedCrop(224) if task.transform == "crop224" else v2.RandomCrop(32, padding=4)
    to_float = [v2.ToImage(), v2.ToDtype(torch.float32, scale=True), v2.Normalize(MEAN, STD)]
    transform = v2.Compose([crop, v2.RandomHorizontalFlip(), *to_float])
    dataset = torchvision.datasets.ImageFolder(str(task.data), transform=transform)
    loader: Any = DataLoader(
        dataset,
        task.batch_size,
        shuffle=True,
        drop_last=True,
        num_workers=task.workers,
        persistent_workers=task.workers > 0,
        pin_memory=task.device != "cpu",
    )

    def epoch() -> Iterator[int]:
        for images, labels in loader:
            if task.device != "cpu":
                images, labels = (tensor.to(task.device, non_blocking=True) for tensor in (images, labels))
            count = len(images)
            del images, labels  # freed here, on nobody's clock
            yield count
        if task.device != "cpu":
            torch.cuda.synchronize()

    return Peer(f"torch {torch.__version__}, torchvision {torchvision.__version__}", epoch)


if __name__ == "__main__":
    serve(make)
