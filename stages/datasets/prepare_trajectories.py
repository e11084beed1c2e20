"""Prepare one split of EgoGestAR's fingertip trajectories.

python -m stages.datasets.prepare_trajectories --entry '{...}' --manifest data/raw/egogestar/source.json
    --split train --trajectories OUT/trajectories.parquet --info OUT/trajectories.json

The table has a row a trajectory: gesture, index, x and y (lists, pixels of 640 x 480).
"""

import argparse
import hashlib
from pathlib import Path

import pandas as pd

from stages.datasets.config import DatasetEntry
from stages.datasets.prepare import read_manifest, split_record
from stages.lib.core.artifacts import atomic_path, write_json
from stages.lib.core.commands import from_json
from stages.lib.core.errors import run


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    entry = from_json(DatasetEntry, args.entry, where="--entry")
    name, source, raw = read_manifest(args.manifest)
    table = pd.read_parquet(raw / source.options["table"])
    table = table[table["split"] == args.split].sort_values(["gesture", "index"], ignore_index=True)
    table = table[["gesture", "index", "x", "y"]]
    record = split_record(name, entry, args.split, digest=trajectories_digest(table), n=len(table))
    with atomic_path(args.trajectories) as temporary:
        table.to_parquet(temporary, index=False)
    write_json(args.info, record)


def trajectories_digest(table: pd.DataFrame) -> str:
    """sha256 over gesture, index and the points of each row, as text with three decimals."""
    rows = [
        f"{row.gesture} {row.index_} "
        + " ".join(f"{x:.3f},{y:.3f}" for x, y in zip(row.x, row.y, strict=True))
        for row in table.rename(columns={"index": "index_"}).itertuples()
    ]
    return hashlib.sha256("\n".join(rows).encode()).hexdigest()


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="prepare_trajectories", description=__doc__.splitlines()[0])
    parser.add_argument("--entry", required=True, help="entry of config/datasets.yaml as JSON")
    parser.add_argument("--manifest", type=Path, required=True, help="source.json of fetch_dataset")
    parser.add_argument("--split", required=True)
    parser.add_argument("--trajectories", type=Path, required=True)
    parser.add_argument("--info", type=Path, required=True)
    return parser.parse_args(argv)


if __name__ == "__main__":
    run(main)
