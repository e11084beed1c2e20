"""Hand poses: joint angles in degrees, by finger, and the bones that they turn."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from stages.hands.arm import FINGERS, Array

# of a finger: flexion of the knuckle (mcp), abduction, flexion of the middle (pip) and last joint (dip); of the thumb:
# flexion and abduction of its root (cmc), flexion of mcp and ip
Angles = tuple[float, float, float, float]


@dataclass(frozen=True, kw_only=True)
class Pose:
    """thumb, index, middle, ring, pinky: angles in degrees."""

    thumb: Angles
    index: Angles
    middle: Angles
    ring: Angles
    pinky: Angles


def _curled(share: float = 1.0) -> Angles:
    return (78 * share, 0, 92 * share, 55 * share)


POSES: Mapping[str, Pose] = {
    "relaxed": Pose(
        thumb=(5, 5, 10, 10), index=(18, 0, 22, 12), middle=(22, 0, 28, 16), ring=(25, 0, 32, 18),
        pinky=(26, 0, 34, 18),
    ),
    "palm": Pose(
        thumb=(0, 20, 0, 0), index=(-4, 5, 4, 2), middle=(-4, 0, 4, 2), ring=(-3, -4, 4, 2), pinky=(-2, -10, 5, 3)
    ),
    "point": Pose(
        thumb=(22, -8, 38, 42), index=(6, 0, 6, 3), middle=_curled(0.98), ring=_curled(), pinky=_curled(0.98)
    ),
    "fist": Pose(
        thumb=(24, -14, 40, 45), index=_curled(0.97), middle=_curled(), ring=_curled(), pinky=_curled(0.98)
    ),
    "thumbs_up": Pose(
        thumb=(-10, 38, -8, -12), index=_curled(0.97), middle=_curled(), ring=_curled(), pinky=_curled(0.98)
    ),
    "pinch": Pose(
        thumb=(20, 4, 20, 28), index=(46, 4, 46, 26), middle=(26, 0, 32, 18), ring=(20, 0, 26, 14),
        pinky=(14, -4, 22, 12),
    ),
    "victory": Pose(
        thumb=(24, -12, 40, 45), index=(2, 10, 4, 2), middle=(2, -9, 4, 2), ring=_curled(), pinky=_curled(0.98)
    ),
    "grab": Pose(
        thumb=(18, 16, 18, 20), index=(30, 4, 40, 24), middle=(34, 0, 44, 26), ring=(36, -3, 46, 26),
        pinky=(38, -8, 46, 26),
    ),
}  # fmt: skip


def rotations(pose: Pose, *, wrist: Array) -> dict[str, Array]:
    """bone -> Euler angles in rad, as arm.posed takes them.

    wrist  (3,) flexion, deviation, pronation in degrees; half of the pronation turns the forearm
    """
    found = finger_rotations(np.array([getattr(pose, name) for name in FINGERS], dtype=float))
    flexion, deviation, pronation = wrist
    found["wrist"] = np.radians([-flexion, pronation / 2, deviation])
    found["lowerarm02"] = np.radians([0, pronation / 2, 0])
    return found


def finger_rotations(angles: Array) -> dict[str, Array]:
    """bone -> Euler angles (..., 3) in rad, of the degrees (..., 5, 4) of five fingers."""
    found: dict[str, Array] = {}
    for finger in range(len(FINGERS)):
        first, abduction, second, third = np.moveaxis(np.radians(angles[..., finger, :]), -1, 0)
        still = np.zeros_like(first)
        bone = f"finger{finger + 1}"
        found[f"{bone}-1"] = np.stack([-first, still, abduction], -1)
        found[f"{bone}-2"] = np.stack([-second, still, still], -1)
        found[f"{bone}-3"] = np.stack([-third, still, still], -1)
    return found
