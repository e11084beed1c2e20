"""Claims M5 and M12: operators equal exact arithmetic, and what a minifloat costs beside an integer.

python -m stages.hardware.measure_macs --costs mac_costs.parquet --measurements macs.json

M5   vectors in which a mapped operator, or its way back to the format, differs from exact arithmetic
M12  share of minifloats whose extra look-up tables, over the cheapest integer of their width, lie in both published
     ranges: 20 to 180 % without and 60 to 300 % with the way back (IEEE TCAD 2025 abstract, another device and tool)
"""

import argparse

import pandas as pd

from stages.lib.core.errors import InputError, run
from stages.lib.core.measurements import Measurement, device_record, write_measurements
from stages.lib.costs.mac_costs import minifloat_ratios, read_mac_costs

PUBLISHED = {"ratio": (1.2, 2.8), "ratio_converted": (1.6, 4.0)}


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    costs = read_mac_costs(args.costs)
    ratios = minifloat_ratios(costs)
    if ratios.empty:
        raise InputError(f"{args.costs} has no minifloat beside an integer of its width; synthesise both")
    versions = {"synthesis": str(costs["tool_version"].iloc[0])}
    write_measurements(
        args.measurements,
        [exactness(costs), extra_cost(ratios, costs)],
        device=device_record(threads=1, versions=versions),
    )


def exactness(costs: pd.DataFrame) -> Measurement:
    checked = costs[costs["verified_vectors"] > 0]
    return Measurement(
        claim="M5",
        value=float(costs["mismatches"].sum() + costs["convert_mismatches"].sum()),
        unit="1",
        n=int(costs["verified_vectors"].sum() + costs["convert_verified_vectors"].sum()),
        controls={
            "operators simulated after mapping": float(len(checked)),
            "operators with DSP blocks, not simulated": float(len(costs) - len(checked)),
            "pairs of formats": float(len(checked[["weight_format", "activation_format"]].drop_duplicates())),
            "products in the longest dot product": float(costs["length"].max()),
        },
    )


def extra_cost(ratios: pd.DataFrame, costs: pd.DataFrame) -> Measurement:
    own = ratios[ratios["accumulator"] == ratios["accumulator"].iloc[0]]
    inside = pd.concat([own[column].between(*limits) for column, limits in PUBLISHED.items()], axis=1).all(
        axis=1
    )
    exponent_bits = own["weight_format"].str.extract(r"E(\d)")[0].astype(int)
    controls = {
        f"{name} {which}": float(getattr(own[column], which)())
        for column, name in (
            ("ratio", "times an integer, no way back,"),
            ("ratio_converted", "with the way back,"),
            ("ratio_both_converted", "with the way back on both,"),
        )
        for which in ("min", "median", "max")
    }
    controls["share inside, 2 to 5 exponent bits"] = float(inside[exponent_bits.between(2, 5)].mean())
    plain = minifloat_ratios(costs, integer="default")
    if len(plain):
        controls["times an integer as yosys builds it, median"] = float(plain["ratio"].median())
    return Measurement(claim="M12", value=float(inside.mean()), unit="1", n=len(own), controls=controls)


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--costs", required=True, help="mac_costs.parquet of synthesise_macs")
    parser.add_argument("--measurements", required=True, help="JSON to write")
    return parser.parse_args(argv)


if __name__ == "__main__":
    run(main)
