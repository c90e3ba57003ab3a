"""Why mini-batches? The same model learns from the same 100 points twice, with 1 step per epoch and with 25.

Full-batch gradient descent looks at every point before it takes a step. With mini-batches of 4 it takes a step
after every 4 points: each step is rougher, but there are 25 of them for the same work, and the loss falls sooner.

    pip install "gpuload[demo]"
    python examples/tensors.py        # prints a table and draws tensors.png
"""

from pathlib import Path

import torch
from matplotlib.figure import Figure
from sklearn.datasets import make_classification
from torch import nn

from gpuload import DataLoader, TensorDataset

EPOCHS = 20
LEARNING_RATE = 0.1


def points() -> TensorDataset:
    """100 points in the plane, in two classes; on the GPU if there is one."""
    features, labels = make_classification(
        n_samples=100,
        n_features=2,
        n_redundant=0,
        n_informative=2,
        n_clusters_per_class=1,
        n_classes=2,
        random_state=42,
    )
    return TensorDataset(torch.tensor(features, dtype=torch.float32), torch.tensor(labels))


def train(dataset: TensorDataset, batch_size: int) -> list[float]:
    """Logistic regression: the loss over all points before training and after each epoch."""
    torch.manual_seed(0)  # the same first weights, whatever the batch size
    model = nn.Linear(2, 2).to(dataset.device)
    optimizer = torch.optim.SGD(model.parameters(), lr=LEARNING_RATE)
    loss_of = nn.CrossEntropyLoss()
    all_features, all_labels = dataset.tensors
    loader = DataLoader(dataset, batch_size=batch_size, shuffle=True, seed=0)

    losses = [loss_of(model(all_features), all_labels).item()]
    for _ in range(EPOCHS):
        for features, labels in loader:
            optimizer.zero_grad()
            loss_of(model(features), labels).backward()
            optimizer.step()
        losses.append(loss_of(model(all_features), all_labels).item())
    return losses


def draw(curves: dict[str, list[float]], path: Path) -> None:
    """The loss curves, side by side on one scale."""
    figure = Figure(figsize=(9, 3.6), dpi=120, layout="constrained")
    panels = figure.subplots(1, len(curves), sharey=True)
    for axes, (title, losses) in zip(panels, curves.items(), strict=True):
        axes.plot(losses, color="#5b9a00", linewidth=2, marker="o", markersize=4)
        axes.set(title=title, xlabel="Epoch", ylim=(0, None), xticks=range(0, EPOCHS + 1, 5))
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="y", color="#e6e6e6")
    panels[0].set_ylabel("Loss (cross-entropy)")
    figure.savefig(path)


def main(path: Path = Path("tensors.png")) -> dict[str, list[float]]:
    """Train both ways, print a table, draw ``path``; returns the loss curves."""
    dataset = points()
    curves = {
        "full batch: 1 step per epoch": train(dataset, batch_size=len(dataset)),
        "batches of 4: 25 steps per epoch": train(dataset, batch_size=4),
    }
    shown = (0, 1, 5, 10, EPOCHS)
    print(f"{'loss after epoch':<32}" + "".join(f"{epoch:>8}" for epoch in shown))
    for title, losses in curves.items():
        print(f"{title:<32}" + "".join(f"{losses[epoch]:>8.3f}" for epoch in shown))
    draw(curves, path)
    print(f"curves: {path}")
    return curves


if __name__ == "__main__":
    main()
