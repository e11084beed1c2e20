"""Figures: perplexity of quantised language models over the bits that they store, and what each part of HALO is worth.

python -m stages.halo.plot_perplexity --tables smollm2-135m.csv llama-s0.csv llama-s1.csv --figure perplexity.svg
    --drawn perplexity.csv --parts parts.svg --drawn-parts parts.csv

First figure: perplexity over that of the float model on the same windows, of every way to quantise; bars hold 95 % of
draws of windows. Models whose names end in -sN are seeds of one: lines are means, dots seeds. Second: rows of HALO with
one thing changed, less HALO as it is, in per cent of perplexity.
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

# a line each: name, rows, colour, marker
SERIES = (
    ("round to nearest", ("rtn-w3-g64", "rtn-w4-g64"), PALETTE[6], "s"),
    ("GPTQ", ("gptq-w3-g64", "gptq-w4-g64"), PALETTE[6], "o"),
    ("SmoothQuant", ("smoothquant-w4-g64",), PALETTE[5], "s"),
    ("k-means", ("kmeans-3", "kmeans-4"), PALETTE[2], "o"),
    ("power of two", ("power-of-two",), PALETTE[3], "D"),
    ("by power (PowerPruning)", ("power-pruning",), PALETTE[4], "D"),
    ("HALO", ("halo-perf", "halo-bal", "halo-acc"), PALETTE[1], "^"),
    ("HALO, compensated", ("halo-perf-compensated", "halo-bal-compensated", "halo-acc-compensated"), PALETTE[0], "^"),
    ("the same, tiles of 32", ("halo-acc-compensated-t32",), PALETTE[0], "v"),
)  # fmt: skip
# panel: (row, the row that it differs from, label)
PARTS = (
    ("halo-bal-random", "halo-bal", "tiles at random"),
    ("halo-bal-inverse", "halo-bal", "most sensitive tiles low"),
    ("halo-bal-no-sparse", "halo-bal", "nothing kept apart"),
    ("halo-bal-salient", "halo-bal", "no outliers apart"),
    ("halo-bal-outliers", "halo-bal", "no salient apart"),
    ("halo-bal-t64", "halo-bal", "tiles of 64"),
    ("halo-bal-t32", "halo-bal", "tiles of 32"),
    ("halo-bal-compensated", "halo-bal", "compensated"),
    ("halo-perf-popcount", "halo-perf", "one bit or none, all low"),
    ("halo-perf-popcount-signs", "halo-perf", "... and signs of tiles"),
    ("halo-perf-signed", "halo-perf", "0 and four powers, all low"),
)
TICKS, FINE_TICKS = (1, 1.2, 1.5, 2, 3, 5, 8, 12), (1, 1.01, 1.02, 1.03, 1.05, 1.07, 1.1, 1.15)
SEEDED = r"-s\d+$"
LARGEST = 12.0  # times float: what is above is drawn on the edge


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    table = read_tables(args.tables, "model", "row", "bits", "loss", "over_float")
    table["family"] = table["model"].str.replace(SEEDED, "", regex=True)
    drawn = table[table["row"].isin([row for _, rows, _, _ in SERIES for row in rows])]
    parts = differences(table)
    families = list(dict.fromkeys(table["family"]))
    with mpl.rc_context(STYLE):
        figure, axes = plt.subplots(
            1, len(families), figsize=(1 + 4 * len(families), 4.4), squeeze=False, layout="constrained"
        )
        for ax, family in zip(axes[0], families, strict=True):
            exact = table[(table["family"] == family) & (table["row"] == "float32")]
            plot_bits(drawn[drawn["family"] == family], ax)
            ax.set_title(f"{family}, float {exact['perplexity'].mean():.1f}", fontsize=9)
        handles, labels = axes[0][0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=3, fontsize=9)
        save_figure(figure, args.figure)
        plt.close(figure)
        figure, ax = plt.subplots(figsize=(6.4, 3.8), layout="constrained")
        plot_parts(parts, ax)
        save_figure(figure, args.parts)
        plt.close(figure)
    for path, rows in ((args.drawn, drawn), (args.drawn_parts, parts)):
        with atomic_path(path) as temporary:
            rows.to_csv(temporary, index=False)


def differences(table: pd.DataFrame) -> pd.DataFrame:
    """Per cent of perplexity by which each row of PARTS is above the row that it differs from, by model."""
    found = []
    for model, rows in table.groupby("model", sort=False):
        loss = rows.set_index("row")["loss"]
        found += [
            {"model": model, "row": row, "beside": other, "per_cent": 100 * np.expm1(loss[row] - loss[other])}
            for row, other, _ in PARTS
            if row in loss and other in loss
        ]
    return pd.DataFrame(found, columns=["model", "row", "beside", "per_cent"])


def plot_bits(rows: pd.DataFrame, ax: Axes) -> None:
    one_model = len(set(rows["model"])) == 1
    for label, names, colour, marker in SERIES:
        own = rows[rows["row"].isin(names)]
        mean = (
            own.groupby("row")[["bits", "over_float"]]
            .mean()
            .reindex([n for n in names if n in set(own["row"])])
        )
        height = mean["over_float"].clip(upper=LARGEST)
        ax.plot(mean["bits"], height, marker=marker, color=colour, markersize=5, linewidth=1.2, label=label)
        if one_model:
            low, high = (own[f"over_float_{end}"].clip(upper=LARGEST) for end in ("low", "high"))
            ax.vlines(own["bits"], low, high, color=colour, linewidth=1)
        else:
            ax.scatter(
                own["bits"], own["over_float"].clip(upper=LARGEST), s=8, color=colour, alpha=0.6, linewidths=0
            )
    ax.set_yscale("log")
    top = rows["over_float"].clip(upper=LARGEST).max()
    ticks = [t for t in (TICKS if top > FINE_TICKS[-1] else FINE_TICKS) if t <= 1.02 * top]
    ax.set_yticks(ticks, [f"{t:g}" for t in ticks])
    ax.minorticks_off()
    ax.axhline(1, color="black", linewidth=1, linestyle="--")
    ax.set_xlabel("bits a weight, all that is stored")
    ax.set_ylabel("perplexity over float")


def plot_parts(parts: pd.DataFrame, ax: Axes) -> None:
    """Dots are seeds of one model and a bar their mean; diamonds are other models."""
    seeded = parts["model"].str.contains(SEEDED)
    places = [part for part in PARTS if part[0] in set(parts["row"])]
    for place, (row, _, _) in enumerate(places):
        own, other = (parts.loc[(parts["row"] == row) & chosen, "per_cent"] for chosen in (seeded, ~seeded))
        ax.scatter(own, np.full(len(own), place), s=16, color=PALETTE[0], alpha=0.6, linewidths=0)
        ax.scatter(other, np.full(len(other), place), s=26, marker="D", color=PALETTE[1], linewidths=0)
        ax.plot([own.mean()] * 2, [place - 0.25, place + 0.25], color=PALETTE[0], linewidth=2)
    ax.axvline(0, color="black", linewidth=1, linestyle="--")
    ax.set_yticks(range(len(places)), [label for _, _, label in places])
    ax.invert_yaxis()
    ax.set_xscale("symlog", linthresh=1)
    low, high = 1.5 * parts["per_cent"].min() - 1, 1.5 * parts["per_cent"].max() + 1
    ticks = [t for t in (-10, -3, -1, 0, 1, 3, 10, 30, 100) if low <= t <= high]
    ax.set_xticks(ticks, [f"{t:g}" for t in ticks])
    ax.set_xlabel("perplexity above HALO (half low, or all low where said), %")


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tables", nargs="+", required=True, help="CSVs of evaluate_rows")
    parser.add_argument("--figure", required=True, help="SVG to write: perplexity over bits")
    parser.add_argument("--drawn", required=True, help="CSV to write: what it shows")
    parser.add_argument("--parts", required=True, help="SVG to write: one thing changed")
    parser.add_argument("--drawn-parts", required=True, help="CSV to write: what that shows")
    return parser.parse_args(argv)


if __name__ == "__main__":
    run(main)
