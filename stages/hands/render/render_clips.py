# SPDX-License-Identifier: GPL-3.0-or-later
"""Render clips of hands as layers without background.

python -m stages.hands.render.render_clips --arm data/prepared/makehuman-arm/arm.npz --panoramas panoramas.npz
    --set train --config '{"clips": 20, "panoramas": ["city"]}' --render '{}' --first 0 --count 10
    --state scratch/render --layers layers.npz

Each clip depends on its set, number and seed alone, so that parts may be rendered in any order and by any process. A
finished clip is kept below --state until the file is written: the same command goes on after an interruption. One
process uses one core.
"""

import argparse
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

# Blender's denoiser takes as many threads as the process may use when its library is loaded, and lets them spin
_CORES = os.sched_getaffinity(0)
os.sched_setaffinity(0, {min(_CORES)})
import bpy  # noqa: E402, F401

os.sched_setaffinity(0, _CORES)

import numpy as np  # noqa: E402

from stages.hands.arm import ArmAsset, read_asset, shaped  # noqa: E402
from stages.hands.clip_config import ClipSet, RenderConfig  # noqa: E402
from stages.hands.clips import Clip, draw_clip  # noqa: E402
from stages.hands.layers import Layers, joined, read_layers, write_layers  # noqa: E402
from stages.hands.render.blender import HandScene, RenderSettings  # noqa: E402
from stages.hands.skin import paint  # noqa: E402
from stages.lib.core.artifacts import file_digest, value_digest  # noqa: E402
from stages.lib.core.commands import from_json  # noqa: E402
from stages.lib.core.errors import InputError, run  # noqa: E402
from stages.lib.core.progress import Progress  # noqa: E402
from stages.lib.core.seeds import generator  # noqa: E402


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    config = from_json(ClipSet, args.config, where="--config")
    render = from_json(RenderConfig, args.render, where="--render")
    asset = read_asset(args.arm)
    panoramas = np.load(args.panoramas, allow_pickle=False)
    if unknown := [name for name in config.panoramas if name not in panoramas.files]:
        raise InputError(f"there is no panorama {unknown[0]!r}; there are {', '.join(panoramas.files)}")
    numbers = range(args.first, min(args.first + args.count, config.clips))
    progress = Progress(len(numbers) * config.frames, "frames rendered")
    # what was left by a run with other settings is of no use here
    sources = [file_digest(args.arm), file_digest(args.panoramas)]
    state = Path(args.state) / value_digest([asdict(config), asdict(render), sources])[:16]
    parts = []
    for number in numbers:
        kept = state / f"{args.set}-{number}.npz"
        try:
            parts.append(read_layers(kept))
        except (FileNotFoundError, InputError):  # not rendered yet, or damaged since
            clip = draw_clip(args.set, config, render, number)
            layers = render_clip(clip, render, asset, panoramas[clip.panorama].astype(np.float32), progress)
            write_layers(kept, layers)
            parts.append(read_layers(kept))
        else:
            for _ in range(config.frames):
                progress.advance(note=f"{args.set} clip {number} was there")
    write_layers(args.layers, joined(parts))
    for number in numbers:
        (state / f"{args.set}-{number}.npz").unlink()


def render_clip(
    clip: Clip, render: RenderConfig, asset: ArmAsset, panorama: np.ndarray, progress: Progress
) -> Layers:
    """All frames of one clip."""
    identity = clip.identity
    rest = shaped(asset, identity.shape)
    geometry = clip.geometry(rest)
    scene = HandScene(
        rest,
        clip.camera,
        RenderSettings(samples=render.samples, subdivisions=render.subdivisions, seed=clip.render_seed),
        left=identity.left,
    )
    maps = paint(rest, generator(identity.maps_seed, "skin"), tone=identity.tone, resolution=render.map_px)
    scene.paint(maps)
    if identity.sleeve is not None:
        scene.dress(
            cover=identity.sleeve.cover,
            colour=identity.sleeve.colour,
            thickness_m=identity.sleeve.thickness_m,
        )
    scene.light(panorama)
    if clip.lamp is not None:
        scene.lamp(
            towards=np.array(clip.lamp.towards),
            strength=clip.lamp.strength,
            angle_rad=clip.lamp.angle_rad,
            colour=clip.lamp.colour,
        )
    frames = []
    for vertices, turn in zip(geometry.vertices, geometry.world_from_camera, strict=True):
        frames.append(scene.render(vertices, turn[0]))
        progress.advance(note=f"{clip.set_name} clip {clip.number} {clip.gesture}")
    return Layers(
        rgba=np.stack([f.rgba for f in frames]).astype(np.float16),
        depth_m=np.stack([f.depth_m for f in frames]).astype(np.float16),
        hand=_coverage([f.hand for f in frames]),
        sleeve=_coverage([f.sleeve for f in frames]),
        keypoints=geometry.keypoints,
        world_from_camera=geometry.world_from_camera,
        clip=np.full(len(frames), clip.number),
        frame=np.arange(len(frames)),
        clips={clip.number: record(clip)},
    )


def record(clip: Clip) -> dict[str, Any]:
    """What annotations say of a clip."""
    identity = asdict(clip.identity)
    return {
        "set": clip.set_name,
        "gesture": clip.gesture,
        "pose": clip.pose,
        "panorama": clip.panorama,
        "tone": identity.pop("tone"),
        "left": identity.pop("left"),
        "identity": identity,
        "lamp": None if clip.lamp is None else asdict(clip.lamp),
        "camera": asdict(clip.camera),
        "shutter_s": clip.shutter_s,
        "times_s": [float(t) for t in clip.times_s],
        "seed": clip.render_seed,
    }


def _coverage(images: list[np.ndarray]) -> np.ndarray:
    return np.rint(np.clip(np.stack(images), 0, 1) * 255).astype(np.uint8)


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--arm", required=True, help="NPZ of prepare_arm")
    parser.add_argument("--panoramas", required=True, help="NPZ of prepare_panoramas")
    parser.add_argument("--set", required=True, help="name of the set, part of each clip's seed")
    parser.add_argument("--config", required=True, help="ClipSet as JSON")
    parser.add_argument("--render", default="{}", help="RenderConfig as JSON")
    parser.add_argument("--first", type=int, default=0, help="first clip")
    parser.add_argument("--count", type=int, default=10_000, help="how many clips")
    parser.add_argument("--state", required=True, help="folder for clips of an unfinished run")
    parser.add_argument("--layers", required=True, help="NPZ to write")
    return parser.parse_args(argv)


if __name__ == "__main__":
    run(main)
