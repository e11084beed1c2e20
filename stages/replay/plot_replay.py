"""Figures: curves of students that learn without data, what replay does to their falls, and labels of made images.

python -m stages.replay.plot_replay --curves unstable/*.csv grid/*.csv --labels labels-0.csv --curves-figure curves.svg
    --drawn-curves curves.csv --falls falls.svg --drawn-falls falls.csv --labels-figure labels.svg
    --drawn-labels labels.csv

First, accuracy over iterations of every study, a line a method, bands from the lowest to the highest seed. Second, for
each study with seeds, what rehearsal does to the largest fall and to accuracy, paired by seed. Third, the share of labels
that noise and VAEs leave.
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
from stages.replay.runs import paired, read_runs

CONTROLS = {"real": ("-", "0.3"), "noise": (":", "0.5"), "untrained": ("--", "0.5")}
MEMORY = {"pre": "VAE, an eighth", "pre-quarter": "VAE, a quarter", "mb": "bank"}
QUANTITIES = (
    ("drawdown_second_half", "largest fall, second half"),
    ("mean_second_half", "mean, second half"),
    ("last", "at the end"),
)


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    curves, runs = read_runs(args.curves)
    falls = differences(runs)
    labels = read_tables(args.labels, "part", "kind", "kept", "seed") if args.labels else pd.DataFrame()
    studies = list(dict.fromkeys(curves["study"]))
    with mpl.rc_context(STYLE):
        figure, axes = plt.subplots(
            1, len(studies), figsize=(1 + 3.6 * len(studies), 4.2), squeeze=False, layout="constrained"
        )
        for ax, study in zip(axes[0], studies, strict=True):
            plot_curves(curves[curves["study"] == study], ax)
        save_figure(figure, args.curves_figure)
        plt.close(figure)
        figure, axes = plt.subplots(1, len(QUANTITIES), figsize=(9, 2.8), sharey=True, layout="constrained")
        for ax, (quantity, label) in zip(axes, QUANTITIES, strict=True):
            plot_falls(falls[falls["quantity"] == quantity], label, ax)
        save_figure(figure, args.falls)
        plt.close(figure)
        figure, (left, right) = plt.subplots(1, 2, figsize=(7.6, 3.2), layout="constrained")
        plot_noise(labels, left)
        plot_rebuilt(labels, right)
        save_figure(figure, args.labels_figure)
        plt.close(figure)
    for path, table in (
        (args.drawn_curves, curves),
        (args.drawn_falls, falls),
        (args.drawn_labels, labels if len(labels) else pd.DataFrame(columns=["part", "kind", "kept"])),
    ):
        with atomic_path(path) as temporary:
            table.to_csv(temporary, index=False)


def differences(runs: pd.DataFrame) -> pd.DataFrame:
    """Points by which each memory changes a quantity, against none, by study and seed."""
    found = []
    for memory in MEMORY:
        for quantity, _ in QUANTITIES:
            values = paired(runs, memory, "pre-none", quantity)
            found += [
                {"study": study, "seed": seed, "memory": memory, "quantity": quantity, "points": 100 * value}
                for (study, _, seed), value in values.items()
            ]
    return pd.DataFrame(found, columns=["study", "seed", "memory", "quantity", "points"])


def plot_curves(curves: pd.DataFrame, ax: Axes) -> None:
    methods = list(dict.fromkeys(curves["method"]))
    drawn = iter((style, colour) for style in ("-", "-.", ":") for colour in PALETTE)
    for method in methods:
        by_iteration = curves[curves["method"] == method].groupby("iteration")["accuracy"]
        mean = 100 * by_iteration.mean()
        style, colour = CONTROLS.get(method) or next(drawn)
        line = ax.plot(mean.index, mean, style, color=colour, linewidth=1.4, label=method)[0]
        if len(set(curves.loc[curves["method"] == method, "seed"])) > 1:
            low, high = 100 * by_iteration.min(), 100 * by_iteration.max()
            ax.fill_between(mean.index, low, high, color=line.get_color(), alpha=0.15, linewidth=0)
    ax.set_title(f"{curves['study'].iloc[0]}, {curves['seed'].nunique()} seed(s)", fontsize=9)
    ax.set_xlabel("steps of the generator")
    ax.set_ylabel("test accuracy, %")
    ax.legend(fontsize=7, ncols=3, loc="upper center", bbox_to_anchor=(0.5, -0.18))


def plot_falls(rows: pd.DataFrame, label: str, ax: Axes) -> None:
    """Dots are seeds, bars means."""
    places = list(dict.fromkeys(zip(rows["study"], rows["memory"], strict=True)))
    for place, (study, memory) in enumerate(places):
        own = rows.loc[(rows["study"] == study) & (rows["memory"] == memory), "points"]
        ax.scatter(own, np.full(len(own), place), s=14, color=PALETTE[0], alpha=0.6, linewidths=0)
        ax.plot([own.mean()] * 2, [place - 0.3, place + 0.3], color=PALETTE[0], linewidth=2)
    ax.axvline(0, color="black", linewidth=1, linestyle="--")
    ax.set_yticks(range(len(places)), [f"{study}: {MEMORY[memory]}" for study, memory in places])
    if not ax.yaxis_inverted():
        ax.invert_yaxis()
    ax.set_xlabel(f"{label}:\npoints above no rehearsal", fontsize=9)


def plot_noise(labels: pd.DataFrame, ax: Axes) -> None:
    rows = labels[labels["part"] == "noise"] if len(labels) else labels
    for colour, kind in zip(PALETTE, ("real", "made"), strict=False):
        if not len(rows):
            break
        own = rows[rows["kind"] == kind].groupby("deviation")["kept"]
        ax.errorbar(
            own.mean().index, 100 * own.mean(), 100 * own.std().fillna(0), marker="o", markersize=4, color=colour,
            label=f"{kind} images (bars: std over runs)", capsize=2,
        )  # fmt: skip
    ax.set_xlabel("deviation of Gaussian noise (images: 1)")
    ax.set_ylabel("labels kept, %")
    ax.set_ylim(0, 102)
    ax.legend(fontsize=8)


def plot_rebuilt(labels: pd.DataFrame, ax: Axes) -> None:
    kinds = ("pixels", "teacher's response")
    for place, kind in enumerate(kinds):
        if not len(labels):
            break
        own = 100 * labels.loc[(labels["part"] == "rebuilt") & (labels["kind"] == kind), "kept"]
        ax.bar(place, own.mean(), 0.5, color=PALETTE[place], alpha=0.8)
        ax.scatter(np.full(len(own), place), own, s=14, color="black", zorder=3)
    ax.set_xticks(range(len(kinds)), ["VAE of pixels", "with the teacher's response"])
    ax.set_ylabel("labels kept by reconstructions, %")
    ax.set_ylim(0, 102)


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--curves", nargs="+", required=True, help="CSVs of distil_student")
    parser.add_argument("--labels", nargs="*", default=(), help="CSVs of study_labels")
    for name, what in (("curves", "accuracy"), ("labels", "labels kept")):
        parser.add_argument(f"--{name}-figure", required=True, help=f"SVG to write: {what}")
        parser.add_argument(f"--drawn-{name}", required=True, help="CSV to write: what it shows")
    parser.add_argument("--falls", required=True, help="SVG to write: what rehearsal changes")
    parser.add_argument("--drawn-falls", required=True, help="CSV to write: what it shows")
    return parser.parse_args(argv)


if __name__ == "__main__":
    run(main)
