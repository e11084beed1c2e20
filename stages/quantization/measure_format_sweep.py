"""Claim M0: accuracy falls with bits, from the sweep tables.

python -m stages.quantization.measure_format_sweep --tables A.csv B.csv --measurements measure.json

One sample a calibration seed: top-1 (best format of a family at a width) at the largest width less that at the
smallest, the smallest such drop over models and families.
"""

import argparse

import numpy as np
import pandas as pd

from stages.lib.core.errors import InputError, run
from stages.lib.core.measurements import Measurement, Sample, device_record, write_measurements
from stages.quantization.format_table import drop_by_seed, largest_rise, rank_correlations, read_sweeps


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    sweep = read_sweeps(args.tables)
    widths = sweep[sweep.family != "float"].groupby(["model", "family"])["bits"].nunique()
    if widths.empty or widths.min() < 2:
        raise InputError(
            f"{', '.join(args.tables)}: every family needs two widths or more; sweep more formats"
        )
    drops = drop_by_seed(sweep)
    controls = {f"rank correlation, {name}": value for name, value in rank_correlations(sweep).items()}
    measurement = Measurement(
        claim="M0",
        value=float(np.mean(list(drops.values()))),
        unit="1",
        samples=[Sample(seed=seed, value=value) for seed, value in sorted(drops.items())],
        n=int(sweep.groupby("model")["n"].first().sum()),
        controls=controls | {"largest gain from one bit less": largest_rise(sweep)},
        dataset_digest=_digests(sweep),
    )
    write_measurements(args.measurements, [measurement], device=device_record(threads=1))


def _digests(sweep: pd.DataFrame) -> dict[str, str]:
    return {
        f"{row.dataset}/{split}": getattr(row, f"{split}_digest")
        for row in sweep.drop_duplicates("dataset").itertuples()
        for split in ("train", "test")
        if hasattr(row, f"{split}_digest")
    }


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tables", nargs="+", required=True, help="CSV files of sweep_formats")
    parser.add_argument("--measurements", required=True, help="JSON to write")
    return parser.parse_args(argv)


if __name__ == "__main__":
    run(main)
