"""Claims G11 and G12: accuracy on EgoGestAR's real trajectories and real videos, trained on synthetic data alone.

python -m stages.hands.measure_recognition --trajectories test.csv --videos videos.csv --measurements measure.json

One sample a seed, and the values that --draws other draws of the trajectories or videos would give. Only the videos that
development never looked at decide; the others are a control.
"""

import argparse

import numpy as np
import pandas as pd

from stages.lib.core.errors import run
from stages.lib.core.measurements import Measurement, device_record, over_seeds, write_measurements
from stages.lib.core.seeds import generator
from stages.lib.core.tables import read_tables


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    rng = generator(0, "bootstrap")
    trajectories = read_tables([args.trajectories], "seed", "gesture", "answer", "count")
    rows = trajectories.loc[trajectories.index.repeat(trajectories["count"])]
    rows = rows.assign(case=rows.groupby("seed").cumcount())
    videos = read_tables([args.videos], "seed", "gesture", "answer", "file", "development").rename(
        columns={"file": "case"}
    )
    unseen, looked_at = (videos[videos["development"] == flag] for flag in (False, True))
    measurements = [
        accuracy("G11", rows, rng, draws=args.draws, controls=by_gesture(rows)),
        accuracy(
            "G12",
            unseen,
            rng,
            draws=args.draws,
            controls={
                "videos of development": float((looked_at["answer"] == looked_at["gesture"]).mean()),
                **by_gesture(unseen),
            },
        ),
    ]
    write_measurements(args.measurements, measurements, device=device_record(threads=1))


def accuracy(
    claim: str, rows: pd.DataFrame, rng: np.random.Generator, *, draws: int, controls: dict[str, float]
) -> Measurement:
    """Share of right answers; rows: seed, case, gesture, answer."""
    right = (rows["answer"] == rows["gesture"]).to_numpy(float)
    by_seed = rows.assign(right=right).groupby("seed")["right"].mean()
    # cases of one seed in the order of another's would not be the same: each is drawn with all its seeds
    table = rows.assign(right=right).pivot_table(index="case", columns="seed", values="right").to_numpy()
    resamples = [float(table[rng.integers(len(table), size=len(table))].mean()) for _ in range(draws)]
    return over_seeds(claim, by_seed, unit="1", n=len(table), controls=controls, resamples=resamples)


def by_gesture(rows: pd.DataFrame) -> dict[str, float]:
    right = (rows["answer"] == rows["gesture"]).groupby(rows["gesture"]).mean()
    return {str(gesture): float(value) for gesture, value in right.items()}


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--trajectories", required=True, help="CSV of classify_trajectories")
    parser.add_argument("--videos", required=True, help="CSV of recognise_videos")
    parser.add_argument("--draws", type=int, default=500, help="bootstrap draws")
    parser.add_argument("--measurements", required=True, help="JSON to write")
    return parser.parse_args(argv)


if __name__ == "__main__":
    run(main)
