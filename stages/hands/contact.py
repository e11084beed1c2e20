"""Hands that touch themselves without going into themselves: joint angles near a pose's, by least squares.

Bones are capsules whose radius most of the skin lies within. What capsules share at rest (neighbouring fingers, the root
of the thumb) they may share in any pose; flesh gives way by SOFT_M more.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stages.hands.arm import BONES, FINGERS, Array, RestArm, bone_matrices
from stages.hands.poses import POSES, Pose, finger_rotations

SOFT_M = 0.001
SKIN_SHARE = 0.65  # of a bone's skin that lies within its capsule
CLOSE_M = 0.0005  # of a gap that counts as touching
STEPS = 40  # of Gauss-Newton at most
STEP_DEG = 8.0
NUDGE_DEG = 0.05  # of one angle, for the slope
# how far a finger's angles may go from the pose's as easily as 1 mm into flesh
PULL_DEG = (14.0, 5.0, 14.0, 14.0)
LOWEST_DEG, HIGHEST_DEG = (-20.0, -25.0, -15.0, -15.0), (95.0, 25.0, 110.0, 80.0)

FINGER_BONES = tuple(f"finger{finger}-{part}" for finger in range(1, 6) for part in (1, 2, 3))
PALM_BONES = tuple(f"metacarpal{i}" for i in range(1, 5))
CAPSULE_BONES = (*FINGER_BONES, *PALM_BONES)
_CAPSULE = {bone: i for i, bone in enumerate(CAPSULE_BONES)}
# what touches what: the ends of fingers lie on the palm, the thumb on a finger
CURLED = {
    "fist": (2, 3, 4, 5), "thumbs_up": (2, 3, 4, 5), "point": (3, 4, 5), "victory": (4, 5),
}  # fmt: skip
TOUCHING = {
    "fist": ("finger1-3", "finger2-2"), "point": ("finger1-3", "finger3-2"), "victory": ("finger1-3", "finger4-2"),
    "pinch": ("finger1-3", "finger2-3"),
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Capsules:
    """Bones of a hand of one shape: indices into BONES (n,), radii_m (n,), pairs (p, 2) that must not meet, and how far
    each pair may (p,), metres.
    """

    bones: NDArray[np.int64]
    radii_m: Array
    pairs: NDArray[np.int64]
    allowed_m: Array


def settled(rest: RestArm, name: str, jitter: Array | None = None) -> Pose:
    """The pose of that name, its angles changed as little as contact needs. jitter (5, 4) degrees is added first.

    The hand closes from an open one, the thumb last, as people close theirs: what is found lies on the near side of what
    it meets.
    """
    capsules = capsules_of(rest)
    wanted = _angles(POSES[name]) + (0 if jitter is None else jitter)
    open_thumb = wanted.copy()
    open_thumb[0] = POSES["palm"].thumb
    start = open_thumb * np.array([0.3, 1, 0.3, 0.3])
    fingers = _closed(rest, capsules, name, start, open_thumb, thumb=False)
    return _pose(_closed(rest, capsules, name, fingers, wanted, thumb=True))


def _closed(
    rest: RestArm, capsules: Capsules, name: str, start: Array, wanted: Array, *, thumb: bool
) -> Array:
    """Damped Gauss-Newton from `start`, (5, 4) degrees; no angle changes by more than STEP_DEG at once."""
    found, damping = start.copy(), 1e-3
    value = _residuals(rest, capsules, name, found, wanted, thumb=thumb)
    each = NUDGE_DEG * np.eye(found.size).reshape(-1, *found.shape)
    for _ in range(STEPS):
        there = _residuals(rest, capsules, name, found + each, wanted, thumb=thumb)
        jacobian = (there - value).T / NUDGE_DEG
        normal = jacobian.T @ jacobian
        step = np.linalg.solve(normal + damping * np.eye(len(normal)), jacobian.T @ value).reshape(5, 4)
        step *= min(1.0, STEP_DEG / max(float(np.abs(step).max()), 1e-9))
        tried = np.clip(found - step, LOWEST_DEG, HIGHEST_DEG)
        new = _residuals(rest, capsules, name, tried, wanted, thumb=thumb)
        gain = value @ value - new @ new
        if gain > 0:
            found, value, damping = tried, new, damping / 3
            if gain < 1e-4 * (new @ new):
                break
        else:
            damping = max(10 * damping, 1e-3)
            if damping > 1e4:
                break
    return found


def capsules_of(rest: RestArm) -> Capsules:
    bones = np.array([BONES.index(bone) for bone in CAPSULE_BONES])
    owner = rest.weights.argmax(1)
    radii = []
    for bone in bones:
        own = rest.vertices[owner == bone]
        distance = _to_segment(own, rest.heads[bone], rest.tails[bone])
        radii.append(float(np.quantile(distance, SKIN_SHARE)) if len(own) else 0.0)
    finger = np.array([i // 3 for i in range(15)] + [10 + i for i in range(4)])
    part = np.array([i % 3 for i in range(15)] + [-1] * 4)
    pairs = []
    for i in range(len(bones)):
        for j in range(i + 1, len(bones)):
            if finger[i] == finger[j] or (part[i] < 0 and part[j] < 0):
                continue
            # the root of a finger is one with the palm
            if part[j] < 0 and (part[i] == 0 or (finger[i] == 0 and part[i] < 2)):
                continue
            pairs.append((i, j))
    at = np.array(pairs)
    segments = np.stack([rest.heads[bones], rest.tails[bones]], axis=1)
    radii_m = np.array(radii)
    overlap = radii_m[at].sum(1) - segment_distances(segments[at[:, 0]], segments[at[:, 1]])
    return Capsules(bones=bones, radii_m=radii_m, pairs=at, allowed_m=np.maximum(overlap, 0) + SOFT_M)


def penetrations_m(rest: RestArm, capsules: Capsules, angles: Array) -> tuple[Array, Array]:
    """(..., p) how far each pair goes into each other beyond what it may (negative: a gap), and segments (..., n, 2, 3).

    angles  (..., 5, 4) degrees
    """
    matrices = bone_matrices(rest, finger_rotations(angles))[..., capsules.bones, :, :]
    ends = np.stack([rest.heads[capsules.bones], rest.tails[capsules.bones]], axis=1)
    segments = ends @ matrices[..., :3, :3].swapaxes(-1, -2) + matrices[..., None, :3, 3]
    first, second = capsules.pairs.T
    distance = segment_distances(segments[..., first, :, :], segments[..., second, :, :])
    return capsules.radii_m[capsules.pairs].sum(1) - capsules.allowed_m - distance, segments


def segment_distances(a: Array, b: Array) -> Array:
    """(..., n) least distances of segments (..., n, 2, 3): Ericson, Real-Time Collision Detection, 5.1.9."""
    a0, b0 = a[..., 0, :], b[..., 0, :]
    d1, d2, r = a[..., 1, :] - a0, b[..., 1, :] - b0, a0 - b0
    aa, ee, f = (d1 * d1).sum(-1), (d2 * d2).sum(-1), (d2 * r).sum(-1)
    c, bb = (d1 * r).sum(-1), (d1 * d2).sum(-1)
    denominator = aa * ee - bb * bb
    s = np.where(denominator > 1e-12, (bb * f - c * ee) / np.maximum(denominator, 1e-12), 0).clip(0, 1)
    t = (bb * s + f) / ee
    s = np.where(t < 0, -c / aa, np.where(t > 1, (bb - c) / aa, s)).clip(0, 1)
    t = t.clip(0, 1)
    return np.asarray(np.linalg.norm(a0 + d1 * s[..., None] - b0 - d2 * t[..., None], axis=-1))


def _residuals(
    rest: RestArm, capsules: Capsules, name: str, angles: Array, wanted: Array, *, thumb: bool
) -> Array:
    """(..., r) in mm, of angles (..., 5, 4): what goes too deep, the way from the wanted angles, gaps where there
    should be contact.
    """
    deep, segments = penetrations_m(rest, capsules, angles)
    way = ((angles - wanted) / PULL_DEG).reshape(*angles.shape[:-2], -1) * 0.6

    def gap_m(one: str, others: tuple[str, ...]) -> Array:
        a = np.array([_CAPSULE[one]] * len(others))
        b = np.array([_CAPSULE[other] for other in others])
        distance = segment_distances(segments[..., a, :, :], segments[..., b, :, :])
        return np.asarray((distance - capsules.radii_m[a] - capsules.radii_m[b]).min(-1))

    gaps = [gap_m(f"finger{finger}-3", PALM_BONES) for finger in CURLED.get(name, ())]
    if thumb and name in TOUCHING:
        one, other = TOUCHING[name]
        gaps.append(gap_m(one, (other,)))
    apart = [1e3 * np.maximum(gap - CLOSE_M, 0)[..., None] for gap in gaps]
    return np.concatenate([3e3 * np.maximum(deep, 0), way, *apart], axis=-1)


def _to_segment(points: Array, head: Array, tail: Array) -> Array:
    along = tail - head
    share = ((points - head) @ along / (along @ along)).clip(0, 1)
    return np.asarray(np.linalg.norm(points - head - share[:, None] * along, axis=1))


def _angles(pose: Pose) -> Array:
    return np.array([getattr(pose, finger) for finger in FINGERS], dtype=float)


def _pose(angles: Array) -> Pose:
    rows = {finger: tuple(map(float, row)) for finger, row in zip(FINGERS, angles, strict=True)}
    return Pose(**rows)  # type: ignore[arg-type]
