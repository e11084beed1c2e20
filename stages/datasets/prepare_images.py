"""Prepare one split of an image set.

python -m stages.datasets.prepare_images --entry '{...}' --manifest data/raw/digits/source.json --split train
    --images OUT/images.npy --labels OUT/labels.npy --info OUT/dataset.json
"""

import argparse
from pathlib import Path

from stages.datasets.config import DatasetEntry
from stages.datasets.prepare import prepare_split, read_manifest
from stages.lib.core.commands import from_json
from stages.lib.core.errors import InputError, run
from stages.lib.core.prepared import write_images


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    folder = args.info.parent
    if (args.images, args.labels, args.info.name) != (
        folder / "images.npy",
        folder / "labels.npy",
        "dataset.json",
    ):
        raise InputError(
            "--images, --labels and --info must be images.npy, labels.npy, dataset.json of one folder"
        )
    entry = from_json(DatasetEntry, args.entry, where="--entry")
    name, source, raw = read_manifest(args.manifest)
    split = prepare_split(name, entry, args.split, source, raw)
    write_images(folder, split)
    print(f"{name}/{args.split}: {split.info.n} images, digest {split.info.digest}")


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="prepare_images", description=__doc__.splitlines()[0])
    parser.add_argument("--entry", required=True, help="entry of config/datasets.yaml as JSON")
    parser.add_argument("--manifest", type=Path, required=True, help="source.json of fetch_dataset")
    parser.add_argument("--split", required=True)
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--labels", type=Path, required=True)
    parser.add_argument("--info", type=Path, required=True)
    return parser.parse_args(argv)


if __name__ == "__main__":
    run(main)
