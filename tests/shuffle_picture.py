"""docs/shuffle.png: what orders look like, how far their statistics are from theory, and how epochs meet."""

import hashlib
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, PngImagePlugin

from tests.shuffle_statistics import STATISTICS, Orders, fixed_points, part
from tests.shuffles import from_epoch_to_epoch

__all__ = ["Drawing"]

COLORS = ("#5b9a00", "#7a7a7a", "#c2402a")
MARKS = ("o", "s", "D")
FAR = 5  # standard deviations: what is further off is drawn at the edge


@dataclass(frozen=True)
class Drawing:
    """Shuffles by name, the bad one last: orders of shape (seeds, epochs, n)."""

    shuffles: dict[str, Orders]

    @property
    def digest(self) -> str:
        """Of the orders: says whether a picture, which has it as its text ``Orders``, is of these."""
        return hashlib.sha256(b"".join(np.ascontiguousarray(o).tobytes() for o in self.shuffles.values())).hexdigest()

    def write(self, path: Path) -> None:
        from matplotlib.figure import Figure

        figure = Figure(figsize=(11, 7.6), dpi=100, layout="constrained", facecolor="white")
        above, below = figure.subfigures(2, 1, height_ratios=(1.15, 1))
        axes = above.subplots(2, 3, height_ratios=(5, 2))
        for (name, orders), column, color in zip(self.shuffles.items(), axes.T, COLORS, strict=True):
            _draw_order(column, orders[0, 0])
            column[0].set_title(name, fontsize=13, fontweight="bold", color=color)
        axes[0, 0].set_ylabel("index")
        deviations, epochs = below.subplots(1, 2, width_ratios=(1.5, 1))
        self._draw_deviations(deviations)
        self._draw_epochs(epochs)
        figure.savefig(path)
        _pack(path, self.digest)

    def _draw_deviations(self, axes: Any) -> None:
        names = list(STATISTICS)
        axes.axvspan(-2, 2, color="#ececec", zorder=0)
        axes.axvline(0, color="#b0b0b0", linewidth=1, zorder=1)
        rows = np.arange(len(names))
        for k, (shuffle, orders) in enumerate(self.shuffles.items()):
            off = np.array([STATISTICS[name](orders.reshape(-1, orders.shape[-1])).off for name in names])
            far, shift = np.abs(off) > FAR, 0.2 * (k - 1)
            style = {"color": COLORS[k], "markersize": 5, "linestyle": "none", "clip_on": False}
            axes.plot(off[~far], (rows + shift)[~far], MARKS[k], label=shuffle, **style)
            for row in rows[far]:
                side = math.copysign(1, off[row])
                axes.plot([side * FAR], [row + shift], ">" if side > 0 else "<", **style)
                text = {"ha": "right" if side > 0 else "left", "va": "center", "fontsize": 7.5, "color": COLORS[k]}
                axes.text(side * (FAR - 0.15), row + shift, f"{off[row]:+,.0f}", **text)
        axes.set(xlim=(-FAR, FAR), ylim=(len(names) - 0.5, -0.5), xlabel="standard deviations from theory")
        axes.set_yticks(rows, names, fontsize=8.5)
        axes.set_title("1,000 orders of 1,000 samples; 95 % lie in the gray band", fontsize=10)
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.tick_params(axis="y", length=0, pad=12)

    def _draw_epochs(self, axes: Any) -> None:
        counts, chances = np.arange(7), [math.exp(-1) / math.factorial(k) for k in range(7)]
        axes.bar(counts, chances, width=0.9, color="#ececec", label="theory: Poisson(1)")
        for k, (shuffle, orders) in enumerate(list(self.shuffles.items())[:2]):
            points = fixed_points(from_epoch_to_epoch(orders))
            found = np.bincount(points, minlength=7)[:7] / len(points)
            axes.plot(counts + 0.3 * k - 0.15, found, MARKS[k], color=COLORS[k], markersize=6, label=shuffle)
        axes.set(xlabel="samples that stay at their position", ylabel="share of epochs")
        axes.set_title("From one epoch to the next", fontsize=10)
        axes.legend(frameon=False, fontsize=9)
        axes.spines[["top", "right"]].set_visible(False)


def _draw_order(column: Any, order: Orders) -> None:
    """Each sample at its position and index; below, a column for each batch."""
    points, batches = column
    n, size = len(order), part(len(order))
    points.scatter(np.arange(n), order, s=5, c=order // size, cmap="turbo", linewidths=0)
    points.set(xlim=(0, n), ylim=(0, n), xticks=(0, n), yticks=(0, n))
    points.set_xlabel("position in the epoch", labelpad=-8)
    classes = (order // size).reshape(-1, size).T
    batches.imshow(classes, cmap="turbo", aspect="auto", interpolation="nearest", extent=(0, n, 0, size))
    batches.set(xticks=[], yticks=[], xlabel=f"{n // size} batches of {size}, colored by class")


def _pack(path: Path, digest: str) -> None:
    text = PngImagePlugin.PngInfo()
    text.add_text("Orders", digest)
    image = Image.open(path).convert("RGB").quantize(256, Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)
    image.save(path, optimize=True, pnginfo=text)
