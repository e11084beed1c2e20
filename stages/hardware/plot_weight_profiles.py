"""Figures: delay of the weight values, and how much speed and energy their fastest ones gain, by netlist.

python -m stages.hardware.plot_weight_profiles --profiles A.csv B.csv --delays delays.svg --drawn-delays delays.csv
    --sensitivity sensitivity.svg --drawn-sensitivity sensitivity.csv
"""

import argparse

import matplotlib as mpl

mpl.use("Agg")  # no display on the machines that run this

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from stages.hardware.weight_profile import netlist_table, require_every_weight
from stages.lib.core.artifacts import atomic_path
from stages.lib.core.errors import InputError, run
from stages.lib.core.plots import PALETTE, PUBLISHED, STYLE, save_figure
from stages.lib.costs.weight_values import read_weight_profile

# HALO's clocks of the fast class and of all values, second-hand summary (papers: section 2.1 and 2.2, Algorithm 1)
PUBLISHED_RATIO = {9: 3.7 / 1.9, 16: 2.4 / 1.9}
COUNTS = (9, 16)
CUTS = ("own", "fused")
CUT_NAME = {"own": "multiplier alone", "fused": "with accumulate"}
COLOUR = {"own": PALETTE[0], "fused": PALETTE[1]}
MARKER = {"own": "o", "fused": "s"}
BINS = 40


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    tables = [read_weight_profile(path) for path in args.profiles]
    for path, table in zip(args.profiles, tables, strict=True):
        require_every_weight(table, path)
        if missing := [c for c in ("microarchitecture", "accumulator_bits") if c not in table]:
            raise InputError(f"{path} lacks the column {missing[0]}; make it with profile_weights")
    profiles = with_cut(pd.concat(tables, ignore_index=True))
    histogram = histogram_table(profiles)
    sensitivity = with_cut(netlist_table(profiles))
    with mpl.rc_context(STYLE):
        figure = draw_delays(histogram)
        save_figure(figure, args.delays)
        plt.close(figure)
        figure = draw_sensitivity(sensitivity)
        save_figure(figure, args.sensitivity)
        plt.close(figure)
    for table, path in ((histogram, args.drawn_delays), (sensitivity, args.drawn_sensitivity)):
        with atomic_path(path) as temporary:
            table.to_csv(temporary, index=False)


def with_cut(table: pd.DataFrame) -> pd.DataFrame:
    return table.assign(cut=np.where(table["accumulator_bits"] > 0, "fused", "own"))


def histogram_table(profiles: pd.DataFrame) -> pd.DataFrame:
    """Weights in each bin of delay, by library, microarchitecture and cut; bins are equal within a library."""
    rows = []
    for library, of_library in profiles.groupby("library", sort=False):
        edges = np.linspace(0, of_library["delay_ns"].max(), BINS + 1)
        for (kind, cut), profile in of_library.groupby(["microarchitecture", "cut"], sort=False):
            counts, _ = np.histogram(profile["delay_ns"], edges)
            rows += [
                (library, kind, cut, low, high, n)
                for low, high, n in zip(edges, edges[1:], counts, strict=False)
            ]
    columns = ["library", "microarchitecture", "cut", "from_ns", "to_ns", "weights"]
    return pd.DataFrame(rows, columns=columns)


def draw_delays(histogram: pd.DataFrame) -> plt.Figure:
    """One row of panels a library, one panel a microarchitecture."""
    libraries = list(dict.fromkeys(histogram["library"]))
    kinds = list(dict.fromkeys(histogram["microarchitecture"]))
    columns = min(4, len(kinds))
    rows = -(-len(kinds) // columns)
    figure, axes = plt.subplots(
        rows * len(libraries),
        columns,
        figsize=(2.6 * columns, 1.9 * rows * len(libraries) + 0.5),
        sharey=True,
        squeeze=False,
        layout="constrained",
    )
    for i, library in enumerate(libraries):
        block = axes[i * rows : (i + 1) * rows].ravel()
        for ax in block[len(kinds) :]:
            ax.set_axis_off()
        for kind, ax in zip(kinds, block, strict=False):
            here = (histogram["library"] == library) & (histogram["microarchitecture"] == kind)
            plot_delays(histogram[here], ax)
            ax.set_title(kind, fontsize=9)
        for ax in axes[(i + 1) * rows - 1]:
            ax.set_xlabel(f"delay (ns), {library}")
    for ax in axes[:, 0]:
        ax.set_ylabel("weight values")
    axes[0][0].set_yscale("log")  # a class of nine among 256 must be seen
    axes[0][0].set_ylim(0.7, 300)
    handles, labels = axes[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=len(labels))
    return figure


def plot_delays(histogram: pd.DataFrame, ax: Axes) -> None:
    """Static delay of the 256 weights of one multiplier, alone and with the addition in the same stage."""
    for cut in CUTS:
        part = histogram[histogram["cut"] == cut]
        if len(part):
            edges = [*part["from_ns"], part["to_ns"].iloc[-1]]
            filled = cut == "own"
            ax.stairs(part["weights"], edges, color=COLOUR[cut], fill=filled, alpha=0.8, label=CUT_NAME[cut])


def draw_sensitivity(netlists: pd.DataFrame) -> plt.Figure:
    """One row of two panels a library: gain in clock, gain in energy."""
    libraries = list(dict.fromkeys(netlists["library"]))
    kinds = netlists["microarchitecture"].nunique()
    figure, axes = plt.subplots(
        len(libraries),
        2,
        figsize=(9, (0.42 * kinds + 1.0) * len(libraries) + 0.8),
        sharey="row",
        squeeze=False,
        layout="constrained",
    )
    for library, (left, right) in zip(libraries, axes, strict=True):
        table = netlists[netlists["library"] == library]
        plot_ratio(table, left, "delay")
        for count, style in zip(COUNTS, ("--", ":"), strict=True):
            ratio = PUBLISHED_RATIO[count]
            label = f"HALO, {count} values: {ratio:.2f} (published, second-hand)"
            left.axvline(ratio, color=PUBLISHED, linestyle=style, label=label)
        left.set_xlim(right=max(left.get_xlim()[1], PUBLISHED_RATIO[9] + 0.05))
        left.set_title(f"{library}: slowest of all values / slowest of the fastest n", fontsize=9)
        plot_ratio(table, right, "energy")
        right.set_title("mean of all values / mean of the fastest n", fontsize=9)
    axes[-1][0].set_xlabel("delay ratio = gain in clock at one voltage")
    axes[-1][1].set_xlabel("energy ratio per operation (modelled)")
    handles, labels = axes[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3)
    return figure


def plot_ratio(netlists: pd.DataFrame, ax: Axes, quantity: str) -> None:
    """Rows: microarchitectures. Full markers: the 9 fastest values; open ones: the 16 fastest."""
    kinds = list(dict.fromkeys(netlists["microarchitecture"]))
    for cut, offset in zip(CUTS, (-0.14, 0.14), strict=True):
        part = netlists[netlists["cut"] == cut]
        if part.empty:
            continue
        row = np.array([kinds.index(kind) for kind in part["microarchitecture"]]) + offset
        for count in COUNTS:
            ax.scatter(
                part[f"{quantity}_ratio_{count}"],
                row,
                s=34,
                marker=MARKER[cut],
                color=COLOUR[cut],
                facecolors=COLOUR[cut] if count == 9 else "none",
                zorder=3,
                label=f"{CUT_NAME[cut]}, {count} values",
            )
    ax.set_yticks(range(len(kinds)), kinds)
    ax.set_ylim(len(kinds) - 0.5, -0.5)
    ax.set_xlim(left=0.95)


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--profiles", nargs="+", required=True, help="CSV files of profile_weights")
    parser.add_argument("--delays", required=True, help="SVG to write: histogram of delays")
    parser.add_argument("--drawn-delays", required=True, help="CSV to write: what it shows")
    parser.add_argument(
        "--sensitivity", required=True, help="SVG to write: gains by microarchitecture and cut"
    )
    parser.add_argument("--drawn-sensitivity", required=True, help="CSV to write: what it shows, and more")
    return parser.parse_args(argv)


if __name__ == "__main__":
    run(main)
