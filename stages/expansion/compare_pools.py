"""How far pools and condensed sets are from real images: by the teacher's features, and by the nearest training image.

python -m stages.expansion.compare_pools --teacher MODEL --train data/prepared/fashion-mnist/train
    --test data/prepared/fashion-mnist/test --runs runs/small/guided/0 runs/small/naive/0 --condensed condensed/dm/1/0
    --features features.csv --nearest nearest.csv

features.csv has a row a run: class-conditional Frechet distance of the pool's features to those of real test images, and
how many of its images the teacher calls what they were meant to be. nearest.csv has quantiles of the distance to the
nearest training image, of each pool, of each condensed set, and of test images, which nobody trained on. Training images
are read to measure, by nothing that learns.
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd

from stages.expansion.distances import class_frechet, nearest_distances
from stages.expansion.selection import teacher_features
from stages.lib.core.artifacts import atomic_path
from stages.lib.core.errors import run
from stages.lib.core.prepared import read_images
from stages.lib.core.progress import Progress
from stages.lib.inversion.networks import Networks
from stages.lib.nets.model_folder import read_model
from stages.lib.training.device import CHOICES, choose_device
from stages.lib.training.images import normalise

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
HELD_OUT = 2000  # test images whose nearest training image is looked for
NEAREST_OF = 500  # images of a pool that are looked for


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    device = choose_device(args.device)
    teacher, info = read_model(args.teacher)
    train, test = read_images(args.train), read_images(args.test)
    networks = Networks(
        teacher=teacher, student=teacher, channels=test.info.channels, size=test.info.height, device=device
    )
    _, real = teacher_features(normalise(test.images, info.mean, info.std), networks)
    features, nearest = [], []
    progress = Progress(len(args.runs) + len(args.condensed) + 1, "sets")
    held_out = nearest_distances(test.images[:HELD_OUT], train.images)
    bar = float(np.quantile(held_out, QUANTILES[0]))

    def add(kind: str, name: str, seed: int, distances: np.ndarray) -> None:
        row = {"kind": kind, "name": name, "seed": seed, "n": len(distances)}
        row |= {f"q{100 * q:g}": v for q, v in zip(QUANTILES, np.quantile(distances, QUANTILES), strict=True)}
        # of test images it is 1 in 20, by definition
        nearest.append(row | {"nearer": float((distances < bar).mean())})
        progress.advance()

    add("test", "test", 0, held_out)
    for folder in args.runs:
        pool = read_images(folder / "pool")
        if not pool.info.n:
            continue
        logits, made = teacher_features(normalise(pool.images, info.mean, info.std), networks)
        arm, seed = folder.parent.name, int(folder.name)
        features.append(
            {
                "study": args.study,
                "arm": arm,
                "seed": seed,
                "images": pool.info.n,
                "frechet": class_frechet(made.numpy(), pool.labels, real.numpy(), test.labels),
                "called": float((logits.argmax(1).numpy() == pool.labels).mean()),
                "digest": pool.info.digest,
            }
        )
        add("pool", arm, seed, nearest_distances(pool.images[-NEAREST_OF:], train.images))
    for folder in args.condensed:
        split = read_images(folder)
        add("condensed", split.info.split, int(folder.name), nearest_distances(split.images, train.images))
    for path, rows in ((args.features, features), (args.nearest, nearest)):
        with atomic_path(path) as temporary:
            pd.DataFrame(rows).assign(study=args.study).to_csv(temporary, index=False)


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--teacher", type=Path, required=True, help="model folder")
    parser.add_argument("--train", type=Path, required=True, help="prepared training split, to measure with")
    parser.add_argument("--test", type=Path, required=True, help="prepared test split")
    parser.add_argument("--runs", type=Path, nargs="+", required=True, help="folders of expand_set, ARM/SEED")
    parser.add_argument("--condensed", type=Path, nargs="+", required=True, help="folders of condense")
    parser.add_argument("--study", default="", help="name that the tables carry")
    parser.add_argument("--device", choices=CHOICES, default="auto")
    parser.add_argument("--features", required=True, help="CSV to write")
    parser.add_argument("--nearest", required=True, help="CSV to write")
    return parser.parse_args(argv)


if __name__ == "__main__":
    run(main)
