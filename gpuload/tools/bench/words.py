"""Figures in words, the same wherever they are shown."""

from gpuload.tools.rounds import Spread

__all__ = ["plural", "shown", "spread"]


def shown(figure: float) -> str:
    """Images/s."""
    return f"{figure:,.0f}" if figure >= 10 else f"{figure:.2g}"


def spread(figures: Spread) -> str:
    """Images/s: the median, and the range where there is one."""
    median, lowest, highest = map(shown, figures)
    return median if figures.lowest == figures.highest else f"{median} ({lowest}-{highest})"


def plural(count: int, one: str, several: str | None = None) -> str:
    """So many of them."""
    return f"{count:,} {one if count == 1 else several or one + 's'}"
