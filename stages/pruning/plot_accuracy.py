"""Figures: accuracy of pruned networks over sparsity, and what each part of the hybrid method is worth.

python -m stages.pruning.plot_accuracy --accuracy a.csv b.csv --figure accuracy.svg --drawn accuracy.csv
    --parts parts.svg --drawn-parts parts.csv

First figure: points of top-1 below the dense network that was tuned as long, for every network and way to prune; lines
are means over users, dots users. Second: the hybrid pattern with one thing changed, less the hybrid pattern as it is;
and both the dense network and the hybrid over the number of classes that a user wants.
"""

import argparse
from collections.abc import Sequence

import matplotlib as mpl

mpl.use("Agg")  # no display on the machines that run this

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from stages.lib.core.artifacts import atomic_path
from stages.lib.core.errors import run
from stages.lib.core.plots import PALETTE, STYLE, save_figure
from stages.lib.core.tables import read_tables
from stages.pruning.config import ABLATIONS, ARMS

NAMES = {
    "hybrid": "hybrid", "n_m": "n:16", "block": "blocks", "unstructured": "unstructured", "channel": "channels",
    "as_released": "hybrid, as released", "hybrid_scrambled": "block scores scrambled",
    "hybrid_random": "block scores at random", "hybrid_magnitude": "magnitude", "hybrid_fisher": "Fisher",
    "hybrid_other_classes": "scores of other classes", "hybrid_random_scores": "scores at random",
    "hybrid_sr_ste": "regrowth (SR-STE)",
}  # fmt: skip
CASE = ["model", "block", "classes", "seed"]
COLUMNS = (*CASE, "arm", "goal", "accuracy")


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    table = read_tables(args.accuracy, *COLUMNS)
    table = table[table["block"] == table["block"].min()]
    losses, parts = below_dense(table), differences(table)
    with mpl.rc_context(STYLE):
        models = list(dict.fromkeys(losses["model"]))
        figure, axes = plt.subplots(
            1, len(models), figsize=(1.2 + 3 * len(models), 3.9), squeeze=False, layout="constrained"
        )
        for ax, model in zip(axes[0], models, strict=True):
            plot_losses(losses[losses["model"] == model], ax)
        handles = {
            label: handle
            for ax in axes[0]
            for handle, label in zip(*ax.get_legend_handles_labels(), strict=True)
        }
        figure.legend(handles.values(), handles, loc="outside lower center", ncols=3, fontsize=9)
        save_figure(figure, args.figure)
        plt.close(figure)
        figure, (left, right) = plt.subplots(
            1, 2, figsize=(8.4, 3.4), width_ratios=(3, 2), layout="constrained"
        )
        plot_parts(parts, left)
        over_classes = by_classes(table)
        plot_classes(over_classes, right)
        save_figure(figure, args.parts)
        plt.close(figure)
    drawn_parts = pd.concat([parts.assign(panel="parts"), over_classes.assign(panel="classes")])
    for path, drawn in ((args.drawn, losses), (args.drawn_parts, drawn_parts)):
        with atomic_path(path) as temporary:
            drawn.to_csv(temporary, index=False)


def below_dense(table: pd.DataFrame) -> pd.DataFrame:
    """Points that each arm loses to the dense network of the same user; of each network, the number of classes with the
    most arms.
    """
    dense = table.loc[table["arm"] == "dense", [*CASE, "accuracy"]]
    rows = table[table["arm"].isin(ARMS)].merge(dense, on=CASE, suffixes=("", "_dense"))
    rows["points"] = 100 * (rows["accuracy_dense"] - rows["accuracy"])
    arms = rows.groupby(["model", "classes"])["arm"].transform("nunique")
    return rows[arms == arms.groupby(rows["model"]).transform("max")]


def differences(table: pd.DataFrame) -> pd.DataFrame:
    """Points by which each ablation is better than the hybrid pattern, by network, user and sparsity."""
    hybrid = table.loc[table["arm"] == "hybrid", [*CASE, "goal", "accuracy"]]
    rows = table[table["arm"].isin(ABLATIONS)].merge(hybrid, on=[*CASE, "goal"], suffixes=("", "_hybrid"))
    rows["points"] = 100 * (rows["accuracy"] - rows["accuracy_hybrid"])
    return rows


def by_classes(table: pd.DataFrame) -> pd.DataFrame:
    """The dense network and the hybrid at one sparsity, for the network with the most numbers of classes."""
    counts = table.groupby("model")["classes"].nunique()
    rows = table[(table["model"] == counts.idxmax()) & table["arm"].isin(("dense", "hybrid"))]
    hybrid = rows[rows["arm"] == "hybrid"]
    shared = hybrid.groupby("goal")["classes"].nunique()
    goal = shared[shared == shared.max()].index.max()
    return rows[(rows["arm"] == "dense") | (rows["goal"] == goal)]


def plot_losses(rows: pd.DataFrame, ax: Axes) -> None:
    for colour, arm in zip(PALETTE, ARMS, strict=False):
        own = rows[rows["arm"] == arm]
        if own.empty:
            continue
        mean = own.groupby("goal")["points"].mean()
        shift = 0.004 * (ARMS.index(arm) - 2.5)  # dots of different arms would lie on each other
        ax.plot(mean.index, mean, "o-", color=colour, markersize=3.5, label=NAMES.get(arm, arm))
        ax.scatter(own["goal"] + shift, own["points"], s=7, color=colour, alpha=0.5, linewidths=0)
    dense = 100 * rows.drop_duplicates(CASE)["accuracy_dense"].mean()
    ax.axhline(0, color="black", linewidth=1, linestyle="--")
    ax.set_title(f"{rows['model'].iloc[0]}, {rows['classes'].iloc[0]} classes", fontsize=9)
    ax.set_yscale("symlog", linthresh=2, linscale=1)
    ticks = [t for t in (0, 1, 2, 5, 10, 20, 50) if t <= max(2, rows["points"].max())]
    ax.set_yticks(ticks, [str(t) for t in ticks])
    ax.invert_yaxis()
    ax.set_xlabel("sparsity")
    ax.set_ylabel(f"points below dense ({dense:.1f} %)", fontsize=9)
    ax.set_xlim(0.45, 1)


def plot_parts(rows: pd.DataFrame, ax: Axes) -> None:
    arms = [arm for arm in ABLATIONS if arm in set(rows["arm"])]
    goals = sorted(set(rows["goal"]))
    for colour, goal in zip(PALETTE, goals, strict=False):
        at = rows[rows["goal"] == goal]
        shift = 0.22 * (goals.index(goal) - (len(goals) - 1) / 2)
        for place, arm in enumerate(arms):
            own = at.loc[at["arm"] == arm, "points"]
            ax.scatter(own, np.full(len(own), place + shift), s=14, color=colour, alpha=0.5, linewidths=0)
            ax.plot([own.mean()] * 2, [place + shift - 0.1, place + shift + 0.1], color=colour, linewidth=2)
        ax.scatter([], [], s=14, color=colour, label=f"{goal:.0%} sparse")
    ax.axvline(0, color="black", linewidth=1, linestyle="--")
    ax.set_yticks(range(len(arms)), [NAMES.get(arm, arm) for arm in arms])
    ax.invert_yaxis()
    ax.set_xlabel("points above the hybrid pattern with class-aware scores")
    ax.legend(fontsize=8)


def plot_classes(rows: pd.DataFrame, ax: Axes) -> None:
    goal = rows["goal"].max()
    for colour, (arm, name) in zip(
        (PALETTE[6], PALETTE[0]), (("dense", "dense"), ("hybrid", f"hybrid, {goal:.0%} sparse")), strict=True
    ):
        own = rows[rows["arm"] == arm]
        mean = 100 * own.groupby("classes")["accuracy"].mean()
        ax.plot(mean.index, mean, "o-", color=colour, markersize=4, label=name)
        ax.scatter(own["classes"], 100 * own["accuracy"], s=8, color=colour, alpha=0.5, linewidths=0)
    ax.set_xticks(sorted(set(rows["classes"])))
    ax.set_xlabel("classes that a user wants")
    ax.set_ylabel("top-1, %")
    ax.set_title(rows["model"].iloc[0], fontsize=9)
    ax.legend(fontsize=8, loc="lower left")


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--accuracy", nargs="+", required=True, help="CSVs of study_accuracy")
    parser.add_argument("--figure", required=True, help="SVG to write: accuracy over sparsity")
    parser.add_argument("--drawn", required=True, help="CSV to write: what it shows")
    parser.add_argument("--parts", required=True, help="SVG to write: ablations and numbers of classes")
    parser.add_argument("--drawn-parts", required=True, help="CSV to write: what that shows")
    return parser.parse_args(argv)


if __name__ == "__main__":
    run(main)
