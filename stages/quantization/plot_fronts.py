"""Figure: accuracy against look-up tables and against memory, integers and minifloats, and the table behind it.

python -m stages.quantization.plot_fronts --tables A.csv B.csv --costs mac_costs.parquet --figure fronts.svg
    --drawn fronts.csv

The table has a row for every model, technique, pair of formats and sign convention of all sweeps: score (mean and
range over calibration seeds), bits, bytes of weights, look-up tables of the operator by each way to count them, its
clock rate when pipelined; `front: COST` says whether the row is on the front of its model among the signed formats of
the plain technique.
"""

import argparse
from collections.abc import Callable, Sequence

import matplotlib as mpl

mpl.use("Agg")  # no display on the machines that run this

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import EngFormatter, LogLocator, MaxNLocator, NullFormatter

from stages.lib.core.artifacts import atomic_path
from stages.lib.core.errors import InputError, run
from stages.lib.core.plots import STYLE, save_figure
from stages.lib.costs.mac_costs import read_mac_costs
from stages.quantization.families import COLOURS, MARKERS, score_label
from stages.quantization.pareto import COSTS, PLAIN_INTEGER, on_front, pair_costs
from stages.quantization.results import PLAIN, format_means, read_results

# what a column of panels shows: a cost and the words on its axis
AXES = {
    "exact accumulator": "LUT of a MAC",
    "exact accumulator + conversion": "LUT of a MAC and conversion",
    PLAIN_INTEGER: "LUT of a MAC, plain integer",
    "weight_bytes": "weights (bytes)",
}


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    table = cost_table(read_results(args.tables).table, pair_costs(read_mac_costs(args.costs)))
    compared = table[table["compared"]]
    if compared["exact accumulator"].isna().all():
        raise InputError(
            f"{args.costs} has no operator of the formats swept; synthesise them (hardware.macs)"
        )
    models = list(dict.fromkeys(compared.model))
    with mpl.rc_context(STYLE):
        figure, axes = plt.subplots(
            len(models),
            len(AXES),
            figsize=(3.1 * len(AXES), 0.8 + 2.5 * len(models)),
            squeeze=False,
            layout="constrained",
        )
        for row, model in zip(axes, models, strict=True):
            for ax, cost in zip(row, AXES, strict=True):
                plot_front(compared[compared.model == model], ax, cost=cost)
            row[0].set_title(model, fontsize=9)
        handles, labels = axes[0][0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False)
        save_figure(figure, args.figure)
        plt.close(figure)
    with atomic_path(args.drawn) as temporary:
        table.drop(columns="compared").to_csv(temporary, index=False)


def cost_table(table: pd.DataFrame, costs: pd.DataFrame) -> pd.DataFrame:
    """One row a model, technique, pair and sign convention with its costs; `compared`: those that fronts are made of."""
    means = format_means(table[table["family"] != "float"])
    joined = means.merge(costs, on=["weight_format", "activation_format"], how="left")
    # the operators are signed: an unsigned activation would cost something else
    joined.loc[joined["signs"] != "signed", [*COSTS, PLAIN_INTEGER, "fmax_mhz"]] = float("nan")
    joined = joined.assign(weight_bytes=joined["weight_bits"] / 8).drop(columns="weight_bits")
    joined["compared"] = (joined["technique"] == PLAIN) & (joined["signs"] == "signed")
    for cost in dict.fromkeys([*COSTS, *AXES]):
        joined[f"front: {cost}"] = False
        for _, rows in joined[joined["compared"] & joined[cost].notna()].groupby("model"):
            joined.loc[rows.index, f"front: {cost}"] = on_front(rows[cost], rows["score"])
    return joined


def plot_front(table: pd.DataFrame, ax: Axes, *, cost: str) -> None:
    """One model and cost: every format, the front of each family, and names on the common front."""
    label, float_score = score_label(table)
    for family, rows in table[table[cost].notna()].groupby("family"):
        if family not in COLOURS:
            continue
        ax.scatter(
            rows[cost],
            100 * rows.score,
            s=16,
            marker=MARKERS[family],
            color=COLOURS[family],
            alpha=0.5,
            linewidths=0,
        )
        own = rows[on_front(rows[cost], rows["score"])].sort_values(cost)
        ax.plot(
            own[cost], 100 * own.score, color=COLOURS[family], linewidth=1.3, drawstyle="steps-post",
            label=f"{family}: its own front",
        )  # fmt: skip
    _name_front(table[table[f"front: {cost}"]].sort_values(cost), ax, cost)
    ax.axhline(100 * float_score, color="black", linewidth=1, linestyle="--", label="float32")
    ax.set_xscale("log")
    narrow = table[cost].max() < 2 * table[cost].min()  # a logarithmic axis would find no or too many ticks
    ax.xaxis.set_major_locator(MaxNLocator(3) if narrow else LogLocator(subs=(1, 2, 5), numticks=5))
    ax.xaxis.set_major_formatter(EngFormatter(sep=""))
    ax.xaxis.set_minor_formatter(NullFormatter())
    ax.set_xlabel(AXES[cost], fontsize=9)
    ax.set_ylabel(f"{label} (%)", fontsize=9)
    # most formats lie within a few points of float32: a scale of the distance to it shows them apart
    ax.set_yscale("function", functions=_error_scale(100 * float_score + 1))
    lost = [points for points in (0, 1, 2, 5, 10, 20, 50) if points < 100 * (float_score - table.score.min())]
    ax.set_yticks([100 * float_score - points for points in lost])
    ax.set_yticklabels([f"{100 * float_score - points:.1f}" for points in lost])
    ax.set_ylim(table.score.min() * 100 - 1, 100 * float_score + 0.8)


def _error_scale(top: float) -> tuple[Callable[[np.ndarray], np.ndarray], Callable[[np.ndarray], np.ndarray]]:
    """A logarithmic scale of the distance to `top`, and its inverse."""
    return (
        lambda y: -np.log(np.maximum(top - np.asarray(y, dtype=float), 1e-3)),
        lambda v: top - np.exp(-np.asarray(v, dtype=float)),
    )


def _name_front(front: pd.DataFrame, ax: Axes, cost: str) -> None:
    for row, lift in zip(front.to_dict("records"), _alternating(len(front)), strict=True):
        ax.annotate(
            row["format"], (row[cost], 100 * row["score"]), xytext=(2, lift), textcoords="offset points", fontsize=6,
            color=COLOURS.get(row["family"], "black"),
        )  # fmt: skip


def _alternating(n: int) -> Sequence[int]:
    # neighbours on a front are close: names above and below their points in turn
    return [-9 if i % 2 else 4 for i in range(n)]


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tables", nargs="+", required=True, help="CSV files of sweep_formats")
    parser.add_argument("--costs", required=True, help="mac_costs.parquet of synthesise_macs")
    parser.add_argument("--figure", required=True, help="SVG to write")
    parser.add_argument("--drawn", required=True, help="CSV to write: the whole table behind the figure")
    return parser.parse_args(argv)


if __name__ == "__main__":
    run(main)
