"""Figure: look-up tables of each operator over its width, and minifloats over the integer of their width.

python -m stages.hardware.plot_mac_costs --costs mac_costs.parquet --figure costs.svg --drawn costs.csv
"""

import argparse

import matplotlib as mpl

mpl.use("Agg")  # no display on the machines that run this

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes

from stages.lib.core.artifacts import atomic_path
from stages.lib.core.errors import InputError, run
from stages.lib.core.plots import PALETTE, PUBLISHED, STYLE, save_figure
from stages.lib.costs.mac_costs import cheapest_operators, minifloat_ratios, read_mac_costs

# abstract of the co-authors' follow-up (IEEE TCAD 2025): extra look-up tables of a minifloat, in shares
BANDS = {"ratio": (1.2, 2.8), "ratio_converted": (1.6, 4.0)}
TITLES = {"ratio": "accumulator kept", "ratio_converted": "way back to the format added"}


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    costs = read_mac_costs(args.costs)
    drawn = drawn_table(costs)
    if drawn["ratio"].isna().all():
        raise InputError(f"{args.costs} has no minifloat beside an integer of its width; synthesise both")
    with mpl.rc_context(STYLE):
        figure, axes = plt.subplots(
            1, 3, figsize=(12, 4.4), layout="constrained", gridspec_kw={"width_ratios": [1.2, 1, 1]}
        )
        plot_mac_costs(drawn, costs, axes[0])
        for ax, column in zip(axes[1:], BANDS, strict=True):
            plot_ratios(drawn, column, ax)
        save_figure(figure, args.figure)
        plt.close(figure)
    with atomic_path(args.drawn) as temporary:
        drawn.to_csv(temporary, index=False)


def drawn_table(costs: pd.DataFrame) -> pd.DataFrame:
    """The cheapest operator of each format, exact accumulator, with its ratio to the integer of its width."""
    same = costs[(costs["weight_format"] == costs["activation_format"]) & (costs["accumulator"] == "exact")]
    best = cheapest_operators(same)
    best["exponent_bits"] = best["weight_format"].str.extract(r"E(\d)")[0].astype(float)
    columns = ["weight_format", "bits_w", "exponent_bits", "microarchitecture", "accumulator_bits"]
    ratios = minifloat_ratios(same).drop(columns=["bits_w", "accumulator", "lut"])
    return best[[*columns, "lut", "ff", "carry", "convert_lut"]].merge(ratios, on="weight_format", how="left")


def plot_mac_costs(drawn: pd.DataFrame, costs: pd.DataFrame, ax: Axes) -> None:
    """Look-up tables over width: a line for each number of exponent bits, and the integer built in two ways."""
    for exponent_bits, rows in drawn.dropna(subset="exponent_bits").groupby("exponent_bits"):
        colour = PALETTE[int(exponent_bits - 1) % len(PALETTE)]
        ax.plot(rows["bits_w"], rows["lut"], "o-", ms=4, lw=1, color=colour, label=f"E{exponent_bits:.0f}My")
    integers = drawn[drawn["exponent_bits"].isna()]
    ax.plot(
        integers["bits_w"], integers["lut"], "s-", ms=5, lw=2, color="black", label="INT, carry-chain rows"
    )
    plain = costs[
        (costs["microarchitecture"] == "default")
        & costs["weight_format"].isin(integers["weight_format"])
        & (costs["weight_format"] == costs["activation_format"])
        & ~costs["dsp_allowed"]
        & (costs["pipeline"] == 0)
        & (costs["accumulator"] == "exact")
    ]
    ax.plot(plain["bits_w"], plain["lut"], "s--", ms=4, lw=1, color="black", label="INT, as yosys builds it")
    ax.set_yscale("log")
    ax.set_yticks([25, 50, 100, 200, 400, 800], ["25", "50", "100", "200", "400", "800"])
    ax.minorticks_off()
    ax.set_xlabel("bits of weight and activation")
    ax.set_ylabel("look-up tables a MAC (yosys, UltraScale+)")
    ax.legend(fontsize=8, ncols=2)


def plot_ratios(drawn: pd.DataFrame, column: str, ax: Axes) -> None:
    """Each minifloat over the integer of its width; the published range in grey."""
    low, high = BANDS[column]
    ax.axhspan(low, high, color=PUBLISHED, alpha=0.25, lw=0, label="TCAD 2025 abstract (published)")
    for row in drawn.dropna(subset=column).itertuples():
        colour = PALETTE[int(row.exponent_bits - 1) % len(PALETTE)]
        ax.plot(row.bits_w, getattr(row, column), "o", ms=5, color=colour)
        ax.annotate(
            row.weight_format, (row.bits_w, getattr(row, column)), xytext=(4, 0),
            textcoords="offset points", fontsize=6, va="center",
        )  # fmt: skip
    ax.axhline(1, color="black", lw=1)
    ax.set_yscale("log")
    ax.set_yticks([1, 2, 4, 8], ["1", "2", "4", "8"])
    ax.minorticks_off()
    ax.margins(x=0.12)
    ax.set_xlabel("bits of weight and activation")
    ax.set_ylabel("times the integer of this width")
    ax.set_title(TITLES[column], fontsize=10)
    ax.legend(fontsize=8, loc="upper left")


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--costs", required=True, help="mac_costs.parquet of synthesise_macs")
    parser.add_argument("--figure", required=True, help="SVG to write")
    parser.add_argument("--drawn", required=True, help="CSV to write: exactly what the figure shows")
    return parser.parse_args(argv)


if __name__ == "__main__":
    run(main)
