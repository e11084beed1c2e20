"""Claims C8 to C13 and C15 to C17 of CRISP, from the studies of accuracy, of normalisation and of the accelerator.

python -m stages.pruning.measure_pruning --accuracy a-0.csv a-1.csv --layers a-0-layers.csv --accelerator resnet50.csv
    --measurements measure.json

One sample a seed, which is one user; means over the networks and sparsities that a claim speaks of. Accuracies are top-1
on the user's classes, all classes to choose from.
"""

import argparse

import pandas as pd
from scipy.stats import spearmanr

from stages.lib.core.errors import run
from stages.lib.core.measurements import Measurement, device_record, over_seeds, write_measurements
from stages.lib.core.tables import read_tables

HIGH = 0.9  # of our own hypothesis (C16, C17), and of the claim on regrowth
FEW = 3  # classes
CASE = ["model", "block", "classes", "seed"]


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    table = read_tables(args.accuracy, *CASE, "arm", "goal", "sparsity", "accuracy")
    layers = read_tables(args.layers, "seed", "block_rows", "kept_sum", "kept_mean")
    accelerator = read_tables(
        [args.accelerator], "sparsity", "n", "m", "block", "times faster than plain n:m"
    )
    write_measurements(
        args.measurements,
        [*of_accuracy(table), of_layers(layers), *of_accelerator(accelerator)],
        device=device_record(threads=1),
    )


def of_accuracy(table: pd.DataFrame) -> list[Measurement]:
    n = int(table.groupby(CASE).ngroups)
    high = table[table["goal"] >= HIGH - 1e-9]
    few = high[high["classes"] <= FEW]
    dense = table[table["arm"] == "dense"]
    ablated = sorted(set(table.loc[table["arm"] == "hybrid_scrambled", "goal"]))
    at = table[table["goal"].isin(ablated)]

    def difference(rows: pd.DataFrame, one: str, other: str) -> pd.Series:
        return paired_difference(rows, one, other)

    others = [difference(at, "hybrid", arm) for arm in ("hybrid_magnitude", "hybrid_other_classes")]
    rivals = [difference(few, "hybrid", arm) for arm in ("block", "channel")]
    # the dense network has no sparsity of its own: it stands beside every one
    beside = few[few["arm"] == "hybrid"].merge(dense, on=CASE, suffixes=("", "_dense"))
    lost = beside["accuracy_dense"] - beside["accuracy"]
    by_network = lost.groupby([beside["model"], beside["goal"]]).mean()
    return [
        trend("C8", difference(at, "hybrid", "hybrid_scrambled"), n, {
            "scrambled less random": float(difference(at, "hybrid_scrambled", "hybrid_random").mean()),
            "hybrid less as released": float(difference(table, "hybrid", "as_released").mean()),
        }),
        trend("C9", difference(table[table["goal"] >= 0.7], "hybrid", "block"), n, {
            f"hybrid less {arm}": float(difference(table[table["goal"] >= 0.7], "hybrid", arm).mean())
            for arm in ("n_m", "unstructured", "channel")
        }),
        trend("C10", pd.concat(others, axis=1).min(axis=1), n, {
            "taylor less magnitude": float(others[0].mean()), "taylor less other classes": float(others[1].mean()),
            "taylor less Fisher": float(difference(at, "hybrid", "hybrid_fisher").mean()),
            "taylor less random scores": float(difference(at, "hybrid", "hybrid_random_scores").mean()),
        }),
        trend("C11", difference(high, "hybrid_sr_ste", "hybrid"), n, {
            "at the lower sparsity": float(difference(at[at["goal"] < HIGH - 1e-9], "hybrid_sr_ste", "hybrid").mean()),
        }),
        trend("C16", lost.groupby(beside["seed"]).mean(), n, {
            f"{model} at {goal:.0%}": float(value) for (model, goal), value in by_network.items()
        }),
        trend("C17", pd.concat(rivals, axis=1).min(axis=1), n, {
            "hybrid less block": float(rivals[0].mean()), "hybrid less channel": float(rivals[1].mean()),
        }),
    ]  # fmt: skip


def of_layers(table: pd.DataFrame) -> Measurement:
    """Rank correlation of a layer's number of block-rows with the share of blocks that it keeps, raw sums."""
    raw, even = (
        pd.Series(
            {seed: float(spearmanr(own["block_rows"], own[column])[0]) for seed, own in table.groupby("seed")}
        )
        for column in ("kept_sum", "kept_mean")
    )
    return trend("C12", raw, len(table), {"with means over block-rows": float(even.mean())})


def of_accelerator(table: pd.DataFrame) -> list[Measurement]:
    published = table[(table["n"] == 2) & (table["m"] == 4)]
    at = published[published["sparsity"] >= 0.75]
    slower = at["times faster than plain n:m"] <= 1
    beyond = table[table["sparsity"] >= 13 / 14 - 1e-9]
    names = [c for c in table.columns if c.startswith("times") and "plain" not in c and "limit" not in c]
    gain = at["times faster than plain n:m"]
    return [
        Measurement(
            claim="C13",
            value=float(slower.sum()),
            unit="1",
            n=len(at),
            controls={
                "least gain": float(gain.min()),
                "most gain": float(gain.max()),
                "most gain without the SMEM's limit": float(at["times faster without SMEM limit"].max()),
                "configurations with more activation bytes": float(
                    (at["layers with more activation bytes"] > 0).sum()
                ),
            },
        ),
        Measurement(
            claim="C15",
            value=float(beyond[names].to_numpy().max()),
            unit="1",
            n=len(beyond),
            controls={f"{name}, most": float(beyond[name].max()) for name in names},
        ),
    ]


def paired_difference(rows: pd.DataFrame, one: str, other: str) -> pd.Series:
    """By seed: mean difference of accuracy over the cases (network, block, classes, sparsity) that both arms have."""
    case = [*CASE, "goal"]
    both = rows[rows["arm"] == one].merge(rows[rows["arm"] == other], on=case, suffixes=("", "_other"))
    found: pd.Series = (both["accuracy"] - both["accuracy_other"]).groupby(both["seed"]).mean()
    return found


def trend(claim: str, by_seed: pd.Series, n: int, controls: dict[str, float]) -> Measurement:
    return over_seeds(claim, by_seed, unit="1", n=n, controls=controls)


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--accuracy", nargs="+", required=True, help="CSVs of study_accuracy")
    parser.add_argument("--layers", nargs="+", required=True, help="CSVs of layers of study_accuracy")
    parser.add_argument("--accelerator", required=True, help="CSV of study_accelerator")
    parser.add_argument("--measurements", required=True, help="JSON to write")
    return parser.parse_args(argv)


if __name__ == "__main__":
    run(main)
