"""A forecast without a look ahead: two days of an hourly series tell the next six hours.

Windows over a series overlap, so a random split would show the model in training what it is asked about later. Here
all training windows end before the first validation window begins, and the training part alone sets mean and scale.
The windows are rows of a `TensorDataset`, the parts are torch's `Subset`: order and rows of both stay on the device.

    pip install gpuload
    python examples/series.py        # prints the loader's path and a table
"""

import math

import torch
from torch import nn
from torch.utils.data import Subset

from gpuload import DataLoader, TensorDataset

DAY = 24
PAST, NEXT = 2 * DAY, 6  # hours
SPLIT = 90 * DAY
EPOCHS = 20

Part = Subset[tuple[torch.Tensor, ...]]


def temperatures() -> torch.Tensor:
    """120 days, hour by hour: days, a summer that comes, weather that lasts for hours."""
    hours = torch.arange(120 * DAY)
    shocks = torch.randn(len(hours), generator=torch.Generator().manual_seed(0))
    weather = torch.zeros(len(hours))
    for hour in range(1, len(hours)):
        weather[hour] = 0.9 * weather[hour - 1] + 0.5 * shocks[hour]
    return 12 + 0.05 * hours / DAY + 5 * torch.sin(2 * math.pi * hours / DAY) + weather


class Windows(TensorDataset):
    """Sample i is (``past`` values from hour i on, the ``after`` values that follow)."""

    def __init__(self, series: torch.Tensor, past: int, after: int) -> None:
        rows = series.unfold(0, past + after, 1)
        super().__init__(rows[:, :past], rows[:, past:])
        self.span = past + after

    def split(self, hour: int) -> tuple[Part, Part]:
        """The windows that end before an hour, and those that begin at it or later; none that has both sides."""
        return Subset(self, range(hour - self.span + 1)), Subset(self, range(hour, len(self)))


def parts(series: torch.Tensor) -> tuple[Part, Part, float]:
    """Windows to learn from, windows to forecast, and how many degrees their unit is."""
    mean, scale = series[:SPLIT].mean(), series[:SPLIT].std()
    return *Windows((series - mean) / scale, PAST, NEXT).split(SPLIT), scale.item()


def train(part: Part) -> nn.Module:
    """Linear regression from the past to what follows."""
    torch.manual_seed(0)
    loader = DataLoader(part, batch_size=64, shuffle=True, seed=0)
    loader.explain()
    model = nn.Linear(PAST, NEXT).to(loader.device)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.003)
    for _ in range(EPOCHS):
        for past, after in loader:
            optimizer.zero_grad()
            nn.functional.mse_loss(model(past), after).backward()
            optimizer.step()
    return model


@torch.no_grad()
def errors(model: nn.Module, part: Part) -> dict[str, float]:
    """Of each forecast, the root of its mean squared error over a part, in order."""
    batches = list(DataLoader(part, batch_size=256))
    past, after = (torch.cat(tensors) for tensors in zip(*batches, strict=True))
    forecasts = {
        "as it is now": past[:, -1:].expand_as(after),
        "as it was yesterday": past[:, -DAY : NEXT - DAY],
        "the model": model(past),
    }
    return {name: nn.functional.mse_loss(values, after).sqrt().item() for name, values in forecasts.items()}


def main() -> dict[str, float]:
    """Train on 90 days, forecast in the 30 days that follow, print a table; returns the errors in degrees."""
    known, asked, degrees = parts(temperatures())
    found = {name: error * degrees for name, error in errors(train(known), asked).items()}
    print(f"{len(known)} windows to learn from, {len(asked)} to forecast\n")
    print(f"{'forecast for six hours':<24}{'error':>10}")
    for name, error in found.items():
        print(f"{name:<24}{error:>8.2f} °")
    return found


if __name__ == "__main__":
    main()
