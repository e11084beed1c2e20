"""Claims M6a and M6b, from the table of tabulate_sqnr.

python -m stages.quantization.measure_sqnr --table sqnr.csv --measurements measure.json

M6a  of the widths 3 to 8, how many break the order: the best split never has fewer exponent bits than that of the
     distribution with lighter tails before it, and from the first to the last it gains some
M6b  Spearman's rank correlation, over the weight tensors of a network, of the kurtosis with the exponent bits of the
     best split (mean over widths); one sample a network. Where all tensors have the same best split it is 0
"""

import argparse

import numpy as np
import pandas as pd

from stages.lib.core.errors import InputError, run
from stages.lib.core.measurements import Measurement, Sample, device_record, write_measurements

# the distributions of claim M6a, from light tails to heavy ones
ORDER = ("uniform", "gaussian", "laplace", "student-t, 5 degrees")
_COLUMNS = ("kind", "source", "scaling", "kurtosis", "format", "bits", "exponent_bits", "sqnr_db")


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    table = read_sqnr(args.table)
    measurements = [split_over_tails(table)]
    if (found := split_over_kurtosis(table)) is not None:
        measurements.append(found)
    write_measurements(args.measurements, measurements, device=device_record(threads=1))


def read_sqnr(path: str) -> pd.DataFrame:
    table = pd.read_csv(path)
    if missing := [c for c in _COLUMNS if c not in table.columns]:
        raise InputError(f"{path} lacks the column {missing[0]}; make it with tabulate_sqnr")
    return table


def best_splits(table: pd.DataFrame) -> pd.DataFrame:
    """The row of the best minifloat of each source, tensor, way to scale and width."""
    keys = [k for k in ("source", "tensor", "granularity", "scaling", "bits") if k in table]
    return table.loc[table.groupby(keys, dropna=False)["sqnr_db"].idxmax()]


def split_over_tails(table: pd.DataFrame) -> Measurement:
    """M6a."""
    best = best_splits(table[table["kind"] == "distribution"])
    by_source = best.pivot_table(index="bits", columns="source", values="exponent_bits")
    ordered = by_source[list(ORDER)].to_numpy()
    broken = (np.diff(ordered, axis=1) < 0).any(axis=1) | (ordered[:, -1] <= ordered[:, 0])
    return Measurement(
        claim="M6a",
        value=float(broken.sum()),
        unit="1",
        n=ordered.size,
        controls={f"{s}, exponent bits at {bits} bits": float(by_source.loc[bits, s])
                  for s in by_source.columns for bits in (4, 6, 8)},
    )  # fmt: skip


def split_over_kurtosis(table: pd.DataFrame) -> Measurement | None:
    """M6b; None where the table has no weights."""
    weights = table[table["kind"] == "weights"]
    if weights.empty:
        return None
    by_network = rank_correlations(weights, "per_tensor", "least_error")
    controls = {
        "per channel": float(rank_correlations(weights, "per_channel", "least_error").mean()),
        "abs-max scales": float(rank_correlations(weights, "per_tensor", "abs_max").mean()),
    }
    data = weights.dropna(subset=["dataset_digest"]).drop_duplicates("dataset")
    return Measurement(
        claim="M6b",
        value=float(by_network.mean()),
        unit="1",
        samples=[
            Sample(seed=i, value=float(value), pair=network)
            for i, (network, value) in enumerate(by_network.items())
        ],
        n=len(weights.drop_duplicates(["source", "tensor"])),
        controls=controls | {network: float(value) for network, value in by_network.items()},
        dataset_digest=dict(zip(data["dataset"] + "/train", data["dataset_digest"], strict=True)),
    )


def rank_correlations(weights: pd.DataFrame, granularity: str, scaling: str) -> pd.Series:
    """By network."""
    chosen = weights[(weights["granularity"] == granularity) & (weights["scaling"] == scaling)]
    tensors = (
        best_splits(chosen)
        .groupby(["source", "tensor"])
        .agg(exponent_bits=("exponent_bits", "mean"), kurtosis=("kurtosis", "first"))
    )
    return tensors.groupby("source")[["exponent_bits", "kurtosis"]].apply(_rank_correlation)


def _rank_correlation(tensors: pd.DataFrame) -> float:
    if (tensors["exponent_bits"] == tensors["exponent_bits"].iloc[0]).all():
        return 0.0  # whatever the kurtosis, the best split is the same
    return float(tensors["exponent_bits"].rank().corr(tensors["kurtosis"].rank()))


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--table", required=True, help="CSV of tabulate_sqnr")
    parser.add_argument("--measurements", required=True, help="JSON to write")
    return parser.parse_args(argv)


if __name__ == "__main__":
    run(main)
