"""Prepare the videos of EgoGestAR: the verified files in one folder, with what each shows.

python -m stages.datasets.prepare_videos --manifest data/raw/egogestar/source.json --videos data/prepared/egogestar/videos

index.csv  file, gesture, number, sha256; files are named GESTURE_NUMBER.mp4. They may not be redistributed.
"""

import argparse
import shutil
from pathlib import Path

import pandas as pd

from stages.datasets.prepare import read_manifest
from stages.lib.core.artifacts import file_digest, temporary_folder
from stages.lib.core.errors import InputError, run


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    _, source, raw = read_manifest(args.manifest)
    files = sorted(name for name in source.files if name.endswith(".mp4"))
    if not files:
        raise InputError(f"{args.manifest} names no videos; fetch the set again")
    with temporary_folder(args.videos) as folder:
        rows = []
        for name in files:
            stem = Path(name).stem
            gesture, _, number = stem.rpartition("_")
            shutil.copyfile(raw / name, folder / f"{stem}.mp4")
            digest = file_digest(folder / f"{stem}.mp4")
            rows.append({"file": f"{stem}.mp4", "gesture": gesture, "number": int(number), "sha256": digest})
        pd.DataFrame(rows).to_csv(folder / "index.csv", index=False)
        shutil.rmtree(args.videos, ignore_errors=True)
        folder.rename(args.videos)


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="prepare_videos", description=__doc__.splitlines()[0])
    parser.add_argument("--manifest", type=Path, required=True, help="source.json of fetch_dataset")
    parser.add_argument("--videos", type=Path, required=True, help="folder to write")
    return parser.parse_args(argv)


if __name__ == "__main__":
    run(main)
