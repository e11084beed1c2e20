# SPDX-License-Identifier: GPL-3.0-or-later
"""Claim G3: clips rendered again, by another process and in another order, are the same bit for bit.

python -m stages.hands.render.verify_rerender --arm arm.npz --panoramas panoramas.npz --set train --config '{...}'
    --render '{}' --layers layers.npz --frames 20 --measurements measure.json

The last clips of the file are rendered first, until that many frames are compared: linear light, depth, coverage and
labels. Control: with another seed the same clip differs.
"""

import argparse

from stages.hands.render.render_clips import (
    render_clip,
)  # first: it settles the threads of Blender's libraries

# isort: split
import dataclasses

import bpy
import numpy as np

from stages.hands.arm import read_asset
from stages.hands.clip_config import ClipSet, RenderConfig
from stages.hands.clips import draw_clip
from stages.hands.layers import Layers, read_layers
from stages.lib.core.commands import from_json
from stages.lib.core.errors import run
from stages.lib.core.measurements import Measurement, device_record, write_measurements
from stages.lib.core.progress import Progress

COMPARED = ("rgba", "depth_m", "hand", "sleeve", "keypoints", "world_from_camera")


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    config = from_json(ClipSet, args.config, where="--config")
    render = from_json(RenderConfig, args.render, where="--render")
    asset, panoramas = read_asset(args.arm), np.load(args.panoramas, allow_pickle=False)
    stored = read_layers(args.layers)
    wanted = sorted(stored.clips, reverse=True)[: -(-args.frames // config.frames)]
    progress = Progress((len(wanted) + 1) * config.frames, "frames rendered again")

    def again(number: int, seed: int | None = None) -> Layers:
        clip = draw_clip(args.set, config, render, number)
        clip = clip if seed is None else dataclasses.replace(clip, render_seed=seed)
        return render_clip(clip, render, asset, panoramas[clip.panorama].astype(np.float32), progress)

    differing, frames = 0, 0
    for number in wanted:
        found, rows = again(number), stored.clip == number
        differing += sum(
            int((np.asarray(getattr(found, name)) != getattr(stored, name)[rows]).sum()) for name in COMPARED
        )
        frames += int(rows.sum())
    other = again(wanted[0], seed=1)
    control = int((other.rgba != stored.rgba[stored.clip == wanted[0]]).sum())
    measurement = Measurement(
        claim="G3",
        value=float(differing),
        unit="1",
        n=frames,
        controls={"values that differ with another seed": float(control)},
    )
    device = device_record(threads=1, versions={"bpy": bpy.app.version_string, "numpy": np.__version__})
    write_measurements(args.measurements, [measurement], device=device)


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--arm", required=True, help="NPZ of prepare_arm")
    parser.add_argument("--panoramas", required=True, help="NPZ of prepare_panoramas")
    parser.add_argument("--set", required=True, help="name of the set")
    parser.add_argument("--config", required=True, help="ClipSet as JSON")
    parser.add_argument("--render", default="{}", help="RenderConfig as JSON")
    parser.add_argument("--layers", required=True, help="NPZ of render_clips to compare with")
    parser.add_argument("--frames", type=int, default=20, help="how many, at least")
    parser.add_argument("--measurements", required=True, help="JSON to write")
    return parser.parse_args(argv)


if __name__ == "__main__":
    run(main)
