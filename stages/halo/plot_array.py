"""Figures: what HALO's premise is worth by multiplier, and what its clocks can and cannot give. All of it is modelled.

python -m stages.halo.plot_array --table array.csv --shares shares.csv --perplexity books-booth.csv llama-s0.csv
    --netlist array --premise premise.svg --drawn-premise premise.csv --bounds bounds.svg --drawn-bounds bounds.csv
    --notes bounds.txt

Premise: for each multiplier the clock of its 9 and 16 fastest values over that of all values, speed and energy saved of
HALO's balanced row over W8A8 by reading, and the perplexity of its three rows with this multiplier's books where a table
of perplexities has it. Bounds: speed over the share of low tiles; speed and energy over each baseline. The notes say in
sentences what the bounds mean for the published means.
"""

import argparse
from collections.abc import Sequence

import matplotlib as mpl

mpl.use("Agg")  # no display on the machines that run this

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from stages.halo.measure_array import BASELINES, CASE, HALO, WANTED_SPEED, paper_prompts, ratios
from stages.lib.core.artifacts import atomic_path, write_text
from stages.lib.core.errors import run
from stages.lib.core.plots import PALETTE, PUBLISHED, STYLE, save_figure
from stages.lib.core.tables import read_tables
from stages.lib.costs.dvfs import HALO_ARRAY_LEVELS

# HALO's abstract: mean gain in performance and mean saving over baseline methods (published)
PUBLISHED_SPEED, PUBLISHED_SAVING = 3.7, 0.51
READINGS = {
    "published": "published levels",
    "measured": "this multiplier, 1.1 and 1.2 V",
    "iso_voltage": "this multiplier, 1.0 V",
}
COLOUR = dict(zip(READINGS, (PUBLISHED, PALETTE[1], PALETTE[0]), strict=True))
ROW_NAME = {"halo-perf": "all low", "halo-bal": "half low", "halo-acc": "all high"}


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    table = ratios(read_tables([args.table], *CASE, "arm", "parts", "time_ms", "energy_mj", "compute_share"))
    shares = read_tables([args.shares], "netlist", "reading", "low_ghz", "high_ghz", "low_share", "speed")
    perplexity = read_tables(args.perplexity, "model", "netlist", "row", "over_float")
    prompts = paper_prompts(table)
    premise = premise_table(prompts, shares, perplexity)
    bounds = bounds_table(prompts[prompts["netlist"] == args.netlist])
    own = shares[shares["netlist"] == args.netlist]
    with mpl.rc_context(STYLE):
        figure = draw_premise(premise)
        save_figure(figure, args.premise)
        plt.close(figure)
        figure, axes = plt.subplots(1, 3, figsize=(11.5, 4.2), width_ratios=(4, 5, 5), layout="constrained")
        plot_shares(own, axes[0])
        plot_bars(bounds, "speed", axes[1])
        plot_bars(bounds, "saving", axes[2])
        save_figure(figure, args.bounds)
        plt.close(figure)
    for path, drawn in ((args.drawn_premise, premise), (args.drawn_bounds, bounds)):
        with atomic_path(path) as temporary:
            drawn.to_csv(temporary, index=False)
    write_text(args.notes, notes(bounds, own))


def premise_table(prompts: pd.DataFrame, shares: pd.DataFrame, perplexity: pd.DataFrame) -> pd.DataFrame:
    """A row a multiplier: gains in clock of its classes, speed and energy saved by reading, perplexity over float."""
    free = shares[shares["reading"] == "iso_voltage"].drop_duplicates("netlist").set_index("netlist")
    clocks = free[["low_ghz", "high_ghz"]] / HALO_ARRAY_LEVELS[0].frequency_ghz
    found = clocks.rename(columns={"low_ghz": "clock_9", "high_ghz": "clock_16"})
    for reading in READINGS:
        rows = prompts[prompts["arm"] == f"halo-bal {reading}"].groupby("netlist")
        found[f"speed_{reading}"] = rows["speed over W8A8"].mean()
        found[f"saving_{reading}"] = rows["saving over W8A8"].mean()
    # models of which several multipliers' books were tried
    tried = perplexity.groupby("model")["netlist"].transform("nunique") > 1
    for row in ROW_NAME:
        of_row = perplexity[tried & (perplexity["row"] == row)]
        found[f"perplexity_{row}"] = of_row.groupby("netlist")["over_float"].mean()
    return found.reset_index()


def bounds_table(prompts: pd.DataFrame) -> pd.DataFrame:
    """Mean speed over, and energy saved over, each baseline, by arm: means over the paper's models."""
    rows = []
    for arm, own in prompts.groupby("arm", sort=False):
        for name in BASELINES:
            means = {key: own[f"{key} over {name}"].mean() for key in ("speed", "saving")}
            rows += [{"arm": arm, "baseline": name, **means}] if name != arm else []
    return pd.DataFrame(rows)


def draw_premise(premise: pd.DataFrame) -> plt.Figure:
    figure, axes = plt.subplots(
        1, 4, figsize=(11.5, 0.26 * len(premise) + 1.6), sharey=True, layout="constrained"
    )
    place = np.arange(len(premise))
    clock, speed, saving, perplexity = axes
    for count, face in ((9, PALETTE[2]), (16, "none")):
        clock.scatter(
            premise[f"clock_{count}"], place, s=28, color=PALETTE[2], facecolors=face, label=f"{count} values"
        )
    for count, level, style in ((9, 2, "--"), (16, 1, ":")):
        ratio = HALO_ARRAY_LEVELS[level].frequency_ghz / HALO_ARRAY_LEVELS[0].frequency_ghz
        clock.axvline(ratio, color=PUBLISHED, linestyle=style, label=f"{count}, published")
    for reading, label in READINGS.items():
        speed.scatter(premise[f"speed_{reading}"], place, s=20, color=COLOUR[reading], label=label)
        saving.scatter(100 * premise[f"saving_{reading}"], place, s=20, color=COLOUR[reading])
    for colour, (row, label) in zip((PALETTE[4], PALETTE[3], PALETTE[5]), ROW_NAME.items(), strict=True):
        perplexity.scatter(100 * (premise[f"perplexity_{row}"] - 1), place, s=20, color=colour, label=label)
    clock.set_yticks(place, premise["netlist"])
    clock.invert_yaxis()
    clock.set_xlabel("clock of the fastest values\nover that of all, one voltage")
    speed.set_xlabel("speed over W8A8")
    saving.set_xlabel("energy saved over W8A8, %")
    perplexity.set_xlabel("perplexity above float, %")
    saving.axvline(0, color="black", linewidth=1, linestyle="--")
    for ax in (clock, speed, perplexity):
        ax.legend(fontsize=7, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2 - (ax is speed))
    return figure


def plot_shares(shares: pd.DataFrame, ax: Axes) -> None:
    for reading in ("published", "iso_voltage"):
        own = shares[shares["reading"] == reading]
        ax.plot(100 * own["low_share"], own["speed"], color=COLOUR[reading], label=READINGS[reading])
    bound = HALO_ARRAY_LEVELS[-1].frequency_ghz / HALO_ARRAY_LEVELS[0].frequency_ghz
    ax.axhline(bound, color="black", linewidth=1, linestyle="--")
    ax.text(1, bound + 0.01, f"{bound:.2f}: ratio of the clocks", fontsize=8)
    ax.axhline(WANTED_SPEED, color=PUBLISHED, linewidth=1, linestyle=":")
    ax.text(1, WANTED_SPEED - 0.045, f"{WANTED_SPEED}: published, second-hand", fontsize=8, color=PUBLISHED)
    ax.set_ylim(1, 2.05)
    ax.set_xlabel("tiles with the 9 fastest values, %")
    ax.set_ylabel("speed over W8A8 where arithmetic limits")
    ax.legend(fontsize=8, loc="lower right")


def plot_bars(bounds: pd.DataFrame, quantity: str, ax: Axes) -> None:
    """Groups are baselines, bars HALO's rows by reading and what else runs faster."""
    bars = {
        f"{row} {reading}": (f"{ROW_NAME[row]}, {where}", colour)
        for reading, where, colours in (
            ("published", "published", ("#BFBFBF", "#9F9F9F", PUBLISHED)),
            ("iso_voltage", "1.0 V", (PALETTE[5], PALETTE[0], "#003F66")),
        )
        for row, colour in zip(HALO, colours, strict=True)
    } | {
        "halo-bal iso_power": ("half low, W8A8's power", PALETTE[4]),
        "W8A8 at 1.2 V": ("W8A8 at 1.2 V", PALETTE[3]),
        "W8A8 overclocked": ("W8A8 overclocked", PALETTE[6]),
    }
    width = 0.85 / len(bars)
    scale = 100 if quantity == "saving" else 1
    groups = np.arange(len(BASELINES))
    for i, (arm, (label, colour)) in enumerate(bars.items()):
        own = bounds[bounds["arm"] == arm].set_index("baseline")[quantity].reindex(BASELINES)
        ax.bar(groups + (i - (len(bars) - 1) / 2) * width, scale * own, width, color=colour, label=label)
    ax.set_xticks(range(len(BASELINES)), [f"over {name}" for name in BASELINES])
    line, text = (100 * PUBLISHED_SAVING, "51 %") if quantity == "saving" else (PUBLISHED_SPEED, "270 % more")
    ax.axhline(line, color=PUBLISHED, linestyle="--", linewidth=1)
    ax.text(2.5, line, f"{text}, published mean", fontsize=8, color=PUBLISHED, va="bottom", ha="right")
    ax.axhline(0 if quantity == "saving" else 1, color="black", linewidth=1)
    ax.set_ylabel("energy saved, %" if quantity == "saving" else "speed")
    if quantity == "speed":
        ax.legend(fontsize=7, loc="upper right", bbox_to_anchor=(1, 0.95))


def notes(bounds: pd.DataFrame, shares: pd.DataFrame) -> str:
    """What the bounds mean for the abstract, a paragraph a line, with this model's numbers."""
    mean = bounds.set_index(["arm", "baseline"])
    fast, base = HALO_ARRAY_LEVELS[-1], HALO_ARRAY_LEVELS[0]
    bound, price = fast.frequency_ghz / base.frequency_ghz, (fast.voltage_v / base.voltage_v) ** 2
    published = shares[shares["reading"] == "published"]
    needed = published.loc[published["speed"] >= WANTED_SPEED, "low_share"].min()
    free = shares[shares["reading"] == "iso_voltage"].iloc[0]
    clock_9, clock_16 = (free[key] / base.frequency_ghz for key in ("low_ghz", "high_ghz"))

    def over(arm: str, quantity: str) -> str:
        form = "{:.2f} times" if quantity == "speed" else "{:.0%}"
        return ", ".join(f"{form.format(mean.loc[(arm, name), quantity])} over {name}" for name in BASELINES)

    speed, saving = (mean.loc["halo-perf published"][key].mean() for key in ("speed", "saving"))
    raised = mean.loc[("W8A8 at 1.2 V", "W8A8")]
    paragraphs = [
        f"On one array no clock gains more than {fast.frequency_ghz:g} / {base.frequency_ghz:g} = {bound:.2f} times over"
        f" W8A8, and that with every tile low; {WANTED_SPEED} times (second-hand) needs {needed:.1%} low tiles. A mean of"
        f" {PUBLISHED_SPEED:g} times (270 % more) cannot be over W8A8 or W4A8 on that array: it mixes in FP16.",
        f"With the published levels and all tiles low, prompts of the paper's seven models run"
        f" {over('halo-perf published', 'speed')}; the mean is {speed:.2f} times, {speed - 1:.0%} more, against 270 %.",
        f"At {fast.voltage_v} V a switched operation costs ({fast.voltage_v} / {base.voltage_v})^2 = {price:.2f} times"
        f" as much as at {base.voltage_v} V. The fast values switch less, and four bits are read for eight: together"
        f" this saves {over('halo-perf published', 'saving')}; the mean is {saving:.0%}, against 51 %.",
        f"At {base.voltage_v} V throughout, this multiplier's 9 and 16 fastest values allow {clock_9:.2f} and"
        f" {clock_16:.2f} times the clock of all values. Half low, that gives {over('halo-bal iso_voltage', 'speed')},"
        f" and saves {over('halo-bal iso_voltage', 'saving')}.",
        f"W8A8 raised to {fast.voltage_v} V, its weights unchanged, is {raised['speed']:.2f} times as fast as at"
        f" {base.voltage_v} V and takes {-raised['saving']:.0%} more energy.",
    ]
    return "\n".join(paragraphs) + "\n"


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--table", required=True, help="CSV of study_array")
    parser.add_argument("--shares", required=True, help="CSV of study_array: speed by the share of low tiles")
    parser.add_argument("--perplexity", nargs="+", required=True, help="CSVs of evaluate_rows")
    parser.add_argument("--netlist", required=True, help="the multiplier of the bounds")
    parser.add_argument("--premise", required=True, help="SVG to write: what it is worth by multiplier")
    parser.add_argument("--drawn-premise", required=True, help="CSV to write: what it shows")
    parser.add_argument("--bounds", required=True, help="SVG to write: what clocks can and cannot give")
    parser.add_argument("--drawn-bounds", required=True, help="CSV to write: what it shows")
    parser.add_argument("--notes", required=True, help="text to write: what the bounds mean")
    return parser.parse_args(argv)


if __name__ == "__main__":
    run(main)
