"""Figure: cycles of tensor cores over weight density, our model and Sparseloop's reference, one panel a product.

python -m stages.hardware.plot_tensor_cores --figure tensor_cores.svg --drawn tensor_cores.csv

CRISP_STC has no reference; it is drawn with 2:4 sparsity in the share of 64 x 64 blocks that gives the same density,
rounded up to whole blocks.
"""

import argparse

import matplotlib as mpl

mpl.use("Agg")  # no display on the machines that run this

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes

from stages.hardware.sparseloop_reference import compare_reference
from stages.lib.core.artifacts import atomic_path
from stages.lib.core.errors import run
from stages.lib.core.plots import PALETTE, PUBLISHED, STYLE, save_figure
from stages.lib.costs.tensor_cores import DESIGNS, tensor_core_costs

COLOURS = dict(zip(DESIGNS, PALETTE, strict=False))
COLUMNS = ["gemm", "design", "weight_density", "activation_density", "cycles", "modelled_cycles", "bound"]


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    drawn = drawn_table()
    gemms = list(dict.fromkeys(drawn["gemm"]))
    with mpl.rc_context(STYLE):
        figure, axes = plt.subplots(1, len(gemms), figsize=(3.1 * len(gemms), 3.8), layout="constrained")
        for ax, gemm in zip(axes, gemms, strict=True):
            plot_tensor_cores(drawn[drawn["gemm"] == gemm], ax)
        axes[0].set_ylabel("cycles (thousand)")
        handles, labels = axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False)
        save_figure(figure, args.figure)
        plt.close(figure)
    with atomic_path(args.drawn) as temporary:
        drawn.to_csv(temporary, index=False)


def drawn_table() -> pd.DataFrame:
    """Every point of the figure; `cycles` is the reference, empty for CRISP_STC."""
    cells = compare_reference()
    products = cells[cells["design"] == "STC_flexible"].drop(columns=["cycles"])
    hybrid = products["weight_density"] < 1
    products = products.assign(
        design="CRISP_STC",
        kept=products["kept"].where(~hybrid, 2),
        of=products["of"].where(~hybrid, 4),
        kept_blocks=(2 * products["kept"] / products["of"]).clip(upper=1),
    )
    costs = tensor_core_costs(products, "CRISP_STC")
    products = products.assign(modelled_cycles=costs["cycles"].astype(int), bound=costs["bound"])
    return pd.concat([cells[COLUMNS], products.reindex(columns=COLUMNS)], ignore_index=True)


def plot_tensor_cores(table: pd.DataFrame, ax: Axes) -> None:
    """One product: a line a design for the model, grey crosses for the reference."""
    for design in DESIGNS:
        rows = table[table["design"] == design]
        ax.plot(
            rows["weight_density"],
            rows["modelled_cycles"] / 1e3,
            color=COLOURS[design],
            marker="o",
            markersize=4,
            linewidth=1.5,
            # STC and STC_flexible coincide where weights are dense or 2:4
            linestyle="--" if design == "STC_flexible" else "-",
            label=f"{design.replace('_', ' ')} (model)",
        )
    ax.scatter(
        table["weight_density"],
        table["cycles"] / 1e3,
        marker="x",
        s=42,
        linewidths=1.2,
        color=PUBLISHED,
        zorder=3,
        label="Sparseloop (reference)",
    )
    ax.set_xlabel("share of weights kept")
    ax.set_xticks([1, 0.5, 0.333, 0.25], ["1", "1/2", "1/3", "1/4"])
    ax.invert_xaxis()
    ax.set_ylim(bottom=0)
    ax.set_title(
        f"{table['gemm'].iloc[0]}, activations {table['activation_density'].iloc[0]:.2f}", fontsize=10
    )


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--figure", required=True, help="SVG to write")
    parser.add_argument("--drawn", required=True, help="CSV to write: exactly what the figure shows")
    return parser.parse_args(argv)


if __name__ == "__main__":
    run(main)
