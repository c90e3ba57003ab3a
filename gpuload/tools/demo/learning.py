"""The small network, and how it learns."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from gpuload.loader import DataLoader
from gpuload.tools.common import bar, cores
from gpuload.tools.demo.photos import workers

__all__ = ["Pass", "network", "spare_cores", "train_epochs"]


@contextmanager
def spare_cores() -> Iterator[None]:
    """Leave the workers' cores to the workers: torch's threads wait for each other, so one held up delays all."""
    threads = torch.get_num_threads()
    torch.set_num_threads(max(cores() - workers(), 1))
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def network(classes: int) -> nn.Module:
    """Three convolutions, each halving the image, then the average of what they found."""
    layers: list[nn.Module] = []
    for channels, wider in ((3, 16), (16, 32), (32, 64)):
        layers += [nn.Conv2d(channels, wider, 3, stride=2, padding=1), nn.GroupNorm(4, wider), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, classes))


class Pass(NamedTuple):
    """One pass over a loader: images, their summed loss, how many were right; seconds, and those spent waiting."""

    images: int
    loss: float
    correct: float
    seconds: float
    waited: float


def one_pass(model: nn.Module, loader: DataLoader[Any], after_batch: Callable[[Tensor], None]) -> Pass:
    """Run the model over an epoch, over each view of an image; ``after_batch`` gets each batch's loss."""
    totals = torch.zeros(2, device=loader.device)  # kept there, so that no batch waits for the device
    count, waited = 0, 0.0
    start = asked = time.perf_counter()
    batches = iter(loader)
    while (batch := next(batches, None)) is not None:
        waited += time.perf_counter() - asked
        images, labels = batch
        views = [images] if isinstance(images, Tensor) else images
        results = [_judged(model(view), labels) for view in views]
        loss = torch.stack([loss for loss, _ in results]).mean()
        totals += torch.stack((loss.detach(), torch.stack([right for _, right in results]).mean())) * len(labels)
        count += len(labels)
        after_batch(loss)
        asked = time.perf_counter()
    summed_loss, correct = totals.tolist()
    return Pass(count, summed_loss, correct, time.perf_counter() - start, waited)


def _judged(scores: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """The loss, and the share that is right: of mixed labels, the likelier one counts."""
    wanted = labels if labels.ndim == 1 else labels.argmax(1)
    return nn.functional.cross_entropy(scores, labels), (scores.argmax(1) == wanted).float().mean()


def train_epochs(
    model: nn.Module, train: DataLoader[Any], val: DataLoader[Any], epochs: int, progress: bool
) -> Iterator[tuple[Pass, Pass]]:
    """Yields each epoch's passes over the training and the validation photos."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    with bar(progress, "Training", total=epochs * (len(train) + len(val)), unit=" batches") as shown:

        def learn(loss: Tensor) -> None:
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            shown.update()

        def move_on(loss: Tensor) -> None:
            shown.update()

        for _ in range(epochs):
            learned = one_pass(model.train(), train, learn)
            with torch.inference_mode():
                validated = one_pass(model.eval(), val, move_on)
            yield learned, validated
