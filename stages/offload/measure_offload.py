"""Measure DAOP's claims D3, D5 to D11 and D12b to D16 from tables of routing, quality and modelled rates.

python -m stages.offload.measure_offload --shares shares.csv --recall recall.csv --hits hits.csv --grid grid.csv
    --limits limits.csv --quality a/quality.csv b/quality.csv --curves a/curve.csv b/curve.csv --machine a6000-mixtral
    --measurements OUT.json

A seed is a model that was trained anew; rates are modelled, routing and quality are measured. D17 needs the real Mixtral.
"""

import argparse
import math
from collections.abc import Callable, Iterator

import numpy as np
import pandas as pd

from stages.lib.core.errors import run
from stages.lib.core.measurements import (
    Measurement,
    device_record,
    finite,
    over_seeds,
    write_measurements,
)
from stages.lib.core.tables import read_tables
from stages.offload.traces import seed_of

QUALITY_NEEDED = 0.5  # nats that leaving the experts out must cost before any loss of less says something
LOW, PAPER = 0.25, 0.469  # shares of experts on the GPU that the paper reports
THREE = (0.25, 0.469, 0.625)
# tokens/s of the paper's figures with prompt and swaps, 256 tokens in and 512 out (second-hand)
PUBLISHED = {("fiddler-coded", PAPER): 3.22, ("daop-coded", PAPER): 4.52, ("daop-coded", LOW): 3.23}
PUBLISHED_TOKENS_KJ = {"fiddler-coded": 10.06, "daop-coded": 14.37}


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    shares = read_tables([args.shares], "fact", "k", "value", "seed")
    recall = read_tables([args.recall], "layer", "predictor", "recall", "seed")
    hits = read_tables([args.hits], "domain", "placement", "hit", "ratio", "seed")
    grid = read_tables([args.grid], "policy", "machine", "ratio", "tokens_s", "seed", "beaten")
    limits = read_tables([args.limits], "limit", "machine", "ratio", "decode_ms", "seed")
    own = grid[grid["machine"] == args.machine]
    measurements = [
        every_bound(grid),
        *routing_claims(shares, recall, hits),
        *rate_claims(own),
        left_over(limits[limits["machine"] == args.machine]),
    ]
    if args.curves:
        measurements.append(skew_over_training(args.curves))
    if args.quality:
        quality = read_tables(args.quality, "approximation", "ratio", "lost", "seed")
        measurements += list(degradation(quality))
    write_measurements(args.measurements, measurements, device=device_record(threads=1))


def every_bound(grid: pd.DataFrame) -> Measurement:
    """D3: texts that ended before the busiest resource was done, or before what is possible without prediction."""
    ahead = grid[grid["policy"].isin(["daop", "daop-static"])]["of_resource_bound"].max()
    return Measurement(
        claim="D3", value=float(grid["beaten"].sum()), unit="1", n=int(grid["texts"].sum()),
        controls=finite({"DAOP with degradation, of the bound of the gates' own choices": ahead}),
    )  # fmt: skip


def routing_claims(shares: pd.DataFrame, recall: pd.DataFrame, hits: pd.DataFrame) -> Iterator[Measurement]:
    def fact(name: str, k: int = 0) -> "pd.Series[float]":
        rows = shares[(shares["fact"] == name) & (shares["k"] == k)]
        return rows.set_index("seed")["value"]

    own, other = fact("prompt and answer"), fact("prompt and another text's answer")
    yield over_seeds(
        "D5", own - other, unit="1", n=len(own),
        controls={
            "same text (paper: 0.907)": own.mean(), "another text": other.mean(),
            "another text of its kind": fact("prompt and the answer of a text of its kind").mean(),
            "calibration": fact("calibration and answer").mean(),
            "share of the two most used, within a text": fact("share within a text", 2).mean(),
            "the same, of as many choices by chance": fact("share of noise", 2).mean(),
        },
    )  # fmt: skip
    table = recall.pivot_table(index=["seed", "layer"], columns="predictor", values="recall")
    margin = table["next gate"] - table[["prompt", "previous token"]].max(axis=1)
    late = table.index.get_level_values("layer") >= 2
    least = margin[late].groupby(level="seed").min()
    first = table["next gate"][~late].groupby(level="seed").mean()
    drop = table["next gate"][late].groupby(level="seed").mean() - first
    yield over_seeds(
        "D6", np.minimum(least, drop), unit="1", n=len(table),
        controls={
            "next gate, mean of all layers (paper: 0.841)": table["next gate"].mean(), "next gate, layer 1": first.mean(),
            "prompt": table["prompt"].mean(), "previous token": table["previous token"].mean(),
            "calibration": table["calibration"].mean(), "random": table["random"].mean(),
            "least margin from layer 2 on": least.mean(), "later layers above layer 1": drop.mean(),
        },
    )  # fmt: skip
    hit = hits.pivot_table(index=["seed", "ratio"], columns=["domain", "placement"], values="hit")
    chosen = hit.index.get_level_values("ratio").isin((0.25, 0.5, 0.625))
    mixed, single = hit["all"][chosen], hit["each its own"][chosen]

    def closed(table: pd.DataFrame) -> "pd.Series[float]":
        return (table["swapped"] - table["static"]) / (table["best for each text"] - table["static"])

    yield over_seeds(
        "D8", closed(mixed).groupby(level="seed").min(), unit="1", n=len(mixed),
        controls={f"at {r:.0%} on the GPU": v for r, v in closed(mixed).groupby(level="ratio").mean().items()}
        | {"static": mixed["static"].mean(), "swapped": mixed["swapped"].mean(), "LRU": mixed["lru"].mean(),
           "best for each text": mixed["best for each text"].mean(),
           "static, calibrated for each domain": single["static"].mean()},
    )  # fmt: skip
    gain, alone = mixed["swapped"] - mixed["static"], single["swapped"] - single["static"]
    yield over_seeds(
        "D9", (alone.groupby(level="seed").mean() / gain.groupby(level="seed").mean()), unit="1", n=len(single),
        controls={"gain on mixed domains": gain.mean(), "gain on a domain calibrated on itself": alone.mean()},
    )  # fmt: skip


def skew_over_training(curves: list[str]) -> Measurement:
    """D7: how much of a text's choices its two most used experts take, early in training less at its end."""
    falls, controls = {}, {}
    for path in curves:
        table = read_tables([path], "tokens", "share_within", "share_overall", "share_of_noise")
        seed = seed_of(path)
        falls[seed] = float(table["share_within"].iloc[0] - table["share_within"].iloc[-1])
        for at, name in ((0, "first"), (-1, "last")):
            row = table.iloc[at]
            controls |= {
                f"seed {seed}, {name}, at {row['tokens'] / 1e3:.0f} thousand tokens": float(
                    row["share_within"]
                ),
                f"seed {seed}, {name}, by chance": float(row["share_of_noise"]),
            }
    return over_seeds("D7", falls, unit="1", n=len(curves), controls=controls)


def rate_claims(grid: pd.DataFrame) -> Iterator[Measurement]:
    def rate(policy: str, ratio: float, column: str = "tokens_s") -> "pd.Series[float]":
        rows = grid[(grid["policy"] == policy) & np.isclose(grid["ratio"], ratio)]
        return rows.set_index("seed")[column]

    def log_gain(policy: str, ratio: float, over: str = "fiddler") -> "pd.Series[float]":
        return np.log(rate(policy, ratio) / rate(over, ratio))

    there = [r for r in (LOW, PAPER) if np.isclose(grid["ratio"], r).any()]
    three = [r for r in THREE if np.isclose(grid["ratio"], r).any()]
    placement = {r: log_gain("daop-swap", r) / log_gain("daop-no-degradation", r) for r in there}
    degraded = {r: log_gain("daop", r, "daop-no-degradation") / log_gain("daop", r) for r in there}
    least = pd.concat(placement.values(), axis=1).min(axis=1)
    yield over_seeds(
        "D10", least, unit="1", n=len(there),
        controls={f"placement's share without degradation at {r:.0%}": s.mean() for r, s in placement.items()}
        | {f"degradation's share of all at {r:.0%}": s.mean() for r, s in degraded.items()}
        | {f"{p} over fiddler at {r:.0%}": (rate(p, r) / rate("fiddler", r)).mean() for r in there
           for p in ("daop-swap", "daop-precalculate", "daop-no-degradation", "daop-static", "daop")}
        | {f"hit rate, {p}, at {r:.0%}": rate(p, r, "hit").mean() for r in there for p in ("static", "daop-swap")},
    )  # fmt: skip
    verified = {r: rate("daop-verified", r) / rate("fiddler", r) - 1 for r in three}
    yield over_seeds(
        "D12b", pd.concat(verified.values(), axis=1).min(axis=1), unit="1", n=len(three),
        controls={f"at {r:.0%} on the GPU": s.mean() for r, s in verified.items()}
        | {f"with the oracle's prediction at {r:.0%}":
           (rate("daop-verified, oracle", r) / rate("fiddler", r) - 1).mean() for r in three}
        | {f"placement alone at {r:.0%}": (rate("daop-swap", r) / rate("fiddler", r) - 1).mean() for r in three},
    )  # fmt: skip
    shrinks = {r: rate("lru", r) / rate("lru-pageable", r) for r in there}
    yield over_seeds(
        "D13", pd.concat(shrinks.values(), axis=1).min(axis=1), unit="1", n=len(there),
        controls={f"{p} over fiddler at {r:.0%}": (rate(p, r) / rate("fiddler", r)).mean() for r in there
                  for p in ("lru-pageable", "lru", "on-demand-coded", "on-demand")}
        | {f"daop-coded over on-demand-coded at {r:.0%} (paper: up to 8.20)":
           (rate("daop-coded", r, "tokens_s_512") / rate("on-demand-coded", r, "tokens_s_512")).mean() for r in there},
    )  # fmt: skip

    def break_even(policy: str, ratio: float) -> "pd.Series[float]":
        """Tokens of answer from which the policy's swaps have paid for themselves; never: infinite."""
        extra = rate(policy, ratio, "prompt_ms") - rate("fiddler", ratio, "prompt_ms")
        gained = rate("fiddler", ratio, "decode_ms") - rate(policy, ratio, "decode_ms")
        return (extra / gained).where(gained > 0, math.inf)

    yield over_seeds(
        "D14", break_even("daop-coded", there[-1]), unit="tokens", n=len(there),
        controls={f"{p} at {r:.0%}": break_even(p, r).mean() for r in there for p in ("daop-coded", "daop", "daop-swap")}
        | {f"{key} of daop-coded at {there[-1]:.0%}": rate("daop-coded", there[-1], key).mean()
           for key in ("hit", "hit_kept", "prompt_ms", "prompt_ms_kept")},
    )  # fmt: skip
    if len(there) == 2:
        yield from published_rates(rate)


def published_rates(rate: Callable[..., "pd.Series[float]"]) -> Iterator[Measurement]:
    """D15: the largest deviation, as a share, of modelled rates with prompt and swaps from the published ones."""
    ours = {key: rate(*key, "tokens_s_512").mean() for key in PUBLISHED}

    def over(policy: str, other: str, ratio: float) -> float:
        return float((rate(policy, ratio, "tokens_s_512") / rate(other, ratio, "tokens_s_512")).mean())

    off = {key: ours[key] / value - 1 for key, value in PUBLISHED.items()}
    yield Measurement(
        claim="D15", value=max(abs(v) for v in off.values()), unit="1", n=len(off),
        controls=finite(
            {f"{p} at {r:.0%}, tokens/s (published {PUBLISHED[p, r]})": v for (p, r), v in ours.items()}
            | {f"the same while decoding, {p} at {r:.0%}": rate(p, r).mean() for p, r in PUBLISHED}
            | {f"daop over fiddler at {r:.0%}, as coded (published 1.40 at 47%)":
               over("daop-coded", "fiddler-coded", r) for r in (LOW, PAPER)}
            | {f"daop over fiddler at {r:.0%}, pinned and overlapped":
               over("daop", "fiddler", r) for r in (LOW, PAPER)}
            | {f"{p}, tokens/kJ (published {v})": rate(p, PAPER, "tokens_kj").mean()
               for p, v in PUBLISHED_TOKENS_KJ.items()}
        ),
    )  # fmt: skip


def left_over(limits: pd.DataFrame) -> Measurement:
    """D16: time that the best exchanges would save of that after DAOP's swap, most of all ratios."""
    table = limits.pivot_table(index=["seed", "ratio"], columns="limit", values="decode_ms")
    left = 1 - table["exchanged"] / table["swapped"]
    static = 1 - table["best for each text"] / table["swapped"]
    return over_seeds(
        "D16", left.groupby(level="seed").max(), unit="1", n=len(table),
        controls={f"exchanges, at {r:.0%}": v for r, v in left.groupby(level="ratio").mean().items()}
        | {f"best for each text, at {r:.0%}": v for r, v in static.groupby(level="ratio").mean().items()},
    )  # fmt: skip


def degradation(quality: pd.DataFrame) -> Iterator[Measurement]:
    """D11: degradation's share of the nats that DAOP loses, where there is enough to lose for that to mean something."""
    lost = quality.pivot_table(index="seed", columns=["approximation", "ratio"], values="lost")
    whole = quality[quality["ratio"].isna()].pivot_table(index="seed", columns="approximation", values="lost")
    if whole["no experts"].min() < QUALITY_NEEDED:
        return
    share = (lost["DAOP", LOW] - lost["predicted, stale", LOW]) / lost["DAOP", LOW]
    yield over_seeds(
        "D11", share, unit="1", n=len(share),
        controls={f"{name}, nats": value for name, value in whole.mean().items()}
        | {f"{name} at {ratio:.0%}, nats": value for (name, ratio), value in lost.mean().items()},
    )  # fmt: skip


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shares", required=True, help="CSV of study_routing")
    parser.add_argument("--recall", required=True, help="CSV of study_routing")
    parser.add_argument("--hits", required=True, help="CSV of study_routing")
    parser.add_argument("--grid", required=True, help="CSV of simulate_policies")
    parser.add_argument("--limits", required=True, help="CSV of simulate_policies")
    parser.add_argument("--quality", nargs="*", default=[], help="CSVs of measure_quality, one a model")
    parser.add_argument("--curves", nargs="*", default=[], help="CSVs of train_moe, in folders NAME-sN")
    parser.add_argument("--machine", required=True, help="that the claims on rates are judged on")
    parser.add_argument("--measurements", required=True, help="JSON to write")
    return parser.parse_args(argv)


if __name__ == "__main__":
    run(main)
