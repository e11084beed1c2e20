"""Accuracy against cost: which formats are on the front, for each way to count the cost.

Cost of a pair of formats is the look-up tables of its cheapest operator (stages.lib.costs.mac_costs), with the
accumulator of the published formulas or the exact one, with or without the way back to the format; or the bits of
the network's weights.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from stages.lib.costs.mac_costs import cheapest_operators
from stages.quantization.results import PLAIN, quantised, seeded

# accumulator width of the operator, and whether the conversion of its sum back to the format is counted
COSTS = {
    "paper accumulator": ("paper", False),
    "paper accumulator + conversion": ("paper", True),
    "exact accumulator": ("exact", False),
    "exact accumulator + conversion": ("exact", True),
}
# the exact accumulator with integers as the synthesis tool builds them, which no one would: a baseline that flatters
PLAIN_INTEGER = "exact accumulator, plain integer"


def pair_costs(mac_costs: pd.DataFrame) -> pd.DataFrame:
    """One row a pair of formats: weight_format, activation_format, a column for each of COSTS and PLAIN_INTEGER (look-up
    tables), and fmax_mhz of its pipelined operator where one was routed. A cost that was not synthesised is missing.
    """
    best = cheapest_operators(mac_costs)
    keys = ["weight_format", "activation_format"]
    columns = {}
    for name, (accumulator, converted) in COSTS.items():
        rows = best[best["accumulator"] == accumulator].set_index(keys)
        columns[name] = rows["lut"] + (rows["convert_lut"] if converted else 0)
    is_plain = (mac_costs["microarchitecture"] == "default") & mac_costs["weight_format"].str.contains("INT")
    plain = cheapest_operators(mac_costs[is_plain & (mac_costs["accumulator"] == "exact")])
    columns[PLAIN_INTEGER] = plain.set_index(keys)["lut"].combine_first(columns["exact accumulator"])
    routed = mac_costs[mac_costs["ecp5_fmax_mhz"].notna()].groupby(keys)["ecp5_fmax_mhz"].max()
    return pd.DataFrame(columns).assign(fmax_mhz=routed).rename_axis(keys).reset_index()


def on_front(cost: Sequence[float], score: Sequence[float]) -> np.ndarray:
    """Whether each point has no other that costs no more and scores no less, one of the two strictly."""
    cost, score = np.asarray(cost, dtype=float), np.asarray(score, dtype=float)
    no_dearer = cost[:, None] >= cost
    no_worse = score[:, None] <= score
    strictly = (cost[:, None] > cost) | (score[:, None] < score)
    return ~(no_dearer & no_worse & strictly).any(1)


def integers_on_changing_fronts(table: pd.DataFrame, costs: pd.DataFrame) -> dict[int, float]:
    """M11: share of models with an integer on the accuracy-LUT front of every cost, and other integers on it under one
    cost than under another; by seed.
    """
    fronts = _fronts(table, costs)
    if fronts.empty:
        return {}
    holds = fronts.groupby(["seed", "model"])["integers"].agg(
        lambda sets: float(all(sets) and len(set(sets)) > 1)
    )
    return {int(seed): float(share) for seed, share in holds.groupby("seed").mean().items()}


def integer_shares(table: pd.DataFrame, costs: pd.DataFrame) -> dict[str, float]:
    """Keyed "MODEL, COST" and "MODEL, COST, uniform": shares of integers, and of integers and E1My, which are integers
    in sign and magnitude, among the formats on the front, mean over seeds.
    """
    fronts = _fronts(table, costs)
    if fronts.empty:
        return {}
    means = fronts.groupby(["model", "cost"])[["share", "uniform_share"]].mean()
    found = {}
    for (model, cost), row in means.iterrows():
        found |= {
            f"{model}, {cost}": float(row["share"]),
            f"{model}, {cost}, uniform": float(row["uniform_share"]),
        }
    return found


def _fronts(table: pd.DataFrame, costs: pd.DataFrame) -> pd.DataFrame:
    """model, seed, cost, integers (names of those on the front), share (of integers on it), uniform_share."""
    rows = seeded(quantised(table, technique=PLAIN, signs="signed"))
    # a front of one width has nothing to trade
    rows = rows[rows.groupby("model")["bits"].transform("nunique") > 1]
    rows = rows.merge(costs, on=["weight_format", "activation_format"])
    found = []
    for (model, seed), group in rows.groupby(["model", "seed"]):
        for cost in COSTS:
            known = group[group[cost].notna()]
            if known.empty:
                continue
            front = known[on_front(known[cost], known["score"])]
            integers = frozenset(front[front["family"] == "integer"]["format"])
            found.append(
                {
                    "model": model,
                    "seed": seed,
                    "cost": cost,
                    "integers": integers,
                    "share": len(integers) / len(front),
                    "uniform_share": front["format"].str.contains("INT|E1M").mean(),
                }
            )
    return pd.DataFrame(found)
