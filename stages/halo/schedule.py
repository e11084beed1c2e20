"""When a quantised model's tiles run at which voltage and clock, as a file.

classes      low and high: the values, the delay of the slowest of them, the clock that it allows at the base voltage,
             and the level at which the class runs
base         the level of what is neither: attention and weights kept apart
order        of one pass: layer, class and number of tiles of each run at one level
transitions  changes of level in that pass, and the time that they take
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from stages.halo.array import BASE_GHZ, BASE_V, Arm, Multiplier
from stages.halo.quantise import Matrix
from stages.lib.costs.dvfs import transition_cost


def schedule_of(
    matrices: Mapping[str, Matrix],
    arm: Arm,
    multiplier: Multiplier,
    books: Mapping[str, Sequence[int]],
    *,
    transition_ns: float,
) -> dict[str, Any]:
    """arm: two levels, of low and of high tiles. A layer begins with the class that the one before it ended with."""
    order: list[dict[str, Any]] = []
    for name, matrix in matrices.items():
        assert matrix.low is not None
        n_low = int(matrix.low.sum())
        runs = [
            {"layer": name, "class": kind, "tiles": n}
            for kind, n in (("low", n_low), ("high", matrix.low.numel() - n_low))
            if n
        ]
        if order and runs[0]["class"] != order[-1]["class"]:
            runs.reverse()
        order += runs
    level = dict(zip(("low", "high"), arm.levels, strict=True))
    cost = transition_cost([level[run["class"]] for run in [*order, order[0]]], time_ns=transition_ns)
    return {
        "multiplier": multiplier.name,
        "base": {
            "voltage_v": BASE_V,
            "frequency_ghz": BASE_GHZ,
            "delay_ns": float(multiplier.delay_ns.max()),
        },
        "classes": {
            kind: {
                "values": sorted(books[kind]),
                "delay_ns": float(multiplier.delay_ns[np.asarray(books[kind]) + 128].max()),
                "base_voltage_ghz": multiplier.class_ghz(books[kind]),
                "voltage_v": level[kind].voltage_v,
                "frequency_ghz": level[kind].frequency_ghz,
            }
            for kind in level
        },
        "order": order,
        "transitions": {"of_one_pass": cost.count, "ns": cost.time_ns},
    }
