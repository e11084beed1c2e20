"""Claims M0, M7 to M11, M13, M14, M17 and M19, from the tables of all sweeps and the costs of the operators.

python -m stages.quantization.measure_sweeps --tables A.csv B.csv --costs mac_costs.parquet --measurements measure.json

One sample a calibration seed, and the values that --draws other draws of the test images would give. A claim whose rows
the sweeps do not have (a sweep without a transformer, without unsigned activations, ...) is left out.
"""

import argparse
from collections.abc import Callable
from functools import partial

import numpy as np
import pandas as pd

from stages.lib.core.errors import run
from stages.lib.core.measurements import Measurement, Sample, device_record, write_measurements
from stages.lib.core.seeds import generator
from stages.lib.costs.mac_costs import read_mac_costs
from stages.quantization import findings, pareto
from stages.quantization.results import PLAIN, Results, advantages, digests, quantised, read_results

Statistic = Callable[[pd.DataFrame], findings.BySeed]


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    results = read_results(args.tables)
    costs = pareto.pair_costs(read_mac_costs(args.costs))
    draws = list(results.resampled(args.draws, generator(0, "bootstrap")))
    measurements = [
        found
        for claim, statistic, controls in claims_of(costs)
        if (found := measured(claim, statistic, controls, results, draws)) is not None
    ]
    write_measurements(args.measurements, measurements, device=device_record(threads=1))


def claims_of(
    costs: pd.DataFrame,
) -> list[tuple[str, Statistic, Callable[[pd.DataFrame], dict[str, float]]]]:
    """Claim, what decides it, and its controls."""
    return [
        ("M0", findings.drop_with_bits, _no_controls),
        ("M7", findings.minifloat_advantage, advantage_controls),
        ("M8", findings.advantage_at_three_bits, _no_controls),
        ("M9", findings.transformer_advantage, _no_controls),
        ("M10", findings.sign_dependence, sign_controls),
        (
            "M11",
            partial(pareto.integers_on_changing_fronts, costs=costs),
            partial(front_controls, costs=costs),
        ),
        ("M13", findings.best_of_inflation, _no_controls),
        ("M14", findings.binade_gain, rounding_controls),
        ("M17", findings.failing_techniques, technique_controls),
        ("M19", findings.gap_to_brevitas, brevitas_controls),
    ]


def measured(
    claim: str,
    statistic: Statistic,
    controls: Callable[[pd.DataFrame], dict[str, float]],
    results: Results,
    draws: list[pd.DataFrame],
) -> Measurement | None:
    """The measurement of a claim; None where the sweeps lack its rows."""
    by_seed = statistic(results.table)
    if not by_seed:
        return None
    return Measurement(
        claim=claim,
        value=float(np.mean(list(by_seed.values()))),
        unit="1",
        samples=[Sample(seed=seed, value=value) for seed, value in sorted(by_seed.items())],
        resamples=findings.resampled(statistic, draws),
        n=int(results.table.groupby("model")["n"].max().sum()),
        controls=controls(results.table),
        dataset_digest=digests(results.table),
    )


def advantage_controls(table: pd.DataFrame) -> dict[str, float]:
    """The advantage of every model and width, and that over all of them under other signs and techniques."""
    cells = advantages(quantised(table, technique=PLAIN, signs="signed"))
    means = cells.groupby(["model", "bits"])["advantage"].mean()
    found = {f"{model}, {bits} bits": float(value) for (model, bits), value in means.items()}
    others = [(t, "signed") for t in table["technique"].unique() if t not in ("none", PLAIN)]
    others += [(PLAIN, s) for s in table["signs"].unique() if s != "signed"]
    for technique, signs in others:
        if values := findings.minifloat_advantage(table, signs=signs, technique=technique):
            found[f"{technique}, {signs}"] = _mean(values)
    return found


def sign_controls(table: pd.DataFrame) -> dict[str, float]:
    control = findings.sign_dependence(table, transformers=True)
    return {"networks without ReLU": _mean(control)} if control else {}


def rounding_controls(table: pd.DataFrame) -> dict[str, float]:
    integers = findings.binade_gain(table, family="integer")
    score = findings.binade_gain(table, column="score")
    return {
        "integers, layer error": _mean(integers) if integers else float("nan"),
        "minifloats, accuracy": _mean(score) if score else float("nan"),
    }


def technique_controls(table: pd.DataFrame) -> dict[str, float]:
    wins = findings.technique_wins(table).groupby("technique")[["share", "gain"]].mean()
    return {f"{t}, share of models": float(r.share) for t, r in wins.iterrows()} | {
        f"{t}, gain over abs_max": float(r.gain) for t, r in wins.iterrows()
    }


def brevitas_controls(table: pd.DataFrame) -> dict[str, float]:
    gaps = findings.brevitas_gaps(table).groupby(["model", "format"])["gap"].mean()
    return {f"{model}, {format}": float(gap) for (model, format), gap in gaps.items()}


def front_controls(table: pd.DataFrame, *, costs: pd.DataFrame) -> dict[str, float]:
    """Share of integers among the formats on the front, by model and cost."""
    return pareto.integer_shares(table, costs)


def _no_controls(table: pd.DataFrame) -> dict[str, float]:
    return {}


def _mean(by_seed: findings.BySeed) -> float:
    return float(np.mean(list(by_seed.values())))


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tables", nargs="+", required=True, help="CSV files of sweep_formats")
    parser.add_argument("--costs", required=True, help="mac_costs.parquet of synthesise_macs")
    parser.add_argument("--draws", type=int, default=200, help="bootstrap draws of the test images")
    parser.add_argument("--measurements", required=True, help="JSON to write")
    return parser.parse_args(argv)


if __name__ == "__main__":
    run(main)
