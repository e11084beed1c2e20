"""A clip from its number: who, what gesture, where, in what light, and the geometry of every frame."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from stages.hands.arm import Array, RestArm, unit
from stages.hands.clip_config import DYNAMIC, STATIC, ClipSet, RenderConfig
from stages.hands.gestures import draw_gesture
from stages.hands.identities import Identity, draw_identity
from stages.hands.scenes import Camera, ClipGeometry, Stance, clip_geometry, head_rotation, smooth_walk
from stages.lib.core.seeds import generator


@dataclass(frozen=True, kw_only=True)
class Lamp:
    """Parallel light from `towards` (3,) in camera coordinates; strength in W/m2, of the sun's disk angle."""

    towards: tuple[float, float, float]
    strength: float
    angle_rad: float
    colour: tuple[float, float, float]


@dataclass(frozen=True, kw_only=True)
class Clip:
    """All that was drawn for one clip; `path_m` (F, 3, 3) is the followed keypoint at opening, middle and closing."""

    set_name: str
    number: int
    gesture: str
    pose: str
    identity: Identity
    panorama: str
    lamp: Lamp | None
    camera: Camera
    shutter_s: float
    times_s: Array
    path_m: Array
    stance: Stance
    wrist_sway: Array
    world_from_camera: Array
    render_seed: int

    def geometry(self, rest: RestArm) -> ClipGeometry:
        return clip_geometry(
            rest,
            pose=self.pose,
            targets=self.path_m,
            stance=self.stance,
            wrist_sway=self.wrist_sway,
            world_from_camera=self.world_from_camera,
            left=self.identity.left,
        )


T = TypeVar("T")

# from the elbow to the keypoint that follows the path, on a small arm: the fingertip, or a knuckle in a still pose
REACH_POINTING_M = 0.36
REACH_M = dict.fromkeys(STATIC, 0.27)
FOREARM_M = 0.19
ARM_RADIUS_M = 0.06
WHOLE_HANDS = 0.75  # share of frames that show the hand down to its wrist
STANCES_TRIED = 200  # before an arm that ends in the picture is taken


def draw_clip(set_name: str, config: ClipSet, render: RenderConfig, number: int) -> Clip:
    """Clip `number` of a set. Gestures, tones and panoramas are dealt from shuffled decks, one after the other."""
    rng = generator(config.seed, "clip", set_name, number)

    def dealt(what: str, deck: Sequence[T]) -> T:
        order = generator(config.seed, "deck", set_name, what, number // len(deck)).permutation(len(deck))
        return deck[order[number % len(deck)]]

    gesture = dealt("gesture", config.gestures)
    identity = draw_identity(
        rng,
        tone=dealt("tone", config.tones),
        left=bool(rng.random() < config.left_share),
        sleeve=bool(rng.random() < config.sleeve_share),
    )
    camera = Camera(
        width_px=render.width_px,
        height_px=render.height_px,
        field_of_view_rad=float(np.radians(rng.uniform(*render.field_of_view_deg))),
    )
    shutter_s = float(rng.uniform(*render.shutter_s))
    for _ in range(STANCES_TRIED):
        times_s, path_m = draw_path(gesture, config.frames, camera, shutter_s, rng)
        stance = draw_stance(gesture, rng)
        reach_m = REACH_M.get(gesture, REACH_POINTING_M)
        if elbow_outside(path_m[:, 1], stance, camera, reach_m=reach_m) and hand_inside(
            path_m[:, 1], stance, camera, length_m=reach_m - FOREARM_M
        ):
            break
    panorama = dealt("panorama", config.panoramas)
    # all clips of a set look about the same way in a panorama, as a wearer who stays in one place does
    place = generator(config.seed, "place", set_name, panorama).uniform(-180, 180)
    yaw = np.radians(place + rng.uniform(-config.turn_deg, config.turn_deg))
    return Clip(
        set_name=set_name,
        number=number,
        gesture=gesture,
        pose="point" if gesture in DYNAMIC else gesture,
        identity=identity,
        panorama=panorama,
        lamp=draw_lamp(rng) if rng.random() < config.lamp_share else None,
        camera=camera,
        shutter_s=shutter_s,
        times_s=times_s,
        path_m=path_m,
        stance=stance,
        wrist_sway=smooth_walk(config.frames, 3, 4.0, rng),
        world_from_camera=draw_head(times_s, shutter_s, rng, yaw=float(yaw)),
        render_seed=int(rng.integers(2**31)),
    )


def draw_path(
    gesture: str, frames: int, camera: Camera, shutter_s: float, rng: np.random.Generator
) -> tuple[Array, Array]:
    """(F,) mid-shutter times and (F, 3, 3) positions at opening, middle and closing of the shutter."""
    depth = rng.uniform(0.36, 0.56)
    if gesture in DYNAMIC:
        path = draw_gesture(gesture, rng)
        times = np.linspace(0, path.duration_s, frames)
        moments = times[:, None] + shutter_s * np.array([-0.5, 0, 0.5])
        xy = path.at(np.clip(moments, 0, path.duration_s).ravel()).reshape(frames, 3, 2)
        # the whole gesture fills some of the picture
        size = rng.uniform(0.3, 0.75) * camera.height_px
        centre = np.array(
            [rng.uniform(0.35, 0.65) * camera.width_px, rng.uniform(0.25, 0.5) * camera.height_px]
        )
        xy = centre + size * (xy - 0.5)
    else:
        times = np.linspace(0, 2, frames)
        middle = np.array([rng.uniform(0.3, 0.7) * camera.width_px, rng.uniform(0.3, 0.6) * camera.height_px])
        drift = smooth_walk(frames + 1, 2, 0.04 * camera.height_px, rng)
        speed = np.diff(drift, axis=0) / _step_s(times)
        xy = (
            middle + drift[:-1, None] + speed[:, None] * (shutter_s * np.array([-0.5, 0, 0.5]))[None, :, None]
        )
    depths = depth + smooth_walk(frames, 1, 0.01, rng)
    return times, camera.unproject(xy[..., 0], xy[..., 1], np.broadcast_to(depths, xy.shape[:2]))


def draw_stance(gesture: str, rng: np.random.Generator) -> Stance:
    """An arm that comes from below on its own side, the back of the hand to the camera; some palms face it."""
    # metres from the middle of the picture; positive z is nearer than the camera's plane
    elbow = np.array([rng.uniform(0.10, 0.34), rng.uniform(-0.42, -0.28), rng.uniform(-0.34, -0.14)])
    dorsal = np.array([rng.uniform(-0.15, 0.55), rng.uniform(-0.1, 0.35), 1.0])
    wrist = np.array([rng.uniform(-28, 4), rng.uniform(-24, 10), rng.uniform(-12, 12)])
    if gesture == "thumbs_up":
        # the forearm comes from its own side, the curled fingers show
        elbow = np.array([rng.uniform(0.15, 0.40), rng.uniform(-0.26, -0.10), rng.uniform(-0.36, -0.08)])
        dorsal = np.array([0.9, rng.uniform(0.0, 0.5), rng.uniform(-0.7, -0.3)])
    if gesture == "palm" and rng.random() < 0.5:
        dorsal = np.array([rng.uniform(-0.2, 0.2), rng.uniform(-0.3, 0.1), -1.0])
    jitter = rng.normal(0, 3, (5, 4)) * np.array([1, 0.8, 1, 0.6])
    return Stance(elbow_m=elbow, dorsal=dorsal, wrist=wrist, jitter=jitter)


def hand_inside(targets: Array, stance: Stance, camera: Camera, *, length_m: float) -> bool:
    """Whether most targets (F, 3) leave the hand, that long from its wrist, in the picture."""
    elbows = stance.elbow_m + 0.35 * (targets - targets.mean(0))
    wrists = targets + length_m * unit(elbows - targets)
    if (wrists[:, 2] > -0.05).any():
        return False
    whole = np.ones(len(targets), bool)
    for ends in (targets, wrists):
        x, y, _ = camera.project(ends).T
        whole &= (x > 0) & (x < camera.width_px) & (y > 0) & (y < camera.height_px)
    return bool(whole.mean() >= WHOLE_HANDS)


def elbow_outside(targets: Array, stance: Stance, camera: Camera, *, reach_m: float) -> bool:
    """Whether the picture's edge cuts the arm before its elbow at every target (F, 3): the mesh ends behind it."""
    elbows = stance.elbow_m + 0.35 * (targets - targets.mean(0))
    ends = targets + reach_m * unit(elbows - targets)
    if (ends[:, 2] > -0.05).any():
        return False  # beside the viewer's eye
    x, y, depth = camera.project(ends).T
    margin = ARM_RADIUS_M * camera.focal_px / depth
    outside = (y > camera.height_px + margin) | (x < -margin) | (x > camera.width_px + margin)
    return bool(outside.all())


def draw_head(times_s: Array, shutter_s: float, rng: np.random.Generator, *, yaw: float) -> Array:
    """(F, 2, 3, 3) where the head looks as the shutter opens and closes: one direction, and a sway of a degree."""
    pitch, roll = np.radians(rng.uniform(-28, -2)), np.radians(rng.normal(0, 3))
    sway = smooth_walk(len(times_s) + 1, 3, np.radians(1.2), rng, knots=max(4, len(times_s) // 4))
    speed = np.diff(sway, axis=0) / _step_s(times_s)
    angles = sway[:-1, None] + speed[:, None] * (shutter_s * np.array([-0.5, 0.5]))[None, :, None]
    angles = angles + np.array([yaw, pitch, roll])
    return head_rotation(angles[..., 0], angles[..., 1], angles[..., 2])


def draw_lamp(rng: np.random.Generator) -> Lamp:
    """From above or from a side, white to warm, broad enough to have soft shadows."""
    towards = (rng.uniform(-1, 1), rng.uniform(0.2, 1), rng.uniform(0.1, 1))
    return Lamp(
        towards=towards,
        strength=float(rng.uniform(0.3, 1.4)),
        angle_rad=float(rng.uniform(0.1, 0.6)),
        colour=(1.0, float(rng.uniform(0.85, 1)), float(rng.uniform(0.7, 1))),
    )


def _step_s(times_s: Array) -> float:
    """Time from frame to frame; 1 s for a single one."""
    return float(times_s[1] - times_s[0]) if len(times_s) > 1 else 1.0
