"""The arm's geometry: joints, skinning and placing, against closed forms and rotations done by scipy."""

import dataclasses

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from stages.hands.arm import (
    BONES,
    INDEX_TIP,
    ArmAsset,
    bone_matrices,
    euler_matrix,
    posed,
    shaped,
    skinned,
    vertex_normals,
)
from stages.hands.contact import segment_distances
from stages.hands.poses import POSES, rotations
from stages.hands.scenes import Camera, Stance, clip_geometry, head_rotation, place
from stages.lib.core.errors import InputError


@pytest.fixture(scope="module")
def rest():
    """A tube along x with all bones on its axis: forearm, wrist and five fingers side by side."""
    parents = {bone: BONES[i - 1] for i, bone in enumerate(BONES) if i and not bone.startswith("finger")}
    for finger in range(1, 6):
        parents |= {
            f"finger{finger}-1": "wrist", f"finger{finger}-2": f"finger{finger}-1",
            f"finger{finger}-3": f"finger{finger}-2",
        }  # fmt: skip
    parents |= {f"metacarpal{i}": "wrist" for i in range(1, 5)}
    starts, ends = {}, {}
    for i, bone in enumerate(("upperarm02", "lowerarm01", "lowerarm02", "wrist")):
        starts[bone], ends[bone] = (0.1 * i, 0, 0), (0.1 * (i + 1), 0, 0)
    for i in range(1, 5):
        starts[f"metacarpal{i}"], ends[f"metacarpal{i}"] = (0.35, 0.01 * i, 0), (0.4, 0.01 * i, 0)
    for finger in range(1, 6):
        for part in (1, 2, 3):
            y = 0.02 * (3 - finger)
            starts[f"finger{finger}-{part}"] = (0.4 + 0.03 * (part - 1), y, 0)
            ends[f"finger{finger}-{part}"] = (0.4 + 0.03 * part, y, 0)
    joints = np.array([starts[b] for b in BONES] + [ends[b] for b in BONES])
    x = np.linspace(0.0, 0.49, 50)
    ring = np.array([[0, 0.01, 0.01], [0, -0.01, 0.01], [0, -0.01, -0.01], [0, 0.01, -0.01]])
    vertices = (np.stack([x, 0 * x, 0 * x], 1)[:, None] + ring).reshape(-1, 3)
    faces = [
        [4 * i + k, 4 * i + (k + 1) % 4, 4 * i + 4 + (k + 1) % 4, 4 * i + 4 + k]
        for i in range(49)
        for k in range(4)
    ]
    weights = np.zeros((len(vertices), len(BONES)))
    chain = ["upperarm02", "lowerarm01", "lowerarm02", "wrist", "finger3-1", "finger3-2", "finger3-3"]
    for i, vertex in enumerate(vertices):
        owner = [b for b in chain if starts[b][0] <= vertex[0] + 1e-9][-1]
        weights[i, BONES.index(owner)] = 1
    points = np.concatenate([vertices, joints])
    asset = ArmAsset(
        points=points.astype(np.float32),
        faces=np.array(faces, np.int32),
        uv=np.full((len(faces), 4, 2), 0.5, np.float32),
        weights=weights.astype(np.float32),
        nail=np.zeros(len(vertices), np.float32),
        joints=np.eye(len(joints), len(points), len(vertices), dtype=np.float32),
        parents=np.array([BONES.index(parents[b]) if b in parents else -1 for b in BONES], np.int32),
        target_names=("long",),
        targets=np.concatenate([0.5 * points])[None].astype(np.float32),
    )
    return shaped(asset, {}), asset


def test_shapes_move_skin_and_joints_alike(rest):
    plain, asset = rest
    longer = shaped(asset, {"long": 1.0})
    np.testing.assert_allclose(longer.vertices, 1.5 * plain.vertices, atol=1e-6)
    np.testing.assert_allclose(longer.heads, 1.5 * plain.heads, atol=1e-6)
    with pytest.raises(InputError, match="no shape target 'tall'; there are long"):
        shaped(asset, {"tall": 1.0})


def test_a_pose_without_turns_is_the_rest_position(rest):
    plain, _ = rest
    np.testing.assert_allclose(posed(plain, {}).vertices, plain.vertices, atol=1e-12)


def test_bones_turn_about_their_own_axes_and_carry_their_children(rest):
    plain, _ = rest
    found = bone_matrices(plain, {"wrist": np.array([0.3, 0.1, -0.2]), "finger2-2": np.array([-0.9, 0, 0])})
    wrist, tip = BONES.index("wrist"), BONES.index("finger2-3")
    axes = plain.axes[wrist]
    turn = axes @ Rotation.from_euler("xyz", [0.3, 0.1, -0.2]).as_matrix() @ axes.T
    np.testing.assert_allclose(found[wrist, :3, :3], turn, atol=1e-12)
    np.testing.assert_allclose(
        found[wrist, :3, :3] @ plain.heads[wrist] + found[wrist, :3, 3], plain.heads[wrist], atol=1e-12
    )
    middle = BONES.index("finger2-2")
    own = plain.axes[middle] @ Rotation.from_euler("x", -0.9).as_matrix() @ plain.axes[middle].T
    joint = plain.heads[middle]
    point = plain.tails[tip]
    wanted = turn @ (own @ (point - joint) + joint - plain.heads[wrist]) + plain.heads[wrist]
    np.testing.assert_allclose(found[tip, :3, :3] @ point + found[tip, :3, 3], wanted, atol=1e-12)


def test_euler_angles_are_scipys(rest):
    for angles in np.random.default_rng(0).uniform(-3, 3, (20, 3)):
        np.testing.assert_allclose(
            euler_matrix(angles), Rotation.from_euler("xyz", angles).as_matrix(), atol=1e-12
        )


def test_a_rigid_motion_moves_the_skin_rigidly(rest):
    plain, _ = rest
    for seed in range(20):
        rng = np.random.default_rng(seed)
        matrix = np.eye(4)
        matrix[:3, :3], matrix[:3, 3] = Rotation.random(random_state=seed).as_matrix(), rng.normal(size=3)
        found = skinned(plain, np.tile(matrix, (len(BONES), 1, 1)))
        np.testing.assert_allclose(found, plain.vertices @ matrix[:3, :3].T + matrix[:3, 3], atol=1e-9)


def test_a_twisted_tube_keeps_its_girth(rest):
    """Linear blending would pinch it to nothing at half a turn between two bones."""
    plain, _ = rest
    mixed = plain.weights.copy()
    ring = slice(4 * 30, 4 * 31)
    mixed[ring] = 0
    mixed[ring, BONES.index("lowerarm02")] = mixed[ring, BONES.index("wrist")] = 0.5
    tube = dataclasses.replace(plain, weights=mixed)
    found = posed(tube, {"wrist": np.array([0, 0.9 * np.pi, 0])}).vertices[ring]
    radius = np.hypot(*(found[:, 1:] - found[:, 1:].mean(0)).T)
    assert radius.min() > 0.7 * np.hypot(0.01, 0.01)


def test_normals_of_a_tube_point_outwards(rest):
    plain, _ = rest
    normals = vertex_normals(plain.vertices, plain.faces)
    inner = slice(8, -8)
    outwards = plain.vertices[inner] * [0, 1, 1]
    cosine = (normals[inner] * outwards).sum(1) / np.linalg.norm(outwards, axis=1)
    assert (np.abs(cosine) > 0.99).all()
    assert len(set(np.sign(cosine))) == 1


def test_place_meets_the_target_the_elbow_and_the_back_of_the_hand(rest):
    plain, _ = rest
    arm = posed(plain, rotations(POSES["point"], wrist=np.array([-10.0, 5, 0])))
    target, elbow, dorsal = (
        np.array([0.02, 0.03, -0.5]),
        np.array([0.2, -0.3, -0.2]),
        np.array([0.1, 0.2, 1.0]),
    )
    rotation, shift = place(arm, anchor=INDEX_TIP, target=target, elbow=elbow, dorsal=dorsal)
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(rotation) == pytest.approx(1)
    np.testing.assert_allclose(rotation @ arm.keypoints[INDEX_TIP] + shift, target, atol=1e-12)
    along = target - (rotation @ arm.elbow + shift)
    assert np.cross(along, target - elbow) == pytest.approx(0, abs=1e-9)
    assert (rotation @ arm.dorsal) @ dorsal > 0


def test_a_left_arm_is_the_mirror_image_of_a_right_one(rest):
    plain, _ = rest
    targets = np.broadcast_to(np.array([0.05, 0.02, -0.5]), (2, 3, 3))
    stance = Stance(
        elbow_m=np.array([0.2, -0.3, -0.2]),
        dorsal=np.array([0.0, 0.1, 1]),
        wrist=np.zeros(3),
        jitter=np.zeros((5, 4)),
    )
    still = {"targets": targets, "stance": stance, "wrist_sway": np.zeros((2, 3))}
    heads = np.broadcast_to(np.eye(3), (2, 2, 3, 3))
    right, left = (
        clip_geometry(plain, pose="palm", world_from_camera=heads, left=side, **still)
        for side in (False, True)
    )
    np.testing.assert_allclose(left.vertices, right.vertices * np.array([-1, 1, 1]), atol=1e-6)
    np.testing.assert_allclose(left.keypoints, right.keypoints * np.array([-1, 1, 1]), atol=1e-12)


def test_projection_is_undone_and_agrees_with_similar_triangles():
    camera = Camera(width_px=320, height_px=240, field_of_view_rad=np.pi / 2)
    assert camera.focal_px == pytest.approx(160)
    np.testing.assert_allclose(camera.project(np.array([1.0, 0.5, -2.0])), [240, 80, 2])
    points = np.random.default_rng(0).uniform(-1, 1, (9, 3)) - [0, 0, 2]
    x, y, depth = camera.project(points).T
    np.testing.assert_allclose(camera.unproject(x, y, depth), points, atol=1e-12)


def test_a_level_head_looks_along_y_with_z_up():
    level = head_rotation(*np.zeros(3))
    np.testing.assert_allclose(level @ [0, 0, -1], [0, 1, 0], atol=1e-12)
    np.testing.assert_allclose(level @ [0, 1, 0], [0, 0, 1], atol=1e-12)
    left = head_rotation(*np.array([np.pi / 2, 0, 0]))
    np.testing.assert_allclose(left @ [0, 0, -1], [-1, 0, 0], atol=1e-12)
    lifted = head_rotation(*np.array([0, 0.4, 0]))
    np.testing.assert_allclose(lifted @ [0, 0, -1], [0, np.cos(0.4), np.sin(0.4)], atol=1e-12)


def test_distances_of_segments_are_those_of_their_densest_points():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 40, 2, 3))
    b[0] = a[0] + [0, 0, 1.0]  # parallel
    share = np.linspace(0, 1, 201)[:, None]
    for first, second, found in zip(a, b, segment_distances(a, b), strict=True):
        p, q = (s[0] + share * (s[1] - s[0]) for s in (first, second))
        nearest = np.linalg.norm(p[:, None] - q[None], axis=2).min()
        assert found <= nearest + 1e-12
        assert found == pytest.approx(nearest, abs=0.02)
