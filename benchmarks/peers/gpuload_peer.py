"""gpuload, of this checkout or of another (``--checkout``)."""

import sys
from collections.abc import Iterator
from typing import Any

import torch

from benchmarks.peers.protocol import MEAN, STD, Peer, Task, serve


def make(task: Task) -> Peer:
    sys.path.insert(0, task.checkout or sys.path[0])
    import gpuload
    from gpuload import transforms as T

    crop: Any = T.RandomResizedCrop(224) if task.transform == "crop224" else T.RandomCrop(32, padding=4)
    to_float = [T.ToDtype(torch.float32, scale=True), T.Normalize(MEAN, STD)]
    dataset = gpuload.ImageFolder(task.data, transform=T.Compose([crop, T.RandomHorizontalFlip(), *to_float]))
    chosen: dict[str, Any] = {}  # nothing that an older checkout does not know
    if task.decoder != "cpu":
        chosen["decoder"] = task.decoder
    if task.engine:
        chosen["engine"] = task.engine
    loader = gpuload.DataLoader(
        dataset,
        task.batch_size,
        shuffle=True,
        drop_last=True,
        num_workers=task.workers,
        seed=0,
        device=task.device,
        **chosen,
    )

    def epoch() -> Iterator[int]:
        for images, labels in loader:
            count = len(images)
            del images, labels  # freed here, on nobody's clock
            yield count
        if task.device != "cpu":
            torch.cuda.synchronize()

    return Peer(f"gpuload {gpuload.__version__}", epoch)


if __name__ == "__main__":
    serve(make)
