"""Claims H4 to H8, H14's speed and H15 of HALO, from modelled time and energy (all of it modelled).

python -m stages.halo.measure_array --table array.csv --shares shares.csv --profile weight_profile/nangate45.csv
    --netlist array --measurements measure_array.json

Models are those that the paper has; others stand among the controls. The multiplier is that whose books the perplexities
rest on, save where a claim asks for all.
"""

import argparse

import pandas as pd

from stages.halo.rows import PAPER_MODELS, value_sets
from stages.lib.core.errors import InputError, run
from stages.lib.core.measurements import (
    Measurement,
    device_record,
    finite,
    over_seeds,
    write_measurements,
)
from stages.lib.core.tables import read_tables
from stages.lib.costs.dvfs import HALO_ARRAY_LEVELS
from stages.lib.costs.weight_values import one_netlist, read_weight_profile

BASELINES = ("FP16", "W8A8", "W4A8")
HALO = ("halo-perf", "halo-bal", "halo-acc")
COMPUTE_BOUND = 0.999  # share of the time in which arithmetic is what a pass waits for
WANTED_SPEED = 1.87  # over W8A8 (published, second-hand)
TRANSITION_SHARE = 0.01
CASE = ["netlist", "array", "model", "pass"]


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    table = read_tables([args.table], *CASE, "arm", "parts", "time_ms", "energy_mj", "compute_share")
    shares = read_tables([args.shares], "netlist", "reading", "low_share", "speed")
    profiles = read_weight_profile(args.profile)
    if args.netlist not in set(table["netlist"]):
        raise InputError(f"{args.table} has no multiplier {args.netlist}; study the array again")
    own = ratios(table[table["netlist"] == args.netlist])
    write_measurements(
        args.measurements,
        [
            frequency_bound(own),
            needed_share(shares),
            transitions(table[(table["netlist"] == args.netlist)]),
            equal_voltage(ratios(table)),
            power_of_two(profiles),
            headline(own),
        ],
        device=device_record(threads=1),
    )


def ratios(table: pd.DataFrame) -> pd.DataFrame:
    """Every row of an undivided array with how much faster it is than each baseline, and the energy that it saves."""
    whole = table[table["parts"] == 1]
    for name in BASELINES:
        base = whole[whole["arm"] == name].set_index(CASE)[["time_ms", "energy_mj", "compute_share"]]
        beside = whole[CASE].merge(base, left_on=CASE, right_index=True, how="left", validate="many_to_one")
        whole = whole.assign(
            **{
                f"speed over {name}": (beside["time_ms"].to_numpy() / whole["time_ms"]),
                f"saving over {name}": 1 - whole["energy_mj"] / beside["energy_mj"].to_numpy(),
                f"compute share of {name}": beside["compute_share"].to_numpy(),
            }
        )
    return whole


def paper_prompts(table: pd.DataFrame) -> pd.DataFrame:
    """Prompts of the paper's models on the first array, where all arms were studied."""
    first = table["array"] == table["array"].iloc[0]
    return table[first & (table["pass"] == "prompt") & table["model"].isin(PAPER_MODELS)]


def frequency_bound(own: pd.DataFrame) -> Measurement:
    """H4: the most that the published clocks gain over W8A8 where both wait for arithmetic alone."""
    fast = own[own["arm"].isin(["halo-perf published", "W8A8 overclocked"])]
    bound = (fast["compute_share"] >= COMPUTE_BOUND) & (fast["compute share of W8A8"] >= COMPUTE_BOUND)
    memory = fast[(fast["compute share of W8A8"] < COMPUTE_BOUND) & (fast["arm"] == "W8A8 overclocked")]
    return Measurement(
        claim="H4",
        value=float(fast.loc[bound, "speed over W8A8"].max()),
        unit="1",
        n=int(bound.sum()),
        controls={
            "ratio of the published clocks": HALO_ARRAY_LEVELS[-1].frequency_ghz
            / HALO_ARRAY_LEVELS[0].frequency_ghz,
            "energy of an operation at 1.2 V over 1.0 V": (
                HALO_ARRAY_LEVELS[-1].voltage_v / HALO_ARRAY_LEVELS[0].voltage_v
            )
            ** 2,
        }
        | ({"least gain of the clock in a pass bound by memory": float(memory["speed over W8A8"].min())}
           if len(memory) else {}),
    )  # fmt: skip


def needed_share(shares: pd.DataFrame) -> Measurement:
    """H5: the least share of low tiles with which the published clocks reach the published speed."""
    published = shares[shares["reading"] == "published"]
    one = published[published["netlist"] == published["netlist"].iloc[0]]
    free = shares[shares["reading"] == "iso_voltage"]
    return Measurement(
        claim="H5",
        value=float(one.loc[one["speed"] >= WANTED_SPEED, "low_share"].min()),
        unit="1",
        n=len(one),
        controls={
            "speed with no low tile": float(one.loc[one["low_share"] == 0, "speed"].iloc[0]),
            "multipliers that reach it at one voltage": float(
                free[free["speed"] >= WANTED_SPEED]["netlist"].nunique()
            ),
        },
    )


def transitions(table: pd.DataFrame) -> Measurement:
    """H6: passes of the paper's models of which three changes of level take more than 1 %."""
    balanced = table[(table["arm"] == "halo-bal published") & (table["parts"] == 1)]
    of_paper = balanced[balanced["model"].isin(PAPER_MODELS)]
    three = 3 * balanced["transition_ms_by_pass"] / balanced["transitions_by_pass"] / balanced["time_ms"]
    by_layer = balanced["transition_ms_by_layer"] / balanced["time_ms"]
    return Measurement(
        claim="H6",
        value=float((three[of_paper.index] > TRANSITION_SHARE).sum()),
        unit="1",
        n=len(of_paper),
        controls=finite({
            "largest share, grouped over all layers": float(three[of_paper.index].max()),
            "largest share, layer by layer": float(by_layer[of_paper.index].max()),
            "changes a pass, layer by layer, at most": float(of_paper["transitions_by_layer"].max()),
            "largest share, layer by layer, smaller models": float(by_layer.drop(of_paper.index).max()),
        }),
    )  # fmt: skip


def equal_voltage(table: pd.DataFrame) -> Measurement:
    """H7: energy saved over W8A8 at the published voltages less that at one voltage; a sample each multiplier."""
    prompts = paper_prompts(table)
    saving = prompts.pivot_table(index="netlist", columns="arm", values="saving over W8A8")
    speed = prompts.pivot_table(index="netlist", columns="arm", values="speed over W8A8")
    shrinks = (saving["halo-bal published"] - saving["halo-bal iso_voltage"]).reset_index(drop=True)
    return over_seeds("H7", shrinks, unit="1", n=len(prompts), controls={
        "saved, published voltages": saving["halo-bal published"].mean(),
        "saved, one voltage": saving["halo-bal iso_voltage"].mean(),
        "saved, W8A8's power": saving["halo-bal iso_power"].mean(),
        "saved by W8A8 at 1.2 V": saving["W8A8 at 1.2 V"].mean(),
        "saved by W8A8 overclocked": saving["W8A8 overclocked"].mean(),
        "speed, published clocks": speed["halo-bal published"].mean(),
        "speed, one voltage": speed["halo-bal iso_voltage"].mean(),
        "speed, W8A8's power": speed["halo-bal iso_power"].mean(),
        "speed of W8A8 at 1.2 V": speed["W8A8 at 1.2 V"].mean(),
    })  # fmt: skip


def power_of_two(profiles: pd.DataFrame) -> Measurement:
    """H8: multipliers whose 16 fastest values are other ones than 0 and the powers of two."""
    names = list(dict.fromkeys(profiles["netlist"]))
    sets = {name: value_sets(one_netlist(profiles, name)) for name in names}
    shared = {name: len(set(s["fast16"]) & set(s["powers16"])) for name, s in sets.items()}
    nine = sum(set(s["fast9"]) == set(s["single_bit9"]) for s in sets.values())
    return Measurement(
        claim="H8",
        value=float(sum(n < 16 for n in shared.values())),
        unit="1",
        n=len(names),
        controls={f"values of the 16 in common, {name}": float(n) for name, n in shared.items()}
        | {"multipliers whose 9 fastest have at most one bit set": float(nine)},
    )


def headline(own: pd.DataFrame) -> Measurement:
    """H15: mean gain in speed over all three baselines, prompts of the paper's models, published levels, fastest HALO."""
    prompts = paper_prompts(own)
    controls = {}
    for arm in HALO:
        for reading in ("published", "iso_voltage"):
            rows = prompts[prompts["arm"] == f"{arm} {reading}"]
            for name in BASELINES:
                controls[f"speed over {name}, {arm} {reading}"] = float(rows[f"speed over {name}"].mean())
                controls[f"saving over {name}, {arm} {reading}"] = float(rows[f"saving over {name}"].mean())
    fastest = prompts[prompts["arm"] == "halo-perf published"]
    gains = [fastest[f"speed over {name}"].mean() - 1 for name in BASELINES]
    savings = [fastest[f"saving over {name}"].mean() for name in BASELINES]
    return Measurement(
        claim="H15",
        value=float(sum(gains) / len(gains)),
        unit="1",
        n=len(fastest),
        controls={"energy saved, mean over baselines": float(sum(savings) / len(savings)), **controls},
    )


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--table", required=True, help="CSV of study_array")
    parser.add_argument("--shares", required=True, help="CSV of study_array: speed by the share of low tiles")
    parser.add_argument("--profile", required=True, help="weight_profile.csv")
    parser.add_argument("--netlist", required=True, help="the multiplier of the perplexities")
    parser.add_argument("--measurements", required=True, help="JSON to write")
    return parser.parse_args(argv)


if __name__ == "__main__":
    run(main)
