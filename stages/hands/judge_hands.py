"""An independent judge of rendered hands: does MediaPipe's hand model find them, and where does it put the keypoints?

python -m stages.hands.judge_hands --datasets a/dataset b/dataset --flat a/flat b/flat
    --videos data/prepared/egogestar/videos --frames 200 --table judged.csv

Runs in the environment `oracles`. Frames are drawn at random over all sets; the same frames with a flat-shaded hand over
the same backgrounds, and frames of the real videos of development, are controls. The table has a row a frame: found,
and the mean distance of the keypoints in the picture to ours, as a share of the box's longer side.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import mediapipe
import numpy as np
import pandas as pd
from PIL import Image

from stages.hands.skin import skin_thirds
from stages.lib.core.artifacts import atomic_path, read_json
from stages.lib.core.errors import InputError, run
from stages.lib.core.progress import Progress
from stages.lib.core.seeds import generator

SHOWN_PX = (640, 480)  # MediaPipe's palm model wants larger hands than our frames have
CONFIDENCE = 0.5
REAL_FRAMES = 10  # of each video


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    folders = [Path(folder) for folder in args.datasets]
    drawn = draw_frames(folders, args.frames)
    flat = [
        (Path(args.flat[folders.index(folder)]), image, label, video)
        for folder, image, label, video in (drawn if args.flat else [])
    ]
    progress = Progress(len(drawn) + len(flat), "frames judged")
    rows = []
    model = mediapipe.solutions.hands.Hands(
        static_image_mode=True, max_num_hands=1, min_detection_confidence=CONFIDENCE, model_complexity=1
    )
    for arm, frames in (("rendered", drawn), ("flat", flat)):
        for folder, image, label, video in frames:
            found = keypoints(model, np.asarray(Image.open(folder / image["file_name"]).convert("RGB")))
            about = {"arm": arm, "set": video["set"], "file": image["file_name"]}
            about |= {key: video[key] for key in ("gesture", "tone", "panorama")}
            rows.append(about | judged(found, image, label))
            progress.advance(note=arm)
    for name, picture in real_frames(args.videos):
        found = keypoints(model, picture)
        rows.append({"arm": "real", "set": "", "file": name, "found": found is not None})
    table = pd.DataFrame(rows)
    with atomic_path(args.table) as temporary:
        table.to_csv(temporary, index=False)
    print(summary(table))


def summary(table: pd.DataFrame) -> str:
    """Shares of found hands, by arm and by thirds of the scale of tones, and the median distance of keypoints."""
    lines = []
    for arm, frames in table.groupby("arm", sort=False):
        error = f", keypoints off by {frames['error'].median():.1%} of the box" if arm != "real" else ""
        lines.append(f"{arm}: {frames['found'].mean():.1%} of {len(frames)} found{error}")
        if arm == "rendered":
            for third, some in frames.groupby(skin_thirds(frames["tone"].to_numpy())):
                lines.append(f"  {third} skin: {some['found'].mean():.1%} of {len(some)}")
    return "\n".join(lines)


def draw_frames(
    folders: list[Path], n: int
) -> list[tuple[Path, dict[str, Any], dict[str, Any], dict[str, Any]]]:
    """(folder, image, label, video) of n frames of all sets."""
    every = []
    for folder in folders:
        coco = read_json(folder / "annotations.json")
        videos = {video["id"]: video for video in coco["videos"]}
        for image, label in zip(coco["images"], coco["annotations"], strict=True):
            every.append((folder, image, label, videos[image["video_id"]]))
    return [every[i] for i in sorted(generator(0, "judged frames").permutation(len(every))[:n])]


def keypoints(model: Any, picture: np.ndarray) -> np.ndarray | None:
    """(21, 2) places in shares of the picture, or None where no hand is found."""
    shown = np.asarray(Image.fromarray(picture).resize(SHOWN_PX, Image.Resampling.BICUBIC))
    found = model.process(shown).multi_hand_landmarks
    return np.array([(point.x, point.y) for point in found[0].landmark]) if found else None


def judged(found: np.ndarray | None, image: dict[str, Any], label: dict[str, Any]) -> dict[str, Any]:
    if found is None:
        return {"found": False}
    ours = np.array(label["keypoints"]).reshape(-1, 3)
    seen = ours[:, 2] > 0
    distance = np.linalg.norm(found * [image["width"], image["height"]] - ours[:, :2], axis=1)[seen].mean()
    return {"found": True, "error": float(distance / max(*label["bbox"][2:], 1))}


def real_frames(folder: str | None) -> Iterator[tuple[str, np.ndarray]]:
    """Frames of the videos that development may look at; none is stored."""
    if folder is None:
        return
    index = pd.read_csv(Path(folder) / "index.csv")
    index = index[index["gesture"] != "unclassified"]
    for file in index.sort_values("number").groupby("gesture")["file"].first():
        frames = list(decoded(Path(folder) / file))
        for i in np.linspace(0, len(frames) - 1, REAL_FRAMES).astype(int):
            yield f"{file}:{i}", frames[i]


def decoded(path: Path) -> Iterator[np.ndarray]:
    """(h, w, 3) RGB of each frame, by OpenCV, which MediaPipe brings along."""
    video = cv2.VideoCapture(str(path))
    if not video.isOpened():
        raise InputError(f"{path} cannot be read as a video; give an MP4 file")
    while (frame := video.read())[0]:
        yield cv2.cvtColor(frame[1], cv2.COLOR_BGR2RGB)
    video.release()


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--datasets", nargs="+", required=True, help="folders of compose_clips")
    parser.add_argument("--flat", nargs="*", default=[], help="the same with --flat, in the same order")
    parser.add_argument("--videos", help="folder of prepare_videos")
    parser.add_argument("--frames", type=int, default=200, help="how many to draw")
    parser.add_argument("--table", required=True, help="CSV to write")
    return parser.parse_args(argv)


if __name__ == "__main__":
    run(main)
