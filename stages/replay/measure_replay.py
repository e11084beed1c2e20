"""Claims P1 to P12 of PRE-DFKD, from curves of distil_student and tables of study_labels.

python -m stages.replay.measure_replay --curves unstable/*.csv grid/*.csv --labels labels-0.csv labels-1.csv
    --measurements measure.json

Differences are paired by teacher and seed within a study: both methods start from the same networks and see the same
codes. A study counts for a claim where it has the methods that the claim compares; with fewer than three seeds there is
no verdict. Accuracies are top-1 on test images, which decided nothing.
"""

import argparse
from dataclasses import replace

import numpy as np
import pandas as pd
from scipy.stats import spearmanr

from stages.lib.core.errors import run
from stages.lib.core.measurements import Measurement, device_record, finite, over_cases, write_measurements
from stages.lib.core.tables import read_tables
from stages.replay.exact import (
    PUBLISHED_MB,
    disagreement_gradients,
    largest_latent_of,
    vae_megabytes,
)
from stages.replay.runs import paired, read_runs

RIVALS = ("dafl", "dfad", "mb")


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    curves, runs = read_runs(args.curves)
    labels = read_tables(args.labels, "part", "kind", "kept", "seed") if args.labels else pd.DataFrame()
    measurements = [kept_bytes(curves), vae_size(), released_gradient(), *differences(runs)]
    if len(labels):
        measurements += of_labels(labels)
    digests = dict(zip("test images of " + curves["study"], curves["dataset_digest"], strict=True))
    measurements = [replace(m, dataset_digest=digests) for m in measurements]
    write_measurements(args.measurements, measurements, device=device_record(threads=1))


def differences(runs: pd.DataFrame) -> list[Measurement]:
    """Claims that compare two methods by seed, and those on all methods."""
    n = len(runs)
    fall = "drawdown_second_half"
    replay = paired(runs, "pre-none", "pre", fall)
    rivals = [paired(runs, "pre", rival, "mean") for rival in RIVALS]
    ahead = pd.concat(rivals, axis=1).min(axis=1) if all(map(len, rivals)) else rivals[0]
    teachers = runs[runs["method"] == "pre-none"].groupby(["study", "seed"])["last"]
    return [
        over_cases("P1", replay, unit="1", n=n, controls={
            "lower with a quarter rehearsed": paired(runs, "pre-none", "pre-quarter", fall).mean(),
            "lower with a bank": paired(runs, "pre-none", "mb", fall).mean(),
            "lower standard deviation, second half": paired(runs, "pre-none", "pre", "std_second_half").mean(),
            "more expected accuracy, second half": paired(runs, "pre", "pre-none", "mean_second_half").mean(),
            "more accuracy at the end": paired(runs, "pre", "pre-none", "last").mean(),
        }),
        over_cases("P2", paired(runs, "dfad", "pre-dfad", "drawdown"), unit="1", n=n, controls={
            "best accuracy of DFAD": runs.loc[runs["method"] == "dfad", "max"].max(),
            "lower standard deviation": paired(runs, "dfad", "pre-dfad", "std").mean(),
        }),
        over_cases("P8", paired(runs, "pre-fixed", "pre", "last"), unit="1", n=n, controls={
            "more expected accuracy": paired(runs, "pre-fixed", "pre", "mean").mean(),
        }),
        over_cases("P10", rank_correlation(runs), unit="1", n=n, controls={}),
        over_cases("P11", ahead, unit="1", n=n, controls={
            f"above {rival} in the mean of {part}": paired(runs, "pre", rival, column).mean()
            for rival in RIVALS
            for part, column in (("all", "mean"), ("the second half", "mean_second_half"))
        }),
        over_cases("P12", (teachers.max() - teachers.min())[teachers.count() >= 3], unit="1", n=n, controls={}),
    ]  # fmt: skip


def rank_correlation(runs: pd.DataFrame) -> pd.Series:
    """By study and seed with five methods or more: of the mean over all evaluations and over the second half."""
    found = {
        key: float(spearmanr(own["mean"], own["mean_second_half"])[0])
        for key, own in runs.groupby(["study", "seed"])
        if own["method"].nunique() >= 5
    }
    return pd.Series(found, dtype=float).rename_axis(["study", "seed"]) if found else pd.Series(dtype=float)


def kept_bytes(curves: pd.DataFrame) -> Measurement:
    """P5: runs in which the VAE's bytes change, or in which a bank below its cap does not grow."""
    wrong, n, largest = 0, 0, {}
    for key, curve in curves[curves["method"].str.startswith(("pre", "mb"))].groupby(
        ["study", "teacher", "method", "seed"]
    ):
        kept = curve.sort_values("iteration")["memory_bytes"].to_numpy()
        if kept.max() == 0:
            continue
        n += 1
        bank = key[2] == "mb"
        grows = (np.diff(kept) > 0) | (kept[1:] == kept.max())
        wrong += int(not grows.all()) if bank else int((kept != kept[0]).any())
        name = f"{'bank' if bank else 'VAE'} in {key[0]}, MB"
        largest[name] = max(largest.get(name, 0.0), kept.max() / 1e6)
    return Measurement(claim="P5", value=float(wrong), unit="1", n=n, controls=largest)


def vae_size() -> Measurement:
    return Measurement(
        claim="P6",
        value=vae_megabytes(),
        unit="MB",
        n=1,
        controls={
            "largest code of 2.1 MB": float(largest_latent_of(PUBLISHED_MB)),
            "published": PUBLISHED_MB,
        },
    )


def released_gradient() -> Measurement:
    """P7: gradient of the released L_dis over that of the true divergence, 100 classes."""
    hundred, ten = disagreement_gradients(100), disagreement_gradients(10)
    return Measurement(
        claim="P7",
        value=hundred["released"] / hundred["fixed"],
        unit="1",
        n=256,
        controls={
            "the same for 10 classes": ten["released"] / ten["fixed"],
            "released, 100 classes over 10": hundred["released"] / ten["released"],
        },
    )


def of_labels(labels: pd.DataFrame) -> list[Measurement]:
    """P3, P4 and P9, a sample each run of the study."""
    shares = labels.pivot_table(index="seed", columns=["part", "kind"], values="kept")
    noise = labels[labels["part"] == "noise"].pivot_table(index="deviation", columns="kind", values="kept")
    entropy = labels[labels["part"] == "codes"].pivot_table(index="seed", columns="kind", values="entropy")
    response, pixels = shares[("rebuilt", "teacher's response")], shares[("rebuilt", "pixels")]
    n = int(labels["images"].sum())
    return [
        over_cases("P3", response - pixels, unit="1", n=n, controls=finite({
            "kept with the teacher's response": response.mean(), "kept with pixels alone": pixels.mean(),
        })),
        over_cases("P4", shares[("noise", "real")] - shares[("noise", "made")], unit="1", n=n, controls=finite({
            f"{kind}, noise of {deviation:g}": noise.loc[deviation, kind]
            for deviation in noise.index for kind in ("real", "made")
        })),
        over_cases("P9", entropy["balanced"] - entropy["plain"], unit="1", n=n, controls=finite({
            "entropy, plain codes": entropy["plain"].mean(), "entropy, balanced": entropy["balanced"].mean(),
        })),
    ]  # fmt: skip


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--curves", nargs="+", required=True, help="CSVs of distil_student")
    parser.add_argument("--labels", nargs="*", default=(), help="CSVs of study_labels")
    parser.add_argument("--measurements", required=True, help="JSON to write")
    return parser.parse_args(argv)


if __name__ == "__main__":
    run(main)
