"""Claim C6 of CRISP: the tensor-core model against every cell of Sparseloop's reference table.

python -m stages.hardware.measure_tensor_cores --measurements tensor_cores.json --table tensor_cores.csv

The claim is decided by TC and STC. The deviations of the other designs are controls, and so is the model without the
limit on SMEM bandwidth, which must break STC_flexible. All cells are printed and written as modelled.
"""

import argparse

import numpy as np
import pandas as pd

from stages.hardware.sparseloop_reference import compare_reference
from stages.lib.core.artifacts import atomic_path
from stages.lib.core.errors import run
from stages.lib.core.measurements import Measurement, device_record, write_measurements
from stages.lib.costs.tensor_core_mappings import TensorCore

DECIDING = ("TC", "STC")
SHOWN = ["gemm", "design", "weight_density", "cycles", "modelled_cycles", "cycles_deviation"]
SHOWN += ["energy_uj", "modelled_energy_uj", "energy_deviation", "bound"]


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    cells = compare_reference()
    print(cells[SHOWN].to_string(index=False, float_format="{:.5g}".format))
    without_smem = compare_reference(TensorCore(smem_bytes_per_cycle=np.inf))
    deciding = cells[cells["design"].isin(DECIDING)]
    controls = {
        "STC_flexible cells that differ": differing(cells, "STC_flexible"),
        "STC_flexible cells that differ without the SMEM limit": differing(without_smem, "STC_flexible"),
        "DSTC cells that differ": differing(cells, "DSTC"),
    }
    for design, part in cells.groupby("design", sort=False):
        controls[f"largest deviation of energy, {design}"] = worst(part["energy_deviation"])
        if design not in DECIDING:
            controls[f"largest deviation of cycles, {design}"] = worst(part["cycles_deviation"])
    measurement = Measurement(
        claim="C6",
        value=float((deciding["cycles"] != deciding["modelled_cycles"]).sum()),
        unit="1",
        n=len(deciding),
        controls=controls,
    )
    with atomic_path(args.table) as temporary:
        cells.to_csv(temporary, index=False)
    write_measurements(args.measurements, [measurement], device=device_record(threads=1))


def differing(cells: pd.DataFrame, design: str) -> float:
    part = cells[cells["design"] == design]
    return float((part["cycles"] != part["modelled_cycles"]).sum())


def worst(deviation: pd.Series) -> float:
    """The deviation farthest from 0, with its sign."""
    return float(deviation.loc[deviation.abs().idxmax()])


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--measurements", required=True, help="JSON to write")
    parser.add_argument("--table", required=True, help="CSV to write: reference and model, one row a cell")
    return parser.parse_args(argv)


if __name__ == "__main__":
    run(main)
