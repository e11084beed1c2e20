"""Hands that touch themselves, on the real mesh: winding numbers tell what lies inside, not the solver's capsules."""

import numpy as np
import pytest

from stages.hands.arm import BONES, posed, read_asset, shaped
from stages.hands.contact import settled
from stages.hands.identities import draw_identity
from stages.hands.poses import POSES, Pose, rotations

FINGER = np.array([int(bone[6]) if bone.startswith("finger") else 0 for bone in BONES])
PART = np.array([int(bone[8]) if bone.startswith("finger") else 0 for bone in BONES])
STILL = np.zeros(3)
# the root of a bent thumb is a fold of skin
PARTS = {1: (3,), 2: (2, 3), 3: (2, 3), 4: (2, 3), 5: (2, 3)}


def winding(points, triangles):
    """Generalised winding number of a surface about points (Jacobson et al. 2013): 1 inside, 0 outside."""
    a, b, c = (triangles[None, :, i] - points[:, None] for i in range(3))
    la, lb, lc = (np.linalg.norm(v, axis=2) for v in (a, b, c))
    solid = (a * np.cross(b, c)).sum(2)
    flat = la * lb * lc + (a * b).sum(2) * lc + (b * c).sum(2) * la + (c * a).sum(2) * lb
    return np.abs(np.arctan2(solid, flat).sum(1) / (2 * np.pi))


def depth_mm(rest, vertices, finger):
    """How deep a finger's farther parts lie within the rest of the arm."""
    owner = rest.weights.argmax(1)
    mine = np.flatnonzero(FINGER[owner] == finger)
    faces = rest.faces[~np.isin(rest.faces, mine).any(1)]
    triangles = vertices[np.concatenate([faces[:, [0, 1, 2]], faces[:, [0, 2, 3]]])]
    ends = mine[np.isin(PART[owner[mine]], PARTS[finger])]
    inside = ends[winding(vertices[ends], triangles) > 0.5]
    grid = np.array([(i, j, 4 - i - j) for i in range(5) for j in range(5 - i)]) / 4
    surface = np.einsum("kb,tbc->tkc", grid, triangles).reshape(-1, 3)
    return max((1e3 * np.linalg.norm(surface - vertices[v], axis=1).min() for v in inside), default=0.0)


@pytest.fixture(scope="module")
def arms(finished):
    asset = read_asset(finished.root / "data/prepared/makehuman-arm/arm.npz")
    found = []
    for seed in range(2):
        rng = np.random.default_rng(seed)
        identity = draw_identity(rng, tone=3.0, left=False, sleeve=False)
        found.append((shaped(asset, identity.shape), rng.normal(0, 2.5, (5, 4))))
    return found


def skin(rest, pose: Pose):
    return posed(rest, rotations(pose, wrist=STILL)).vertices


@pytest.mark.parametrize("name", POSES)
def test_no_finger_lies_deeper_in_the_hand_than_flesh_gives_way(arms, name):
    for rest, jitter in arms:
        vertices = skin(rest, settled(rest, name, jitter))
        assert max(depth_mm(rest, vertices, finger) for finger in PARTS) < 2.5


@pytest.mark.parametrize("name", ["fist", "point", "thumbs_up", "pinch"])
def test_without_the_solver_fingers_pass_into_the_hand(arms, name):
    """The control: the measure above can fail."""
    for rest, _ in arms:
        vertices = skin(rest, POSES[name])
        assert max(depth_mm(rest, vertices, finger) for finger in PARTS) > 4


def test_a_pinch_closes_and_a_fist_lies_on_the_palm(arms):
    for rest, jitter in arms:
        owner = rest.weights.argmax(1)

        def gap_mm(vertices, one, other, owner=owner):
            a, b = (vertices[np.isin(owner, [BONES.index(bone) for bone in bones])] for bones in (one, other))
            return 1e3 * np.linalg.norm(a[:, None] - b[None], axis=2).min()

        pinch = skin(rest, settled(rest, "pinch", jitter))
        # vertices are some 4 mm apart, so that two surfaces that touch have vertices that much apart
        assert gap_mm(pinch, ["finger1-3"], ["finger2-3"]) < 4
        fist = skin(rest, settled(rest, "fist", jitter))
        palm = ["finger1-1", *(f"metacarpal{i}" for i in range(1, 5))]
        for finger in (2, 3, 4, 5):
            assert gap_mm(fist, [f"finger{finger}-3"], palm) < 12
