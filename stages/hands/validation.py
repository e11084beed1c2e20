"""Whether a data set of clips is what its labels say, frame by frame."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from stages.hands.annotations import COVERED, HAND, MASK_NAMES, VISIBLE, tight_box
from stages.hands.arm import INDEX_TIP, KEYPOINT_NAMES
from stages.lib.core.artifacts import read_json
from stages.lib.core.errors import InputError

TIP_TO_MASK_PX = 1.0  # a visible fingertip lies no farther from the hand's mask


def read_coco(folder: Path) -> dict[str, Any]:
    """annotations.json. Raises InputError where it is no record of clips."""
    path = folder / "annotations.json"
    if not path.is_file():
        raise InputError(f"{folder} has no annotations.json; give a folder that compose_clips wrote")
    coco = read_json(path)
    wanted = ("images", "annotations", "videos", "categories")
    if not isinstance(coco, dict) or (missing := [key for key in wanted if not coco.get(key)]):
        raise InputError(
            f"{path} lacks {missing[0] if isinstance(coco, dict) else 'its keys'}; compose the clips again"
        )
    return coco


def problems(folder: Path) -> Iterator[str]:
    """One sentence for each thing that is wrong, with the frame's name."""
    coco = read_coco(folder)
    labels = {label["image_id"]: label for label in coco["annotations"]}
    videos = {video["id"] for video in coco["videos"]}
    for image in coco["images"]:
        name = image["file_name"]
        if image["id"] not in labels:
            yield f"{name} has no annotation"
        elif image["video_id"] not in videos:
            yield f"{name} belongs to video {image['video_id']}, which is not listed"
        else:
            yield from (f"{name}: {problem}" for problem in _frame(folder, image, labels[image["id"]]))
    for video in coco["videos"]:
        if not (folder / video["file_name"]).is_file():
            yield f"{video['file_name']} is missing"


def _frame(folder: Path, image: dict[str, Any], label: dict[str, Any]) -> Iterator[str]:
    size = (image["width"], image["height"])
    opened = {}
    for key in ("file_name", "mask_file", "depth_file"):
        try:
            with Image.open(folder / image[key]) as file:
                opened[key] = np.asarray(file)
        except (OSError, KeyError) as error:
            yield f"its {key} cannot be read ({type(error).__name__})"
            return
        if opened[key].shape[1::-1] != size:
            yield f"its {key} is {opened[key].shape[1]} x {opened[key].shape[0]}, wanted {size[0]} x {size[1]}"
            return
    mask = opened["mask_file"]
    if mask.max() >= len(MASK_NAMES):
        yield f"its mask holds class {mask.max()}, which is none of {', '.join(MASK_NAMES)}"
    hand = mask == HAND
    box = tight_box(hand) or (0, 0, 0, 0)
    if tuple(label["bbox"]) != box:
        yield f"its box is {label['bbox']}, the mask's is {list(box)}"
    if label["area"] != hand.sum():
        yield f"its area is {label['area']} pixels, the mask's {hand.sum()}"
    if (opened["depth_file"][hand] == 0).any():
        yield "its depth is 0 on the hand"
    yield from _keypoints(image, label, hand)


def _keypoints(image: dict[str, Any], label: dict[str, Any], hand: np.ndarray) -> Iterator[str]:
    points = np.array(label["keypoints"], dtype=float).reshape(-1, 3)
    if len(points) != len(KEYPOINT_NAMES):
        yield f"it has {len(points)} keypoints, wanted {len(KEYPOINT_NAMES)}"
        return
    projected = projections(image, label)
    for name, (x, y, flag), seen in zip(KEYPOINT_NAMES, points, projected, strict=True):
        inside = 0 <= seen[0] < image["width"] and 0 <= seen[1] < image["height"]
        if flag not in (0, COVERED, VISIBLE) or (flag > 0) != inside:
            yield f"{name} has flag {flag:g} and lies {'inside' if inside else 'outside'} the picture"
        elif flag and np.hypot(x - seen[0], y - seen[1]) > 0.1:
            yield f"{name} is {np.hypot(x - seen[0], y - seen[1]):.1f} px from where its 3-D point is seen"
    tip = label["fingertip"]
    if tip["visible"]:
        distance = distance_to_mask(tip["x_px"], tip["y_px"], hand)
        if distance > TIP_TO_MASK_PX:
            yield f"its fingertip is {distance:.1f} px from the hand's mask"
    if tip["in_frame"] != (points[INDEX_TIP, 2] > 0):
        yield "its fingertip and its keypoint disagree about the frame"


def projections(image: dict[str, Any], label: dict[str, Any]) -> np.ndarray:
    """(21, 2) where the 3-D keypoints are seen, in pixels."""
    points = np.array(label["keypoints_m"])
    x = image["width"] / 2 + image["focal_px"] * points[:, 0] / -points[:, 2]
    y = image["height"] / 2 - image["focal_px"] * points[:, 1] / -points[:, 2]
    return np.stack([x, y], axis=1)


def distance_to_mask(x: float, y: float, mask: np.ndarray) -> float:
    """Pixels from a point to the nearest square of the mask; 0 inside it."""
    rows, columns = np.nonzero(mask)
    if not len(rows):
        return float("inf")
    dx = np.maximum(np.maximum(columns - x, x - columns - 1), 0)
    dy = np.maximum(np.maximum(rows - y, y - rows - 1), 0)
    return float(np.hypot(dx, dy).min())
