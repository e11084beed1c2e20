"""Gestures of real videos from their pixels, by networks that have seen rendered hands and drawn templates alone.

python -m stages.hands.recognise_videos --videos data/prepared/egogestar/videos --fingertips weights.safetensors
    --fingertips-info fingertips.json --classifier weights.safetensors --classifier-info classifier.json
    --table videos.csv

The table has a row for each video and seed: answer, its probability, the share of frames with a trusted fingertip, and
whether the video served development (the lowest number of each gesture) or decides. Seeds of the two networks go
together. No frame is stored.
"""

import argparse
from pathlib import Path

import pandas as pd
import torch

from stages.hands.fingertip_net import read_fingertip_nets
from stages.hands.gestures import GESTURES
from stages.hands.trajectory_classifier import read_classifiers
from stages.hands.videos import classify, read_video, track
from stages.lib.core.artifacts import atomic_path
from stages.lib.core.errors import InputError, run
from stages.lib.core.progress import Progress

TRUSTED = 0.4  # chosen on the videos of development


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    torch.set_num_threads(1)
    index = read_index(Path(args.videos))
    finders = read_fingertip_nets(args.fingertips, args.fingertips_info)
    classifiers = read_classifiers(args.classifier, args.classifier_info)
    if set(finders) != set(classifiers):
        raise InputError(
            f"the fingertip networks have seeds {sorted(finders)}, the classifiers {sorted(classifiers)};"
            " train both with the same"
        )
    progress = Progress(len(index), "videos")
    rows = []
    for video in index.to_dict("records"):
        frames, times_s, size = read_video(Path(args.videos) / video["file"])
        for seed, finder in finders.items():
            found = track(finder, frames, times_s, size, trusted=TRUSTED)
            chances = classify(classifiers[seed], found.points)
            rows.append(
                {
                    **video,
                    "seed": seed,
                    # without a track that moves there is no answer
                    "answer": GESTURES[chances.argmax()] if chances.max() > chances.min() else "none",
                    "probability": float(chances.max()),
                    "frames": len(frames),
                    "trusted": float((found.trust > TRUSTED).mean()),
                }
            )
        progress.advance(note=video["gesture"])
    with atomic_path(args.table) as temporary:
        pd.DataFrame(rows).to_csv(temporary, index=False)


def read_index(folder: Path) -> pd.DataFrame:
    """file, gesture, number, development of the videos that show one of the ten gestures."""
    path = folder / "index.csv"
    if not path.is_file():
        raise InputError(f"{folder} has no index.csv; make it with prepare_videos")
    index = pd.read_csv(path)
    index = index[["file", "gesture", "number"]][index["gesture"].isin(GESTURES)].sort_values(
        ["gesture", "number"], ignore_index=True
    )
    return index.assign(development=index["number"] == index.groupby("gesture")["number"].transform("min"))


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--videos", required=True, help="folder of prepare_videos")
    parser.add_argument("--fingertips", required=True, help="safetensors of train_fingertips")
    parser.add_argument("--fingertips-info", required=True, help="JSON of train_fingertips")
    parser.add_argument("--classifier", required=True, help="safetensors of train_trajectory_classifier")
    parser.add_argument("--classifier-info", required=True, help="JSON of train_trajectory_classifier")
    parser.add_argument("--table", required=True, help="CSV to write")
    return parser.parse_args(argv)


if __name__ == "__main__":
    run(main)
