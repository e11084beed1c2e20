"""Claims E1 to E11 of condensed expansion, from curves of expand_set and tables of judge_condensed and compare_pools.

python -m stages.expansion.measure_expansion --curves small/*.csv --features features.csv --nearest nearest.csv
    --studies '{"small": {"images_per_class": 1, "host": "fast", "heterogeneous": true}}' --measurements measure.json

Accuracies are those after the last round, on test images that decided nothing. Differences are paired by study and seed:
both arms start from the same networks, codes and condensed set. A claim that compares studies (more images a class,
another student, another host) is measured where both are there, alike but for that.
"""

import argparse
import json
from dataclasses import replace

import pandas as pd

from stages.expansion.exact import guided_parameters_that_differ
from stages.lib.core.errors import run
from stages.lib.core.measurements import (
    Measurement,
    device_record,
    finite,
    over_cases,
    write_measurements,
)
from stages.lib.core.tables import paired_differences, read_tables

CASE = ["study", "seed"]
DIGESTS = ("dataset_digest", "condensed", "condensed_digest", "pool_digest")
NOTHING = pd.Series(dtype=float, index=pd.MultiIndex.from_arrays([[], []], names=CASE))
# a gain over inversion alone, in points of top-1 (second-hand, and the abstract's)
PUBLISHED = {"published, least": 0.0831, "published, most": 0.1028, "published, abstract": 0.114}


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    curves = read_tables(args.curves, *CASE, "arm", "round", "accuracy", *DIGESTS)
    runs = curves.sort_values("round").groupby([*CASE, "arm"], sort=False).tail(1)
    features = read_tables(args.features, *CASE, "arm", "frechet", "called")
    nearest = read_tables(args.nearest, "study", "kind", "seed", "nearer", "q50")
    studies = pd.DataFrame(json.loads(args.studies)).T.rename_axis("study")
    measurements = [
        *of_accuracy(runs, features),
        *across_studies(runs, studies),
        of_augmentation(runs),
        of_privacy(nearest),
        Measurement(claim="E11", value=float(guided_parameters_that_differ()), unit="1", n=1),
    ]
    digests = digests_of(runs)
    measurements = [replace(m, dataset_digest=digests) for m in measurements]
    write_measurements(args.measurements, measurements, device=device_record(threads=1))


def digests_of(runs: pd.DataFrame) -> dict[str, str]:
    """Of the test images, of every condensed set and of every pool."""
    found = {}
    for row in runs.itertuples():
        found[f"test images of {row.study}"] = row.dataset_digest
        found[f"condensed set {row.condensed}, seed {row.seed}, of {row.study}"] = row.condensed_digest
        if row.pool_images:
            found[f"pool of {row.arm}, seed {row.seed}, of {row.study}"] = row.pool_digest
    return found


def of_accuracy(runs: pd.DataFrame, features: pd.DataFrame) -> list[Measurement]:
    """E1 to E4 and E6."""
    n = len(runs)
    closer = {arm: of_frechet(features, arm, "guided") for arm in ("inversion-only", *OTHER_GUIDES)}
    substitutes = [of_accuracies(runs, "guided", arm) for arm in ("guided-random", "guided-herding")]
    return [
        over_cases("E1", of_accuracies(runs, "guided", "naive"), unit="1", n=n, controls=finite({
            "guided above inversion alone": of_accuracies(runs, "guided", "inversion-only").mean(),
            "naive mixing above inversion alone": of_accuracies(runs, "naive", "inversion-only").mean(),
            **PUBLISHED,
        })),
        over_cases("E2", closer["inversion-only"], unit="1", n=n, controls=finite({
            f"distance, {arm}": features.loc[features["arm"] == arm, "frechet"].mean()
            for arm in ("inversion-only", "guided", *OTHER_GUIDES)
        })),
        *(
            over_cases(claim, of_accuracies(runs, "guided", arm), unit="1", n=n, controls=finite({
                "nearer in features": closer[arm].mean(),
            }))
            for claim, arm in (("E3", "guided-unconditional"), ("E4", "guided-moments"))
        ),
        over_cases("E6", least(substitutes), unit="1", n=n, controls=finite({
            "above random real images": substitutes[0].mean(), "above herding": substitutes[1].mean(),
        })),
    ]  # fmt: skip


OTHER_GUIDES = ("guided-unconditional", "guided-moments")


def across_studies(runs: pd.DataFrame, studies: pd.DataFrame) -> list[Measurement]:
    """E5 (images a class), E7 (pairs of networks) and E8 (hosts): differences of differences, seed by seed."""
    gap = of_accuracies(runs, "naive", "condensed-only")
    gain = of_accuracies(runs, "guided", "inversion-only")
    by_images, by_pair, by_host = (
        by_setting(values, studies, column)
        for values, column in ((gap, "images_per_class"), (gain, "heterogeneous"), (gain, "host"))
    )
    few, many = (by_images.get(n, NOTHING) for n in (1, 10))
    shrinks = few - many if len(few) and len(many) else NOTHING
    pairs = [by_pair.get(kind, NOTHING) for kind in (True, False)]
    more = pairs[0] - pairs[1]
    hosts = list(by_host.values()) if len(by_host) > 1 else [NOTHING]
    return [
        over_cases("E5", least([few, shrinks]), unit="1", n=len(runs), controls=finite({
            "above the condensed set alone, 1 image a class": few.mean(), "10 images a class": many.mean(),
        })),
        over_cases("E7", more if all(map(len, pairs)) else NOTHING, unit="1", n=len(runs), controls=finite({
            "gain, another architecture": pairs[0].mean(), "gain, the teacher's": pairs[1].mean(),
        })),
        over_cases("E8", least(hosts), unit="1", n=len(runs),
            controls=finite({f"gain, {host}": values.mean() for host, values in by_host.items()})),
    ]  # fmt: skip


def least(values: list[pd.Series]) -> pd.Series:
    """The smallest of them, by each case that all have."""
    return pd.concat(values, axis=1).min(axis=1, skipna=False).dropna()


def by_setting(values: pd.Series, studies: pd.DataFrame, column: str) -> dict[object, pd.Series]:
    """values by the studies' setting, one a seed, for studies that are alike in every other setting."""
    known = studies.loc[values.index.get_level_values("study").unique()]
    others = [c for c in studies.columns if c != column]
    groups = [group for _, group in known.groupby(others) if len(group[column].unique()) > 1]
    if not groups:
        return {} if len(known) != 1 else {known[column].iloc[0]: values}
    return {
        setting: values[values.index.get_level_values("study").isin(rows.index)].groupby(level="seed").mean()
        for setting, rows in groups[0].groupby(column)
    }


def of_augmentation(runs: pd.DataFrame) -> Measurement:
    """E9: by how much more of the condensed set an unaugmented discriminator knows by heart; the gain that it loses."""
    told = paired_differences(runs, "arm", "guided-plain", "guided", value="given_told", case=CASE)
    loses = of_accuracies(runs, "guided", "guided-plain")
    both = least([told, loses])
    return over_cases("E9", both, unit="1", n=len(runs), controls=finite({
        "condensed images told, plain": runs.loc[runs["arm"] == "guided-plain", "given_told"].mean(),
        "condensed images told, augmented": runs.loc[runs["arm"] == "guided", "given_told"].mean(),
        "accuracy lost without augmentation": loses.mean(),
    }))  # fmt: skip


def of_privacy(nearest: pd.DataFrame) -> Measurement:
    """E10: by how much fewer images of pools than of held-out real ones (1 in 20) lie that near a training image."""
    pools = nearest[nearest["kind"] == "pool"].groupby(CASE)["nearer"].max()
    held_out = nearest[nearest["kind"] == "test"]
    condensed = nearest[nearest["kind"] == "condensed"]
    return over_cases("E10", held_out["nearer"].mean() - pools, unit="1", n=int(nearest["n"].sum()), controls=finite({
        "median distance, pools": nearest.loc[nearest["kind"] == "pool", "q50"].mean(),
        "median distance, test images": held_out["q50"].mean(),
        "median distance, condensed images": condensed["q50"].mean(),
        "condensed images that near": condensed["nearer"].mean(),
    }))  # fmt: skip


def of_accuracies(runs: pd.DataFrame, one: str, other: str) -> pd.Series:
    return paired_differences(runs, "arm", one, other, value="accuracy", case=CASE)


def of_frechet(features: pd.DataFrame, one: str, other: str) -> pd.Series:
    return paired_differences(features, "arm", one, other, value="frechet", case=CASE)


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--curves", nargs="+", required=True, help="CSVs of expand_set")
    parser.add_argument("--features", nargs="+", required=True, help="CSVs of compare_pools")
    parser.add_argument("--nearest", nargs="+", required=True, help="CSVs of compare_pools")
    parser.add_argument("--studies", required=True, help="JSON: study -> what differs between studies")
    parser.add_argument("--measurements", required=True, help="JSON to write")
    return parser.parse_args(argv)


if __name__ == "__main__":
    run(main)
