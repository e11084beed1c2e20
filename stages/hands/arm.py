"""A right arm that has a shape and takes poses: bones, joints and skin, in numpy alone.

Lengths are metres. The rest position and its axes are those of the prepared mesh (data/prepared/makehuman-arm); a left
arm is the mirror image of a finished right one (see scenes.py).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stages.lib.core.errors import InputError

Array = NDArray[np.float64]

BONES = (
    "upperarm02", "lowerarm01", "lowerarm02", "wrist",
    "metacarpal1", "metacarpal2", "metacarpal3", "metacarpal4",
    *(f"finger{finger}-{part}" for finger in range(1, 6) for part in (1, 2, 3)),
)  # fmt: skip
FINGERS = ("thumb", "index", "middle", "ring", "pinky")
# 21 keypoints in the order of MediaPipe and OpenPose: (bone, end)
KEYPOINTS = (
    ("wrist", "head"),
    *(
        (f"finger{finger}-{part}", end)
        for finger in range(1, 6)
        for part, end in ((1, "head"), (2, "head"), (3, "head"), (3, "tail"))
    ),
)
KEYPOINT_NAMES = (
    "wrist", "thumb_cmc", "thumb_mcp", "thumb_ip", "thumb_tip",
    *(f"{finger}_{joint}" for finger in FINGERS[1:] for joint in ("mcp", "pip", "dip", "tip")),
)  # fmt: skip
FINGERTIPS = tuple(KEYPOINT_NAMES.index(f"{finger}_tip") for finger in FINGERS)
INDEX_TIP = KEYPOINT_NAMES.index("index_tip")
SMOOTHING_ROUNDS, SMOOTHING_FACTOR = 6, 0.5


@dataclass(frozen=True, kw_only=True)
class ArmAsset:
    """The prepared mesh: see makehuman.Arm for the arrays."""

    points: NDArray[np.float32]
    faces: NDArray[np.int32]
    uv: NDArray[np.float32]
    weights: NDArray[np.float32]
    nail: NDArray[np.float32]
    joints: NDArray[np.float32]
    parents: NDArray[np.int32]
    target_names: tuple[str, ...]
    targets: NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class RestArm:
    """An arm of one shape, at rest.

    vertices (V, 3); faces (F, 4); uv (F, 4, 2); weights (V, B); nail (V,)
    heads, tails (B, 3); parents (B,)
    axes    (B, 3, 3): columns X (flexion turns about it), Y (along the bone), Z (towards the back of the hand)
    dorsal  (3,) unit vector out of the back of the hand
    nails   (5, 3) unit vectors out of each finger's nail
    neighbours  (V, d) vertices that share an edge, the vertex itself where there are fewer
    fingertips  (5,) the vertex of the skin that lies farthest along each finger
    """

    vertices: Array
    faces: NDArray[np.int32]
    uv: NDArray[np.float32]
    weights: Array
    nail: Array
    heads: Array
    tails: Array
    parents: NDArray[np.int32]
    axes: Array
    dorsal: Array
    nails: Array
    neighbours: NDArray[np.int64]
    fingertips: NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class PosedArm:
    """vertices (V, 3), keypoints (21, 3), elbow (3,), dorsal (3,): in the rest position's axes."""

    vertices: Array
    keypoints: Array
    elbow: Array
    dorsal: Array


def read_asset(path: str | Path) -> ArmAsset:
    """The prepared mesh. Raises InputError where the file is not one."""
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in ArmAsset.__dataclass_fields__}
    except (KeyError, ValueError) as error:
        raise InputError(f"{path} is not a prepared arm ({error}); make it with prepare_arm") from None
    names = tuple(str(name) for name in arrays.pop("target_names"))
    return ArmAsset(target_names=names, **arrays)


def shaped(asset: ArmAsset, shape: Mapping[str, float]) -> RestArm:
    """The arm with these weights of shape targets, by name."""
    if unknown := [name for name in shape if name not in asset.target_names]:
        raise InputError(
            f"there is no shape target {unknown[0]!r}; there are {', '.join(asset.target_names)}"
        )
    weights = np.array([shape.get(name, 0.0) for name in asset.target_names])
    points = asset.points + np.tensordot(weights, asset.targets.astype(np.float64), 1)
    vertices = points[: len(asset.weights)]
    heads, tails = np.split(asset.joints.astype(np.float64) @ points, 2)
    normals = vertex_normals(vertices, asset.faces)
    dorsal, nails = _dorsal_directions(asset, heads, normals)
    return RestArm(
        vertices=vertices,
        faces=asset.faces,
        uv=asset.uv,
        weights=asset.weights.astype(np.float64),
        nail=asset.nail.astype(np.float64),
        heads=heads,
        tails=tails,
        parents=asset.parents,
        axes=np.stack([_bone_axes(bone, heads, tails, dorsal, nails) for bone in range(len(BONES))]),
        dorsal=dorsal,
        nails=nails,
        neighbours=_neighbours(asset.faces, len(vertices)),
        fingertips=_fingertips(asset, vertices, heads, tails),
    )


def posed(rest: RestArm, rotations: Mapping[str, Array]) -> PosedArm:
    """The arm with its bones turned.

    rotations  bone -> (3,) Euler angles in rad about the bone's own X, then Y, then Z; bones that are missing stay
    """
    matrices = bone_matrices(rest, rotations)
    heads, tails = (
        np.einsum("bij,bj->bi", matrices[:, :3, :3], ends) + matrices[:, :3, 3]
        for ends in (rest.heads, rest.tails)
    )
    ends = {"head": heads, "tail": tails}
    return PosedArm(
        vertices=skinned(rest, matrices),
        keypoints=np.array([ends[end][BONES.index(bone)] for bone, end in KEYPOINTS]),
        elbow=heads[BONES.index("lowerarm01")],
        dorsal=matrices[BONES.index("wrist"), :3, :3] @ rest.dorsal,
    )


def bone_matrices(rest: RestArm, rotations: Mapping[str, Array]) -> Array:
    """(..., B, 4, 4): where each bone carries a point of the rest position; rotations (..., 3) of many poses."""
    poses = np.broadcast_shapes(*(np.shape(angles)[:-1] for angles in rotations.values()))
    matrices = np.zeros((*poses, len(BONES), 4, 4))
    for b, bone in enumerate(BONES):
        own = np.eye(4)
        if bone in rotations:
            axes = rest.axes[b]
            turn = axes @ euler_matrix(rotations[bone]) @ axes.T
            own = np.zeros((*turn.shape[:-2], 4, 4))
            own[..., :3, :3], own[..., 3, 3] = turn, 1
            own[..., :3, 3] = rest.heads[b] - turn @ rest.heads[b]
        parent = rest.parents[b]
        matrices[..., b, :, :] = own if parent < 0 else matrices[..., parent, :, :] @ own
    return matrices


def skinned(rest: RestArm, matrices: Array) -> Array:
    """(V, 3): dual quaternions blended by the weights (Kavan et al. 2007), then the small wrinkles of bent joints
    smoothed away while the rest position's detail stays ("delta mush", Mancewicz et al. 2014).
    """
    real, dual = _dual_quaternions(matrices)
    # a quaternion and its negative are the same turn: all on the side of the wrist's
    flip = np.where(real @ real[BONES.index("wrist")] < 0, -1.0, 1.0)[:, None]
    real, dual = rest.weights @ (real * flip), rest.weights @ (dual * flip)
    length = np.linalg.norm(real, axis=1, keepdims=True)
    real, dual = real / length, dual / length
    w, v = real[:, :1], real[:, 1:]
    turned = rest.vertices + 2 * np.cross(v, np.cross(v, rest.vertices) + w * rest.vertices)
    moved = 2 * (w * dual[:, 1:] - dual[:, :1] * v + np.cross(v, dual[:, 1:]))
    return _delta_mush(rest, turned + moved)


def vertex_normals(vertices: Array, faces: NDArray[np.int32]) -> Array:
    """(V, 3) unit normals, weighted by the area of the faces around."""
    a, b, c, d = (vertices[faces[:, i]] for i in range(4))
    area = np.cross(c - a, d - b)
    normals = np.zeros_like(vertices)
    for corner in range(4):
        np.add.at(normals, faces[:, corner], area)
    return normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)


def euler_matrix(angles: Array) -> Array:
    """(..., 3, 3) rotation about X, then Y, then Z by angles (..., 3) in rad."""
    (sx, sy, sz), (cx, cy, cz) = (np.moveaxis(f(angles), -1, 0) for f in (np.sin, np.cos))
    rows = [
        [cz * cy, cz * sy * sx - sz * cx, cz * sy * cx + sz * sx],
        [sz * cy, sz * sy * sx + cz * cx, sz * sy * cx - cz * sx],
        [-sy, cy * sx, cy * cx],
    ]
    return np.stack([np.stack(row, -1) for row in rows], -2)


def unit(v: Array) -> Array:
    return v / np.linalg.norm(v, axis=-1, keepdims=True)


def _dorsal_directions(asset: ArmAsset, heads: Array, normals: Array) -> tuple[Array, Array]:
    wrist, index, pinky = (heads[BONES.index(b)] for b in ("wrist", "finger2-1", "finger5-1"))
    dorsal = unit(np.cross(index - wrist, pinky - wrist))
    nails = []
    for finger in range(1, 6):
        tip = asset.weights[:, BONES.index(f"finger{finger}-3")] * (asset.nail > 0.5)
        nails.append(unit(tip @ normals) if tip.any() else dorsal)
    return (-dorsal if dorsal @ nails[2] < 0 else dorsal), np.array(nails)


def _bone_axes(bone: int, heads: Array, tails: Array, dorsal: Array, nails: Array) -> Array:
    name = BONES[bone]
    up = dorsal
    if name.startswith("finger"):
        nail = nails[int(name[6]) - 1]
        up = nail if name.startswith("finger1") else 0.5 * dorsal + nail
    y = unit(tails[bone] - heads[bone])
    x = unit(np.cross(y, up))
    return np.stack([x, y, np.cross(x, y)], axis=1)


def _fingertips(asset: ArmAsset, vertices: Array, heads: Array, tails: Array) -> NDArray[np.int64]:
    found = []
    for finger in range(1, 6):
        bone = BONES.index(f"finger{finger}-3")
        along = (vertices - heads[bone]) @ unit(tails[bone] - heads[bone])
        found.append(int(np.where(asset.weights[:, bone] > 0.5, along, -np.inf).argmax()))
    return np.array(found)


def _neighbours(faces: NDArray[np.int32], n: int) -> NDArray[np.int64]:
    edges = np.concatenate([faces[:, [i, (i + 1) % 4]] for i in range(4)])
    edges = np.unique(np.concatenate([edges, edges[:, ::-1]]), axis=0)
    starts = np.searchsorted(edges[:, 0], np.arange(n + 1))
    degree = int(np.diff(starts).max())
    found = np.tile(np.arange(n)[:, None], (1, degree))
    slot = np.arange(len(edges)) - starts[edges[:, 0]]
    found[edges[:, 0], slot] = edges[:, 1]
    return found


def _dual_quaternions(matrices: Array) -> tuple[Array, Array]:
    """Real and dual parts (B, 4), w first."""
    real = np.array([_quaternion(m[:3, :3]) for m in matrices])
    t = matrices[:, :3, 3]
    w, v = real[:, :1], real[:, 1:]
    dual = 0.5 * np.concatenate([-(t * v).sum(1, keepdims=True), w * t + np.cross(t, v)], axis=1)
    return real, dual


def _quaternion(r: Array) -> Array:
    """(4,) of a rotation (3, 3), w first, by the largest of its four squares (Shepperd 1978)."""
    squares = np.array([r.trace(), *r.diagonal()])
    i = int(squares.argmax())
    if i == 0:
        q = np.array([1 + squares[0], r[2, 1] - r[1, 2], r[0, 2] - r[2, 0], r[1, 0] - r[0, 1]])
    else:
        a, b, c = i - 1, i % 3, (i + 1) % 3
        q = np.zeros(4)
        q[0] = r[c, b] - r[b, c]
        q[1 + a] = 1 + r[a, a] - r[b, b] - r[c, c]
        q[1 + b], q[1 + c] = r[a, b] + r[b, a], r[a, c] + r[c, a]
    return q / np.linalg.norm(q)


def _delta_mush(rest: RestArm, vertices: Array) -> Array:
    smooth_rest, smooth = _smoothed(rest, rest.vertices), _smoothed(rest, vertices)
    detail = np.einsum("vji,vj->vi", _frames(rest, smooth_rest), rest.vertices - smooth_rest)
    return smooth + np.einsum("vij,vj->vi", _frames(rest, smooth), detail)


def _smoothed(rest: RestArm, vertices: Array) -> Array:
    for _ in range(SMOOTHING_ROUNDS):
        mean = vertices[rest.neighbours].mean(axis=1)
        vertices = vertices + SMOOTHING_FACTOR * (mean - vertices)
    return vertices


def _frames(rest: RestArm, vertices: Array) -> Array:
    """(V, 3, 3): columns tangent, bitangent, normal of each vertex."""
    normal = vertex_normals(vertices, rest.faces)
    edge = vertices[rest.neighbours[:, 0]] - vertices
    tangent = unit(edge - (edge * normal).sum(1, keepdims=True) * normal + 1e-15)
    return np.stack([tangent, np.cross(normal, tangent), normal], axis=2)
