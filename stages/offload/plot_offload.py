"""Figures: what routing is like, how fast every policy would be beside the limits, and what speed costs in quality.

python -m stages.offload.plot_offload --shares shares.csv --recall recall.csv --hits hits.csv --grid grid.csv
    --limits limits.csv --quality a/quality.csv --curves moe-s0/curve.csv --machine a6000-mixtral --routing routing.svg
    --drawn-routing routing.csv --policies policies.svg --drawn-policies policies.csv --lengths lengths.svg
    --drawn-lengths lengths.csv --pareto pareto.svg --drawn-pareto pareto.csv

Rates are modelled. Bars and lines are means over models trained from other seeds; thin marks hold all of them.
"""

import argparse
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")  # no display on the machines that run this

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from stages.lib.core.artifacts import atomic_path
from stages.lib.core.errors import run
from stages.lib.core.plots import PALETTE, PUBLISHED, STYLE, reach, save_figure
from stages.lib.core.tables import read_tables
from stages.offload.measure_offload import LOW, PAPER
from stages.offload.measure_offload import PUBLISHED as PUBLISHED_RATES
from stages.offload.policies import POLICIES

PREDICTORS = {"next gate": "o", "prompt": "s", "previous token": "^", "calibration": "D", "random": "x"}
PLACEMENTS = ("static", "lru", "swapped", "best for each text")
LENGTHS = ("fiddler-coded", "fiddler", "lru", "hybrimoe", "daop-coded", "daop-swap", "daop")
# policy: what it does to the answer, as measure_quality calls it
LOSSES = {
    "fiddler": "exact", "daop-swap": "exact", "hybrimoe": "exact", "daop-fresh-input": "predicted routing",
    "daop-no-degradation": "predicted, stale", "daop": "DAOP",
}  # fmt: skip
LIMITS = {"swapped": "-", "best for each text": "--", "exchanged": ":"}


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    grid = read_tables([args.grid], "policy", "machine", "ratio", "tokens_s", "seed")
    limits = read_tables([args.limits], "limit", "machine", "ratio", "decode_ms", "seed")
    own, own_limits = grid[grid["machine"] == args.machine], limits[limits["machine"] == args.machine]
    shares = read_tables([args.shares], "fact", "k", "value")
    recall = read_tables([args.recall], "layer", "predictor", "recall", "seed")
    hits = read_tables([args.hits], "domain", "placement", "hit", "ratio")
    curves = [pd.read_csv(path).assign(model=Path(path).parent.name) for path in args.curves]
    with mpl.rc_context(STYLE):
        figure, axes = plt.subplots(1, 3, figsize=(12, 3.8), layout="constrained")
        plot_recall(recall, axes[0])
        plot_hits(hits, axes[1])
        plot_skew(curves, shares, axes[2])
        save_figure(figure, args.routing)
        plt.close(figure)

        ratios = [r for r in (LOW, PAPER) if np.isclose(own["ratio"], r).any()] or sorted(
            own["ratio"].unique()
        )[:2]
        figure, axes = plt.subplots(
            1,
            len(ratios),
            figsize=(1.5 + 4.6 * len(ratios), 6.6),
            sharey=True,
            squeeze=False,
            layout="constrained",
        )
        for ax, ratio in zip(axes[0], ratios, strict=True):
            plot_policies(
                own[np.isclose(own["ratio"], ratio)],
                own_limits[np.isclose(own_limits["ratio"], ratio)],
                ratio,
                ax,
            )
        handles, labels = axes[0][0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=2, fontsize=8)
        save_figure(figure, args.policies)
        plt.close(figure)

        figure, ax = plt.subplots(figsize=(6.4, 4.2), layout="constrained")
        lengths = plot_lengths(own[np.isclose(own["ratio"], ratios[-1])], ax)
        save_figure(figure, args.lengths)
        plt.close(figure)

        figure, ax = plt.subplots(figsize=(6.4, 4.2), layout="constrained")
        pareto = plot_pareto(
            own, read_tables(args.quality, "approximation", "ratio", "lost", "seed"), ratios, ax
        )
        save_figure(figure, args.pareto)
        plt.close(figure)
    for path, rows in (
        (args.drawn_routing, pd.concat([recall, hits, shares, *curves])),
        (args.drawn_policies, own),
        (args.drawn_lengths, lengths),
        (args.drawn_pareto, pareto),
    ):
        with atomic_path(path) as temporary:
            rows.to_csv(temporary, index=False, float_format="%.6g")


def plot_recall(recall: pd.DataFrame, ax: Axes) -> None:
    for colour, (predictor, marker) in zip(PALETTE, PREDICTORS.items(), strict=False):
        rows = recall[recall["predictor"] == predictor].groupby("layer")["recall"]
        mean = rows.mean()
        ax.plot(mean.index, mean, marker=marker, ms=4, color=colour, label=predictor)
        ax.fill_between(mean.index, rows.min(), rows.max(), color=colour, alpha=0.2, lw=0)
    ax.set(
        xlabel="layer", ylabel="experts foreseen (share)", ylim=(0, 1), title="before a layer's gate is asked"
    )
    ax.legend(fontsize=8, loc="lower right", ncols=2)


def plot_hits(hits: pd.DataFrame, ax: Axes) -> None:
    rows = hits[hits["domain"].isin(["all", "each its own"])]
    table = rows.pivot_table(index="ratio", columns=["domain", "placement"], values="hit")
    width = 0.2
    for i, (colour, placement) in enumerate(zip(PALETTE, PLACEMENTS, strict=False)):
        at = np.arange(len(table)) + (i - 1.5) * width
        ax.bar(at, table["all", placement], width, color=colour, label=placement)
    ax.plot(
        np.arange(len(table)) - 1.5 * width, table["each its own", "static"], "k_", ms=12, mew=2,
        label="static, calibrated\nfor each domain",
    )  # fmt: skip
    ax.set_xticks(range(len(table)), [f"{ratio:.0%}" for ratio in table.index])
    ax.set(
        xlabel="experts on the GPU", ylabel="choices that are there (share)", ylim=(0, 1), title="hit rate"
    )
    ax.legend(fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=3)


def plot_skew(curves: list[pd.DataFrame], shares: pd.DataFrame, ax: Axes) -> None:
    styles = (
        ("share_within", "within a text", PALETTE[0]),
        ("share_of_noise", "as many choices by chance", PALETTE[6]),
    )
    for column, label, colour in styles:
        for i, curve in enumerate(curves):
            ax.plot(
                curve["tokens"] / 1e6, curve[column], "o-", ms=3, color=colour, label=None if i else label
            )
    facts = shares[shares["k"] == 2].groupby("fact")["value"].mean()
    if "share within a text" in facts:
        ax.axhline(
            facts["share within a text"],
            color=PALETTE[0],
            ls=":",
            label="within a text, answers of the traces",
        )
    ax.set(xlabel="tokens of training (millions)", ylabel="share of the two most used", title="how uneven")
    ax.legend(fontsize=8)


def plot_policies(rows: pd.DataFrame, limits: pd.DataFrame, ratio: float, ax: Axes) -> None:
    names = [name for name in POLICIES if name in set(rows["policy"])][::-1]
    for at, name in enumerate(names):
        rates = rows[rows["policy"] == name]["tokens_s"]
        ax.barh(at, rates.mean(), color=PALETTE[0] if POLICIES[name].exact else PALETTE[1], height=0.7)
        ax.plot(rates, np.full(len(rates), at), "k|", ms=8)
        box = {"facecolor": "white", "edgecolor": "none", "pad": 0.5}
        ax.annotate(
            f"{rates.mean():.2f}", (rates.max(), at), xytext=(6, 0), textcoords="offset points", va="center",
            fontsize=8, bbox=box,
        )  # fmt: skip
        if published := PUBLISHED_RATES.get((name, ratio)):
            ax.plot(published, at, "D", color=PUBLISHED, ms=6)
    for limit, style in LIMITS.items():
        ms = limits[limits["limit"] == limit]["decode_ms"].mean()
        ax.axvline(1e3 / ms, color="k", ls=style, lw=1, label=f"placement {limit}, unpredicted")
    ax.plot([], [], "D", color=PUBLISHED, label="published, with prompt and swaps")
    ax.set_yticks(range(len(names)), [POLICIES[name].title for name in names], fontsize=8)
    ax.set(
        xscale="log", xlabel="tokens/s while decoding (modelled)", title=f"{ratio:.1%} of experts on the GPU"
    )


def plot_lengths(rows: pd.DataFrame, ax: Axes) -> pd.DataFrame:
    columns = {int(c.rpartition("_")[2]): c for c in rows.columns if c.startswith("tokens_s_")}
    means = rows.groupby("policy")[list(columns.values())].mean()
    there = [name for name in LENGTHS if name in means.index]
    for i, name in enumerate(there):
        ax.plot(
            list(columns), means.loc[name], marker="os^DvP*"[i], ms=4, color=PALETTE[i % len(PALETTE)],
            label=POLICIES[name].title,
        )  # fmt: skip
    ax.set(xscale="log", xlabel="tokens of the answer", ylabel="tokens/s with prompt and swaps (modelled)")
    ax.set_xticks(list(columns), [str(n) for n in columns])
    ax.minorticks_off()
    ax.legend(fontsize=8)
    return means.loc[there].reset_index()


def plot_pareto(grid: pd.DataFrame, quality: pd.DataFrame, ratios: list[float], ax: Axes) -> pd.DataFrame:
    found = []
    for policy, approximation in LOSSES.items():
        for ratio in ratios:
            rates = (
                grid[(grid["policy"] == policy) & np.isclose(grid["ratio"], ratio)]
                .groupby("seed")["tokens_s"]
                .mean()
            )
            base = (
                grid[(grid["policy"] == "fiddler") & np.isclose(grid["ratio"], ratio)]
                .groupby("seed")["tokens_s"]
                .mean()
            )
            rows = quality[quality["approximation"] == approximation]
            rows = rows[rows["ratio"].isna() | np.isclose(rows["ratio"], ratio)]
            found.append({
                "policy": policy, "ratio": ratio, "speed_over_fiddler": (rates / base).mean(),
                "lost_nats": rows["lost"].mean(), "least_lost": rows["lost"].min(), "most_lost": rows["lost"].max(),
            })  # fmt: skip
    table = pd.DataFrame(found)
    for i, ratio in enumerate(ratios):
        rows = table[table["ratio"] == ratio]
        bars = reach(rows["lost_nats"], rows["least_lost"], rows["most_lost"])
        ax.errorbar(
            rows["speed_over_fiddler"], rows["lost_nats"], yerr=bars, fmt="os"[i % 2], color=PALETTE[i], capsize=2,
            label=f"{ratio:.1%} on the GPU",
        )  # fmt: skip
        for row in rows.itertuples():
            ax.annotate(
                row.policy, (row.speed_over_fiddler, row.lost_nats), fontsize=7, xytext=(4, -10 if i else 4),
                textcoords="offset points", color=PALETTE[i],
            )  # fmt: skip
    ax.axhline(0, color="k", lw=0.8)
    ax.set(
        xlabel="speed over overlapped Fiddler (modelled)",
        ylabel="nats lost a token (measured; bars: all models)",
    )
    ax.legend(fontsize=8)
    return table


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shares", required=True, help="CSV of study_routing")
    parser.add_argument("--recall", required=True, help="CSV of study_routing")
    parser.add_argument("--hits", required=True, help="CSV of study_routing")
    parser.add_argument("--grid", required=True, help="CSV of simulate_policies")
    parser.add_argument("--limits", required=True, help="CSV of simulate_policies")
    parser.add_argument("--quality", nargs="+", required=True, help="CSVs of measure_quality")
    parser.add_argument("--curves", nargs="+", required=True, help="CSVs of train_moe")
    parser.add_argument("--machine", required=True, help="that rates are drawn for")
    for name in ("routing", "policies", "lengths", "pareto"):
        parser.add_argument(f"--{name}", required=True, help="SVG to write")
        parser.add_argument(f"--drawn-{name}", required=True, help="CSV of what is drawn")
    return parser.parse_args(argv)


if __name__ == "__main__":
    run(main)
