"""The look of our figures: one style, one colour a method, an SVG with its table beside it."""

from pathlib import Path
from typing import Any

from stages.lib.core.artifacts import atomic_path

# Okabe and Ito's palette: told apart by colour-blind readers too
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
PUBLISHED = "#7F7F7F"  # published values are grey everywhere, so that nobody takes them for ours

STYLE: dict[str, Any] = {
    "figure.figsize": (6.4, 4.0),
    "figure.constrained_layout.use": True,
    "font.size": 10,
    "axes.grid": True,
    "grid.alpha": 0.3,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    "svg.hashsalt": "sevenfold",  # the same figure gives the same bytes
    "svg.fonttype": "path",  # readable where the font is not installed
}


def save_figure(figure: Any, path: str | Path) -> None:
    """Write a matplotlib figure as SVG, without the date, so that equal data give equal bytes."""
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="svg", metadata={"Date": None})


def reach(value: Any, low: Any, high: Any) -> tuple[Any, Any]:
    """Lengths of error bars from a value down to `low` and up to `high`, as matplotlib's `errorbar` takes them."""
    # the mean of equal numbers can lie a rounding beside them, and a negative length is refused
    return (value - low).clip(0), (high - value).clip(0)
