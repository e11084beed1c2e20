"""The chosen route step by step, and all routes of the search, as tables and figures.

python -m stages.chain.plot_chain --routes routes.csv --ranked ranked.csv --chosen chosen.json --latency latency.csv
    --config CHAIN --table chain.csv --figure chain.svg --search search.svg --drawn-search search.csv

chain.csv has a row for each step: accuracy among a user's gestures on rendered hands and on real videos, each with a
95 % interval (Wilson's over images, users and seeds together), bits, multiplications, look-up tables and clock of a
lane, modelled cycles and energy, and time on the CPU.
"""

import argparse
from typing import Any

import matplotlib

matplotlib.use("Agg")
import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator, NullLocator
from scipy.stats import binomtest

from stages.chain.config import ChainConfig
from stages.chain.routes import JOINT, kind_of, steps_of, way
from stages.lib.core.artifacts import atomic_path, read_json
from stages.lib.core.commands import from_json
from stages.lib.core.errors import run
from stages.lib.core.plots import PALETTE, STYLE, reach, save_figure

SPLITS = {"test": "rendered hands", "real": "real videos"}
COSTS = (
    "weights",
    "kept_weights",
    "stored_bits",
    "macs",
    "kept_macs",
    "lut_per_lane",
    "ecp5_fmax_mhz",
    "systolic_cycles",
    "systolic_energy_uj",
    "tensor_core_cycles",
    "tensor_core_energy_uj",
)
# panels below the accuracies: column, label, factor
PANELS = (
    ("stored_bits", "weights (KiB)", 1 / 8192),
    ("kept_macs", "multiplications (M)", 1e-6),
    ("lut_per_lane", "LUT of a lane", 1.0),
    ("systolic_energy_uj", "energy, array\n(µJ, modelled)", 1.0),
    ("tensor_core_energy_uj", "energy, tensor\ncores (µJ, modelled)", 1.0),
    ("latency_ms", "time on CPU (ms)", 1.0),
)
CONFIDENCE = 0.95
# what a budget may count: label, factor
OBJECTIVES = {
    "lut_macs": ("look-up tables of a lane times multiplications of an image (M)", 1e-6),
    "systolic_energy_uj": ("energy of the array (µJ, modelled)", 1.0),
    "tensor_core_energy_uj": ("energy of the tensor cores (µJ, modelled)", 1.0),
    "kept_macs": ("multiplications of an image (M)", 1e-6),
    "stored_bits": ("weights (KiB)", 1 / 8192),
}


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    config = from_json(ChainConfig, args.config, where="--config")
    routes, chosen = pd.read_csv(args.routes), read_json(args.chosen)
    table = step_table(routes, chosen["route"]).merge(pd.read_csv(args.latency), on="route", how="left")
    ranked = pd.read_csv(args.ranked)
    drawn = search_table(routes, ranked, config)
    with atomic_path(args.table) as temporary:
        table.to_csv(temporary, index=False)
    with atomic_path(args.drawn_search) as temporary:
        drawn.to_csv(temporary, index=False)
    with plt.rc_context(STYLE):
        save_figure(steps_figure(table), args.figure)
        figure, ax = plt.subplots(figsize=(6.4, 4.4))
        plot_search(drawn, chosen["route"], config, ax)
        save_figure(figure, args.search)


def step_table(routes: pd.DataFrame, route: str) -> pd.DataFrame:
    """A row a step of the route: accuracies with their intervals, and mean costs."""
    rows = []
    for at in way(route):
        own = routes[routes["route"] == at]
        row: dict[str, Any] = {"route": at, "step": (steps_of(at) or (at,))[-1], "networks": len(own)}
        for split in (name for name in SPLITS if f"{name}_accuracy" in own):
            row |= {f"{split}_{key}": value for key, value in pooled(own, split).items()}
        rows.append(row | {name: own[name].mean() for name in COSTS})
    return pd.DataFrame(rows)


def pooled(rows: pd.DataFrame, split: str) -> dict[str, float]:
    """Accuracy over all images of these rows with Wilson's interval, and the number of images."""
    n = rows[f"{split}_n"].sum()
    if not n > 0:
        return {}
    right = round((rows[f"{split}_accuracy"] * rows[f"{split}_n"]).sum())
    interval = binomtest(int(right), int(n)).proportion_ci(CONFIDENCE, method="wilson")
    return {"accuracy": right / n, "low": interval.low, "high": interval.high, "images": int(n)}


def search_table(routes: pd.DataFrame, ranked: pd.DataFrame, config: ChainConfig) -> pd.DataFrame:
    """A row a quantised route: objective, accuracies, whether it keeps the budget, and its order of kinds."""
    quantised = ranked[[kind_of(route, config.steps) == "quantise" for route in ranked["route"]]]
    test = routes.groupby("route")["test_accuracy"].mean().rename("test_accuracy").reset_index()
    kinds = [JOINT.join(config.steps[name].kind for name in steps_of(route)) for route in quantised["route"]]
    return quantised.assign(kinds=kinds).merge(test, on="route", how="left")


def steps_figure(table: pd.DataFrame) -> plt.Figure:
    """Accuracy after every step above, what it costs below."""
    panels = [panel for panel in PANELS if table[panel[0]].notna().any()]
    figure, axes = plt.subplots(
        1 + len(panels), 1, figsize=(6.4, 2.6 + 1.05 * len(panels)), sharex=True,
        height_ratios=[2.4] + [1] * len(panels),
    )  # fmt: skip
    places = np.arange(len(table))
    for at, (split, label) in enumerate(SPLITS.items()):
        if f"{split}_accuracy" not in table:
            continue
        middle, low, high = (100 * table[f"{split}_{key}"] for key in ("accuracy", "low", "high"))
        axes[0].errorbar(
            places + 0.06 * (2 * at - 1), middle, yerr=reach(middle, low, high), color=PALETTE[at],
            marker="o", capsize=3, label=f"{label} ({table[f'{split}_images'].iloc[0]:.0f} images)",
        )  # fmt: skip
    axes[0].set(ylabel="right among a\nuser's gestures (%)", ylim=(0, 104))
    axes[0].legend(fontsize=8, loc="lower left")
    for ax, (column, label, factor) in zip(axes[1:], panels, strict=True):
        values = table[column] * factor
        ax.bar(places, values.fillna(0), color=PALETTE[2], width=0.5)
        top = values.max()
        for place, value in zip(places, values, strict=True):
            text = "none" if np.isnan(value) else f"{value:.3g}"
            ax.annotate(text, (place, 0 if np.isnan(value) else value), ha="center", va="bottom", fontsize=8)
        ax.set(ylim=(0, 1.35 * top))
        ax.set_ylabel(label, fontsize=8, rotation=0, ha="right", va="center")
        ax.tick_params(axis="y", labelsize=7)
    axes[-1].set_xticks(places, table["step"], fontsize=9)
    return figure


def plot_search(drawn: pd.DataFrame, chosen: str, config: ChainConfig, ax: Axes) -> None:
    """Test accuracy over the objective; filled where the budget is kept, a ring round what was chosen."""
    objective = drawn[config.budget.objective] * OBJECTIVES[config.budget.objective][1]
    for colour, (kinds, rows) in zip(PALETTE * 2, drawn.groupby("kinds", sort=True), strict=False):
        label = kinds.replace(JOINT, ", ")
        for fits, own in rows.groupby("fits"):
            ax.scatter(
                objective[own.index], 100 * own["test_accuracy"], s=26, edgecolor=colour,
                facecolor=colour if fits else "none", label=label if fits or not rows["fits"].any() else None,
            )  # fmt: skip
    best = drawn[drawn["route"] == chosen]
    ax.scatter(objective[best.index], 100 * best["test_accuracy"], s=150, edgecolor="black", facecolor="none")
    ax.set_title(f"chosen (ring): {chosen.replace(JOINT, ', ')}", fontsize=8, loc="left")
    ax.axhline(100 * config.budget.accuracy, color="grey", linewidth=1, linestyle=":")
    ax.set_xscale("log")
    ax.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    ax.xaxis.set_major_formatter("{x:g}")
    ax.xaxis.set_minor_locator(NullLocator())
    ax.set(
        xlabel=OBJECTIVES[config.budget.objective][0],
        ylabel="right among a user's gestures,\nrendered test images (%)",
    )
    ax.legend(fontsize=7, title="steps (filled: keeps the budget)", title_fontsize=7)


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--routes", required=True, help="CSV of measure_routes")
    parser.add_argument("--ranked", required=True, help="CSV of choose_route, a row a route")
    parser.add_argument("--chosen", required=True, help="JSON of choose_route")
    parser.add_argument("--latency", required=True, help="CSV of time_steps")
    parser.add_argument("--config", default="{}", help="ChainConfig as JSON")
    parser.add_argument("--table", required=True, help="CSV to write, a row a step")
    parser.add_argument("--figure", required=True, help="SVG to write")
    parser.add_argument("--search", required=True, help="SVG to write")
    parser.add_argument("--drawn-search", required=True, help="CSV to write, a row a route")
    return parser.parse_args(argv)


if __name__ == "__main__":
    run(main)
