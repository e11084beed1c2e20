"""Delay and energy of one netlist for every value of its weight (HALO, sections 2.1, 2.4 and 2.5).

delay_ns is static timing with the weight constant: no activation makes the logic slower. The simulated
dynamic_delay_ns is the slowest vector met, a lower bound. Energies are means over random activations.
"""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from scipy import stats

from stages.hardware.gate_simulation import simulate
from stages.hardware.netlist import Netlist
from stages.hardware.static_timing import case_delays_ns
from stages.lib.core.errors import InputError
from stages.lib.costs.weight_values import (
    class_delay_ns,
    class_energy_fj,
    fastest_values,
    single_bit_values,
)

WEIGHT_BITS = 8
PER_NETLIST = ("microarchitecture", "accumulator_bits", "unconstrained_delay_ns", "area_um2")


def weight_values(netlist: Netlist, weight_port: str) -> np.ndarray:
    """Every value of the weight port, from the most negative."""
    width = netlist.port(weight_port, "input").nets.size
    if width > WEIGHT_BITS:
        raise InputError(
            f"netlist {netlist.name}: weight port {weight_port} has {width} bits; only up to {WEIGHT_BITS} are profiled"
        )
    return np.arange(-(1 << (width - 1)), 1 << (width - 1))


def random_stimulus(
    netlist: Netlist,
    rng: np.random.Generator,
    *,
    vectors: int,
    weight_port: str,
    activation_port: str,
    sum_port: str | None,
) -> dict[str, np.ndarray]:
    """vectors + 1 values for every input but the weight.

    Activations, and any other port, are uniform. The partial sum is what the cells above in the column would have
    added up: a random number of products of uniform operands.
    """
    stimulus = {}
    for name in netlist.inputs:
        if name == weight_port:
            continue
        width = netlist.ports[name].nets.size
        if name == sum_port:
            stimulus[name] = _partial_sums(netlist, rng, vectors + 1, weight_port, activation_port)
        else:
            # 62 bits are what an int64 holds with room; wider ports repeat their top bit
            high = 1 << (min(width, 62) - 1)
            stimulus[name] = rng.integers(-high, high, vectors + 1)
    return stimulus


def profile_netlist(
    netlist: Netlist,
    stimulus: Mapping[str, np.ndarray],
    *,
    weight_port: str,
    activation_port: str,
    sum_port: str | None,
    input_slew_ns: float,
) -> pd.DataFrame:
    """One row a weight value: the columns of weight_profile.csv, and what the simulation saw.

    mismatches  vectors whose output port is not weight * activation (+ partial sum) in two's complement
    """
    weights = weight_values(netlist, weight_port)
    activity = simulate(netlist, {weight_port: weights}, stimulus, input_slew_ns=input_slew_ns)
    wrong = _mismatches(netlist, weights, stimulus[activation_port], stimulus.get(sum_port), activity.outputs)
    vectors = activity.energy_fj.shape[1]
    toggles, settled = activity.toggles.mean(axis=1), activity.settled_toggles.mean(axis=1)
    return pd.DataFrame(
        {
            "weight": weights,
            "delay_ns": case_delays_ns(netlist, {weight_port: weights}, input_slew_ns=input_slew_ns),
            "energy_fj": activity.energy_fj.mean(axis=1),
            "energy_standard_error_fj": activity.energy_fj.std(axis=1, ddof=1) / np.sqrt(vectors),
            "dynamic_delay_ns": activity.settle_ns.max(axis=1),
            "toggles": toggles,
            # 1 = no glitches; nothing switches at all where the weight makes every output constant
            "glitch_ratio": np.divide(toggles, settled, out=np.ones_like(toggles), where=settled > 0),
            "mismatches": wrong,
            "vectors": vectors,
            "unconstrained_delay_ns": case_delays_ns(netlist, {}, input_slew_ns=input_slew_ns)[0],
            "area_um2": netlist.area_um2,
        }
    )


def spread_statistics(profile: pd.DataFrame, counts: tuple[int, ...] = (9, 16)) -> dict[str, float]:
    """How much the weight matters in one netlist; weight 0 is left out where it stops the logic altogether.

    For each count n: delay_ratio_n, how much faster a clock the n fastest values allow than all values;
    energy_ratio_n, the mean energy of all values over that of the n fastest.
    """
    moving = profile[profile["delay_ns"] > 0]
    delay = moving["delay_ns"]
    statistics = {
        "min_delay_ns": float(delay.min()),
        "median_delay_ns": float(delay.median()),
        "max_delay_ns": float(delay.max()),
        "relative_spread": float((delay.max() - delay.min()) / delay.max()),
        "min_energy_fj": float(moving["energy_fj"].min()),
        "mean_energy_fj": float(profile["energy_fj"].mean()),
        "max_energy_fj": float(moving["energy_fj"].max()),
    }
    for count in counts:
        fastest = fastest_values(profile, count)
        statistics[f"delay_ratio_{count}"] = float(delay.max() / class_delay_ns(profile, fastest))
        statistics[f"energy_ratio_{count}"] = float(
            profile["energy_fj"].mean() / class_energy_fj(profile, fastest)
        )
    return statistics


def netlist_table(table: pd.DataFrame) -> pd.DataFrame:
    """One row a netlist and library: what it is, `spread_statistics`, and how its fastest values look.

    single_bit_of_9     how many of the 9 fastest values have at most one bit set
    tenth_over_ninth    the step behind the ninth value: 1 where no class ends there
    fastest_class       values in the fastest class, see `fastest_class_size`
    delay_64_ns, delay_m127_ns  of HALO's two examples
    """
    rows = []
    for (netlist, library), profile in table.groupby(["netlist", "library"], sort=False):
        delay_ns = profile.set_index("weight")["delay_ns"]
        fastest = fastest_values(profile, 10)
        shared = {key: profile[key].iloc[0] for key in PER_NETLIST if key in profile}
        rows.append(
            {"netlist": netlist, "library": library}
            | shared
            | spread_statistics(profile)
            | {f"rank correlation with {key}": value for key, value in rank_correlations(profile).items()}
            | {
                "fastest_9": " ".join(map(str, fastest[:9])),
                "single_bit_of_9": len(set(fastest[:9].tolist()) & set(single_bit_values().tolist())),
                "tenth_over_ninth": float(delay_ns[fastest[9]] / delay_ns[fastest[8]]),
                "fastest_class": fastest_class_size(profile),
                "delay_64_ns": float(delay_ns[64]),
                "delay_m127_ns": float(delay_ns[-127]),
            }
        )
    return pd.DataFrame(rows)


def fastest_class_size(profile: pd.DataFrame, *, within: int = 32) -> int:
    """How many of the fastest values form a class: those before the largest relative step among the first `within`.

    Values that stop the logic altogether (weight 0 of a multiplier) are in it and make no step.
    """
    delay_ns = np.sort(profile["delay_ns"].to_numpy())[:within]
    stopped = int((delay_ns == 0).sum())
    moving = delay_ns[stopped:]
    return stopped + int(np.argmax(moving[1:] / moving[:-1])) + 1


def require_every_weight(table: pd.DataFrame, where: str) -> None:
    """Raises InputError where a netlist has not all 256 values of an int8 weight."""
    for (netlist, library), profile in table.groupby(["netlist", "library"], sort=False):
        if len(profile) != 256:
            raise InputError(
                f"{where}: netlist {netlist} on {library} has {len(profile)} weights; profile all 256 of an int8 weight"
            )


def rank_correlations(profile: pd.DataFrame) -> dict[str, float]:
    """Spearman's rank correlation of the static delay with the other columns, weight 0 left out.

    nan where a column does not vary.
    """
    moving = profile[profile["weight"] != 0]
    return {
        column: _spearman(moving["delay_ns"], moving[column])
        for column in ("dynamic_delay_ns", "energy_fj", "toggles")
        if column in moving
    }


def _spearman(x: pd.Series, y: pd.Series) -> float:
    if x.nunique() < 2 or y.nunique() < 2:
        return float("nan")
    return float(stats.spearmanr(x, y).statistic)


def _partial_sums(
    netlist: Netlist, rng: np.random.Generator, count: int, weight_port: str, activation_port: str
) -> np.ndarray:
    widths = [netlist.port(name, "input").nets.size for name in (weight_port, activation_port)]
    products = np.ones((count, 128), dtype=np.int64)
    for width in widths:
        products *= rng.integers(-(1 << (width - 1)), 1 << (width - 1), products.shape)
    above = rng.integers(0, products.shape[1], count)
    return np.cumsum(products, axis=1)[np.arange(count), above]


def _mismatches(
    netlist: Netlist,
    weights: np.ndarray,
    activations: np.ndarray,
    sums: np.ndarray | None,
    outputs: Mapping[str, np.ndarray],
) -> np.ndarray:
    name, found = next(iter(outputs.items()))
    exact = weights[:, None] * activations[None, 1:] + (0 if sums is None else sums[None, 1:])
    # a product wider than its port keeps its low bits
    mask = (1 << netlist.ports[name].nets.size) - 1
    return (found != (exact & mask)).sum(axis=1)
