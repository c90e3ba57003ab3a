"""How fast a model trains where images cost nothing: steps on one batch that lies on the device."""

import math
import time
from typing import Any

import torch
from torch import nn

from gpuload.errors import ArgumentError
from gpuload.tools.bench.clock import Clock
from gpuload.tools.bench.entrants import torchvision
from gpuload.tools.bench.results import Model
from gpuload.tools.bench.words import plural

__all__ = ["DEFAULTS", "YOURS", "Training", "check_model", "measured"]

DEFAULTS = {"cpu": "mobilenet_v3_small", "cuda": "resnet50"}  # by the type of device
YOURS = "your model"


class Training:
    """A model of torchvision's that learns from one batch of noise; it has taken its first step, which is slow.

    Args:
        name: of the model.
        shape: of the batch: (B, 3, H, W).
        classes: of the model.
        device: where it is.

    Raises:
        ArgumentError: it cannot train on such batches.
    """

    def __init__(self, name: str, shape: tuple[int, int, int, int], classes: int, device: torch.device) -> None:
        self._device, layout = device, torch.channels_last
        self._images = torch.randn(shape, device=device).contiguous(memory_format=layout)
        self._labels = torch.randint(classes, shape[:1], device=device)
        made = torchvision().models.get_model(name, weights=None, num_classes=classes)
        self._network: nn.Module = made.to(device, memory_format=layout).train()
        self._optimizer = torch.optim.SGD(self._network.parameters(), lr=0.01, momentum=0.9)
        try:
            self._rate = self._played(1)
        except (
            RuntimeError,
            ValueError,
        ) as error:  # layers that want more pixels or images, a device that is too small
            size, count = f"{shape[2]} x {shape[3]}", plural(shape[0], "image")
            raise ArgumentError(f"{name} cannot train on batches of {count} of {size} pixels: {error}") from error

    @property
    def settings(self) -> str:
        """How it is trained."""
        how = "channels_last, SGD with momentum, on one batch that lies there; nothing is loaded meanwhile"
        return f"in bfloat16 autocast, {how}" if self._is_cuda else f"in float32, {how}: both need the CPU"

    @property
    def _is_cuda(self) -> bool:
        return self._device.type == "cuda"

    def play(self, seconds: float) -> float:
        """Images per second, in about so many seconds."""
        self._rate = self._played(max(1, round(seconds * self._rate / len(self._images))))
        return self._rate

    def _played(self, steps: int) -> float:
        start = time.perf_counter()
        for _ in range(steps):
            self._step()
        if self._is_cuda:
            torch.cuda.synchronize(self._device)
        return steps * len(self._images) / (time.perf_counter() - start)

    def _step(self) -> None:
        with torch.autocast(self._device.type, torch.bfloat16, enabled=self._is_cuda):
            scores: Any = self._network(self._images)
            scores = getattr(scores, "logits", scores)  # of models with heads beside it
            loss = nn.functional.cross_entropy(scores, self._labels)
        self._optimizer.zero_grad()
        loss.backward()
        self._optimizer.step()


def check_model(model: str) -> float | None:
    """Images/s, where the model is given by what it takes; None: it is a name.

    Raises:
        ArgumentError: torchvision has no model of this name.
    """
    try:
        taken = float(model)
    except ValueError:
        taken = None
    if taken is not None and (not math.isfinite(taken) or taken <= 0):
        raise ArgumentError(f"model must take more than 0 images/s, got {model}")
    models = torchvision().models
    if taken is None and model not in models.list_models(module=models):
        raise ArgumentError(
            f"model must be the name of a model in torchvision.models that classifies images, such as resnet50, "
            f"or a number, the images/s that your own takes; got {model!r}"
        )
    return taken


def measured(model: str, shape: tuple[int, int, int, int], classes: int, device: torch.device, clock: Clock) -> Model:
    """Train until the clock's time is over, or take the user's word.

    Raises:
        ArgumentError: as of `check_model` and `Training`.
    """
    taken = check_model(model)
    if taken is not None:
        return Model(YOURS, "as you say", [taken])
    clock.show(f"training {model}")
    training, end = Training(model, shape, classes, device), clock.seconds
    rounds = clock.rounds(end, f"training {model}")
    return Model(model, training.settings, [training.play(clock.turn(end, 1)) for _ in rounds])
