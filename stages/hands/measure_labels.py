"""Claims G1 and G2, from the files of data sets of clips.

python -m stages.hands.measure_labels --datasets data/rendered/laptop/train/dataset ... --measurements measure.json

G1  visible fingertips that lie more than 2 px from the point of the mask that is extreme along the finger. Only where
    the hand points, with the finger stretched and seen from the side, is that point its tip: other frames are left out
    and counted
G2  boxes that are not the tight box of the mask
"""

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from stages.hands.annotations import HAND, tight_box
from stages.hands.arm import INDEX_TIP
from stages.hands.validation import projections, read_coco
from stages.lib.core.errors import run
from stages.lib.core.measurements import Measurement, device_record, write_measurements

ALLOWED_PX = 2.0
SHIFT_PX = 6.0  # of the control's camera
# least share of the last bone's length that lies across the line of sight: a fingertip is a ball of some 7 mm, whose
# outline passes the tip by that times 1 - share: here up to 2 mm, or 1.3 px of 320 at arm's length
FROM_SIDE = 0.7
NEAR_PX = 12.0  # of the tip: what lies farther along may be another finger


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    frames = [frame for folder in args.datasets for frame in read_frames(Path(folder))]
    distances = [d for _, image, label, hand in frames if (d := tip_distance(image, label, hand)) is not None]
    shifted = [
        d for _, image, label, hand in frames if (d := tip_distance(image, label, hand, SHIFT_PX)) is not None
    ]
    boxes = [tuple(label["bbox"]) != (tight_box(hand) or (0, 0, 0, 0)) for _, _, label, hand in frames]
    measurements = [
        Measurement(
            claim="G2",
            value=float(sum(boxes)),
            unit="1",
            n=len(boxes),
            controls={
                "hands that the picture's edge clips": float(sum(_clipped(hand) for *_, hand in frames)),
                "frames without a hand": float(sum(not hand.any() for *_, hand in frames)),
            },
        )
    ]
    if distances:
        controls = {
            "largest distance (px)": float(max(distances)),
            "mean distance (px)": float(np.mean(distances)),
            "share that a camera shifted by 6 px breaks": float(np.mean(np.array(shifted) > ALLOWED_PX)),
            "frames left out": float(len(frames) - len(distances)),
        }
        far = float(np.sum(np.array(distances) > ALLOWED_PX))
        measurements.insert(
            0, Measurement(claim="G1", value=far, unit="1", n=len(distances), controls=controls)
        )
    write_measurements(args.measurements, measurements, device=device_record(threads=1))


def read_frames(folder: Path) -> Iterator[tuple[str, dict[str, Any], dict[str, Any], np.ndarray]]:
    """Name, image, label and hand mask (h, w) bool of every frame."""
    coco = read_coco(folder)
    poses = {video["id"]: video["pose"] for video in coco["videos"]}
    for image, label in zip(coco["images"], coco["annotations"], strict=True):
        image["pose"] = poses[image["video_id"]]
        with Image.open(folder / image["mask_file"]) as file:
            yield image["file_name"], image, label, np.asarray(file) == HAND


def tip_distance(
    image: dict[str, Any], label: dict[str, Any], hand: np.ndarray, shift_px: float = 0.0
) -> float | None:
    """Pixels between the projected tip and the mask's extreme point; None where that point need not be the tip."""
    if image["pose"] != "point":
        return None
    points = projections(image, label) + np.array([shift_px, 0.0])
    tip, last, middle = points[INDEX_TIP], points[INDEX_TIP - 1], points[INDEX_TIP - 2]
    along, before = tip - last, last - middle
    length = float(np.hypot(*along))
    if not label["fingertip"]["visible"] or along @ before < 0.9 * length * np.hypot(*before):
        return None
    if _share_across(np.array(label["keypoints_m"])) < FROM_SIDE:
        return None
    rows, columns = np.nonzero(hand)
    pixels = np.stack([columns + 0.5, rows + 0.5], axis=1)
    pixels = pixels[np.hypot(*(pixels - tip).T) < NEAR_PX]
    if not len(pixels):
        return NEAR_PX
    reach = (pixels - tip) @ (along / length)
    # the outline's extreme is half a pixel farther than the middle of its last pixel
    return float(abs(reach.max() + 0.5))


def _share_across(joints: np.ndarray) -> float:
    """Of the last bone of the index finger, by the joints (21, 3) in camera coordinates."""
    bone = joints[INDEX_TIP] - joints[INDEX_TIP - 1]
    sight = joints[INDEX_TIP] / np.linalg.norm(joints[INDEX_TIP])
    along = (bone @ sight) / np.linalg.norm(bone)
    return float(np.sqrt(max(1 - along**2, 0)))


def _clipped(hand: np.ndarray) -> bool:
    return bool(hand[0].any() or hand[-1].any() or hand[:, 0].any() or hand[:, -1].any())


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--datasets", nargs="+", required=True, help="folders of compose_clips")
    parser.add_argument("--measurements", required=True, help="JSON to write")
    return parser.parse_args(argv)


if __name__ == "__main__":
    run(main)
