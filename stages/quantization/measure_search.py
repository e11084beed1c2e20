"""Claim M18: mixed formats against the best uniform formats of no greater cost, from the tables of search_formats.

python -m stages.quantization.measure_search --tables A.csv --measurements measure.json

One sample a calibration seed: top-1 of the mixed formats less that of the uniform pair that images of the training split
say is best among those within the budget, mean over models, costs and budgets; and the values that --draws other draws
of the test images would give.
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd

from stages.lib.core.errors import InputError, run
from stages.lib.core.measurements import Measurement, Sample, device_record, write_measurements
from stages.lib.core.seeds import generator
from stages.quantization.results import digests

_COLUMNS = ("model", "seed", "kind", "cost", "budget", "selection_loss", "predicted_loss", "top1", "n")


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    searches = [read_search(Path(path)) for path in args.tables]
    pairs = [compared(table) for table, _ in searches]
    rng = generator(0, "bootstrap")
    by_seed = seed_means(pairs, [table["top1"].to_numpy() for table, _ in searches])
    draws = []
    for _ in range(args.draws):
        top1 = [
            right
            @ rng.multinomial(right.shape[1], np.full(right.shape[1], 1 / right.shape[1]))
            / right.shape[1]
            for _, right in searches
        ]
        draws.append(float(np.mean(list(seed_means(pairs, top1).values()))))
    every = pd.concat([table for table, _ in searches], ignore_index=True)
    measurement = Measurement(
        claim="M18",
        value=float(np.mean(list(by_seed.values()))),
        unit="1",
        samples=[Sample(seed=seed, value=value) for seed, value in sorted(by_seed.items())],
        resamples=draws,
        n=int(every.groupby("model")["n"].first().sum()),
        controls=controls(every, pairs, searches),
        dataset_digest=digests(every),
    )
    write_measurements(args.measurements, [measurement], device=device_record(threads=1))


def compared(table: pd.DataFrame) -> pd.DataFrame:
    """seed, cost, budget, mixed and uniform (rows of the table): each search and what it has to beat."""
    found = []
    for row, search in table[table["kind"] == "mixed"].iterrows():
        spent = f"{search['cost']}_spent"
        uniform = table[(table["kind"] == "uniform") & (table["seed"] == search["seed"])]
        allowed = uniform[uniform["budget"] == search["budget"]][spent].iloc[0]
        within = uniform[uniform[spent] <= allowed * (1 + 1e-9)]
        found.append(
            {
                **search[["seed", "cost", "budget"]],
                "mixed": row,
                "uniform": within["selection_loss"].idxmin(),
            }
        )
    return pd.DataFrame(found)


def seed_means(pairs: list[pd.DataFrame], top1: list[np.ndarray]) -> dict[int, float]:
    """seed -> mean gain of mixed over uniform formats, over models, costs and budgets."""
    gains = [
        table[["seed"]].assign(gain=values[table["mixed"]] - values[table["uniform"]])
        for table, values in zip(pairs, top1, strict=True)
    ]
    return {int(s): float(v) for s, v in pd.concat(gains).groupby("seed")["gain"].mean().items()}


def controls(
    every: pd.DataFrame, pairs: list[pd.DataFrame], searches: list[tuple[pd.DataFrame, np.ndarray]]
) -> dict[str, float]:
    """Gain by cost and budget, and how well summed sensitivities rank whole networks."""
    gains = pd.concat(
        pair.assign(gain=table["top1"].to_numpy()[pair["mixed"]] - table["top1"].to_numpy()[pair["uniform"]])
        for pair, (table, _) in zip(pairs, searches, strict=True)
    )
    found = {
        f"{cost} of {budget}": float(value)
        for (cost, budget), value in gains.groupby(["cost", "budget"])["gain"].mean().items()
    }
    ranks = [
        rows["predicted_loss"].rank().corr(rows["selection_loss"].rank())
        for _, rows in every.groupby(["model", "seed"])
    ]
    return found | {
        "rank correlation of summed sensitivities with the whole network's loss": float(np.mean(ranks))
    }


def read_search(path: Path) -> tuple[pd.DataFrame, np.ndarray]:
    """A table of search_formats and what became of each test image, (rows, n)."""
    table = pd.read_csv(path, keep_default_na=False)
    if missing := [c for c in _COLUMNS if c not in table.columns]:
        raise InputError(f"{path} lacks the column {missing[0]}; make it with search_formats")
    with np.load(path.with_suffix(".npz"), allow_pickle=False) as file:
        right = file["right"].astype(float)
    if len(right) != len(table):
        raise InputError(f"{path.with_suffix('.npz')} has not one row a row of {path.name}; make both anew")
    return table, right


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tables", nargs="+", required=True, help="CSV files of search_formats")
    parser.add_argument("--draws", type=int, default=200, help="bootstrap draws of the test images")
    parser.add_argument("--measurements", required=True, help="JSON to write")
    return parser.parse_args(argv)


if __name__ == "__main__":
    run(main)
