"""Figure: size of a pruned network's index, and of index and weights together, in each sparse format.

python -m stages.pruning.plot_storage --table storage.csv --figure storage.svg --drawn storage_drawn.csv

2:4 in blocks; both axes in closed form.
"""

import argparse

import matplotlib as mpl

mpl.use("Agg")  # no display on the machines that run this

import matplotlib.pyplot as plt
import pandas as pd

from stages.lib.core.artifacts import atomic_path
from stages.lib.core.errors import run
from stages.lib.core.plots import PALETTE, STYLE, save_figure
from stages.lib.core.tables import read_tables

TITLES = {"hybrid": "hybrid", "csr": "CSR", "bsr": "BSR", "bitmap": "bitmap", "ellpack": "ELLPACK"}
IN_BLOCKS = ("hybrid", "bsr")
MARKERS = ("o", "s", "^", "D", "v")


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    table = read_tables(
        [args.table], "sparsity", "n", "m", "block", "format", "index_bits_per_weight", "of_dense"
    )
    drawn = lines(table)
    with mpl.rc_context(STYLE):
        figure, (left, right) = plt.subplots(1, 2, figsize=(8.2, 3.6), layout="constrained")
        for (form, colour), marker in zip(zip(TITLES, PALETTE, strict=False), MARKERS, strict=True):
            for block, rows in drawn[drawn["format"] == form].groupby("block"):
                large = block == drawn["block"].max()
                style = {
                    "color": colour, "marker": marker, "markersize": 4, "linestyle": "-" if large else ":",
                    "label": TITLES[form] + (f", blocks of {block}" if form in IN_BLOCKS else ""),
                }  # fmt: skip
                left.plot(rows["sparsity"], rows["index_bits_per_weight"], **style)
                right.plot(rows["sparsity"], 100 * rows["of_dense"], **style)
        left.set_ylabel("bits of index for each weight kept")
        left.set_yscale("log")
        left.set_yticks((1, 2, 4, 8, 16), ("1", "2", "4", "8", "16"))
        left.minorticks_off()
        right.set_ylabel("size with 16-bit weights, % of dense")
        for ax in (left, right):
            ax.set_xlabel("sparsity")
        handles, labels = left.get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=3, fontsize=8)
        save_figure(figure, args.figure)
        plt.close(figure)
    with atomic_path(args.drawn) as temporary:
        drawn.to_csv(temporary, index=False)


def lines(table: pd.DataFrame) -> pd.DataFrame:
    """2:4 with the smallest and the largest blocks; formats that know no blocks once, with the largest."""
    at = table[(table["n"] == 2) & (table["m"] == 4)]
    smallest, largest = at["block"].min(), at["block"].max()
    in_blocks = at["format"].isin(IN_BLOCKS) & (at["block"] == smallest)
    return at[(at["block"] == largest) | in_blocks]


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--table", required=True, help="CSV of study_storage")
    parser.add_argument("--figure", required=True, help="SVG to write")
    parser.add_argument("--drawn", required=True, help="CSV to write: what the figure shows")
    return parser.parse_args(argv)


if __name__ == "__main__":
    run(main)
