"""Figure: score over bits for every format, one panel a model, with the table of what is drawn.

python -m stages.quantization.plot_format_sweep --tables A.csv B.csv --figure sweep.svg --drawn sweep.csv
"""

import argparse

import matplotlib as mpl

mpl.use("Agg")  # no display on the machines that run this

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes

from stages.lib.core.artifacts import atomic_path
from stages.lib.core.errors import run
from stages.lib.core.plots import STYLE, reach, save_figure
from stages.quantization.families import COLOURS, MARKERS, score_label
from stages.quantization.results import PLAIN, best_formats, format_means, quantised, read_results


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    drawn = drawn_table(read_results(args.tables).table)
    models = list(dict.fromkeys(drawn.model))
    with mpl.rc_context(STYLE):
        figure, axes = plt.subplots(
            1, len(models), figsize=(1.2 + 3.6 * len(models), 4.2), squeeze=False, layout="constrained"
        )
        for ax, model in zip(axes[0], models, strict=True):
            plot_format_sweep(drawn[drawn.model == model], ax)
        handles, labels = axes[0][0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False)
        save_figure(figure, args.figure)
        plt.close(figure)
    with atomic_path(args.drawn) as temporary:
        drawn.to_csv(temporary, index=False)


def drawn_table(table: pd.DataFrame) -> pd.DataFrame:
    """Every point of the figure: means over seeds per format, `best` marking those that the lines join."""
    rows = quantised(table, technique=PLAIN, signs="signed")
    best = best_formats(rows)[["model", "format"]].assign(best=True)
    means = format_means(rows).merge(best, on=["model", "format"], how="left")
    means["best"] = means["best"].eq(True)
    return means


def plot_format_sweep(table: pd.DataFrame, ax: Axes) -> None:
    """One model: all formats as faint points, the best of each family joined, the float network as a line.

    Bars: smallest to largest over calibration seeds.
    """
    others = table[~table.best]
    ax.scatter(
        others.bits,
        100 * others.score,
        s=14,
        color=COLOURS["minifloat"],
        alpha=0.6,
        linewidths=0,
        label="other minifloats",
    )
    for family, offset in (("minifloat", -0.04), ("integer", 0.04)):
        best = table[table.best & (table.family == family)].sort_values("bits")
        score = 100 * best.score
        ax.errorbar(
            best.bits + offset,
            score,
            yerr=reach(score, 100 * best.low, 100 * best.high),
            color=COLOURS[family],
            marker=MARKERS[family],
            markersize=5,
            linewidth=1.5,
            capsize=2,
            label="best minifloat (named at the bottom)" if family == "minifloat" else "integer",
        )
        if family == "minifloat":
            _name_formats(best, ax)
    label, float_score = score_label(table)
    ax.axhline(100 * float_score, color="black", linewidth=1, linestyle="--", label="float32")
    ax.set_xlabel("bits of weights and activations")
    ax.set_ylabel(f"{label} (%)")
    ax.set_xticks(sorted(table.bits.unique()))
    ax.set_ylim(0, 104 if float_score > 0.95 else 100 * float_score + 9)
    seeds, n = table.seeds.max(), table.n.iloc[0]
    ax.set_title(
        f"{table.model.iloc[0]},\n{n} images, bars: range over {seeds} seed{'s' if seeds > 1 else ''}",
        fontsize=10,
    )


def _name_formats(best: pd.DataFrame, ax: Axes) -> None:
    # in a row above the axis: beside the points the names would cover the float line
    for row in best.itertuples():
        ax.text(row.bits, 2, row.format, fontsize=7, ha="center", color=COLOURS["minifloat"])


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tables", nargs="+", required=True, help="CSV files of sweep_formats")
    parser.add_argument("--figure", required=True, help="SVG to write")
    parser.add_argument("--drawn", required=True, help="CSV to write: exactly what the figure shows")
    return parser.parse_args(argv)


if __name__ == "__main__":
    run(main)
