"""What a clip shows, as plain data: an identity, a gesture, where hand and head are at every frame, and the light.

Camera coordinates are metres, x to the right, y up, z towards the viewer (the camera looks along -z). A clip is drawn
from its own seed, so that clips are independent of each other and of their order.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stages.hands.arm import FINGERTIPS, INDEX_TIP, KEYPOINT_NAMES, Array, PosedArm, RestArm, posed, unit
from stages.hands.contact import settled
from stages.hands.poses import rotations

MIDDLE_MCP = KEYPOINT_NAMES.index("middle_mcp")


@dataclass(frozen=True, kw_only=True)
class Camera:
    """A pinhole of square pixels: width_px, height_px, and the horizontal field of view in rad."""

    width_px: int
    height_px: int
    field_of_view_rad: float

    @property
    def focal_px(self) -> float:
        return float(self.width_px / 2 / np.tan(self.field_of_view_rad / 2))

    def project(self, points: Array) -> Array:
        """(..., 3): x and y in pixels from the upper left corner (pixel centres at .5), depth in metres."""
        depth = -points[..., 2]
        x = self.width_px / 2 + self.focal_px * points[..., 0] / depth
        y = self.height_px / 2 - self.focal_px * points[..., 1] / depth
        return np.stack([x, y, depth], axis=-1)

    def unproject(self, x_px: Array, y_px: Array, depth_m: Array) -> Array:
        """(..., 3) the points that are seen there."""
        x = (x_px - self.width_px / 2) / self.focal_px * depth_m
        y = (self.height_px / 2 - y_px) / self.focal_px * depth_m
        return np.stack([x, y, -depth_m], axis=-1)


@dataclass(frozen=True, kw_only=True)
class Stance:
    """How the arm is held in a clip.

    elbow_m   (3,) camera coordinates
    dorsal    (3,) where the back of the hand looks, roughly
    wrist     (3,) flexion, deviation, pronation in degrees
    jitter    (5, 4) degrees on the fingers' angles
    """

    elbow_m: Array
    dorsal: Array
    wrist: Array
    jitter: Array


@dataclass(frozen=True, kw_only=True)
class ClipGeometry:
    """F frames of an arm, in camera coordinates.

    vertices         (F, 2, V, 3) float32 at the moments at which the shutter opens and closes
    keypoints        (F, 21, 3) joints at mid-shutter; the ends of fingers lie on the skin
    world_from_camera  (F, 2, 3, 3) rotation of the head at both moments; world z is up
    """

    vertices: NDArray[np.float32]
    keypoints: Array
    world_from_camera: Array


# the keypoint that follows the path, by pose; others: the middle knuckle
ANCHORS: Mapping[str, int] = {"point": INDEX_TIP}


def place(arm: PosedArm, *, anchor: int, target: Array, elbow: Array, dorsal: Array) -> tuple[Array, Array]:
    """(rotation (3, 3), translation (3,)) that puts a keypoint on the target, with the elbow towards `elbow` and the
    back of the hand towards `dorsal`.
    """
    own = _frame(arm.keypoints[anchor] - arm.elbow, arm.dorsal)
    wanted = _frame(target - elbow, dorsal)
    rotation = wanted @ own.T
    return rotation, target - rotation @ arm.keypoints[anchor]


def clip_geometry(
    rest: RestArm,
    *,
    pose: str,
    targets: Array,
    stance: Stance,
    wrist_sway: Array,
    world_from_camera: Array,
    left: bool,
) -> ClipGeometry:
    """Where the arm's skin is at every frame.

    targets            (F, 3, 3) anchor in camera coordinates at opening, middle and closing of the shutter
    wrist_sway         (F, 3) degrees, added to the stance's wrist
    world_from_camera  (F, 2, 3, 3)
    left               mirror the finished right arm
    """
    anchor = ANCHORS.get(pose, MIDDLE_MCP)
    fingers = settled(rest, pose, stance.jitter)
    middle = targets[:, 1].mean(0)
    vertices, keypoints = [], []
    for moments, sway in zip(targets, wrist_sway, strict=True):
        arm = posed(rest, rotations(fingers, wrist=stance.wrist + sway))
        joints = arm.keypoints.copy()
        joints[list(FINGERTIPS)] = arm.vertices[rest.fingertips]
        at_moments = []
        for moment in moments:
            # the elbow follows the hand some of the way
            elbow = stance.elbow_m + 0.35 * (moment - middle)
            rotation, shift = place(arm, anchor=anchor, target=moment, elbow=elbow, dorsal=stance.dorsal)
            at_moments.append((rotation, shift))
        open_, mid, close = at_moments
        vertices.append([arm.vertices @ r.T + t for r, t in (open_, close)])
        keypoints.append(joints @ mid[0].T + mid[1])
    mirror = np.array([-1.0 if left else 1.0, 1, 1])
    return ClipGeometry(
        vertices=(np.array(vertices) * mirror).astype(np.float32),
        keypoints=np.array(keypoints) * mirror,
        world_from_camera=world_from_camera,
    )


def head_rotation(yaw: Array, pitch: Array, roll: Array) -> Array:
    """(..., 3, 3) world_from_camera; yaw turns about the vertical, pitch lifts the view, roll tilts it; all in rad.

    At 0, 0, 0 the camera looks along the world's y, its x is the world's x.
    """
    cy, sy, cp, sp, cr, sr = (
        np.cos(yaw),
        np.sin(yaw),
        np.cos(pitch),
        np.sin(pitch),
        np.cos(roll),
        np.sin(roll),
    )
    zero, one = np.zeros_like(cy), np.ones_like(cy)

    def matrix(*rows: tuple[Array, Array, Array]) -> Array:
        return np.stack([np.stack(row, axis=-1) for row in rows], axis=-2)

    turn = matrix((cy, -sy, zero), (sy, cy, zero), (zero, zero, one))
    upright = np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]])  # camera (x, y up, z back) -> world (x, -z, y)
    lift = matrix((one, zero, zero), (zero, cp, -sp), (zero, sp, cp))
    tilt = matrix((cr, -sr, zero), (sr, cr, zero), (zero, zero, one))
    return turn @ upright @ lift @ tilt


def about_vertical(angle_rad: float) -> Array:
    """(3, 3) that turns the world about its z."""
    c, s = np.cos(angle_rad), np.sin(angle_rad)
    return np.array([[c, -s, 0], [s, c, 0], [0, 0, 1.0]])


def smooth_walk(
    n: int, dimensions: int, amplitude: float, rng: np.random.Generator, *, knots: int = 5
) -> Array:
    """(n, dimensions) smooth random values of standard deviation `amplitude` at the knots, cosine in between."""
    heights = rng.normal(0, amplitude, (max(knots, 2), dimensions))
    at = np.linspace(0, len(heights) - 1, n)
    left = np.minimum(at.astype(int), len(heights) - 2)
    share = ((1 - np.cos(np.pi * (at - left))) / 2)[:, None]
    return heights[left] * (1 - share) + heights[left + 1] * share


def _frame(along: Array, up: Array) -> Array:
    """(3, 3) orthonormal columns: along, the part of up that stands on it, and the third."""
    a = unit(along)
    d = unit(up - (up @ a) * a)
    return np.stack([a, d, np.cross(a, d)], axis=1)
