"""Figure: what each technique gives at each format, one panel a model, with the table of what is drawn.

python -m stages.quantization.plot_techniques --tables A.csv B.csv --figure techniques.svg --drawn techniques.csv
"""

import argparse

import matplotlib as mpl

mpl.use("Agg")  # no display on the machines that run this

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes

from stages.lib.core.artifacts import atomic_path
from stages.lib.core.errors import run
from stages.lib.core.plots import STYLE, save_figure
from stages.quantization.families import score_label
from stages.quantization.results import format_means, quantised, read_results


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    drawn = drawn_table(read_results(args.tables).table)
    models = list(dict.fromkeys(drawn.model))
    with mpl.rc_context(STYLE):
        figure, axes = plt.subplots(
            1, len(models), figsize=(1.6 + 3.9 * len(models), 4.8), squeeze=False, layout="constrained"
        )
        for ax, model in zip(axes[0], models, strict=True):
            plot_techniques(drawn[drawn.model == model], ax)
        save_figure(figure, args.figure)
        plt.close(figure)
    with atomic_path(args.drawn) as temporary:
        drawn.to_csv(temporary, index=False)


def drawn_table(table: pd.DataFrame) -> pd.DataFrame:
    """Means over seeds of the models and formats that more than one technique was run with."""
    means = format_means(quantised(table, signs="signed"))
    several = means.groupby(["model", "format"])["technique"].transform("nunique") > 1
    return means[several].reset_index(drop=True)


def plot_techniques(table: pd.DataFrame, ax: Axes) -> None:
    """One model: score of each technique (rows) and format (columns), as numbers on a colour."""
    grid = 100 * table.pivot_table(index="technique", columns="format", values="score", sort=False)
    order = table.drop_duplicates("format").sort_values(["bits", "family"], ascending=[True, True])
    grid = grid[order["format"]]
    label, float_score = score_label(table)
    ax.imshow(grid, aspect="auto", cmap="cividis", vmin=0, vmax=100 * float_score)
    for i, technique in enumerate(grid.index):
        for j, name in enumerate(grid.columns):
            value = grid.loc[technique, name]
            if pd.notna(value):
                dark = value < 55 * float_score
                ax.text(
                    j, i, f"{value:.1f}", ha="center", va="center", fontsize=7, color="w" if dark else "k"
                )
    ax.set_xticks(range(len(grid.columns)), grid.columns, rotation=60, fontsize=8)
    ax.set_yticks(range(len(grid.index)), grid.index, fontsize=8)
    ax.grid(False)
    ax.set_title(
        f"{table.model.iloc[0]},\n{label} (%), {table.n.iloc[0]} images, float32: {100 * float_score:.1f}",
        fontsize=9,
    )


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
