"""Claims H1 to H3 of HALO, from weight profiles: counts over all netlists; plot_weight_profiles tells of each netlist.

python -m stages.hardware.measure_weight_profiles --profiles nangate45.csv osu018.csv --measurements h1_h3.json
"""

import argparse

import pandas as pd

from stages.hardware.weight_profile import netlist_table, require_every_weight
from stages.lib.core.artifacts import file_digest
from stages.lib.core.errors import InputError, run
from stages.lib.core.measurements import Measurement, device_record, write_measurements
from stages.lib.costs.weight_values import RESOLUTION_NS, read_weight_profile


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    tables = {path: read_weight_profile(path) for path in args.profiles}
    for path, table in tables.items():
        require_every_weight(table, path)
        if missing := [c for c in ("microarchitecture", "unconstrained_delay_ns") if c not in table]:
            raise InputError(f"{path} lacks the column {missing[0]}; make it with profile_weights")
    netlists = netlist_table(pd.concat(tables.values(), ignore_index=True))
    digests = {f"weight_profile/{'+'.join(t.library.unique())}": file_digest(p) for p, t in tables.items()}
    measurements = [no_spread(netlists), nine_values(netlists), slower_64(netlists)]
    write_measurements(
        args.measurements,
        [
            Measurement(
                claim=claim,
                value=float(value),
                unit="1",
                n=len(netlists),
                controls={name: float(control) for name, control in controls.items()},
                dataset_digest=digests,
            )
            for claim, value, controls in measurements
        ],
        device=device_record(threads=1),
    )


def no_spread(netlists: pd.DataFrame) -> tuple[str, int, dict[str, float]]:
    """H1: netlists whose delay is the same for every weight (0 left out, which may stop the logic altogether)."""
    spread_ns = netlists["max_delay_ns"] - netlists["min_delay_ns"]
    controls = {
        "smallest relative spread": netlists["relative_spread"].min(),
        "largest relative spread": netlists["relative_spread"].max(),
    }
    # with the weight not constant the netlist is as slow as its slowest weight, or slower
    unconstrained = netlists["unconstrained_delay_ns"] / netlists["max_delay_ns"]
    controls["weight not constant over slowest weight, smallest"] = unconstrained.min()
    controls["weight not constant over slowest weight, largest"] = unconstrained.max()
    return "H1", (spread_ns <= RESOLUTION_NS).sum(), controls


def nine_values(netlists: pd.DataFrame) -> tuple[str, int, dict[str, float]]:
    """H2: microarchitectures, in whichever cut or library, whose fastest class is the values with at most one bit set.

    The class ends at the largest step among the fastest 32 delays: without a step, nine fastest values are no class.
    """
    nine = netlists["single_bit_of_9"] == 9
    exact = netlists[nine & (netlists["fastest_class"] == 9)]
    controls = {"netlists with those nine fastest, class or not": nine.sum()}
    for name, row in _labelled(netlists):
        controls[f"values in the fastest class, {name}"] = row.fastest_class
    return "H2", exact["microarchitecture"].nunique(), controls


def slower_64(netlists: pd.DataFrame) -> tuple[str, int, dict[str, float]]:
    """H3: netlists in which w = 64 is not faster than w = -127."""
    slower = netlists["delay_64_ns"] > netlists["delay_m127_ns"] - RESOLUTION_NS
    controls = {
        f"delay of 64 over that of -127, {name}": row.delay_64_ns / row.delay_m127_ns
        for name, row in _labelled(netlists)
    }
    return "H3", slower.sum(), controls


def _labelled(netlists: pd.DataFrame) -> list[tuple[str, pd.Series]]:
    return [(f"{row.netlist} on {row.library}", row) for _, row in netlists.iterrows()]


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--profiles", nargs="+", required=True, help="CSV files of profile_weights")
    parser.add_argument("--measurements", required=True, help="JSON to write")
    return parser.parse_args(argv)


if __name__ == "__main__":
    run(main)
