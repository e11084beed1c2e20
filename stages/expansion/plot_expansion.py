"""Figures: what students learn from pools and condensed sets, how far both are from real images, condensed sets alone.

python -m stages.expansion.plot_expansion --curves small/*.csv --features features.csv --nearest nearest.csv
    --judged judged.csv --arms arms.svg --drawn-arms arms.csv --distances distances.svg --drawn-distances distances.csv
    --condensed condensed.svg --drawn-condensed condensed.csv

First, accuracy after the last round, an arm a row, and accuracy over the images in the pool. Second, distances of pools
and condensed sets to real images. Third, accuracy of ConvNets that learn from condensed sets alone.
"""

import argparse
from collections.abc import Sequence

import matplotlib as mpl

mpl.use("Agg")  # no display on the machines that run this

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from stages.expansion.arms import ARMS
from stages.lib.core.artifacts import atomic_path
from stages.lib.core.errors import run
from stages.lib.core.plots import PALETTE, STYLE, save_figure
from stages.lib.core.tables import read_tables

# ConvNet on Fashion-MNIST, 1, 10 and 50 images a class (README of the VICO-UoE repository)
PUBLISHED = {"DC": (70.5, 82.3, 83.6), "DSA": (70.6, 84.6, 88.7)}
PUBLISHED_SET, PUBLISHED_IMAGES = "fashion-mnist", (1, 10, 50)
NAMES = {"dm": "distributions (DM)", "dc": "gradients (DC)", "rded": "crops (RDED)"}
COLOURS = dict(zip(ARMS, PALETTE * 2, strict=False))


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    curves = read_tables(args.curves, "study", "arm", "seed", "round", "accuracy", "pool_images")
    features = read_tables(args.features, "study", "arm", "seed", "frechet")
    nearest = read_tables(args.nearest, "study", "kind", "name", "q5", "q50", "q95")
    judged = (
        read_tables(args.judged, "method", "images_per_class", "share", "accuracy") if args.judged else EMPTY
    )
    studies = list(dict.fromkeys(curves["study"]))
    with mpl.rc_context(STYLE):
        figure, axes = plt.subplots(
            2, len(studies), figsize=(1 + 4 * len(studies), 6.2), squeeze=False, layout="constrained"
        )
        for column, study in zip(axes.T, studies, strict=True):
            own = curves[curves["study"] == study]
            plot_arms(own, column[0])
            plot_budget(own, column[1])
        save_figure(figure, args.arms)
        plt.close(figure)
        figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
        plot_features(features, left)
        plot_nearest(nearest, right)
        save_figure(figure, args.distances)
        plt.close(figure)
        figure, (left, right) = plt.subplots(1, 2, figsize=(8.4, 3.2), layout="constrained")
        plot_sizes(judged, left)
        plot_progress(judged, right)
        save_figure(figure, args.condensed)
        plt.close(figure)
    distances = pd.concat([features, nearest], ignore_index=True)
    for path, table in (
        (args.drawn_arms, curves),
        (args.drawn_distances, distances),
        (args.drawn_condensed, judged),
    ):
        with atomic_path(path) as temporary:
            table.to_csv(temporary, index=False)


EMPTY = pd.DataFrame(columns=["dataset", "method", "images_per_class", "seed", "share", "accuracy"])


def plot_arms(curves: pd.DataFrame, ax: Axes) -> None:
    """Accuracy after the last round: dots are seeds, bars means."""
    last = curves[curves["round"] == curves["round"].max()]
    dotted_rows(ax, {arm: 100 * own["accuracy"] for arm, own in last.groupby("arm", sort=False)})
    ax.set_title(f"{curves['study'].iloc[0]}, {curves['seed'].nunique()} seed(s)", fontsize=9)
    ax.set_xlabel("test accuracy at the end, %")


def plot_budget(curves: pd.DataFrame, ax: Axes) -> None:
    """Accuracy after each round; an arm that inverts nothing takes as many student steps."""
    images = curves.groupby("round")["pool_images"].max()
    for arm, own in curves.groupby("arm", sort=False):
        by_round = percent(own).groupby("round")["accuracy"]
        mean = by_round.mean()
        at = images.loc[mean.index]
        line = ax.plot(at, mean, "-", color=COLOURS[arm], linewidth=1.3, label=arm)[0]
        if len(own["seed"].unique()) > 1:
            ax.fill_between(
                at, by_round.min(), by_round.max(), color=line.get_color(), alpha=0.12, linewidth=0
            )
    ax.set_xlabel("images in the pool")
    ax.set_ylabel("test accuracy, %")
    ax.legend(fontsize=6)


def plot_features(features: pd.DataFrame, ax: Axes) -> None:
    studies = list(dict.fromkeys(features["study"]))
    rows = {}
    for (study, arm), own in features.groupby(["study", "arm"], sort=False):
        rows[arm if len(studies) == 1 else f"{study}: {arm}"] = own["frechet"]
    dotted_rows(ax, rows)
    ax.set_xlabel("Frechet distance of features to real test images,\nmean over classes")


def plot_nearest(nearest: pd.DataFrame, ax: Axes) -> None:
    """From the 5th to the 95th percentile, the median marked, over seeds."""
    groups = nearest.groupby(["kind", "name"], sort=False)[["q5", "q50", "q95"]].mean()
    groups = groups.sort_index(
        key=lambda names: names.map({"test": 0, "condensed": 1, "pool": 2}).fillna(3), level=0
    )
    for place, ((kind, _), row) in enumerate(groups.iterrows()):
        colour = {"test": "0.4", "condensed": PALETTE[1], "pool": PALETTE[0]}[str(kind)]
        ax.plot([row["q5"], row["q95"]], [place, place], color=colour, linewidth=3, alpha=0.5)
        ax.plot(row["q50"], place, "o", color=colour, markersize=5)
    names = ["test images" if kind == "test" else f"{name}" for kind, name in groups.index]
    ax.set_yticks(range(len(names)), names, fontsize=7)
    ax.invert_yaxis()
    ax.set_xlabel("distance to the nearest training image,\nroot mean square of pixels (0..1)")
    ax.set_xlim(left=0)


def plot_sizes(judged: pd.DataFrame, ax: Axes) -> None:
    whole = judged[judged["share"] == 1.0]
    for colour, (method, own) in zip(PALETTE, whole.groupby("method", sort=False), strict=False):
        by_size = percent(own).groupby("images_per_class")["accuracy"]
        ax.errorbar(
            by_size.mean().index, by_size.mean(), by_size.std().fillna(0), marker="o", markersize=4, color=colour,
            capsize=2, linewidth=1.2, label=NAMES.get(str(method), str(method)),
        )  # fmt: skip
    if len(whole) and set(whole["dataset"]) == {PUBLISHED_SET}:
        for style, (name, values) in zip((":", "--"), PUBLISHED.items(), strict=True):
            ax.plot(PUBLISHED_IMAGES, values, style, color="0.5", linewidth=1, label=f"{name}, published")
    ax.set_xscale("log")
    ax.set_xticks(PUBLISHED_IMAGES, [str(n) for n in PUBLISHED_IMAGES])
    ax.set_xlabel("condensed images a class")
    ax.set_ylabel("ConvNet's test accuracy, %")
    ax.legend(fontsize=7)


def plot_progress(judged: pd.DataFrame, ax: Axes) -> None:
    """What matching had learned after a part of its iterations."""
    grown = judged[judged["method"].isin(judged.loc[judged["share"] < 1, "method"])]
    for colour, (key, own) in zip(PALETTE, grown.groupby(["method", "images_per_class"]), strict=False):
        by_share = percent(own).groupby("share")["accuracy"]
        ax.errorbar(
            100 * by_share.mean().index, by_share.mean(), by_share.std().fillna(0), marker="o", markersize=4,
            color=colour, capsize=2, linewidth=1.2, label=f"{NAMES.get(key[0], key[0])}, {key[1]} a class",
        )  # fmt: skip
    ax.set_xlabel("iterations of matching, % of all")
    ax.set_ylabel("ConvNet's test accuracy, %")
    if len(grown):
        ax.legend(fontsize=7)


def percent(table: pd.DataFrame) -> pd.DataFrame:
    return table.assign(accuracy=100 * table["accuracy"])


def dotted_rows(ax: Axes, rows: dict[str, pd.Series]) -> None:
    for place, values in enumerate(rows.values()):
        ax.scatter(values, np.full(len(values), place), s=16, color=PALETTE[0], alpha=0.6, linewidths=0)
        ax.plot([values.mean()] * 2, [place - 0.3, place + 0.3], color=PALETTE[0], linewidth=2)
    ax.set_yticks(range(len(rows)), list(rows), fontsize=8)
    ax.invert_yaxis()


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--curves", nargs="+", required=True, help="CSVs of expand_set")
    parser.add_argument("--features", nargs="+", required=True, help="CSVs of compare_pools")
    parser.add_argument("--nearest", nargs="+", required=True, help="CSVs of compare_pools")
    parser.add_argument("--judged", nargs="*", default=(), help="CSVs of judge_condensed")
    for name in ("arms", "distances", "condensed"):
        parser.add_argument(f"--{name}", required=True, help="SVG to write")
        parser.add_argument(f"--drawn-{name}", required=True, help="CSV to write: what it shows")
    return parser.parse_args(argv)


if __name__ == "__main__":
    run(main)
