"""What the demo found, for people: lines of text, and a plot."""

import statistics
from pathlib import Path
from typing import Any

from gpuload.tools.common import need
from gpuload.tools.demo.comparison import ROUNDS

__all__ = ["HEADER", "plot", "report", "row"]

HEADER = "epoch   accuracy: training   validation   images/s   waited for data"
GRAY, GREEN = "#9a9a9a", "#5b9a00"


def row(epoch: dict[str, Any]) -> str:
    """One epoch, under `HEADER`."""
    return (
        f"{epoch['epoch']:>5}{epoch['train_accuracy']:>21.1%}{epoch['val_accuracy']:>13.1%}"
        f"{epoch['images_per_second']:>11,.0f}{epoch['wait_share']:>18.1%}"
    )


def plot(results: dict[str, Any], path: Path) -> None:
    """Loss and accuracy by epoch, and the loaders' speeds, as a PNG file."""
    figure = need("matplotlib.figure").Figure(figsize=(12, 4), dpi=120, layout="constrained")
    loss, accuracy, speed = figure.subplots(1, 3)
    _plot_curves(loss, results["epochs"], "loss", 1)
    loss.set(ylabel="Loss (cross-entropy)", ylim=(0, None))
    _plot_curves(accuracy, results["epochs"], "accuracy", 100)
    accuracy.set(ylabel="Accuracy (%)", ylim=(0, 102))
    _plot_speeds(speed, results)
    for axes in (loss, accuracy, speed):
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="y", color="#e6e6e6")
        axes.set_axisbelow(True)
    figure.savefig(path)


def _plot_curves(axes: Any, epochs: list[dict[str, Any]], name: str, scale: float) -> None:
    numbers = [epoch["epoch"] for epoch in epochs]
    for part, label, color in (("train", "training", GRAY), ("val", "validation", GREEN)):
        values = [scale * epoch[f"{part}_{name}"] for epoch in epochs]
        axes.plot(numbers, values, color=color, marker="o", markersize=4, linewidth=2, label=label)
    axes.set(xlabel="Epoch")
    axes.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
    axes.legend(frameon=False, loc="upper right" if name == "loss" else "lower right")


def _plot_speeds(axes: Any, results: dict[str, Any]) -> None:
    names = {"gpuload": "gpuload"}
    if results["speed_ratio"] is not None:
        times = f"gpuload\n{results['speed_ratio']:.2f} times as fast"
        names = {"torch": "torch's DataLoader\nwith torchvision", "gpuload": times}
    for place, name in enumerate(names):
        color = GREEN if name == "gpuload" else GRAY
        rounds = results["rates"][name]
        bar = axes.bar(place, statistics.median(rounds), width=0.6, color=color)
        axes.bar_label(bar, fmt="{:,.0f}", label_type="center", color="white", fontsize=12, fontweight="bold")
        dots = axes.plot([place + 0.25] * len(rounds), rounds, "o", color="#333333", markersize=3)
    axes.set(ylabel="Loading alone (images/s)", xlim=(-0.6, len(names) - 0.4))
    axes.legend(dots, ["one round"], frameon=False, loc="upper left")
    axes.set_xticks(range(len(names)), tuple(names.values()))
    axes.yaxis.set_major_formatter("{x:,.0f}")


def report(results: dict[str, Any]) -> str:
    """What `run` found, in a few lines for people."""
    counts, checked = results["counts"], results["checked"]
    theirs = "torchvision's" if results["recipe"] is None else "torchvision's and Pillow's"
    verdict = f"equal {theirs} bit for bit" if results["pixels_equal"] else f"DIFFER from {theirs}"
    lines = {
        "photos": f"{counts['train']:,} to train on, {counts['val']:,} to validate; {_classes(results['classes'])}",
        "learned": f"{results['val_accuracy']:.1%} of the validation photos recognized after "
        f"{_plural(len(results['epochs']), 'epoch')}",
        "waited": f"{results['wait_share']:.1%} of the training time, for images",
        "pixels": f"{checked['validation']:,} validation and {checked['augmented']:,} augmented images {verdict}",
        **_speeds(results),
        "written": ", ".join(results["files"]),
    }
    return "\n".join(f"{name:<10}{text}" for name, text in lines.items())


def _speeds(results: dict[str, Any]) -> dict[str, str]:
    """Of loading alone; beside torch's loader, where that was timed."""
    speed, workers = f"{results['images_per_second']:,.0f} images/s loading alone", results["workers"]
    how = f"medians of {ROUNDS} rounds, interleaved, {_plural(workers, 'worker')} each, {results['engine']} engine"
    if results["speed_ratio"] is None:
        return {
            "speed": f"{speed}: median of {ROUNDS} rounds, {_plural(workers, 'worker')}, {results['engine']} engine"
        }
    torchs = statistics.median(results["rates"]["torch"])
    return {
        "speed": f"{speed}; torch's DataLoader with torchvision {torchs:,.0f}",
        "ratio": f"{results['speed_ratio']:.2f} times as fast: {how}",
    }


def _plural(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _classes(names: list[str]) -> str:
    shown = ", ".join(names[:4]) + (", ..." if len(names) > 4 else "")
    return f"{len(names)} classes: {shown}"
