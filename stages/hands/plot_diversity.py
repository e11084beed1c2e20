"""Figure: fingertip error on a place that was never trained in, over the number of training places.

python -m stages.hands.plot_diversity --table diversity.csv --figure diversity.svg --drawn drawn.csv
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
from stages.lib.core.tables import read_tables

SHOWN = (("held_out_mean_px", "a place never trained in"), ("train_px", "frames trained on"))


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    table = read_tables([args.table], "places", "seed", "n", "held_out_mean_px", "train_px")
    columns = [column for column, _ in SHOWN]
    drawn = table.groupby("places")[columns].agg(["mean", "std"])
    drawn.columns = [f"{column}_{statistic}" for column, statistic in drawn.columns]
    drawn = drawn.reset_index().assign(seeds=table["seed"].nunique(), frames=table["n"].iloc[0])
    with mpl.rc_context(STYLE):
        figure, ax = plt.subplots()
        plot_errors(drawn, ax)
        save_figure(figure, args.figure)
        plt.close(figure)
    with atomic_path(args.drawn) as temporary:
        drawn.to_csv(temporary, index=False)


def plot_errors(drawn: pd.DataFrame, ax: Axes) -> None:
    """Mean error (bars: std over seeds) against the number of places."""
    for colour, (column, words) in zip(PALETTE, SHOWN, strict=False):
        ax.errorbar(
            drawn["places"], drawn[f"{column}_mean"], drawn[f"{column}_std"], marker="o", capsize=3, color=colour,
            label=words,
        )  # fmt: skip
    ax.set_xscale("log", base=2)
    ax.set_xticks(drawn["places"], [str(n) for n in drawn["places"]])
    ax.set_ylim(0, None)
    ax.set_xlabel("training places, equal number of frames")
    ax.set_ylabel(
        f"mean fingertip error [px of 320 x 240]\nand its deviation over {drawn['seeds'].iloc[0]} seeds"
    )
    ax.legend()


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--table", required=True, help="CSV of study_diversity")
    parser.add_argument("--figure", required=True, help="SVG to write")
    parser.add_argument("--drawn", required=True, help="CSV to write: exactly what the figure shows")
    return parser.parse_args(argv)


if __name__ == "__main__":
    run(main)
