"""What the paper arm's generator does to a hand's rim, and how much its pictures flicker.

python -m stages.hands.planar.study_compositor --held-out held_out/dataset --panoramas panoramas.npz
    --compositor 0.safetensors --seed 0 --table compositor.csv

Hands and backgrounds are the held-out ones. Rows: arm, measure, value. `rim_own` is the distance of the colours on both
sides of the outline, `rim_shuffled` the same against a background that another clip has: a hand that follows its
background is nearer to its own. Flicker is before static backgrounds, with a z for each frame (as published), or for each
clip.
"""

import argparse

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from stages.hands.gestures import GESTURES
from stages.hands.planar.adversarial import generate
from stages.hands.planar.arms import FLAT_ARMS, Flat, background, panoramas_of, pictures
from stages.hands.planar.compositor import Z_SIZE, Compositor
from stages.hands.planar.pasting import flicker_inside, flicker_outside, pasted, rim_distance
from stages.hands.planar.sprites import Sprites, draw_maps, gesture_tips, moved, read_sprites
from stages.hands.planar.train_compositor import read_compositor
from stages.hands.scenes import about_vertical
from stages.lib.core.artifacts import atomic_path
from stages.lib.core.errors import run
from stages.lib.core.progress import Progress
from stages.lib.core.seeds import generator


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    torch.set_num_threads(1)
    model = read_compositor(args.compositor)
    held_out = read_sprites([args.held_out])
    rng = generator(args.seed, "compositor study")
    panoramas = panoramas_of(args.panoramas, [args.held_out])
    backgrounds = []
    for look in (held_out.look[i] for i in rng.integers(len(held_out), size=args.clips)):
        # looks elsewhere, so that there are as many backgrounds as clips, from dim to bright
        turned = look._replace(
            world_from_camera=about_vertical(rng.uniform(-np.pi, np.pi)) @ look.world_from_camera
        )
        backgrounds.append(background(panoramas[look.panorama], turned, float(np.exp(0.5 * rng.normal()))))
    progress = Progress(args.clips, "clips")
    rims: list[dict[str, Tensor]] = []
    flickers = []
    for clip in range(args.clips):
        flat, theta = static_clip(
            held_out, backgrounds[clip], GESTURES[clip % len(GESTURES)], args.frames, rng
        )
        other = backgrounds[(clip + 1) % args.clips].expand(args.frames, -1, -1, -1)
        rims.append(rim_of_arms(model, flat, other))
        flickers.append(flicker(model, flat, theta))
        progress.advance()
    rows = [
        {
            "arm": arm,
            "measure": measure,
            "value": float(np.nanmean([float(rim[key].nanmean()) for rim in rims])),
        }
        for arm in FLAT_ARMS
        for measure in ("rim_own", "rim_shuffled")
        for key in [f"{arm} {measure}"]
    ]
    for name in flickers[0]:
        arm, _, measure = name.partition(" ")
        rows.append({"arm": arm, "measure": measure, "value": float(np.nanmean([f[name] for f in flickers]))})
    with atomic_path(args.table) as temporary:
        pd.DataFrame(rows).assign(seed=args.seed, clips=args.clips).to_csv(temporary, index=False)


def static_clip(
    sprites: Sprites, background: Tensor, gesture: str, frames: int, rng: np.random.Generator
) -> tuple[Flat, Tensor]:
    """A flat hand that draws a gesture before one picture, and its maps (F, 2, 3); a z for each frame."""
    sprite = int(rng.integers(len(sprites)))
    tips = gesture_tips(gesture, frames, rng)
    theta = draw_maps(tips, sprites.tips[sprite], rng)
    picture = torch.cat([sprites.frames[sprite], sprites.masks[sprite]]).expand(frames, -1, -1, -1)
    seen = moved(picture, theta)
    z = torch.from_numpy(rng.standard_normal((frames, Z_SIZE))).float()
    behind = background.expand(frames, -1, -1, -1)
    return Flat(hands=seen[:, :3], masks=seen[:, 3:], backgrounds=behind, tips=tips, z=z), theta


def rim_of_arms(model: Compositor, flat: Flat, other: Tensor) -> dict[str, Tensor]:
    found = {}
    for arm in FLAT_ARMS:
        frames = pictures(arm, flat, model)
        found[f"{arm} rim_own"] = rim_distance(frames, flat.masks, flat.backgrounds)
        found[f"{arm} rim_shuffled"] = rim_distance(frames, flat.masks, other)
    return found


def flicker(model: Compositor, flat: Flat, theta: Tensor) -> dict[str, float]:
    one = flat.z[:1].expand_as(flat.z)
    arms = {
        "z_per_frame": generate(model, flat.z, flat.masks, flat.backgrounds),
        "z_per_clip": generate(model, one, flat.masks, flat.backgrounds),
        "paste": pasted(flat.hands, flat.masks, flat.backgrounds),
    }
    found = {}
    for arm, frames in arms.items():
        found[f"{arm} flicker_outside"] = flicker_outside(frames, flat.masks)
        found[f"{arm} flicker_inside"] = flicker_inside(frames, flat.masks, theta)
    return found


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--held-out", required=True, help="folder of compose_clips")
    parser.add_argument("--panoramas", required=True, help="NPZ of prepare_panoramas")
    parser.add_argument("--compositor", required=True, help="safetensors of train_compositor")
    parser.add_argument("--clips", type=int, default=50)
    parser.add_argument("--frames", type=int, default=16, help="of a clip")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--table", required=True, help="CSV to write")
    return parser.parse_args(argv)


if __name__ == "__main__":
    run(main)
