"""Accuracy of the teachers of a data set over epochs, as one figure.

python -m stages.teachers.plot_training --curves A/curve.csv B/curve.csv --figure mnist.svg --drawn mnist.csv
"""

import argparse
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes

from stages.lib.core.artifacts import atomic_path
from stages.lib.core.errors import run
from stages.lib.core.plots import PALETTE, STYLE, save_figure


def plot_training(table: pd.DataFrame, ax: Axes) -> None:
    """Held-out accuracy over epochs, one line a model. table: model, epoch, held_out_accuracy (0..1)."""
    for colour, (model, rows) in zip(PALETTE * 3, table.groupby("model", sort=True), strict=False):
        ax.plot(rows.epoch, 100 * rows.held_out_accuracy, color=colour, marker="o", markersize=3, label=model)
    ax.set(xlabel="epoch", ylabel="accuracy on held-out training images (%)")
    ax.legend(fontsize=8)


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    curves = [pd.read_csv(file).assign(model=file.parent.name) for file in args.curves]
    table = pd.concat(curves, ignore_index=True)[["model", "epoch", "train_loss", "held_out_accuracy"]]
    with plt.rc_context(STYLE):
        figure, ax = plt.subplots()
        plot_training(table, ax)
        save_figure(figure, args.figure)
    with atomic_path(args.drawn) as temporary:
        table.to_csv(temporary, index=False)


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="plot_training", description=__doc__.splitlines()[0])
    parser.add_argument("--curves", type=Path, nargs="+", required=True, help="curve.csv of model folders")
    parser.add_argument("--figure", type=Path, required=True, help="SVG")
    parser.add_argument("--drawn", type=Path, required=True, help="CSV of what is drawn")
    return parser.parse_args(argv)


if __name__ == "__main__":
    run(main)
