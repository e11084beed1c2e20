"""Figure: which split of exponent and mantissa bits gives the least error, on distributions and on trained weights.

python -m stages.quantization.plot_sqnr --table sqnr.csv --figure sqnr.svg --drawn sqnr_drawn.csv
"""

import argparse

import matplotlib as mpl

mpl.use("Agg")  # no display on the machines that run this

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes

from stages.lib.core.artifacts import atomic_path
from stages.lib.core.errors import run
from stages.lib.core.plots import PALETTE, STYLE, save_figure
from stages.quantization.measure_sqnr import best_splits, read_sqnr
from stages.quantization.sqnr import distributions


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    table = read_sqnr(args.table)
    splits, tensors = split_table(table), tensor_table(table)
    with mpl.rc_context(STYLE):
        figure, axes = plt.subplots(1, 2, figsize=(12.0, 4.6), layout="constrained")
        plot_splits(splits, axes[0])
        plot_tensors(tensors, axes[1])
        save_figure(figure, args.figure)
        plt.close(figure)
    with atomic_path(args.drawn) as temporary:
        pd.concat([splits, tensors], ignore_index=True).to_csv(temporary, index=False)


def split_table(table: pd.DataFrame) -> pd.DataFrame:
    """Of each distribution and width: the best format and by how many dB it beats the integer."""
    rows = table[table["kind"] == "distribution"]
    integers = rows[rows["exponent_bits"] == 1].set_index(["source", "bits"])["sqnr_db"]
    best = best_splits(rows).copy()
    best["gain_db"] = (
        best["sqnr_db"] - integers.loc[list(zip(best["source"], best["bits"], strict=True))].values
    )
    return best[["kind", "source", "kurtosis", "bits", "format", "exponent_bits", "sqnr_db", "gain_db"]]


def tensor_table(table: pd.DataFrame) -> pd.DataFrame:
    """Of each weight tensor: kurtosis and exponent bits of the best split with one scale, mean over the widths."""
    rows = table[(table["kind"] == "weights") & (table["scaling"] == "least_error")]
    rows = rows[rows["granularity"] == "per_tensor"]
    means = best_splits(rows).groupby(["kind", "source", "tensor"], as_index=False)
    return means.agg(kurtosis=("kurtosis", "first"), exponent_bits=("exponent_bits", "mean"))


def plot_splits(splits: pd.DataFrame, ax: Axes) -> None:
    """Gain over the integer of equal width, with the best format's name at each point."""
    named: set[tuple[int, str]] = set()
    for colour, source in zip(PALETTE, distributions(), strict=False):
        rows = splits[splits["source"] == source].sort_values("bits")
        ax.plot(rows["bits"], rows["gain_db"], marker="o", ms=4, color=colour, label=source)
        for bits, name, gain in zip(rows["bits"], rows["format"], rows["gain_db"], strict=True):
            if gain > 0 and (bits, name) not in named:
                named.add((bits, name))
                ax.annotate(
                    name, (bits, gain), xytext=(0, 5), textcoords="offset points", ha="center", fontsize=7
                )
    ax.set_xlabel("bits")
    ax.set_ylabel("SQNR of the best split over the integer's (dB)")
    ax.set_title("Distributions, scale of least error", fontsize=10)
    ax.legend(fontsize=8)


def plot_tensors(tensors: pd.DataFrame, ax: Axes) -> None:
    """Exponent bits over kurtosis, one point a weight tensor."""
    for colour, (network, rows) in zip(PALETTE, tensors.groupby("source"), strict=False):
        ax.plot(rows["kurtosis"], rows["exponent_bits"], "o", ms=4, alpha=0.7, color=colour, label=network)
    ax.axvline(3, color="k", lw=0.8, ls=":")
    ax.annotate("Gaussian", (3.1, ax.get_ylim()[1]), fontsize=8, ha="left", va="top")
    ax.set_xscale("log")
    ax.set_xlabel("kurtosis of the weight tensor")
    ax.set_ylabel("exponent bits of the best split,\nmean over 3 to 8 bits")
    ax.set_title("Weights of trained networks, one scale a tensor", fontsize=10)
    if not tensors.empty:
        ax.legend(fontsize=8)


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--table", required=True, help="CSV of tabulate_sqnr")
    parser.add_argument("--figure", required=True, help="SVG to write")
    parser.add_argument("--drawn", required=True, help="CSV to write: exactly what the figure shows")
    return parser.parse_args(argv)


if __name__ == "__main__":
    run(main)
