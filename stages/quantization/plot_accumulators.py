"""Figure: the accumulator that each pair of formats needs on a network, and what a narrower one does to its accuracy.

python -m stages.quantization.plot_accumulators --tables widths.csv --figure accumulators.svg --drawn accumulators.csv
"""

import argparse

import matplotlib as mpl

mpl.use("Agg")  # no display on the machines that run this

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from stages.lib.core.artifacts import atomic_path
from stages.lib.core.errors import InputError, run
from stages.lib.core.plots import PALETTE, STYLE, save_figure

# column, words, marker
WIDTHS = (
    ("exact_bits", "enough for any operands", "_"),
    ("paper_bits", "published formula", "x"),
    ("needed_bits", "needed on these images", "o"),
)
_COLUMNS = ("model", "images", "pair", "overflow", "layer", "accumulator_bits", "top1", "fake_top1")


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    drawn = network_table(pd.concat([read_widths(path) for path in args.tables], ignore_index=True))
    models = list(dict.fromkeys(drawn["model"]))
    with mpl.rc_context(STYLE):
        figure, axes = plt.subplots(
            len(models), 2, figsize=(12.0, 4.4 * len(models)), squeeze=False, layout="constrained"
        )
        for (left, right), model in zip(axes, models, strict=True):
            rows = drawn[drawn["model"] == model]
            plot_widths(rows, left)
            plot_narrower(rows, right)
        save_figure(figure, args.figure)
        plt.close(figure)
    with atomic_path(args.drawn) as temporary:
        drawn.to_csv(temporary, index=False)


def read_widths(path: str) -> pd.DataFrame:
    table = pd.read_csv(path)
    if missing := [c for c in (*_COLUMNS, *(c for c, _, _ in WIDTHS)) if c not in table.columns]:
        raise InputError(f"{path} lacks the column {missing[0]}; make it with verify_integer_inference")
    return table


def network_table(table: pd.DataFrame) -> pd.DataFrame:
    """A row for each network, pair and accumulator: the largest widths over its layers, and top-1."""
    keys = ["model", "pair"]
    # sums that overflowed change what the next layers see, so that widths are those of the run without overflow
    wide = table[table["layer"].notna() & table["accumulator_bits"].isna()]
    widths = wide.groupby(keys, sort=False)[[c for c, _, _ in WIDTHS]].max()
    columns = [*_COLUMNS, "overflows", "dot_products", "first_overflow_bits"]
    networks = table[table["layer"].isna()][columns].drop(columns="layer")
    drawn = networks.merge(widths, left_on=keys, right_index=True)
    drawn["bits_taken"] = (drawn["needed_bits"] - drawn["accumulator_bits"]).fillna(0).astype(int)
    return drawn


def plot_widths(rows: pd.DataFrame, ax: Axes) -> None:
    """Accumulator bits of each pair."""
    pairs = rows.drop_duplicates("pair").reset_index(drop=True)
    for colour, (column, words, marker) in zip(PALETTE, WIDTHS, strict=False):
        ax.plot(pairs.index, pairs[column], marker, ms=9, mew=2, color=colour, label=words, ls="")
    for at, needed in pairs["needed_bits"].items():
        ax.annotate(
            f"{needed:.0f}",
            (at, needed),
            xytext=(0, -14),
            textcoords="offset points",
            ha="center",
            fontsize=8,
        )
    ax.set_xticks(pairs.index, pairs["pair"])
    ax.set_ylim(0, None)
    ax.set_xlabel("formats of weights x activations")
    ax.set_ylabel("bits of the accumulator")
    ax.set_title(f"{rows['model'].iloc[0]}, longest dot product of any layer", fontsize=10)
    ax.legend(fontsize=8)


def plot_narrower(rows: pd.DataFrame, ax: Axes) -> None:
    """Top-1 of each pair with the accumulator that it needs and with narrower ones."""
    pairs = list(dict.fromkeys(rows["pair"]))
    tried = rows[["bits_taken", "overflow"]].drop_duplicates().sort_values(["bits_taken", "overflow"])
    groups = [
        (int(taken), overflow) for taken, overflow in zip(tried["bits_taken"], tried["overflow"], strict=True)
    ]
    size = 0.8 / len(groups)
    for i, (taken, overflow) in enumerate(groups):
        chosen = rows[(rows["bits_taken"] == taken) & (rows["overflow"] == overflow)].set_index("pair")
        at = np.arange(len(pairs)) + (i - (len(groups) - 1) / 2) * size
        label = f"{taken} bits short, {overflow}s" if taken else "wide enough"
        ax.bar(at, 100 * chosen["top1"].reindex(pairs), size, color=PALETTE[i % len(PALETTE)], label=label)
    ax.set_xticks(range(len(pairs)), pairs)
    ax.set_xlabel("formats of weights x activations")
    ax.set_ylabel(f"top-1 (%), {rows['images'].iloc[0]} images")
    ax.set_ylim(0, 118)  # room for the legend above the bars
    ax.set_title("Inference on integer codes", fontsize=10)
    ax.legend(fontsize=8, loc="upper right", ncols=len(groups))


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tables", nargs="+", required=True, help="CSV files of verify_integer_inference")
    parser.add_argument("--figure", required=True, help="SVG to write")
    parser.add_argument("--drawn", required=True, help="CSV to write: exactly what the figure shows")
    return parser.parse_args(argv)


if __name__ == "__main__":
    run(main)
