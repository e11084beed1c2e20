"""Labels of composed clips: COCO keypoints, boxes from the rendered masks, fingertips with depth and visibility."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from stages.hands.arm import INDEX_TIP, KEYPOINT_NAMES
from stages.hands.layers import Layers
from stages.hands.scenes import Camera

BACKGROUND, HAND, FOREARM, SLEEVE = range(4)
MASK_NAMES = ("background", "hand", "forearm", "sleeve")
SOLID = 128  # of 255: coverage from which a pixel belongs to the arm
# joints lie inside the flesh, tips at its far end: what lies in front of them by more than this covers them
FLESH_M = {"wrist": 0.032, "cmc": 0.024, "mcp": 0.020, "pip": 0.014, "ip": 0.014, "dip": 0.012, "tip": 0.012}
HIDDEN, COVERED, VISIBLE = 0, 1, 2  # COCO: not in the picture, in it behind something, seen


def class_mask(layers: Layers, index: int) -> NDArray[np.uint8]:
    """(h, w) which of MASK_NAMES each pixel shows."""
    arm = np.rint(255 * np.clip(layers.rgba[index, ..., 3].astype(np.float32), 0, 1)) >= SOLID
    hand, sleeve = layers.hand[index].astype(int), layers.sleeve[index].astype(int)
    alpha = np.maximum(255 * layers.rgba[index, ..., 3].astype(np.float32), 1)
    found = np.where(arm, FOREARM, BACKGROUND)
    found[arm & (hand >= 0.5 * alpha)] = HAND
    found[arm & (sleeve >= 0.5 * alpha)] = SLEEVE
    return found.astype(np.uint8)


def depth_map(layers: Layers, index: int, mask: NDArray[np.uint8]) -> NDArray[np.float32]:
    """(h, w) metres, inf off the arm. Pixels on its outline that the renderer's depth missed take a neighbour's."""
    depth = layers.depth_m[index].astype(np.float32)
    arm = mask != BACKGROUND
    depth[~arm] = np.inf
    while (missing := arm & ~np.isfinite(depth)).any():
        padded = np.pad(depth, 1, constant_values=np.inf)
        nearest = np.min(
            [padded[1 + dy : padded.shape[0] - 1 + dy, 1 + dx : padded.shape[1] - 1 + dx]
             for dy in (-1, 0, 1) for dx in (-1, 0, 1)], axis=0,
        )  # fmt: skip
        found = missing & np.isfinite(nearest)
        if not found.any():
            # an island that motion blur has torn off, or a hand that is all blur: as far as the rest of the arm
            seen = depth[np.isfinite(depth)]
            depth[missing] = np.median(seen) if len(seen) else -layers.keypoints[index, :, 2].mean()
            break
        depth[found] = nearest[found]
    return depth


def tight_box(mask: NDArray[np.bool_]) -> tuple[int, int, int, int] | None:
    """x, y, width, height of what is True; None where nothing is."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not len(rows):
        return None
    return int(columns[0]), int(rows[0]), int(np.ptp(columns)) + 1, int(np.ptp(rows)) + 1


def visibility(
    points: NDArray[np.float64], depth_m: NDArray[np.floating], mask: NDArray[np.uint8]
) -> list[int]:
    """COCO's flag of each keypoint (21, 3): x and y in pixels, depth in metres."""
    height, width = depth_m.shape
    flags = []
    for i, (x, y, depth) in enumerate(points):
        if not (0 <= x < width and 0 <= y < height and depth > 0):
            flags.append(HIDDEN)
            continue
        joint = KEYPOINT_NAMES[i].rpartition("_")[2]
        rows, columns = _around(int(y), height), _around(int(x), width)
        near = depth_m[rows, columns]
        # a tip lies on the outline, where its own pixel may show what is behind it: the nearest depth around counts
        around = near[np.isfinite(near)]
        front = around[np.abs(around - depth).argmin()] if len(around) else np.inf
        on_arm = (mask[rows, columns] == HAND).any() or (joint == "wrist" and (mask[rows, columns] > 0).any())
        flags.append(VISIBLE if on_arm and front > depth - FLESH_M[joint] else COVERED)
    return flags


def annotation(
    layers: Layers, index: int, camera: Camera, mask: NDArray[np.uint8], depth_m: NDArray[np.float32]
) -> dict[str, Any]:
    """The COCO annotation of one frame, less ids and files."""
    points = camera.project(layers.keypoints[index])
    flags = visibility(points, depth_m, mask)
    box = tight_box(mask == HAND)
    keypoints = [
        value
        for (x, y, _), flag in zip(points, flags, strict=True)
        # what is not in the picture has no place in it (COCO)
        for value in ((round(float(x), 3), round(float(y), 3), flag) if flag else (0, 0, 0))
    ]
    x, y, depth = points[INDEX_TIP]
    return {
        "category_id": 1,
        "iscrowd": 0,
        "bbox": list(box) if box else [0, 0, 0, 0],
        "area": int((mask == HAND).sum()),
        "keypoints": keypoints,
        "num_keypoints": sum(flag > 0 for flag in flags),
        "fingertip": {
            "x_px": round(float(x), 3),
            "y_px": round(float(y), 3),
            "depth_m": round(float(depth), 5),
            "in_frame": flags[INDEX_TIP] > 0,
            "visible": flags[INDEX_TIP] == VISIBLE,
        },
        "keypoints_m": np.round(layers.keypoints[index], 5).tolist(),
    }


def _around(at: int, size: int) -> slice:
    return slice(max(at - 1, 0), min(at + 2, size))
