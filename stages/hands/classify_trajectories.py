"""Real fingertip trajectories, classified by networks that have seen drawn templates alone.

python -m stages.hands.classify_trajectories --weights weights.safetensors --info classifier.json
    --trajectories data/prepared/egogestar/test/trajectories.parquet --table accuracy.csv

The table has a row for each seed, true gesture and answer, with its count. No trajectory is stored.
"""

import argparse

import numpy as np
import pandas as pd
import torch

from stages.hands.arm import Array
from stages.hands.gestures import GESTURES
from stages.hands.trajectories import features
from stages.hands.trajectory_classifier import read_classifiers
from stages.lib.core.artifacts import atomic_path
from stages.lib.core.errors import InputError, run


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    torch.set_num_threads(1)
    points, gestures = read_trajectories(args.trajectories)
    seen = torch.from_numpy(features(points))
    rows = []
    for seed, model in read_classifiers(args.weights, args.info).items():
        with torch.inference_mode():
            answers = [GESTURES[i] for i in model(seen).argmax(1)]
        counts = pd.DataFrame({"gesture": gestures, "answer": answers}).value_counts().reset_index()
        rows.append(counts.assign(seed=seed))
        right = counts.loc[counts["gesture"] == counts["answer"], "count"].sum()
        print(f"seed {seed}: {right} of {len(points)} right")
    with atomic_path(args.table) as temporary:
        pd.concat(rows)[["seed", "gesture", "answer", "count"]].to_csv(temporary, index=False)


def read_trajectories(path: str) -> tuple[list[Array], list[str]]:
    """Points (n, 2) and gesture of every row of prepared trajectories."""
    table = pd.read_parquet(path)
    if unknown := sorted(set(table["gesture"]) - set(GESTURES)):
        raise InputError(f"{path} has the gesture {unknown[0]!r}; known are {', '.join(GESTURES)}")
    return [np.stack([row.x, row.y], axis=1) for row in table.itertuples()], list(table["gesture"])


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--weights", required=True, help="safetensors of train_trajectory_classifier")
    parser.add_argument("--info", required=True, help="JSON of train_trajectory_classifier")
    parser.add_argument("--trajectories", required=True, help="prepared trajectories, parquet")
    parser.add_argument("--table", required=True, help="CSV to write")
    return parser.parse_args(argv)


if __name__ == "__main__":
    run(main)
