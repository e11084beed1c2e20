"""Figure: modelled cycles and energy of a pruned network on sparse tensor cores, and where they go layer by layer.

python -m stages.pruning.plot_accelerator --by-layer by_layer.csv --figure accelerator.svg
    --drawn accelerator_drawn.csv

Above: how often fewer cycles and less energy than the dense network on a dense core, over sparsity; a line a design or a
block of the hybrid pattern. Below: cycles of each layer at the least sparsity that leaves 14 times fewer multiplications.
"""

import argparse

import matplotlib as mpl

mpl.use("Agg")  # no display on the machines that run this

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes

from stages.lib.core.artifacts import atomic_path
from stages.lib.core.errors import run
from stages.lib.core.plots import PALETTE, PUBLISHED, STYLE, save_figure
from stages.lib.core.tables import read_tables

CLAIMED = 14  # times fewer cycles and less energy (notes 6)
COLUMNS = ("layer", "design", "sparsity", "n", "m", "block", "cycles", "energy_uj")


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    layers = read_tables([args.by_layer], *COLUMNS)
    drawn = gains(layers)
    with mpl.rc_context(STYLE):
        figure = plt.figure(figsize=(8.6, 6.4), layout="constrained")
        above, below = figure.subfigures(2, 1, height_ratios=(3, 2.5))
        for ax, quantity in zip(above.subplots(1, 2), ("cycles", "energy"), strict=True):
            plot_gains(drawn, ax, quantity)
        handles, labels = above.axes[0].get_legend_handles_labels()
        above.legend(handles, labels, loc="outside lower center", ncols=4, fontsize=8)
        plot_layers(layers, below.subplots())
        save_figure(figure, args.figure)
        plt.close(figure)
    with atomic_path(args.drawn) as temporary:
        drawn.to_csv(temporary, index=False)


def gains(layers: pd.DataFrame) -> pd.DataFrame:
    """A row for each design, pattern and sparsity: times fewer cycles and less energy than the dense core."""
    totals = (
        layers.groupby(["design", "sparsity", "n", "m", "block"])[["cycles", "energy_uj"]].sum().reset_index()
    )
    dense = totals[totals["design"] == "TC"].iloc[0]
    return totals.assign(
        cycles=dense["cycles"] / totals["cycles"], energy=dense["energy_uj"] / totals["energy_uj"]
    ).drop(columns="energy_uj")


def plot_gains(drawn: pd.DataFrame, ax: Axes, quantity: str) -> None:
    hybrid = drawn[drawn["design"] == "CRISP_STC"]
    best = hybrid[hybrid["block"] == hybrid["block"].max()]
    for colour, ((n, m), rows) in zip(PALETTE, best.groupby(["n", "m"]), strict=False):
        ax.plot(rows["sparsity"], rows[quantity], "o-", color=colour, markersize=4, label=f"hybrid {n}:{m}")
    smallest = hybrid[(hybrid["block"] == hybrid["block"].min()) & (hybrid["n"] == 2)]
    ax.plot(
        smallest["sparsity"], smallest[quantity], "o:", color=PALETTE[1], markersize=3,
        label=f"hybrid 2:4, blocks of {hybrid['block'].min():.0f}",
    )  # fmt: skip
    others = (
        ("STC_flexible", "plain n:m", PALETTE[3], "s--"),
        ("DSTC", "DSTC, zeros anywhere", PALETTE[4], "^--"),
    )
    for design, name, colour, style in others:
        rows = drawn[(drawn["design"] == design) & (drawn["sparsity"] > 0)]
        ax.plot(rows["sparsity"], rows[quantity], style, color=colour, markersize=4, label=name)
    fixed = drawn[(drawn["design"] == "STC") & (drawn["sparsity"] > 0)]
    ax.scatter(fixed["sparsity"], fixed[quantity], marker="D", color=PALETTE[5], zorder=3, label="STC, 2:4")
    ax.axhline(CLAIMED, color=PUBLISHED, linewidth=1)
    ax.text(0.5, CLAIMED * 0.94, "published: over unnamed methods", color=PUBLISHED, fontsize=8, va="top")
    reach = sorted(set(hybrid["sparsity"]))
    ax.plot(
        reach,
        [1 / (1 - s) for s in reach],
        color=PUBLISHED,
        linewidth=1,
        linestyle=":",
        label="multiplications",
    )
    ax.set_yscale("log")
    ticks = (1, 2, 4, 8, 14, 20)
    ax.set_yticks(ticks, [str(t) for t in ticks])
    ax.minorticks_off()
    ax.set_xlabel("sparsity of every layer")
    ax.set_ylabel(f"times {'fewer cycles' if quantity == 'cycles' else 'less energy'} than dense TC")


def plot_layers(layers: pd.DataFrame, ax: Axes) -> None:
    sparsity = layers.loc[layers["sparsity"] >= 1 - 1 / CLAIMED - 1e-9, "sparsity"].min()
    at = layers[(layers["sparsity"] == sparsity)]
    hybrid = at[(at["design"] == "CRISP_STC") & (at["n"] == 2) & (at["block"] == at["block"].max())]
    lines = (
        ("TC, dense", layers[layers["design"] == "TC"], PALETTE[6]),
        ("DSTC, zeros anywhere", at[at["design"] == "DSTC"], PALETTE[4]),
        ("plain n:m", at[at["design"] == "STC_flexible"], PALETTE[3]),
        ("hybrid 2:4", hybrid, PALETTE[1]),
    )
    for name, rows, colour in lines:
        ax.step(range(len(rows)), rows["cycles"], where="mid", color=colour, linewidth=1.4, label=name)
    names = hybrid["layer"].to_list()
    shown = range(0, len(names), max(1, len(names) // 14))
    ax.set_xticks(list(shown), [names[i] for i in shown], rotation=35, ha="right", fontsize=7)
    ax.set_yscale("log")
    ax.set_ylabel(f"cycles, {sparsity:.1%} sparse")
    ax.legend(ncols=4, fontsize=8, loc="lower center", bbox_to_anchor=(0.5, 1.0))


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--by-layer", required=True, help="CSV of study_accelerator")
    parser.add_argument("--figure", required=True, help="SVG to write")
    parser.add_argument("--drawn", required=True, help="CSV to write: what the figure shows")
    return parser.parse_args(argv)


if __name__ == "__main__":
    run(main)
